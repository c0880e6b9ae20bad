//! A document as a tree of elements: small, bounded, without document types and entities.

use std::ops::Range;

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace as Uri, ResolveResult};
use quick_xml::{NsReader, XmlVersion};
use zeroize::Zeroizing;

use super::{Error, MAX_DEPTH, MAX_DOCUMENT};

/// How many attributes an element may have.
const MAX_ATTRIBUTES: usize = 64;

/// The namespaces that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// CPIX.
    Cpix,
    /// The Portable Symmetric Key Container (RFC 6030).
    Pskc,
    /// XML Signature.
    Signature,
    /// XML Encryption.
    Encryption,
    /// SPEKE 1.0.
    Speke,
    /// PlayReady's requests for packaging data.
    PackagingData,
    /// Common Encryption in DASH.
    Cenc,
    /// Another one, or a prefix that is not declared.
    Other,
}

impl Namespace {
    /// Its URI. [`Self::Other`] has none.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Cpix => "urn:dashif:org:cpix",
            Self::Pskc => "urn:ietf:params:xml:ns:keyprov:pskc",
            Self::Signature => "http://www.w3.org/2000/09/xmldsig#",
            Self::Encryption => "http://www.w3.org/2001/04/xmlenc#",
            Self::Speke => "urn:aws:amazon:com:speke",
            Self::PackagingData => {
                "http://schemas.microsoft.com/DRM/2007/03/protocols/AcquirePackagingData/v1.0"
            }
            Self::Cenc => "urn:mpeg:cenc:2013",
            Self::Other => "",
        }
    }

    fn resolved(result: &ResolveResult<'_>) -> Self {
        let known = [
            Self::Cpix,
            Self::Pskc,
            Self::Signature,
            Self::Encryption,
            Self::Speke,
            Self::PackagingData,
            Self::Cenc,
        ];
        let namespace = known
            .into_iter()
            .find(|known| matches!(result, ResolveResult::Bound(Uri(uri)) if *uri == known.uri()));
        namespace.unwrap_or(Self::Other)
    }
}

/// An element. Its text may be a key.
pub struct Element {
    namespace: Namespace,
    /// Its name with the prefix that it is written with.
    name: String,
    attributes: Vec<(String, String)>,
    text: Zeroizing<String>,
    children: Vec<Element>,
    start_tag: Range<usize>,
    /// Empty, and at the end of the start tag, where the element has none (`<a/>`).
    end_tag: Range<usize>,
}

impl Element {
    fn new(
        namespace: Namespace,
        start: &BytesStart<'_>,
        start_tag: Range<usize>,
    ) -> Result<Self, Error> {
        if !are_apart(start.attributes_raw()) {
            return Err(Error::Xml);
        }
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| Error::Xml)?;
            if !is_name(attribute.key.0) || attribute.value.contains('<') {
                return Err(Error::Xml);
            }
            if attributes.len() >= MAX_ATTRIBUTES {
                return Err(Error::Attributes);
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|_| Error::DocumentType)?;
            attributes.push((attribute.key.0.to_owned(), value.into_owned()));
        }
        if !is_name(start.name().0) {
            return Err(Error::Xml);
        }
        Ok(Self {
            namespace,
            name: start.name().0.to_owned(),
            attributes,
            text: Zeroizing::default(),
            children: Vec::new(),
            end_tag: start_tag.end..start_tag.end,
            start_tag,
        })
    }

    /// Whether it is this one.
    pub fn is(&self, namespace: Namespace, name: &str) -> bool {
        let local = self.name.strip_prefix(self.prefix());
        self.namespace == namespace && local == Some(name)
    }

    /// Its name without a prefix.
    pub fn local_name(&self) -> &str {
        self.name.strip_prefix(self.prefix()).unwrap_or(&self.name)
    }

    /// Whether another element has the same name, whatever their prefixes.
    pub fn is_named_as(&self, other: &Self) -> bool {
        let local = other.name.strip_prefix(other.prefix());
        local.is_some_and(|name| self.is(other.namespace, name))
    }

    /// Its name with the prefix that it is written with, such as `cpix:ContentKey`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The prefix that it is written with and its colon, or nothing.
    pub fn prefix(&self) -> &str {
        let colon = self
            .name
            .find(':')
            .map_or(0, |colon| colon.saturating_add(1));
        self.name.get(..colon).unwrap_or_default()
    }

    /// The bytes of its start tag in the document.
    pub fn start_tag(&self) -> Range<usize> {
        self.start_tag.clone()
    }

    /// The bytes between its tags.
    pub fn inner(&self) -> Range<usize> {
        self.start_tag.end..self.end_tag.start
    }

    /// The bytes of the whole element.
    pub fn whole(&self) -> Range<usize> {
        self.start_tag.start..self.end_tag.end
    }

    /// Whether one tag is all of it (`<a/>`).
    pub fn is_one_tag(&self) -> bool {
        self.end_tag.is_empty()
    }

    /// Its attributes, declarations of namespaces among them: the names as they are written, and the values.
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    /// The value of an attribute without a prefix.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let (_, value) = attributes.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The text in it, without that of its children.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The elements in it.
    pub fn all_children(&self) -> &[Self] {
        &self.children
    }

    /// The elements of this name in it.
    pub fn children<'a>(
        &'a self,
        namespace: Namespace,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Self> {
        let children = self.children.iter();
        children.filter(move |child| child.is(namespace, name))
    }

    /// The first element at the end of a path.
    pub fn at(&self, path: &[(Namespace, &str)]) -> Option<&Self> {
        let mut element = self;
        for (namespace, name) in path {
            let mut children = element.children.iter();
            element = children.find(|child| child.is(*namespace, name))?;
        }
        Some(element)
    }
}

