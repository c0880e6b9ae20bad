// Mints tokens with jose, sound ones and others, for tests/suite/jose.rs.
//
//   npm ci --prefix tests/jose
//   node tests/jose/jose.mjs            # writes fixtures/jose/jose.json
//
// Private keys are made, used and forgotten: a rerun writes other keys, and with them other tokens. Only the
// secrets of HMAC, which protect nothing, stay the same, and the tokens made with them.
//
// pyjwt.py gives its keys names; here they are named by their thumbprints (RFC 7638) or not at all, as jose
// exports them, and RSA keys have other sizes.

import { constants, createHash, createHmac, KeyObject, sign as cryptoSign } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import * as jose from 'jose';

const { version } = JSON.parse(readFileSync(new URL('node_modules/jose/package.json', import.meta.url)));
const OUTPUT = new URL('../../fixtures/jose/jose.json', import.meta.url);
const COMMENT =
  `Tokens by jose ${version}, and what a server with these keys, the issuer https://login.example and ` +
  'the audience keylet answers to them. Written by tests/jose/jose.mjs; a rerun makes new RSA, EC and Ed25519 keys, ' +
  'and so other tokens.';

const [PAST, FUTURE, FAR] = [1_500_000_000, 4_000_000_000, 4_102_444_800];
const CLAIMS = {
  iss: 'https://login.example',
  aud: 'keylet',
  iat: PAST,
  exp: FAR,
  entitlements: [{ keys: ['movie-1'] }],
};
const TEXT = JSON.stringify(CLAIMS);
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

// ---- Keys ----------------------------------------------------------------------------------------------------

const secret = (name, size) =>
  createHash('shake256', { outputLength: size }).update(`keylet tests/jose jose ${name}`).digest();
const pair = (alg, modulusLength) => jose.generateKeyPair(alg, { modulusLength });

const secrets = { HS256: secret('HS256', 32), HS384: secret('HS384', 48), HS512: secret('HS512', 64) };
const pairs = {
  RS256: await pair('RS256', 2048),
  RS384: await pair('RS384', 3072),
  RS512: await pair('RS512', 4096),
  PS256: await pair('PS256', 2048),
  PS384: await pair('PS384', 3072),
  PS512: await pair('PS512', 4096),
  ES256: await pair('ES256'),
  ES384: await pair('ES384'),
  EdDSA: await pair('EdDSA'),
};
const ALGORITHMS = [...Object.keys(secrets), ...Object.keys(pairs)];
const strangers = await pair('RS256', 2048);

const exported = (alg) => jose.exportJWK(secrets[alg] ?? pairs[alg].publicKey);
const named = async (alg, members = { alg, use: 'sig' }) => {
  const jwk = await exported(alg);
  return { ...jwk, ...members, kid: await jose.calculateJwkThumbprint(jwk) };
};
const keys = {
  HS256: await exported('HS256'),
  HS384: await named('HS384'),
  HS512: await named('HS512'),
  RS256: await named('RS256', {}),
  RS384: await named('RS384'),
  RS512: await named('RS512'),
  PS256: await named('PS256'),
  PS384: await named('PS384'),
  PS512: await named('PS512'),
  ES256: await exported('ES256'),
  ES384: await named('ES384'),
  EdDSA: await named('EdDSA', { alg: 'Ed25519' }),
};
// No server verifies with these.
const others = [
  {
    ...(await jose.exportJWK((await pair('RSA-OAEP-256', 2048)).publicKey)),
    alg: 'RSA-OAEP-256',
    use: 'enc',
  },
  {
    ...(await jose.exportJWK((await jose.generateKeyPair('ECDH-ES', { crv: 'P-384' })).publicKey)),
    use: 'enc',
  },
  // Nothing but its algorithm says that it is for encryption.
  { ...(await jose.exportJWK((await pair('RSA-OAEP', 2048)).publicKey)), alg: 'RSA-OAEP', kid: 'oaep' },
  await jose.exportJWK((await jose.generateKeyPair('ECDH-ES', { crv: 'X25519' })).publicKey),
  { ...(await jose.exportJWK((await pair('ES512')).publicKey)), alg: 'ES512', kid: 'es512' },
];

