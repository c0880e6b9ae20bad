//! What a request calls a key.

use crate::id::{Id, Kid};

/// The names by which a request asks for a key: an asset id or a KID, and the KID that stands in an asset
/// id beside other text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyQuery {
    id: Id,
    embedded: Option<Id>,
}

impl KeyQuery {
    /// A query by an asset id. The KID in it is tried when no key has the whole id.
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
        let [digits, _] = match id.embedded_kid() {
            Some(kid) => Id::from_kid(kid).map(Some),
            None => [None, None],
        };
        Self {
            id,
            embedded: digits,
        }
    }

    /// A query by a KID.
    pub fn from_kid(kid: Kid) -> Self {
        let [id, _] = Id::from_kid(kid);
        Self { id, embedded: None }
    }

    /// The id as the request has it, normalised.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The ids to look for, the first one first.
    pub fn names(&self) -> impl Iterator<Item = &Id> {
        std::iter::once(&self.id).chain(&self.embedded)
    }
}
