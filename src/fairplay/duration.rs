//! Which duration TLLV a CKC carries (specification section 9).

use crate::content_key::KeyRecord;
use crate::entitlement::Use;
use crate::fairplay::client::{Capabilities, Client, PlaybackState};
use crate::fairplay::error::Error;
use crate::fairplay::tag::Tag;

/// Key types of the key duration TLLV.
pub mod key_type {
    /// Lease: playback stops when it lapses.
    pub const LEASE: u32 = 0x1a4b_de7e;
    /// Rental: playback may not start after it.
    pub const RENTAL: u32 = 0x3dfe_45a0;
    /// Both.
    pub const LEASE_AND_RENTAL: u32 = 0x27b5_9bde;
    /// The key may be stored, without limit.
    pub const PERSISTENCE: u32 = 0x3df2_d9fb;
    /// The key may be stored for the rental duration.
    pub const PERSISTENCE_LIMITED: u32 = 0x18f0_6048;
}

/// The last word of a key duration TLLV.
const RESERVED: u32 = 0x86d3_4a3a;

/// The one duration TLLV of a CKC; the two kinds exclude each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duration {
    /// `[4] lease seconds | [4] rental seconds | [4] key type | [4] 86d34a3a`
    Key {
        /// Lease in seconds; 0 when the type has none.
        lease: u32,
        /// Rental in seconds; 0 when the type has none.
        rental: u32,
        /// One of [`key_type`].
        key_type: u32,
    },
    /// `[4] version | [4] 0 | [16] content or stream id | [4] storage seconds |
    /// [4] playback seconds | version 2: [16] title id`; 0 seconds mean no limit.
    Offline {
        /// Content id (version 1) or stream id (version 2); zeros when it is absent.
        stream: [u8; 16],
        /// From download to first play.
        storage: u32,
        /// From first play on.
        playback: u32,
        /// Makes this version 2.
        title: Option<[u8; 16]>,
    },
}

impl Duration {
    /// Chooses by terms, playback state and capabilities. `None`: the CKC has no duration.
    ///
    /// # Errors
    /// [`Error::DurationUnsupported`] when there is a duration and no media playback state;
    /// [`Error::OfflineKeyUnsupported`] when a playback duration meets a device that says it has no
    /// offline key.
    pub fn choose(terms: &Use, client: &Client, key: &KeyRecord) -> Result<Option<Self>, Error> {
        let Some(playback) = &client.playback else {
            // The device keeps to no duration. Permission to store is dropped; a limit refuses.
            return match terms {
                Use::Streaming {
                    lease_seconds: None,
                    rental_seconds: None,
                }
                | Use::Persistent {
                    storage_seconds: None,
                    playback_seconds: None,
                    ends_in: None,
                } => Ok(None),
                _ => Err(Error::DurationUnsupported),
            };
        };
        match *terms {
            Use::Streaming {
                lease_seconds,
                rental_seconds,
            } => {
                // A rental limits the start of playback, so a renewal of the lease does not need it again. Without
                // a lease it stays: the state is the device's own word.
                let is_first = playback.state == PlaybackState::First;
                let rental = rental_seconds.filter(|_| is_first || lease_seconds.is_none());
                Ok(Self::streaming(lease_seconds, rental))
            }
            Use::Persistent {
                storage_seconds,
                playback_seconds,
                ends_in,
            } => Self::persistent(
                storage_seconds,
                playback_seconds,
                ends_in,
                client.capabilities,
                key,
            )
            .map(Some),
        }
    }

    fn streaming(lease: Option<u32>, rental: Option<u32>) -> Option<Self> {
        let key_type = match (lease, rental) {
            (None, None) => return None,
            (Some(_), None) => key_type::LEASE,
            (None, Some(_)) => key_type::RENTAL,
            (Some(_), Some(_)) => key_type::LEASE_AND_RENTAL,
        };
        Some(Self::Key {
            lease: lease.unwrap_or(0),
            rental: rental.unwrap_or(0),
            key_type,
        })
    }

