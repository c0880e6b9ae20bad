//! What a player sends: a SOAP message whose inner part the device has signed (PlayReady licence acquisition protocol).
//!
//! ```text
//! Envelope / Body / AcquireLicense / challenge / Challenge
//!   LA          signed: ContentHeader / WRMHEADER, LicenseNonce, CustomData, EncryptedData
//!   Signature
//! ```
//!
//! Some players do not unwrap what the Content Decryption Module gives them, and send the message in base64 within
//! `PlayReadyKeyMessage / LicenseAcquisition / Challenge`.

use base64::Engine;

use super::soap;
use crate::cpix::{self, xml::Element};
use crate::drm;
use crate::encoding::{self, BASE64};
use crate::error::Code;
use crate::id::Kid;

/// The longest SOAP message, in bytes of its text. Those of Windows have some 40 KB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The longest wrapped message, in bytes of its text: base64 of [`MAX_MESSAGE`], and headers.
const MAX_WRAPPED: usize = 96 * 1024;

/// How many KIDs headers may have.
const MAX_KIDS: usize = 64;

/// What a player asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A licence.
    AcquireLicense,
    /// Nothing: it says that it has stored one.
    AcknowledgeLicense,
}

impl Action {
    /// The name of its element, and of its SOAP action.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcquireLicense => "AcquireLicense",
            Self::AcknowledgeLicense => "AcknowledgeLicense",
        }
    }
}

/// How the content of a key is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `AESCTR`
    Ctr,
    /// `AESCBC`
    Cbc,
}

impl Algorithm {
    fn from_name(name: &str) -> Option<Self> {
        match name.trim() {
            "AESCTR" => Some(Self::Ctr),
            "AESCBC" => Some(Self::Cbc),
            _ => None,
        }
    }
}

/// A key as a header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderKey {
    /// The KID.
    pub kid: Kid,
    /// `ALGID`, where it is there and known.
    pub algorithm: Option<Algorithm>,
    /// `CHECKSUM`, where it is there and has 8 bytes, as for AES-CTR.
    pub checksum: Option<[u8; 8]>,
}

/// A challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The SOAP message, as the device has made it.
    pub soap: Vec<u8>,
    /// Whether that is in UTF-16.
    pub is_utf16: bool,
    /// What it asks for.
    pub action: Action,
    /// The keys of its headers (4.0 to 4.3), each KID once.
    pub keys: Vec<HeaderKey>,
    /// Text that the application has added.
    pub custom_data: Option<String>,
    /// What tells the message from others, as it is written.
    pub license_nonce: Option<String>,
}

