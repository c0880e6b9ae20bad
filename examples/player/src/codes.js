// What to do about a refusal, by its code.

const TODO = {
  token_missing: 'Give a token, and check that the player sends it with this request.',
  token_expired: 'Make a new token.',
  token_signature: 'Sign the token with a key that the policy names.',
  token_malformed: 'Put a JWT into the field: three parts with full stops between them.',
  token_key_unknown: 'Sign the token with a key that the policy names: its algorithm or key id fits none.',
  token_issuer: 'Make the token with the issuer that the policy names, or add this one to the policy.',
  token_audience: 'Make the token with the audience that the policy names.',
  not_entitled: 'Name this key in the entitlements of the token. Where it is there, name the DRM system in `drm` of the policy.',
  entitlement_missing: 'Add `entitlements` to the token, or terms to the policy.',
  key_system_not_allowed: 'Add this DRM system to `systems` of the key record.',
  key_not_found: 'Compare the KID of the content with the key records of the server.',
  duration_unsupported: 'Take lease, rental and `max_streams` out of the terms: Clear Key, AES-128 and a device that does not report playback cannot keep them.',
  device_hdcp_unsupported: 'Take `hdcp` out of the terms: Clear Key, AES-128 and this device cannot keep it.',
  uses_spent: 'Make a new token, or allow more in `max_uses`.',
  streams_exceeded: 'End playback on another device, or allow more in `max_streams`.',
  fairplay_off: 'Give the server a FairPlay credential: see docs/credentials.md.',
  spc_certificate_unknown: 'Give the player the certificate of this server.',
  configuration_invalid: 'Ask GET /healthz, which names the variable that does not load.',
};

const NO_ANSWER = 'Is the server running, is the URL right, and is the origin of this page in `cors_origins`?';

/** One sentence that says what to change. Without a code, nothing came that the page may read. */
export function whatToDo(status, code) {
  if (status === 0) return NO_ANSWER;
  if (!code) return 'Check the URL: this is no answer of Keylet.';
  return TODO[code] ?? `What it means: docs/errors.md#${code}`;
}
