//! Who may ask for keys beside the operator: the variable `packagers`.
//!
//! ```json
//! [{"name": "aws", "token": "a secret of 32 characters or more", "content_ids": ["movie-*", "live-*"]},
//!  {"name": "studio", "signer": {"aes_key": "…", "aes_iv": "…"}, "shared_key": true}]
//! ```

use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq;
use wildmatch::WildMatch;
use zeroize::Zeroizing;

use super::signature::Signer;
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::id::Id;
use crate::operator::LEAST;
use crate::platform::Platform;

/// The variable with the packagers.
pub const VARIABLE: &str = "packagers";

/// Who may ask for keys.
pub struct Packager {
    /// Its name: the audit has it, and requests that it signs.
    pub name: String,
    token: Option<Zeroizing<String>>,
    /// How it signs the requests that shaka-packager sends.
    pub signer: Option<Signer>,
    /// The content ids that it may ask for; `None`: all.
    content_ids: Option<Vec<WildMatch>>,
    /// Whether all tracks of its content have one key.
    pub shared_key: bool,
    /// SHA-256 of the certificates that keys are encrypted for; `None`: any, and keys may travel in the clear.
    pub certificates: Option<Vec<[u8; 32]>>,
}

impl Packager {
    /// Whether this is its token.
    pub fn has_token(&self, token: &str) -> bool {
        let own = self.token.as_ref();
        own.is_some_and(|own| own.as_bytes().ct_eq(token.as_bytes()).into())
    }

    /// Whether it may ask for the keys of a content.
    pub fn may_have(&self, content: &Id) -> bool {
        let content = content.to_string();
        let patterns = self.content_ids.as_ref();
        patterns.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(&content)))
    }

    /// Whether it may not ask for everything.
    pub fn is_limited(&self) -> bool {
        self.content_ids.is_some()
    }
}

/// Reads the variable. Without it, only the operator may ask.
///
/// # Errors
/// Every packager that is wrong, by its index.
pub async fn load(platform: &impl Platform) -> Result<Vec<Packager>, SettingsError> {
    match platform.variable(VARIABLE).await? {
        Some(json) => read(&json).map_err(SettingsError::Invalid),
        None => Ok(Vec::new()),
    }
}

/// Reads a JSON list of packagers.
///
/// # Errors
/// Every packager that is wrong, by its index; never by its secrets.
pub fn read(json: &str) -> Result<Vec<Packager>, Vec<SettingError>> {
    let list = encoding::json_list(json.as_bytes())
        .map_err(|error| vec![SettingError::from_json_error(VARIABLE, &error)])?;
    let mut problems = Vec::new();
    let mut packagers: Vec<Packager> = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        match one(value) {
            Ok(packager) => {
                let mut others = packagers.iter();
                let collision = others.find_map(|other| collision(other, &packager));
                problems.extend(collision.map(|member| {
                    let reason = "another packager has the same";
                    let error = SettingError::new(VARIABLE, SettingErrorKind::Collision, reason);
                    error.in_member(member).at(index)
                }));
                packagers.push(packager);
            }
            Err(error) => problems.push(error.at(index)),
        }
    }
    if problems.is_empty() {
        Ok(packagers)
    } else {
        Err(problems)
    }
}

fn collision(one: &Packager, other: &Packager) -> Option<&'static str> {
    let same_token = other
        .token
        .as_ref()
        .is_some_and(|token| one.has_token(token));
    match one.name == other.name {
        true => Some("name"),
        false => same_token.then_some("token"),
    }
}

/// A packager in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackagerConfig {
    name: String,
    token: Option<Zeroizing<String>>,
    signer: Option<Value>,
    content_ids: Option<Vec<String>>,
    #[serde(default)]
    shared_key: bool,
    certificates: Option<Vec<String>>,
}

