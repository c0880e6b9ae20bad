// dash.js: a whole MediaPlayer with its ProtectionController, over an MPD with FairPlay's UUID.

export const library = 'dashjs';
export const scripts = ['dashjs/dist/modern/umd/dash.all.min.js'];

function play(site, { manifest = '', protection, fail }) {
  const player = dashjs.MediaPlayer().create();
  player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) =>
    fail ? fail(error) : device.fail(`dash.js error ${error.code}: ${error.message}`));
  // dash.js asks again after a failure, three times by default: the first one counts.
  player.updateSettings({ streaming: { retryAttempts: { license: 0 } } });
  const video = document.body.appendChild(document.createElement('video'));
  player.initialize(video, null, false);
  if (protection) player.setProtectionData({ 'com.apple.fps': protection(site) });
  player.attachSource(`/media/manifest.mpd${manifest}`);
}

const configured = (path, query) => ({
  path,
  eme: 'modern',
  play: async (site) => play(site, {
    protection: ({ server, token }) => ({
      serverURL: `${server}/fairplay${query}`,
      certUrls: [`${server}/fairplay/certificate`],
      // With this header dash.js also sends cookies, and browsers then take no "*" from the server.
      httpRequestHeaders: { Authorization: `Bearer ${token}` },
    }),
  }),
});

export const exchanges = [
  configured('MediaPlayer, raw', ''),
  configured('MediaPlayer, ?format=ckc-xml', '?format=ckc-xml'),
  configured('MediaPlayer, ?format=json', '?format=json'),
  configured('MediaPlayer, ?format=base64', '?format=base64'),
  {
    path: 'MediaPlayer, dashif:Laurl and dashif:Certurl of the MPD, token in the query',
    eme: 'modern',
    play: async (site) => {
      const urls = new URLSearchParams({
        licence: `${site.server}/fairplay?token=${site.token}`,
        certificate: `${site.server}/fairplay/certificate`,
      });
      play(site, { manifest: `?${urls}` });
    },
  },
];

/** A licence that is refused: resolves with the error that the player gives. */
export const refusal = {
  eme: 'modern',
  play: (site) => new Promise((fail) => {
    play(site, {
      protection: ({ server, token }) => ({
        serverURL: `${server}/fairplay`,
        certUrls: [`${server}/fairplay/certificate`],
        httpRequestHeaders: { Authorization: `Bearer ${token}` },
      }),
      fail,
    });
  }),
};
