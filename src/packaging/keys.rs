//! Which keys a packager gets.

use std::rc::Rc;

use super::{Caller, Error, PackagingServer};
use crate::content_key::{ContentKey, Found, KeyQuery};
use crate::id::{Content, Id, Kid};
use crate::platform::Platform;
use crate::track::Track;

/// A key of a KID, and where it comes from.
pub enum KeyOfKid {
    /// A record has it.
    Recorded(Rc<ContentKey>),
    /// The seed derives it.
    Derived(Rc<ContentKey>),
}

/// A key that content is encrypted with: it has a KID.
#[derive(Clone)]
pub struct PackagingKey {
    /// Its KID.
    pub kid: Kid,
    /// The key.
    pub key: Rc<ContentKey>,
}

/// Whether a key is of a content: by its names, its record or its KID, or by a name for a track of the content.
pub fn is_of(key: &ContentKey, content: &Id) -> bool {
    let of_track = key.track.and_then(|track| name_of_track(content, track));
    key.names().has(content) || of_track.is_some_and(|name| key.is_named(&name))
}

/// The name of a record for one track of a content.
fn name_of_track(content: &Id, track: Track) -> Option<Id> {
    Id::from_text(&format!("{content}/{}", track.name()))
}

impl<P: Platform> PackagingServer<'_, P> {
    /// The key of a KID, from a record, else derived.
    pub(super) async fn key_of_kid(&self, kid: Kid) -> Result<KeyOfKid, Error> {
        let query = KeyQuery::from_kid(kid);
        match self.sources.find_record(&query, self.platform).await? {
            Found::Key(key) => return Ok(KeyOfKid::Recorded(key)),
            Found::Deleted => return Err(Error::Deleted(kid)),
            Found::NotHere | Found::Off => {}
        }
        match self.sources.derive(&query, self.platform).await? {
            Found::Key(key) => Ok(KeyOfKid::Derived(key)),
            Found::Deleted | Found::NotHere | Found::Off => Err(Error::NoKey(format!("KID {kid}"))),
        }
    }

    /// The key of a KID for who reads content that is encrypted already. Who may not ask for everything gets it where its
    /// record or its KID says that it is of content that he may ask for.
    pub(super) async fn key_for_reading(
        &self,
        caller: Caller<'_>,
        kid: Kid,
    ) -> Result<Rc<ContentKey>, Error> {
        let (KeyOfKid::Recorded(key) | KeyOfKid::Derived(key)) = self.key_of_kid(kid).await?;
        let may_have = match &key.content {
            Some(Content::Id(content)) => caller.require(content).is_ok(),
            // A digest does not tell the id that a pattern is held against.
            Some(Content::Digest(_)) | None => !caller.is_limited(),
        };
        match may_have {
            true => Ok(key),
            false => Err(Error::Content),
        }
    }

    /// The key of a content, for a track and a period of it. A period is of content whose keys change.
    ///
    /// Without a period, a record with the name `{content}/{track}` or `{content}` goes first. Its track must be this
    /// one, or none.
    pub(super) async fn key_of_content(
        &self,
        content: &Id,
        track: Option<Track>,
        period: Option<u32>,
    ) -> Result<PackagingKey, Error> {
        if period.is_none()
            && let Some(key) = self.recorded(content, track).await?
        {
            return Ok(key);
        }
        let made = self
            .sources
            .make_kid(content, period.unwrap_or_default(), track, self.platform);
        let kid = made.await?;
        let kid = kid.ok_or_else(|| Error::NoKey(format!("content {content}")))?;
        let (KeyOfKid::Recorded(key) | KeyOfKid::Derived(key)) = self.key_of_kid(kid).await?;
        Ok(PackagingKey { kid, key })
    }

    async fn recorded(
        &self,
        content: &Id,
        track: Option<Track>,
    ) -> Result<Option<PackagingKey>, Error> {
        let of_track = track.and_then(|track| name_of_track(content, track));
        for name in of_track.into_iter().chain([content.clone()]) {
            // No other reading of the id: a packager is held to the ids that it may ask for.
            let query = KeyQuery::from_exact(name.clone());
            let key = match self.sources.find_record(&query, self.platform).await? {
                Found::Key(key) => key,
                Found::Deleted => return Err(Error::NoKey(format!("content {name}"))),
                Found::NotHere | Found::Off => continue,
            };
            if key.track.is_some() && key.track != track {
                continue;
            }
            let kid = key.kid.ok_or_else(|| {
                let reason = format!("the record {} has no `kid`, which content needs", key.id);
                Error::Request(reason)
            })?;
            return Ok(Some(PackagingKey { kid, key }));
        }
        Ok(None)
    }
}