// ---- Tokens --------------------------------------------------------------------------------------------------

const base64url = (bytes) => Buffer.from(bytes).toString('base64url');
const header = (alg, members) => ({ alg, ...(keys[alg]?.kid && { kid: keys[alg].kid }), ...members });
const privateKey = (alg) => secrets[alg] ?? pairs[alg].privateKey;

/** A token as jose makes it; a member of the header that is undefined is left out. */
const token = (alg, { claims = CLAIMS, key = privateKey(alg), ...members } = {}) =>
  new jose.SignJWT(claims).setProtectedHeader(header(alg, members)).sign(key, { crit: { x: true } });

/** A signed payload of any bytes. */
const signed = (payload, members) =>
  new jose.CompactSign(Buffer.from(payload)).setProtectedHeader(header('HS384', members)).sign(secrets.HS384);

/** HS256 over a header that jose would not write. */
function raw(head, payload = TEXT, key = secrets.HS256) {
  const message = `${base64url(head)}.${base64url(payload)}`;
  return `${message}.${createHmac('sha256', key).update(message).digest('base64url')}`;
}

/** The token with another signature: bytes, or what makes them of those that were there and the message. */
function resigned(of, change) {
  const message = of.slice(0, of.lastIndexOf('.'));
  return `${message}.${base64url(change(Buffer.from(of.slice(message.length + 1), 'base64url'), message))}`;
}

async function ofSize(size) {
  for (let length = (size * 3) / 4 - 400; ; length += 1) {
    // Base64url has no length of 4n + 1: the header makes up for that.
    for (const more of ['', 'x']) {
      const made = await token('HS256', {
        claims: { ...CLAIMS, padding: 'x'.repeat(length) },
        padding: more,
      });
      if (made.length === size) return made;
    }
  }
}

const cases = [];
async function check(name, comment, made, code) {
  if (cases.some((other) => other.name === name)) throw new Error(`two cases are called ${name}`);
  cases.push({ name, comment, token: await made, status: code ? 401 : 200, ...(code && { code }) });
}

// ---- Accepted ------------------------------------------------------------------------------------------------

for (const alg of ALGORITHMS) {
  for (const kid of keys[alg].kid ? [keys[alg].kid, undefined] : [undefined]) {
    for (const aud of ['keylet', ['https://other.example', 'keylet']]) {
      const name = `${alg.toLowerCase()}${kid ? '-kid' : ''}${Array.isArray(aud) ? '-aud-list' : ''}`;
      await check(
        name,
        `${alg}, ${kid ? 'with' : 'without'} kid, aud ${aud}`,
        token(alg, { claims: { ...CLAIMS, aud }, kid }),
      );
    }
  }
}
for (const alg of ['HS256', 'ES256']) {
  await check(`${alg.toLowerCase()}-kid`, 'a kid, and a key that has none', token(alg, { kid: 'any' }));
}
const built = new jose.SignJWT({ entitlements: CLAIMS.entitlements })
  .setProtectedHeader(header('RS256', { typ: 'JWT' }))
  .setIssuer(CLAIMS.iss)
  .setAudience(CLAIMS.aud)
  .setSubject('viewer')
  .setJti('1')
  .setIssuedAt(PAST)
  .setNotBefore(PAST)
  .setExpirationTime(FAR)
  .sign(privateKey('RS256'));
await check('every-claim', 'every claim that jose has a method for', built);
for (const typ of ['JWT', 'jwt', 'at+jwt', 'application/jwt'])
  await check(`typ-${typ}`, `typ ${typ}`, token('HS256', { typ }));
await check(
  'key-hints',
  'jku, x5u, x5c and x5t are passed over',
  token('ES256', {
    jku: 'https://attacker.example/jwks',
    x5u: 'https://attacker.example/c',
    x5c: ['AAAA'],
    x5t: createHash('sha1').digest('base64url'),
  }),
);
await check(
  'zip-plain',
  'zip means nothing in a JWS; the claims are not compressed',
  token('HS256', { zip: 'DEF' }),
);
await check('largest', '8192 bytes', ofSize(8192));
await check('white-space-around', 'white space around the token', `  ${await token('HS256')} `);

