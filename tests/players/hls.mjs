// hls.js: a whole Hls with its EMEController, over Media Source Extensions.

export const library = 'hls.js';
export const scripts = ['hls.js/dist/hls.min.js'];

const FPS = 'com.apple.fps';
const SKD = 'skd://movie-1';

const encode = (bytes) => btoa(String.fromCharCode(...bytes));
const decode = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const parse = (response) => JSON.parse(new TextDecoder().decode(response).trim());

function play(site, { query = '', drm = {}, fail, ...config }) {
  const hls = new Hls({
    emeEnabled: true,
    drmSystems: {
      [FPS]: {
        licenseUrl: `${site.server}/fairplay${query}`,
        serverCertificateUrl: `${site.server}/fairplay/certificate`,
        ...drm,
      },
    },
    ...config,
  });
  hls.on(Hls.Events.ERROR, (_, data) => {
    const { fatal, details, error } = data;
    if (fail) fail(data);
    else if (fatal || details.startsWith('keySystem')) device.fail(`hls.js ${details}: ${error?.message}`);
  });
  hls.loadSource(`/media/main.m3u8?skd=${encodeURIComponent(SKD)}`);
  hls.attachMedia(document.body.appendChild(document.createElement('video')));
}

/** A licenseXhrSetup: the token, perhaps a content type, and perhaps another body. */
const setup = (site, type, body) => (xhr, url, context, challenge) => {
  xhr.open('POST', url, true);
  xhr.setRequestHeader('Authorization', `Bearer ${site.token}`);
  if (type) xhr.setRequestHeader('Content-Type', type);
  xhr.withCredentials = true;
  return body?.(challenge, context.decryptdata);
};

// The example of hls.js' docs/API.md, which is two: a request of this shape …
const documented = (challenge, { keyId }) =>
  JSON.stringify({ keyData: encode(keyId), licenseChallenge: encode(challenge) });

// … and a reply of Apple's.
const documentedReply = (xhr) =>
  decode(parse(xhr.response)['fairplay-streaming-response']['streaming-keys'][0].ckc);

// What the demonstration page of hls.js sends: Apple's request, without a content type.
const envelope = (challenge, { uri }) => JSON.stringify({
  'fairplay-streaming-request': {
    version: 1,
    'streaming-keys': [{ id: 1, uri, spc: encode(challenge) }],
  },
});

function box(type, ...parts) {
  const body = parts.flatMap((part) => [...part]);
  const size = 8 + body.length;
  return new Uint8Array([0, 0, size >> 8, size & 255, ...new TextEncoder().encode(type), ...body]);
}

// From a 'pssh' of this kind Safari makes a request for many keys; hls.js' demonstration page composes
// it. hls.js asks twice: for the key of the playlist, and again when it has seen that key's id.
function generateRequest(initDataType, initData, { decryptdata: { keyId } }) {
  if (!keyId) return { initDataType, initData };
  const text = (string) => new TextEncoder().encode(string);
  const keys = box('fpsd',
    box('fpsi', [0, 0, 0, 0], text('cbcs')),
    box('fpsk', box('fkri', [0, 0, 0, 0], keyId)));
  const system = '94ce86fb07ff4f43adb893d2fa968ca2'.match(/../g).map((byte) => parseInt(byte, 16));
  const pssh = box('pssh', [0, 0, 0, 0], system, [0, 0, 0, keys.length], keys);
  return { initDataType: 'cenc', initData: pssh.buffer };
}

const exchange = (path, options) => ({
  path: `EMEController, ${path}`,
  eme: 'modern',
  play: async (site) => play(site, options(site)),
});

export const exchanges = [
  exchange('defaults, token in the query', (site) => ({ query: `?token=${site.token}` })),
  exchange('licenseXhrSetup with headers alone', (site) => ({
    licenseXhrSetup: setup(site, 'application/octet-stream'),
  })),
  exchange('documented licenseXhrSetup, the server\'s JSON', (site) => ({
    licenseXhrSetup: setup(site, 'application/json', documented),
    licenseResponseCallback: (xhr) => decode(parse(xhr.response).ckc),
  })),
  exchange('documented licenseXhrSetup and licenseResponseCallback, ?format=envelope', (site) => ({
    query: '?format=envelope',
    licenseXhrSetup: setup(site, 'application/json', documented),
    licenseResponseCallback: documentedReply,
  })),
  exchange('streaming-keys envelope, documented licenseResponseCallback', (site) => ({
    licenseXhrSetup: setup(site, null, envelope),
    licenseResponseCallback: documentedReply,
  })),
  exchange('responseType text, ?format=base64', (site) => ({
    query: '?format=base64',
    licenseXhrSetup: (xhr, url) => {
      xhr.responseType = 'text';
      xhr.open('POST', url, true);
      xhr.setRequestHeader('x-dt-auth-token', site.token);
    },
    licenseResponseCallback: (xhr) => decode(xhr.response),
  })),
  exchange('generateRequest with a pssh: array [{keyID, payload}] both ways', (site) => ({
    drm: { generateRequest },
    licenseXhrSetup: setup(site),
  })),
];

/** A licence that is refused: resolves with the error that the player gives. */
export const refusal = {
  eme: 'modern',
  play: (site) => new Promise((resolve) => {
    const fail = (data) => {
      if (data.details.startsWith('keySystem')) resolve(data);
    };
    play(site, { licenseXhrSetup: setup(site, 'application/octet-stream'), fail });
  }),
};
