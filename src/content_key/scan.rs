//! Finds one record in the text of a list without reading the others.
//!
//! In each record, `id`, `kid` (with its `kid_order`) and `aliases` are compared, and all else is skipped. Most names are
//! distinguished by their last character, without being normalised. The text of the record that is found
//! is read strictly by its caller; of the others only the structure is looked at.

use super::query::KeyQuery;
use crate::encoding;
use crate::id::{Id, Kid};

/// Why no record can be looked for. An index counts records from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The text is not a list, or does not end as one.
    NotAList,
    /// The list has no record.
    Empty,
    /// An entry is not an object, or has no members of the form `"name": value`.
    Record(usize),
    /// A second record has the name that is looked for.
    SameName(usize),
}

/// Finds the record of a query: its index, and its text. A record with the whole id comes before one
/// with the KID that stands in the id.
///
/// # Errors
/// [`Error`]
pub fn find<'a>(json: &'a str, query: &KeyQuery) -> Result<Option<(usize, &'a str)>, Error> {
    let mut scanner = Scanner { json, position: 0 };
    let names: Vec<Name<'_>> = query.names().map(Name::new).collect();
    let mut found: Vec<Option<(usize, &str)>> = vec![None; names.len()];
    if !scanner.takes(b'[') {
        return Err(Error::NotAList);
    }
    if scanner.takes(b']') {
        return Err(Error::Empty);
    }
    for index in 0.. {
        scanner.skip_white_space();
        let start = scanner.position;
        let mut matches = vec![Match::None; names.len()];
        // The member may stand before the KID or behind it.
        let mut has_both_orders = false;
        let mut compare = |member: &str, text: &str| {
            if member == KID_ORDER {
                has_both_orders = text == BOTH;
                return;
            }
            for (name, known) in names.iter().zip(&mut matches) {
                *known = (*known).max(name.matches(member, text));
            }
        };
        scanner.record(&mut compare).ok_or(Error::Record(index))?;
        let record = json.get(start..scanner.position).unwrap_or_default();
        for (found, known) in found.iter_mut().zip(matches) {
            let is_match = match known {
                Match::None => false,
                Match::InGuidOrder => has_both_orders,
                Match::Exact => true,
            };
            if is_match && found.replace((index, record)).is_some() {
                return Err(Error::SameName(index));
            }
        }
        if scanner.takes(b']') {
            break;
        }
        if !scanner.takes(b',') {
            return Err(Error::NotAList);
        }
    }
    scanner.skip_white_space();
    if scanner.position < json.len() {
        return Err(Error::NotAList);
    }
    Ok(found.into_iter().flatten().next())
}

/// The member that says in which orders players may have the KID, and what it says where they have both.
const KID_ORDER: &str = "kid_order";
const BOTH: &str = "both";

/// How an id that is looked for is a name of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    None,
    /// It is the KID in the order of a GUID in memory.
    InGuidOrder,
    Exact,
}

impl From<bool> for Match {
    fn from(is_match: bool) -> Self {
        match is_match {
            true => Self::Exact,
            false => Self::None,
        }
    }
}

/// An id that is looked for.
struct Name<'a> {
    id: &'a Id,
    last: u8,
}

impl<'a> Name<'a> {
    fn new(id: &'a Id) -> Self {
        let last = id.as_bytes().last().copied().unwrap_or_default();
        Self {
            id,
            last: last.to_ascii_lowercase(),
        }
    }

    /// How the text of a member is the id, once it is normalised: `kid` as digits and as 16 bytes, `id` and
    /// `aliases` as text.
    fn matches(&self, member: &str, text: &str) -> Match {
        if member == "kid" {
            return self.matches_kid(text);
        }
        let last = text.bytes().last().unwrap_or_default();
        // Nothing that normalising removes ends like this, and it changes at most the case.
        let is_plain =
            last.is_ascii_alphanumeric() && !text.starts_with("hex:") && !text.contains('\0');
        if is_plain && last.to_ascii_lowercase() != self.last {
            return Match::None;
        }
        Id::from_text(text).is_some_and(|id| id == *self.id).into()
    }

    fn matches_kid(&self, text: &str) -> Match {
        // 32 digits; as 16 bytes of text in UTF-16, it has at most 24.
        const LONGEST_OF_BYTES: usize = 24;
        let length = self.id.as_bytes().len();
        let last = text.bytes().last().unwrap_or_default();
        // The last byte is the same in both orders.
        let differs = last.is_ascii_hexdigit() && last.to_ascii_lowercase() != self.last;
        if length > LONGEST_OF_BYTES && differs {
            return Match::None;
        }
        let Some(kid) = Kid::from_text(text) else {
            return Match::None;
        };
        if Id::from_kid(kid).contains(self.id) {
            Match::Exact
        } else if Id::from_kid(kid.in_guid_order()).contains(self.id) {
            Match::InGuidOrder
        } else {
            Match::None
        }
    }
}

