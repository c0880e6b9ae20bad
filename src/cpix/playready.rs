//! What packagers write into content for PlayReady (Microsoft, "PlayReady Header Specification").
//!
//! A PlayReady Object is little-endian:
//!
//! ```text
//! [4 bytes] size of the object
//! [2 bytes] number of records: 1
//! [2 bytes] type of the record: 1, a header
//! [2 bytes] size of the header
//! [n bytes] header: XML in UTF-16LE, without a byte-order mark
//! ```

use base64::Engine;
use quick_xml::escape::partial_escape;

use super::{Scheme, characters};
use crate::encoding::BASE64;
use crate::id::Kid;
use crate::secret::Key128;

const NAMESPACE: &str = "http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader";

/// The largest object that players take, in bytes.
const MAX_OBJECT: usize = 15 * 1024;

const RECORD_COUNT: u16 = 1;
const HEADER_RECORD: u16 = 0x0001;

/// The version of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayReadyVersion {
    /// 4.0.0.0: one key for AES-CTR. The oldest players read it.
    V4_0,
    /// 4.2.0.0: several keys for AES-CTR.
    V4_2,
    /// 4.3.0.0: keys for AES-CBC.
    V4_3,
}

impl PlayReadyVersion {
    /// Its number in a header.
    pub const fn number(self) -> &'static str {
        match self {
            Self::V4_0 => "4.0.0.0",
            Self::V4_2 => "4.2.0.0",
            Self::V4_3 => "4.3.0.0",
        }
    }
}

/// A PlayReady header.
///
/// ```
/// use keylet::cpix::{PlayReadyHeader, Scheme};
/// use keylet::id::Kid;
/// use keylet::secret::Key128;
///
/// let key = Key128::from([7; 16]);
/// let keys = [(Kid::from_u128(42), &key)];
/// let header = PlayReadyHeader { keys: &keys, scheme: Scheme::Cbcs, license_url: None };
/// assert!(header.to_xml().unwrap().contains(r#"version="4.3.0.0""#));
/// let object = header.to_object().unwrap();
/// assert_eq!(usize::from(object[0]) + 256 * usize::from(object[1]), object.len());
/// ```
#[derive(Clone, Copy)]
pub struct PlayReadyHeader<'a> {
    /// The keys of the content, with their KIDs. The header has a checksum of each key for `cenc`, and nothing else of
    /// it.
    pub keys: &'a [(Kid, &'a Key128)],
    /// The scheme.
    pub scheme: Scheme,
    /// Where players ask for a licence, unless their application says it.
    pub license_url: Option<&'a str>,
}

impl PlayReadyHeader<'_> {
    /// The oldest version that can say it. `None` where none can: without a key, and for `cens` and `cbc1`.
    pub fn version(&self) -> Option<PlayReadyVersion> {
        match (self.scheme, self.keys) {
            (_, []) | (Scheme::Cens | Scheme::Cbc1, _) => None,
            (Scheme::Cenc, [_]) => Some(PlayReadyVersion::V4_0),
            (Scheme::Cenc, _) => Some(PlayReadyVersion::V4_2),
            (Scheme::Cbcs, _) => Some(PlayReadyVersion::V4_3),
        }
    }

    /// The object with this header: `SmoothStreamingProtectionHeaderData`, `pro` of DASH, and the data of a PSSH box.
    /// `None` where there is no header, or the object would have more than 15 KiB.
    pub fn to_object(&self) -> Option<Vec<u8>> {
        let text = self.to_xml()?;
        let header: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let size = header.len() + 10;
        if size > MAX_OBJECT {
            return None;
        }
        let mut object = Vec::with_capacity(size);
        object.extend(u32::try_from(size).ok()?.to_le_bytes());
        object.extend(RECORD_COUNT.to_le_bytes());
        object.extend(HEADER_RECORD.to_le_bytes());
        object.extend(u16::try_from(header.len()).ok()?.to_le_bytes());
        object.extend(header);
        Some(object)
    }

    /// The header as text, in the canonical form that players demand: no empty-element tags, attributes in the order
    /// of their names. `None` where [`Self::version`] is, and for a URL that is empty or that XML cannot hold.
    pub fn to_xml(&self) -> Option<String> {
        let version = self.version()?;
        let keys = match version {
            PlayReadyVersion::V4_0 => self.keys.iter().map(single_key).collect(),
            PlayReadyVersion::V4_2 => key_list(self.keys, |(kid, key)| {
                let checksum = BASE64.encode(playready_checksum(*kid, key));
                format!(r#"ALGID="AESCTR" CHECKSUM="{checksum}""#)
            }),
            PlayReadyVersion::V4_3 => key_list(self.keys, |_| r#"ALGID="AESCBC""#.to_owned()),
        };
        let url = match self.license_url {
            None => String::new(),
            Some(url) if url.is_empty() || !characters::are_xml(url) => return None,
            Some(url) => format!("<LA_URL>{}</LA_URL>", partial_escape(url)),
        };
        let version = version.number();
        Some(format!(
            r#"<WRMHEADER xmlns="{NAMESPACE}" version="{version}"><DATA>{keys}{url}</DATA></WRMHEADER>"#
        ))
    }
}

/// A key as 4.0.0.0 has it.
fn single_key((kid, key): &(Kid, &Key128)) -> String {
    let checksum = BASE64.encode(playready_checksum(*kid, key));
    let kid = in_base64(*kid);
    format!(
        "<PROTECTINFO><KEYLEN>16</KEYLEN><ALGID>AESCTR</ALGID></PROTECTINFO><KID>{kid}</KID><CHECKSUM>{checksum}</CHECKSUM>"
    )
}

/// Keys as 4.2.0.0 and 4.3.0.0 have them.
fn key_list(keys: &[(Kid, &Key128)], attributes: impl Fn(&(Kid, &Key128)) -> String) -> String {
    let keys = keys.iter().map(|key| {
        let (attributes, kid) = (attributes(key), in_base64(key.0));
        format!(r#"<KID {attributes} VALUE="{kid}"></KID>"#)
    });
    let keys: String = keys.collect();
    format!("<PROTECTINFO><KIDS>{keys}</KIDS></PROTECTINFO>")
}

fn in_base64(kid: Kid) -> String {
    BASE64.encode(kid.in_guid_order().as_bytes())
}

/// The checksum by which a player sees that a key is the one of the content, for AES-CTR: the first 8 bytes of the KID,
/// in the order of a GUID in memory, under AES-128-ECB with the key.
pub fn playready_checksum(kid: Kid, key: &Key128) -> [u8; 8] {
    let block = keylet_aes128::ecb_encrypt(key.expose(), kid.in_guid_order().as_bytes());
    block.first_chunk().copied().unwrap_or_default()
}
