//! Common Access Tokens (CTA-5007): the tokens that content delivery networks check, a CWT (RFC 8392) in COSE
//! (RFC 9052) in base64url. They are read where the variable `dialects` names `cat`.
//!
//! A claim is honoured, or it refuses the token; those that only say what happens beside a licence are not read.
//! `docs/cat.md` has the list.

mod cbor;
mod claims;
mod cose;
mod place;
mod uri;

pub(crate) use claims::Claims;
pub use claims::label_of;
pub use cose::{MAX_BYTES, UntrustedCat, is_shaped};
pub(crate) use place::locate;
pub use place::{Asked, HEADER};
pub use uri::{UriRule, VARIABLE};

/// The name of the dialect in the variable `dialects`.
pub const NAME: &str = "cat";

#[cfg(test)]
mod tests {
    use base64::Engine;
    use http::Request;
    use serde_json::Value;

    use super::*;
    use crate::encoding::{self, BASE64_URL};
    use crate::token::{Error, VerificationKeys};

    const VECTORS: &str = include_str!("../../../fixtures/cat/tokens.json");

    fn vectors() -> (VerificationKeys, Value) {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let keys = VerificationKeys::from_json(&vectors["keys"].to_string());
        (keys.unwrap_or_else(|errors| panic!("{errors:?}")), vectors)
    }

    /// Verifies a token and reads its claims for a request to this server's own path.
    fn read(keys: &VerificationKeys, text: &str) -> Result<Claims, Error> {
        let token = UntrustedCat::parse(text)?;
        keys.verify(&token)?;
        let request = Request::post("https://k.example/fairplay")
            .body(())
            .unwrap();
        let asked = Asked::from(&request);
        let rule = UriRule::Request(None);
        token.claims(&rule, Some(&asked))
    }

    #[test]
    fn what_the_vectors_accept_is_read_and_the_rest_refused() {
        let (keys, vectors) = vectors();
        for case in vectors["cases"].as_array().unwrap() {
            let result = read(&keys, case["token"].as_str().unwrap());
            match case["expect"].as_str().unwrap() {
                // Times are compared elsewhere, and paths with templates.
                "ok" | "token_expired" | "term_unsupported" => {
                    assert!(result.is_ok(), "{}: {:?}", case["name"], result.err());
                }
                code => {
                    let refused = result.err().map(|error| error.code().name);
                    assert_eq!(refused, Some(code), "{}", case["name"]);
                }
            }
        }
    }

    #[test]
    fn a_token_that_is_cut_or_has_another_bit_is_never_accepted() {
        let (keys, vectors) = vectors();
        let case = &vectors["cases"][4];
        assert_eq!(case["name"], "with the tag of a CWT");
        let whole = encoding::base64(case["token"].as_str().unwrap()).unwrap();
        let verifies = |bytes: &[u8]| read(&keys, &BASE64_URL.encode(bytes)).is_ok();
        assert!(verifies(&whole));
        for length in 0..whole.len() {
            assert!(!verifies(&whole[..length]), "{length}");
        }
        // The unprotected header has the key id alone. Without one, the issuer's keys are tried in turn.
        let (before, after) = (8, 8 + 3 + 12);
        for bit in 0..whole.len() * 8 {
            let mut altered = whole.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            let is_unprotected = (before..after).contains(&(bit / 8));
            assert!(!verifies(&altered) || is_unprotected, "bit {bit}");
        }
    }
}
