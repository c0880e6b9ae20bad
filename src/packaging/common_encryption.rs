//! Widevine's key request ("common encryption"), as shaka-packager and its kin send it
//! (`widevine_common_encryption.proto` of shaka-packager): JSON in base64 in JSON, and a signature over the decoded bytes.
//!
//! ```json
//! {"request": "<base64 of the message>", "signature": "<base64>", "signer": "studio"}
//! ```
//!
//! What is wrong with a request is a status in the reply, since the packager prints it. It asks again after
//! `INTERNAL_ERROR`, and then does not read the second reply, so there is none of these.

use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::audit::Audit;
use super::keys::PackagingKey;
use super::{Caller, Error, PackagingServer};
use crate::cpix::{
    ProtectionSystem, Scheme, WidevineData, intended_track_type, track_from_type, widevine_kids,
};
use crate::encoding::{self, BASE64};
use crate::error::Code;
use crate::id::Id;
use crate::platform::Platform;

/// What the audit calls this interface.
const COMMON_ENCRYPTION: &str = "widevine";

/// How many keys a reply has at most.
const MOST_KEYS: usize = 512;

/// The status of a reply: those of the protocol that occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// There are keys.
    Ok,
    /// The signature does not verify, or there is none.
    SignatureFailed,
    /// The signer may not ask for this content.
    AccessDenied,
    /// The request is not of the shape.
    MalformedRequest,
    /// There is no content id.
    ContentIdMissing,
    /// There is a policy: its terms are not here.
    PolicyUnknown,
    /// There is no track.
    TrackTypeMissing,
    /// A track is of no kind that is known.
    TrackTypeUnknown,
    /// Content id and PSSH data at once.
    TooManyContentSpecifiers,
    /// The PSSH data cannot be read.
    InvalidWidevinePssh,
    /// There is no key.
    AssetMissingKey,
    /// A period was asked for, and none of them.
    NoRequestedCryptoPeriods,
    /// Keys that change are for Widevine alone.
    KeyRotationWithUnsupportedDrmType,
}

/// The outer JSON of a request.
#[derive(Deserialize)]
struct Signed {
    request: String,
    signature: Option<String>,
    signer: Option<String>,
}

/// A message.
#[derive(Deserialize)]
struct Message {
    content_id: Option<String>,
    #[serde(default)]
    policy: String,
    #[serde(default)]
    tracks: Vec<AskedTrack>,
    #[serde(default)]
    drm_types: Vec<String>,
    protection_scheme: Option<Name>,
    first_crypto_period_index: Option<u32>,
    crypto_period_count: Option<u32>,
    pssh_data: Option<String>,
    asset_id: Option<Value>,
}

#[derive(Deserialize)]
struct AskedTrack {
    #[serde(rename = "type")]
    kind: String,
}

/// A scheme by its name, or by its four bytes as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(u32),
}

impl Name {
    fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Text(text) => Scheme::from_any_case(text),
            Self::Number(number) => Scheme::ALL
                .into_iter()
                .find(|scheme| scheme.fourcc() == *number),
        }
    }
}

/// What is wrong with a request, for the packager's operator to read.
struct Refused(Status, String);

impl Refused {
    fn new(status: Status, reason: impl Into<String>) -> Self {
        Self(status, reason.into())
    }
}

/// Why there is no reply with keys.
enum Failure {
    /// A status of the protocol.
    Refused(Refused),
    /// The server's own trouble, which is an HTTP status.
    Error(Error),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Content | Error::Certificate => {
                Refused::new(Status::AccessDenied, error.to_string()).into()
            }
            Error::NoKey(_) | Error::Deleted(_) | Error::Request(_) => {
                Refused::new(Status::AssetMissingKey, error.to_string()).into()
            }
            _ => Self::Error(error),
        }
    }
}

/// Keys for a reply: the type of the track, the period where there is one, and the key.
type Keys = Vec<(String, Option<u32>, PackagingKey)>;

