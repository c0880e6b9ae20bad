// The players. Each plays a manifest into a video element with a token, and says when it gives up.
//
// `play({ video, manifest, license, certificate, key, token, failed })` returns a function that ends it. `key` is a URL in
// place of the one that an AES-128 playlist names. `failed` takes a sentence.

import { ofDash, ofHls, ofShaka, ofVideoJs } from './errors.js';
import { isKey } from './requests.js';

const CLEAR_KEY = 'org.w3.clearkey';
const FAIRPLAY = 'com.apple.fps';
const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

const shaka = {
  name: 'Shaka Player',
  async play({ video, manifest, license, certificate, key, token, failed }) {
    const { default: shaka } = await import('shaka-player/dist/shaka-player.compiled.js');
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    await player.attach(video);
    const servers = license ? { [CLEAR_KEY]: license, [FAIRPLAY]: license } : {};
    const advanced = certificate ? { [FAIRPLAY]: { serverCertificateUri: certificate } } : {};
    player.configure({ drm: { servers, advanced, retryParameters: { maxAttempts: 1 } } });
    player.getNetworkingEngine().registerRequestFilter((type, request) => {
      const { LICENSE, KEY } = shaka.net.NetworkingEngine.RequestType;
      if (type === LICENSE || type === KEY) Object.assign(request.headers, bearer(token));
      if (type === KEY && key) request.uris = [key];
    });
    const report = (error) => failed(ofShaka(error));
    player.addEventListener('error', ({ detail }) => report(detail));
    player.load(manifest).then(() => video.play().catch(() => {}), report);
    return () => player.destroy();
  },
};

const dash = {
  name: 'dash.js',
  async play({ video, manifest, license, token, failed }) {
    const { MediaPlayer } = await import('dashjs');
    const player = MediaPlayer().create();
    player.on(MediaPlayer.events.ERROR, ({ error }) => failed(ofDash(error)));
    player.updateSettings({ streaming: { retryAttempts: { license: 0 } } });
    player.initialize(video, null, true);
    player.setProtectionData({ [CLEAR_KEY]: { serverURL: license, httpRequestHeaders: bearer(token) } });
    player.attachSource(manifest);
    return () => player.destroy();
  },
};

const hls = {
  name: 'hls.js',
  async play({ video, manifest, license, certificate, key, token, failed }) {
    const { default: Hls } = await import('hls.js');
    const authorize = (method) => (xhr, url) => {
      if (method === 'GET' && !isKey(url)) return;
      xhr.open(method, method === 'GET' && key ? key : url, true);
      for (const [name, value] of Object.entries(bearer(token))) xhr.setRequestHeader(name, value);
    };
    const player = new Hls({
      emeEnabled: true,
      drmSystems: {
        [CLEAR_KEY]: { licenseUrl: license },
        ...(certificate && { [FAIRPLAY]: { licenseUrl: license, serverCertificateUrl: certificate } }),
      },
      licenseXhrSetup: authorize('POST'),
      xhrSetup: authorize('GET'),
    });
    player.on(Hls.Events.ERROR, (_, data) => data.fatal && failed(ofHls(data)));
    player.on(Hls.Events.MANIFEST_PARSED, () => video.play().catch(() => {}));
    player.loadSource(manifest);
    player.attachMedia(video);
    return () => player.destroy();
  },
};

const videoJs = {
  name: 'video.js',
  async play({ video, manifest, key, token, failed }) {
    const [{ default: videojs }] = await Promise.all([import('video.js'), import('video.js/dist/video-js.css')]);
    const authorize = (options) => {
      if (!isKey(options.uri)) return options;
      return { ...options, uri: key || options.uri, headers: { ...options.headers, ...bearer(token) } };
    };
    videojs.Vhs.xhr.onRequest(authorize);
    video.classList.add('video-js');
    const player = videojs(video, { controls: true, html5: { vhs: { overrideNative: true } } });
    const type = manifest.includes('.mpd') ? 'application/dash+xml' : 'application/vnd.apple.mpegurl';
    player.on('error', () => failed(ofVideoJs(player.error())));
    player.src({ src: manifest, type });
    player.play()?.catch(() => {});
    return () => {
      videojs.Vhs.xhr.offRequest(authorize);
      player.dispose();
    };
  },
};

export const PLAYERS = { shaka, dash, hls, videoJs };
