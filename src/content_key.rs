//! Key records, and how an asset id finds one.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::encoding;
use crate::entitlement::{Terms, Track};
use crate::error::{SettingError, SettingErrorKind, SettingsError};
use crate::id::Id;
use crate::platform::Platform;
use crate::secret::Key128;

/// The variable that holds key records.
pub const VARIABLE: &str = "content_keys";

/// A content key and what belongs to it.
pub struct ContentKey {
    /// The id under which the record was written; what logs call it.
    pub id: Id,
    /// Everything that reaches this record: id, aliases and KID, in digits and as 16 bytes.
    pub names: Vec<Id>,
    /// AES-128 content key (CK).
    pub key: Key128,
    /// CBC initialisation vector that travels with it (CK-IV).
    pub iv: [u8; 16],
    /// The kind of track that it encrypts, when that is said.
    pub track: Option<Track>,
    /// Stream id of the offline key TLLV, zero-extended.
    pub stream: Option<[u8; 16]>,
    /// Title id of the offline key TLLV, zero-extended.
    pub title: Option<[u8; 16]>,
    /// What is met together with the terms of every token.
    pub terms: Terms,
}

/// The key records of a deployment.
pub struct ContentKeys {
    records: Vec<ContentKey>,
    index: HashMap<Id, usize>,
}

impl ContentKeys {
    /// Reads the records from the variable store.
    ///
    /// # Errors
    /// Every record that is wrong, by its place in the list; never by its content.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let Some(json) = platform.variable(VARIABLE).await? else {
            return Err(SettingError::new(
                VARIABLE,
                SettingErrorKind::Missing,
                "it is not set, so there is no key to deliver",
            )
            .into());
        };
        Self::from_json(&json).map_err(SettingsError::Invalid)
    }

    /// Reads a JSON array of records.
    ///
    /// # Errors
    /// Every record that is wrong, by its place in the list, counted from 0.
    pub fn from_json(json: &str) -> Result<Self, Vec<SettingError>> {
        let malformed =
            |message: String| SettingError::new(VARIABLE, SettingErrorKind::Malformed, message);
        let written: Vec<Value> =
            encoding::from_json(json.as_bytes()).map_err(|reason| vec![malformed(reason)])?;

        let mut problems = Vec::new();
        let mut records: Vec<ContentKey> = Vec::with_capacity(written.len());
        let mut index = HashMap::new();
        for (place, written) in written.into_iter().enumerate() {
            match encoding::from_value(written).and_then(KeyRecordConfig::read) {
                Ok(record) => {
                    for name in &record.names {
                        let other = *index.entry(name.clone()).or_insert(records.len());
                        if other != records.len() {
                            let message =
                                format!("an id of record {place} reaches another record too");
                            problems.push(SettingError::new(
                                VARIABLE,
                                SettingErrorKind::Collision,
                                message,
                            ));
                        }
                    }
                    records.push(record);
                }
                Err(reason) => problems.push(malformed(format!("record {place}: {reason}"))),
            }
        }
        if records.is_empty() && problems.is_empty() {
            problems.push(malformed(
                "the list is empty, so there is no key to deliver".to_owned(),
            ));
        }
        if problems.is_empty() {
            Ok(Self { records, index })
        } else {
            Err(problems)
        }
    }

    /// The record that an asset id or KID reaches.
    pub fn find(&self, id: &Id) -> Option<&ContentKey> {
        self.index
            .get(id)
            .and_then(|place| self.records.get(*place))
    }
}

/// A record as it is written in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRecordConfig {
    id: String,
    kid: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    key: Zeroizing<String>,
    iv: String,
    track: Option<Track>,
    stream: Option<String>,
    title: Option<String>,
    terms: Option<Value>,
}