/// Walks JSON text.
struct Scanner<'a> {
    json: &'a str,
    position: usize,
}

impl<'a> Scanner<'a> {
    /// Walks an object, and compares its names. `None` when it is not one.
    fn record(&mut self, compare: &mut impl FnMut(&str, &str)) -> Option<()> {
        if !self.takes(b'{') {
            return None;
        }
        if self.takes(b'}') {
            return Some(());
        }
        loop {
            let member = self.string()?;
            if !self.takes(b':') {
                return None;
            }
            match member {
                "id" | "kid" | KID_ORDER => self.name(member, compare)?,
                "aliases" if self.takes(b'[') => {
                    if !self.takes(b']') {
                        loop {
                            self.name(member, compare)?;
                            if self.takes(b']') {
                                break;
                            }
                            self.takes(b',').then_some(())?;
                        }
                    }
                }
                // A name in another spelling, such as `"\u0069d"`, is not skipped.
                _ if member.contains('\\') => {
                    let member = unescaped(member)?;
                    match member.as_str() {
                        "id" | "kid" | KID_ORDER | "aliases" => return None,
                        _ => self.skip_value()?,
                    }
                }
                _ => self.skip_value()?,
            }
            if self.takes(b'}') {
                return Some(());
            }
            self.takes(b',').then_some(())?;
        }
    }

    /// Hands over the text that comes next; what is not text is left to who reads the record.
    fn name(&mut self, member: &str, compare: &mut impl FnMut(&str, &str)) -> Option<()> {
        self.skip_white_space();
        if self.byte() != Some(b'"') {
            return self.skip_value();
        }
        let text = self.string()?;
        if text.contains('\\') {
            compare(member, &unescaped(text)?);
        } else {
            compare(member, text);
        }
        Some(())
    }

    /// The content of the string that comes next, with its escapes.
    fn string(&mut self) -> Option<&'a str> {
        if !self.takes(b'"') {
            return None;
        }
        let start = self.position;
        let mut bytes = self.json.as_bytes().get(start..)?.iter();
        loop {
            match bytes.next()? {
                b'"' => break,
                b'\\' => drop(bytes.next()?),
                _ => {}
            }
        }
        let end = self.json.len() - bytes.len() - 1;
        self.position = end + 1;
        self.json.get(start..end)
    }

    /// Passes over a value. Brackets are counted, and not distinguished.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_u32;
        self.skip_white_space();
        loop {
            match self.byte()? {
                b'"' => drop(self.string()?),
                b'[' | b'{' => {
                    depth += 1;
                    self.position += 1;
                }
                b']' | b'}' if depth > 0 => {
                    depth -= 1;
                    self.position += 1;
                }
                b',' | b']' | b'}' if depth == 0 => return None,
                _ => self.position += 1,
            }
            if depth == 0 {
                self.skip_white_space();
                if matches!(self.byte()?, b',' | b']' | b'}') {
                    return Some(());
                }
            }
        }
    }

    /// Takes a byte after white space, when it is this one.
    fn takes(&mut self, wanted: u8) -> bool {
        self.skip_white_space();
        let is_there = self.byte() == Some(wanted);
        if is_there {
            self.position += 1;
        }
        is_there
    }

    fn skip_white_space(&mut self) {
        while self
            .byte()
            .is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        {
            self.position += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.json.as_bytes().get(self.position).copied()
    }
}

