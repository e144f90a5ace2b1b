// Checks every page of the dashboard in a real browser: node pages.mjs SCENE URL
//
// tests/tests/dashboard.rs starts this script. The scene:
// - `pages`: a server without an AI and without a database, so that runs fail.
import assert from 'node:assert/strict';
import { base, client, look, openContext, page, play, runOf, send, shows } from './browser.mjs';

/** No finding of axe in any width and theme, and no page is wider than its window. */
async function everyPageIsAccessible(paths) {
  for (const width of [390, 1024, 1440]) {
    await page.setViewportSize({ width, height: 844 });
    for (const to of paths) {
      await page.goto(base + to);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert(wide <= 0, `${to} is ${wide} px wider than ${width} px`);
      await look(null, `${to} at ${width} px`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

/** Functions are paused together: the number is shown before, the result after, and it can be undone. */
async function functionsArePausedTogether() {
  await page.goto(`${base}/functions`);
  assert(await page.locator('button[value=pause]').isDisabled());
  await page.locator('#all').check();
  await shows('#selected', '5 selected');
  await page.locator('input[value=hello-world]').uncheck();
  await shows('#selected', '4 selected');
  await page.locator('button[value=pause]').click();
  await shows('.notice', 'Paused 4 functions.');
  await page.locator('.notice button', { hasText: 'Undo' }).click();
  await shows('.notice', 'Resumed 4 functions.');
  assert.equal(await page.locator('.status.Awaiting').count(), 0);
}

/** Without the script, every page is complete, and every action works. */
async function withoutScript(paths) {
  const plain = await openContext({ javaScriptEnabled: false });
  const tab = await plain.newPage();
  const seen = async (selector, text) => tab.locator(selector).filter({ hasText: text }).first().waitFor();
  for (const to of paths) {
    await tab.goto(base + to);
    assert(await tab.locator('h1').first().isVisible(), to);
    for (const button of await tab.locator('button.js, #zone, #palette-open, #keys-open').all()) {
      assert(!(await button.isVisible()), `${to}: a button that needs the script`);
    }
    assert.equal(await tab.locator('.tz').filter({ hasNotText: 'UTC' }).count(), 0, `${to}: times in UTC`);
  }
  // send an event, open its run, rerun it, and find it
  await tab.goto(`${base}/events`);
  await tab.locator('#send input[name=name]').fill('test/hello.world');
  await tab.locator('#send textarea').fill('{"name": "Plain"}');
  await tab.locator('#send button').click();
  await seen('.notice', 'The event was sent.');
  await tab.locator('a[href^="/runs/"]').first().click();
  await tab.locator('#again button.primary').click();
  await seen('#facts', 'A rerun of');
  await tab.goto(base);
  await tab.locator('#search').fill('Plain');
  await tab.locator('#search').press('Enter');
  await tab.waitForURL(/q=Plain/);
  assert.equal(await tab.locator('table.runs tbody tr').count(), 2);
  // bulk actions: selected runs, and all that match, page by page
  for (let n = 0; n < 130; n += 1) {
    await send({ name: 'test/hello.world', ts: Date.now() + 3_600_000 + n, data: { name: 'later' } });
  }
  await tab.goto(`${base}/?function=hello-world`);
  await tab.locator('input[name=run]').first().check();
  await tab.locator('button[value=cancel]').click();
  await seen('h1', 'Cancel 1 run?');
  await tab.locator('form.acts button.danger').click();
  await seen('.notice', 'Cancelled 1 run.');
  await tab.goto(`${base}/?function=hello-world`);
  await tab.locator('button[value=cancel-all]').click();
  await seen('h1', 'Cancel all matching runs: 1');
  await tab.locator('form.acts button.danger').click();
  await seen('.notice', 'cancelled'); // the first hundred
  await tab.locator('form.acts button').first().click();
  await seen('.notice', /Cancelled 1\d\d runs/);
  // functions, trends and costs
  await tab.goto(`${base}/functions`);
  await tab.locator('input[value=hello-world]').check();
  await tab.locator('button[value=pause]').click();
  await seen('.notice', 'Paused 1 function.');
  await tab.locator('.notice button').click();
  await seen('.notice', 'Resumed 1 function.');
  for (const [to, name] of [['/trends', 'Week'], ['/cost', '30 days']]) {
    await tab.goto(base + to);
    await tab.locator('nav.pills a', { hasText: name }).click();
    await tab.locator('nav.pills a[aria-current=true]', { hasText: name }).waitFor();
    await tab.locator('#values summary').click();
    assert(await tab.locator('#values tbody tr').first().isVisible());
  }
  await tab.locator('form.theme button').click();
  assert.equal(await tab.locator('html').getAttribute('data-theme'), 'dark');
  await plain.close();
}

async function pages() {
  const event = await send({ name: 'client/enhance.requested', data: client('Acme') });
  const run = await runOf(event);
  await send({ name: 'test/hello.world', data: { name: 'Ada' } });
  await page.goto(`${base}/runs/${run}`);
  await page.locator('#head .status.Failed').waitFor();
  const rerun = await fetch(`${base}/v1/runs/${run}/rerun`, { method: 'POST', body: '{}' });
  const other = (await rerun.json()).data.run_id;
  await page.goto(`${base}/runs/${other}`);
  await page.locator('#head .status.Failed').waitFor();
  const paths = [
    '/', '/?status=Failed', '/?from=2026-01-01T00:00', '/functions', '/function?id=hello-world', '/apps', '/events',
    `/events/${event}`, '/trends?span=hour', '/cost', '/cost?span=month&function=hello-world', '/health/page',
    `/runs/${run}`, `/runs/${run}?at=3`, `/runs/${other}/compare?with=${run}`, `/runs/${run}/value?of=event&view=page`,
  ];
  await everyPageIsAccessible([...paths, '/nonsense']);
  await functionsArePausedTogether();
  await withoutScript(paths);
}

await play({ pages });
