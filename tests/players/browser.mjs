// The browser, and what the runners say of a player and of its requests.

import { readFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';

const ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
];

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: ARGUMENTS,
});

/** A page for one exchange after the other: a new one costs as much time as an exchange. */
export async function openPage(browser, userAgent) {
  const context = await browser.newContext({ userAgent });
  const page = await context.newPage();
  // Neither a certificate nor the answer to a preflight is kept from one exchange for the next.
  const session = await context.newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.setCacheDisabled', { cacheDisabled: true });
  return page;
}

const LICENCE_MILLISECONDS = 20_000;

/** What `promise` gives, or an error when it takes longer than a licence may. */
export async function inTime(promise) {
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no licence in time')), LICENCE_MILLISECONDS);
  });
  return Promise.race([promise, expired]).finally(() => clearTimeout(timer));
}

/**
 * What `play` gives in time, and the answers of the server at `origin` in the meantime. An error says what the page and the
 * server said.
 */
export async function watched(page, origin, play) {
  const replies = [];
  const log = [];
  page.on('console', (message) => log.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => log.push(`page: ${error.message}`));
  page.on('response', (response) => {
    if (response.url().startsWith(`${origin}/`)) replies.push(response);
  });
  try {
    return { result: await inTime(play(replies)), requests: await Promise.all(replies.map(describe)) };
  } catch (error) {
    for (const reply of replies) {
      log.push(await describe(reply));
      if (!reply.ok()) log.push(await reply.text().catch(() => 'no body'));
    }
    throw new Error([error.message, ...log].join('\n  '));
  } finally {
    page.removeAllListeners();
  }
}

export async function version(library) {
  const path = new URL(`node_modules/${library}/package.json`, import.meta.url);
  return JSON.parse(await readFile(path)).version;
}

/** One line for a request to the server, as the browser sent it. */
export async function describe(response) {
  const request = response.request();
  const [sent, received] = await Promise.all([request.allHeaders(), response.allHeaders()]);
  const { pathname, search } = new URL(request.url());
  return `${request.method()} ${pathname}${search.replace(/token=[^&]*/, 'token=…')}`
    + ` accept=${sent.accept ?? '-'} content-type=${sent['content-type'] ?? '-'}`
    + ` -> ${response.status()} ${received['content-type'] ?? '-'}`;
}

/** What `work` makes of each item, in their order. `places` work at a time, each on a page or a context that `open` gives. */
export async function inTurns(items, places, open, work) {
  const results = [];
  const left = items.entries();
  await Promise.all(Array.from({ length: places }, async () => {
    const place = await open();
    for (const [index, item] of left) results[index] = await work(place, item, index);
  }));
  return results;
}

/** Prints what `play` makes of a site and a browser, as JSON. What fails is the end of the process. */
export async function report(starting, play) {
  const site = await starting;
  const browser = await launch();
  try {
    process.stdout.write(`${JSON.stringify(await play(site, browser), null, 2)}\n`);
  } finally {
    await browser.close();
    site.stop();
  }
}

/** Starts the main function of a runner. */
export function start(main) {
  main().catch((error) => {
    console.error(error.message, error.cause?.message ?? '');
    process.exitCode = 1;
  });
}
