//! What a request calls a key.

use crate::id::{Id, Kid};

/// The names by which a request asks for a key: an asset id or a KID, and what stands in an asset id beside or behind
/// other text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyQuery {
    id: Id,
    /// Other readings of the id, in the order in which they are tried.
    others: Vec<Id>,
    /// The asset id when it has 16 bytes, as they are: text, or the bytes of a KID.
    bytes: Option<Kid>,
}

impl KeyQuery {
    /// A query by an asset id as a request has it. Players with Media Source Extensions send the bytes of a KID.
    pub fn from_asset_id(asset_id: &[u8]) -> Self {
        Self {
            bytes: asset_id.try_into().ok().map(Kid::from_bytes),
            ..Self::from_id(Id::from_bytes(asset_id))
        }
    }

    /// A query by an asset id that is normalised. When no key has the whole id, its other readings are tried: the id behind its length,
    /// the id without percent-encoding, and the KID in each of them.
    ///
    /// ```
    /// use keylet::content_key::KeyQuery;
    /// use keylet::id::Id;
    ///
    /// let axinom = "skd://339c45b5-fb6d-4bd9-994c-eabd9d41c95b:24242424242424242424242424242424";
    /// let query = KeyQuery::from_id(Id::from_bytes(axinom.as_bytes()));
    /// assert_eq!(query.names().count(), 2);
    /// ```
    pub fn from_id(id: Id) -> Self {
        let mut others = Vec::new();
        let behind_length = id.behind_length();
        let spelled = [Some(&id), behind_length.as_ref()].into_iter().flatten();
        let decoded: Vec<Id> = spelled.filter_map(Id::percent_decoded).collect();
        for reading in std::iter::once(&id).chain(&behind_length).chain(&decoded) {
            let kid = reading.embedded_kid().map(Id::from_kid);
            let digits = kid.map(|[digits, _]| digits);
            for other in std::iter::once(reading).chain(&digits) {
                if *other != id && !others.contains(other) {
                    others.push(other.clone());
                }
            }
        }
        let bytes = None;
        Self { id, others, bytes }
    }

    /// A query by a KID.
    pub fn from_kid(kid: Kid) -> Self {
        let [id, _] = Id::from_kid(kid);
        let (others, bytes) = (Vec::new(), None);
        Self { id, others, bytes }
    }

    /// The id as the request has it, normalised.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The KIDs among its names, the first one first.
    pub fn kids(&self) -> impl Iterator<Item = Kid> {
        self.names().filter_map(Id::kid)
    }

    /// The 16 bytes of the asset id. They are the bytes of a KID, or text that has this size.
    pub fn bytes(&self) -> Option<Kid> {
        self.bytes
    }

    /// The ids to look for, the first one first.
    pub fn names(&self) -> impl Iterator<Item = &Id> {
        std::iter::once(&self.id).chain(&self.others)
    }
}
