//! A key record.

use std::ops::Deref;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::query::KeyQuery;
use crate::configuration::{SettingError, SettingErrorKind};
use crate::drm_system::DrmSystem;
use crate::encoding;
use crate::entitlement::{Terms, Track};
use crate::id::{ASSET_ID_SIZES, Content, Id, Kid, Names};
use crate::secret::Key128;

/// The variable that holds key records.
pub const VARIABLE: &str = "content_keys";

const NOT_16_BYTES: &str = "it is not 16 bytes in hex or base64";

/// The systems that may use a key whose record names none. Clear Key and AES-128 hand out keys in the
/// clear, so they need a record that names them.
const DEFAULT_SYSTEMS: [DrmSystem; 3] = [
    DrmSystem::FairPlay,
    DrmSystem::Widevine,
    DrmSystem::PlayReady,
];

/// A content key and its record.
pub struct ContentKey {
    /// AES-128 content key (CK).
    pub key: Key128,
    /// CBC initialisation vector that travels with it (CK-IV). FairPlay needs it; other systems carry the
    /// IV in the content.
    pub iv: Option<[u8; 16]>,
    /// What belongs to it.
    pub record: KeyRecord,
}

/// What belongs to a content key. The key may be here, or with the licence service of a DRM system.
#[derive(Clone)]
pub struct KeyRecord {
    /// The id of the record; logs call it by this.
    pub id: Id,
    /// Every id that reaches this record: its own, aliases, and the KID as digits and as 16 bytes.
    pub names: Vec<Id>,
    /// The content that it is of, where the record or the KID says it: entitlements to that content reach the key too. Many
    /// keys may be of one content, so no request finds a key by it.
    pub content: Option<Content>,
    /// The KID, when the record has one.
    pub kid: Option<Kid>,
    /// The kind of track that it encrypts, when the record says so.
    pub track: Option<Track>,
    /// Stream id of the offline key TLLV, zero-extended.
    pub stream: Option<[u8; 16]>,
    /// Title id of the offline key TLLV, zero-extended.
    pub title: Option<[u8; 16]>,
    /// Terms that meet those of every token.
    pub terms: Terms,
    /// The DRM systems that may use it.
    pub systems: Vec<DrmSystem>,
}

impl ContentKey {
    /// A key that is found by its id alone, without an IV, a track or terms.
    pub fn new(id: Id, key: Key128) -> Self {
        Self {
            key,
            iv: None,
            record: KeyRecord::new(id),
        }
    }

    /// The same key, found by this KID too.
    #[must_use]
    pub fn with_kid(mut self, kid: Kid) -> Self {
        self.record = self.record.with_kid(kid);
        self
    }

    /// A key that a token brings, with what the server's own record of the same id says: both terms, the record's
    /// track, and the systems that both are for.
    #[must_use]
    pub fn under(&self, own: &Self) -> Self {
        let mut names = own.names.clone();
        names.extend(
            self.names
                .iter()
                .filter(|name| !own.names.contains(name))
                .cloned(),
        );
        let systems = self.systems.iter().filter(|system| own.is_for(**system));
        Self {
            key: self.key.clone(),
            iv: self.iv.or(own.iv),
            record: KeyRecord {
                id: own.id.clone(),
                names,
                content: own.content.clone().or_else(|| self.content.clone()),
                kid: self.kid.or(own.kid),
                track: own.track.or(self.track),
                stream: own.stream.or(self.stream),
                title: own.title.or(self.title),
                terms: self.terms.and(&own.terms),
                systems: systems.copied().collect(),
            },
        }
    }

    /// Reads a record, a JSON object.
    ///
    /// # Errors
    /// The member that is wrong, and how; never a value.
    pub(super) fn from_json(record: Value) -> Result<Self, SettingError> {
        let config: KeyRecordConfig = encoding::from_value(record)
            .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
        config.read(None)
    }

    /// Reads a record whose key is kept beside it.
    ///
    /// # Errors
    /// As [`Self::from_json`]; a record that has a key of its own.
    pub(super) fn from_members(
        record: Map<String, Value>,
        key: Key128,
    ) -> Result<Self, SettingError> {
        let config: KeyRecordConfig = encoding::from_value(Value::Object(record))
            .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
        config.read(Some(key))
    }
}

