// Runs the players of service.mjs against a running server, over a CDM of Widevine or PlayReady.
//
//   node service-run.mjs <request.json >exchanges.json
//
// The request: {"url", "token", "system", "keySystem", "kid", "certificate", "page",
// "messages": [[{"type", "message"}, …], …]}. `url` is that of licences, `system` is "widevine" or "playready", `kid` is
// hex, "certificate" is the service's in base64, and "page" has the recipe of docs/players.md for each library. For each
// exchange there are the messages that the CDM sends, in base64, one after each answer: the types are "certificate",
// "licence" and "renewal". What comes out: [{"player", "path", "updates"}, …], in the order of `messages`, with what the
// player gave to the CDM for each message, in base64.
//
// With "recipes" in the request, an object of JavaScript by player that defines `refusal(error)`, the token is one that is
// refused, and what comes out is [{"player", "shown"}, …]: what the recipe makes of the player's error.

import { text } from 'node:stream/consumers';
import { inTurns, openPage, report, start, version, watched } from './browser.mjs';
import { PLAYERS } from './service.mjs';
import { startSite } from './site.mjs';

const AT_A_TIME = 2;
const EDGE = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 '
  + 'Safari/537.36 Edg/146.0.0.0';

/** In the page: plays until every message has its answer, or until the player's recipe has its error. */
async function play({ name, index, asked, messages, recipe }) {
  const { PLAYERS } = await import('/service.mjs');
  const { library, play: start, exchanges } = PLAYERS[name];
  const { keySystem = asked.keySystem, options } = exchanges[index];
  device.insert({ ...asked, keySystem, messages });
  const refused = new Promise((resolve, reject) => {
    const fail = (error) => {
      if (recipe) resolve(new Function(`${recipe}\nreturn refusal;`)()(error));
      else reject(new Error(`the player: ${JSON.stringify(error?.message ?? error?.details ?? error?.code)}`));
    };
    Promise.resolve(start(asked, fail, options(asked, library))).catch(reject);
  });
  return Promise.race([device.updates, refused]);
}

async function open(page, site, { system, name }) {
  const query = [`eme=${system}`, ...PLAYERS[name].scripts.map((script) => `script=${script}`)].join('&');
  await page.goto(`${site.url}/player.html?${query}`);
}

async function main() {
  const { messages, recipes, ...asked } = JSON.parse(await text(process.stdin));
  const exchanges = Object.entries(PLAYERS).flatMap(([name, { library, exchanges: all }]) =>
    [...all.entries()]
      .filter(([index, { systems }]) => (recipes ? index === 0 : systems?.includes(asked.system) ?? true))
      .map(([index, { path }]) => ({ name, library, index, path })));
  if (messages.length < exchanges.length) {
    throw new Error(`${exchanges.length} exchanges need as many lists of messages, not ${messages.length}`);
  }
  const origin = new URL(asked.url).origin;
  await report(startSite(), (site, browser) =>
    inTurns(exchanges, AT_A_TIME, () => openPage(browser, EDGE), async (page, { name, library, index, path }, at) => {
      const player = `${library} ${await version(library)}`;
      const { result, requests } = await watched(page, origin, async () => {
        await open(page, site, { system: asked.system, name });
        return page.evaluate(play, { name, index, asked, messages: messages[at], recipe: recipes?.[library] });
      }).catch((error) => { throw new Error(`${player}, ${path}: ${error.message}`); });
      console.error([`${player}: ${path}`, ...requests].join('\n  '));
      return recipes ? { player, shown: result } : { player, path, updates: result };
    }));
}

start(main);