fn one(value: Value) -> Result<Packager, SettingError> {
    let config: PackagerConfig = encoding::from_value(value)
        .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
    let wrong = |member: &str, reason: String| {
        SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).in_member(member)
    };
    if config.name.trim().is_empty() {
        return Err(wrong("name", "it is empty".to_owned()));
    }
    let token = config.token.as_ref();
    if token.is_some_and(|token| token.chars().count() < LEAST) {
        return Err(wrong(
            "token",
            format!("it has fewer than {LEAST} characters"),
        ));
    }
    let signer = match config.signer {
        Some(signer) => {
            Some(Signer::read(signer).map_err(|(member, reason)| wrong(member, reason))?)
        }
        None => None,
    };
    if token.is_none() && signer.is_none() {
        let reason = "there is neither `token` nor `signer`, so it could never ask".to_owned();
        return Err(wrong("token", reason));
    }
    if config.content_ids.as_ref().is_some_and(Vec::is_empty) {
        let reason = "it is empty; leave it out where the packager may ask for everything";
        return Err(wrong("content_ids", reason.to_owned()));
    }
    let content_ids = config.content_ids.map(|patterns| {
        let patterns = patterns.iter();
        patterns.map(|pattern| WildMatch::new(pattern)).collect()
    });
    let certificates = config.certificates.map(|digests| {
        let digests = digests.iter().map(|digest| encoding::fixed(digest));
        let digests: Option<Vec<[u8; 32]>> = digests.collect();
        let digests = digests.filter(|digests| !digests.is_empty());
        let reason = "it is not a list of SHA-256 digests, of 32 bytes in hex or base64";
        digests.ok_or_else(|| wrong("certificates", reason.to_owned()))
    });
    Ok(Packager {
        name: config.name,
        token: config.token,
        signer,
        content_ids,
        shared_key: config.shared_key,
        certificates: certificates.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_packager_is_limited_to_the_ids_that_its_patterns_fit() {
        let json = format!(
            r#"[{{"name":"a","token":"{TOKEN}","content_ids":["movie-*","live-??"]}},
                {{"name":"b","token":"{TOKEN}b"}}]"#
        );
        let packagers = read(&json).unwrap_or_else(|errors| panic!("{errors:?}"));
        for (id, is_allowed) in [
            ("movie-42", true),
            ("movie-", true),
            ("skd://movie-42", true),
            ("live-01", true),
            ("live-001", false),
            ("a-movie-42", false),
            ("MOVIE-42", false),
            ("", false),
        ] {
            let id = Id::from_bytes(id.as_bytes());
            assert_eq!(packagers[0].may_have(&id), is_allowed, "{id}");
            assert!(packagers[1].may_have(&id));
        }
        assert!(packagers[0].has_token(TOKEN) && !packagers[1].has_token(TOKEN));
        assert!(packagers[0].is_limited() && !packagers[1].is_limited());
    }

    #[test]
    fn what_is_wrong_with_a_packager_is_named_and_no_secret_is_shown() {
        const WITHOUT: &str = r#"{"name":"a"}"#;
        for (entry, reason) in [
            (WITHOUT, "`token`: there is neither"),
            (r#"{"name":" ","token":"x"}"#, "`name`: it is empty"),
            (
                r#"{"name":"a","token":"topsecret"}"#,
                "`token`: it has fewer than 32",
            ),
            (
                r#"{"name":"a","token":"0123456789abcdef0123456789abcdef","content_ids":[]}"#,
                "`content_ids`: it is empty",
            ),
            (
                r#"{"name":"a","token":"0123456789abcdef0123456789abcdef","certificates":["00"]}"#,
                "`certificates`: it is not a list of SHA-256",
            ),
            (
                r#"{"name":"a","tokens":"topsecret"}"#,
                "a member is not known",
            ),
            (
                r#"{"name":"a","signer":{"aes_key":"topsecret","aes_iv":"00"}}"#,
                "`aes_key`: it is not 16 or 32 bytes",
            ),
            (r#"{"name":"a","signer":{}}"#, "`signer`: there is neither"),
            (
                r#"{"name":"a","signer":{"rsa_public_key":"topsecret"}}"#,
                "`rsa_public_key`: it is not an RSA public key",
            ),
            (
                r#"{"name":"a","signer":{"aes_key":"1ae8ccd0e7985cc0b6203a55855a1034afc252980e970ca90e5202689f947ab9","aes_iv":"d58ce954203b7c9a9a9d467f59839249"}}"#,
                "`aes_key`: it is the published test key",
            ),
        ] {
            let errors = read(&format!("[{entry}]")).err().unwrap();
            let message = errors[0].to_string();
            assert!(message.contains(reason), "{entry}: {message}");
            assert!(!message.contains("topsecret"), "{message}");
        }
        let same = format!(r#"{{"name":"a","token":"{TOKEN}"}}"#);
        let errors = read(&format!("[{same},{same}]")).err().unwrap();
        assert!(errors[0].to_string().contains("`name`: another packager"));
    }
}
