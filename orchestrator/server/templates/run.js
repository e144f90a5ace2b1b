
// --- the page of a run: its steps, its timeline --------------------------------------------------------------------

/** Shows another view of this page: the address changes, the page is not loaded again. */
function view(url, replaces = false) {
  history[replaces ? 'replaceState' : 'pushState'](null, '', url);
  return refresh().then(() => {
    if (main.dataset.live && !source && timer === 0) start();
  });
}

const isWide = () => matchMedia('(min-width: 60rem)').matches;

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[data-view]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const url = new URL(link.href);
  const goal = url.hash.slice(1);
  view(url).then(() => {
    if (goal !== '' && (goal !== 'step' || !isWide())) document.getElementById(goal)?.scrollIntoView({ block: 'start' });
    if (!link.closest('#steps')) showSelected();
  });
});

addEventListener('popstate', () => {
  if (document.getElementById('steps')) view(location.href, true).then(showSelected);
});

// the list of steps holds a window of the rows; the space around it stands for the others
const box = document.querySelector('.rows-box');
let rowHeight = 0;

function spaceRows() {
  const list = document.getElementById('steps');
  const row = list?.querySelector('.step');
  if (!row) return;
  const [first, total] = [Number(list.dataset.first), Number(list.dataset.total)];
  const shown = list.querySelectorAll('.step:not(.child)').length;
  // measured once: a measurement between two changes would make the browser move the list
  rowHeight ||= row.offsetHeight;
  list.style.paddingTop = first * rowHeight + 'px';
  list.style.paddingBottom = Math.max(0, total - first - shown) * rowHeight + 'px';
  document.getElementById('pager').hidden = true;
}

addEventListener('resize', () => {
  rowHeight = 0;
  spaceRows();
});

/** Scrolls the list to the selected step. */
function showSelected() {
  const row = document.querySelector('#steps [aria-current]');
  if (!row) return;
  const [top, height] = [row.offsetTop, box.clientHeight];
  if (top < box.scrollTop || top + rowHeight > box.scrollTop + height) box.scrollTop = top - height / 2;
}

let scrolling = 0;
box?.addEventListener('scroll', () => {
  clearTimeout(scrolling);
  scrolling = setTimeout(() => {
    const list = document.getElementById('steps');
    const [first, total] = [Number(list.dataset.first), Number(list.dataset.total)];
    const last = first + list.querySelectorAll('.step:not(.child)').length;
    const [top, bottom] = [box.scrollTop / rowHeight, (box.scrollTop + box.clientHeight) / rowHeight];
    if (!(top < first || (bottom > last && last < total))) return;
    const url = new URL(location.href);
    url.searchParams.set('steps', Math.max(0, Math.floor(top) - 30));
    view(url, true);
  }, 60);
}, { passive: true });

// filter while typing
let finding = 0;
const filter = document.getElementById('find');
function applyFilter() {
  clearTimeout(finding);
  const url = new URL(location.href);
  if (filter.value === '') url.searchParams.delete('find');
  else url.searchParams.set('find', filter.value);
  url.searchParams.delete('steps');
  box.scrollTop = 0;
  view(url, true);
}
filter?.addEventListener('input', () => {
  clearTimeout(finding);
  finding = setTimeout(applyFilter, 200);
});
filter?.form.addEventListener('submit', (event) => {
  event.preventDefault();
  applyFilter();
});

// zoom by dragging over the picture of the whole run
let dragged = null;
const share = (event, picture) => {
  const { left, width } = picture.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - left) / width));
};
document.addEventListener('pointerdown', (event) => {
  const picture = event.target.closest?.('#overview');
  if (!picture || event.button !== 0) return;
  dragged = share(event, picture);
  event.preventDefault();
});
document.addEventListener('pointerup', (event) => {
  const picture = document.getElementById('overview');
  if (dragged === null || !picture) return;
  const end = share(event, picture);
  let [from, to] = [Math.min(dragged, end), Math.max(dragged, end)];
  if (to - from < 0.01) [from, to] = [from - 0.05, to + 0.05];
  dragged = null;
  const length = Number(picture.dataset.length);
  const [start, stop] = [Math.max(0, Math.floor(from * length)), Math.min(length, Math.ceil(to * length))];
  const url = new URL(location.href);
  url.searchParams.set('zoom', `${start}-${Math.max(start + 1, stop)}`);
  url.searchParams.delete('steps');
  view(url);
});

document.addEventListener('keydown', (event) => {
  if (!box || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.('input, textarea, select')) return;
  const by = { j: 1, k: -1 }[event.key];
  if (!by) return;
  const rows = [...document.querySelectorAll('#steps .step:not(.child)')];
  const row = rows[rows.findIndex((each) => each.hasAttribute('aria-current')) + by];
  row?.click();
  row?.focus({ preventScroll: true });
  event.preventDefault();
});

/** Writes how long it is until the waits of the page end. */
function countDown() {
  for (const span of document.querySelectorAll('[data-until]')) {
    const left = Number(span.dataset.until) - Date.now();
    const text = left > 0 ? `(in ${duration(left).replace(/\.\d s$/, ' s')})` : '(due)';
    if (span.textContent !== text) span.textContent = text;
  }
}
setInterval(() => {
  if (!document.hidden && !lost && main.dataset.live) countDown();
}, 1000);

settlers.push(spaceRows, countDown);
if (box) {
  const step = /^#step-(\d+)$/.exec(location.hash);
  if (step) view(`?step=${step[1]}#step`, true).then(showSelected);
  settle();
  showSelected();
}
