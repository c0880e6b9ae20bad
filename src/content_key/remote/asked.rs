//! What is asked of a key server, and the places for it in a URL.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::config::{Config, Protocol};
use crate::content_key::query::KeyQuery;
use crate::encoding::percent_encoded;
use crate::id::{Id, Kid};
use crate::template::Places;

/// A place in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The KID, a GUID in lower case with dashes.
    Kid,
    /// The name of the key: the KID without dashes, or the asset id where it has no KID.
    Id,
    /// The content id.
    ContentId,
}

/// The places of a URL and of a content id.
pub const PLACES: Places<Place> = &[
    ("{kid}", Place::Kid),
    ("{id}", Place::Id),
    ("{content_id}", Place::ContentId),
];

/// A key that is asked for. It depends on the name of the key alone, and not on what a device writes around it.
pub struct Asked {
    /// The KID, where the asset id has one.
    pub kid: Option<Kid>,
    /// The name of the key ([`KeyQuery::index_name`]).
    pub name: Id,
    /// The content id.
    pub content_id: String,
    /// The URL.
    pub url: Zeroizing<String>,
    /// SHA-256 of the key server and the name, in hexadecimal.
    pub digest: String,
}

impl Asked {
    /// `None` for what the server cannot be asked: it needs a KID, and the asset id has none.
    pub fn new(config: &Config, query: &KeyQuery) -> Option<Self> {
        let name = query.index_name();
        let text = name.to_string();
        let kid = match name.is_kid() {
            true => Some(Kid::from_text(&text)?),
            false => None,
        };
        if config.protocol == Protocol::Speke {
            kid?;
        }
        let fill = |place: Place| -> Option<Cow<'_, str>> {
            match place {
                Place::Kid => kid.map(|kid| kid.to_string().into()),
                Place::Id => Some(text.as_str().into()),
                Place::ContentId => None,
            }
        };
        let content_id = match &config.content_id {
            Some(template) => template.filled(fill),
            None => fill(Place::Kid)
                .or_else(|| fill(Place::Id))
                .map(Cow::into_owned),
        };
        let url = config.url.filled(|place| {
            let value = match place {
                Place::ContentId => content_id.as_deref().map(Cow::Borrowed),
                place => fill(place),
            };
            path_safe(&value?).map(Cow::Owned)
        });
        let digest = Sha256::new().chain_update(&config.server);
        let digest = digest.chain_update(name.as_bytes()).finalize();
        Some(Self {
            kid,
            content_id: content_id?,
            url: Zeroizing::new(url?),
            digest: hex::encode(digest),
            name,
        })
    }
}

/// Text for a segment of a path or a value of a query. `None` for a dot segment, which a server may take for a folder.
fn path_safe(text: &str) -> Option<String> {
    let is_segment = !matches!(text, "" | "." | "..");
    is_segment.then(|| percent_encoded(text))
}