impl Challenge {
    /// Reads a message: SOAP or wrapped, in UTF-8 or UTF-16LE.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(message: &[u8]) -> Result<Self, drm::Error> {
        let (text, is_utf16) = text_of(message)?;
        let root = read_text(&text, MAX_WRAPPED)?;
        if root.local_name() != "PlayReadyKeyMessage" {
            return Self::of_soap(message.to_vec(), &text, is_utf16, &root);
        }
        let inner = soap::find(&root, "Challenge").map(Element::text);
        let inner = inner.and_then(encoding::base64);
        let inner =
            inner.ok_or_else(|| malformed("`PlayReadyKeyMessage` has no `Challenge` in base64"))?;
        let (text, is_utf16) = text_of(&inner)?;
        let root = read_text(&text, MAX_MESSAGE)?;
        Self::of_soap(inner.to_vec(), &text, is_utf16, &root)
    }

    fn of_soap(
        soap: Vec<u8>,
        text: &str,
        is_utf16: bool,
        root: &Element,
    ) -> Result<Self, drm::Error> {
        if text.len() > MAX_MESSAGE {
            return Err(too_large());
        }
        let body = soap::in_body(root).ok_or_else(|| {
            malformed("it is neither a SOAP envelope with one element in its body nor `PlayReadyKeyMessage`")
        })?;
        let actions = [Action::AcquireLicense, Action::AcknowledgeLicense];
        let action = actions
            .into_iter()
            .find(|action| action.name() == body.local_name());
        let action = action.ok_or_else(|| {
            malformed("only `AcquireLicense` and `AcknowledgeLicense` are answered here")
        })?;
        let mut keys = Vec::new();
        for_each_header(root, &mut |header| keys_of(header, &mut keys))?;
        let text_of = |name: &str| {
            let element = soap::find(soap::find(body, "LA")?, name)?;
            let text = element.text().trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Ok(Self {
            soap,
            is_utf16,
            action,
            keys,
            custom_data: text_of("CustomData"),
            license_nonce: text_of("LicenseNonce"),
        })
    }

    /// What the header says of a KID.
    pub fn key(&self, kid: Kid) -> Option<&HeaderKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

/// The token in the custom data of a challenge: a JWT, or a vendor's JSON or XML in base64. Other text is no token.
pub fn token_in(message: &[u8]) -> Option<String> {
    let custom_data = Challenge::read(message).ok()?.custom_data?;
    let is_jwt = || {
        let mut parts = custom_data.split('.');
        let has_three = parts.clone().count() == 3;
        has_three && parts.all(|part| !part.is_empty() && part.bytes().all(is_of_base64))
    };
    let is_wrapped = || {
        encoding::base64(&custom_data)
            .is_some_and(|inner| matches!(inner.first(), Some(b'{' | b'<')))
    };
    (is_jwt() || is_wrapped()).then_some(custom_data)
}

fn is_of_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The text of a message, without a byte-order mark, and whether it is in UTF-16.
fn text_of(message: &[u8]) -> Result<(String, bool), drm::Error> {
    let units = match message {
        [0xff, 0xfe, units @ ..] => Some(units),
        [_, 0, ..] => Some(message),
        [0x08, ..] => {
            return Err(malformed(
                "it is a Widevine challenge: send it to /widevine",
            ));
        }
        _ => None,
    };
    let Some(units) = units else {
        let text =
            soap::utf8(message).ok_or_else(|| malformed("it is neither UTF-8 nor UTF-16"))?;
        return Ok((text.to_owned(), false));
    };
    let (pairs, rest) = units.as_chunks::<2>();
    let pairs: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    match String::from_utf16(&pairs) {
        Ok(text) if rest.is_empty() => Ok((text, true)),
        _ => Err(malformed("it is not whole UTF-16")),
    }
}

fn read_text(text: &str, most: usize) -> Result<Element, drm::Error> {
    match text.len() > most {
        true => Err(too_large()),
        false => soap::read(text).map_err(|error: cpix::Error| malformed(&error.to_string())),
    }
}

/// Calls a function with each header of content, wherever it stands: what a service may find, is found here.
fn for_each_header(
    element: &Element,
    act: &mut impl FnMut(&Element) -> Result<(), drm::Error>,
) -> Result<(), drm::Error> {
    match element.local_name() {
        "WRMHEADER" => act(element),
        _ => {
            let mut children = element.all_children().iter();
            children.try_for_each(|child| for_each_header(child, act))
        }
    }
}

/// Adds the keys of a header.
fn keys_of(header: &Element, keys: &mut Vec<HeaderKey>) -> Result<(), drm::Error> {
    // 4.0 has these beside its one KID.
    let text = |name: &str| soap::find(header, name).map(Element::text);
    let (algorithm, checksum) = (text("ALGID"), text("CHECKSUM"));
    for_each_kid(header, &mut |element| {
        let (value, algorithm, checksum) = match element.attribute("VALUE") {
            Some(value) => (
                value,
                element.attribute("ALGID"),
                element.attribute("CHECKSUM"),
            ),
            None => (element.text(), algorithm, checksum),
        };
        // A service may read the one or the other.
        let is_double = element.attribute("VALUE").is_some() && !element.text().trim().is_empty();
        if is_double || !element.all_children().is_empty() {
            return Err(malformed("a KID of its header has more than one value"));
        }
        let kid = BASE64.decode(value.trim()).ok();
        let kid = kid.and_then(|kid| <[u8; 16]>::try_from(kid).ok());
        let kid = kid.ok_or_else(|| malformed("a KID of its header is not 16 bytes in base64"))?;
        let kid = Kid::from_bytes(kid).in_guid_order();
        if keys.iter().any(|key| key.kid == kid) {
            return Ok(());
        }
        if keys.len() >= MAX_KIDS {
            return Err(malformed("its header has too many KIDs"));
        }
        let checksum = checksum.and_then(|text| BASE64.decode(text.trim()).ok());
        keys.push(HeaderKey {
            kid,
            algorithm: algorithm.and_then(Algorithm::from_name),
            checksum: checksum.and_then(|checksum| checksum.try_into().ok()),
        });
        Ok(())
    })
}

fn for_each_kid(
    element: &Element,
    act: &mut impl FnMut(&Element) -> Result<(), drm::Error>,
) -> Result<(), drm::Error> {
    element
        .all_children()
        .iter()
        .try_for_each(|child| match child.local_name() {
            "KID" => act(child),
            // What applications write there is theirs.
            "CUSTOMATTRIBUTES" => Ok(()),
            _ => for_each_kid(child, act),
        })?;
    Ok(())
}

fn malformed(reason: &str) -> drm::Error {
    drm::Error::refused(Code::REQUEST_MALFORMED, reason)
}

fn too_large() -> drm::Error {
    drm::Error::refused(
        Code::BODY_TOO_LARGE,
        format!("a challenge has at most {MAX_MESSAGE} bytes"),
    )
}
