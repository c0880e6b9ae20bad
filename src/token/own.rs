//! Tokens that this server makes itself, signed with a key derived from its secret.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::encoding::BASE64_URL;
use crate::server_secret::{Label, ServerSecret};
use crate::token::dialect::{Dialects, Secrets};
use crate::token::jwt::UntrustedToken;
use crate::token::message::VerifiedToken;
use crate::token::{Accepted, Error};
use base64::Engine;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Issuer and audience of such a token.
const NAME: &str = "keylet";

/// Its key id.
const KEY_ID: &str = "keylet-server";

/// The claim with the name of the policy option by which a viewer got such a token.
pub const POLICY: &str = "policy";

/// The header of every such token.
const HEADER: &str = r#"{"alg":"HS256","kid":"keylet-server","typ":"JWT"}"#;

/// A token with these claims, to which issuer and audience are added.
pub fn mint(mut claims: serde_json::Map<String, Value>, secret: &ServerSecret) -> String {
    claims.insert("iss".to_owned(), json!(NAME));
    claims.insert("aud".to_owned(), json!(NAME));
    let encode = |bytes: &[u8]| BASE64_URL.encode(bytes);
    let claims = Value::Object(claims).to_string();
    let signed = format!(
        "{}.{}",
        encode(HEADER.as_bytes()),
        encode(claims.as_bytes())
    );
    let tag = encode(&tag(&signed, secret));
    format!("{signed}.{tag}")
}

/// Whether a token says that it was made here.
pub fn is_own(token: &UntrustedToken<'_>) -> bool {
    token.key_id() == Some(KEY_ID) && token.jwt.algorithm() == "HS256"
}

/// Verifies a token that says that it was made here.
pub(super) fn verify(
    token: &UntrustedToken<'_>,
    secret: &ServerSecret,
    now: u64,
) -> Result<VerifiedToken, Error> {
    let expected = tag(token.signed(), secret);
    if !bool::from(expected.ct_eq(token.jwt.signature_bytes())) {
        return Err(Error::Signature);
    }
    let name = Accepted::OneOf(vec![NAME.to_owned()]);
    VerifiedToken::of_jwt(token, &Dialects::native(), &NoSecrets, &name, &name, now)
}

fn tag(signed: &str, secret: &ServerSecret) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new(&(*secret.key(Label::Token)).into());
    mac.update(signed.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn secret(&self, _kid: &str, _alg: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
        None
    }
}