impl KeyRecord {
    /// A record that is found by its id alone, without a track or terms.
    pub fn new(id: Id) -> Self {
        Self {
            names: vec![id.clone()],
            content: None,
            id,
            kid: None,
            track: None,
            stream: None,
            title: None,
            terms: Terms::default(),
            systems: DEFAULT_SYSTEMS.to_vec(),
        }
    }

    /// The record of a key that this server does not have: found by the id of a query and by the KID in it.
    pub fn of_query(query: &KeyQuery) -> Self {
        let record = Self::new(query.id().clone());
        match query.kids().next() {
            Some(kid) => record.with_kid(kid),
            None => record,
        }
    }

    /// The same record, found by this KID too.
    #[must_use]
    pub fn with_kid(mut self, kid: Kid) -> Self {
        self.kid = Some(kid);
        self.names.extend(Id::from_kid(kid));
        self
    }

    /// The same record, found by its KID in [the order of a GUID in memory](Kid::in_guid_order) too.
    #[must_use]
    pub fn with_both_kid_orders(mut self) -> Self {
        let other = self.kid.map(Kid::in_guid_order);
        self.names.extend(other.into_iter().flat_map(Id::from_kid));
        self
    }

    /// The same record, found by this id too.
    #[must_use]
    pub fn with_alias(mut self, alias: Id) -> Self {
        self.names.push(alias);
        self
    }

    /// What reaches it: its names, and the content that it is of.
    pub fn names(&self) -> Names<'_> {
        Names {
            ids: &self.names,
            content: self.content.as_ref(),
        }
    }

    /// Whether an id reaches it.
    pub fn is_named(&self, id: &Id) -> bool {
        self.names().has(id)
    }

    /// Whether it is found by a KID as its digits are written. A record may be found by another order of the bytes.
    pub fn is_of_kid(&self, kid: Kid) -> bool {
        let [digits, _] = Id::from_kid(kid);
        self.is_named(&digits)
    }

    /// Whether a DRM system may use it.
    pub fn is_for(&self, system: DrmSystem) -> bool {
        self.systems.contains(&system)
    }
}

/// A key is asked for what its record says.
impl Deref for ContentKey {
    type Target = KeyRecord;

    fn deref(&self) -> &KeyRecord {
        &self.record
    }
}

/// A few keys in memory, such as those that a token brings.
pub struct ContentKeys(Vec<Rc<ContentKey>>);

/// A record with an id that an earlier record has too, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SameName(pub usize);

impl ContentKeys {
    /// Keys of records. An id reaches at most one of them.
    ///
    /// # Errors
    /// Every record that shares an id with an earlier one.
    pub fn new(records: Vec<ContentKey>) -> Result<Self, Vec<SameName>> {
        let mut names = std::collections::HashMap::new();
        let mut twice = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let mut is_taken = |name| *names.entry(name).or_insert(index) != index;
            // Every name is entered, also after one that is taken.
            if record.names.iter().filter(|name| is_taken(*name)).count() > 0 {
                twice.push(SameName(index));
            }
        }
        if twice.is_empty() {
            Ok(Self(records.into_iter().map(Rc::new).collect()))
        } else {
            Err(twice)
        }
    }

    /// The key of a query.
    pub fn find(&self, query: &KeyQuery) -> Option<&Rc<ContentKey>> {
        query
            .names()
            .find_map(|name| self.0.iter().find(|key| key.names.contains(name)))
    }
}

/// The orders of bytes in which players may have a KID.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KidOrder {
    /// That of its text (RFC 9562), as in the `tenc` box.
    BigEndian,
    /// This one, and that of a GUID in memory, as PlayReady has it.
    Both,
}

/// A record in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRecordConfig {
    id: String,
    kid: Option<String>,
    kid_order: Option<KidOrder>,
    #[serde(default)]
    aliases: Vec<String>,
    content_id: Option<String>,
    key: Option<Zeroizing<String>>,
    iv: Option<String>,
    track: Option<Track>,
    stream: Option<String>,
    title: Option<String>,
    terms: Option<Value>,
    systems: Option<Vec<String>>,
}

