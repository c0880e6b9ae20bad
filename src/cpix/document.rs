//! A document with keys.

use super::encrypted::{self, DocumentKeys};
use super::track_type::track_from_type;
use super::xml::{self, Element, Namespace};
use super::{Error, MAX_KEYS};
use crate::encoding;
use crate::id::Kid;
use crate::rsa_key::PrivateKey;
use crate::secret::Key128;
use crate::track::Track;

use Namespace::{Cpix, Pskc};
use rand_core::CryptoRng;

/// A CPIX document.
pub struct Document(Element);

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// What keeps it from being read. The keys in it are looked at later.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let root = xml::read(bytes)?;
        if root.is(Cpix, "CPIX") {
            Ok(Self(root))
        } else {
            Err(Error::Root)
        }
    }

    /// The id of the content, from 2.3 on.
    pub fn content_id(&self) -> Option<&str> {
        self.0.attribute("contentId")
    }

    pub(super) fn root(&self) -> &Element {
        &self.0
    }

    /// Its keys, each with its own KID.
    ///
    /// # Errors
    /// [`Error::TooManyKeys`], [`Error::SameKid`], and a KID that is missing or none.
    pub fn keys(&self) -> Result<Vec<ContentKey<'_>>, Error> {
        let elements = self.in_list("ContentKeyList", "ContentKey");
        let mut keys: Vec<ContentKey<'_>> = Vec::new();
        for element in elements {
            if keys.len() >= MAX_KEYS {
                return Err(Error::TooManyKeys);
            }
            let kid = element.attribute("kid").and_then(Kid::from_text);
            let kid = kid.ok_or(Error::At("ContentKey@kid", "it is not a GUID"))?;
            if keys.iter().any(|key| key.kid == kid) {
                return Err(Error::SameKid);
            }
            keys.push(ContentKey { kid, element });
        }
        Ok(keys)
    }

    /// The kind of track that a key is for, by the rules of the document. `None` where it has no rule, or where rules
    /// name several kinds or another one.
    pub fn track_of(&self, kid: Kid) -> Option<Track> {
        let rules = self.in_list("ContentKeyUsageRuleList", "ContentKeyUsageRule");
        let mut types = rules
            .filter(|rule| rule.attribute("kid").and_then(Kid::from_text) == Some(kid))
            .map(|rule| {
                let name = rule.attribute("intendedTrackType");
                name.and_then(track_from_type)
            });
        let first = types.next()??;
        types.all(|other| other == Some(first)).then_some(first)
    }

    /// What opens the encrypted keys, for the recipient with this private key. `certificate` is the recipient's, in
    /// DER; where a document names the certificates of its recipients, it tells which part is for this one.
    ///
    /// # Errors
    /// [`Error::NotForUs`], and an algorithm that is not read.
    pub fn unlock(
        &self,
        private_key: &PrivateKey,
        certificate: Option<&[u8]>,
        rng: &mut dyn CryptoRng,
    ) -> Result<DocumentKeys, Error> {
        let deliveries = self.in_list("DeliveryDataList", "DeliveryData");
        encrypted::unlock(deliveries, private_key, certificate, rng)
    }

    /// The elements of a name in a list of the root.
    pub(super) fn in_list<'a>(
        &'a self,
        list: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Element> {
        let lists = self.0.children(Cpix, list);
        lists.flat_map(move |list| list.children(Cpix, name))
    }
}

/// A key of a document.
pub struct ContentKey<'a> {
    /// Its KID.
    pub kid: Kid,
    element: &'a Element,
}

impl ContentKey<'_> {
    /// The IV that goes with it (`explicitIV`), when there is one.
    ///
    /// # Errors
    /// One that is not 16 bytes.
    pub fn iv(&self) -> Result<Option<[u8; 16]>, Error> {
        match self.element.attribute("explicitIV") {
            None | Some("") => Ok(None),
            Some(text) => {
                let iv = encoding::fixed(text);
                let wrong = Error::At("ContentKey@explicitIV", "it is not 16 bytes in base64");
                iv.map(Some).ok_or(wrong)
            }
        }
    }

    /// The key itself: as it stands there, or opened with what [`Document::unlock`] returns.
    ///
    /// # Errors
    /// [`Error::NoValue`], [`Error::Encrypted`] where it is encrypted and `keys` is `None`, [`Error::Mac`],
    /// [`Error::Undecryptable`], and what is not 16 bytes.
    pub fn value(&self, keys: Option<&DocumentKeys>) -> Result<Key128, Error> {
        let secret = self.secret().ok_or(Error::NoValue)?;
        if let Some(plain) = secret.children(Pskc, "PlainValue").next() {
            let key = encoding::fixed(plain.text()).map(Key128::from);
            return key.ok_or(Error::At("PlainValue", "it is not 16 bytes in base64"));
        }
        let encrypted = secret.children(Pskc, "EncryptedValue").next();
        let encrypted = encrypted.ok_or(Error::NoValue)?;
        let mac = secret.children(Pskc, "ValueMAC").next();
        keys.ok_or(Error::Encrypted)?
            .open(encrypted, mac.map(Element::text))
    }

    /// Whether it is encrypted for a recipient.
    pub fn is_encrypted(&self) -> bool {
        let secret = self.secret();
        secret.is_some_and(|secret| {
            secret.children(Pskc, "PlainValue").next().is_none()
                && secret.children(Pskc, "EncryptedValue").next().is_some()
        })
    }

    pub(super) fn element(&self) -> &Element {
        self.element
    }

    fn secret(&self) -> Option<&Element> {
        self.element.at(&[(Cpix, "Data"), (Pskc, "Secret")])
    }
}
