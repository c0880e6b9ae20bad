//! Custom data of Kaltura's universal DRM (`uDRM`).
//!
//! A licence request has two parameters in its query. Each may be percent-encoded once more than the
//! query needs:
//!
//! ```text
//! custom_data = base64(JSON)
//! signature   = base64(SHA-1(signing key ‖ JSON))
//! ```
//!
//! The signing key is a JWK of `kty` `oct` with `alg` `kaltura-signing-key`; its `kid` is the account
//! id as text.
//!
//! | member | here |
//! |---|---|
//! | `account_id` | number or text: whose key verifies the message |
//! | `content_id` | `keys`: an id, or several between commas |
//! | `files` | `keys`: ids in a list, or between commas. In a message of `ca_system` `OVP`, numbers are the flavours of an account, which name no key, and are left out |
//! | `user_token` | required; the back end has it among `claims`, with the rest of the message |
//! | `ca_system`, `udid`, everything else | informs |
//!
//! The message says who asks for what. It has no terms and no end: both come from the back end, and
//! the entitlement is valid only together with its answer.
//!
//! A digest with the secret in front can be extended without the secret. The extended message is the
//! JSON, bytes that are not JSON, and what was added. A document is read to its last byte, so such a
//! message is refused.
//!
//! Documented (Kaltura's server, `DrmLicenseUtils.php`, and the messages in Kaltura's players): the
//! layout, `ca_system`, `user_token`, `account_id` as a number or text, `content_id` with commas,
//! `files` with commas, at its end too, or empty. Inferred: a `files` that is a list; that ids of files
//! may be those of key records.

use base64::Engine;
use serde::Serialize;
use serde_json::Value;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::encoding::{self, BASE64};
use crate::entitlement::{Entitlement, Entry};
use crate::id::Id;
use crate::token::dialect::fields::{has_members, text_of};
use crate::token::dialect::{Error, Grant, Secrets};
use crate::token::vendor::{Dialect, ReplyHabit, Vendor};

/// Kaltura.
pub const VENDOR: Vendor = Vendor {
    name: "kaltura",
    parameters: &["custom_data"],
    key_algorithms: &[SIGNING_KEY],
    reply: Some(ReplyHabit::JsonForBase64),
    dialect: Some(Dialect::Text {
        fits,
        read: |text, signature, secrets, _| read(text, signature, secrets),
    }),
    ..Vendor::NONE
};

/// The algorithm of the key that authenticates: the prefix of what is hashed.
pub const SIGNING_KEY: &str = "kaltura-signing-key";

/// `ca_system` of Kaltura's platform for video on demand, whose files are the flavours of an account.
const OVP: &str = "OVP";

/// Whether a text is custom data of this dialect.
pub fn fits(text: &str) -> bool {
    bytes(text).is_some_and(|json| has_members(&json, &["ca_system", "user_token"]))
}

/// What custom data grants, once a back end agrees.
///
/// # Errors
/// [`Error::Malformed`], [`Error::KeyUnknown`] and [`Error::Signature`].
pub fn read(text: &str, signature: Option<&str>, secrets: &dyn Secrets) -> Result<Grant, Error> {
    const JSON: Error = Error::Malformed("custom_data");
    let json = bytes(text).ok_or(JSON)?;
    let members = encoding::json_object(&json).map_err(|_| JSON)?;

    let account = members.get("account_id").and_then(id);
    let key = secrets
        .secret(
            &account.ok_or(Error::Malformed("account_id"))?,
            Some(SIGNING_KEY),
        )
        .ok_or(Error::KeyUnknown)?;
    let signature = signature.and_then(bytes).ok_or(Error::Signature)?;
    let digest = digest(&key, &json);
    if !bool::from(digest.as_slice().ct_eq(&signature)) {
        return Err(Error::Signature);
    }

    let system = text_of(&members, "ca_system")?;
    text_of(&members, "user_token")?;
    let mut keys = match members.get("content_id") {
        Some(Value::Array(_)) | None => return Err(Error::Malformed("content_id")),
        Some(value) => ids(value).ok_or(Error::Malformed("content_id"))?,
    };
    if keys.is_empty() {
        return Err(Error::Malformed("content_id"));
    }
    if let Some(files) = members.get("files").filter(|files| !files.is_null()) {
        let files = ids(files).ok_or(Error::Malformed("files"))?;
        let is_flavour = |id: &String| system == OVP && id.bytes().all(|b| b.is_ascii_digit());
        keys.extend(files.into_iter().filter(|id| !is_flavour(id)));
    }
    let keys = keys.iter().filter_map(|id| Id::from_text(id)).collect();
    Ok(Grant {
        entitlement: Entitlement::new(vec![Entry::left_to_back_end(keys)]),
        // One message has many encodings; all have the same digest.
        id: Some(hex::encode(digest)),
        claims: members,
        needs_callback: true,
        ..Grant::default()
    })
}