const es256 = await token('ES256');
const number = (bytes) => BigInt(`0x${bytes.toString('hex')}`);
const otherS = (signature) => {
  const s = (P256_ORDER - number(signature.subarray(32))).toString(16).padStart(64, '0');
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(s, 'hex')]);
};
await check('es256-one-s', 'one of the two valid values of s', es256);
await check('es256-other-s', 'the other', resigned(es256, otherS));

// ---- Signatures ----------------------------------------------------------------------------------------------

/** A signature by way of node:crypto, where a key is not bound to one algorithm. */
const by = (alg, options) => (_, message) =>
  cryptoSign('sha256', Buffer.from(message), { key: KeyObject.from(pairs[alg].privateKey), ...options });
const PKCS1 = { padding: constants.RSA_PKCS1_PADDING };
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
const LONG_SALT = { ...PSS, saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN };
const [ps256, rs256] = [await token('PS256'), await token('RS256')];
await check('es256-der', 'the signature in DER', resigned(es256, by('ES256')), 'token_signature');
await check(
  'es256-zero',
  'r and s are zero',
  resigned(es256, () => Buffer.alloc(64)),
  'token_signature',
);
await check('ps256-pkcs1', 'a signature of RS256', resigned(ps256, by('PS256', PKCS1)), 'token_signature');
await check(
  'ps256-long-salt',
  'a salt longer than the hash',
  resigned(ps256, by('PS256', LONG_SALT)),
  'token_signature',
);
await check('rs256-pss', 'a signature of PS256', resigned(rs256, by('RS256', PSS)), 'token_signature');

for (const alg of ALGORITHMS) {
  const of = await token(alg);
  const name = alg.toLowerCase();
  await check(
    `${name}-bit`,
    'one bit of the signature changed',
    resigned(of, (bytes) => {
      bytes[0] ^= 1;
      return bytes;
    }),
    'token_signature',
  );
  await check(
    `${name}-empty`,
    'an empty signature',
    resigned(of, () => []),
    'token_signature',
  );
  await check(
    `${name}-longer`,
    'a zero byte after the signature',
    resigned(of, (bytes) => Buffer.concat([bytes, Buffer.alloc(1)])),
    'token_signature',
  );
}

// ---- Algorithms and keys -------------------------------------------------------------------------------------

await check('none', 'alg none, as jose makes it', new jose.UnsecuredJWT(CLAIMS).encode(), 'token_algorithm');
for (const alg of ['None', 'nOnE', 'hs256', 'none']) {
  await check(
    `alg-${alg}-signed`,
    `alg ${alg}, with a signature of HS256`,
    raw(JSON.stringify({ alg })),
    'token_algorithm',
  );
}
await check(
  'alg-es512',
  'ES512, which is not verified',
  token('ES512', { key: (await pair('ES512')).privateKey }),
  'token_algorithm',
);
await check(
  'alg-ed25519',
  'Ed25519, the name of EdDSA in RFC 9864',
  token('Ed25519', { key: pairs.EdDSA.privateKey }),
);
await check('alg-missing', 'no alg', raw('{"typ":"JWT"}'), 'token_malformed');

// HS256 has a key without kid here, which any kid falls back to.
const spki = await jose.exportSPKI(pairs.RS256.publicKey);
const forged = {
  pem: spki,
  'pem-stripped': spki.trim(),
  modulus: Buffer.from(keys.RS256.n, 'base64url'),
  n: keys.RS256.n,
};
for (const [name, key] of Object.entries(forged)) {
  for (const kid of [keys.RS256.kid, undefined]) {
    const made = raw(JSON.stringify({ alg: 'HS256', kid }), TEXT, key);
    await check(
      `hs256-by-rsa-${name}${kid ? '-kid' : ''}`,
      `HS256 with the ${name} of an RSA public key`,
      made,
      'token_signature',
    );
  }
}
await check(
  'hs384-by-rsa-pem',
  'HS384 with an RSA public key and its kid',
  token('HS384', { key: Buffer.from(spki), kid: keys.RS256.kid }),
  'token_key_unknown',
);
await check(
  'hs256-by-hs384',
  'HS256 by the secret and the kid of HS384',
  token('HS256', { key: secrets.HS384, kid: keys.HS384.kid }),
  'token_signature',
);
await check('kid-unknown', 'a kid that no key has', token('RS256', { kid: 'other' }), 'token_key_unknown');
await check('kid-number', 'kid is a number', raw('{"alg":"HS256","kid":1}'), 'token_malformed');
const rs512 = resigned(await token('RS256', { kid: keys.RS512.kid }), by('RS512', PKCS1));
await check('rs256-for-rs512', 'RS256 by a key for RS512', rs512, 'token_key_unknown');
const pss = resigned(await token('PS256', { kid: keys.RS256.kid }), by('RS256', PSS));
await check('ps256-for-rs256', 'PS256 by a key without alg: RS256', pss, 'token_key_unknown');

