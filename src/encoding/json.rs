//! JSON text: parsed strictly, into values or into types of a known shape.

use std::fmt::{self, Formatter};

use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use super::json_error::{JsonError, JsonErrorKind};
use super::value::ValueDeserializer;

/// Parses any JSON value and refuses a member that occurs twice, at any depth.
///
/// RFC 8259 section 4 leaves repeated names open and parsers differ about which one counts; what
/// is signed or configured must mean the same to every reader.
///
/// # Errors
/// [`JsonErrorKind::Text`]
pub fn json(bytes: &[u8]) -> Result<Value, JsonError> {
    match serde_json::from_slice(bytes) {
        Ok(Unique(value)) => Ok(value),
        Err(error) => Err(JsonError::from_text(bytes, &error)),
    }
}

/// Parses a JSON object as [`json`] does.
///
/// # Errors
/// [`JsonErrorKind::Text`] and [`JsonErrorKind::NotAnObject`]
pub fn json_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match json(bytes)? {
        Value::Object(map) => Ok(map),
        _ => Err(JsonError::new(JsonErrorKind::NotAnObject)),
    }
}

/// Parses a JSON list as [`json`] does.
///
/// # Errors
/// [`JsonErrorKind::Text`] and [`JsonErrorKind::NotAList`]
pub fn json_list(bytes: &[u8]) -> Result<Vec<Value>, JsonError> {
    match json(bytes)? {
        Value::Array(list) => Ok(list),
        _ => Err(JsonError::new(JsonErrorKind::NotAList)),
    }
}

/// Parses JSON of a known shape as [`json`] does.
///
/// # Errors
/// [`JsonError`]
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    from_value(json(bytes)?)
}

/// Takes a JSON value for one of a known shape. Objects are read by name: a list is not an object.
///
/// # Errors
/// [`JsonError`], of every kind but [`JsonErrorKind::Text`]
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, JsonError> {
    T::deserialize(ValueDeserializer(value))
}

/// A JSON object of these members.
pub fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in members {
        object.insert(name.to_owned(), value);
    }
    object
}

/// A JSON value without repeated members.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Unique(value))) = map.next_entry::<String, Unique>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member occurs twice"));
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::encoding::TextErrorKind;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Film {
        title: String,
        year: Option<u16>,
        is_long: Option<bool>,
        kind: Option<Kind>,
        parts: Option<Vec<Part>>,
    }

    #[derive(Debug, Deserialize)]
    struct Part {
        length: (u32, String),
    }

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Short,
        Feature,
    }

    #[test]
    fn repeated_members_are_refused_at_any_depth() {
        assert!(json_object(br#"{"a":1,"b":[{"c":1}]}"#).is_ok());
        for text in [r#"{"a":1,"a":1}"#, r#"{"b":[{"c":1,"c":2}]}"#] {
            let error = json_object(text.as_bytes()).unwrap_err();
            let JsonErrorKind::Text { kind, line, .. } = error.kind() else {
                panic!("{error}");
            };
            assert_eq!((*kind, *line), (TextErrorKind::RepeatedMember, 1), "{text}");
        }
        assert!(json_object("[".repeat(500).as_bytes()).is_err());
    }

    #[test]
    fn an_error_has_a_kind_a_path_and_no_text_of_the_document() {
        use JsonErrorKind::*;
        const FILM: &[&str] = &["title", "year", "is_long", "kind", "parts"];
        let unexpected = |text: &str| Unexpected(text.to_owned());
        let cases = [
            ("5", NotAList, None, None),
            (r#"["secret"]"#, NotAnObject, Some(0), None),
            (r#"[["secret"]]"#, NotAnObject, Some(0), None),
            ("[{}]", MemberMissing("title"), Some(0), None),
            (r#"[{"secret":1}]"#, MemberUnknown(FILM), Some(0), None),
            (r#"[{"title":null}]"#, NotAString, Some(0), Some("title")),
            (
                r#"[{"title":"a","year":-1}]"#,
                NotAWholeNumber,
                Some(0),
                Some("year"),
            ),
            (
                r#"[{"title":"a","year":65536}]"#,
                NotAWholeNumber,
                Some(0),
                Some("year"),
            ),
            (
                r#"[{"title":"a","year":1.5}]"#,
                NotAWholeNumber,
                Some(0),
                Some("year"),
            ),
            (
                r#"[{"title":"a","is_long":1}]"#,
                NotABoolean,
                Some(0),
                Some("is_long"),
            ),
            (
                r#"[{"title":"a"},{"title":"a","kind":"secret"}]"#,
                NotOneOf(&["short", "feature"]),
                Some(1),
                Some("kind"),
            ),
            (
                r#"[{"title":"a","parts":{}}]"#,
                NotAList,
                Some(0),
                Some("parts"),
            ),
            (
                r#"[{"title":"a","parts":[{}]}]"#,
                MemberMissing("length"),
                Some(0),
                Some("parts"),
            ),
            (
                r#"[{"title":"a","parts":[{"length":["secret","m"]}]}]"#,
                NotAWholeNumber,
                Some(0),
                Some("parts.length"),
            ),
            (
                r#"[{"title":"a","parts":[{"length":[1]}]}]"#,
                unexpected("a tuple of size 2"),
                Some(0),
                Some("parts.length"),
            ),
            (
                r#"[{"title":"a","parts":[{"length":[1,"m",2]}]}]"#,
                unexpected("a shorter list"),
                Some(0),
                Some("parts.length"),
            ),
        ];
        for (text, kind, index, member) in cases {
            let error = from_json::<Vec<Film>>(text.as_bytes()).unwrap_err();
            assert_eq!(*error.kind(), kind, "{text}");
            assert_eq!(error.index(), index, "{text}");
            assert_eq!(error.member().as_deref(), member, "{text}");
            assert!(
                !format!("{error:?} {error}").contains("secret"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn an_error_says_what_is_there_in_place_of_what() {
        let text = |text: &str| from_json::<Film>(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(text("{}"), "the member `title` is missing");
        assert_eq!(
            text(r#"{"name":1}"#),
            "a member is not known; there are `title`, `year`, `is_long`, `kind`, `parts`"
        );
        assert_eq!(text("{"), "it ends too early (line 1, column 1)");
        assert_eq!(
            text(r#"{"title":"a","kind":"long"}"#),
            "a value is not one of `short`, `feature`"
        );
    }

    #[test]
    fn a_whole_value_is_read() {
        let text =
            r#"{"title":"a","year":1999,"kind":"feature","parts":[{"length":[7,"m"],"more":{}}]}"#;
        let film: Film = from_json(text.as_bytes()).unwrap();
        assert_eq!((film.title.as_str(), film.year), ("a", Some(1999)));
        assert_eq!(film.kind, Some(Kind::Feature));
        assert_eq!(film.parts.unwrap()[0].length, (7, "m".to_owned()));
    }

    #[test]
    fn quotes_and_marks_around_a_document_are_named() {
        for (text, expected) in [
            (r#"'[{"id":"a"}]'"#, TextErrorKind::InQuotes),
            (r#""{"keys":[]}""#, TextErrorKind::InQuotes),
            ("\u{feff}{}", TextErrorKind::ByteOrderMark),
            ("'a'", TextErrorKind::Syntax),
            (r#"{"a":'b'}"#, TextErrorKind::Syntax),
        ] {
            let error = json(text.as_bytes()).unwrap_err();
            let JsonErrorKind::Text { kind, .. } = error.kind() else {
                panic!("{error}");
            };
            assert_eq!(*kind, expected, "{text}");
        }
    }
}
