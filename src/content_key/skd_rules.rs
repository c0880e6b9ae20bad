//! The operator's rules for asset ids that no built-in reading fits: the variable `skd_rules`.
//!
//! A rule is a template: literal text, and parts in braces. A part stands for one character or more, up to the next
//! place where the literal behind it stands, or to the end. A rule fits when its template fits the whole id.
//!
//! ```json
//! ["https://drm.example/play/{id}", "{content_id}/{kid}", "{*}-track-{kid}.key",
//!  {"template": "one/{tenant}/{asset}/{quality}", "id": "{tenant}-{asset}-{quality}"}]
//! ```
//!
//! | part | what it is |
//! |---|---|
//! | `{id}` | the id of the key |
//! | `{kid}` | its KID, as a GUID or as 16 bytes in base64. A rule whose part is neither does not fit |
//! | `{*}` | ignored |
//! | any other name | for the member `id` of the rule, which says what the id is made of |
//!
//! Ids are compared as everywhere: without `skd://`, and UTF-16 like UTF-8. The first rule that fits is the one that
//! counts. The rules are asked for an id that no source has by any of its readings.

use serde::Deserialize;
use serde_json::Value;

use super::query::KeyQuery;
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::id::{Id, Kid};
use crate::platform::Platform;

/// The variable with the rules.
pub const VARIABLE: &str = "skd_rules";

/// The rules, in the order in which they are tried.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SkdRules(Vec<Rule>);

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    template: Template,
    /// What the id is made of, where it is not one part.
    id: Option<Template>,
}

/// Literal text and parts, in their order. No two parts stand side by side.
#[derive(Debug, PartialEq, Eq)]
struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Part(String),
}

/// A rule in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleConfig {
    template: String,
    id: Option<String>,
}

const ID: &str = "id";
const KID: &str = "kid";
const IGNORED: &str = "*";

impl SkdRules {
    /// Reads the variable. Without it, there is no rule.
    ///
    /// # Errors
    /// Every rule that is wrong, by its index.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        match platform.variable(VARIABLE).await? {
            Some(json) => Self::from_json(&json).map_err(SettingsError::Invalid),
            None => Ok(Self::default()),
        }
    }

    /// Reads a JSON list of templates, or of objects with a template.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_json(json: &str) -> Result<Self, Vec<SettingError>> {
        let list = encoding::json_list(json.as_bytes())
            .map_err(|error| vec![SettingError::from_json_error(VARIABLE, &error)])?;
        let mut rules = Vec::with_capacity(list.len());
        let mut problems = Vec::new();
        for (index, rule) in list.into_iter().enumerate() {
            match Rule::from_json(rule) {
                Ok(rule) => rules.push(rule),
                Err(error) => problems.push(error.at(index)),
            }
        }
        match problems.is_empty() {
            true => Ok(Self(rules)),
            false => Err(problems),
        }
    }

    /// The query for the key that the first rule which fits names. A rule is tried with each reading of the id, the
    /// whole one first.
    ///
    /// ```
    /// use keylet::content_key::{KeyQuery, SkdRules};
    /// use keylet::id::Id;
    ///
    /// let rules = SkdRules::from_json(r#"["https://drm.example/play/{id}"]"#).unwrap();
    /// let asked = |id: &str| rules.read(&KeyQuery::from_id(Id::from_bytes(id.as_bytes())));
    /// let found = asked("skd://https://drm.example/play/movie-42").unwrap();
    /// assert_eq!(found.id().to_string(), "movie-42");
    /// assert_eq!(asked("skd://drm.example/movie-42"), None);
    /// ```
    pub fn read(&self, query: &KeyQuery) -> Option<KeyQuery> {
        let texts = query
            .names()
            .filter_map(|name| std::str::from_utf8(name.as_bytes()).ok());
        let mut found =
            texts.flat_map(|text| self.0.iter().filter_map(move |rule| rule.read(text)));
        found.find(|found| found.id() != query.id())
    }
}

