
// --- values: copy, find, wrap, fold, load the rest -----------------------------------------------------------------

document.documentElement.classList.add('scripted');
const toast = document.createElement('div');
toast.className = 'toast';
toast.setAttribute('role', 'status');
document.body.append(toast);
let toasting = 0;

/** Says something for a moment, for eyes and for screen readers. */
function announce(text) {
  clearTimeout(toasting);
  toast.textContent = text;
  toasting = setTimeout(() => (toast.textContent = ''), 3000);
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // pages that are not served from localhost or over HTTPS have no clipboard
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  announce('Copied');
}

/** Writes a command that sends an event to this server. */
function curlOf(name, data) {
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
  const body = `{"name":${JSON.stringify(name)},"data":${data}}`.replaceAll("'", "'\\''");
  return `curl -X POST ${location.origin}/e/${local ? 'dev' : 'EVENT_KEY'} -H 'content-type: application/json' -d '${body}'`;
}

async function textOf(button) {
  if (button.dataset.text) return button.dataset.text.replaceAll('{origin}', location.origin);
  if (!button.dataset.from) return button.closest('.copyable').querySelector('pre, code, bdi').textContent;
  const answer = await fetch(button.dataset.from, { credentials: 'same-origin' });
  if (!answer.ok) throw new Error(answer.statusText);
  const text = await answer.text();
  return button.dataset.event ? curlOf(button.dataset.event, text) : text;
}

const actions = {
  copy: (button) => textOf(button).then(copyText, () => announce('The server did not answer.')),
  wrap(button) {
    const wraps = !button.closest('.value').querySelector('.json').classList.toggle('nowrap');
    button.setAttribute('aria-pressed', String(wraps));
  },
  fold(button) {
    const folds = [...button.closest('.value').querySelectorAll('.json details')];
    const open = !folds.some((fold) => fold.open);
    for (const fold of folds) fold.open = open;
    button.textContent = open ? 'Fold' : 'Unfold';
  },
};

document.addEventListener('click', (event) => {
  const button = event.target.closest?.('button[data-do]');
  if (button) actions[button.dataset.do]?.(button);
});

/** Marks each place where a value contains a text, opens the folds around it, and shows the first one. */
function find(box, text) {
  const places = [];
  const walk = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  const wanted = text.toLowerCase();
  while (wanted !== '' && walk.nextNode() && places.length < 1000) {
    const node = walk.currentNode;
    const lower = node.data.toLowerCase();
    for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, at + wanted.length)) {
      const range = new Range();
      range.setStart(node, at);
      range.setEnd(node, Math.min(at + wanted.length, node.length));
      places.push(range);
      for (let fold = node.parentElement.closest('details'); fold && box.contains(fold); fold = fold.parentElement.closest('details')) {
        fold.open = true;
      }
    }
  }
  if (globalThis.Highlight) CSS.highlights.set('found', new Highlight(...places));
  places[0]?.startContainer.parentElement.scrollIntoView({ block: 'nearest' });
  return places.length;
}

document.addEventListener('input', (event) => {
  if (event.target.dataset?.find === undefined) return;
  const found = find(event.target.closest('.value').querySelector('.json'), event.target.value);
  announce(event.target.value === '' ? '' : `${found} found`);
});

const whenVisible = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) loadRest(target);
});

/** Loads the rest of a value from its own page. */
async function loadRest(value) {
  whenVisible.unobserve(value);
  const answer = await fetch(value.dataset.lazy, { credentials: 'same-origin' }).catch(() => null);
  if (!answer?.ok) return;
  const whole = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('.value');
  if (whole) value.replaceChildren(...[...whole.childNodes].map((node) => document.importNode(node, true)));
}

settlers.push(() => document.querySelectorAll('[data-lazy]:not([data-seen])').forEach((value) => {
  value.dataset.seen = '';
  whenVisible.observe(value);
}));
settle();