impl KeyRecordConfig {
    /// Reads the members. The key is one of them, or is given.
    fn read(self, key: Option<Key128>) -> Result<ContentKey, SettingError> {
        let wrong = |member: &str, reason: &str| malformed(reason).in_member(member);
        let id =
            Id::from_text(&self.id).ok_or_else(|| wrong("id", "it is empty or not hexadecimal"))?;
        let key = match (&self.key, key) {
            (Some(text), None) => encoding::fixed(text)
                .map(Key128::from)
                .ok_or_else(|| wrong("key", NOT_16_BYTES))?,
            (None, Some(key)) => key,
            (None, None) => return Err(malformed("the member `key` is missing")),
            (Some(_), Some(_)) => return Err(wrong("key", "there are two")),
        };
        let mut record = KeyRecord::new(id);
        if let Some(kid) = &self.kid {
            let kid = Kid::from_text(kid).ok_or_else(|| wrong("kid", "it is not a GUID"))?;
            record = record.with_kid(kid);
        }
        match self.kid_order {
            Some(_) if record.kid.is_none() => return Err(wrong("kid_order", "there is no `kid`")),
            Some(KidOrder::Both) => record = record.with_both_kid_orders(),
            Some(KidOrder::BigEndian) | None => {}
        }
        for text in &self.aliases {
            let alias = Id::from_text(text);
            let alias =
                alias.ok_or_else(|| wrong("aliases", "one of them is empty or not hexadecimal"))?;
            record = record.with_alias(alias);
        }
        if let Some(text) = &self.content_id {
            let content = Id::from_text(text);
            let content =
                content.ok_or_else(|| wrong("content_id", "it is empty or not hexadecimal"))?;
            record.content = Some(Content::Id(content));
        }
        let iv = self.iv.as_deref();
        let iv = iv.map(|iv| encoding::fixed(iv).ok_or_else(|| wrong("iv", NOT_16_BYTES)));
        let iv = iv.transpose()?;
        record.track = self.track;
        record.stream = offline_id("stream", self.stream.as_deref())?;
        record.title = offline_id("title", self.title.as_deref())?;
        if record.title.is_some() && record.stream.is_none() {
            let reason = "it needs `stream`: an offline key names both or neither";
            return Err(wrong("title", reason));
        }
        record.terms = match self.terms {
            None => Terms::default(),
            Some(Value::Object(members)) => Terms::from_json(&members, &[])
                .map_err(|error| wrong("terms", &error.to_string()))?,
            Some(_) => return Err(wrong("terms", "it is not an object")),
        };
        if let Some(names) = self.systems {
            if names.is_empty() {
                return Err(wrong(
                    "systems",
                    "it is empty, so no DRM system may use the key",
                ));
            }
            let systems = names.iter().map(|name| DrmSystem::from_name(name));
            let systems: Option<Vec<_>> = systems.collect();
            record.systems = systems.ok_or_else(|| {
                let known: Vec<&str> = DrmSystem::all().map(DrmSystem::name).collect();
                let reason = format!("a name in it is not one of {}", known.join(", "));
                wrong("systems", &reason)
            })?;
        }
        Ok(ContentKey { key, iv, record })
    }
}

/// What is wrong with the ids of a record for FairPlay: one that no SPC has, by the size that it has as it is written,
/// as text or behind `hex:`. The record is read all the same, for its other names.
pub(super) fn unreachable_id(record: &Value) -> Option<SettingError> {
    let aliases = record.get("aliases").and_then(Value::as_array);
    let aliases = aliases
        .into_iter()
        .flatten()
        .map(|alias| ("aliases", alias));
    let mut ids = record
        .get("id")
        .map(|id| ("id", id))
        .into_iter()
        .chain(aliases);
    ids.find_map(|(member, id)| {
        let text = id.as_str()?;
        let bytes = text.strip_prefix("hex:").and_then(encoding::hex);
        let size = bytes.map_or(text.len(), |bytes| bytes.len());
        let (least, most) = (ASSET_ID_SIZES.start(), ASSET_ID_SIZES.end());
        let reason = format!(
            "FairPlay has asset ids of {least} to {most} bytes, and this one has {size}; write it as players send it, \
             with `skd://` in front if they send that"
        );
        let fits = ASSET_ID_SIZES.contains(&size);
        (!fits).then(|| malformed(reason).in_member(member))
    })
}