/// Whether it is a name with a prefix or without (Namespaces in XML 1.0 section 4).
fn is_name(text: &str) -> bool {
    let mut parts = text.split(':');
    let is_part = |part: &str| part.starts_with(begins_name) && part.chars().all(is_in_name);
    parts.by_ref().take(2).all(is_part) && parts.next().is_none()
}

/// Whether a name may begin with it (XML 1.0 section 2.3, without the colon).
fn begins_name(c: char) -> bool {
    matches!(c,
        'A'..='Z' | '_' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}' | '\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}')
}

/// Whether a name may have it (XML 1.0 section 2.3, without the colon).
fn is_in_name(c: char) -> bool {
    let goes_on = matches!(c,
        '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}' | '\u{2040}');
    goes_on || begins_name(c)
}

/// Whether white space stands before each attribute of a start tag (XML 1.0 section 3.1). The library does not look.
fn are_apart(attributes: &str) -> bool {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
    let mut rest = attributes;
    while let Some(begin) = rest.find(['"', '\'']) {
        let mut value = rest.split_at(begin).1.chars();
        let Some((_, behind)) = value
            .next()
            .and_then(|quote| value.as_str().split_once(quote))
        else {
            return false;
        };
        if !behind.is_empty() && !behind.starts_with(is_space) {
            return false;
        }
        rest = behind;
    }
    true
}

/// Whether a document may have it (XML 1.0 section 2.2).
fn is_character(c: char) -> bool {
    let is_space = matches!(c, '\t' | '\n' | '\r');
    is_space || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// The text of a document, in which elements have their places: without a byte order mark.
///
/// # Errors
/// [`Error::Encoding`]
pub fn text_of(bytes: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Encoding)?;
    Ok(text.trim_start_matches('\u{feff}'))
}

/// Reads a document: its root.
///
/// # Errors
/// What keeps it from being read.
pub fn read(bytes: &[u8]) -> Result<Element, Error> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(Error::TooLarge);
    }
    read_text(text_of(bytes)?, MAX_DEPTH)
}

/// Reads a document whose elements are nested at most this deep: its root.
///
/// # Errors
/// What keeps it from being read.
pub fn read_text(text: &str, depth: usize) -> Result<Element, Error> {
    if !text.chars().all(is_character) {
        return Err(Error::Xml);
    }
    let mut reader = NsReader::from_str(text);
    let config = reader.config_mut();
    config.check_comments = true;
    config.check_end_names = true;
    let mut tree = Tree {
        depth,
        ..Tree::default()
    };
    loop {
        let start = position(&reader)?;
        let (namespace, event) = reader.read_resolved_event().map_err(|_| Error::Xml)?;
        let namespace = Namespace::resolved(&namespace);
        let tag = start..position(&reader)?;
        match event {
            Event::Start(start) => tree.open(Element::new(namespace, &start, tag)?)?,
            Event::Empty(start) => {
                let end = tag.end..tag.end;
                tree.open(Element::new(namespace, &start, tag)?)?;
                tree.close(end)?;
            }
            Event::End(_) => tree.close(tag)?,
            Event::Text(text) => {
                let text = text.xml10_content();
                // It ends a CDATA section, and stands nowhere else (XML 1.0 section 2.4).
                if text.contains("]]>") {
                    return Err(Error::Xml);
                }
                tree.text(&text)?;
            }
            Event::CData(text) => tree.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => {
                match reference.resolve_char_ref().map_err(|_| Error::Xml)? {
                    Some(character) if !is_character(character) => return Err(Error::Xml),
                    Some(character) => tree.text(character.encode_utf8(&mut [0; 4]))?,
                    None => {
                        let name = reference.xml10_content();
                        tree.text(resolve_predefined_entity(&name).ok_or(Error::DocumentType)?)?;
                    }
                }
            }
            Event::DocType(_) => return Err(Error::DocumentType),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return tree.into_root(),
        }
    }
}

/// How much of the text is read, in bytes.
fn position(reader: &NsReader<&[u8]>) -> Result<usize, Error> {
    usize::try_from(reader.buffer_position()).map_err(|_| Error::TooLarge)
}

/// The tree as far as it is read.
#[derive(Default)]
struct Tree {
    /// The elements that have not ended, the outermost first.
    open: Vec<Element>,
    root: Option<Element>,
    /// How many may be open.
    depth: usize,
}

impl Tree {
    fn open(&mut self, element: Element) -> Result<(), Error> {
        if self.root.is_some() {
            return Err(Error::Xml);
        }
        if self.open.len() >= self.depth {
            return Err(Error::TooDeep);
        }
        self.open.push(element);
        Ok(())
    }

    fn close(&mut self, end_tag: Range<usize>) -> Result<(), Error> {
        let mut element = self.open.pop().ok_or(Error::Xml)?;
        element.end_tag = end_tag;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(Error::Xml),
        }
        Ok(())
    }

    fn into_root(self) -> Result<Element, Error> {
        if self.open.is_empty() {
            self.root.ok_or(Error::Xml)
        } else {
            Err(Error::Xml)
        }
    }
}
