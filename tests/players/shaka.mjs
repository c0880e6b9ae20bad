// Shaka Player: whole loads of an HLS stream with its DrmEngine and NetworkingEngine, once by Media
// Source Extensions and once by the browser's own HLS over Shaka's polyfill of the prefixed API.

export const library = 'shaka-player';
export const scripts = ['shaka-player/dist/shaka-player.compiled.js'];

const FairPlay = () => shaka.drm.FairPlay;
const isLicence = (type) => type === shaka.net.NetworkingEngine.RequestType.LICENSE;

async function load(site, { drm, skd, native, query = '', keySystem, request, response, fail }) {
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.addEventListener('error', ({ detail }) =>
    fail ? fail(detail) : device.fail(`Shaka error ${detail.code}`));
  player.configure({
    drm: {
      ...drm,
      servers: { [keySystem]: `${site.server}/fairplay${query}` },
      advanced: { [keySystem]: { serverCertificateUri: `${site.server}/fairplay/certificate` } },
    },
    streaming: { useNativeHlsForFairPlay: native },
  });
  const network = player.getNetworkingEngine();
  network.registerRequestFilter((type, message) => {
    if (isLicence(type)) message.headers.Authorization = `Bearer ${site.token}`;
  });
  if (request) network.registerRequestFilter(request);
  if (response) network.registerResponseFilter(response);

  await player.attach(document.body.appendChild(document.createElement('video')));
  // A playlist of playlists is Shaka's to read; the device's own HLS takes the media playlist.
  const playlist = native ? 'video' : 'main';
  await player.load(`/media/${playlist}.m3u8?skd=${encodeURIComponent(skd)}`);
}

const byMediaSource = (path, options) => ({
  path: `${path}, Media Source Extensions`,
  eme: 'modern',
  play: (site) =>
    load(site, { keySystem: 'com.apple.fps', skd: 'skd://movie-1', native: false, ...options(site) }),
});

const byNativeHls = (path, options, eme = 'legacy') => ({
  path: `${path}, native HLS, ${eme} EME`,
  eme,
  play: (site) => load(site, {
    keySystem: eme === 'legacy' ? 'com.apple.fps.1_0' : 'com.apple.fps',
    skd: 'skd://movie-1',
    native: true,
    ...options(site),
  }),
});

// "FairPlay Support" of Shaka's tutorials, with the form field encoded and not the whole form.
function tutorialRequest(type, request) {
  if (!isLicence(type)) return;
  const payload = shaka.util.Uint8ArrayUtils.toStandardBase64(request.body);
  request.headers['Content-Type'] = 'application/x-www-form-urlencoded';
  request.body = shaka.util.StringUtils.toUTF8(`spc=${encodeURIComponent(payload)}`);
}

function tutorialResponse(type, response) {
  if (!isLicence(type)) return;
  let text = shaka.util.StringUtils.fromUTF8(response.data).trim();
  if (text.substr(0, 5) === '<ckc>' && text.substr(-6) === '</ckc>') text = text.slice(5, -6);
  response.data = shaka.util.Uint8ArrayUtils.fromBase64(text).buffer;
}

const helpers = (name) => () => ({
  request: FairPlay()[`${name}FairPlayRequest`],
  response: FairPlay().commonFairPlayResponse,
});

const transformed = (name, skd = 'skd://movie-1') => () => ({
  ...helpers(name)(),
  skd,
  drm: { initDataTransform: FairPlay()[`${name}InitDataTransform`] },
});

const common = (query) => () => ({ query, response: FairPlay().commonFairPlayResponse });

export const exchanges = [
  byMediaSource('no filters', () => ({})),
  ...['verimatrix', 'ezdrm', 'conax', 'expressplay', 'mux'].map((name) =>
    byMediaSource(`${name}FairPlayRequest + commonFairPlayResponse`, helpers(name))),
  // The minifier of the released builds renames {"spc": …} of this helper: to "Yn" in this version's.
  byMediaSource('gumletFairPlayRequest + commonFairPlayResponse', helpers('gumlet')),
  {
    ...byMediaSource('gumletFairPlayRequest of the debug build + commonFairPlayResponse', helpers('gumlet')),
    scripts: ['shaka-player/dist/shaka-player.compiled.debug.js'],
  },
  byMediaSource('tutorial: spc=encodeURIComponent(base64) + its response filter',
    () => ({ request: tutorialRequest, response: tutorialResponse })),

  byMediaSource('?format=json + commonFairPlayResponse', common('?format=json')),
  byMediaSource('?format=ckc-xml + commonFairPlayResponse', common('?format=ckc-xml')),
  // commonFairPlayResponse leaves bare base64 as it is, so this profile is for a filter like the tutorial's.
  byMediaSource('?format=base64 + response filter of the tutorial',
    () => ({ query: '?format=base64', response: tutorialResponse })),

  byNativeHls('no filters', () => ({}), 'modern'),
  // The default transform: the content id is the host of the key's URI.
  byNativeHls('default initDataTransform, no filters', () => ({})),
  ...[
    ['verimatrix'],
    ['ezdrm', 'skd://somewhere;movie-1'],
    ['conax', 'skd://bW92aWUtMQ==?somewhere'],
    ['expressplay'],
    ['mux'],
  ].map(([name, skd]) =>
    byNativeHls(`${name}InitDataTransform + ${name}FairPlayRequest + commonFairPlayResponse`,
      transformed(name, skd))),
];

/** A licence that is refused: resolves with the error that the player gives. */
export const refusal = {
  eme: 'modern',
  play: (site) => new Promise((resolve) => {
    load(site, { keySystem: 'com.apple.fps', skd: 'skd://movie-1', native: false, fail: resolve }).catch(resolve);
  }),
};
