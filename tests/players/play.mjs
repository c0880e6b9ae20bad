// Plays packaged media in the players, with the browser's own decryption and keys of a running server.
//
//   node play.mjs <request.json >results.json
//
// The request: {"folder", "cases": [{"case", "player", "path", "server", "token", "enough"}, …]}. `folder` has
// packaged media, `player` is a name of clear.mjs, `path` a manifest in the folder, `server` the base URL of the
// licences, and `enough` the number of frames after which a case is over. What comes out, in the same order:
// [{"case", "frames", "error", "shown"}, …], with the number of frames that were decoded, the player's error, and the
// server's code of a refusal as the page sees it.
//
// Time passes without a picture too, so decoded frames count and `currentTime` does not.

import { text } from 'node:stream/consumers';
import { describe, inTurns, report, start, version } from './browser.mjs';
import { PLAYERS } from './clear.mjs';
import { startSite } from './site.mjs';

const AT_A_TIME = 4;
const PLAY_MILLISECONDS = 10_000;
/** How long a player that has failed is still watched for a picture. */
const AFTER_MILLISECONDS = 1_000;
const LOAD_MILLISECONDS = 20_000;

/** In the page: plays until there are enough frames, the player has failed, or the time is over. */
async function watch({ asked, milliseconds, after }) {
  const { PLAYERS } = await import('/clear.mjs');
  const video = document.body.appendChild(document.createElement('video'));
  video.muted = true;
  video.autoplay = true;
  const result = { error: null, shown: null };
  let end = performance.now() + milliseconds;
  const ends = (member) => (value) => {
    result[member] ??= value;
    end = Math.min(end, performance.now() + after);
  };
  // Players that try again and again do not say that the picture cannot be decoded.
  const failed = ({ target }) => {
    if (target instanceof HTMLVideoElement) ends('error')(`media error ${target.error?.code}`);
  };
  document.addEventListener('error', failed, true);
  // Video.js may put another element in the place of the one that it was given.
  const frames = () => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames;
  PLAYERS[asked.player].play(video, asked, { fail: ends('error'), show: ends('shown') })
    .catch((error) => ends('error')(error.message));
  while (frames() < asked.enough && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { frames: frames(), ...result };
}

async function play(context, site, asked) {
  const { library, scripts } = PLAYERS[asked.player];
  const page = await context.newPage();
  const log = [];
  page.on('console', (message) => log.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => log.push(`page: ${error.message}`));
  page.on('response', async (response) => {
    if (response.url().startsWith(site.url)) return;
    log.push(await describe(response).catch((error) => error.message));
  });
  page.setDefaultTimeout(LOAD_MILLISECONDS);
  try {
    const query = scripts.map((script) => `script=${script}`).join('&');
    await page.goto(`${site.url}/player.html?${query}`);
    const result = await page.evaluate(watch, {
      asked: { ...asked, url: `${site.url}/packaged/${new URL(asked.server).host}/${asked.path}` },
      milliseconds: PLAY_MILLISECONDS,
      after: AFTER_MILLISECONDS,
    });
    const player = `${library} ${await version(library)}`;
    console.error([`${player}: ${asked.case}: ${JSON.stringify(result)}`, ...log].join('\n  '));
    return { case: asked.case, ...result };
  } finally {
    await page.close();
  }
}

async function main() {
  const { folder, cases } = JSON.parse(await text(process.stdin));
  await report(startSite(folder), (site, browser) =>
    inTurns(cases, AT_A_TIME, () => browser.newContext(), (context, asked) => play(context, site, asked)));
}

start(main);
