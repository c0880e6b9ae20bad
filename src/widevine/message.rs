//! What the licence service is told: a message of Widevine's proxy interface, and the envelope that signs it.
//!
//! In this interface a duration of 0 means no limit. Durations of terms are 1 or more, and 0 is never sent.

use base64::Engine;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::challenge::Challenge;
use super::config::Config;
use crate::content_key::KeyRecord;
use crate::drm::{GrantedKey, KeyHolder};
use crate::encoding::BASE64;
use crate::entitlement::{Granted, Hdcp, Limits, SecurityLevel, Track, Use, min_some};
use crate::id::Kid;

/// A message to the service.
#[derive(Serialize)]
pub struct Message<'a> {
    /// The challenge, as it came.
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<String>,
    provider: &'a str,
    /// Whether the service is to say who the device is, and to make no licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    parse_only: Option<bool>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    rules: Option<Rules<'a>>,
}

/// The terms of a licence.
#[derive(Serialize)]
struct Rules<'a> {
    /// What the service has stored of this content's policy is ignored.
    use_policy_overrides_exclusively: bool,
    policy_overrides: PolicyOverrides<'a>,
    /// Where the service has the keys, and the terms of all tracks are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_track_types: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    content_key_specs: Vec<ContentKeySpec>,
}

/// Durations in seconds; a member that is absent sets no limit.
#[derive(Serialize)]
struct PolicyOverrides<'a> {
    can_play: bool,
    can_persist: bool,
    can_renew: bool,
    /// How long the licence is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    license_duration_seconds: Option<u32>,
    /// Until when playback may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    rental_duration_seconds: Option<u32>,
    /// How long playback goes on from its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    playback_duration_seconds: Option<u32>,
    #[serde(flatten)]
    renewal: Option<RenewalOverrides<'a>>,
}

#[derive(Serialize)]
struct RenewalOverrides<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal_server_url: Option<&'a str>,
    /// When the first renewal is asked for.
    renewal_delay_seconds: u32,
    /// The time between attempts that fail.
    renewal_retry_interval_seconds: u32,
    /// How long playback goes on while renewals fail. 0 would be for ever.
    renewal_recovery_duration_seconds: u32,
}

/// A key, or a kind of track whose keys the service has.
#[derive(Serialize)]
struct ContentKeySpec {
    track_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Zeroizing<String>>,
    security_level: u8,
    required_output_protection: OutputProtection,
}

#[derive(Serialize)]
struct OutputProtection {
    hdcp: &'static str,
}

/// The durations of a licence, in seconds: the strictest of its keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// How long the licence is good.
    pub license: Option<u32>,
    /// Until when playback may start.
    pub rental: Option<u32>,
    /// How long playback goes on from its start.
    pub playback: Option<u32>,
}

impl Durations {
    fn of_use(use_: &Use) -> Self {
        match *use_ {
            Use::Streaming {
                lease_seconds,
                rental_seconds,
            } => Self {
                license: lease_seconds,
                rental: rental_seconds,
                playback: None,
            },
            Use::Persistent {
                storage_seconds,
                playback_seconds,
                ends_in,
            } => {
                let both = storage_seconds.zip(playback_seconds);
                let both = both.map(|(storage, playback)| storage.saturating_add(playback));
                Self {
                    license: min_some(ends_in, both),
                    rental: storage_seconds,
                    playback: playback_seconds,
                }
            }
        }
    }

    /// Those of all keys together.
    pub fn of_keys(keys: &[GrantedKey<'_>]) -> Self {
        let each = keys.iter().map(|key| Self::of_use(&key.granted.use_));
        each.fold(Self::default(), |one, another| Self {
            license: min_some(one.license, another.license),
            rental: min_some(one.rental, another.rental),
            playback: min_some(one.playback, another.playback),
        })
    }
}

impl<'a> Message<'a> {
    /// A message with the challenge alone, as certificates and releases have it.
    pub fn bare(payload: &[u8], config: &'a Config) -> Self {
        Self {
            payload: BASE64.encode(payload),
            content_id: None,
            provider: &config.provider,
            parse_only: None,
            rules: None,
        }
    }

    /// A message that asks which device it is.
    pub fn parse_only(payload: &[u8], config: &'a Config) -> Self {
        Self {
            parse_only: Some(true),
            ..Self::bare(payload, config)
        }
    }

