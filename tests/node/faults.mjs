// Tests faults of the dashboard that were mended, in a real browser: node faults.mjs SCENE URL [FOLDER FOR SCREENSHOTS]
//
// tests/tests/dashboard.rs starts this script. The scene:
// - `faults`: a server whose AI cannot be reached, with short delays between attempts.
import assert from 'node:assert/strict';
import { base, client, isMarked, look, mark, page, play, runOf, send, shows } from './browser.mjs';

const asked = [];
page.on('dialog', (dialog) => asked.push(dialog.message())); // browser.mjs accepts it

/** On a phone, the attempts of a step are cards, and their errors have room. */
async function attemptsAreCardsOnAPhone() {
  const run = await runOf(await send({ name: 'client/enhance.requested', data: client('Acme') }));
  await page.goto(`${base}/runs/${run}`);
  await page.locator('#head .status.Failed').waitFor();
  await page.setViewportSize({ width: 390, height: 844 });
  await page.goto(`${base}/runs/${run}`);
  const rows = page.locator('.attempts tbody tr');
  assert.equal(await rows.count(), 3);
  for (const row of await rows.all()) {
    const box = await row.boundingBox();
    assert(box.height < 300 && box.width > 250, JSON.stringify(box));
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.goto(`${base}/runs/${run}`);
  // the facts of an ended run need no second row for one link
  const tops = await page.locator('#facts > div').evaluateAll((all) => all.map((each) => each.getBoundingClientRect().top));
  assert(new Set(tops).size <= 2, `${tops}`);
  assert(!(await page.locator('#facts').innerText()).includes('JSON'));
  return run;
}

/** The steps from which a rerun may start grow with the live run. */
async function theStepsOfARerunAreLive() {
  const event = await send({ name: 'test/hello.world', data: { name: 'Ada' } });
  const run = await runOf(event);
  await page.goto(`${base}/runs/${run}`);
  await mark();
  const last = page.locator('select[name=from_step] option[value=farewell]');
  assert.equal(await last.count(), 0, 'the run sleeps for a second before its last step');
  await page.locator('#head .status.Completed').waitFor();
  await last.waitFor({ state: 'attached' });
  assert(await isMarked());
  return event;
}

/** Every page says how it is kept up to date, and is. */
async function everyPageIsLive(event) {
  for (const to of ['/functions', '/function?id=hello-world', '/events', `/events/${event}`, '/trends', '/cost', '/health/page']) {
    await page.goto(base + to);
    await page.locator('#live.polls').waitFor();
  }
  await page.goto(`${base}/events`);
  await mark();
  const news = await send({ name: 'shop/news', data: {} });
  await page.locator(`#events a[href="/events/${news}"]`).waitFor();
  assert(await isMarked());
}

/** What may pay again asks first. */
async function repeatingAsksFirst(event) {
  await page.goto(base);
  await page.locator('input[name=run]').first().check();
  await page.locator('button', { hasText: 'Rerun selected' }).click();
  await shows('h1', 'Rerun');
  await shows('main', 'may pay for their calls again');
  await page.locator('form.acts button.primary').click();
  await shows('.notice', 'Reran 1 run.');
  await page.locator('.notice button', { hasText: 'Cancel the new run' }).click();
  await shows('h1', 'Cancel 1 run?');
  await page.goto(`${base}/events/${event}`);
  await page.locator('button', { hasText: 'Send again' }).click();
  await shows('.notice', 'The event was sent.');
  assert.match(asked.at(-1), /Send this event again/);
}

/** A select filters at once, and nothing shifts. */
async function filtersSubmitAndStay() {
  await page.goto(base);
  const place = async () => (await page.locator('#search').boundingBox()).width;
  const before = await place();
  await page.locator('select[name=function]').selectOption('hello-world');
  await page.waitForURL(/function=hello-world/);
  assert.equal(await place(), before);
  const shown = await page.locator('select[name=function]').evaluate((select) => select.scrollWidth <= select.clientWidth + 1);
  assert(shown, 'the name of the function is not cut');
  // times say how long ago they are; their title has the local time and UTC
  assert.match(await page.locator('time.ago').first().textContent(), /ago|now/);
  assert.match(await page.locator('time.ago').first().getAttribute('title'), /\(local\)\n.*\(UTC\)/);
}

/** The palette leads to a function, a page and a run. */
async function thePaletteLeadsEverywhere(run) {
  await page.keyboard.press('Control+k');
  await page.locator('#palette[open]').waitFor();
  await page.locator('#palette input').fill('hello');
  await shows('#palette [aria-selected=true]', 'hello-world');
  await look('palette');
  await page.keyboard.press('Enter');
  await page.waitForURL('**/function?id=hello-world');
  await page.keyboard.press('Control+k');
  await page.locator('#palette input').fill(run.toLowerCase());
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/runs/${run}`);
  await page.keyboard.press('Control+k');
  await page.locator('#palette input').fill('a');
  const first = await page.locator('#palette [aria-selected=true]').textContent();
  await page.keyboard.press('ArrowDown');
  assert.notEqual(await page.locator('#palette [aria-selected=true]').textContent(), first);
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('#palette[open]').count(), 0);
}

async function aPauseIsUndone() {
  await page.goto(`${base}/function?id=hello-world`);
  await page.locator('button', { hasText: 'Pause' }).click();
  await shows('.notice', 'Paused');
  await page.locator('.notice button', { hasText: 'Undo' }).click();
  await shows('.notice', 'Resumed');
}

async function trendsAreShown() {
  for (const width of [390, 1024, 1280]) {
    await page.setViewportSize({ width, height: 844 });
    for (const to of ['/trends', '/trends?span=week&function=hello-world', '/function?id=hello-world']) {
      await page.goto(base + to);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert(wide <= 0, `${to} is ${wide} px wider than ${width} px`);
    }
  }
  await page.goto(`${base}/trends?span=hour`);
  await page.locator('#values summary').click();
  await page.locator('#values tbody tr').first().waitFor();
  await page.evaluate(() => scrollTo(0, 0));
  await look('trends');
}

async function faults() {
  const run = await attemptsAreCardsOnAPhone();
  const event = await theStepsOfARerunAreLive();
  await everyPageIsLive(event);
  await repeatingAsksFirst(event);
  await filtersSubmitAndStay();
  await thePaletteLeadsEverywhere(run);
  await aPauseIsUndone();
  await trendsAreShown();
}

await play({ faults });
