// Tokens of the example: JWTs under HS256 (RFC 7515), signed in the page. Real tokens are made by a back end.

const KEY = 'the key of the example protects nothing';
const OTHER_KEY = 'a key that no policy of the example knows';

const HOUR = 3600;
const EVERYTHING = [{ keys: '*' }];

/** What tokens the page makes: the first is good, each other one is refused for one reason. */
export const TOKENS = {
  good: { name: 'Every key, for an hour' },
  expired: { name: 'Expired an hour ago', life: -HOUR },
  signature: { name: 'Signed with another key', key: OTHER_KEY },
  other: { name: 'For another film', entitlements: [{ keys: ['another-film'] }] },
  lease: { name: 'With a lease, which Clear Key cannot keep', entitlements: [{ keys: '*', lease_seconds: 300 }] },
  none: { name: 'No token' },
};

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const utf8 = (text) => new TextEncoder().encode(text);

/** A token of `TOKENS`, made now. */
export async function mint(name) {
  if (name === 'none') return '';
  const { life = HOUR, key = KEY, entitlements = EVERYTHING } = TOKENS[name];
  const exp = Math.floor(Date.now() / 1000) + life;
  const claims = { iss: 'example', aud: 'keylet', sub: 'viewer-1', exp, entitlements };
  const parts = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) => base64url(utf8(JSON.stringify(part))));
  const signed = parts.join('.');
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const secret = await crypto.subtle.importKey('raw', utf8(key), algorithm, false, ['sign']);
  const signature = await crypto.subtle.sign('HMAC', secret, utf8(signed));
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

const moment = (seconds) => new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: 'short', timeStyle: 'medium' });

function allowed({ keys, ...terms }) {
  const which = keys === '*' ? 'every key' : [keys].flat().join(', ');
  const rest = Object.entries(terms).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  return [which, ...rest].join(', ');
}

/** What a token says, in one line: whose it is, until when, for which keys and on which terms. */
export function inWords(token) {
  if (!token) return 'none was sent';
  const found = claims(token);
  if (!found) return 'it is not a JWT';
  const { sub, exp, entitlements } = found;
  const end = exp ? `${exp * 1000 < Date.now() ? 'expired' : 'until'} ${moment(exp)}` : 'without an end';
  const entries = Array.isArray(entitlements) ? entitlements : [];
  const terms = entries.length > 0 ? entries.map(allowed).join('; ') : 'no entitlements';
  return [sub ?? 'nobody', end, terms].join(' · ');
}