    /// A message that asks for a licence. `None` where a key has no KID.
    pub fn license(
        payload: &[u8],
        challenge: &Challenge,
        keys: &[GrantedKey<'_>],
        renewal_url: Option<&'a str>,
        config: &'a Config,
    ) -> Option<Self> {
        let first = keys.first()?;
        let content_id = challenge.content_id.as_deref();
        let content_id = content_id.unwrap_or(first.record.id.as_bytes());
        let (allowed_track_types, content_key_specs) = match config.holder {
            KeyHolder::Here => {
                let specs = keys.iter().map(|key| own_key(key, challenge));
                (None, specs.collect::<Option<Vec<_>>>()?)
            }
            KeyHolder::Service => keys_of_service(keys),
        };
        Some(Self {
            content_id: Some(BASE64.encode(content_id)),
            rules: Some(Rules {
                use_policy_overrides_exclusively: true,
                policy_overrides: policy_overrides(keys, renewal_url),
                allowed_track_types,
                content_key_specs,
            }),
            ..Self::bare(payload, config)
        })
    }

    /// The request that carries it: the message is signed as the bytes that are sent.
    pub fn request(&self, config: &Config) -> Request<Vec<u8>> {
        let message = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        let envelope = json!({
            "request": BASE64.encode(&*message),
            "signature": BASE64.encode(config.signer.sign(&message)),
            "signer": config.provider,
        });
        let mut request = Request::new(envelope.to_string().into_bytes());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = config.url.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request
    }
}

fn policy_overrides<'a>(
    keys: &[GrantedKey<'_>],
    renewal_url: Option<&'a str>,
) -> PolicyOverrides<'a> {
    let durations = Durations::of_keys(keys);
    let is_stored = |key: &GrantedKey<'_>| matches!(key.granted.use_, Use::Persistent { .. });
    let renewed = durations
        .license
        .filter(|_| keys.iter().any(GrantedKey::is_renewable));
    PolicyOverrides {
        can_play: true,
        can_persist: keys.iter().all(is_stored),
        can_renew: renewed.is_some(),
        license_duration_seconds: durations.license,
        rental_duration_seconds: durations.rental,
        playback_duration_seconds: durations.playback,
        renewal: renewed.map(|lease| RenewalOverrides {
            renewal_server_url: renewal_url,
            // A third of the lease is left for attempts that fail.
            renewal_delay_seconds: lease.saturating_sub(lease / 3).max(1),
            renewal_retry_interval_seconds: (lease / 10).max(10),
            renewal_recovery_duration_seconds: 1,
        }),
    }
}

/// A key of this server. `None` where it has no KID.
fn own_key(key: &GrantedKey<'_>, challenge: &Challenge) -> Option<ContentKeySpec> {
    let kid = kid_of(key.record, challenge)?;
    let secret = Zeroizing::new(BASE64.encode(key.key?.key.expose()));
    Some(ContentKeySpec {
        key_id: Some(BASE64.encode(kid.as_bytes())),
        key: Some(secret),
        ..spec(
            key.record.track.map_or("SD", track_type),
            &key.granted.limits,
        )
    })
}

/// The KID of a record as the challenge has it: a record may be found by another order of its bytes.
pub fn kid_of(record: &KeyRecord, challenge: &Challenge) -> Option<Kid> {
    let mut asked = challenge.kids.iter().copied();
    let asked = asked.find(|kid| record.is_of_kid(*kid));
    asked.or(record.kid)
}

/// Which of its own keys the service may give: each has a kind of track. The simple member says it where nothing is required
/// of outputs and devices, and where each kind of track below an allowed one is allowed too; else each kind of track has its
/// entry, with the strictest limits of its keys.
fn keys_of_service(keys: &[GrantedKey<'_>]) -> (Option<&'static str>, Vec<ContentKeySpec>) {
    let limits = Track::ALL.map(|track| {
        let keys = keys.iter().filter(|key| key.record.track == Some(track));
        let limits = keys.map(|key| &key.granted.limits);
        limits.fold(None, |all: Option<Limits>, one| {
            Some(all.unwrap_or_default().and(one))
        })
    });
    let is_plain =
        |limits: &Limits| security_level(limits) == LOWEST_LEVEL && hdcp(limits) == NO_HDCP;
    if limits.iter().flatten().all(is_plain) {
        let allowed = match limits.each_ref().map(Option::is_some) {
            [true, true, true, true] => Some("SD_UHD2"),
            [true, true, true, false] => Some("SD_HD"),
            [true, true, false, false] => Some("SD_ONLY"),
            _ => None,
        };
        if allowed.is_some() {
            return (allowed, Vec::new());
        }
    }
    let each = Track::ALL.into_iter().zip(&limits);
    let each = each.flat_map(|(track, limits)| {
        let limits = limits.as_ref();
        limits.map(|limits| track_types(track).iter().map(|track| spec(track, limits)))
    });
    (None, each.flatten().collect())
}

fn spec(track_type: &'static str, limits: &Limits) -> ContentKeySpec {
    ContentKeySpec {
        track_type,
        key_id: None,
        key: None,
        security_level: security_level(limits),
        required_output_protection: OutputProtection { hdcp: hdcp(limits) },
    }
}

/// The kind of track of one key.
fn track_type(track: Track) -> &'static str {
    match track {
        Track::Audio => "AUDIO",
        Track::Sd => "SD",
        Track::Hd => "HD",
        Track::Uhd => "UHD1",
    }
}

/// The kinds of track at the service that a kind of track of terms stands for.
fn track_types(track: Track) -> &'static [&'static str] {
    match track {
        Track::Audio => &["AUDIO"],
        Track::Sd => &["SD"],
        Track::Hd => &["HD"],
        Track::Uhd => &["UHD1", "UHD2"],
    }
}

const NO_HDCP: &str = "HDCP_NONE";

fn hdcp(limits: &Limits) -> &'static str {
    match limits.hdcp {
        None | Some(Hdcp::None) => NO_HDCP,
        Some(Hdcp::Type0) => "HDCP_V1",
        Some(Hdcp::Type1) => "HDCP_V2_2",
    }
}

/// `SW_SECURE_CRYPTO`
const LOWEST_LEVEL: u8 = 1;

/// 1 `SW_SECURE_CRYPTO`, 3 `HW_SECURE_CRYPTO`, 5 `HW_SECURE_ALL`.
fn security_level(limits: &Limits) -> u8 {
    match limits.security_level() {
        None | Some(SecurityLevel::Audio) => LOWEST_LEVEL,
        Some(SecurityLevel::Baseline) => 3,
        Some(SecurityLevel::Main) => 5,
    }
}

/// What the service would be told of terms for a key: the members of `policy_overrides`, and those of its entry of
/// `content_key_specs` but the key and its track.
pub fn license_fields(record: &KeyRecord, granted: &Granted) -> Value {
    let key = GrantedKey {
        record,
        key: None,
        granted,
    };
    let mut spec = json!(spec("SD", &granted.limits));
    if let Some(members) = spec.as_object_mut() {
        members.remove("track_type");
    }
    json!({"policy_overrides": policy_overrides(&[key], None), "content_key_specs": [spec]})
}
