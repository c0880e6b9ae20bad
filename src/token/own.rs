//! Tokens that this server makes itself, signed with a key derived from its secret.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::server_secret::{Label, ServerSecret};
use crate::token::dialect::Secrets;
use crate::token::dialects::Dialects;
use crate::token::jwt::UntrustedToken;
use crate::token::message::VerifiedToken;
use crate::token::{Accepted, Error};

/// Issuer and audience of such a token.
const NAME: &str = "keylet";

/// Its key id.
const KEY_ID: &str = "keylet-server";

/// The key id of session tokens.
const SESSION_KEY_ID: &str = "keylet-session";

/// The claim with the name of the policy option by which a viewer got such a token.
pub const POLICY: &str = "policy";

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
    let name = Accepted::OneOf(vec![NAME.to_owned()]);
    VerifiedToken::of_jwt(token, &Dialects::native(), &NoSecrets, &name, &name, now)
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn secret(&self, _kid: &str, _alg: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
        None
    }
}
