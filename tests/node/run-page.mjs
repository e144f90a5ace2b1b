// Tests the page of a run in a real browser: node run-page.mjs SCENE URL [FOLDER FOR SCREENSHOTS]
//
// tests/tests/dashboard.rs starts this script. The scenes:
// - `values`: a server with its functions.
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
  assert.equal((await fold.innerText()).replace(/\s+/g, ' ').trim(), '"rows": [ 900 items ]', 'the fold is one line');
  assert((await fold.boundingBox()).height < 30, 'one line high');
  await input.locator('button', { hasText: 'Copy' }).first().click();
  await shows('.toast', 'Copied');
  assert.equal(JSON.parse(await clipboard()).rows.length, 900);
  await page.locator('button', { hasText: 'Copy as curl' }).first().click();
  await page.waitForFunction(() => navigator.clipboard.readText().then((text) => text.startsWith('curl ')));
  assert((await clipboard()).includes(`${base}/e/dev`), await clipboard());
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

await play({ values });
