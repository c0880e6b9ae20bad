import { whatToDo } from './codes.js';
import { PLAYERS } from './players.js';
import { watchRequests } from './requests.js';
import { claims, mint } from './token.js';

const SERVER = 'http://127.0.0.1:3000';

const SAMPLES = {
  cenc: { name: 'Clear Key, cenc', players: { shaka: 'manifest.mpd', dash: 'manifest.mpd', hls: 'main.m3u8' } },
  cbcs: { name: 'Clear Key, cbcs', players: { shaka: 'manifest.mpd', dash: 'manifest.mpd', hls: 'main.m3u8' } },
  aes128: { name: 'HLS AES-128', players: { hls: 'main.m3u8', shaka: 'main.m3u8', videoJs: 'main.m3u8' } },
  own: { name: 'Content of your own', players: { shaka: '', hls: '', dash: '', videoJs: '' } },
};

const at = (id) => document.getElementById(id);
const [sample, player, manifest, license, certificate, token] =
  ['sample', 'player', 'manifest', 'license', 'certificate', 'token'].map(at);

const option = (value, text) => Object.assign(document.createElement('option'), { value, textContent: text });
const fill = (select, options) => select.replaceChildren(...options.map(([value, text]) => option(value, text)));

function chooseSample() {
  const { players } = SAMPLES[sample.value];
  const kept = player.value;
  fill(player, Object.keys(players).map((id) => [id, PLAYERS[id].name]));
  if (kept in players) player.value = kept;
  choosePlayer();
}

function choosePlayer() {
  const isOwn = sample.value === 'own';
  const isSegments = sample.value === 'aes128';
  if (!isOwn) {
    manifest.value = `/clip/${sample.value}/${SAMPLES[sample.value].players[player.value]}`;
    license.value = isSegments ? '' : `${SERVER}/clearkey`;
  }
  license.disabled = isSegments;
  at('license-hint').textContent = isSegments ? 'The playlist says where its key is.' : '';
}

function say(text, kind = '') {
  const status = at('status');
  status.textContent = text;
  status.dataset.kind = kind;
}

function showClaims() {
  const found = claims(token.value);
  const text = token.value.trim() ? 'This is not a JWT.' : 'There is no token.';
  at('claims').textContent = found ? JSON.stringify(found, null, 2) : text;
}

const element = (name, text, className = '') =>
  Object.assign(document.createElement(name), { textContent: text, className });

function showRequest({ method, url, status, code, requestId, milliseconds }) {
  const isRefused = status < 200 || status >= 300;
  const item = element('li', '', isRefused ? 'refused' : '');
  const line = element('div', '', 'line');
  const answer = status === 0 ? 'no answer' : `${status} ${code ?? 'ok'}`;
  line.append(element('span', answer, 'answer'), element('span', `${method} ${url}`, 'url'));
  line.append(element('small', `${milliseconds.toFixed(0)} ms`));
  item.append(line);
  if (isRefused) {
    say('The server refused. The list below says why.', 'bad');
    const unreachable = 'The server did not answer, or does not let this page read its answers: is it running, and is this origin in cors_origins?';
    item.append(element('p', status === 0 ? unreachable : whatToDo(code)));
  }
  const found = claims(token.value);
  const until = found?.exp ? `token of ${found.sub ?? 'nobody'}, until ${new Date(found.exp * 1000).toLocaleTimeString()}` : 'no token';
  item.append(element('small', requestId ? `${until}; request ${requestId}` : until));
  at('events').prepend(item);
  at('nothing').hidden = true;
}

let end = () => {};

async function play() {
  await end();
  const video = Object.assign(document.createElement('video'), { controls: true, muted: true, playsInline: true });
  at('screen').replaceChildren(video);
  const chosen = PLAYERS[player.value];
  say(`${chosen.name} loads the manifest.`);
  let hasFailed = false;
  const failed = (message) => {
    hasFailed = true;
    say(`${message}. The list below says what the server answered.`, 'bad');
  };
  video.addEventListener('timeupdate', () => {
    const { totalVideoFrames } = video.getVideoPlaybackQuality();
    if (!hasFailed && totalVideoFrames >= 8) say(`Playing: ${totalVideoFrames} frames decoded.`, 'good');
  });
  const absolute = (input) => (input.value.trim() ? new URL(input.value.trim(), location.href).href : '');
  try {
    end = await chosen.play({
      video,
      manifest: absolute(manifest),
      license: absolute(license),
      certificate: absolute(certificate),
      token: token.value.trim(),
      failed,
    });
  } catch (error) {
    failed(`${chosen.name}: ${error.message ?? error.code}`);
  }
}

watchRequests(showRequest);
fill(sample, Object.entries(SAMPLES).map(([id, { name }]) => [id, name]));
chooseSample();
sample.addEventListener('change', chooseSample);
player.addEventListener('change', choosePlayer);
token.addEventListener('input', showClaims);
const make = (seconds) => async () => {
  token.value = await mint(seconds);
  showClaims();
};
at('mint').addEventListener('click', make(3600));
at('mint-expired').addEventListener('click', make(-3600));
at('clear').addEventListener('click', () => {
  at('events').replaceChildren();
  at('nothing').hidden = false;
});
at('form').addEventListener('submit', (event) => {
  event.preventDefault();
  play();
});
await make(3600)();
