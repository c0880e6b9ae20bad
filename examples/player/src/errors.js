// The players' errors in words. What is not here keeps the player's own text.

const LICENCE = 'it got no licence';
const KEY = 'it got no key';
const NO_SYSTEM = 'the DRM system of the content is not in this browser (FairPlay is in Safari alone), or the page is not on https or localhost';
const NO_MANIFEST = 'it could not read the manifest';
const NO_DECODING = 'the video does not decode, as with a wrong key';

const SHAKA = {
  1001: 'a server refused a manifest, a segment or a key',
  1002: 'a server did not answer',
  1003: 'a server did not answer in time',
  3016: NO_DECODING,
  3018: NO_DECODING,
  4000: 'the manifest is of no kind that it knows',
  4001: NO_MANIFEST,
  4015: NO_MANIFEST,
  4026: 'the playlist has no key format that it plays',
  4032: 'this browser plays none of the codecs, or does not have the DRM system',
  4049: 'the key does not have 16 bytes',
  6001: NO_SYSTEM,
  6007: LICENCE,
  6008: 'the browser did not take the licence',
  6010: 'the content is encrypted, and the manifest names no DRM system',
  6012: 'it has no licence URL for the DRM system of the content',
  6015: 'FairPlay needs the certificate URL',
  6017: 'it got no certificate',
  6020: 'this browser has no Encrypted Media Extensions, or the page has no secure origin',
};

const HLS = {
  keySystemLicenseRequestFailed: LICENCE,
  keySystemNoAccess: NO_SYSTEM,
  keySystemNoConfiguredLicense: 'it has no licence URL for the DRM system of the content',
  keySystemNoKeys: NO_SYSTEM,
  keySystemServerCertificateRequestFailed: 'it got no certificate',
  keySystemSessionUpdateFailed: 'the browser did not take the licence',
  keyLoadError: KEY,
  keyLoadTimeOut: 'the key did not come in time',
  manifestLoadError: NO_MANIFEST,
  manifestParsingError: NO_MANIFEST,
  levelLoadError: NO_MANIFEST,
  fragDecryptError: NO_DECODING,
  fragParsingError: NO_DECODING,
};

const DASH = {
  10: NO_MANIFEST,
  11: NO_MANIFEST,
  25: NO_MANIFEST,
  111: NO_SYSTEM,
  113: 'the browser made no licence request from the manifest',
  114: LICENCE,
};

const sentence = (player, words, detail) => `${player}: ${words ?? 'it gave up'} [${detail}].`;

export const ofShaka = ({ code, message }) => sentence('Shaka Player', SHAKA[code], code ? `error ${code}` : message);
export const ofHls = ({ details }) => sentence('hls.js', HLS[details], details);
export const ofDash = ({ code, message }) => sentence('dash.js', DASH[code] ?? message, `error ${code}`);
export const ofVideoJs = ({ code, message }) => sentence('video.js', message, `error ${code}`);
