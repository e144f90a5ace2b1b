// Helpers of the scripts that test the dashboard in a real browser: node SCRIPT SCENE URL [FOLDER FOR SCREENSHOTS]
//
// Each script starts one browser with one page. The exit code is 0 if all checks of the scene succeed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const packages = createRequire(path.join(process.cwd(), 'here.js'));
const { chromium } = packages('playwright-core');
const axe = fs.readFileSync(packages.resolve('axe-core/axe.min.js'), 'utf8');

export const [scene, base, shots] = process.argv.slice(2);
const LIMIT = 30_000;
const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
// playwright creates a new profile for each launch
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: flags });
export const context = await browser.newContext({ colorScheme: 'light', viewport: { width: 1280, height: 800 } });
context.setDefaultTimeout(LIMIT);
export const page = await context.newPage();

/** Opens another profile, for example in another time zone or without scripts. */
export const openContext = async (options) => {
  const other = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  other.setDefaultTimeout(LIMIT);
  return other;
};
const complaints = [];
page.on('console', (message) => {
  if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
});
page.on('pageerror', (error) => complaints.push(String(error)));
page.on('dialog', (dialog) => dialog.accept());

/** Sends an event; its id. */
export async function send(event) {
  const answer = await fetch(`${base}/e/browser`, { method: 'POST', body: JSON.stringify(event) });
  assert.equal(answer.status, 200);
  return (await answer.json()).ids[0];
}

/** The run that an event starts. */
export async function runOf(event) {
  const answer = await fetch(`${base}/v1/events/${event}/runs`);
  return (await answer.json()).data[0].run_id;
}

/** Marks the document: a page that was loaded again has no mark. */
export const mark = () => page.evaluate(() => (window.marked = true));
export const isMarked = () => page.evaluate(() => window.marked === true);

export async function shows(selector, text) {
  await page.locator(selector).filter({ hasText: text }).first().waitFor();
}

/** No finding of axe, in light and in dark; and a picture of each where they are asked for. Without a name, no picture. */
export async function look(name, where = name) {
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    // run axe through the debugger, because the page's policy forbids other scripts
    const { result } = await axeOn();
    const told = result.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => html + '\n' + failureSummary).join('\n')}`);
    assert.deepEqual(told, [], `${where}, ${scheme}`);
    if (shots && name) await fromTheTop(() => page.screenshot({ path: path.join(shots, `${name}-${scheme}.png`), fullPage: true }));
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

/** Takes a picture with the header at the top of the page, and scrolls back. */
async function fromTheTop(picture) {
  const scrolled = await page.evaluate(() => scrollY);
  await page.evaluate(() => scrollTo(0, 0));
  await picture();
  await page.evaluate((to) => scrollTo(0, to), scrolled);
}

async function axeOn() {
  await page.evaluate(axe);
  return { result: await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] })) };
}

/** The data of an event that starts the function that enhances a client. */
export function client(name) {
  return { clientId: 'c1', clientName: name, clientDomain: 'acme.example' };
}

/** Runs the scene that the command line names, and checks that the console has no complaint. */
export async function play(scenes) {
  try {
    await scenes[scene]();
    // ignore the 404 of the missing page that the test opened on purpose
    const unmeant = complaints.filter((text) => !/404 \(Not Found\)|net::ERR_FAILED/.test(text)); // the second: aborted on purpose
    assert.deepEqual(unmeant, [], 'the console');
    console.log('all of it holds');
  } catch (error) {
    console.error(error.stack ?? error);
    console.error('at', page.url(), '\nconsole:', complaints.join('\n'));
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}
