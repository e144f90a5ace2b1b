// Tests the dashboard in a real browser: node dashboard.mjs SCENE URL [FOLDER FOR SCREENSHOTS]
//
// tests/tests/dashboard.rs starts this script in the folder with the npm packages. The exit code is
// 0 if all checks of the scene succeed. The scenes:
// - `demonstration`: a server with `--demo`.
// - `person`: a server without a database, so that steps which write to it fail for good.
// - `retries`: a server without an AI, so that requests to it are retried after 15 s and 30 s.
import assert from 'node:assert/strict';
import { base, client, isMarked, look, mark, page, play, runOf, send, shows } from './browser.mjs';

async function stepsOfTheList() {
  await page.goto(base);
  await shows('.empty', 'No runs yet');
  await look('empty');
  await page.locator('#live:not(.polls)').waitFor();
  await mark();
  const hello = await send({ name: 'test/hello.world', data: { name: 'Ada <b>"Lovelace"</b>' } });
  await shows('table.runs', 'hello-world');
  await page.locator(`#r-${await runOf(hello)} .status.Completed`).waitFor();
  assert(await isMarked(), 'the list went on without being loaded again');
  return runOf(hello);
}

async function aLostConnectionIsShown() {
  await page.route('**/live/**', (route) => route.abort());
  await page.goto(base);
  await shows('#live.lost', 'connection lost, trying again');
  await page.unroute('**/live/**');
  await page.locator('#live:not(.lost):not(.polls)').waitFor(); // the browser connects again
}

async function aRunAdvances() {
  const run = await runOf(await send({ name: 'test/hello.world', data: { name: 'Grace' } }));
  await page.goto(`${base}/runs/${run}`);
  await mark();
  await page.locator('#head .status.Completed').waitFor();
  await shows('#steps', 'farewell');
  await shows('#output', 'Goodbye, Grace!');
  assert(await isMarked(), 'the run went on without being loaded again');
  assert.equal(await page.locator('main').getAttribute('data-live'), null, 'what is over has no news');
  // show an earlier state with the slider
  await page.locator('#at').fill('2');
  await shows('#now', 'Showing the run after entry 2');
  await page.locator('#head .status.Running').waitFor();
  assert(page.url().endsWith('?at=2') && (await isMarked()));
}

async function aFailedRunIsRunAgain() {
  const run = await runOf(await send({ name: 'client/enhance.requested', data: client('Acme') }));
  await page.goto(base);
  const row = page.locator(`#r-${run}`);
  await row.locator('.status.Failed').waitFor();
  await row.locator('a').click();
  await shows('#now', 'SUPABASE_SERVICE_ROLE_KEY');
  await shows('#now', 'Failed in update-client');
  await shows('#step', 'This step failed the run'); // the failed step is selected
  await look('run-failed');
  await page.locator('select[name=from_step]').selectOption('process-data');
  await page.locator('textarea[name=input]').fill('{"clientId": ');
  await shows('.json-fault', 'Not valid JSON');
  await page.locator('textarea[name=input]').fill(JSON.stringify(client('Bolt')));
  await page.locator('#again button').click();
  await page.waitForURL((url) => !url.href.includes(run));
  await shows('#facts', 'A rerun of');
  await page.locator('#head .status.Failed').waitFor();
  await page.locator('#steps .step', { hasText: 'call-openai' }).locator('rect.carried').waitFor();
  return run;
}