    fn persistent(
        storage: Option<u32>,
        playback: Option<u32>,
        ends_in: Option<u32>,
        capabilities: Option<Capabilities>,
        key: &KeyRecord,
    ) -> Result<Self, Error> {
        let has_offline_key = capabilities.map(|c| c.offline_key() || c.offline_key_v2());
        let limited = |rental| Self::Key {
            lease: 0,
            rental,
            key_type: key_type::PERSISTENCE_LIMITED,
        };
        match (storage, playback) {
            // An absolute end without a playback duration: an offline key would play on without
            // limit once it has started, so the key itself has to lapse.
            (storage, None) if ends_in.is_some() => Ok(limited(
                storage.into_iter().chain(ends_in).min().unwrap_or(0),
            )),
            (None, None) if has_offline_key != Some(true) => Ok(Self::Key {
                lease: 0,
                rental: 0,
                key_type: key_type::PERSISTENCE,
            }),
            (Some(storage), None) if has_offline_key != Some(true) => Ok(limited(storage)),
            (_, Some(_)) if has_offline_key == Some(false) => Err(Error::OfflineKeyUnsupported),
            (storage, playback) => {
                let v2 = capabilities.is_some_and(Capabilities::offline_key_v2);
                // Stream and title id come together or not at all.
                let title = key.title.filter(|_| v2 && key.stream.is_some());
                Ok(Self::Offline {
                    stream: key.stream.unwrap_or_default(),
                    storage: storage.or(ends_in).unwrap_or(0),
                    playback: playback.unwrap_or(0),
                    title,
                })
            }
        }
    }

    /// When playback stops, counted from now.
    pub fn lease_seconds(&self) -> Option<u32> {
        match self {
            Self::Key { lease, .. } if *lease > 0 => Some(*lease),
            _ => None,
        }
    }

    /// When playback of a key that is not stored may start no more, counted from now.
    pub fn rental_seconds(&self) -> Option<u32> {
        match self {
            Self::Key {
                rental,
                key_type: key_type::RENTAL | key_type::LEASE_AND_RENTAL,
                ..
            } => Some(*rental),
            _ => None,
        }
    }

    /// How long the key may be stored before it is played first.
    pub fn storage_seconds(&self) -> Option<u32> {
        match self {
            Self::Key {
                rental,
                key_type: key_type::PERSISTENCE_LIMITED,
                ..
            } => Some(*rental),
            Self::Offline { storage, .. } if *storage > 0 => Some(*storage),
            _ => None,
        }
    }