impl<P: Platform> PackagingServer<'_, P> {
    /// Answers a request. `secrets` are those that came beside it: a request without a signature needs one of them.
    ///
    /// # Errors
    /// The server's own trouble. What is wrong with the request is in the reply.
    pub async fn common_encryption(
        &self,
        secrets: &[String],
        signer: &str,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut audit = self.audit_of(COMMON_ENCRYPTION);
        let response = match self.decide_keys(secrets, signer, body, &mut audit).await {
            Ok((message, keys)) => {
                audit.answered(keys.iter().map(|(_, _, key)| key.kid));
                Ok(response(&message, &keys))
            }
            Err(Failure::Refused(Refused(status, reason))) => {
                audit.refused_with(Code::PACKAGING_REFUSED.name, &reason);
                Ok(refusal(status, &reason))
            }
            Err(Failure::Error(error)) => Err(error),
        };
        self.audited(audit, response)
    }

    async fn decide_keys(
        &self,
        secrets: &[String],
        path_signer: &str,
        body: &[u8],
        audit: &mut Audit<'_>,
    ) -> Result<(Message, Keys), Failure> {
        let malformed = |reason: &str| Refused::new(Status::MalformedRequest, reason);
        let caller = self.caller(secrets).await?;
        let signed: Signed = encoding::from_json(body).map_err(|error| {
            malformed(&format!(
                "the request is not of the documented shape: {error}"
            ))
        })?;
        let bytes = encoding::base64(&signed.request);
        let bytes = bytes.ok_or_else(|| malformed("`request` is not base64"))?;
        let caller = match caller {
            Some(caller) => caller,
            None => self.signer(&signed, path_signer, &bytes).await?,
        };
        audit.asked_by(caller);
        caller.require_plain()?;
        let message: Message = encoding::from_json(&bytes)
            .map_err(|error| malformed(&format!("`request` does not hold a request: {error}")))?;
        if message.asset_id.is_some() {
            return Err(malformed("`asset_id` is of Widevine Classic, which is not served").into());
        }
        if !message.policy.is_empty() {
            let reason = "`policy` is not empty: the terms of content are those of tokens, policies and key records";
            return Err(Refused::new(Status::PolicyUnknown, reason).into());
        }
        let keys = match (&message.pssh_data, &message.content_id) {
            (Some(_), Some(_)) => {
                let reason = "there are both `content_id` and `pssh_data`";
                return Err(Refused::new(Status::TooManyContentSpecifiers, reason).into());
            }
            (Some(pssh), None) => self.keys_of_pssh(caller, pssh).await?,
            (None, _) => self.keys_of_tracks(caller, &message, audit).await?,
        };
        Ok((message, keys))
    }

    /// The packager whose signature a request has.
    async fn signer(
        &self,
        signed: &Signed,
        path_signer: &str,
        message: &[u8],
    ) -> Result<Caller<'_>, Failure> {
        let failed = |reason: &str| Refused::new(Status::SignatureFailed, reason);
        let name = signed.signer.as_deref().unwrap_or(path_signer);
        let Some(signature) = &signed.signature else {
            let reason = "there is no signature: give the packager --signer with --aes_signing_key and --aes_signing_iv, or add ?token=… to the URL";
            return Err(failed(reason).into());
        };
        let packagers = self.packagers().await.map_err(Error::from)?;
        let packager = packagers.iter().find(|packager| packager.name == name);
        let signer = packager.and_then(|packager| Some((packager, packager.signer.as_ref()?)));
        let signature = encoding::base64(signature).unwrap_or_default();
        // One answer for a signer that there is not and a signature that is wrong.
        match signer {
            Some((packager, signer)) if signer.verify(message, &signature) => {
                Ok(Caller::Packager(packager))
            }
            _ => {
                let reason = "the signature is not that of a signer of this name";
                Err(failed(reason).into())
            }
        }
    }

    /// A key for each track that is asked for, in each period.
    async fn keys_of_tracks(
        &self,
        caller: Caller<'_>,
        message: &Message,
        audit: &mut Audit<'_>,
    ) -> Result<Keys, Failure> {
        let malformed = |reason: &str| Refused::new(Status::MalformedRequest, reason);
        let missing = || Refused::new(Status::ContentIdMissing, "there is no `content_id`");
        let content = message.content_id.as_deref().ok_or_else(missing)?;
        let content = encoding::base64(content);
        let content = content.ok_or_else(|| malformed("`content_id` is not base64"))?;
        if content.trim_ascii().is_empty() {
            return Err(missing().into());
        }
        let content = Id::from_bytes(&content);
        audit.asked_for(&content);
        caller.require(&content)?;
        if message.protection_scheme().is_none() {
            return Err(malformed("`protection_scheme` is not a scheme").into());
        }
        if message.tracks.is_empty() {
            let reason = "there is no track in `tracks`";
            return Err(Refused::new(Status::TrackTypeMissing, reason).into());
        }
        let periods: Vec<Option<u32>> = match message.first_crypto_period_index {
            None => vec![None],
            Some(first) => {
                let is_widevine = |name: &String| name.eq_ignore_ascii_case("WIDEVINE");
                if !message.drm_types.iter().all(is_widevine) {
                    let status = Status::KeyRotationWithUnsupportedDrmType;
                    let reason = "`drm_types` names another system than WIDEVINE";
                    return Err(Refused::new(status, reason).into());
                }
                let count = message.crypto_period_count.unwrap_or_default();
                if count == 0 {
                    let reason = "`crypto_period_count` is missing or 0";
                    return Err(Refused::new(Status::NoRequestedCryptoPeriods, reason).into());
                }
                audit.periods = Some([first, count]);
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                if count.saturating_mul(message.tracks.len()) > MOST_KEYS {
                    let reason = format!("it asks for more than {MOST_KEYS} keys");
                    return Err(malformed(&reason).into());
                }
                // The index of a period is a number of 32 bits, which rolls over.
                (first..=u32::MAX)
                    .chain(0..first)
                    .take(count)
                    .map(Some)
                    .collect()
            }
        };
        if message.tracks.len() > MOST_KEYS {
            return Err(malformed("it has too many tracks").into());
        }
        let mut keys = Keys::new();
        for period in periods {
            for AskedTrack { kind } in &message.tracks {
                let track = track_from_type(kind);
                if track.is_none() {
                    let reason = format!("the track type {kind:?} is not known");
                    return Err(Refused::new(Status::TrackTypeUnknown, reason).into());
                }
                let track = track.filter(|_| !caller.has_shared_key());
                // Two types may be of one kind of track, such as UHD1 and UHD2.
                let known = keys.iter().find(|(other, of, _)| {
                    *of == period && (caller.has_shared_key() || track_from_type(other) == track)
                });
                let key = match known {
                    Some((_, _, key)) => key.clone(),
                    None => self.key_of_content(&content, track, period).await?,
                };
                keys.push((kind.clone(), period, key));
            }
        }
        Ok(keys)
    }

    /// The keys of content that is encrypted already, by the KIDs in its PSSH data.
    async fn keys_of_pssh(&self, caller: Caller<'_>, pssh: &str) -> Result<Keys, Failure> {
        let invalid = || Refused::new(Status::InvalidWidevinePssh, "`pssh_data` cannot be read");
        let data = encoding::base64(pssh).ok_or_else(invalid)?;
        let kids = widevine_kids(&data).map_err(|_| invalid())?;
        if kids.is_empty() {
            let reason = "`pssh_data` has no KID";
            return Err(Refused::new(Status::InvalidWidevinePssh, reason).into());
        }
        let mut keys = Keys::new();
        for kid in kids {
            let key = self.key_for_reading(caller, kid).await?;
            let kind = key.track.map_or("SD", intended_track_type);
            keys.push((kind.to_owned(), None, PackagingKey { kid, key }));
        }
        Ok(keys)
    }
}

