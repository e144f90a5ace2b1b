// The everyday tasks of the dashboard in a real browser, with their clicks counted: node tasks.mjs SCENE URL
//
// tests/tests/dashboard.rs starts this script. The scenes:
// - `tasks`: a server without a database, whose AI answers the first request only. Each task must need no more clicks than
//   the best dashboard of its kind. Typing, and keys such as Enter, are no clicks.
// - `times`: a server with its functions. The browser is in another time zone.
import assert from 'node:assert/strict';
import { base, client, openContext, page, play, runOf, send, shows } from './browser.mjs';

let clicks = 0;
const click = async (locator) => {
  await locator.first().click();
  clicks += 1;
};
const choose = async (locator, value) => {
  await locator.selectOption(value);
  clicks += 1;
};

/** Performs a task from the first page, and checks its clicks. */
async function task(name, most, steps) {
  await page.goto(base);
  clicks = 0;
  await steps();
  assert(clicks <= most, `${name}: ${clicks} clicks, at most ${most}`);
  console.log(`${name}: ${clicks} of ${most} clicks`);
}

async function tasks() {
  await page.setViewportSize({ width: 1440, height: 900 });
  const event = await send({ name: 'client/enhance.requested', data: { ...client('Acme'), clientId: 'cust-42' } });
  const run = await runOf(event);
  await page.goto(base);
  await page.locator(`#r-${run} .status.Failed`).waitFor();
  const row = page.locator(`#r-${run} a.main-link`);

  await task('why a run failed', 0, () => shows(`#r-${run} .error`, 'SUPABASE_SERVICE_ROLE_KEY'));
  await task('the attempts of the step that failed', 1, async () => {
    await click(row);
    await shows('#step .step-title', 'update-client');
    await shows('#now', 'SUPABASE_SERVICE_ROLE_KEY');
    await page.locator('#step .attempts tbody tr').first().waitFor();
  });
  await task("an AI's answer in a step", 2, async () => {
    await click(row);
    await click(page.locator('#steps .step', { hasText: 'call-openai' }));
    await shows('#step', 'gpt');
    await page.locator('#step .value .json').first().waitFor();
  });
  await task('a rerun from a step with another input', 4, async () => {
    await click(row);
    await click(page.locator('#steps .step', { hasText: 'process-data' }));
    await click(page.locator('#step a', { hasText: 'With another input' }));
    await page.waitForFunction(() => document.getElementById('from').value === 'process-data');
    await page.locator('textarea[name=input]').fill(JSON.stringify(client('Bolt')));
    await click(page.locator('#again button.primary'));
    await shows('#facts', 'A rerun of');
  });
  await task('all runs of one customer', 0, async () => {
    await page.keyboard.press('/');
    await page.keyboard.type('cust-42');
    await page.keyboard.press('Enter');
    await page.waitForURL(/q=cust-42/);
    await page.locator(`#r-${run}`).waitFor();
    // the rerun has another customer
    assert.equal(await page.locator('table.runs tbody tr').count(), 1);
  });
  await task('the runs that an event started', 1, async () => {
    await click(page.locator('.bar nav a', { hasText: 'Events' }));
    await page.locator('tr', { has: page.locator(`a[href="/events/${event}"]`) }).locator(`a[href="/runs/${run}"]`).waitFor();
  });
  for (let n = 0; n < 60; n += 1) {
    await send({ name: 'test/hello.world', ts: Date.now() + 3_600_000 + n, data: { name: 'later' } });
  }
  await task('cancel all runs of a function, more than a page', 4, async () => {
    await choose(page.locator('select[name=function]'), 'hello-world');
    await page.waitForURL(/function=hello-world/);
    await click(page.locator('button', { hasText: 'Cancel all matching' }));
    await shows('h1', 'Cancel all matching runs: 60 runs?');
    await click(page.locator('form.acts button.danger'));
    await shows('.notice', 'Cancelled 60 runs.');
  });
  for (let n = 0; n < 5; n += 1) await send({ name: 'client/enhance.requested', data: client(`Queued ${n}`) });
  await page.goto(base);
  await shows('table.runs .status', 'Queued');
  await task('who waits for a limit', 2, async () => {
    await click(page.locator('.bar nav a', { hasText: 'Functions' }));
    await click(page.locator('a.main-link', { hasText: 'enhance-client-with-ai' }));
    await shows('#concurrency', '3 of 3 held');
    await page.locator('#concurrency ol.line li').nth(1).waitFor();
  });
  await task('send an event', 3, async () => {
    await click(page.locator('.bar nav a', { hasText: 'Events' }));
    await page.locator('#send input[name=name]').fill('test/hello.world');
    await page.locator('#send textarea').fill('{"name": "Grace"}');
    await click(page.locator('#send button'));
    await shows('.notice', 'The event was sent.');
  });
  await task('what ran between two times', 2, async () => {
    await click(page.locator('.between summary'));
    const minute = new Date(Date.now() - 86_400_000).toISOString().slice(0, 16);
    await page.locator('input[name=from]').fill(minute);
    await page.locator('input[name=to]').fill(minute);
    await page.locator('input[name=to]').press('Enter');
    await page.waitForURL(/from=/);
    await shows('.empty', 'No run matches.');
  });
}

