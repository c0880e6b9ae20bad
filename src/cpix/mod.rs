//! CPIX, the documents in which key servers and packagers exchange content keys (DASH-IF CPIX 2.0 to 2.4), [`speke`], which
//! are such documents without keys, and what packagers write into content beside them: PSSH boxes, PlayReady headers, tags
//! of HLS and elements of DASH. Beside them, what packagers write into content and
//! manifests: PSSH boxes, PlayReady headers, the tags of HLS and the elements of DASH.
//!
//! What is here is form alone: bytes in, values out. Elements are matched by namespace and never by prefix, since each
//! producer has prefixes of its own. Nothing is validated against a schema: documents of AWS itself do not pass.
//!
//! ```
//! use keylet::cpix::Document;
//!
//! let text = r#"<CPIX xmlns="urn:dashif:org:cpix" xmlns:p="urn:ietf:params:xml:ns:keyprov:pskc"><ContentKeyList>
//!     <ContentKey kid="339c45b5-fb6d-4bd9-994c-eabd9d41c95b"><Data><p:Secret>
//!         <p:PlainValue>pTfNwMplhBQG1SXnvyLXVA==</p:PlainValue>
//!     </p:Secret></Data></ContentKey></ContentKeyList></CPIX>"#;
//! let document = Document::read(text.as_bytes())?;
//! let key = &document.keys()?[0];
//! assert_eq!(key.value(None)?.expose()[..2], [0xa5, 0x37]);
//! # Ok::<(), keylet::cpix::Error>(())
//! ```

mod characters;
mod dash;
mod delivery;
mod document;
mod edits;
mod encrypted;
mod hls;
mod playready;
mod program;
mod protection_system;
mod pssh;
mod request;
mod scheme;
mod signals;
pub mod speke;
mod track_type;
pub(crate) mod xml;

pub use dash::{ContentProtection, mp4_protection};
pub use document::{ContentKey, Document};
pub use encrypted::DocumentKeys;
pub use hls::HlsKey;
pub use playready::{PlayReadyHeader, PlayReadyVersion, playready_checksum};
pub use program::ProgramRequest;
pub use protection_system::ProtectionSystem;
pub use pssh::{
    PsshBox, PsshError, PsshErrorKind, WidevineData, pssh_boxes, widevine_data, widevine_kids,
};
pub use request::{BlankDocument, BlankKey};
pub use scheme::Scheme;
pub use signals::{Signal, Signals, pssh_of_protection_data};
pub use track_type::{intended_track_type, track_from_type};

/// The largest document that is read, in bytes.
pub const MAX_DOCUMENT: usize = 256 * 1024;

/// How deep elements may be nested.
pub const MAX_DEPTH: usize = 16;

/// How many keys a document may hold.
pub const MAX_KEYS: usize = 64;

/// Why a document is not read, or a key of it. It never holds a value of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More than [`MAX_DOCUMENT`] bytes.
    #[error("it has more than {MAX_DOCUMENT} bytes")]
    TooLarge,
    /// Another encoding than UTF-8.
    #[error("it is not in UTF-8")]
    Encoding,
    /// Not well-formed XML.
    #[error("it is not well-formed XML")]
    Xml,
    /// A document type declaration, or an entity that only one can declare.
    #[error("it has a document type declaration or an entity, and neither is read here")]
    DocumentType,
    /// Elements nested deeper than [`MAX_DEPTH`], or than what reads them allows.
    #[error("its elements are nested too deep")]
    TooDeep,
    /// More attributes in an element than any has.
    #[error("an element has too many attributes")]
    Attributes,
    /// The root is not `CPIX` of the namespace of CPIX.
    #[error("its root is not `CPIX` of the namespace `urn:dashif:org:cpix`")]
    Root,
    /// More than [`MAX_KEYS`] keys.
    #[error("it has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// Two keys with one KID.
    #[error("two of its keys have the same KID")]
    SameKid,
    /// An element or an attribute, and what is wrong with it.
    #[error("`{0}`: {1}")]
    At(&'static str, &'static str),
    /// A key without a value.
    #[error("the key has neither `PlainValue` nor `EncryptedValue`")]
    NoValue,
    /// An encrypted key, and nothing to open it with.
    #[error("the key is encrypted, and there is no private key to open it with")]
    Encrypted,
    /// Nothing in `DeliveryDataList` is for the recipient.
    #[error("no `DeliveryData` opens with the private key")]
    NotForUs,
    /// A MAC that does not verify, or that is missing.
    #[error("the MAC of the encrypted key does not verify")]
    Mac,
    /// An encrypted key that does not decrypt to 16 bytes.
    #[error("the encrypted key does not decrypt to 16 bytes")]
    Undecryptable,
}

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod tests;
