//! SOAP 1.1 around the messages of PlayReady.

use quick_xml::escape::escape;

use crate::cpix::Error;
use crate::cpix::xml::{self, Element};

/// How deep elements may be nested. Those of a challenge are nested 12 deep, those of encrypted data a little deeper.
const MAX_DEPTH: usize = 32;

/// Reads a document, without a byte-order mark: its root.
///
/// # Errors
/// What keeps it from being read.
pub fn read(text: &str) -> Result<Element, Error> {
    xml::read_text(text, MAX_DEPTH)
}

/// The text of a document in UTF-8, without a byte-order mark.
pub fn utf8(bytes: &[u8]) -> Option<&str> {
    xml::text_of(bytes).ok()
}

/// The one element in the body of an envelope. Prefixes and namespaces of envelopes differ, so names are compared.
pub fn in_body(root: &Element) -> Option<&Element> {
    if root.local_name() != "Envelope" {
        return None;
    }
    let mut bodies = root
        .all_children()
        .iter()
        .filter(|child| child.local_name() == "Body");
    match (bodies.next()?.all_children(), bodies.next()) {
        ([only], None) => Some(only),
        _ => None,
    }
}

/// The first element of this name in an element, at any depth.
pub fn find<'e>(element: &'e Element, name: &str) -> Option<&'e Element> {
    let mut children = element.all_children().iter();
    children.find_map(|child| match child.local_name() == name {
        true => Some(child),
        false => find(child, name),
    })
}

/// A fault of this server, for devices whose software asks for licences by itself: `0x8004c600`, an error of the server.
pub fn fault(text: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><soap:Fault><faultcode>soap:Server</faultcode><faultstring>{}</faultstring><detail><Exception><StatusCode>0x8004c600</StatusCode></Exception></detail></soap:Fault></soap:Body></soap:Envelope>"#,
        escape(text)
    )
}
