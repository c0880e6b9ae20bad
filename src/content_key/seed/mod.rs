//! The source of keys that are a function of their KID: the variable `key_seed`.
//!
//! A packager and a licence that have the same seed agree on a key without a write that both see. A licence
//! from this source reads no store and asks no other server.

mod config;
mod derivation;
mod made_kid;

use std::cell::OnceCell;
use std::rc::Rc;

pub use config::{VARIABLE, read};
pub use derivation::{Algorithm, LEAST_HKDF, PLAYREADY, Seed};
pub use made_kid::MadeKid;

use super::Found;
use super::query::KeyQuery;
use super::record::ContentKey;
use crate::configuration::SettingsError;
use crate::id::{Id, Kid};
use crate::platform::{Platform, once};
use crate::track::Track;

/// The seeds, as this instance has them.
#[derive(Default)]
pub struct Seeds(OnceCell<Option<Vec<Seed>>>);

impl Seeds {
    /// The key of a query that has a KID. An asset id that is none is not answered.
    ///
    /// # Errors
    /// Everything that is wrong with the variable.
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, SettingsError> {
        let Some(seeds) = self.seeds(platform).await? else {
            return Ok(Found::Off);
        };
        let key = derive(seeds, query);
        Ok(key.map_or(Found::NotHere, |key| Found::Key(Rc::new(key))))
    }

    /// The KID of a content, a period of it and a track: of the first seed. `None` when there is no seed.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn make_kid(
        &self,
        content: &Id,
        period: u32,
        track: Option<Track>,
        platform: &impl Platform,
    ) -> Result<Option<Kid>, SettingsError> {
        let seed = self.seeds(platform).await?.and_then(<[Seed]>::first);
        Ok(seed.map(|seed| seed.make_kid(content, period, track)))
    }

    /// Reads the variable. Returns whether it is set.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn check(&self, platform: &impl Platform) -> Result<bool, SettingsError> {
        Ok(self.seeds(platform).await?.is_some())
    }

    async fn seeds(&self, platform: &impl Platform) -> Result<Option<&[Seed]>, SettingsError> {
        let seeds = once(&self.0, async {
            match platform.variable(VARIABLE).await? {
                Some(json) => read(&json).map(Some).map_err(SettingsError::Invalid),
                None => Ok(None),
            }
        });
        Ok(seeds.await?.as_deref())
    }
}

/// The key of a query: of the seed that made its KID; of a KID that no seed made, the first seed's.
pub fn derive(seeds: &[Seed], query: &KeyQuery) -> Option<ContentKey> {
    for kid in query.kids().chain(query.bytes()) {
        let read = |seed: &Seed| Some(seed.made_key(kid, &seed.read_kid(kid)?));
        if let Some(key) = seeds.iter().find_map(read) {
            return Some(key);
        }
    }
    let bytes = || query.bytes().filter(|kid| !kid.is_text());
    let foreign = query.kids().next().or_else(bytes)?;
    Some(seeds.first()?.key(foreign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(json: &str) -> Vec<Seed> {
        read(json).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn two() -> (Vec<Seed>, Vec<Seed>) {
        let [one, two] = [1_u8, 2].map(|byte| {
            let seed = hex::encode([byte; 32]);
            format!(r#"{{"algorithm":"hkdf-sha256","seed":"{seed}"}}"#)
        });
        (
            seeds(&format!("[{one},{two}]")),
            seeds(&format!("[{two},{one}]")),
        )
    }

    fn key(seeds: &[Seed], asset_id: &[u8]) -> Option<ContentKey> {
        derive(seeds, &KeyQuery::from_asset_id(asset_id))
    }

    #[test]
    fn a_kid_that_a_seed_made_has_its_key_wherever_the_seed_stands() {
        let (before, after) = two();
        let movie = Id::from_bytes(b"movie-42");
        for seed in &before {
            let kid = seed.make_kid(&movie, 7, Some(Track::Uhd));
            for seeds in [&before, &after] {
                let text = kid.to_string();
                for asset in [
                    text.as_bytes(),
                    kid.as_bytes(),
                    format!("a;{kid}").as_bytes(),
                ] {
                    let found = key(seeds, asset).unwrap();
                    assert_eq!(found.key.expose(), seed.key(kid).key.expose());
                    assert_eq!((found.track, found.kid), (Some(Track::Uhd), Some(kid)));
                    assert!(
                        found.is_named(&movie) && !found.is_named(&Id::from_bytes(b"movie-43"))
                    );
                }
            }
        }
    }

    #[test]
    fn a_kid_of_a_packager_has_the_key_of_the_first_seed() {
        let (before, after) = two();
        let kid = Kid::from_u128(0x339c_45b5_fb6d_4bd9_994c_eabd_9d41_c95b);
        let of = |seeds: &[Seed], asset: &[u8]| *key(seeds, asset).unwrap().key.expose();
        assert_ne!(of(&before, kid.as_bytes()), of(&after, kid.as_bytes()));
        assert_eq!(
            of(&before, kid.as_bytes()),
            of(&before, kid.to_string().as_bytes())
        );
        let found = key(&before, kid.as_bytes()).unwrap();
        assert!(found.track.is_none() && found.content.is_none());
        assert_eq!(found.id.to_string(), "339c45b5fb6d4bd9994ceabd9d41c95b");
    }

    #[test]
    fn what_is_no_kid_has_no_key() {
        let (seeds, _) = two();
        for asset in [
            "movie-42",
            "movie-number-042",
            "m\0o\0v\0i\0e\0-\x004\x002\0",
        ] {
            assert!(key(&seeds, asset.as_bytes()).is_none(), "{asset}");
        }
    }
}
