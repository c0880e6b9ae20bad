// The players with licences of Widevine and PlayReady: whole loads of an HLS playlist and of an MPD.
//
// `site` says where to ask and with what: {"url", "token", "keySystem", "system", "certificate", "page"}, where `url` is that
// of licences, `certificate` that of the licence service in base64, and `page` has the recipe of docs/players.md for each
// library. `fail(error)` is told of the player's own error.

/** PlayReady with what Microsoft recommends of EME: some devices have this one alone. */
const RECOMMENDATION = 'com.microsoft.playready.recommendation';

const authorization = ({ token }) => ({ Authorization: `Bearer ${token}` });
const video = () => document.body.appendChild(document.createElement('video'));
const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** A URL of licences with the token in its query. */
function withToken({ url, token }) {
  const whole = new URL(url);
  whole.searchParams.set('token', token);
  return whole.href;
}

const playlist = ({ system }) => `/media/main.m3u8?${new URLSearchParams({ system })}`;
const manifest = ({ system }, more = {}) => `/media/manifest.mpd?${new URLSearchParams({ system, ...more })}`;

/** Runs a recipe of the page, in which `token()` is the viewer's, and gives what it calls `name`. */
function follow(recipe, { token }, name, player) {
  const AsyncFunction = (async () => {}).constructor;
  return new AsyncFunction('token', name === 'player' ? name : '_', `${recipe}\nreturn ${name};`)(() => token, player);
}

// --- Shaka Player ------------------------------------------------------------------------------

async function shakaPlay(site, fail, { media, server = site.url, advanced, filter, drm, recipe }) {
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.addEventListener('error', ({ detail }) => fail(detail));
  await player.attach(video());
  if (recipe) {
    await follow(recipe, site, 'player', player).catch(fail);
    return;
  }
  player.configure('drm', {
    ...drm,
    servers: server ? { [site.keySystem]: server } : {},
    advanced: advanced ? { [site.keySystem]: advanced } : {},
  });
  if (filter) player.getNetworkingEngine().registerRequestFilter(filter);
  await player.load(media).catch(fail);
}

const shakaHeaders = (site) => ({ media: playlist(site), advanced: { headers: authorization(site) } });

function shakaFilter(site) {
  const filter = (type, request) => {
    if (type === shaka.net.NetworkingEngine.RequestType.LICENSE) Object.assign(request.headers, authorization(site));
  };
  return { media: manifest(site), filter };
}

// --- dash.js -----------------------------------------------------------------------------------

async function dashPlay(site, fail, { media = manifest(site), protection, recipe }) {
  const player = dashjs.MediaPlayer().create();
  player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => fail(error));
  // dash.js asks again after a failure, three times by default: the first one counts.
  player.updateSettings({ streaming: { retryAttempts: { license: 0 } } });
  player.initialize(video(), null, false);
  if (recipe) {
    await follow(recipe, site, 'player', player);
    return;
  }
  if (protection) player.setProtectionData({ [site.keySystem]: protection });
  player.attachSource(media);
}

const dashHeaders = (site) => ({ protection: { serverURL: site.url, httpRequestHeaders: authorization(site) } });

// --- hls.js ------------------------------------------------------------------------------------

async function hlsPlay(site, fail, { licenseUrl = site.url, recipe, ...config }) {
  const hls = recipe
    ? await follow(recipe, site, 'hls')
    : new Hls({ emeEnabled: true, drmSystems: { [site.keySystem]: { licenseUrl } }, ...config });
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (data.fatal || data.details.startsWith('keySystem')) fail(data);
  });
  hls.loadSource(playlist(site));
  hls.attachMedia(video());
}

const hlsHeaders = (site) => ({
  licenseXhrSetup(xhr, url) {
    xhr.open('POST', url, true);
    xhr.setRequestHeader('Authorization', `Bearer ${site.token}`);
  },
});

const ofPage = { path: 'the recipe of docs/players.md', options: ({ page }, library) => ({ recipe: page[library] }) };

/**
 * The players. Each exchange has its `path`, and `options` of a site and a library for the player's `play`. The first of
 * them is refused in the tests of refusals. `systems` names those that it is for, where it is not for all; `keySystem` is
 * the only one that the CDM has, where it is not that of the site.
 */
export const PLAYERS = {
  shaka: {
    library: 'shaka-player',
    scripts: ['shaka-player/dist/shaka-player.compiled.js'],
    play: shakaPlay,
    exchanges: [
      ofPage,
      { path: 'HLS, headers', options: shakaHeaders },
      { path: 'DASH, request filter', options: shakaFilter },
      { path: 'HLS, token in the query', options: (site) => ({ media: playlist(site), server: withToken(site) }) },
      {
        path: 'DASH, dashif:Laurl, token in the query',
        options: (site) => ({ media: manifest(site, { licence: withToken(site) }), server: null }),
      },
      {
        path: 'DASH, keySystemsMapping',
        systems: ['playready'],
        keySystem: RECOMMENDATION,
        options: (site) => ({ ...shakaFilter(site), drm: { keySystemsMapping: { [site.keySystem]: RECOMMENDATION } } }),
      },
      {
        path: 'DASH, the certificate of the service configured',
        systems: ['widevine'],
        options: (site) => ({
          media: manifest(site),
          advanced: { headers: authorization(site), serverCertificate: bytes(site.certificate) },
        }),
      },
    ],
  },
  dash: {
    library: 'dashjs',
    scripts: ['dashjs/dist/modern/umd/dash.all.min.js'],
    play: dashPlay,
    exchanges: [
      ofPage,
      { path: 'headers', options: dashHeaders },
      { path: 'token in the query', options: (site) => ({ protection: { serverURL: withToken(site) } }) },
      {
        path: 'dashif:Laurl, token in the query',
        options: (site) => ({ media: manifest(site, { licence: withToken(site) }) }),
      },
      {
        path: 'the other key system of PlayReady, which it finds by itself',
        systems: ['playready'],
        keySystem: RECOMMENDATION,
        options: dashHeaders,
      },
      {
        path: 'the certificate of the service configured',
        systems: ['widevine'],
        options: (site) => ({
          protection: { ...dashHeaders(site).protection, serverCertificate: site.certificate },
        }),
      },
    ],
  },
  hls: {
    library: 'hls.js',
    scripts: ['hls.js/dist/hls.min.js'],
    play: hlsPlay,
    exchanges: [
      ofPage,
      { path: 'licenseXhrSetup', options: hlsHeaders },
      { path: 'token in the query', options: (site) => ({ licenseUrl: withToken(site) }) },
      {
        path: 'requestMediaKeySystemAccessFunc',
        systems: ['playready'],
        keySystem: RECOMMENDATION,
        options: (site) => ({
          ...hlsHeaders(site),
          requestMediaKeySystemAccessFunc: (_, configurations) =>
            navigator.requestMediaKeySystemAccess(RECOMMENDATION, configurations),
        }),
      },
    ],
  },
};
