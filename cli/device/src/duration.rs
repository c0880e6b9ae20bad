//! The two duration TLLVs of a CKC, as a device reads them (specification section 9).

use anyhow::{Context, Result, bail, ensure};
use keylet::fairplay::duration::key_type;
use serde::Serialize;

/// The last word of a key duration. Older servers of Apple send zero.
const RESERVED: [u32; 2] = [0x86d3_4a3a, 0];

/// The duration TLLV of a CKC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Duration {
    /// Key duration, lease.
    Lease {
        /// Seconds.
        lease_seconds: u32,
    },
    /// Key duration, rental.
    Rental {
        /// Seconds.
        rental_seconds: u32,
    },
    /// Key duration, both.
    LeaseAndRental {
        /// Seconds.
        lease_seconds: u32,
        /// Seconds.
        rental_seconds: u32,
    },
    /// Key duration, stored without limit.
    Persistence,
    /// Key duration, stored for a while.
    PersistenceLimited {
        /// Seconds.
        seconds: u32,
    },
    /// Offline key. Zero seconds mean no limit.
    OfflineKey {
        /// 1 or 2.
        version: u32,
        /// Content or stream id, in hexadecimal.
        stream: String,
        /// Seconds from download to first play.
        storage_seconds: u32,
        /// Seconds from first play on.
        playback_seconds: u32,
        /// Title id of version 2, in hexadecimal.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
}

impl Duration {
    /// When playback of a stream stops, in seconds; `None` without a lease.
    pub fn lease_seconds(&self) -> Option<u32> {
        match self {
            Self::Lease { lease_seconds } | Self::LeaseAndRental { lease_seconds, .. } => {
                Some(*lease_seconds)
            }
            Self::Rental { .. }
            | Self::Persistence
            | Self::PersistenceLimited { .. }
            | Self::OfflineKey { .. } => None,
        }
    }

    /// Reads a key duration.
    ///
    /// ```text
    /// [4] lease, seconds | [4] rental, seconds | [4] type | [4] 86d34a3a, or zero
    /// ```
    ///
    /// # Errors
    /// Another length, type or last word.
    pub(super) fn from_key_duration(value: &[u8]) -> Result<Self> {
        let words = words(value);
        let (&[lease_seconds, rental_seconds, key_type, reserved], 16) =
            (words.as_slice(), value.len())
        else {
            bail!("the key duration has {} bytes, not 16", value.len());
        };
        ensure!(
            RESERVED.contains(&reserved),
            "the last word of the key duration is {reserved:08x}, not 86d34a3a"
        );
        Ok(match key_type {
            key_type::LEASE => Self::Lease { lease_seconds },
            key_type::RENTAL => Self::Rental { rental_seconds },
            key_type::LEASE_AND_RENTAL => Self::LeaseAndRental {
                lease_seconds,
                rental_seconds,
            },
            key_type::PERSISTENCE => Self::Persistence,
            key_type::PERSISTENCE_LIMITED => Self::PersistenceLimited {
                seconds: rental_seconds,
            },
            other => bail!("the key duration has the unknown type {other:08x}"),
        })
    }

    /// Reads an offline key.
    ///
    /// ```text
    /// [4] version, 1 or 2 | [4] zero | [16] content or stream id
    /// [4] storage, seconds | [4] playback, seconds | version 2: [16] title id
    /// ```
    ///
    /// # Errors
    /// Another version, a length that is not the version's, and a reserved word that is not zero.
    pub(super) fn from_offline_key(value: &[u8]) -> Result<Self> {
        let words = words(value);
        let &[
            version,
            reserved,
            _,
            _,
            _,
            _,
            storage_seconds,
            playback_seconds,
            ref title @ ..,
        ] = words.as_slice()
        else {
            bail!("the offline key has {} bytes, not 32 or 48", value.len());
        };
        let title = match (version, value.len(), title) {
            (1, 32, []) => None,
            (2, 48, title) => Some(title.iter().map(|word| format!("{word:08x}")).collect()),
            (version @ (1 | 2), length, _) => {
                bail!("the offline key of version {version} has {length} bytes")
            }
            (other, ..) => bail!("the offline key has the unknown version {other}"),
        };
        ensure!(
            reserved == 0,
            "the reserved word of the offline key is {reserved:08x}, not zero"
        );
        Ok(Self::OfflineKey {
            version,
            stream: hex::encode(value.get(8..24).context("stream id")?),
            storage_seconds,
            playback_seconds,
            title,
        })
    }
}

fn words(value: &[u8]) -> Vec<u32> {
    value
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_be_bytes(*word))
        .collect()
}
