//! The variable `key_seed`.

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::derivation::{Algorithm, Iv, LEAST_HKDF, PLAYREADY, Seed};
use crate::configuration::{SettingError, SettingErrorKind};
use crate::encoding;

/// The variable that holds seeds.
pub const VARIABLE: &str = "key_seed";

/// A seed in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedConfig {
    id: Option<String>,
    algorithm: Algorithm,
    seed: Zeroizing<String>,
    iv: Option<String>,
}

impl SeedConfig {
    fn read(self) -> Result<Seed, SettingError> {
        let wrong = |member: &str, reason: &str| malformed(reason).in_member(member);
        if self.id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            return Err(wrong("id", "it is empty"));
        }
        let iv = match self.iv.as_deref() {
            None | Some("kid") => Iv::Kid,
            Some("derived") => Iv::Derived,
            Some(iv) => Iv::Constant(encoding::fixed(iv).ok_or_else(|| {
                wrong("iv", "it is none of `kid`, `derived` and 16 bytes in hex")
            })?),
        };
        let text = encoding::unquoted(&self.seed);
        let (bytes, reason) = match self.algorithm {
            Algorithm::HkdfSha256 => (
                encoding::hex(text).or_else(|| encoding::base64(text)),
                format!("it is not {LEAST_HKDF} bytes or more in hex or base64"),
            ),
            Algorithm::PlayReady => (
                encoding::base64(text),
                format!("it is not {PLAYREADY} bytes or more in base64"),
            ),
        };
        bytes
            .and_then(|bytes| Seed::new(self.id, self.algorithm, iv, bytes))
            .ok_or_else(|| wrong("seed", &reason))
    }
}

/// Reads seeds: a JSON object, or a list of them.
///
/// # Errors
/// Every seed that is wrong, by its index when there is a list; never by its content.
pub fn read(json: &str) -> Result<Vec<Seed>, Vec<SettingError>> {
    let value = encoding::json(json.as_bytes())
        .map_err(|error| vec![SettingError::from_json_error(VARIABLE, &error)])?;
    let list = match value {
        Value::Array(list) if list.is_empty() => {
            return Err(vec![malformed("the list is empty, so there is no seed")]);
        }
        Value::Array(list) => list,
        value => {
            return one(value)
                .map(|seed| vec![seed])
                .map_err(|error| vec![error]);
        }
    };
    let mut problems = Vec::new();
    let mut seeds: Vec<(usize, Seed)> = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        match one(value) {
            Ok(seed) => {
                problems.extend(collisions(&seed, index, &seeds));
                seeds.push((index, seed));
            }
            Err(error) => problems.push(error.at(index)),
        }
    }
    if problems.is_empty() {
        Ok(seeds.into_iter().map(|(_, seed)| seed).collect())
    } else {
        Err(problems)
    }
}

fn one(value: Value) -> Result<Seed, SettingError> {
    let config: SeedConfig = encoding::from_value(value)
        .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
    config.read()
}

/// What a seed has in common with one before it. A KID must say which seed made it.
fn collisions<'a>(
    seed: &'a Seed,
    index: usize,
    before: &'a [(usize, Seed)],
) -> impl Iterator<Item = SettingError> + 'a {
    let same = |member: &'static str, is_same: fn(&Seed, &Seed) -> bool| {
        let first = before.iter().find(|(_, other)| is_same(seed, other));
        first.map(|(first, _)| {
            // People count from 1.
            let reason = format!("seed {} has the same", first.saturating_add(1));
            SettingError::new(VARIABLE, SettingErrorKind::Collision, reason)
                .in_member(member)
                .at(index)
        })
    };
    let ids = same("id", |one, other| one.id.is_some() && one.id == other.id);
    ids.into_iter().chain(same("seed", Seed::is_same))
}

fn malformed(reason: impl Into<String>) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn problems(json: &str) -> Vec<String> {
        let problems = read(json).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_named_by_its_place_and_never_by_its_content() {
        let seed = |more: &str| format!(r#"{{"algorithm":"hkdf-sha256","seed":"{GOOD}"{more}}}"#);
        let short = &GOOD[2..];
        for (json, expected) in [
            ("", "key_seed: it ends too early"),
            ("movie", "key_seed: "),
            ("[]", "key_seed: the list is empty"),
            ("7", "key_seed: "),
            (&format!(r#"{{"seed":"{GOOD}"}}"#), "`algorithm`"),
            (r#"{"algorithm":"hkdf-sha256"}"#, "`seed`"),
            (
                &format!(r#"{{"algorithm":"aes","seed":"{GOOD}"}}"#),
                "key_seed: `algorithm`: ",
            ),
            (
                &format!(r#"{{"algorithm":"hkdf-sha256","seed":"{short}"}}"#),
                "key_seed: `seed`: it is not 32 bytes or more in hex or base64",
            ),
            (
                r#"{"algorithm":"hkdf-sha256","seed":"secret, and no base64!"}"#,
                "key_seed: `seed`: it is not 32 bytes",
            ),
            (
                r#"{"algorithm":"playready","seed":"c2VjcmV0"}"#,
                "key_seed: `seed`: it is not 30 bytes or more in base64",
            ),
            (
                &seed(r#","iv":"random""#),
                "key_seed: `iv`: it is none of `kid`, `derived`",
            ),
            (&seed(r#","iv":"00""#), "key_seed: `iv`: "),
            (&seed(r#","id":" ""#), "key_seed: `id`: it is empty"),
            (&seed(r#","more":1"#), "key_seed: a member is not known"),
            (&format!("[{}, 1]", seed("")), "key_seed: seed 2: "),
            (
                &format!(
                    r#"[{}, {{"algorithm":"playready","seed":"{short}x"}}]"#,
                    seed(r#","iv":"0""#)
                ),
                "key_seed: seed 1: `iv`: ",
            ),
            (
                &format!("[{}, {}]", seed(""), seed(r#","id":"b""#)),
                "key_seed: seed 2: `seed`: seed 1 has the same",
            ),
            (
                &format!(
                    r#"[{},{{"algorithm":"hkdf-sha256","id":"a","seed":"ff{GOOD}"}}]"#,
                    seed(r#","id":"a""#)
                ),
                "key_seed: seed 2: `id`: seed 1 has the same",
            ),
        ] {
            let found = problems(json);
            assert!(
                found.iter().any(|problem| problem.contains(expected)),
                "{json}: {found:?}"
            );
            let said = found.concat();
            assert!(!said.contains("2233") && !said.contains("secret"), "{said}");
        }
        assert!(problems(&format!("[{},{}]", seed(r#","iv":"0""#), "{}")).len() > 1);
    }

    #[test]
    fn a_seed_is_read_in_each_form() {
        for json in [
            format!(r#"{{"algorithm":"hkdf-sha256","seed":" {} "}}"#, GOOD.to_uppercase()),
            r#"{"algorithm":"hkdf-sha256","seed":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","iv":"derived"}"#.to_owned(),
            r#"{"algorithm":"playready","seed":"XVBovsmzhP9gRIZxWfFta3VVRPzVEWmJsazEJ46I","iv":"kid"}"#.to_owned(),
            format!(r#"[{{"id":"a","algorithm":"hkdf-sha256","seed":"{GOOD}","iv":"{}"}}]"#, &GOOD[..32]),
        ] {
            assert_eq!(problems(&json), Vec::<String>::new(), "{json}");
        }
    }
}