async function anotherIsCancelled() {
  const inAnHour = Date.now() + 3_600_000;
  const [one, two] = [0, 1].map((n) => ({ name: 'test/hello.world', ts: inAnHour + n, data: { name: 'later' } }));
  const run = await runOf(await send(one));
  await page.goto(`${base}/runs/${run}`);
  await shows('.why', 'starts at');
  await page.locator('#head button.danger').click();
  await page.locator('#head .status.Cancelled').waitFor();
  await shows('.notice', 'Cancelled 1 run.');
  // cancel a run from the list with the keyboard
  const second = await runOf(await send(two));
  await page.goto(`${base}/?status=Scheduled`);
  await page.locator(`#r-${second}`).waitFor();
  assert(await page.locator('button[value=cancel]').isDisabled(), 'nothing is selected');
  await page.keyboard.press('j');
  await page.keyboard.press('x');
  await page.locator('button[value=cancel]').click();
  await shows('h1', 'Cancel 1 run?');
  await look('runs-cancel');
  await page.locator('form.acts button.danger').click();
  await shows('.notice', 'Cancelled 1 run.');
  assert(page.url().includes('status=Scheduled'), page.url());
  await page.reload();
  assert.equal(await page.locator('.notice').count(), 0, 'the result is shown once');
}

/** While a run is selected, new runs do not move the rows, and the selection stays. */
async function theListStaysWhileARunIsSelected() {
  await page.goto(base);
  await page.locator('#live:not(.polls)').waitFor();
  const first = await page.locator('table.runs tbody tr').first().getAttribute('id');
  await page.locator(`#${first} input[type=checkbox]`).check();
  await shows('#selected', '1 selected');
  await send({ name: 'test/hello.world', data: { name: 'later' } });
  await shows('#fresh', '1 new run');
  assert.equal(await page.locator('table.runs tbody tr').first().getAttribute('id'), first, 'the rows stay');
  assert(await page.locator(`#${first} input[type=checkbox]`).isChecked(), 'the selection stays');
  await page.locator('#fresh').click();
  await page.waitForFunction((id) => document.querySelector('table.runs tbody tr').id !== id, first);
}

