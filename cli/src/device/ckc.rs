//! Opens CKCs: the client's side of specification section 8.

use anyhow::{Context, Result, bail, ensure};
use keylet::fairplay::duration::key_type;
use keylet::fairplay::output_protection;
use keylet::fairplay::tag::Tag;
use serde::Serialize;
use sha1::{Digest, Sha1};

use super::{Secrets, crypto, tllv};

/// What a CKC holds, checked against the SPC that it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Licence {
    /// Content key.
    #[serde(with = "hex")]
    pub key: Vec<u8>,
    /// Its IV.
    #[serde(with = "hex")]
    pub iv: Vec<u8>,
    /// The terms of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// `none`, `type0` or `type1`; absent means type 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hdcp: Option<&'static str>,
    /// `audio`, `baseline` or `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_level: Option<&'static str>,
    /// Every tag, in the order of the CKC.
    pub tags: Vec<String>,
}

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

impl Licence {
    /// Opens a CKC with the secrets of its SPC.
    ///
    /// # Errors
    /// What a device would refuse: another version, a wrong length, a tag twice, R1 or a returned
    /// tag that differs, both kinds of duration, a value of the wrong size.
    pub fn open(ckc: &[u8], secrets: &Secrets) -> Result<Self> {
        let (header, payload) = ckc
            .split_first_chunk::<28>()
            .context("the CKC is shorter than its header")?;
        ensure!(
            header[..8] == [0, 0, 0, 1, 0, 0, 0, 0],
            "the CKC version is not 1"
        );
        let iv: [u8; 16] = header[8..24].try_into()?;
        let length = u32::from_be_bytes(header[24..].try_into()?);
        ensure!(
            usize::try_from(length)? == payload.len(),
            "the CKC length does not fit"
        );
        let digest = Sha1::digest(&secrets.r1);
        let seed: [u8; 16] = secrets.anti_replay_seed.as_slice().try_into()?;
        let key = crypto::ecb_encrypt(digest[..16].try_into()?, &seed);
        let mut payload = payload.to_vec();
        ensure!(
            crypto::cbc_decrypt(&key, &iv, &mut payload),
            "the CKC payload is not whole blocks"
        );
        let tllvs = tllv::read(&payload).context("the CKC does not decrypt to TLLVs")?;
        let value = |tag| {
            let found = tllvs.iter().find(|(known, _)| *known == tag);
            found.map(|(_, value)| value.as_slice())
        };

        ensure!(value(Tag::R1) == Some(secrets.r1.as_slice()), "R1 differs");
        for returned in &secrets.returned {
            let tag = Tag(u64::from_str_radix(&returned.tag, 16)?);
            ensure!(
                value(tag) == Some(returned.value.as_slice()),
                "the returned tag {tag:?} differs or is missing"
            );
        }
        let content_key: &[u8; 32] = value(Tag::CONTENT_KEY)
            .context("there is no content key")?
            .try_into()
            .context("content key size")?;
        let (iv, wrapped) = content_key.split_at(16);
        let duration = match (value(Tag::KEY_DURATION), value(Tag::OFFLINE_KEY)) {
            (None, None) => None,
            (Some(value), None) => Some(Duration::from_key_duration(value)?),
            (None, Some(value)) => Some(Duration::from_offline_key(value)?),
            (Some(_), Some(_)) => bail!("key duration and offline key exclude each other"),
        };
        let hdcp = match value(Tag::HDCP) {
            None => None,
            Some(value) => Some(
                match u64::from_be_bytes(*value.first_chunk().context("HDCP size")?) {
                    output_protection::NOT_REQUIRED => "none",
                    output_protection::TYPE_0 => "type0",
                    output_protection::TYPE_1 => "type1",
                    other => bail!("unknown HDCP requirement {other:016x}"),
                },
            ),
        };
        let security_level = match value(Tag::SECURITY_LEVEL) {
            None => None,
            Some(value) => {
                let (version, level) = value.split_first_chunk().context("security level size")?;
                ensure!(
                    *version == [0, 0, 0, 1, 0, 0, 0, 0],
                    "security level version"
                );
                Some(match u64::from_be_bytes(level.try_into()?) {
                    output_protection::AUDIO => "audio",
                    output_protection::BASELINE => "baseline",
                    output_protection::MAIN => "main",
                    other => bail!("unknown security level {other:016x}"),
                })
            }
        };
        Ok(Self {
            key: unwrap(wrapped.try_into()?, &secrets.session_key)?.to_vec(),
            iv: iv.to_vec(),
            duration,
            hdcp,
            security_level,
            tags: tllvs.iter().map(|(tag, _)| format!("{tag:?}")).collect(),
        })
    }
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

    fn from_key_duration(value: &[u8]) -> Result<Self> {
        let words = words(value);
        let [lease_seconds, rental_seconds, key_type, _reserved] = words[..] else {
            bail!("the key duration has {} bytes", value.len());
        };
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
            other => bail!("unknown key type {other:08x}"),
        })
    }

    fn from_offline_key(value: &[u8]) -> Result<Self> {
        let words = words(value);
        let version = words.first().copied().unwrap_or_default();
        let title = match (version, value.len()) {
            (1, 32) => None,
            (2, 48) => Some(hex::encode(&value[32..])),
            other => bail!("offline key of version and size {other:?}"),
        };
        Ok(Self::OfflineKey {
            version,
            stream: hex::encode(&value[8..24]),
            storage_seconds: words[6],
            playback_seconds: words[7],
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

/// One block under SK: CBC with an IV of zeros is ECB.
fn unwrap(wrapped: [u8; 16], session_key: &[u8]) -> Result<[u8; 16]> {
    let mut block = wrapped;
    ensure!(
        crypto::cbc_decrypt(session_key.try_into()?, &[0; 16], &mut block),
        "the wrapped key is not one block"
    );
    Ok(block)
}