impl Message {
    /// The scheme. Without one it is `cenc`.
    fn protection_scheme(&self) -> Option<Scheme> {
        match &self.protection_scheme {
            None => Some(Scheme::Cenc),
            Some(Name::Text(text)) if text.eq_ignore_ascii_case("UNSPECIFIED") => {
                Some(Scheme::Cenc)
            }
            Some(name) => name.scheme(),
        }
    }
}

/// A reply with keys.
fn response(message: &Message, keys: &Keys) -> Zeroizing<Vec<u8>> {
    let scheme = message.protection_scheme();
    let tracks = keys
        .iter()
        .map(|(kind, period, PackagingKey { kid, key })| {
            let kids = [*kid];
            let data = WidevineData {
                scheme,
                ..WidevineData::of(&kids)
            };
            let secret = Zeroizing::new(BASE64.encode(key.key.expose()));
            let mut track = json!({
                "type": kind,
                "key_id": BASE64.encode(kid.as_bytes()),
                "key": *secret,
                "pssh": [{"drm_type": "WIDEVINE", "data": BASE64.encode(data.to_bytes())}],
            });
            if let Some(members) = track.as_object_mut() {
                let period = period.map(|period| ("crypto_period_index", period.into()));
                // For `cbcs` the packager takes this IV, which FairPlay licences carry. For `cenc` it makes shorter ones of
                // its own, as every player expects them.
                let iv = key.iv.filter(|_| scheme == Some(Scheme::Cbcs));
                let iv = iv.map(|iv| ("iv", BASE64.encode(iv).into()));
                let more = [period, iv].into_iter().flatten();
                members.extend(more.map(|(name, value)| (name.to_owned(), value)));
            }
            track
        });
    let tracks: Vec<Value> = tracks.collect();
    let system_id = hex::encode(ProtectionSystem::Widevine.system_id().as_bytes());
    wrapped(&json!({
        "status": Status::Ok,
        "drm": [{"type": "WIDEVINE", "system_id": system_id}],
        "tracks": tracks,
        "content_id": message.content_id,
        "already_used": false,
    }))
}

/// A reply without keys.
fn refusal(status: Status, reason: &str) -> Zeroizing<Vec<u8>> {
    wrapped(&json!({"status": status, "status_message": reason}))
}

/// The outer JSON of a reply.
fn wrapped(response: &Value) -> Zeroizing<Vec<u8>> {
    let inner = Zeroizing::new(response.to_string());
    let encoded = Zeroizing::new(BASE64.encode(inner.as_bytes()));
    Zeroizing::new(format!(r#"{{"response":"{}"}}"#, *encoded).into_bytes())
}
