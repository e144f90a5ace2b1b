// Tests the page of a run in a real browser: node run-page.mjs SCENE URL [FOLDER FOR SCREENSHOTS]
//
// tests/tests/dashboard.rs starts this script. The scenes:
// - `values`: a server with its functions.
// - `long`: a server with one run of 1,000 steps. Step 500 failed.
import assert from 'node:assert/strict';
import { base, context, isMarked, look, mark, page, play, runOf, send, shows } from './browser.mjs';

const clipboard = () => page.evaluate(() => navigator.clipboard.readText());

/** A value is searched, folded, copied, and loaded in full. */
async function aValueIsRead() {
  const rows = Array.from({ length: 900 }, (_, n) => ({ id: n, name: `product ${n}` }));
  const text = '# Plan\n\nFirst **read**, then write.\n\n- one\n- two\n\n```\nlet a = 1;\n```\nAnd more text.';
  const run = await runOf(await send({ name: 'test/hello.world', data: { name: 'Ada', text, rows } }));
  await page.goto(`${base}/runs/${run}`);
  await page.locator('#head .status.Completed').waitFor();
  const input = page.locator('.value').filter({ hasText: 'product' }).first();
  await input.locator('h4', { hasText: 'Plan' }).waitFor();
  assert.equal(await input.locator('.prose pre').textContent(), 'let a = 1;\n');
  // the script loads the rest when the value is visible
  await input.scrollIntoViewIfNeeded();
  await input.locator('a', { hasText: 'Show all' }).waitFor({ state: 'detached' });
  await input.locator('[data-find]').fill('product 899');
  await shows('.toast', '1 found');
  assert(await input.locator('bdi', { hasText: 'product 899' }).isVisible(), 'the fold around it is open');
  await input.locator('button', { hasText: 'Fold' }).click();
  assert(!(await input.locator('bdi', { hasText: 'product 899' }).isVisible()), 'folded');
  const fold = input.locator('summary', { hasText: 'rows' });
  assert.equal((await fold.innerText()).replace(/\s+/g, ''), '"rows":[900items]', 'the fold is one line');
  assert((await fold.boundingBox()).height < 30, 'one line high');
  await input.locator('button', { hasText: 'Copy' }).first().click();
  await shows('.toast', 'Copied');
  assert.equal(JSON.parse(await clipboard()).rows.length, 900);
  await page.locator('button', { hasText: 'Copy as curl' }).first().click();
  const isCommand = (url) => navigator.clipboard.readText().then((text) => text.startsWith(`curl -X POST ${url} `));
  await page.waitForFunction(isCommand, `${base}/e/dev`);
  await page.locator('.crumbs .copy').click();
  await page.waitForFunction((id) => navigator.clipboard.readText().then((text) => text === id), run);
  await look('values');
}

/** What the reader selected and opened is still selected and open after an update. */
async function aSelectionSurvivesUpdates() {
  const later = { name: 'test/hello.world', ts: Date.now() + 3_600_000, data: { name: 'x', list: [1, 2, 3] } };
  const run = await runOf(await send(later));
  await page.goto(`${base}/runs/${run}`);
  await page.locator('#live:not(.polls)').waitFor();
  await mark();
  await page.locator('#facts code.id').first().evaluate((code) => getSelection().selectAllChildren(code));
  const selected = await page.evaluate(() => getSelection().toString());
  assert.equal(selected.length, 26, selected);
  await fetch(`${base}/v1/runs/${run}`, { method: 'DELETE' });
  await page.locator('#head .status.Cancelled').waitFor();
  await shows('#facts', 'Ended');
  assert(await isMarked());
  assert.equal(await page.evaluate(() => getSelection().toString()), selected);
}

async function values() {
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: base });
  await aValueIsRead();
  await aSelectionSurvivesUpdates();
}

const box = page.locator('.rows-box');
const selected = (name) => page.locator('#steps .step[aria-current]', { hasText: name }).waitFor();

async function long() {
  const [{ run_id: run }] = (await (await fetch(`${base}/v1/runs`)).json()).data;
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.goto(`${base}/runs/${run}`);
  await mark();
  await shows('#step', 'process-row-500'); // the step that failed
  assert((await page.locator('#steps .step').count()) <= 100, 'the page holds a window of the rows');
  // the timeline and the selected step are side by side
  const [list, step] = [await page.locator('.list').boundingBox(), await page.locator('#step').boundingBox()];
  assert(list.x + list.width <= step.x + 1 && Math.abs(list.y - step.y) < 40, JSON.stringify([list, step]));
  await look('long');
  // scroll to the end: the script loads the rows
  await box.evaluate((element) => (element.scrollTop = element.scrollHeight));
  await page.locator('#step-999').waitFor();
  assert((await page.locator('#steps .step').count()) <= 100);
  await page.locator('#step-999').click();
  await shows('#step', 'process-row-999');
  assert(page.url().includes('step=999'), page.url());
  await page.locator('a', { hasText: 'First failed' }).click();
  await selected('process-row-500');
  assert(await page.locator('#step-500').isVisible(), 'scrolled to');
  await page.goBack();
  await selected('process-row-999');
  // keys select the next and the previous row
  await page.locator('#step-998').click();
  await page.keyboard.press('j');
  await selected('process-row-999');
  // filter by name while typing
  await page.locator('#find').fill('row-77');
  await shows('#steps-acts', '11 of 1000');
  assert.equal(await page.locator('#steps .step').count(), 11);
  await page.locator('#find').fill('');
  await shows('#steps-acts', '1000');
  // zoom by dragging over the overview
  const { x, y, width } = await page.locator('#overview').boundingBox();
  await page.mouse.move(x + width * 0.25, y + 10);
  await page.mouse.down();
  await page.mouse.move(x + width * 0.26, y + 10);
  await page.mouse.up();
  await page.locator('a', { hasText: 'Whole run' }).waitFor();
  const zoomed = await page.locator('#steps').getAttribute('data-total');
  assert(Number(zoomed) < 130, `${zoomed} rows`);
  await look('long-zoomed');
  await page.locator('a', { hasText: 'Whole run' }).click();
  await page.locator('a', { hasText: 'Group by name' }).click();
  await shows('#steps', 'process-row-*');
  assert(await isMarked(), 'the page was never loaded again');
  // an address with a fragment selects the step, as those of earlier versions did
  await page.goto(`${base}/runs/${run}#step-321`);
  await page.reload();
  await shows('#step', 'process-row-321');
  await page.setViewportSize({ width: 390, height: 844 });
  await page.goto(`${base}/runs/${run}?step=500`);
  assert(!(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)), 'wider than a phone');
  await look('long-phone');
}

/** Without the script, each view is a page that the server renders. */
async function withoutScript() {
  const [{ run_id: run }] = (await (await fetch(`${base}/v1/runs`)).json()).data;
  const plain = await page.context().browser().newContext({ javaScriptEnabled: false });
  const tab = await plain.newPage();
  await tab.goto(`${base}/runs/${run}`);
  await tab.locator('a', { hasText: 'More steps' }).click();
  await tab.locator('#step-150').click();
  await tab.locator('#step', { hasText: 'process-row-150' }).waitFor();
  await tab.locator('a', { hasText: 'In' }).first().click();
  await tab.locator('a', { hasText: 'Whole run' }).waitFor();
  await tab.locator('#find').fill('row-7');
  await tab.locator('#find').press('Enter');
  await tab.locator('#steps-acts', { hasText: ' of 1000' }).waitFor();
  assert(!(await tab.locator('button.js').first().isVisible()), 'no button that needs the script');
  await plain.close();
}

await play({ values, long: () => long().then(withoutScript) });