impl KeyRecordConfig {
    fn read(self) -> Result<ContentKey, String> {
        let id = Id::from_text(&self.id).ok_or("`id` is empty or not hexadecimal")?;
        // Players with Media Source Extensions have the KID from `tenc`, as bytes.
        let kid = match &self.kid {
            Some(kid) => {
                let digits = Id::from_guid(kid).ok_or("`kid` is not a GUID")?;
                let bytes = encoding::hex(&digits.to_string()).unwrap_or_default();
                Some([digits, Id::from_bytes(&bytes)])
            }
            None => None,
        };
        let aliases = self
            .aliases
            .iter()
            .map(|alias| Id::from_text(alias).ok_or("an alias is empty or not hexadecimal"))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(ContentKey {
            names: std::iter::once(id.clone())
                .chain(kid.into_iter().flatten())
                .chain(aliases)
                .collect(),
            id,
            key: encoding::fixed(&self.key)
                .ok_or("`key` is not 16 bytes in hex or base64")?
                .into(),
            iv: encoding::fixed(&self.iv).ok_or("`iv` is not 16 bytes in hex or base64")?,
            track: self.track,
            stream: self.stream.as_deref().map(offline_id).transpose()?,
            title: self.title.as_deref().map(offline_id).transpose()?,
            terms: match self.terms {
                None => Terms::default(),
                Some(Value::Object(members)) => {
                    Terms::from_json(&members, &[]).map_err(|error| format!("`terms`: {error}"))?
                }
                Some(_) => return Err("`terms` is not an object".to_owned()),
            },
        })
    }
}

/// Stream and title ids of the offline key TLLV: a GUID, or `hex:` and up to 16 bytes, or text of
/// up to 16 bytes; shorter ones are extended with zeros.
fn offline_id(text: &str) -> Result<[u8; 16], &'static str> {
    const TOO_LONG: &str = "`stream` or `title` is not 1 to 16 bytes";
    let guid = Id::from_guid(text).map(|guid| guid.to_string());
    let bytes = match guid.as_deref().or_else(|| text.strip_prefix("hex:")) {
        Some(digits) => encoding::hex(digits).ok_or("`stream` or `title` is not hexadecimal")?,
        None => Zeroizing::new(text.as_bytes().to_vec()),
    };
    let mut id = [0; 16];
    id.get_mut(..bytes.len())
        .filter(|id| !id.is_empty())
        .ok_or(TOO_LONG)?
        .copy_from_slice(&bytes);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#""key":"000102030405060708090a0b0c0d0e0f","iv":"AAECAwQFBgcICQoLDA0ODw==""#;

    fn problems(json: &str) -> String {
        let problems = ContentKeys::from_json(json).err().unwrap();
        problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn a_record_is_found_by_each_of_its_names() {
        let json = format!(
            r#"[{{"id":"movie-42","kid":"339C45B5-FB6D-4BD9-994C-EABD9D41C95B","aliases":["skd://m42","hex:aabb"],"title":"t","stream":"hex:01",{KEY}}}]"#
        );
        let keys = ContentKeys::from_json(&json).unwrap_or_else(|_| panic!());
        let kid = 0x339c_45b5_fb6d_4bd9_994c_eabd_9d41_c95b_u128.to_be_bytes();
        let names: [&[u8]; 5] = [
            b"skd://movie-42",
            b"339c45b5fb6d4bd9994ceabd9d41c95b",
            &kid,
            b"m42",
            &[0xaa, 0xbb],
        ];
        for name in names {
            assert_eq!(keys.find(&Id::from_bytes(name)).unwrap().iv[15], 15);
        }
        assert!(keys.find(&Id::from_bytes(b"movie-43")).is_none());
        let record = keys.find(&Id::from_bytes(b"m42")).unwrap();
        assert_eq!(record.title.unwrap()[..2], [b't', 0]);
        assert_eq!(record.stream.unwrap()[..2], [1, 0]);
    }

    #[test]
    fn every_wrong_record_is_named_by_its_place_and_never_by_its_content() {
        let json = format!(
            r#"[{{"id":"a",{KEY}}},{{"id":"skd://A-secret","key":"deadbeef","iv":"00"}},{{"id":"skd://a",{KEY}}},
               {{"id":"b","kid":"nope",{KEY}}},{{"id":"c","stream":"longer than sixteen bytes",{KEY}}}]"#
        );
        let problems = problems(&json);
        for place in [
            "record 1: `key`",
            "an id of record 2",
            "record 3: `kid`",
            "record 4: `stream`",
        ] {
            assert!(problems.contains(place), "{problems}");
        }
        assert!(!problems.contains("deadbeef") && !problems.contains("secret"));
    }

    #[test]
    fn documents_that_are_no_list_of_records_are_refused() {
        for json in [
            "",
            "{}",
            "[]",
            "[1]",
            r#"[{"id":"a"}]"#,
            &format!(r#"[{{"id":"a","more":1,{KEY}}}]"#),
        ] {
            assert!(!problems(json).is_empty(), "{json}");
        }
        let track = problems(&format!(r#"[{{"id":"a","track":"4k",{KEY}}}]"#));
        assert!(
            track.contains("record 0: a value is not one of `audio`, `sd`"),
            "{track}"
        );
    }
}
