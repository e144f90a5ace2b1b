
// --- the page -----------------------------------------------------------------------------------------------------

const main = document.getElementById('main');
const badge = document.getElementById('live');
const pollSeconds = () => Number(main.dataset.poll ?? 3);
let source = null;
let timer = 0;
/** The update that is under way. */
let pending = null;
let again = false;
let lost = false;
/** The parts as the server last sent them. */
const sent = new WeakMap();
/** What else is updated after every change. */
const settlers = [];

// --- keeping up to date -------------------------------------------------------------------------------------------

/** Fetches this page, and replaces the parts that differ. Ends when no change is left to fetch. */
function refresh() {
  again = true;
  pending ??= update().finally(() => (pending = null));
  return pending;
}

async function update() {
  while (again) {
    again = false;
    try {
      await updateOnce();
    } catch {
      // the server is away: the next change or the next poll tries again
      loseConnection();
    }
  }
}

async function updateOnce() {
  const url = location.href;
  let answer = await fetchPage(url, knownParts());
  if (answer.redirected && new URL(answer.url).pathname === '/login') {
    location.assign('/login?next=' + encodeURIComponent(location.pathname + location.search));
    return;
  }
  if (answer.ok) {
    let fresh = parsed(await answer.text());
    if (!fillIn(fresh)) {
      answer = await fetchPage(url, '');
      fresh = parsed(await answer.text());
    }
    // if the address changed meanwhile, what came is of another view
    if (url === location.href) takeOver(fresh);
  }
  if (timer !== 0) sayPolls();
}

const parsed = (html) => new DOMParser().parseFromString(html, 'text/html');

function fetchPage(url, have) {
  const headers = { accept: 'text/html', 'x-stepladder-refresh': '1' };
  if (have !== '') headers['x-stepladder-have'] = have;
  return fetch(url, { headers, credentials: 'same-origin' });
}

/** The hashes of the parts that the page has, so that the server sends only the others. */
function knownParts() {
  return [...document.querySelectorAll('[data-h]')].map((each) => each.dataset.h).join(' ');
}

/** Fills in the parts that the server left out. Returns whether all of them are known. */
function fillIn(fresh) {
  return [...fresh.querySelectorAll('[data-same]')].every((same) => {
    const part = document.getElementById(same.id)?.closest('[data-part]');
    const was = part && sent.get(part);
    const known = was?.id === same.id ? was : was?.querySelector('#' + CSS.escape(same.id));
    if (known?.dataset.h === undefined) return false;
    same.replaceWith(known.cloneNode(true));
    return true;
  });
}

function takeOver(fresh) {
  document.title = fresh.title;
  for (const part of document.querySelectorAll('[data-part]')) {
    // do not replace the slider while it is dragged
    if (part.id === 'slider' && document.activeElement?.id === 'at') continue;
    const other = fresh.getElementById(part.id);
    if (!other) continue;
    if (isPinned(part)) updateRows(part, other);
    else replace(part, other);
  }
  const live = fresh.getElementById('main')?.dataset.live ?? '';
  if (live === '') {
    delete main.dataset.live;
    stop();
  } else {
    main.dataset.live = live;
  }
  settle();
}

// --- a list that does not jump ------------------------------------------------------------------------------------

const freshButton = document.getElementById('fresh');

/** While the reader selects or has scrolled, the rows of a list stay where they are. */
function isPinned(part) {
  if (!part.querySelector('table[data-pin]')) return false;
  return window.scrollY > 60 || part.querySelector('input[name=run]:checked, tr.at') !== null;
}

/** Updates the rows that are shown, and counts the new ones. */
function updateRows(part, other) {
  const was = sent.get(part);
  let added = 0;
  for (const row of other.querySelectorAll('tbody tr[id]')) {
    const [shown, old] = [part, was].map((rows) => rows.querySelector(`tr[id="${row.id}"]`));
    if (!shown || !old) {
      added += 1;
      continue;
    }
    merge(shown, old, row);
    old.replaceWith(imported(row));
  }
  freshButton.hidden = added === 0;
  freshButton.textContent = added === 1 ? '1 new run ↑' : `${added} new runs ↑`;
}

