//! From where a licence may be requested.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::Value;

use super::Error;

/// Where a request comes from, as a trusted proxy states it. `None`: it does not state it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientOrigin {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The client's country, ISO 3166-1 alpha-2.
    pub country: Option<Country>,
}

/// Two letters of ISO 3166-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Country([u8; 2]);

impl fmt::Display for Country {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0.map(char::from);
        write!(formatter, "{first}{second}")
    }
}

impl FromStr for Country {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let letters: [u8; 2] = text.as_bytes().try_into().map_err(drop)?;
        if letters.iter().all(u8::is_ascii_alphabetic) {
            Ok(Self(letters.map(|letter| letter.to_ascii_uppercase())))
        } else {
            Err(())
        }
    }
}

/// A network of addresses, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    pub(super) fn from_json(value: &Value) -> Result<Self, Error> {
        Self::from_text(value.as_str().unwrap_or_default())
    }

    /// An address, or with the length of a prefix a network. `None` for a length that its addresses do not have.
    pub fn new(address: IpAddr, length: Option<u8>) -> Option<Self> {
        let net = match length {
            Some(length) => IpNet::new(address, length).ok()?,
            None => IpNet::from(address),
        };
        Some(Self(net))
    }

    /// Reads an address, or a network as `192.0.2.0/24`.
    ///
    /// # Errors
    /// [`Error::Terms`]
    pub fn from_text(text: &str) -> Result<Self, Error> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| Error::Terms {
                term: "ip_allow",
                reason: "it is not a list of addresses and networks such as \"192.0.2.0/24\"",
            })
    }

    /// Whether an address belongs to it. IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2) counts as IPv4.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl Country {
    pub(super) fn from_json(value: &Value) -> Result<Self, Error> {
        value
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or(Error::Terms {
                term: "countries",
                reason: "it is not a list of countries by two letters (ISO 3166-1 alpha-2)",
            })
    }
}

/// The last address of a header that a proxy sets: the one that the proxy itself has seen. The header is a list of
/// addresses, as `X-Forwarded-For` is, or of elements of `Forwarded` (RFC 7239 section 4), of which `for` counts. An
/// address may be in quotes or brackets and may have a port.
pub fn last_address(header: &str) -> Option<IpAddr> {
    let last = last_element(header).trim();
    if !last.contains('=') {
        return node(last);
    }
    let mut inside = false;
    let pairs = last.split(|c| {
        inside ^= c == '"';
        c == ';' && !inside
    });
    let mut nodes = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    let first = nodes.next()?;
    nodes.next().is_none().then(|| node(first.trim()))?
}

/// What stands behind the last comma that is in no quotes. The text is read from its end: what a client sent comes
/// before what the proxy added, and a quote that it left open changes nothing here.
fn last_element(header: &str) -> &str {
    let mut inside = false;
    for (position, c) in header.char_indices().rev() {
        let before = header.get(..position).unwrap_or_default();
        let escapes = before.len() - before.trim_end_matches('\\').len();
        match c {
            '"' if escapes.is_multiple_of(2) => inside = !inside,
            ',' if !inside => return header.get(position + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    header
}

/// An address with a port or without (RFC 7239 section 6). Names that hide an address are none.
fn node(text: &str) -> Option<IpAddr> {
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = quoted.unwrap_or(text).trim();
    if let Some((address, port)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let is_whole = port.is_empty() || port.starts_with(':');
        return address.parse().ok().filter(|_| is_whole).map(IpAddr::V6);
    }
    let (address, _port) = text.split_once(':').unwrap_or((text, ""));
    text.parse()
        .ok()
        .or_else(|| address.parse().ok().map(IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_that_the_proxy_itself_has_seen_counts() {
        for (header, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("203.0.113.9, 192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
            ("203.0.113.9, \"192.0.2.1:80\"", Some("192.0.2.1")),
            ("for=192.0.2.1;proto=https", Some("192.0.2.1")),
            ("For=\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
            (
                "for=203.0.113.9, by=203.0.113.1; for=192.0.2.1:_hidden ;host=a",
                Some("192.0.2.1"),
            ),
            // What a client writes in front is no part of what the proxy adds.
            ("for=203.0.113.9;x=\", for=192.0.2.1", Some("192.0.2.1")),
            ("\", 192.0.2.1", Some("192.0.2.1")),
            (
                "for=192.0.2.1;host=\"a,for=203.0.113.9\"",
                Some("192.0.2.1"),
            ),
            (
                "for=192.0.2.1;host=\"a\\\",for=203.0.113.9;x=\\\"\"",
                Some("192.0.2.1"),
            ),
            ("for=192.0.2.1;for=203.0.113.9", None),
            ("for=203.0.113.9, for=_hidden", None),
            ("for=203.0.113.9, proto=https", None),
            ("192.0.2.1, [2001:db8::1]x", None),
            ("192.0.2.1, unknown", None),
            ("", None),
        ] {
            assert_eq!(
                last_address(header),
                expected.map(|address| address.parse().unwrap()),
                "{header}"
            );
        }
    }

    #[test]
    fn networks_take_addresses_of_their_own_and_mapped_ones() {
        let network = Network::from_json(&"192.0.2.0/24".into()).unwrap();
        for (address, expected) in [
            ("192.0.2.255", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.3.0", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(network.has(address.parse().unwrap()), expected, "{address}");
        }
        let one = Network::from_json(&"2001:db8::1".into()).unwrap();
        assert!(one.has("2001:db8::1".parse().unwrap()));
        assert!(!one.has("2001:db8::2".parse().unwrap()));
    }
}
