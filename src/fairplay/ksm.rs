//! The Key Security Module: the eight steps of specification section 1, in order.

use std::borrow::Cow;

use rand_core::CryptoRng;

use crate::content_key::{ContentKey, KeyRecord};
use crate::drm;
use crate::entitlement::Granted;
use crate::fairplay::ckc;
use crate::fairplay::credentials::Credentials;
use crate::fairplay::duration::Duration;
use crate::fairplay::enforce;
use crate::fairplay::error::Error;
use crate::fairplay::output_protection;
use crate::fairplay::spc::{OpenedSpc, SpcContainer, VerifiedSpc};
use crate::fairplay::tag::Tag;
use crate::platform::{Platform, Random};

/// Steps 1 to 5: from the message to an SPC whose integrity is confirmed.
///
/// 1. Parse the container; choose the private key by certificate hash.
/// 2. Decrypt the SPC key and, with it, the payload.
/// 3. Walk the TLLVs, read every known tag, resolve the return request.
/// 4. Check the protocol version used.
/// 5. Derive the DASk, decrypt \[SK..R1\], compare integrity.
///
/// # Errors
/// Which step failed, and where; that FairPlay is off; what is wrong with the credential.
pub async fn open<'c>(
    message: &[u8],
    credentials: &'c Credentials,
    platform: &impl Platform,
) -> Result<VerifiedSpc<'c>, drm::Error> {
    let opened = open_container(message, credentials, platform).await?;
    Ok(opened.verify()?)
}

/// Steps 1 to 3.
///
/// # Errors
/// As [`open`].
pub async fn open_container<'c>(
    message: &[u8],
    credentials: &'c Credentials,
    platform: &impl Platform,
) -> Result<OpenedSpc<'c>, drm::Error> {
    let container = SpcContainer::parse(message)?;
    let found = credentials.find(container.certificate_hash, platform);
    let (credential, private_key) = found.await?;
    Ok(container.open(credential, private_key, &mut Random(platform))?)
}

/// A CKC, and the duration that it carries.
pub struct Answer {
    /// The Content Key Context.
    pub ckc: Vec<u8>,
    /// How long its key is good.
    pub duration: Option<Duration>,
}

/// Step 6: whether the device takes the key and keeps the terms.
///
/// # Errors
/// [`Error`] says what it does not take or keep.
pub fn enforce(
    spc: &VerifiedSpc<'_>,
    record: &KeyRecord,
    granted: &Granted,
    device_id: Option<&str>,
) -> Result<(), Error> {
    let Granted {
        use_,
        has_durations: _,
        remaining: _,
        limits,
    } = granted;
    let client = &spc.opened.client;
    let takes_keys = |formats: &Vec<u64>| formats.contains(&Tag::CONTENT_KEY.0);
    if !client.key_formats.as_ref().is_none_or(takes_keys) {
        return Err(Error::KeyFormat);
    }
    enforce::device(limits, client, device_id)?;
    Duration::choose(use_, client, record)?;
    enforce::protection(limits, client)
}

/// Steps 7 and 8: from a verified SPC, a key and terms that [`enforce`] has passed to a CKC.
///
/// 7. Build the TLLVs: wrapped key, R1, returned tags, then the terms.
/// 8. Derive the CKC key, encrypt with a fresh IV, write the container.
///
/// The TLLVs of the "video" session key are ignored: the generic one is used, with version 1, and each CKC says so, as
/// those of Apple's server SDK 26 do.
///
/// # Errors
/// [`Error`] when the key has no IV, or the device cannot keep a duration.
pub fn respond(
    spc: &VerifiedSpc<'_>,
    key: &ContentKey,
    granted: &Granted,
    rng: &mut dyn CryptoRng,
) -> Result<Answer, Error> {
    let limits = &granted.limits;
    let client = &spc.opened.client;
    let duration = Duration::choose(&granted.use_, client, key)?;
    let iv = key.iv.as_ref().ok_or(Error::IvMissing)?;

    let wrapped = ckc::content_key(&key.key, iv, &spc.session_key.sk);
    let mut tllvs: Vec<(Tag, Cow<'_, [u8]>)> = vec![
        (Tag::CONTENT_KEY, Cow::Borrowed(&wrapped)),
        (Tag::R1, Cow::Borrowed(spc.session_key.r1.expose())),
    ];
    tllvs.extend(
        spc.returned()
            .map(|tllv| (tllv.tag, Cow::Borrowed(tllv.value))),
    );
    tllvs.push((
        Tag::SESSION_KEY_VERSION_USED,
        Cow::Borrowed(&ckc::GENERIC_SESSION_KEY),
    ));
    if let Some(duration) = &duration {
        let (tag, value) = duration.tllv();
        tllvs.push((tag, Cow::Owned(value)));
    }
    if let Some(level) = limits.security_level() {
        let value = output_protection::security_level(level);
        tllvs.push((Tag::SECURITY_LEVEL, Cow::Owned(value.to_vec())));
    }
    if let Some(required) = limits.hdcp {
        let value = output_protection::hdcp(required, rng);
        tllvs.push((Tag::HDCP, Cow::Owned(value.to_vec())));
    }

    let key =
        ckc::anti_replay_key(&spc.session_key.r1, &spc.anti_replay_seed).ok_or(Error::Integrity)?;
    let ckc = ckc::seal(tllvs, &key, rng)?;
    Ok(Answer { ckc, duration })
}
