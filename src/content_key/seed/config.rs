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