const exact = (ms, zone) => new Date(ms + zone * 60_000).toISOString().replace('T', ' ').slice(0, 19);

/** Times are relative or local, or in UTC on demand: on pages, in charts and in the fields of the search. */
async function times() {
  const zone = 330; // India's, in minutes
  const far = await openContext({ timezoneId: 'Asia/Kolkata' });
  const tab = await far.newPage();
  const run = await runOf(await send({ name: 'test/hello.world', data: { name: 'Ada' } }));
  await tab.goto(`${base}/runs/${run}`);
  await tab.locator('#head .status.Completed').waitFor();
  const ms = async (locator) => Number(await locator.getAttribute('data-ms'));
  const started = tab.locator('.attempts td[data-label=Started] time').first();
  const entry = tab.locator('#entries .ms time').first();
  const zoneButton = tab.locator('#zone');
  const text = (locator) => locator.textContent();
  assert.match(await text(tab.locator('#facts time.ago').first()), /ago|now/);
  assert.equal(await text(started), exact(await ms(started), zone));
  assert.equal(await text(tab.locator('.attempts .tz')), 'local');
  assert.equal((await text(entry)).slice(0, 8), exact(await ms(entry), zone).slice(11));
  await zoneButton.click();
  await zoneButton.click();
  assert.equal(await text(zoneButton), 'Times: UTC');
  assert.equal(await text(started), exact(await ms(started), 0));
  assert.equal(await text(tab.locator('.attempts .tz')), 'UTC');
  assert.equal((await text(entry)).slice(0, 8), exact(await ms(entry), 0).slice(11));
  const created = tab.locator('#facts time.ago').first();
  assert.equal(await text(created), exact(await ms(created), 0));
  assert.match(await created.getAttribute('title'), /\(local\)\n.*\(UTC\)/);
  // a search between two times, first in UTC, then in the reader's zone
  const at = await ms(created);
  const [utc, local] = [0, zone].map((each) => exact(at, each).slice(0, 16).replace(' ', 'T'));
  for (const [shown, label] of [[utc, 'From (UTC)'], [local, 'From (local)']]) {
    await tab.goto(base);
    await tab.locator('.between summary').click();
    await tab.getByLabel(label).fill(shown);
    await tab.locator('input[name=to]').fill(shown);
    await tab.locator('input[name=to]').press('Enter');
    await tab.waitForURL((url) => url.searchParams.get('from') === utc && url.searchParams.get('to') === utc);
    await tab.locator(`#r-${run}`).waitFor();
    assert.equal(await tab.locator('input[name=from]').inputValue(), shown, 'the field has the time that was typed');
    await zoneButton.click(); // from UTC to relative; exact times are local
  }
  assert.equal(await tab.locator('input[name=from]').inputValue(), local, 'relative and local have the same fields');
  // charts
  await tab.goto(`${base}/trends?span=hour`);
  const tick = tab.locator('.plot .tick').first();
  assert.equal(await text(tick), exact(await ms(tick), zone).slice(11, 16));
  const bar = tab.locator('.plot g title').first();
  assert.equal((await text(bar)).slice(0, 16), exact(await ms(bar), zone).slice(0, 16));
  await far.close();
}

await play({ tasks, times });