impl Rule {
    fn from_json(rule: Value) -> Result<Self, SettingError> {
        let is_object = rule.is_object();
        let config = match rule {
            Value::String(template) => RuleConfig { template, id: None },
            object @ Value::Object(_) => encoding::from_value(object)
                .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?,
            _ => return Err(malformed("it is neither a template nor an object with one")),
        };
        let in_template = |error: SettingError| match is_object {
            true => error.in_member("template"),
            false => error,
        };
        let template = without_scheme(&config.template);
        let template =
            Template::parse(template).map_err(|reason| in_template(malformed(reason)))?;
        let names = template.names();
        for (index, name) in names.iter().enumerate() {
            if *name != IGNORED && names.iter().skip(index + 1).any(|other| other == name) {
                let reason = format!("the part `{{{name}}}` stands in it twice");
                return Err(in_template(malformed(reason)));
            }
        }
        let id = match config.id {
            Some(id) => {
                let in_id = |reason: String| malformed(reason).in_member(ID);
                let id = Template::parse(&id).map_err(in_id)?;
                if id.names().is_empty() {
                    return Err(in_id(
                        "it has no part, so every asset id would be this one".into(),
                    ));
                }
                let is_known = |name: &&str| *name != IGNORED && names.contains(name);
                if let Some(unknown) = id.names().into_iter().find(|name| !is_known(name)) {
                    return Err(in_id(format!("`template` has no part `{{{unknown}}}`")));
                }
                Some(id)
            }
            None => {
                let named = names.iter().filter(|name| [ID, KID].contains(name));
                if named.count() != 1 {
                    let reason =
                        "it needs one part `{id}` or `{kid}`, or an `id` that is made of its parts";
                    return Err(in_template(malformed(reason)));
                }
                None
            }
        };
        Ok(Self { template, id })
    }

    /// The query for the key that an id names, when the rule fits it.
    fn read(&self, text: &str) -> Option<KeyQuery> {
        let parts = self.template.parts_of(text)?;
        let part = |name: &str| {
            let mut parts = parts.iter();
            parts.find_map(|(known, value)| (*known == name).then_some(*value))
        };
        let id = match &self.id {
            Some(id) => id.filled(part)?,
            None => match part(KID) {
                Some(kid) => return kid_of(kid).map(KeyQuery::from_kid),
                None => part(ID)?.to_owned(),
            },
        };
        let id = Id::from_bytes(id.as_bytes());
        (!id.as_bytes().is_empty()).then(|| KeyQuery::from_id(id))
    }
}

impl Template {
    /// Reads literal text and `{name}`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or("a brace opens in it and does not close")?;
            push_literal(&mut pieces, literal)?;
            if matches!(pieces.last(), Some(Piece::Part(_))) {
                return Err(
                    "two parts stand side by side, so nothing says where the first one ends".into(),
                );
            }
            let is_name = |name: &str| {
                let is_plain =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                !name.is_empty() && name.bytes().all(is_plain)
            };
            if name != IGNORED && !is_name(name) {
                return Err(
                    "the name of a part is not `*`, or lower-case letters, digits and `_`".into(),
                );
            }
            pieces.push(Piece::Part(name.to_owned()));
            rest = after;
        }
        push_literal(&mut pieces, rest)?;
        Ok(Self(pieces))
    }

    fn names(&self) -> Vec<&str> {
        let names = self.0.iter().filter_map(|piece| match piece {
            Piece::Part(name) => Some(name.as_str()),
            Piece::Literal(_) => None,
        });
        names.collect()
    }

    /// What stands for each part of it in a text that it fits as a whole.
    fn parts_of<'t>(&self, text: &'t str) -> Option<Vec<(&str, &'t str)>> {
        let mut rest = text;
        let mut parts = Vec::new();
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            let name = match piece {
                Piece::Literal(literal) => {
                    rest = rest.strip_prefix(literal.as_str())?;
                    continue;
                }
                Piece::Part(name) => name,
            };
            let end = match pieces.peek() {
                Some(Piece::Literal(literal)) => rest.find(literal.as_str())?,
                Some(Piece::Part(_)) | None => rest.len(),
            };
            let (value, after) = rest.split_at_checked(end)?;
            if value.is_empty() {
                return None;
            }
            parts.push((name.as_str(), value));
            rest = after;
        }
        rest.is_empty().then_some(parts)
    }

    /// The text with a value for each part.
    fn filled<'t>(&self, part: impl Fn(&str) -> Option<&'t str>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Literal(literal) => literal,
                Piece::Part(name) => part(name)?,
            });
        }
        Some(text)
    }
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &str) -> Result<(), String> {
    if literal.contains('}') {
        return Err("a brace closes in it that did not open".into());
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.to_owned()));
    }
    Ok(())
}