/// Stream and title ids of the offline key TLLV: a GUID, or `hex:` and up to 16 bytes, or text of
/// up to 16 bytes; shorter ones are extended with zeros.
fn offline_id(member: &str, text: Option<&str>) -> Result<Option<[u8; 16]>, SettingError> {
    let wrong = |reason: &str| malformed(reason).in_member(member);
    let Some(text) = text else {
        return Ok(None);
    };
    if let Some(guid) = Kid::from_text(text) {
        return Ok(Some(*guid.as_bytes()));
    }
    let bytes = match text.strip_prefix("hex:") {
        Some(digits) => encoding::hex(digits).ok_or_else(|| wrong("it is not hexadecimal"))?,
        None => Zeroizing::new(text.as_bytes().to_vec()),
    };
    let mut id = [0; 16];
    id.get_mut(..bytes.len())
        .filter(|id| !id.is_empty())
        .ok_or_else(|| wrong("it is not 1 to 16 bytes"))?
        .copy_from_slice(&bytes);
    Ok(Some(id))
}

fn malformed(reason: impl Into<String>) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason)
}

#[cfg(test)]
mod tests {
    use super::super::records::read_all;
    use super::*;

    const KEY: &str = r#""key":"000102030405060708090a0b0c0d0e0f","iv":"AAECAwQFBgcICQoLDA0ODw==""#;

    fn query(name: &[u8]) -> KeyQuery {
        KeyQuery::from_id(Id::from_bytes(name))
    }