async function keysLeadToPages() {
  await page.goto(`${base}/health/page`);
  await page.keyboard.press('?');
  await page.locator('#keys[open]').waitFor();
  await look('keys');
  await page.keyboard.press('Escape');
  await page.keyboard.press('g');
  await page.keyboard.press('f');
  await page.waitForURL('**/functions');
  await page.keyboard.press('g');
  await page.keyboard.press('r');
  await page.waitForURL(base + '/');
  // the times of the list: relative, local, UTC
  const time = page.locator('time.ago').first();
  assert.match(await time.textContent(), /ago|now/);
  await page.locator('#zone').click();
  await page.locator('#zone').click();
  assert.match(await time.textContent(), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
  await page.locator('#zone').click();
}

/** No page is wider than its window. */
async function pagesFit() {
  for (const width of [390, 1024]) {
    await page.setViewportSize({ width, height: 844 });
    for (const to of ['/', '/?from=2026-01-01T00:00', '/functions', '/function?id=enhance-client-with-ai', '/events', '/trends', '/cost', '/health/page']) {
      await page.goto(base + to);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert(wide <= 0, `${to} is ${wide} px wider than ${width} px`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

async function eventsAreSent() {
  await page.goto(`${base}/events`);
  await page.locator('#send input[name=name]').fill('test/hello.world');
  await page.locator('#send textarea').fill('[1]');
  await shows('.json-fault', 'JSON object');
  await page.locator('#send textarea').fill('{"name": "Edsger"}');
  await page.locator('#send button').click();
  await shows('.notice', 'The event was sent.');
  await page.locator('table.runs a', { hasText: 'hello-world' }).click();
  await shows('#output', 'Goodbye, Edsger!');
  await send({ name: 'shop/unused', data: {} });
}

async function aFunctionIsTriedOut() {
  await page.goto(`${base}/function?id=hello-world#invoke`);
  await shows('#invoke', "The data is the function's example");
  assert.equal(JSON.parse(await page.locator('#invoke textarea').inputValue()).name, 'newcomer');
  await page.locator('#invoke button').click();
  await shows('.notice', 'The event was sent.');
  await page.locator('table.runs a', { hasText: 'hello-world' }).click();
  await shows('#output', 'Goodbye, newcomer!');
}

async function everyOtherPage(run) {
  for (const [name, to] of [
    ['functions', '/functions'],
    ['function', '/function?id=enhance-client-with-ai'],
    ['apps', '/apps'],
    ['events', '/events'],
    ['cost', '/cost'],
    ['health', '/health/page'],
  ]) {
    await page.goto(base + to);
    await look(name);
  }
  await page.goto(`${base}/runs/${run}`);
  await page.locator('#facts a[href^="/events/"]').click();
  await look('event');
  await page.goto(`${base}/health/page`);
  await page.locator('#live.polls').waitFor();
}

async function lightAndDark(run) {
  await page.goto(`${base}/runs/${run}`);
  const button = page.locator('form.theme button');
  await button.click();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await button.click();
  await button.click();
  await page.goto(base);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme ?? ''), '', 'as the system has it again');
}

async function onAPhone(run) {
  await page.setViewportSize({ width: 390, height: 844 });
  for (const [name, to] of [['runs-phone', '/'], ['run-phone', `/runs/${run}`]]) {
    await page.goto(base + to);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    assert(!wide, `${to} is wider than a phone`);
    await look(name);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

async function person() {
  const hello = await stepsOfTheList();
  await aLostConnectionIsShown();
  await aRunAdvances();
  const failed = await aFailedRunIsRunAgain();
  await anotherIsCancelled();
  await page.goto(base);
  await look('runs');
  await page.goto(`${base}/runs/${hello}`);
  await look('run');
  await eventsAreSent();
  await aFunctionIsTriedOut();
  await theListStaysWhileARunIsSelected();
  await keysLeadToPages();
  await everyOtherPage(hello);
  await lightAndDark(hello);
  await onAPhone(failed);
  await pagesFit();
  await page.goto(`${base}/runs/nonsense`);
  await look('problem');
}

async function retries() {
  const run = await runOf(await send({ name: 'client/enhance.requested', data: client('Acme') }));
  await page.goto(`${base}/runs/${run}`);
  const begun = Date.now();
  for (const attempt of [2, 3]) {
    await shows('#now', `Waiting to retry call-openai: attempt ${attempt} of 3`);
    await shows('#now .until', '(in '); // the countdown of the script
    if (attempt === 2) await look('run-retrying');
    // the step has two retries in total
    const then = page.locator('#step p', { hasText: `attempt ${attempt} of 3` }).locator('.dim time');
    assert.equal(await then.count(), attempt === 2 ? 1 : 0, 'attempts after the next');
    await page.locator('#now button', { hasText: 'Try now' }).click();
    await shows('.notice', 'The wait was skipped.');
  }
  await page.locator('#head .status.Failed').waitFor();
  assert(Date.now() - begun < 40_000, 'the wait of 45 seconds was skipped');
  await page.locator('#steps .step', { hasText: 'call-openai' }).click();
  assert.equal(await page.locator('.attempts tbody tr').count(), 3);
}

/** Runs within a run, beside one another: the demonstration's function. */
async function demonstration() {
  const run = await runOf(await send({ name: 'demo/client.signed', data: client('Acme') }));
  await page.goto(`${base}/runs/${run}`);
  await mark();
  await page.locator('#head .status.Completed').waitFor();
  for (const called of ['call-openai', 'upsert-competitors', 'upsert-queries']) await shows('#steps .child', called);
  assert(await isMarked(), 'the run went on without being loaded again');
  const journal = await (await fetch(`${base}/v1/runs/${run}/journal`)).json();
  const story = journal.data.map(({ fact }) => Object.keys(fact)[0]).filter((word) => word.startsWith('Invoke'));
  assert.deepEqual(story, ['InvokeStarted', 'InvokeStarted', 'InvokeEnded', 'InvokeEnded'], 'side by side');
  // the time in which a called run executes is shown as work, not as a wait
  const widths = await page.locator('#steps .child rect.done').evaluateAll((all) => all.map((rect) => rect.getBBox().width));
  const lane = await page.locator('#steps .child .lane').first().evaluate((svg) => svg.getBoundingClientRect().width);
  assert(Math.max(...widths) > lane / 2, `${widths} of ${lane}`);
  await look('run-parallel');
}

await play({ person, retries, demonstration });
