//! What is wrong with a JSON document, as data.

use std::fmt::{self, Display, Formatter};

use serde_json::error::Category;

/// What is wrong with a JSON document, and where. It holds no text of the document: the names in it are
/// those of the shape that was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: JsonErrorKind,
    /// From the inside out: the last step is the document's own.
    path: Vec<PathStep>,
}

/// What is wrong with a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// The text is not JSON.
    Text {
        /// What is wrong with the text.
        kind: TextErrorKind,
        /// The line, counted from 1.
        line: usize,
        /// The column, in bytes, counted from 1.
        column: usize,
    },
    /// There should be an object.
    NotAnObject,
    /// There should be a list.
    NotAList,
    /// There should be a string.
    NotAString,
    /// There should be an unsigned integer that fits its type.
    NotAWholeNumber,
    /// There should be `true` or `false`.
    NotABoolean,
    /// An object has no such member.
    MemberMissing(&'static str),
    /// An object has another member than these.
    MemberUnknown(&'static [&'static str]),
    /// A string is not one of these.
    NotOneOf(&'static [&'static str]),
    /// There should be what the text names, in the words of the expected type.
    Unexpected(String),
    /// A type refused its value.
    Refused,
}

/// What is wrong with a text that should be JSON (RFC 8259).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextErrorKind {
    /// It ends inside a value.
    Truncated,
    /// It does not follow the grammar, or is nested too deeply.
    Syntax,
    /// An object has two members of the same name.
    RepeatedMember,
    /// Quotes stand around the document.
    InQuotes,
    /// It begins with a byte-order mark (RFC 8259 section 8.1).
    ByteOrderMark,
}

/// One step from a value to a value inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStep {
    /// An entry of a list, counted from 0.
    Index(usize),
    /// A member of an object.
    Member(&'static str),
}

impl JsonError {
    pub(super) fn new(kind: JsonErrorKind) -> Self {
        let path = Vec::new();
        Self(Box::new(Inner { kind, path }))
    }

    /// The same error, inside a value that this step reaches.
    #[must_use]
    pub(super) fn inside(mut self, step: PathStep) -> Self {
        self.0.path.push(step);
        self
    }

    /// What is wrong.
    pub fn kind(&self) -> &JsonErrorKind {
        &self.0.kind
    }

    /// The steps from the document to the value that is wrong; none for the document itself.
    pub fn path(&self) -> impl Iterator<Item = PathStep> {
        self.0.path.iter().rev().copied()
    }

    /// The entry that is wrong, where the document is a list.
    pub fn index(&self) -> Option<usize> {
        match self.path().next() {
            Some(PathStep::Index(index)) => Some(index),
            _ => None,
        }
    }

    /// The member that is wrong, such as `callback.url`, where the document or its entry is an object.
    /// Positions in lists are left out.
    pub fn member(&self) -> Option<String> {
        let names = self.path().filter_map(|step| match step {
            PathStep::Member(name) => Some(name),
            PathStep::Index(_) => None,
        });
        let names: Vec<&str> = names.collect();
        (!names.is_empty()).then(|| names.join("."))
    }
}

impl std::error::Error for JsonError {}

impl Display for JsonError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind() {
            JsonErrorKind::Text { kind, line, column } => {
                let what = match kind {
                    TextErrorKind::Truncated => "it ends too early",
                    TextErrorKind::Syntax => "it is not JSON",
                    TextErrorKind::RepeatedMember => "a member occurs twice",
                    TextErrorKind::InQuotes => {
                        "it is JSON in quotes, which a shell or a file has kept; take them away"
                    }
                    TextErrorKind::ByteOrderMark => {
                        "it begins with a byte-order mark; save it as UTF-8 without one"
                    }
                };
                write!(f, "{what} (line {line}, column {column})")
            }
            JsonErrorKind::NotAnObject => f.write_str("it is no object where there should be one"),
            JsonErrorKind::NotAList => f.write_str("it is no list where there should be one"),
            JsonErrorKind::NotAString => f.write_str("a value is not a string"),
            JsonErrorKind::NotAWholeNumber => f.write_str("a value is not a whole number"),
            JsonErrorKind::NotABoolean => f.write_str("a value is not a boolean"),
            JsonErrorKind::MemberMissing(name) => write!(f, "the member `{name}` is missing"),
            JsonErrorKind::MemberUnknown(known) => {
                f.write_str("a member is not known; there are ")?;
                names(f, known)
            }
            JsonErrorKind::NotOneOf(known) => {
                f.write_str("a value is not one of ")?;
                names(f, known)
            }
            JsonErrorKind::Unexpected(expected) => write!(f, "a value is not {expected}"),
            JsonErrorKind::Refused => f.write_str("a member is of the wrong type or value"),
        }
    }
}

fn names(f: &mut Formatter<'_>, names: &[&str]) -> fmt::Result {
    for (position, name) in names.iter().enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        write!(f, "{separator}`{name}`")?;
    }
    Ok(())
}

impl From<JsonError> for String {
    fn from(error: JsonError) -> Self {
        error.to_string()
    }
}

impl JsonError {
    /// An error of parsing a text; the only type that is parsed refuses nothing but repeated members.
    pub(super) fn from_text(text: &[u8], error: &serde_json::Error) -> Self {
        let kind = match (error.classify(), text.trim_ascii_start()) {
            (_, [0xef, 0xbb, 0xbf, ..]) => TextErrorKind::ByteOrderMark,
            (Category::Eof | Category::Syntax, [b'\'' | b'"', b'[' | b'{', ..]) => {
                TextErrorKind::InQuotes
            }
            (Category::Eof, _) => TextErrorKind::Truncated,
            (Category::Syntax, _) => TextErrorKind::Syntax,
            (Category::Data | Category::Io, _) => TextErrorKind::RepeatedMember,
        };
        let (line, column) = (error.line(), error.column());
        Self::new(JsonErrorKind::Text { kind, line, column })
    }
}