/// The text of a string with escapes.
fn unescaped(text: &str) -> Option<String> {
    encoding::from_json(format!("\"{text}\"").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(json: &str, id: &str) -> Result<Option<usize>, Error> {
        let query = KeyQuery::from_id(Id::from_bytes(id.as_bytes()));
        find(json, &query).map(|found| found.map(|(index, _)| index))
    }

    const LIST: &str = r#" [ {"id":"movie-1","key":"a\"]}b","terms":{"tracks":{"hd":[{}]}}},
        {"key":1.5e3,"kid":"339C45B5-FB6D-4BD9-994C-EABD9D41C95B","id": "skd://Movie-2"},
        {"aliases":["x","hex:6d6f7669652d33","m\u006fvie-4"],"id":7,"more":null},{}]
"#;

    #[test]
    fn a_record_is_found_by_each_spelling_of_its_names() {
        for (id, expected) in [
            ("skd://movie-1", Some(0)),
            ("Movie-2", Some(1)),
            ("movie-2", None),
            ("{339c45b5-fb6d-4bd9-994c-eabd9d41c95b}", Some(1)),
            ("skd://x?kid=339c45b5fb6d4bd9994ceabd9d41c95b", Some(1)),
            ("movie-3", Some(2)),
            ("movie-4", Some(2)),
            ("a\"]}b", None),
            ("movie-5", None),
        ] {
            assert_eq!(index(LIST, id), Ok(expected), "{id}");
        }
        let kid = 0x339c_45b5_fb6d_4bd9_994c_eabd_9d41_c95b_u128.to_be_bytes();
        let query = KeyQuery::from_id(Id::from_bytes(&kid));
        assert_eq!(find(LIST, &query).unwrap().unwrap().0, 1);
    }

    #[test]
    fn the_text_of_the_record_is_returned_whole() {
        let query = KeyQuery::from_id(Id::from_bytes(b"movie-1"));
        let (_, text) = find(LIST, &query).unwrap().unwrap();
        assert!(
            text.starts_with(r#"{"id""#) && text.ends_with("}}}"),
            "{text}"
        );
    }

    #[test]
    fn a_name_that_two_records_have_and_what_is_no_list_is_an_error() {
        for (json, expected) in [
            (
                r#"[{"id":"a"},{"aliases":["skd://a"]}]"#,
                Error::SameName(1),
            ),
            ("", Error::NotAList),
            ("{}", Error::NotAList),
            ("[]", Error::Empty),
            ("[1]", Error::Record(0)),
            (r#"[{"id":"b"},{"id"}]"#, Error::Record(1)),
            (r#"[{"id":"b"}"#, Error::NotAList),
            (r#"[{"id":"b"}] x"#, Error::NotAList),
            (r#"[{"id":"b"} {"id":"a"}]"#, Error::NotAList),
            (r#"[{"id":"b""#, Error::Record(0)),
            (r#"[{"\u0069d":"a"}]"#, Error::Record(0)),
        ] {
            assert_eq!(index(json, "a"), Err(expected), "{json}");
        }
    }

    #[test]
    fn a_kid_is_found_in_the_other_order_where_the_record_says_so() {
        let kid = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
        let swapped = Kid::from_text(kid).unwrap().in_guid_order();
        let [digits, bytes] = Id::from_kid(swapped);
        for (order, expected) in [
            (r#""kid_order":"both","#, true),
            (r#""kid_order":"big_endian","#, false),
            (r#""kid_order":5,"#, false),
            ("", false),
        ] {
            for json in [
                format!(r#"[{{"id":"a"}},{{{order}"kid":"{kid}"}}]"#),
                format!(r#"[{{"id":"a"}},{{"kid":"{kid}",{order}"x":1}}]"#),
            ] {
                for id in [&digits, &bytes] {
                    let found = find(&json, &KeyQuery::from_id(id.clone())).unwrap();
                    let found = found.map(|(index, _)| index);
                    assert_eq!(found, expected.then_some(1), "{json}");
                }
                assert_eq!(index(&json, kid), Ok(Some(1)), "{json}");
            }
        }
        let json = format!(r#"[{{"kid_\u006frder":"both","kid":"{kid}"}}]"#);
        assert_eq!(index(&json, kid), Err(Error::Record(0)));
    }

    #[test]
    fn it_finds_what_the_strict_reader_finds() {
        // Names that differ little, in every spelling, and each looked for in every other.
        let names = [
            "a",
            "A",
            "skd://a",
            "sdk://A ",
            "hex:61",
            "hex:6100",
            "b}",
            "{b}",
            "é",
            "é ",
            "a?kid=b",
            "339c45b5-fb6d-4bd9-994c-eabd9d41c95b",
            "{339C45B5fb6d4bd9994ceabd9d41c95b}",
            "6d6f7669-652d-3432-0000-000000000000",
            "movie-42",
            "ab\u{0}",
            "1",
            "11",
        ];
        for one in names {
            for member in ["id", "kid", "aliases"] {
                let value = match member {
                    "aliases" => serde_json::json!([one]),
                    _ => serde_json::json!(one),
                };
                let json = serde_json::json!([{member: value}]).to_string();
                for other in names {
                    let wanted = Id::from_bytes(other.as_bytes());
                    let known: Vec<Id> = match member {
                        "kid" => Kid::from_text(one)
                            .map(Id::from_kid)
                            .into_iter()
                            .flatten()
                            .collect(),
                        _ => Id::from_text(one).into_iter().collect(),
                    };
                    let query = KeyQuery::from_id(wanted.clone());
                    let expected = query.names().any(|name| known.contains(name));
                    let found = find(&json, &query).unwrap().is_some();
                    assert_eq!(found, expected, "{json} {other}");
                }
            }
        }
    }
}
