//! A document as a tree of elements: small, bounded, without document types and entities.

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
            Self::Other => "",
        }
    }

    fn resolved(result: &ResolveResult<'_>) -> Self {
        let known = [Self::Cpix, Self::Pskc, Self::Signature, Self::Encryption];
        let namespace = known
            .into_iter()
            .find(|known| matches!(result, ResolveResult::Bound(Uri(uri)) if *uri == known.uri()));
        namespace.unwrap_or(Self::Other)
    }
}

/// An element. Its text may be a key.
pub struct Element {
    namespace: Namespace,
    name: String,
    attributes: Vec<(String, String)>,
    text: Zeroizing<String>,
    children: Vec<Element>,
}

impl Element {
    fn new(namespace: Namespace, start: &BytesStart<'_>) -> Result<Self, Error> {
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| Error::Xml)?;
            if attributes.len() >= MAX_ATTRIBUTES {
                return Err(Error::Attributes);
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|_| Error::DocumentType)?;
            attributes.push((attribute.key.0.to_owned(), value.into_owned()));
        }
        Ok(Self {
            namespace,
            name: start.local_name().as_ref().to_owned(),
            attributes,
            text: Zeroizing::default(),
            children: Vec::new(),
        })
    }

    /// Whether it is this one.
    pub fn is(&self, namespace: Namespace, name: &str) -> bool {
        self.namespace == namespace && self.name == name
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

/// Reads a document: its root.
///
/// # Errors
/// What keeps it from being read.
pub fn read(bytes: &[u8]) -> Result<Element, Error> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(Error::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Encoding)?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    let mut tree = Tree::default();
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|_| Error::Xml)?;
        let namespace = Namespace::resolved(&namespace);
        match event {
            Event::Start(start) => tree.open(Element::new(namespace, &start)?)?,
            Event::Empty(start) => {
                tree.open(Element::new(namespace, &start)?)?;
                tree.close()?;
            }
            Event::End(_) => tree.close()?,
            Event::Text(text) => tree.text(&text.xml10_content())?,
            Event::CData(text) => tree.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => {
                match reference.resolve_char_ref().map_err(|_| Error::Xml)? {
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

/// The tree as far as it is read.
#[derive(Default)]
struct Tree {
    /// The elements that have not ended, the outermost first.
    open: Vec<Element>,
    root: Option<Element>,
}

impl Tree {
    fn open(&mut self, element: Element) -> Result<(), Error> {
        if self.root.is_some() {
            return Err(Error::Xml);
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.open.push(element);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let element = self.open.pop().ok_or(Error::Xml)?;
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
