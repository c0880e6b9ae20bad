//! Tokens that this server makes itself, signed with a key derived from its secret.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::server_secret::{Label, ServerSecret};
use crate::token::dialect::Secrets;
use crate::token::dialects::Dialects;
use crate::token::jwt::UntrustedToken;
use crate::token::message::VerifiedToken;
use crate::token::{Accepted, Error, Expected, Signed};

/// Issuer and audience of such a token.
const NAME: &str = "keylet";

/// Its key id.
const KEY_ID: &str = "keylet-server";

/// The key id of session tokens.
const SESSION_KEY_ID: &str = "keylet-session";

/// The claim with the name of the policy option by which a viewer got such a token.
pub const POLICY: &str = "policy";

/// The claim with the scope of its subject, where there are several.
pub const SCOPE: &str = "origin_scope";

/// The claims that identify the token for which such a token was made, and say until when it is accepted.
const ORIGIN: &str = "origin";
const ORIGIN_UNTIL: &str = "origin_until";

/// The header of every such token.
const HEADER: &str = r#"{"alg":"HS256","kid":"keylet-server","typ":"JWT"}"#;

/// A token with these claims, to which issuer and audience are added.
pub fn mint(mut claims: Map<String, Value>, secret: &ServerSecret) -> String {
    claims.insert("iss".to_owned(), json!(NAME));
    claims.insert("aud".to_owned(), json!(NAME));
    secret.sign(Label::Token, HEADER, &Value::Object(claims).to_string())
}

/// Whether a token claims that this server made it.
pub fn is_own(token: &UntrustedToken<'_>) -> bool {
    token.key_id() == Some(KEY_ID) && token.algorithm() == "HS256"
}

/// Whether a token claims to be a session token, which entitles to nothing by itself.
pub(crate) fn is_of_session(token: &str) -> bool {
    UntrustedToken::parse(token).is_ok_and(|token| token.key_id() == Some(SESSION_KEY_ID))
}

/// Verifies a token that claims that this server made it.
pub(crate) fn verify(
    token: &UntrustedToken<'_>,
    secret: &ServerSecret,
    now: u64,
) -> Result<VerifiedToken, Error> {
    if !secret.verifies(Label::Token, token.signed(), token.signature()) {
        return Err(Error::Signature);
    }
    let name = || Accepted::OneOf(vec![NAME.to_owned()]);
    let expected = Expected::new(name(), name());
    let dialects = Dialects::native();
    let mut verified = VerifiedToken::of_jwt(token, NAME, &dialects, &NoSecrets, &expected, now)?;
    // Its uses are those of the token that it was made for.
    if let Some(Value::String(origin)) = verified.claims.get(ORIGIN) {
        verified.identity = [NAME.as_bytes(), b"\0", origin.as_bytes()].concat();
        let until = verified.claims.get(ORIGIN_UNTIL).and_then(Value::as_u64);
        verified.accepted_until = verified.accepted_until.max(until.unwrap_or_default());
    }
    Ok(verified)
}

/// The claims that identify the token for which a token is made. What has no token is counted by the option that
/// needs none, and by the keys.
pub fn origin(
    token: Option<&VerifiedToken>,
    option: &str,
    keys: &[String],
) -> [(&'static str, Value); 2] {
    let (identity, until) = match token {
        Some(token) => (token.identity.clone(), token.accepted_until),
        None => {
            let identity = format!("{option}\0{}", keys.join("\0"));
            (identity.into_bytes(), u64::MAX)
        }
    };
    let origin = hex::encode(Sha256::digest(identity));
    [(ORIGIN, origin.into()), (ORIGIN_UNTIL, until.into())]
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn secret(&self, _kid: &str, _alg: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
        None
    }
}