freshButton?.addEventListener('click', () => {
  for (const box of document.querySelectorAll('input[name=run]:checked')) box.checked = false;
  document.querySelector('tr.at')?.classList.remove('at');
  window.scrollTo(0, 0);
  freshButton.hidden = true;
  refresh();
});

/** Opens the stream of changes; without a stream, polls. */
function start() {
  stop();
  if (!main.dataset.live || document.hidden) return;
  source = new EventSource(main.dataset.live);
  source.onopen = () => {
    const missed = lost;
    say('live', '');
    if (missed) refresh();
  };
  source.addEventListener('changed', () => refresh());
  source.onerror = () => {
    // closed: this server has no streams. After other errors the browser reconnects
    if (source?.readyState === EventSource.CLOSED) {
      stop();
      sayPolls();
      timer = setInterval(refresh, pollSeconds() * 1000);
    } else {
      loseConnection();
    }
  };
}

function stop() {
  source?.close();
  source = null;
  clearInterval(timer);
  timer = 0;
  badge.hidden = true;
}

/** Says in the header how the page is kept up to date. Without a connection, the clocks of the page stand still. */
function say(text, state) {
  lost = state === 'lost';
  badge.textContent = text;
  badge.classList.toggle('polls', state === 'polls');
  badge.classList.toggle('lost', lost);
  badge.hidden = false;
}

function sayPolls() {
  say('every ' + pollSeconds() + ' s', 'polls');
}

function loseConnection() {
  if (main.dataset.live) say('connection lost, trying again', 'lost');
}

// a hidden page keeps no connection: browsers allow six for a server
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    stop();
  } else if (main.dataset.live) {
    refresh();
    start();
  }
});

// --- small things on the page -------------------------------------------------------------------------------------

/** The boxes that select rows: runs, or functions. */
const PICKS = ['input[name=run]', 'input[type=checkbox][name=function]'];
const picked = (state) => document.querySelectorAll(PICKS.map((pick) => pick + state).join()).length;

/** Updates, after every change, what depends on the selection, and the times. */
function settle() {
  const count = picked(':checked');
  const any = count > 0;
  const selected = document.getElementById('selected');
  if (selected) {
    selected.hidden = !any;
    selected.textContent = `${count} selected`;
  }
  const all = document.getElementById('all');
  if (all) {
    const boxes = picked('');
    all.checked = any && count === boxes;
    all.indeterminate = any && count < boxes;
  }
  for (const button of document.querySelectorAll('[data-needs]')) button.disabled = !any;
  showTimes();
  for (const settler of settlers) settler();
}

/** Writes a length of time as the server does. */
function duration(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 1) return Math.max(0, Math.floor(ms)) + ' ms';
  if (s < 60) return (Math.floor(ms / 100) / 10).toFixed(1) + ' s';
  const two = (large, unit, small, smaller) => `${large} ${unit}` + (small === 0 ? '' : ` ${small} ${smaller}`);
  if (s < 3600) return two(Math.floor(s / 60), 'm', s % 60, 's');
  if (s < 86400) return two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'm');
  return two(Math.floor(s / 86400), 'd', Math.floor((s % 86400) / 3600), 'h');
}

setInterval(() => {
  if (document.hidden || lost || !main.dataset.live) return;
  for (const span of document.querySelectorAll('[data-since]')) {
    span.textContent = duration(Date.now() - Number(span.dataset.since));
  }
  for (const span of document.querySelectorAll('[data-until]')) span.textContent = relative(Number(span.dataset.until));
}, 1000);

document.addEventListener('change', (event) => {
  const all = event.target.dataset?.all;
  if (all) for (const box of document.querySelectorAll(`input[name=${all}]`)) box.checked = event.target.checked;
  if (event.target.matches?.('[data-submit]')) event.target.form.requestSubmit();
  settle();
});

