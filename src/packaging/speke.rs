//! SPEKE: a document with empty places in, the same with keys out.

use std::rc::Rc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::keys::{KeyOfKid, is_of};
use super::{Audit, Caller, Error, PackagingServer};
use crate::configuration::SettingsError;
use crate::content_key::store::{Catalogue, EncryptionKeys};
use crate::content_key::{ContentKey, KeyError};
use crate::cpix::ProtectionSystem;
use crate::cpix::speke::{Recipient, Refusal, Request, RequestedKey, Version};
use crate::drm_system::DrmSystem;
use crate::fairplay::rules::Rules;
use crate::id::Id;
use crate::platform::{Platform, Random};
use crate::policy::Policies;
use crate::public_url::PublicUrl;
use crate::token::POLICIES;

/// What the audit calls this interface.
pub const SPEKE: &str = "speke";

/// A reply.
pub struct SpekeReply {
    /// The version of the request.
    pub version: Version,
    /// The document.
    pub document: Zeroizing<String>,
}

/// A key that is handed out, and whether a record is to be written for it.
struct Decided {
    key: Rc<ContentKey>,
    /// The IV that licences carry.
    iv: Option<[u8; 16]>,
    is_new: bool,
}

impl<P: Platform> PackagingServer<'_, P> {
    /// Answers a request of SPEKE. `version` is its header.
    ///
    /// # Errors
    /// [`Error`]; the text of [`Error::Refused`] is what the encoder's operator reads.
    pub async fn speke(
        &self,
        caller: Caller<'_>,
        version: Option<&str>,
        body: &[u8],
    ) -> Result<SpekeReply, Error> {
        let mut audit = self.audit_of(SPEKE);
        audit.asked_by(caller);
        let reply = async {
            let version = Version::from_header(version)?;
            let request = Request::read(body, version)?;
            let document = self.fill(caller, &request, &mut audit).await?;
            Ok(SpekeReply { version, document })
        };
        let reply = reply.await;
        self.audited(audit, reply)
    }

    /// The reply to a document that was read.
    pub(super) async fn fill(
        &self,
        caller: Caller<'_>,
        request: &Request,
        audit: &mut Audit<'_>,
    ) -> Result<Zeroizing<String>, Error> {
        let content = Id::from_text(request.content_id()).ok_or(Refusal::ContentId)?;
        audit.asked_for(&content);
        caller.require(&content)?;
        check_certificates(caller, request)?;
        let mut decided = Vec::with_capacity(request.keys().len());
        for asked in request.keys() {
            decided.push(self.decide(caller, &content, asked).await?);
        }
        let written = self.record(request, &decided).await?;
        let key_urls = self.key_urls().await?;
        let filled = request.keys().iter().zip(&decided);
        let filled = filled.map(|(asked, Decided { key, iv, .. })| {
            key_urls.filled(request.content_id(), asked.kid, key, *iv)
        });
        let filled: Vec<_> = filled.collect();
        let urls = key_urls.of_licences();
        let document = request.answer(&filled, urls, &mut Random(self.platform))?;
        audit.stored(written);
        audit.answered(request.keys().iter().map(|asked| asked.kid));
        Ok(document)
    }

    /// Which key a KID has, and whether this request may have it.
    async fn decide(
        &self,
        caller: Caller<'_>,
        content: &Id,
        asked: &RequestedKey,
    ) -> Result<Decided, Error> {
        let other = |reason: String| Err(Refusal::Other(reason).into());
        let kid = asked.kid;
        let is_clear = asked.is_clear();
        if asked.systems.iter().any(|system| system.is_aes128())
            && is_clear
            && PublicUrl::load(self.platform).await?.is_none()
        {
            return other("AES-128 needs the URL of the key: this server has no public_url".into());
        }
        let (key, is_derived) = match self.key_of_kid(kid).await? {
            KeyOfKid::Recorded(key) => (key, false),
            KeyOfKid::Derived(key) => (key, true),
        };
        let knows_content = key.content.is_some();
        if caller.is_limited() && (knows_content || !is_derived) && !is_of(&key, content) {
            return Err(Error::Content);
        }
        // What the record or the KID says of the track counts at the licence.
        if asked.names_tracks() && key.track.is_some() && asked.track() != key.track {
            return Err(Refusal::Contract.into());
        }
        if asked.mixes_tracks() && self.rules_name_tracks().await? {
            return Err(Refusal::Contract.into());
        }
        let has_other_iv = asked.iv.is_some() && asked.iv != key.iv;
        let is_for_fairplay = asked.systems.contains(&ProtectionSystem::FairPlay);
        if !is_derived {
            let is_allowed = |system: &ProtectionSystem| {
                system.drm_system().is_none_or(|system| key.is_for(system))
            };
            // SPEKE 1.0 may name AES-128 beside other systems, and is told nothing for it.
            let mut told = asked
                .systems
                .iter()
                .filter(|system| is_clear || !system.is_clear());
            if let Some(system) = told.find(|system| !is_allowed(system)) {
                let system = system.name();
                return other(format!(
                    "the record of KID {kid} does not name {system} in `systems`"
                ));
            }
            if has_other_iv && is_for_fairplay {
                return other(format!(
                    "explicitIV of KID {kid} is not the IV of its record, which FairPlay licences carry"
                ));
            }
            let iv = key.iv;
            return Ok(Decided {
                key,
                iv,
                is_new: false,
            });
        }
        // A KID that the seed made says all that a record would.
        let says_enough = knows_content && !has_other_iv && !is_clear;
        let has_store = self.encryption_keys().await?.is_some();
        if !says_enough && !has_store {
            if caller.is_limited() && !knows_content {
                return other(format!(
                    "KID {kid} is of the encoder's choice. This packager may ask for certain content only, and without key_encryption_keys nothing says which content a KID belongs to"
                ));
            }
            if has_other_iv && is_for_fairplay {
                return other(format!(
                    "explicitIV of KID {kid} is not the IV that FairPlay licences carry. Leave it out, or set key_encryption_keys so that it can be stored"
                ));
            }
            if is_clear {
                return other(format!(
                    "AES-128 and Clear Key hand out the key itself, which a record of KID {kid} must allow: set key_encryption_keys"
                ));
            }
            if !knows_content && asked.track().is_some() && self.rules_name_tracks().await? {
                return Err(Refusal::Contract.into());
            }
        }
        Ok(Decided {
            iv: asked.iv.filter(|_| has_store && !says_enough).or(key.iv),
            key,
            is_new: has_store && !says_enough,
        })
    }

    /// Writes a record for each key that has none and needs one: its KID was chosen by the encoder, so nothing else says
    /// which content and track it is for.
    async fn record(&self, request: &Request, decided: &[Decided]) -> Result<usize, Error> {
        let mut written = 0;
        let new = request.keys().iter().zip(decided);
        for (asked, Decided { key, iv, .. }) in new.filter(|(_, decided)| decided.is_new) {
            let Some(keys) = self.encryption_keys().await? else {
                continue;
            };
            let kid = asked.kid.to_string();
            let mut record = crate::encoding::members([
                ("id", kid.as_str().into()),
                ("kid", kid.as_str().into()),
                ("content_id", request.content_id().into()),
                ("key", hex::encode(key.key.expose()).into()),
            ]);
            if let Some(iv) = iv {
                record.insert("iv".to_owned(), hex::encode(iv).into());
            }
            if let Some(track) = asked.track() {
                record.insert("track".to_owned(), track.name().into());
            }
            // A key that is handed out in the clear is for nothing else.
            if asked.is_clear() {
                let systems = asked
                    .systems
                    .iter()
                    .filter_map(|system| system.drm_system());
                let names: Vec<&str> = systems.map(DrmSystem::name).collect();
                record.insert("systems".to_owned(), names.into());
            }
            let put = Catalogue::new(keys, self.platform).put(record, false).await;
            put.map_err(KeyError::from)?.map_err(Error::Put)?;
            written += 1;
        }
        if written > 0
            && let Some(stored) = self.sources.stored()
        {
            stored.forget();
        }
        Ok(written)
    }

    async fn encryption_keys(&self) -> Result<Option<&EncryptionKeys>, Error> {
        match self.sources.stored() {
            Some(stored) => Ok(stored.encryption_keys(self.platform).await?),
            None => Ok(None),
        }
    }

    /// Whether rules of the deployment look at tracks, so that a key without one would escape them.
    async fn rules_name_tracks(&self) -> Result<bool, Error> {
        let rules = Rules::load(self.platform).await?;
        if rules.terms.name_tracks() {
            return Ok(true);
        }
        // Without policies, there are no terms but those of tokens.
        match self
            .platform
            .variable(POLICIES)
            .await
            .map_err(SettingsError::from)?
        {
            Some(_) => Ok(Policies::load(self.platform).await?.name_tracks()),
            None => Ok(false),
        }
    }
}

/// Where a packager has its keys encrypted alone, each recipient must be one that is configured.
fn check_certificates(caller: Caller<'_>, request: &Request) -> Result<(), Error> {
    let Some(allowed) = caller.certificates() else {
        return Ok(());
    };
    let recipients = request.recipients()?;
    let is_allowed =
        |recipient: &Recipient| allowed.contains(&Sha256::digest(&recipient.certificate).into());
    match recipients.is_empty() || !recipients.iter().all(is_allowed) {
        true => Err(Error::Certificate),
        false => Ok(()),
    }
}