    fn problems(json: &str) -> String {
        let problems = read_all(json).err().unwrap();
        problems
            .iter()
            .map(SettingError::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn a_key_of_a_token_keeps_to_the_record_of_the_server() {
        let id = Id::from_bytes(b"movie");
        let mut own = ContentKey::new(id.clone(), [1; 16].into());
        own.record.track = Some(Track::Hd);
        own.record.terms.lease_seconds = Some(60);
        own.record.systems = vec![DrmSystem::FairPlay];
        let mut brought = ContentKey::new(Id::from_bytes(b"kid"), [2; 16].into());
        brought.record.terms.lease_seconds = Some(600);
        let both = brought.under(&own);
        assert_eq!((&both.id, both.track), (&id, Some(Track::Hd)));
        assert_eq!(both.key.expose(), &[2; 16]);
        assert_eq!(both.terms.lease_seconds, Some(60));
        assert!(both.is_for(DrmSystem::FairPlay) && !both.is_for(DrmSystem::Widevine));
        assert!(both.names.contains(&brought.id) && both.names.contains(&id));
    }

    #[test]
    fn a_record_is_for_the_systems_that_it_names_or_those_that_seal_their_keys() {
        let systems = |members: &str| {
            let keys = read_all(&format!(r#"[{{"id":"movie"{members},{KEY}}}]"#));
            let keys = keys.unwrap_or_else(|errors| panic!("{errors:?}"));
            let key = keys.find(&query(b"movie")).unwrap();
            let all = DrmSystem::all().filter(|system| key.is_for(*system));
            all.map(DrmSystem::name).collect::<Vec<_>>()
        };
        assert_eq!(systems(""), ["fairplay", "widevine", "playready"]);
        assert_eq!(systems(r#","systems":null"#), systems(""));
        for system in DrmSystem::all().map(DrmSystem::name) {
            assert_eq!(systems(&format!(r#","systems":["{system}"]"#)), [system]);
        }
        let empty = problems(&format!(r#"[{{"id":"movie","systems":[],{KEY}}}]"#));
        assert!(
            empty.contains("record 1: `systems`: it is empty"),
            "{empty}"
        );

        // A key that a token brings is for the same systems, and the record of the server may only take some away.
        let new = |name: &[u8]| ContentKey::new(Id::from_bytes(name), [1; 16].into());
        let (mut own, brought) = (new(b"own"), new(b"brought"));
        assert!(brought.under(&own).is_for(DrmSystem::PlayReady));
        own.record.systems = vec![DrmSystem::PlayReady, DrmSystem::ClearKey];
        let both = brought.under(&own);
        let systems = DrmSystem::all().filter(|system| both.is_for(*system));
        assert_eq!(systems.collect::<Vec<_>>(), [DrmSystem::PlayReady]);
        // Its IV is its own, or else that of the record.
        own.iv = Some([7; 16]);
        assert_eq!(brought.under(&own).iv, own.iv);
    }

    #[test]
    fn a_record_is_found_by_its_kid_in_both_orders_where_it_says_so() {
        let swapped = "b5459c33-6dfb-d94b-994c-eabd9d41c95b";
        let find = |members: &str| {
            let kid = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
            let json = format!(r#"[{{"id":"movie","kid":"{kid}"{members},{KEY}}}]"#);
            let keys = read_all(&json).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert!(keys.find(&query(kid.as_bytes())).is_some(), "{members}");
            let bytes = Kid::from_text(swapped).unwrap();
            let found = [swapped.as_bytes(), bytes.as_bytes()]
                .map(|name| keys.find(&query(name)).is_some());
            assert_eq!(found[0], found[1], "{members}");
            found[0]
        };
        assert!(find(r#","kid_order":"both""#));
        assert!(!find(r#","kid_order":"big_endian""#));
        assert!(!find(""));
        for (members, expected) in [
            (
                r#""kid_order":"both""#,
                "record 1: `kid_order`: there is no `kid`",
            ),
            (r#""kid":"nope","kid_order":"both""#, "record 1: `kid`"),
            (
                r#""kid_order":"little_endian""#,
                "record 1: `kid_order`: a value is not one of",
            ),
        ] {
            let found = problems(&format!(r#"[{{"id":"a2",{members},{KEY}}}]"#));
            assert!(found.contains(expected), "{members}: {found}");
        }
    }

    #[test]
    fn a_record_is_found_by_each_of_its_names() {
        let json = format!(
            r#"[{{"id":"movie-42","kid":"339C45B5-FB6D-4BD9-994C-EABD9D41C95B","aliases":["skd://m42","hex:aabb"],"title":"t","stream":"hex:01",{KEY}}}]"#
        );
        let keys = read_all(&json).unwrap_or_else(|_| panic!());
        let kid = 0x339c_45b5_fb6d_4bd9_994c_eabd_9d41_c95b_u128.to_be_bytes();
        let names: [&[u8]; 5] = [
            b"skd://movie-42",
            b"339c45b5fb6d4bd9994ceabd9d41c95b",
            &kid,
            b"m42",
            &[0xaa, 0xbb],
        ];
        for name in names {
            assert_eq!(keys.find(&query(name)).unwrap().iv.unwrap()[15], 15);
        }
        assert!(keys.find(&query(b"movie-43")).is_none());
        let record = keys.find(&query(b"m42")).unwrap();
        assert_eq!(record.title.unwrap()[..2], [b't', 0]);
        assert_eq!(record.stream.unwrap()[..2], [1, 0]);
    }

    #[test]
    fn every_wrong_record_is_named_by_its_place_and_never_by_its_content() {
        let json = format!(
            r#"[{{"id":"ab",{KEY}}},{{"id":"skd://A-secret","key":"deadbeef","iv":"00"}},{{"id":"skd://ab",{KEY}}},
               {{"id":"b","kid":"nope",{KEY}}},{{"id":"c","stream":"longer than sixteen bytes",{KEY}}}]"#
        );
        let problems = problems(&json);
        for member in [
            "record 2: `key`",
            "record 3: one of its ids",
            "record 4: `kid`",
            "record 5: `stream`",
        ] {
            assert!(problems.contains(member), "{problems}");
        }
        assert!(!problems.contains("deadbeef") && !problems.contains("secret"));
    }

    #[test]
    fn ids_that_no_spc_has_and_halves_of_an_offline_key_are_refused() {
        let long = "x".repeat(201);
        for (members, member) in [
            (
                r#""id":"a""#.to_owned(),
                "record 1: `id`: FairPlay has asset ids of 2 to 200",
            ),
            (r#""id":"hex:aa""#.to_owned(), "record 1: `id`"),
            (format!(r#""id":"{long}""#), "record 1: `id`"),
            (
                r#""id":"movie","aliases":["m2","é","a"]"#.to_owned(),
                "record 1: `aliases`",
            ),
            (
                r#""id":"movie","title":"t""#.to_owned(),
                "record 1: `title`: it needs `stream`",
            ),
        ] {
            let found = problems(&format!("[{{{members},{KEY}}}]"));
            assert!(found.contains(member), "{members}: {found}");
        }
        for members in [
            r#""id":"skd://a""#,
            r#""id":"ab""#,
            r#""id":"movie","stream":"s""#,
            r#""id":"a","systems":["widevine"]"#,
        ] {
            assert!(
                read_all(&format!("[{{{members},{KEY}}}]")).is_ok(),
                "{members}"
            );
        }
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
            track.contains("record 1: `track`: a value is not one of `audio`, `sd`"),
            "{track}"
        );
    }
}
