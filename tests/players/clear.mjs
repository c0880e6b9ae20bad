// The players with the browser's own EME and with keys in the clear: Clear Key, and the key URIs of HLS.
//
// `play` is given where to play, with what, and whom to tell: `fail(message)` once the player gives up, and
// `show(code)` with the server's code of a refusal, taken from where the player shows it. A manifest that can say where
// the server is says it, and the player is told nothing.

const CLEAR_KEY = 'org.w3.clearkey';
const authorization = (token) => ({ Authorization: `Bearer ${token}` });

const shaka = {
  library: 'shaka-player',
  scripts: ['shaka-player/dist/shaka-player.compiled.js'],
  async play(video, { url, token }, { fail, show }) {
    const { shaka } = window;
    const { RequestType } = shaka.net.NetworkingEngine;
    const { Code } = shaka.util.Error;
    const failed = (error) => {
      const cause = error.code === Code.LICENSE_REQUEST_FAILED ? error.data[0] : error;
      if (cause.code === Code.BAD_HTTP_STATUS) show(cause.data[3]['x-keylet-code']);
      fail(`Shaka error ${error.code}`);
    };
    const player = new shaka.Player();
    player.addEventListener('error', ({ detail }) => failed(detail));
    player.getNetworkingEngine().registerRequestFilter((type, request) => {
      if (type === RequestType.LICENSE || type === RequestType.KEY) {
        Object.assign(request.headers, authorization(token));
      }
    });
    await player.attach(video);
    await player.load(url).catch(failed);
  },
};

const dash = {
  library: 'dashjs',
  scripts: ['dashjs/dist/modern/umd/dash.all.min.js'],
  async play(video, { url, token }, { fail, show }) {
    const player = dashjs.MediaPlayer().create();
    player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => {
      // dash.js shows the body of a refusal and not its headers. Of Clear Key it has read it already.
      const code = error.data?.serverResponse?.code;
      if (code) show(code);
      fail(`dash.js error ${error.code}`);
    });
    player.updateSettings({ streaming: { retryAttempts: { license: 0 } } });
    player.initialize(video, null, true);
    // With this header dash.js also sends cookies, and browsers then take no "*" from the server.
    player.setProtectionData({ [CLEAR_KEY]: { httpRequestHeaders: authorization(token) } });
    player.attachSource(url);
  },
};

const hls = {
  library: 'hls.js',
  scripts: ['hls.js/dist/hls.min.js'],
  async play(video, { url, server, token }, { fail, show }) {
    const setup = (method) => (xhr, uri) => {
      if (method === 'GET' && !uri.includes('/aes128/')) return;
      xhr.open(method, uri, true);
      xhr.setRequestHeader('Authorization', `Bearer ${token}`);
    };
    const player = new Hls({
      emeEnabled: true,
      drmSystems: { [CLEAR_KEY]: { licenseUrl: `${server}/clearkey` } },
      licenseXhrSetup: setup('POST'),
      xhrSetup: setup('GET'),
    });
    player.on(Hls.Events.ERROR, (_, { fatal, details, networkDetails }) => {
      if (networkDetails?.status >= 400) show(networkDetails.getResponseHeader('x-keylet-code'));
      if (fatal) fail(`hls.js ${details}`);
    });
    player.loadSource(url);
    player.attachMedia(video);
  },
};

const videoJs = {
  library: 'video.js',
  scripts: ['video.js/dist/video.min.js'],
  async play(video, { url, token }, { fail, show }) {
    const { xhr } = videojs.Vhs;
    xhr.onRequest((options) => {
      if (!options.uri.includes('/aes128/')) return options;
      return { ...options, headers: { ...options.headers, ...authorization(token) } };
    });
    xhr.onResponse((request, error, response) => {
      if (response.statusCode >= 400) show(response.headers['x-keylet-code']);
    });
    const player = videojs(video, { html5: { vhs: { overrideNative: true } } });
    player.on('error', () => fail(`Video.js error ${player.error().code}`));
    player.src({ src: url, type: 'application/vnd.apple.mpegurl' });
  },
};

export const PLAYERS = { shaka, dash, hls, videoJs };