/// A KID as text, or as 16 bytes in base64.
fn kid_of(text: &str) -> Option<Kid> {
    let bytes = || encoding::base64(text)?.as_slice().try_into().ok();
    Kid::from_text(text).or_else(|| bytes().map(Kid::from_bytes))
}

/// A template without the scheme, which ids that are compared do not have.
fn without_scheme(template: &str) -> &str {
    let mut template = template.trim();
    while let Some(rest) = crate::id::strip_scheme(template) {
        template = rest.trim_start();
    }
    template
}

fn malformed(reason: impl Into<String>) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
    const DIGITS: &str = "339c45b5fb6d4bd9994ceabd9d41c95b";

    fn read(rules: &str, asset: &[u8]) -> Option<String> {
        let rules = SkdRules::from_json(rules).unwrap();
        let found = rules.read(&KeyQuery::from_id(Id::from_bytes(asset)));
        found.map(|query| query.id().to_string())
    }

    #[test]
    fn the_first_rule_that_fits_the_whole_id_names_the_key() {
        let rules = r#"["https://host/play/{id}", "SKD://{content_id}/{kid}", "{*}-of-{id}.m3u8", "file.{*}.{kid}",
            {"template": "skd://one/{tenant}/{asset}/{quality}", "id": "{tenant}-{asset}.{quality}"}, "x/{id}/y"]"#;
        for (asset, expected) in [
            ("skd://https://host/play/movie-42", Some("movie-42")),
            ("https://host/play/a/b", Some("a/b")),
            ("https://host/play/", None),
            ("http://host/play/movie-42", None),
            (&format!("skd://movie/{GUID}"), Some(DIGITS)),
            ("movie/M5xFtfttS9mZTOq9nUHJWw==", Some(DIGITS)),
            ("movie/nope", None),
            ("hd-of-movie.m3u8", Some("movie")),
            ("hd-of-movie.m3u8.m3u8", None),
            ("hd-of-.m3u8", None),
            ("one/t/a/hd", Some("t-a.hd")),
            ("one/t/a", None),
            ("x/y/y", Some("y")),
            ("x//y", None),
            ("x/ /y", None),
            ("x/hex:aa/y", Some("hex:6865783a6161")),
            ("movie-42", None),
        ] {
            assert_eq!(
                read(rules, asset.as_bytes()).as_deref(),
                expected,
                "{asset}"
            );
            let wide: Vec<u8> = asset.encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert_eq!(read(rules, &wide).as_deref(), expected, "{asset}");
        }
        let encoded = b"https%3A%2F%2Fhost%2Fplay%2Fmovie-42";
        assert_eq!(read(rules, encoded).as_deref(), Some("movie-42"));
        // A rule that leads to the id itself leads nowhere.
        assert_eq!(read(r#"["{id}"]"#, b"movie-42"), None);
        assert_eq!(read("[]", b"movie-42"), None);
    }

    #[test]
    fn each_rule_that_is_wrong_is_named_by_its_place() {
        let rules = r#"["{id}/x", "x", "{id}{kid}", "{id}/{kid}", "{a", "a}/{id}", "{Id}", "{}/{id}", 5, "{a}/{a}/{id}",
            {"template": "{a}/x"}, {"template": "{a}/x", "id": "{b}"}, {"template": "{a}/x", "id": "fixed"},
            {"template": "{*}/x", "id": "{*}"}, {"template": "{a}{b}", "id": "{a}"}, {"tempalte": "{id}"},
            {"template": "{a}/{b}", "id": "{b}/{a}"}]"#;
        let problems = SkdRules::from_json(rules).unwrap_err();
        let places: Vec<_> = problems
            .iter()
            .map(|problem| problem.index.unwrap())
            .collect();
        assert_eq!(places, (1..16).collect::<Vec<_>>());
        for (index, member) in [
            (1, None),
            (11, Some("id")),
            (12, Some("id")),
            (13, Some("id")),
            (14, Some("template")),
        ] {
            let mut named = problems
                .iter()
                .filter(|problem| problem.index == Some(index));
            assert_eq!(named.next().unwrap().member.as_deref(), member, "{index}");
        }
        for json in ["{}", "\"{id}\"", "{id}"] {
            assert_eq!(
                SkdRules::from_json(json).unwrap_err()[0].index,
                None,
                "{json}"
            );
        }
    }
}
