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