const found = {
  jwk: await jose.exportJWK(strangers.publicKey),
  jku: 'https://attacker.example/jwks',
  x5u: 'https://attacker.example/c',
};
for (const [name, value] of Object.entries(found)) {
  for (const [kid, code] of [
    [keys.RS256.kid, 'token_signature'],
    [undefined, 'token_signature'],
    ['other', 'token_key_unknown'],
  ]) {
    const of = token('RS256', { key: strangers.privateKey, kid, [name]: value });
    const label = { [keys.RS256.kid]: 'known', other: 'unknown' }[kid] ?? 'no';
    await check(
      `embedded-${name}-${label}-kid`,
      `by a stranger's key, to be found by ${name}; ${label} kid`,
      of,
      code,
    );
  }
}

// ---- Headers -------------------------------------------------------------------------------------------------

const critical = 'token_critical_header';
await check('crit', 'crit, as jose makes it', token('RS256', { crit: ['x'], x: 1 }), critical);
await check('crit-empty', 'an empty crit', raw('{"alg":"HS256","crit":[]}'), critical);
const detached = await new jose.FlattenedSign(Buffer.from(TEXT))
  .setProtectedHeader({ alg: 'HS256', b64: false, crit: ['b64'] })
  .sign(secrets.HS256);
await check(
  'b64-detached',
  'b64 false, the claims left out',
  `${detached.protected}..${detached.signature}`,
  critical,
);
await check(
  'b64-encoded',
  'b64 false, the claims in base64url',
  `${detached.protected}.${base64url(TEXT)}.${detached.signature}`,
  critical,
);
await check(
  'b64-bare',
  'b64 false, the claims as they are: their dots make more parts',
  `${detached.protected}.${TEXT}.${detached.signature}`,
  'token_malformed',
);
await check('zip', 'the claims compressed', signed(deflateRawSync(TEXT), { zip: 'DEF' }), 'token_claims');
for (const [name, head] of Object.entries({
  twice: '{"alg":"none","alg":"HS256"}',
  'twice-escaped': '{"\\u0061lg":"none","alg":"HS256"}',
  'twice-nested': '{"alg":"HS256","jwk":{"k":1,"k":2}}',
  nested: `{"alg":"HS256","x":${'['.repeat(500)}${']'.repeat(500)}}`,
  list: '["HS256"]',
  empty: '',
})) {
  await check(
    `header-${name}`,
    head.length < 99 ? `the header ${head}` : '500 arrays in the header',
    raw(head),
    'token_malformed',
  );
}

// ---- Claims --------------------------------------------------------------------------------------------------

const changed = (name, code, claims) =>
  check(name, JSON.stringify(claims), token('HS384', { claims: { ...CLAIMS, ...claims } }), code);
const without = (claim) =>
  check(
    `${claim}-missing`,
    `no ${claim}`,
    token('HS384', { claims: { ...CLAIMS, [claim]: undefined } }),
    { exp: 'token_claims', iss: 'token_issuer', aud: 'token_audience' }[claim],
  );
const rewritten = (name, comment, old, text) =>
  check(name, comment, signed(TEXT.replace(old, () => text)), 'token_claims');

