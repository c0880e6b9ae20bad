import { whatToDo } from './codes.js';
import { PLAYERS } from './players.js';
import { watchRequests } from './requests.js';
import { TOKENS, claims, inWords, mint } from './token.js';
import { segments } from '../keys.json';

const SERVER = 'http://127.0.0.1:3000';

const CLEAR_KEY = { shaka: 'manifest.mpd', dash: 'manifest.mpd', hls: 'main.m3u8' };
const SAMPLES = {
  cenc: { name: 'Clear Key, cenc', license: '/clearkey', players: CLEAR_KEY },
  cbcs: { name: 'Clear Key, cbcs', license: '/clearkey', players: CLEAR_KEY },
  aes128: {
    name: 'HLS AES-128',
    license: `/aes128/${segments.kid}`,
    players: { hls: 'main.m3u8', shaka: 'main.m3u8', videoJs: 'main.m3u8' },
    hint: 'In place of the URL that the playlist names.',
  },
  fairplay: {
    name: 'FairPlay, in Safari',
    license: '/fairplay',
    certificate: '/fairplay/certificate',
    players: { shaka: 'main.m3u8', hls: 'main.m3u8' },
    hint: 'Needs a credential of Apple’s on the server: the README of this page says how.',
  },
  own: {
    name: 'Content of your own',
    players: { shaka: '', hls: '', dash: '', videoJs: '' },
    hint: 'Leave it empty where an HLS AES-128 playlist names its key.',
  },
};

const at = (id) => document.getElementById(id);
const [sample, player, manifest, license, certificate, token, tokenKind, playButton, stopButton] =
  ['sample', 'player', 'manifest', 'license', 'certificate', 'token', 'token-kind', 'play', 'stop'].map(at);

const option = (value, text) => Object.assign(document.createElement('option'), { value, textContent: text });
const fill = (select, options) => select.replaceChildren(...options.map(([value, text]) => option(value, text)));
const named = (table) => Object.entries(table).map(([id, { name }]) => [id, name]);

function chooseSample() {
  const { players, license: path, certificate: certificatePath, hint = '' } = SAMPLES[sample.value];
  const kept = player.value;
  fill(player, Object.keys(players).map((id) => [id, PLAYERS[id].name]));
  if (kept in players) player.value = kept;
  at('license-label').textContent = sample.value === 'aes128' ? 'Key URL' : 'Licence URL';
  at('license-hint').textContent = hint;
  license.value = path ? SERVER + path : '';
  certificate.value = certificatePath ? SERVER + certificatePath : '';
  choosePlayer();
}

function choosePlayer() {
  const file = SAMPLES[sample.value].players[player.value];
  manifest.value = file ? `/clip/${sample.value}/${file}` : '';
}

function say(text, kind = '') {
  const status = at('status');
  status.textContent = text;
  status.dataset.kind = kind;
}

function showToken() {
  const found = claims(token.value);
  at('claims').textContent = found ? JSON.stringify(found, null, 2) : token.value.trim() ? 'This is not a JWT.' : 'There is no token.';
}

async function makeToken() {
  token.value = await mint(tokenKind.value);
  showToken();
}

const element = (name, text, className = '') =>
  Object.assign(document.createElement(name), { textContent: text, className });

/** A paragraph, in which what stands between backticks is code. */
const paragraph = (text, className = '') => {
  const item = element('p', '', className);
  item.append(...text.split('`').map((part, index) => (index % 2 ? element('code', part) : part)));
  return item;
};

/** A row of an event's details. */
const detail = (name, text) => {
  const row = element('div', '');
  row.append(element('dt', name), element('dd', text));
  return row;
};

/** The entries of this attempt to play, by what they say: what happens again is counted in its entry. */
let entries = new Map();

function show(what, item) {
  const { count, shown } = entries.get(what) ?? { count: 0 };
  if (count > 0) item.firstChild.append(' ', element('small', `${count + 1} times`));
  if (shown) shown.replaceWith(item);
  else at('events').prepend(item);
  entries.set(what, { count: count + 1, shown: item });
  at('nothing').hidden = true;
}

function showRequest({ method, url, status, code, requestId, milliseconds, token: sent, problem }) {
  const isRefused = status < 200 || status >= 300;
  if (isRefused) say('No licence or key. The list says why, and what to change.', 'bad');
  const item = element('li', '', isRefused ? 'refused' : '');
  const line = element('div', '', 'line');
  line.append(element('strong', status === 0 ? 'no answer' : [status, code].filter(Boolean).join(' ')));
  line.append(element('code', `${method} ${url}`), element('small', `${milliseconds.toFixed(0)} ms`));
  item.append(line);
  if (problem?.title) item.append(paragraph(problem.title));
  if (isRefused) item.append(paragraph(whatToDo(status, code), 'todo'));
  const details = element('dl', '');
  if (problem?.detail) details.append(detail('Detail', problem.detail));
  // The certificate is public: no token goes with it.
  if (!url.includes('/certificate')) details.append(detail('Token', inWords(sent)));
  if (requestId) details.append(detail('Request id', requestId));
  item.append(details);

  show([method, url, status, code, sent].join(' '), item);
}

/** What a player says of its own failure. */
function showFailure(sentence) {
  if (at('status').dataset.kind !== 'bad') say(sentence, 'bad');
  const item = element('li', '', 'refused');
  item.append(paragraph(sentence));
  show(sentence, item);
}

let end = () => {};

async function stop() {
  stopButton.disabled = true;
  const ending = end;
  end = () => {};
  await ending();
}

async function play() {
  playButton.disabled = true;
  await stop();
  entries = new Map();
  const video = Object.assign(document.createElement('video'), { controls: true, muted: true, playsInline: true });
  video.setAttribute('aria-label', 'The sample');
  at('screen').replaceChildren(video);
  at('frames').textContent = '';
  at('stage').scrollIntoView({ block: 'nearest' });
  const chosen = PLAYERS[player.value];
  say(`${chosen.name} loads the manifest.`);
  let isPlaying = false;
  video.addEventListener('timeupdate', () => {
    const { totalVideoFrames } = video.getVideoPlaybackQuality();
    at('frames').textContent = `${totalVideoFrames} frames decoded`;
    if (isPlaying || totalVideoFrames < 8) return;
    isPlaying = true;
    say('Playing: the key is the right one.', 'good');
  });
  const absolute = (input) => (input.value.trim() ? new URL(input.value.trim(), location.href).href : '');
  try {
    end = await chosen.play({
      video,
      manifest: absolute(manifest),
      license: absolute(license),
      certificate: absolute(certificate),
      key: sample.value === 'aes128' ? absolute(license) : '',
      token: token.value.trim(),
      failed: showFailure,
    });
    stopButton.disabled = false;
  } catch (error) {
    showFailure(`${chosen.name}: ${error.message ?? error.code}`);
  } finally {
    playButton.disabled = false;
  }
}

watchRequests(showRequest);
fill(sample, named(SAMPLES));
fill(tokenKind, named(TOKENS));
chooseSample();
sample.addEventListener('change', chooseSample);
player.addEventListener('change', choosePlayer);
token.addEventListener('input', showToken);
tokenKind.addEventListener('change', makeToken);
at('mint').addEventListener('click', makeToken);
stopButton.addEventListener('click', async () => {
  await stop();
  at('screen').replaceChildren();
  at('frames').textContent = '';
  say('Stopped.');
});
at('clear').addEventListener('click', () => {
  at('events').replaceChildren();
  entries = new Map();
  at('nothing').hidden = false;
});
at('form').addEventListener('submit', (event) => {
  event.preventDefault();
  play();
});
await makeToken();
