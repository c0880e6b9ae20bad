// Tokens of the example: JWTs under HS256 (RFC 7515), signed in the page. Real tokens are made by a back end.

const KEY = 'the key of the example protects nothing';

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const utf8 = (text) => new TextEncoder().encode(text);

/** A token for every key, good for so many seconds from now on. */
export async function mint(seconds) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: 'example',
    aud: 'keylet',
    sub: 'viewer-1',
    exp: now + seconds,
    entitlements: [{ keys: '*' }],
  };
  const parts = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) => base64url(utf8(JSON.stringify(part))));
  const signed = parts.join('.');
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', utf8(KEY), algorithm, false, ['sign']);
  const signature = await crypto.subtle.sign('HMAC', key, utf8(signed));
  return `${signed}.${base64url(new Uint8Array(signature))}`;
}

/** The claims of a token, or `undefined` where it is no JWT. */
export function claims(token) {
  try {
    const [, part] = token.trim().split('.');
    const bytes = Uint8Array.from(atob(part.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