for (const claim of ['exp', 'nbf', 'iat']) {
  for (const [name, value] of Object.entries({
    text: '1700000000',
    null: null,
    negative: -1,
    object: {},
  })) {
    await changed(`${claim}-${name}`, 'token_claims', { [claim]: value });
  }
  // RFC 7519 section 2: a date may have a fraction.
  const code = claim === 'exp' ? 'token_expired' : undefined;
  await changed(`${claim}-fraction`, code, { [claim]: 1_700_000_000.5 });
  if (claim !== 'exp') await changed(`${claim}-future`, 'token_not_yet_valid', { [claim]: FUTURE });
}
await changed('exp-passed', 'token_expired', { exp: PAST });
await changed('iss-other', 'token_issuer', { iss: 'https://login.example.attacker.example' });
await changed('iss-list', 'token_claims', { iss: [CLAIMS.iss] });
await changed('aud-other', 'token_audience', { aud: 'other' });
await changed('aud-others', 'token_audience', { aud: ['other', 'Keylet'] });
await changed('aud-empty', 'token_audience', { aud: [] });
await changed('aud-null', 'token_claims', { aud: null });
await changed('aud-null-inside', 'token_claims', { aud: ['keylet', null] });
for (const claim of ['exp', 'iss', 'aud']) await without(claim);
await rewritten('twice-exp', 'exp twice', '"exp"', '"exp":1,"exp"');
await rewritten('twice-aud', 'aud twice', '"aud"', '"aud":"other","aud"');
await rewritten('twice-escaped', 'iss twice, once with an escape', '"iss"', '"\\u0069ss":"other","iss"');
await rewritten('twice-nested', 'keys twice in an entitlement', '{"keys"', '{"keys":["other"],"keys"');
await rewritten(
  'twice-elsewhere',
  'a member twice in a claim of no meaning here',
  '"exp"',
  '"x":{"y":[{"a":1,"a":2}]},"exp"',
);
await rewritten(
  'nested',
  '500 arrays in one another',
  '"exp"',
  `"x":${'['.repeat(500)}${']'.repeat(500)},"exp"`,
);
for (const [name, payload] of Object.entries({
  list: '[]',
  number: '1',
  empty: '',
  text: 'Example',
  cut: TEXT.slice(0, -1),
  followed: `${TEXT} 1`,
})) {
  await check(`claims-${name}`, 'signed, but no claims set', signed(payload), 'token_claims');
  const unsound = resigned(await signed(payload), (bytes) => bytes.reverse());
  await check(
    `claims-${name}-unsound`,
    'no claims set, and the signature does not verify',
    unsound,
    'token_signature',
  );
}

// ---- Form ----------------------------------------------------------------------------------------------------

const whole = await token('HS384', { claims: { ...CLAIMS, sub: '~~~???' } });
const [head, claims, signature] = whole.split('.');
const padded = (part) => part.padEnd(Math.ceil(part.length / 4) * 4, '=');
const encrypted = await new jose.EncryptJWT(CLAIMS)
  .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
  .encrypt(secrets.HS256);
const json = await new jose.FlattenedSign(Buffer.from(TEXT))
  .setProtectedHeader({ alg: 'HS256' })
  .sign(secrets.HS256);
for (const [name, comment, made] of [
  ['two-parts', 'header and claims', `${head}.${claims}`],
  ['four-parts', 'a fourth part', `${whole}.${signature}`],
  ['encrypted', 'a JWE', encrypted],
  ['json', 'the JSON serialisation', JSON.stringify(json)],
  ['dot-at-end', 'a dot at the end', `${whole}.`],
  ['padded', 'padding in every part', [head, claims, signature].map(padded).join('.')],
  ['space-inside', 'a space in the claims', `${head}.${claims.slice(0, 9)} ${claims.slice(9)}.${signature}`],
  ['space-at-dot', 'a space after a dot', `${head}.${claims}. ${signature}`],
  ['no-base64', 'a character of no base64', `${head}.${claims}.${signature.slice(1)}*`],
  [
    'standard-alphabet',
    'claims in the alphabet with + and /',
    `${head}.${claims.replaceAll('-', '+').replaceAll('_', '/')}.${signature}`,
  ],
])
  await check(name, comment, made, 'token_malformed');
await check('too-large', '8193 bytes', ofSize(8193), 'token_too_large');

const document = { comment: COMMENT, keys: { keys: [...others, ...Object.values(keys)] }, cases };
writeFileSync(OUTPUT, `${JSON.stringify(document, null, 2)}\n`);
console.log(`${cases.length} cases in ${OUTPUT.pathname}`);
