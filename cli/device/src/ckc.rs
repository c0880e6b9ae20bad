//! Opens CKCs: the client's side of specification section 8.

use anyhow::{Context, Result, bail, ensure};
use keylet::fairplay::output_protection;
use keylet::fairplay::tag::Tag;
use serde::Serialize;
use sha1::{Digest, Sha1};

use super::duration::Duration;
use super::{Secrets, crypto, tllv};

/// The generic session key, in the TLLV that says which one wraps the content key (specification section 8.5).
/// That of the "video" session key comes in containers of version 2 only.
const GENERIC_SESSION_KEY: u64 = 0x182b_0bb9_f373_83d1;

/// The bit of the capabilities for the offline key of version 2 (section 11).
const OFFLINE_KEY_2: u64 = 1 << 3;

/// The one value of the TLLV that published CKCs have, and that nothing explains (section 8.6).
const ENCRYPTION_MODE: [u8; 8] = 1_u64.to_be_bytes();

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

impl Licence {
    /// Opens a CKC with the secrets of its SPC.
    ///
    /// ```text
    /// [ 4] version 1
    /// [ 4] reserved: anything. Apple's server writes its version there
    /// [16] IV
    /// [ 4] payload length N
    /// [ N] TLLVs, encrypted
    /// ```
    ///
    /// # Errors
    /// What the specification calls wrong: another version, a wrong length, a block that is not whole 16 bytes, a
    /// tag twice, R1 or a returned tag that differs, a tag that nothing asked for, a value of the wrong size or with
    /// a wrong reserved word, both kinds of duration, and a duration that the device is not prepared for.
    pub fn open(ckc: &[u8], secrets: &Secrets) -> Result<Self> {
        let blocks = decrypt(ckc, secrets)?;
        let value = |tag| {
            let found = blocks.iter().find(|(known, _)| *known == tag);
            found.map(|(_, value)| value.as_slice())
        };
        ensure!(
            value(Tag::R1) == Some(secrets.r1.as_slice()),
            "R1 is missing or not that of the SPC"
        );
        let returned = secrets.returned.iter().map(|returned| {
            let tag = u64::from_str_radix(&returned.tag, 16);
            tag.map(|tag| (Tag(tag), returned.value.as_slice()))
        });
        let returned: Vec<(Tag, &[u8])> = returned.collect::<Result<_, _>>()?;
        for (tag, expected) in &returned {
            match value(*tag) {
                None => bail!("{tag:?} is missing, which the SPC asks to return"),
                Some(value) => ensure!(value == *expected, "{tag:?} was not returned unchanged"),
            }
        }
        for (tag, _) in &blocks {
            ensure!(
                Tag::CKC.contains(tag) || returned.iter().any(|(known, _)| known == tag),
                "{tag:?} was not asked for, and is none that a server adds"
            );
        }
        let content_key: &[u8; 32] = value(Tag::CONTENT_KEY)
            .context("the content key is missing")?
            .try_into()
            .context("the content key's TLLV does not have 32 bytes")?;
        let (iv, wrapped) = content_key.split_at(16);
        if let Some(value) = value(Tag::SESSION_KEY_VERSION_USED) {
            let used = versioned("session key version used", value)?;
            ensure!(
                used == GENERIC_SESSION_KEY,
                "the session key version used is {used:016x}, not the generic one"
            );
        }
        if let Some(value) = value(Tag::ENCRYPTION_MODE) {
            ensure!(
                value == ENCRYPTION_MODE,
                "the encryption mode is {}, not 1",
                hex::encode(value)
            );
        }
        Ok(Self {
            key: unwrap(wrapped.try_into()?, &secrets.session_key)?.to_vec(),
            iv: iv.to_vec(),
            duration: duration(value(Tag::KEY_DURATION), value(Tag::OFFLINE_KEY), secrets)?,
            hdcp: value(Tag::HDCP).map(hdcp).transpose()?,
            security_level: value(Tag::SECURITY_LEVEL).map(security_level).transpose()?,
            tags: blocks.iter().map(|(tag, _)| format!("{tag:?}")).collect(),
        })
    }
}