    /// The tag and the value of the TLLV.
    pub fn tllv(&self) -> (Tag, Vec<u8>) {
        match self {
            Self::Key {
                lease,
                rental,
                key_type,
            } => {
                let words = [*lease, *rental, *key_type, RESERVED];
                (
                    Tag::KEY_DURATION,
                    words.iter().flat_map(|word| word.to_be_bytes()).collect(),
                )
            }
            Self::Offline {
                stream,
                storage,
                playback,
                title,
            } => {
                let version: u32 = if title.is_some() { 2 } else { 1 };
                let mut value = Vec::with_capacity(48);
                value.extend(version.to_be_bytes());
                value.extend([0; 4]);
                value.extend(stream);
                value.extend(storage.to_be_bytes());
                value.extend(playback.to_be_bytes());
                value.extend(title.iter().flatten());
                (Tag::OFFLINE_KEY, value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fairplay::client::MediaPlaybackState;
    use crate::id::Id;

    const STREAM: [u8; 16] = [1; 16];
    const TITLE: [u8; 16] = [2; 16];

    fn choose(
        terms: Use,
        state: Option<PlaybackState>,
        capabilities: Option<u64>,
    ) -> Result<Option<Duration>, Error> {
        let client = Client {
            playback: state.map(|state| MediaPlaybackState {
                date: 0,
                state,
                session_id: 0,
            }),
            capabilities: capabilities.map(Capabilities),
            ..Client::default()
        };
        let key = KeyRecord {
            stream: Some(STREAM),
            title: Some(TITLE),
            ..KeyRecord::new(Id::from_bytes(b"a"))
        };
        Duration::choose(&terms, &client, &key)
    }

    fn streaming(lease_seconds: Option<u32>, rental_seconds: Option<u32>) -> Use {
        Use::Streaming {
            lease_seconds,
            rental_seconds,
        }
    }

    fn persistent(
        storage_seconds: Option<u32>,
        playback_seconds: Option<u32>,
        ends_in: Option<u32>,
    ) -> Use {
        Use::Persistent {
            storage_seconds,
            playback_seconds,
            ends_in,
        }
    }

    fn key(lease: u32, rental: u32, key_type: u32) -> Result<Option<Duration>, Error> {
        Ok(Some(Duration::Key {
            lease,
            rental,
            key_type,
        }))
    }

    fn offline(
        storage: u32,
        playback: u32,
        title: Option<[u8; 16]>,
    ) -> Result<Option<Duration>, Error> {
        Ok(Some(Duration::Offline {
            stream: STREAM,
            storage,
            playback,
            title,
        }))
    }

    const FIRST: Option<PlaybackState> = Some(PlaybackState::First);
    const RENEWAL: Option<PlaybackState> = Some(PlaybackState::Renewal);

    #[test]
    fn streaming_terms_become_a_key_duration() {
        assert_eq!(choose(streaming(None, None), FIRST, None), Ok(None));
        assert_eq!(
            choose(streaming(Some(1), None), FIRST, None),
            key(1, 0, key_type::LEASE)
        );
        assert_eq!(
            choose(streaming(None, Some(2)), FIRST, None),
            key(0, 2, key_type::RENTAL)
        );
        assert_eq!(
            choose(streaming(Some(1), Some(2)), FIRST, None),
            key(1, 2, key_type::LEASE_AND_RENTAL)
        );
    }

    #[test]
    fn a_renewal_renews_the_lease_and_keeps_a_rental_that_stands_alone() {
        for state in [RENEWAL, Some(PlaybackState::KeyNotRequired)] {
            assert_eq!(
                choose(streaming(Some(1), Some(2)), state, None),
                key(1, 0, key_type::LEASE)
            );
            assert_eq!(
                choose(streaming(None, Some(2)), state, None),
                key(0, 2, key_type::RENTAL)
            );
        }
    }

    #[test]
    fn without_a_playback_state_permission_is_dropped_and_limits_refuse() {
        assert_eq!(choose(streaming(None, None), None, None), Ok(None));
        assert_eq!(
            choose(persistent(None, None, None), None, Some(2)),
            Ok(None)
        );
        for terms in [
            streaming(Some(1), None),
            streaming(None, Some(1)),
            persistent(Some(1), None, None),
            persistent(None, Some(1), None),
            persistent(None, None, Some(1)),
        ] {
            assert_eq!(
                choose(terms, None, Some(2)),
                Err(Error::DurationUnsupported),
                "{terms:?}"
            );
        }
    }

    #[test]
    fn stored_keys_take_the_form_that_the_device_has() {
        for none in [None, Some(0), Some(1)] {
            assert_eq!(
                choose(persistent(None, None, None), FIRST, none),
                key(0, 0, key_type::PERSISTENCE)
            );
            assert_eq!(
                choose(persistent(Some(5), None, None), FIRST, none),
                key(0, 5, key_type::PERSISTENCE_LIMITED)
            );
        }
        for (capabilities, title) in [(2, None), (8, Some(TITLE)), (10, Some(TITLE))] {
            assert_eq!(
                choose(persistent(None, None, None), FIRST, Some(capabilities)),
                offline(0, 0, title)
            );
            assert_eq!(
                choose(persistent(Some(5), None, None), FIRST, Some(capabilities)),
                offline(5, 0, title)
            );
            assert_eq!(
                choose(
                    persistent(Some(5), Some(6), None),
                    FIRST,
                    Some(capabilities)
                ),
                offline(5, 6, title)
            );
        }
    }

    #[test]
    fn a_playback_duration_needs_the_offline_key() {
        let terms = persistent(None, Some(6), None);
        assert_eq!(choose(terms, FIRST, None), offline(0, 6, None));
        for without in [0, 1, 4] {
            assert_eq!(
                choose(terms, FIRST, Some(without)),
                Err(Error::OfflineKeyUnsupported)
            );
        }
    }

    #[test]
    fn an_absolute_end_bounds_stored_keys_in_every_form() {
        for capabilities in [None, Some(0), Some(8)] {
            let limited = |seconds| key(0, seconds, key_type::PERSISTENCE_LIMITED);
            assert_eq!(
                choose(persistent(None, None, Some(9)), FIRST, capabilities),
                limited(9)
            );
            assert_eq!(
                choose(persistent(Some(5), None, Some(9)), FIRST, capabilities),
                limited(5)
            );
        }
        assert_eq!(
            choose(persistent(None, Some(4), Some(9)), FIRST, Some(2)),
            offline(9, 4, None)
        );
    }

    #[test]
    fn values_have_the_published_layout() {
        let (tag, value) = Duration::Key {
            lease: 120,
            rental: 0,
            key_type: key_type::LEASE,
        }
        .tllv();
        assert_eq!(
            (tag, hex::encode(value)),
            (
                Tag::KEY_DURATION,
                "00000078000000001a4bde7e86d34a3a".to_owned()
            )
        );
        let v1 = Duration::Offline {
            stream: STREAM,
            storage: 3,
            playback: 4,
            title: None,
        }
        .tllv();
        assert_eq!(
            (v1.0, hex::encode(v1.1)),
            (
                Tag::OFFLINE_KEY,
                format!("0000000100000000{}0000000300000004", "01".repeat(16))
            )
        );
        let v2 = Duration::Offline {
            stream: STREAM,
            storage: 3,
            playback: 4,
            title: Some(TITLE),
        }
        .tllv();
        assert_eq!(
            hex::encode(v2.1),
            format!(
                "0000000200000000{}0000000300000004{}",
                "01".repeat(16),
                "02".repeat(16)
            )
        );
    }
}
