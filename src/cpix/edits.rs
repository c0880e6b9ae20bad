//! Changes to a document that leave everything else in it as it is, byte for byte.

use std::ops::Range;

use quick_xml::escape::escape;
use zeroize::Zeroizing;

use super::xml::{Element, Namespace};

/// Changes to the text of a document. No two of them touch the same bytes.
pub struct Edits<'d> {
    text: &'d str,
    root: &'d Element,
    edits: Vec<(Range<usize>, Zeroizing<String>)>,
}

/// What becomes of what an element holds.
pub enum Content {
    /// It stays.
    Stays,
    /// This is put behind it.
    With(Zeroizing<String>),
    /// This takes its place.
    Replaced(Zeroizing<String>),
}

impl<'d> Edits<'d> {
    /// No changes yet. `root` has its places in `text`.
    pub fn new(text: &'d str, root: &'d Element) -> Self {
        let edits = Vec::new();
        Self { text, root, edits }
    }

    /// Takes an element out.
    pub fn remove(&mut self, element: &Element) {
        self.edits.push((element.whole(), Zeroizing::default()));
    }

    /// Puts something behind an element.
    pub fn insert_after(&mut self, element: &Element, xml: Zeroizing<String>) {
        let end = element.whole().end;
        self.edits.push((end..end, xml));
    }

    /// Sets attributes of an element, without a prefix, and what it holds. `None` takes an attribute out.
    pub fn set(
        &mut self,
        element: &Element,
        attributes: &[(&str, Option<&str>)],
        content: Content,
    ) {
        let name = element.name();
        let start_tag = match attributes {
            [] => {
                let written = self.text.get(element.start_tag()).unwrap_or_default();
                let written = written.strip_suffix('>').unwrap_or_default();
                written.strip_suffix('/').unwrap_or(written).to_owned()
            }
            changed => start_tag(element, changed),
        };
        if element.is_one_tag() {
            let whole = match content {
                Content::Stays => format!("{start_tag}/>"),
                Content::With(xml) | Content::Replaced(xml) => {
                    format!("{start_tag}>{}</{name}>", *xml)
                }
            };
            self.edits.push((element.whole(), Zeroizing::new(whole)));
            return;
        }
        if !attributes.is_empty() {
            let tag = Zeroizing::new(format!("{start_tag}>"));
            self.edits.push((element.start_tag(), tag));
        }
        let inner = element.inner();
        match content {
            Content::Stays => {}
            Content::With(xml) => self.edits.push((inner.end..inner.end, xml)),
            Content::Replaced(xml) => self.edits.push((inner, xml)),
        }
    }

    /// The prefix, with its colon, that the root declares for a namespace, and the declaration for an element that is put
    /// in: it is empty where the root has one.
    pub fn prefix(&self, namespace: Namespace, own: &str) -> (String, String) {
        let mut declared = self.root.attributes().iter();
        let declared = declared.find_map(|(name, uri)| {
            (uri == namespace.uri()).then(|| name.strip_prefix("xmlns:"))?
        });
        match declared {
            Some(prefix) => (format!("{prefix}:"), String::new()),
            None => (
                format!("{own}:"),
                format!(r#" xmlns:{own}="{}""#, namespace.uri()),
            ),
        }
    }

    /// The document with the changes.
    pub fn finish(mut self) -> Zeroizing<String> {
        self.edits.sort_by_key(|(range, _)| range.start);
        let size: usize = self.edits.iter().map(|(_, xml)| xml.len()).sum();
        // All at once: no copy of a key is left behind.
        let mut text = Zeroizing::new(String::with_capacity(self.text.len().saturating_add(size)));
        let mut at = 0;
        for (range, xml) in &self.edits {
            text.push_str(self.text.get(at..range.start).unwrap_or_default());
            text.push_str(xml);
            at = range.end;
        }
        text.push_str(self.text.get(at..).unwrap_or_default());
        text
    }
}

/// A start tag without its end: the attributes in their order, with the changed values, and behind them those that are
/// new.
fn start_tag(element: &Element, changed: &[(&str, Option<&str>)]) -> String {
    let mut tag = format!("<{}", element.name());
    let mut add = |name: &str, value: &str| {
        tag.push_str(&format!(r#" {name}="{}""#, escape(value)));
    };
    for (name, value) in element.attributes() {
        match changed.iter().find(|(known, _)| known == name) {
            Some((_, Some(value))) => add(name, value),
            Some((_, None)) => {}
            None => add(name, value),
        }
    }
    for (name, value) in changed {
        if let Some(value) = value.filter(|_| element.attribute(name).is_none()) {
            add(name, value);
        }
    }
    tag
}