document.addEventListener('submit', (event) => {
  const ask = event.submitter?.dataset.confirm;
  if (ask && !window.confirm(ask)) event.preventDefault();
});

// changes the theme at once, and stores it
document.querySelector('form.theme').addEventListener('submit', (event) => {
  event.preventDefault();
  const button = event.submitter ?? event.target.querySelector('button');
  const theme = button.value === 'system' ? '' : button.value;
  document.documentElement.dataset.theme = theme;
  document.cookie = `stepladder_theme=${theme}; Path=/; Max-Age=31536000; SameSite=Lax`;
  button.value = theme === 'dark' ? 'light' : theme === 'light' ? 'system' : 'dark';
  button.title = `Theme: ${theme || 'system'}. Switch to ${button.value}.`;
  button.setAttribute('aria-label', button.title);
});

// shows the run while the slider is moved
let sliding = 0;
document.addEventListener('input', (event) => {
  const { target } = event;
  if (target.id === 'at') {
    const shown = document.getElementById('at-now');
    if (shown) shown.textContent = target.value;
    clearTimeout(sliding);
    sliding = setTimeout(() => {
      const url = new URL(location.href);
      if (target.value === target.max) url.searchParams.delete('at');
      else url.searchParams.set('at', target.value);
      history.replaceState(null, '', url);
      refresh().then(start);
    }, 150);
  } else if (target.matches?.('textarea[data-json]')) {
    check(target);
  }
});

/** Shows what is wrong with the JSON in an editor while it is edited. */
function check(editor) {
  const fault = editor.form.querySelector('.json-fault');
  let says = '';
  if (editor.value.trim() !== '') {
    try {
      const value = JSON.parse(editor.value);
      if (value === null || typeof value !== 'object' || Array.isArray(value)) says = 'This is to be a JSON object.';
    } catch (error) {
      says = 'Not valid JSON: ' + error.message;
    }
  }
  editor.setAttribute('aria-invalid', String(says !== ''));
  if (fault) {
    fault.textContent = says;
    fault.hidden = says === '';
  }
  editor.setCustomValidity(says);
}

// --- keys ---------------------------------------------------------------------------------------------------------

const hasTabs = document.querySelector('.bar nav') !== null;
const keysButton = document.getElementById('keys-open');
let going = false; // whether `g` was the latest key
keysButton.hidden = !hasTabs;
keysButton.addEventListener('click', () => document.getElementById('keys').showModal());

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.('input, textarea, select, [contenteditable]') && event.target.type !== 'checkbox') return;
  const rows = [...document.querySelectorAll('table.runs tbody tr')];
  const at = rows.findIndex((row) => row.classList.contains('at'));
  const target = going && { r: '/', f: '/functions', e: '/events', t: '/trends', c: '/cost', h: '/health/page' }[event.key];
  going = event.key === 'g' && hasTabs;
  if (document.querySelector('dialog[open]')) return;
  if (target) {
    location.assign(target);
  } else if (event.key === '?') {
    document.getElementById('keys').showModal();
  } else if (event.key === '/' && hasTabs) {
    const search = document.getElementById('search');
    if (!search) return location.assign('/');
    search.focus();
    search.select();
  } else if ((event.key === 'j' || event.key === 'k') && rows.length > 0) {
    const next = event.key === 'j' ? Math.min(at + 1, rows.length - 1) : Math.max(at - 1, 0);
    rows[at]?.classList.remove('at');
    rows[next].classList.add('at');
    rows[next].querySelector('a')?.focus();
  } else if (event.key === 'x' && at >= 0) {
    rows[at].querySelector('input[type=checkbox]')?.click();
  } else {
    return;
  }
  event.preventDefault();
});

// an action on many runs continues page by page
document.querySelector('form[data-continue]')?.requestSubmit();

for (const part of document.querySelectorAll('[data-part]')) sent.set(part, part.cloneNode(true));
settle();
start();
