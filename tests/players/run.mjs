// Runs the players' own code against a running server.
//
//   node run.mjs <request.json >exchanges.json
//
// The request: {"url": "http://127.0.0.1:3000", "token": "<JWT>", "spcs": ["<base64>", …]}, with an
// SPC for each exchange at least. What comes out: [{"player", "path", "spc", "ckc"}, …], where "spc"
// is an index into the request's and "ckc" is the base64 of what the player gave to the device.
//
// Each exchange loads its player anew and plays a stream until the device has its licence. One that
// gives none in time, or asks twice, fails the run.
//
// With "recipes" in the request, an object of JavaScript by player that defines `refusal(error)`, the token is one
// that is refused, and what comes out is [{"player", "shown"}, …]: what the recipe makes of the player's error.

import { text } from 'node:stream/consumers';
import { inTime, inTurns, openPage, report, start, version, watched } from './browser.mjs';
import * as contribEme from './contrib-eme.mjs';
import * as dash from './dash.mjs';
import * as hls from './hls.mjs';
import * as shaka from './shaka.mjs';
import { startSite } from './site.mjs';

const PLAYERS = { 'shaka.mjs': shaka, 'dash.mjs': dash, 'hls.mjs': hls, 'contrib-eme.mjs': contribEme };
const AT_A_TIME = 2;
const SAFARI = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 '
  + '(KHTML, like Gecko) Version/26.1 Safari/605.1.15';

/** The server's certificate, as base64: the device takes no other from a player. */
async function certificateOf(server) {
  const response = await fetch(`${server}/fairplay/certificate`);
  if (!response.ok) throw new Error(`certificate: HTTP ${response.status}`);
  return Buffer.from(await response.arrayBuffer()).toString('base64');
}

/** Plays in `page` until the device has a licence, which is returned. */
async function licence(page, site, certificate, { server, token, module, index, spc }) {
  const { eme, scripts = PLAYERS[module].scripts } = PLAYERS[module].exchanges[index];
  const query = [`eme=${eme}`, ...scripts.map((script) => `script=${script}`)].join('&');
  await page.goto(`${site.url}/player.html?${query}`);
  return page.evaluate(async ({ module, index, spc, certificate, server, token }) => {
    const { exchanges } = await import(`/${module}`);
    device.insert(spc, certificate);
    // A player's promise may be kept before its device is licensed, or after; broken, it is a failure.
    const broken = new Promise((_, reject) => {
      exchanges[index].play({ server, token }).catch((error) =>
        reject(new Error(error?.message ?? JSON.stringify(error))));
    });
    return Promise.race([device.licence, broken]);
  }, { module, index, spc, certificate, server, token });
}

async function run(page, site, certificate, exchange) {
  const { result, requests } = await watched(page, exchange.server, async (replies) => {
    const ckc = await licence(page, site, certificate, exchange);
    const licences = replies.filter((reply) => reply.request().method() === 'POST');
    if (licences.length !== 1) throw new Error(`${licences.length} licence requests`);
    return ckc;
  });
  return { ckc: result, requests };
}

/** What the page's recipe for a player says of a licence that is refused. */
async function refused(page, site, certificate, { server, token, module, recipe, spc }) {
  const { refusal: { eme }, scripts } = PLAYERS[module];
  const query = [`eme=${eme}`, ...scripts.map((script) => `script=${script}`)].join('&');
  await page.goto(`${site.url}/player.html?${query}`);
  return page.evaluate(async ({ module, recipe, spc, certificate, server, token }) => {
    const { refusal } = await import(`/${module}`);
    device.insert(spc, certificate);
    const error = await refusal.play({ server, token });
    const read = new Function(`${recipe}\nreturn refusal;`)();
    return read(error);
  }, { module, recipe, spc, certificate, server, token });
}

async function refusals(browser, site, certificate, { server, token, spcs, recipes }) {
  const page = await openPage(browser, SAFARI);
  const results = [];
  for (const [module, { library }] of Object.entries(PLAYERS)) {
    const player = `${library} ${await version(library)}`;
    const asked = { server, token, module, recipe: recipes[library], spc: spcs[results.length] };
    const shown = await inTime(refused(page, site, certificate, asked))
      .catch((error) => { throw new Error(`${player}: ${error.message}`); });
    results.push({ player, shown });
  }
  return results;
}

async function main() {
  const { url: server, token, spcs, recipes } = JSON.parse(await text(process.stdin));
  const exchanges = Object.entries(PLAYERS).flatMap(([module, player]) =>
    player.exchanges.map(({ path }, index) => ({ module, index, path, library: player.library })));
  if (!recipes && spcs.length < exchanges.length) {
    throw new Error(`${exchanges.length} exchanges need as many SPCs, not ${spcs.length}`);
  }

  const certificate = await certificateOf(server);
  await report(startSite(), (site, browser) => (recipes
    ? refusals(browser, site, certificate, { server, token, spcs, recipes })
    : inTurns(exchanges, AT_A_TIME, () => openPage(browser, SAFARI), async (page, { module, index, path, library }, spc) => {
      const player = `${library} ${await version(library)}`;
      const exchange = { server, token, module, index, spc: spcs[spc] };
      const { ckc, requests } = await run(page, site, certificate, exchange)
        .catch((error) => { throw new Error(`${player}, ${path}: ${error.message}`); });
      console.error([`${player}: ${path}`, ...requests].join('\n  '));
      return { player, path, spc, ckc };
    })));
}

start(main);
