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

    /// A query by an asset id that is normalised. When no key has the whole id, its [other readings](crate::id) are
    /// tried: the id without percent-encoding or a length in front, and the KID or the id that stands in it beside other
    /// text.
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
        Self {
            others: id.readings(),
            id,
            bytes: None,
        }
    }

    /// A query by a KID.
    pub fn from_kid(kid: Kid) -> Self {
        let [id, _] = Id::from_kid(kid);
        let (others, bytes) = (Vec::new(), None);
        Self { id, others, bytes }
    }

    /// A query by this id and no other reading of it: what stands around or in it is not looked at.
    pub fn from_exact(id: Id) -> Self {
        let (others, bytes) = (Vec::new(), None);
        Self { id, others, bytes }
    }

    /// The id as the request has it, normalised.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The one name under which a store is asked, the same for every spelling of an id: the KID in it when there is one,
    /// else the id without anything that stands around it.
    ///
    /// ```
    /// use keylet::content_key::KeyQuery;
    /// use keylet::id::{Id, Kid};
    ///
    /// let name = |text: &str| KeyQuery::from_id(Id::from_bytes(text.as_bytes())).index_name();
    /// let kid = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
    /// let [digits, bytes] = Id::from_kid(Kid::from_text(kid).unwrap());
    /// assert_eq!(name(&format!("skd://fps.ezdrm.com/;{kid}")), digits);
    /// assert_eq!(KeyQuery::from_id(bytes).index_name(), digits);
    /// assert_eq!(name("skd://movie%2D42"), name("movie-42"));
    /// ```
    pub fn index_name(&self) -> Id {
        let kid = self.names().find(|name| name.is_kid());
        let innermost = kid.or_else(|| self.others.last());
        innermost.unwrap_or(&self.id).clone()
    }

    /// The id as logs may have it. What stands behind `cek=` is a content key (Bento4's tests), and is left out with all
    /// that follows.
    ///
    /// ```
    /// use keylet::content_key::KeyQuery;
    /// use keylet::id::Id;
    ///
    /// let shown = |text: &str| KeyQuery::from_id(Id::from_bytes(text.as_bytes())).shown();
    /// assert_eq!(shown("skd://movie-42"), "movie-42");
    /// assert_eq!(shown("skd://one?cek=000102030405060708090a0b0c0d0e0f"), "one?cek=…");
    /// assert_eq!(shown("one%3Fcek%3D000102030405060708090a0b0c0d0e0f"), "one?cek=…");
    /// assert_eq!(shown("skd://cek=000102030405060708090a0b0c0d0e0f"), "cek=…");
    /// assert_eq!(shown("movie;CEK=000102030405060708090a0b0c0d0e0f"), "movie;cek=…");
    /// // `one?cek=000102030405060708090a0b0c0d0e0f` in base64, and behind its length.
    /// assert_eq!(shown("b25lP2Nlaz0wMDAxMDIwMzA0MDUwNjA3MDgwOTBhMGIwYzBkMGUwZg=="), "one?cek=…");
    /// let behind_length = [&40_u32.to_be_bytes()[..], b"one?cek=000102030405060708090a0b0c0d0e0f"].concat();
    /// assert_eq!(KeyQuery::from_asset_id(&behind_length).shown(), "one?cek=…");
    /// ```
    pub fn shown(&self) -> String {
        const KEY: &str = "cek=";
        let is_key = |start: &[u8]| start.eq_ignore_ascii_case(KEY.as_bytes());
        let before = |name: &Id| {
            let bytes = name.as_bytes();
            let at = bytes.windows(KEY.len()).position(is_key)?;
            bytes.get(..at).map(Id::from_bytes)
        };
        // The innermost reading that has it: what is around that may hold the key in another spelling.
        match self.names().filter_map(before).last() {
            Some(before) => format!("{before}{KEY}…"),
            None => self.id.to_string(),
        }
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