/// The TLLVs of a CKC, in order.
fn decrypt(ckc: &[u8], secrets: &Secrets) -> Result<Vec<(Tag, Vec<u8>)>> {
    let (header, payload) = ckc
        .split_first_chunk::<28>()
        .context("the CKC is shorter than its header")?;
    let version = u32::from_be_bytes(header[..4].try_into()?);
    ensure!(version == 1, "the CKC has version {version}, not 1");
    let iv: [u8; 16] = header[8..24].try_into()?;
    let length = u32::from_be_bytes(header[24..].try_into()?);
    ensure!(
        usize::try_from(length)? == payload.len(),
        "the CKC says that {length} bytes follow, and {} do",
        payload.len()
    );
    let digest = Sha1::digest(&secrets.r1);
    let seed: [u8; 16] = secrets.anti_replay_seed.as_slice().try_into()?;
    let key = crypto::ecb_encrypt(digest[..16].try_into()?, &seed);
    let mut payload = payload.to_vec();
    ensure!(
        crypto::cbc_decrypt(&key, &iv, &mut payload),
        "the CKC's payload has {length} bytes, which is no multiple of 16"
    );
    tllv::read(&payload).context("the CKC does not decrypt to TLLVs")
}

fn duration(
    key_duration: Option<&[u8]>,
    offline_key: Option<&[u8]>,
    secrets: &Secrets,
) -> Result<Option<Duration>> {
    let duration = match (key_duration, offline_key) {
        (None, None) => return Ok(None),
        (Some(value), None) => Duration::from_key_duration(value)?,
        (None, Some(value)) => Duration::from_offline_key(value)?,
        (Some(_), Some(_)) => bail!("key duration and offline key exclude each other"),
    };
    if let Some(announced) = secrets.announced {
        ensure!(
            announced.playback_state,
            "a duration came, and the SPC has no media playback state, so the device is not prepared for one"
        );
        let is_version_2 = matches!(duration, Duration::OfflineKey { version: 2, .. });
        ensure!(
            !is_version_2 || announced.capabilities & OFFLINE_KEY_2 != 0,
            "an offline key of version 2 came, and the SPC does not have the capability for it (bit 3)"
        );
    }
    Ok(Some(duration))
}

/// The requirement, and 8 bytes of anything.
fn hdcp(value: &[u8]) -> Result<&'static str> {
    let (requirement, _filler) = halves(value)
        .with_context(|| format!("the HDCP requirement has {} bytes, not 16", value.len()))?;
    Ok(match requirement {
        output_protection::NOT_REQUIRED => "none",
        output_protection::TYPE_0 => "type0",
        output_protection::TYPE_1 => "type1",
        other => bail!("the HDCP requirement {other:016x} is unknown"),
    })
}

fn security_level(value: &[u8]) -> Result<&'static str> {
    Ok(match versioned("security level", value)? {
        output_protection::AUDIO => "audio",
        output_protection::BASELINE => "baseline",
        output_protection::MAIN => "main",
        other => bail!("the security level {other:016x} is unknown"),
    })
}

/// The value of a TLLV that begins with version 1 and a reserved word.
///
/// ```text
/// [4] version 1 | [4] zero | [8] value
/// ```
fn versioned(name: &str, value: &[u8]) -> Result<u64> {
    let (head, value) =
        halves(value).with_context(|| format!("the {name} has {} bytes, not 16", value.len()))?;
    ensure!(
        head == 1 << 32,
        "the {name} begins with {head:016x}, not with version 1 and a reserved word of zero"
    );
    Ok(value)
}

fn halves(value: &[u8]) -> Option<(u64, u64)> {
    let (high, low) = value.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*high),
        u64::from_be_bytes(low.try_into().ok()?),
    ))
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
