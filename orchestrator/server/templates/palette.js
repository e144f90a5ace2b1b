
// --- the palette: pages, functions, and a run by its id ------------------------------------------------------------

const palette = document.getElementById('palette');
const paletteInput = palette?.querySelector('input');
const paletteList = document.getElementById('palette-list');
/** The functions of the server, once they were fetched. */
let functionNames = null;

function openPalette() {
  if (!hasTabs || document.querySelector('dialog[open]')) return;
  paletteInput.value = '';
  palette.showModal();
  offer();
  functionNames ??= fetch('/v1/functions', { credentials: 'same-origin' })
    .then((answer) => (answer.ok ? answer.json() : { data: [] }))
    .then((answer) => answer.data.map((each) => each.id))
    .catch(() => []);
  functionNames.then((names) => {
    palette.names = names;
    if (palette.open) offer();
  });
}

/** Returns what matches the text: the kind, the name and the address of each. */
function choices(text) {
  const lower = text.toLowerCase();
  const found = [];
  if (/^[0-9a-hjkmnp-tv-z]{26}$/i.test(text)) found.push(['Run', text.toUpperCase(), '/runs/' + text.toUpperCase()]);
  for (const link of document.querySelectorAll('.bar nav a')) found.push(['Page', link.textContent, link.getAttribute('href')]);
  for (const name of palette.names ?? []) found.push(['Function', name, '/function?id=' + encodeURIComponent(name)]);
  const matches = found.filter(([kind, name]) => kind === 'Run' || name.toLowerCase().includes(lower)).slice(0, 12);
  if (text !== '') matches.push(['Search', `runs with “${text}”`, '/?q=' + encodeURIComponent(text)]);
  return matches;
}

function offer() {
  const options = choices(paletteInput.value.trim()).map(([kind, name, address], n) => {
    const option = document.createElement('li');
    option.id = 'palette-' + n;
    option.setAttribute('role', 'option');
    option.dataset.address = address;
    const [label, bdi] = [document.createElement('span'), document.createElement('bdi')];
    label.className = 'dim';
    label.textContent = kind;
    bdi.textContent = name;
    option.append(bdi, label);
    return option;
  });
  paletteList.replaceChildren(...options);
  choose(0);
}

function choose(n) {
  const options = [...paletteList.children];
  const at = options[Math.max(0, Math.min(n, options.length - 1))];
  for (const option of options) option.setAttribute('aria-selected', String(option === at));
  at?.scrollIntoView({ block: 'nearest' });
  if (at) paletteInput.setAttribute('aria-activedescendant', at.id);
  else paletteInput.removeAttribute('aria-activedescendant');
}

const chosen = () => [...paletteList.children].findIndex((option) => option.getAttribute('aria-selected') === 'true');

paletteInput?.addEventListener('input', offer);
paletteInput?.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    choose(chosen() + (event.key === 'ArrowDown' ? 1 : -1));
  } else if (event.key === 'Enter') {
    const option = paletteList.children[chosen()];
    if (option) location.assign(option.dataset.address);
  } else {
    return;
  }
  event.preventDefault();
});
paletteList?.addEventListener('click', (event) => {
  const option = event.target.closest('li');
  if (option) location.assign(option.dataset.address);
});
palette?.addEventListener('click', (event) => {
  if (event.target === palette) palette.close();
});
document.addEventListener('keydown', (event) => {
  if (!(event.metaKey || event.ctrlKey) || event.altKey || event.shiftKey || event.key.toLowerCase() !== 'k') return;
  event.preventDefault();
  openPalette();
});
const paletteButton = document.getElementById('palette-open');
if (paletteButton) {
  paletteButton.hidden = !hasTabs;
  paletteButton.addEventListener('click', openPalette);
}
