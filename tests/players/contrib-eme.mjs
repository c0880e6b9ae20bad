// videojs-contrib-eme in Video.js, which leaves HLS to Safari: the stream is played natively, and the
// plugin makes the requests, by EME ('com.apple.fps') or by the prefixed API ('com.apple.fps.1_0').

export const library = 'videojs-contrib-eme';
export const scripts = [
  'video.js/dist/video.min.js',
  'videojs-contrib-eme/dist/videojs-contrib-eme.min.js',
];

function play(site, { keySystem, options = {}, emeHeaders, query = '', legacy, fail }) {
  const player = videojs(document.body.appendChild(document.createElement('video')));
  player.on('error', () => fail ? fail(player.error()) : device.fail(`Video.js: ${JSON.stringify(player.error())}`));
  player.eme();
  if (legacy) player.eme.initLegacyFairplay();
  player.src({
    src: '/media/video.m3u8?skd=skd://movie-1',
    type: 'application/vnd.apple.mpegurl',
    emeHeaders,
    keySystems: {
      [keySystem]: {
        certificateUri: `${site.server}/fairplay/certificate`,
        licenseUri: `${site.server}/fairplay${query}`,
        ...options,
      },
    },
  });
}

const exchange = (path, eme, keySystem, options) => ({
  path: `${keySystem}, ${path}`,
  eme,
  play: async (site) => play(site, { keySystem, ...options(site) }),
});

const queryToken = ({ token }) => ({ query: `?token=${token}` });
const authorization = ({ token }) => ({ Authorization: `Bearer ${token}` });
const licenseHeaders = (site) => ({ options: { licenseHeaders: authorization(site) } });

const MODERN = 'com.apple.fps';
const LEGACY = 'com.apple.fps.1_0';

export const exchanges = [
  exchange('defaults, token in the query', 'modern', MODERN, queryToken),
  exchange('licenseHeaders', 'modern', MODERN, licenseHeaders),
  exchange('emeHeaders, for the certificate too', 'modern', MODERN,
    (site) => ({ emeHeaders: authorization(site) })),
  exchange('defaults, token in the query', 'legacy', LEGACY, queryToken),
  exchange('licenseHeaders, initLegacyFairplay() beside EME', 'both', LEGACY,
    (site) => ({ ...licenseHeaders(site), legacy: true })),
];

/** A licence that is refused: resolves with the error that the player gives. */
export const refusal = {
  eme: 'modern',
  play: (site) => new Promise((fail) => {
    play(site, { keySystem: MODERN, ...licenseHeaders(site), fail });
  }),
};
