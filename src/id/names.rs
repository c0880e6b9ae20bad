//! What reaches a key: its ids, and the content that it is of.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Id;
use crate::secret::Secret;

/// What reaches a key.
#[derive(Clone, Copy, Default)]
pub struct Names<'a> {
    /// Its ids.
    pub ids: &'a [Id],
    /// The content that it is of, when its record or its KID tells it.
    pub content: Option<&'a Content>,
}

impl<'a> Names<'a> {
    /// Ids alone.
    pub fn of(ids: &'a [Id]) -> Self {
        let content = None;
        Self { ids, content }
    }

    /// Whether an id is one of them, or that of the content.
    pub fn has(self, id: &Id) -> bool {
        self.ids.contains(id) || self.content.is_some_and(|content| content.is(id))
    }
}

/// The content that a key is of.
#[derive(Clone)]
pub enum Content {
    /// Its id, as a record says.
    Id(Id),
    /// The digest of its id, as a KID says.
    Digest(ContentDigest),
}

impl Content {
    /// Whether it has this id.
    pub fn is(&self, id: &Id) -> bool {
        match self {
            Self::Id(own) => own == id,
            Self::Digest(digest) => digest.is_of(id),
        }
    }
}

/// The digest of a content id: the first 8 bytes of HMAC-SHA256 (RFC 2104) over the normalised id.
///
/// Its key is secret, and as long as a block of SHA-256. Without it nobody can look for a second id with the digest of another content: 8 bytes alone
/// would not keep out who may name content of his own.
#[derive(Clone)]
pub struct ContentDigest {
    key: Secret<64>,
    digest: [u8; Self::SIZE],
}

impl ContentDigest {
    /// How many bytes a digest has.
    pub const SIZE: usize = 8;

    /// A digest that was made under this key.
    pub fn new(key: Secret<64>, digest: [u8; Self::SIZE]) -> Self {
        Self { key, digest }
    }

    /// Makes the digest of an id.
    pub fn make(key: &Secret<64>, id: &Id) -> [u8; Self::SIZE] {
        let mut mac = Hmac::<Sha256>::new(key.expose().into());
        mac.update(id.as_bytes());
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        tag.first_chunk().copied().unwrap_or_default()
    }

    /// Whether this is the digest of an id.
    pub fn is_of(&self, id: &Id) -> bool {
        Self::make(&self.key, id).ct_eq(&self.digest).into()
    }
}
