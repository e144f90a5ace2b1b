// The script of every page: it keeps the page up to date, and handles keys. It knows nothing about runs; the server renders
// everything. Without the script, pages work and are updated by loading them again.
'use strict';

// --- times: relative, local, or in UTC ------------------------------------------------------------------------------

const ZONES = ['relative', 'local', 'UTC'];
const zoneButton = document.getElementById('zone');
/** How times are shown. */
let zone = ZONES.find((each) => each === localStorage.getItem('stepladder_times')) ?? 'relative';

/** Writes how long ago or how far ahead a time is. */
function relative(ms) {
  const away = Date.now() - ms;
  if (Math.abs(away) < 2000) return 'now';
  const text = duration(Math.abs(away)).replace(/\.\d s$/, ' s').replace(/ ([mhd]) .*$/, ' $1').replace(/ m$/, ' min');
  return away > 0 ? text + ' ago' : 'in ' + text;
}

/** Writes a time as the server does, in UTC or in the reader's zone: `2026-11-24 21:47:32.123`. */
function written(ms, isUtc) {
  const away = isUtc ? 0 : new Date(ms).getTimezoneOffset() * 60_000;
  return new Date(ms - away).toISOString().replace('T', ' ').replace('Z', '');
}

/** The forms in which the server writes times, each with its part of the whole text. */
const FORMS = [
  [/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/, 0, 19],
  [/^\d{4}-\d\d-\d\d \d\d:\d\d/, 0, 16],
  [/^\d{4}-\d\d-\d\d/, 0, 10],
  [/^\d\d:\d\d:\d\d\.\d{3}/, 11, 23],
  [/^\d\d:\d\d:\d\d/, 11, 19],
  [/^\d\d:\d\d/, 11, 16],
  [/^\d\d-\d\d/, 5, 10],
];

/** Writes the time at the start of an element in the zone that the reader chose. */
function putInZone(element, isUtc) {
  const form = FORMS.find(([pattern]) => pattern.test(element.textContent));
  if (!form) return;
  const [pattern, from, to] = form;
  const text = element.textContent.replace(pattern, written(Number(element.dataset.ms), isUtc).slice(from, to));
  if (element.textContent !== text) element.textContent = text;
}

/** Shows times as the reader chose. Exact times are local, too, if the others are relative. */
function showTimes() {
  const isUtc = zone === 'UTC';
  const all = document.querySelectorAll('[data-ms]:not(.ago)');
  const ago = document.querySelectorAll('time.ago');
  const fields = document.querySelectorAll('[type=datetime-local]');
  zoneButton.hidden = all.length + ago.length + fields.length === 0;
  zoneButton.textContent = `Times: ${zone}`;
  zoneButton.title = 'Show times as relative, local or UTC';
  all.forEach((moment) => putInZone(moment, isUtc));
  showAgo(ago);
  for (const moment of document.querySelectorAll('time[data-ms]')) {
    const ms = Number(moment.dataset.ms);
    moment.title = `${written(ms, false).slice(0, 19)} (local)\n${written(ms, true).slice(0, 19)} (UTC)`;
  }
  for (const name of document.querySelectorAll('.zone')) name.textContent = zone === 'relative' ? '' : `(${zone})`;
  for (const name of document.querySelectorAll('.tz')) name.textContent = isUtc ? 'UTC' : 'local';
  fields.forEach((field) => putFieldInZone(field, isUtc ? 'UTC' : 'local'));
  showDays(isUtc);
}

function showAgo(moments) {
  for (const moment of moments) {
    const ms = Number(moment.dataset.ms);
    const text = zone === 'relative' ? relative(ms) : written(ms, zone === 'UTC').slice(0, 19);
    if (moment.textContent !== text) moment.textContent = text;
  }
}

/** The journal has a heading for each day in UTC. An entry of another day in the reader's zone gets its date. */
function showDays(isUtc) {
  let day = '';
  for (const moment of document.querySelectorAll('#entries time')) {
    const own = written(Number(moment.dataset.ms), isUtc).slice(0, 10);
    if (moment.closest('.day')) day = own;
    else if (day !== '' && own !== day) moment.dataset.day = own;
    else delete moment.dataset.day;
  }
}

/** Writes the time of a field in another zone. The server sends and expects UTC. */
function putFieldInZone(field, next) {
  const now = field.dataset.zone ?? 'UTC';
  field.dataset.zone = next;
  if (now === next || !field.value) return;
  field.value = written(timeOf(field, now), next === 'UTC').slice(0, 16).replace(' ', 'T');
}

const timeOf = (field, zone) => Date.parse(field.value + (zone === 'UTC' ? 'Z' : ''));

document.addEventListener('formdata', (event) => {
  for (const field of event.target.querySelectorAll('[type=datetime-local]')) {
    if (!field.value) continue;
    event.formData.set(field.name, written(timeOf(field, field.dataset.zone), true).slice(0, 16).replace(' ', 'T'));
  }
});

zoneButton.addEventListener('click', () => {
  zone = ZONES[(ZONES.indexOf(zone) + 1) % ZONES.length];
  localStorage.setItem('stepladder_times', zone);
  showTimes();
});

setInterval(() => {
  if (!document.hidden && zone === 'relative') showAgo(document.querySelectorAll('time.ago'));
}, 1000);