/// A message as Kaltura's service makes it (`DrmLicenseUtils::createCustomData`).
pub struct CustomData {
    /// What the back end knows the viewer by.
    pub user_token: String,
    /// The account whose key signs.
    pub account_id: Account,
    /// Ids of key records between commas.
    pub content_id: String,
    /// Ids of files between commas, or nothing.
    pub files: String,
}

/// An account: a number, as Kaltura's are, or text.
pub struct Account(Value);

impl From<&str> for Account {
    fn from(text: &str) -> Self {
        let number = text.parse::<u64>().ok();
        // A number has one spelling.
        let number = number.filter(|number| number.to_string() == text);
        Self(number.map_or_else(|| text.into(), Value::from))
    }
}

/// The two parameters of a licence request.
pub struct Signed {
    /// `custom_data`
    pub custom_data: String,
    /// `signature`
    pub signature: String,
}

impl CustomData {
    /// The message, signed. `None` when [`read`] would refuse its ids.
    pub fn sign(&self, signing_key: &[u8]) -> Option<Signed> {
        /// In the order of Kaltura's service.
        #[derive(Serialize)]
        struct Document<'a> {
            ca_system: &'a str,
            user_token: &'a str,
            account_id: &'a Value,
            content_id: &'a str,
            files: &'a str,
        }
        let content_ids = ids(&self.content_id.as_str().into())?;
        ids(&self.files.as_str().into())?;
        let document = Document {
            ca_system: OVP,
            user_token: &self.user_token,
            account_id: &self.account_id.0,
            content_id: &self.content_id,
            files: &self.files,
        };
        let json = serde_json::to_vec(&document).ok()?;
        (!content_ids.is_empty()).then(|| Signed {
            custom_data: BASE64.encode(&json),
            signature: BASE64.encode(digest(signing_key, &json)),
        })
    }
}

/// SHA-1 of the key and the message.
fn digest(signing_key: &[u8], json: &[u8]) -> sha1::digest::Output<Sha1> {
    Sha1::new_with_prefix(signing_key)
        .chain_update(json)
        .finalize()
}

/// Base64, percent-encoded or not. Decoding the query may have turned `+` into spaces.
fn bytes(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut base64 = String::with_capacity(text.len());
    let mut parts = text.split('%');
    base64.push_str(parts.next()?);
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let [byte] = hex::decode(digits).ok()?.try_into().ok()?;
        base64.push(char::from(byte));
        base64.push_str(rest);
    }
    encoding::base64(&base64.replace(' ', "+"))
}

/// Ids in a list, or between commas. `None` when one of them is not an id; `*` is not an id.
fn ids(value: &Value) -> Option<Vec<String>> {
    let ids: Vec<String> = match value {
        Value::Array(list) => list.iter().map(id).collect::<Option<_>>()?,
        Value::String(text) => text
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .map(ToOwned::to_owned)
            .collect(),
        value => vec![id(value)?],
    };
    ids.iter()
        .all(|id| id != "*" && Id::from_text(id).is_some())
        .then_some(ids)
}

