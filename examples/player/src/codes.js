// What to do about a refusal, by its code.

const TODO = {
  token_missing: 'The player sends no token: give one, and check that the player sends it with this request.',
  token_expired: 'The token has expired: make a new one.',
  token_signature: 'The server does not know the key that signed the token: make the token with a key of its policy.',
  token_malformed: 'The text in the field is not a token.',
  token_issuer: 'The policy does not accept the issuer of the token.',
  token_audience: 'The token is meant for another server: look at its audience.',
  not_entitled: 'The token does not name this key, or no policy opens this system: look at `entitlements` and at `drm`.',
  entitlement_missing: 'The token has no entitlements.',
  key_system_not_allowed: 'The key record does not name this system: add it to `systems`.',
  key_not_found: 'The server has no key with this id: compare the KID of the content with the key records.',
  duration_unsupported: 'The terms have a lease, a rental or a limit of streams, and nothing keeps it here.',
  device_hdcp_unsupported: 'The terms ask for HDCP, and nothing keeps it here.',
  uses_spent: 'The token has been used as often as it allows.',
  streams_exceeded: 'Too many streams of this viewer are playing.',
  configuration_invalid: 'The configuration of the server does not load: ask GET /healthz.',
};

export const whatToDo = (code) => TODO[code] ?? `Look up ${code} in docs/errors.md.`;