/// An id that is text or a whole number.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        value => value.as_u64().map(|number| number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::dialect::Jwks;

    const VECTORS: &str = include_str!("../../../fixtures/dialects/kaltura.json");

    fn vectors() -> (Value, Jwks) {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let keys = Jwks(vectors["variables"]["token_keys"].clone());
        (vectors, keys)
    }

    fn left_to_back_end(keys: &Value) -> Entitlement {
        let keys = keys.as_array().unwrap().iter();
        let keys = keys.map(|key| Id::from_text(key.as_str().unwrap()).unwrap());
        Entitlement::new(vec![Entry::left_to_back_end(keys.collect())])
    }

    #[test]
    fn vectors_are_read_as_they_say() {
        let (vectors, keys) = vectors();
        for case in vectors["cases"].as_array().unwrap() {
            let name = &case["name"];
            let expect = &case["expect"];
            let token = case["token"].as_str().unwrap();
            match read(token, case["signature"].as_str(), &keys) {
                Ok(grant) => {
                    assert!(fits(token), "{name}");
                    let keys = &expect["entitlements"][0]["keys"];
                    assert_eq!(grant.entitlement, left_to_back_end(keys), "{name}");
                    assert!(grant.needs_callback, "{name}");
                    assert!(grant.id.is_some_and(|id| id.len() == 40), "{name}");
                    assert_eq!(grant.subject, None, "{name}");
                    assert_eq!(grant.claims["user_token"], "djJ8MTIz", "{name}");
                }
                Err(error) => {
                    let code = match error {
                        Error::Malformed(_) => "token_claims",
                        Error::KeyUnknown => "token_key_unknown",
                        Error::Signature => "token_signature",
                        error => panic!("{name}: {error}"),
                    };
                    // What does not even look like custom data is refused as the token that it is not.
                    let expected = if fits(token) { code } else { "token_malformed" };
                    assert_eq!(expect["code"], expected, "{name}: {error}");
                    assert!(expect.get("entitlements").is_none(), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_signature_that_was_continued_does_not_verify_a_document() {
        // The digest of a key of 16 bytes and `{}`, its padding, and a document in place of `{}`.
        let mut json = b"{}\x80".to_vec();
        json.resize(64 - 16 - 8, 0);
        json.extend_from_slice(&(18_u64 * 8).to_be_bytes());
        json.extend_from_slice(
            br#"{"ca_system":"OTT","user_token":"x","account_id":1,"content_id":"a"}"#,
        );
        let key = [7; 16];
        let digest = Sha1::new_with_prefix(key).chain_update(&json).finalize();
        let keys = Jwks(json!({"keys": [
            {"kid": "1", "alg": SIGNING_KEY, "k": BASE64.encode(key)},
        ]}));
        let text = BASE64.encode(&json);
        let result = read(&text, Some(&BASE64.encode(digest)), &keys);
        assert_eq!(result.err(), Some(Error::Malformed("custom_data")));
        assert!(!fits(&text));
    }

    #[test]
    fn what_is_signed_here_is_read_here() {
        let (_, keys) = vectors();
        let key = keys.secret("1851571", Some(SIGNING_KEY)).unwrap();
        let message = |content_id: &str, files: &str| CustomData {
            user_token: "djJ8MTIz".to_owned(),
            account_id: "1851571".into(),
            content_id: content_id.to_owned(),
            files: files.to_owned(),
        };
        // As Kaltura's service writes and signs the same message: a vector of its own encoder.
        let (vectors, _) = vectors();
        let plain = &vectors["cases"][0];
        let signed = message("movie-1", "").sign(&key).unwrap();
        assert_eq!(plain["token"], signed.custom_data);
        assert_eq!(plain["signature"], signed.signature);

        let signed = message("movie-1,movie-2", "0_hd,7,").sign(&key).unwrap();
        let grant = read(&signed.custom_data, Some(&signed.signature), &keys).unwrap();
        let keys = json!(["movie-1", "movie-2", "0_hd"]);
        assert_eq!(grant.entitlement, left_to_back_end(&keys));
        for (content_id, files) in [("*", ""), ("", ""), (",", ""), ("a", "*"), ("a,*", "")] {
            assert!(
                message(content_id, files).sign(&key).is_none(),
                "{content_id} {files}"
            );
        }
        for (text, account) in [
            ("1851571", json!(1_851_571)),
            ("0018", json!("0018")),
            ("a", json!("a")),
        ] {
            assert_eq!(Account::from(text).0, account);
        }
    }

    #[test]
    fn no_id_stands_for_every_key() {
        for value in [
            json!("*"),
            json!("a,*"),
            json!(["*"]),
            json!([""]),
            json!([1.5]),
            json!({}),
        ] {
            assert_eq!(ids(&value), None, "{value}");
        }
        assert_eq!(ids(&json!(" a, ,b,")).unwrap(), ["a", "b"]);
        assert_eq!(ids(&json!(["a", 7])).unwrap(), ["a", "7"]);
        assert_eq!(ids(&json!("")).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn base64_is_read_percent_encoded_or_not() {
        for text in ["+/+/", "%2B%2f%2B/", " / /"] {
            assert_eq!(
                bytes(text).unwrap().as_slice(),
                [0xfb, 0xff, 0xbf],
                "{text}"
            );
        }
        for text in ["%", "%2", "%zz", "%+f", "a%"] {
            assert!(bytes(text).is_none(), "{text}");
        }
    }
}
