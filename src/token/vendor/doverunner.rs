//! Licence tokens of `DoveRunner`, earlier `PallyCon` (header `pallycon-customdata-v2`).
//!
//! Base64 of a JSON object, made with two secrets of a site: its access key authenticates, its site
//! key hides the policy.
//!
//! ```text
//! hash   = base64(SHA-256(access key ‖ drm_type ‖ site_id ‖ user_id ‖ cid ‖ policy ‖ timestamp))
//! policy = base64(AES-256-CBC/PKCS#7(site key, IV "0123456789abcdef", policy JSON))
//! ```
//!
//! Both secrets are JWKs of `kty` `oct` whose `kid` is the site id: `alg` `doverunner-site-key`, the
//! key's 32 characters, and `alg` `doverunner-access-key`, the key's characters.
//!
//! | member of the token | here |
//! |---|---|
//! | `site_id` | whose keys verify it |
//! | `hash` | verified before anything else is believed; what tells the token from others |
//! | `timestamp` | accepted for 600 seconds from then on |
//! | `drm_type` | `FairPlay`; without it the service takes it to be for `PlayReady` |
//! | `user_id` | the subject; `LICENSETOKEN` says that there is none, and with keys in `external_key` there is none |
//! | `cid` | `keys`: this id, and the key ids of `external_key` |
//! | `response_format`, `key_rotation` | informs |
//!
//! | member of the policy (version 2) | native term |
//! |---|---|
//! | `playback_policy.persistent` | `persist`; without it `false` |
//! | `playback_policy.license_duration`, or `duration` | `storage_seconds`, or for a stream `lease_seconds` |
//! | `playback_policy.rental_duration` (with `persistent`) | `storage_seconds` |
//! | `playback_policy.playback_duration` (with `persistent`) | `playback_seconds` |
//! | `playback_policy.renewal_duration` (without) | `lease_seconds` |
//! | `playback_policy.expire_date` | `not_after` |
//! | `playback_policy.allowed_track_types`: `ALL`, `SD_ONLY`, `SD_HD`, `SD_UHD1`, `SD_UHD2` | `tracks`: `false` for what is above |
//! | `playback_policy.max_stream_per_user` | `max_streams` |
//! | `security_policy[].track_type`: `ALL`, `ALL_VIDEO`, `AUDIO`, `SD`, `HD`, `UHD1`, `UHD2` | `tracks`; a member of a narrower one stands in place of a wider one's |
//! | `security_policy[].fairplay.hdcp_enforcement`: −1, 0, 1 | `hdcp`: `none`, `type0`, `type1` |
//! | `security_policy[].fairplay.allow_airplay`, `allow_av_adapter` | `airplay`, `av_adapter` |
//! | `external_key.hls_aes[]`, else `external_key.mpeg_cenc[]` | key records: by `key_id`, or one without by `cid` |
//! | `widevine`, `playready`, `ncg`, `wiseplay` | other DRM systems |
//! | everything else | refuses |
//!
//! A duration of 0 is no limit. When two durations set one term, the shorter applies. `UHD1` and
//! `UHD2` are one track here and have the stricter terms: with `SD_UHD1` there is no `uhd`. A key
//! record without a track has the strictest terms of all tracks. `allowed_track_types` cannot refuse
//! it; the service, too, needs a key for each track for that.
//!
//! The hash has no separators between its parts, so it does not show where `user_id` ends and `cid`
//! begins: a token for `xmovie-1` can be changed to one for `movie-1`. No id of a title should be the
//! end of another's. Where the end of both reaches one key record in two ways (by `skd://movie-1` and `movie-1`, by
//! an id and an alias that ends it), the viewer could make himself another one. Keys in the token are found under any
//! `cid`. In both cases the viewer is unknown, and `max_streams` refuses.
//!
//! Documented (License Token Guide, and the sample code for `renewal_duration`, `max_stream_per_user`
//! and `key_id` of `hls_aes`): the layout, the window, the defaults, which durations need
//! `persistent`, 0 as no limit, and that a `license_duration` is how long the content can be played.
//!
//! Inferred: a `license_duration` or `renewal_duration` of a stream as a lease, after which playback
//! stops; that `expire_date` holds beside a duration (the guide says that it is ignored);
//! `license_duration` with `playback_duration` refuses, as the two cannot be enforced together;
//! numbers may be text of digits, as some samples write them; `external_policy` is read as
//! `external_key`, as the Python sample writes it; `mpeg_cenc`, which the guide has for the other
//! systems, holds for FairPlay where there is no `hls_aes` and it has an IV.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::content_key::ContentKey;
use crate::encoding;
use crate::entitlement::{Entitlement, Entry, Hdcp, Terms, Track, min_some};
use crate::id::{Id, Kid};
use crate::token::LEEWAY;
use crate::token::dialect::fields::{has_members, reject_unknown, seconds, text_of};
use crate::token::dialect::tracks::{TrackTerms, Tracks};
use crate::token::dialect::{Error, Grant, MAX_UNSEPARATED_ID, Secrets, date};
use crate::token::vendor::{Dialect, ReplyHabit, Vendor};

/// `DoveRunner`, earlier `PallyCon`.
pub const VENDOR: Vendor = Vendor {
    name: "doverunner",
    headers: &["pallycon-customdata-v2"],
    cors_headers: &["pallycon-client-meta"],
    key_algorithms: &[SITE_KEY, ACCESS_KEY],
    reply: Some(ReplyHabit::Base64ForForm),
    dialect: Some(Dialect::Text {
        fits,
        read: |text, _, secrets, now| read(text, secrets, now),
    }),
    ..Vendor::NONE
};

/// The algorithm of the key that hides the policy: AES-256.
const SITE_KEY: &str = "doverunner-site-key";

/// The algorithm of the key that authenticates: the prefix of what is hashed.
const ACCESS_KEY: &str = "doverunner-access-key";

/// The IV of every policy.
const IV: &[u8; 16] = b"0123456789abcdef";

/// How long a token is accepted from its timestamp on, in seconds.
const ACCEPTED_SECONDS: u64 = 600;

/// The `user_id` that names no viewer.
const NO_USER: &str = "LICENSETOKEN";

/// Whether a text is a token of this dialect.
pub fn fits(text: &str) -> bool {
    encoding::base64(text).is_some_and(|json| has_members(&json, &["site_id", "policy", "hash"]))
}

/// What a token grants at `now`, in seconds since 1970.
///
/// # Errors
/// Every one of [`Error`].
pub fn read(text: &str, secrets: &dyn Secrets, now: u64) -> Result<Grant, Error> {
    const JSON: Error = Error::Malformed("token");
    let json = encoding::base64(text).ok_or(JSON)?;
    let members = encoding::json_object(&json).map_err(|_| JSON)?;
    let site = text_of(&members, "site_id")?;
    let digest = verify(&members, site, secrets)?;

    let timestamp = utc(&members, "timestamp")?.ok_or(Error::Malformed("timestamp"))?;
    if timestamp > now.saturating_add(LEEWAY) {
        return Err(Error::NotYetValid(timestamp));
    }
    let end = timestamp.saturating_add(ACCEPTED_SECONDS);
    if now > end {
        return Err(Error::Expired(end));
    }
    let drm_type = members.get("drm_type").and_then(Value::as_str);
    if !drm_type.is_some_and(|drm_type| drm_type.eq_ignore_ascii_case("FairPlay")) {
        return Err(Error::Unsupported("drm_type".to_owned()));
    }

    let title = text_of(&members, "cid")?;
    let is_id = title != "*" && title.len() <= MAX_UNSEPARATED_ID;
    let cid = Id::from_text(title).filter(|_| is_id);
    let cid = cid.ok_or(Error::Malformed("cid"))?;
    let policy = policy(text_of(&members, "policy")?, site, secrets)?;
    let (keys, content_keys) = external_keys(&policy, &cid)?;
    let user = text_of(&members, "user_id")?;
    Ok(Grant {
        entitlement: Entitlement::new(vec![Entry::new(keys, terms(&policy)?)?]),
        id: Some(hex::encode(digest)),
        subject: (user != NO_USER && content_keys.is_empty()).then(|| user.to_owned()),
        subject_and_key: Some([user, title].concat()),
        content_keys,
        ..Grant::default()
    })
}

/// Verifies the hash and returns it.
fn verify(
    members: &Map<String, Value>,
    site: &str,
    secrets: &dyn Secrets,
) -> Result<[u8; 32], Error> {
    let hash = encoding::base64(text_of(members, "hash")?).ok_or(Error::Malformed("hash"))?;
    let drm_type = match members.get("drm_type") {
        None => "",
        Some(value) => value.as_str().ok_or(Error::Malformed("drm_type"))?,
    };
    let key = secrets
        .secret(site, Some(ACCESS_KEY))
        .ok_or(Error::KeyUnknown)?;
    let mut digest = Sha256::new_with_prefix(&*key);
    for part in [
        drm_type,
        site,
        text_of(members, "user_id")?,
        text_of(members, "cid")?,
        text_of(members, "policy")?,
        text_of(members, "timestamp")?,
    ] {
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    if digest.as_slice().ct_eq(&hash).into() {
        Ok(digest)
    } else {
        Err(Error::Signature)
    }
}

/// Decrypts and parses a policy. Its hash was verified first, so an error of the padding reveals nothing.
fn policy(text: &str, site: &str, secrets: &dyn Secrets) -> Result<Map<String, Value>, Error> {
    const INVALID: Error = Error::Malformed("policy");
    let key = secrets
        .secret(site, Some(SITE_KEY))
        .ok_or(Error::KeyUnknown)?;
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(&key, IV);
    let cipher = cipher.map_err(|_| Error::KeyUnknown)?;
    let mut policy: Zeroizing<Vec<u8>> = encoding::base64(text).ok_or(INVALID)?;
    let json = cipher.decrypt_padded::<Pkcs7>(&mut policy);
    let policy = encoding::json_object(json.map_err(|_| INVALID)?).map_err(|_| INVALID)?;
    reject_unknown(
        &policy,
        &[
            "policy_version",
            "playback_policy",
            "security_policy",
            "external_key",
            "external_policy",
        ],
    )?;
    match policy.get("policy_version").map(Value::as_u64) {
        Some(Some(2)) => Ok(policy),
        Some(Some(_)) => Err(Error::Unsupported("policy_version".to_owned())),
        _ => Err(Error::Malformed("policy_version")),
    }
}

/// The terms of a policy.
fn terms(policy: &Map<String, Value>) -> Result<Terms, Error> {
    let empty = Map::new();
    let playback = object(policy, "playback_policy")?.unwrap_or(&empty);
    reject_unknown(
        playback,
        &[
            "persistent",
            "license_duration",
            "duration",
            "expire_date",
            "rental_duration",
            "playback_duration",
            "allowed_track_types",
            "max_stream_per_user",
            "renewal_duration",
        ],
    )?;
    let is_stored = flag(playback, "persistent")?.unwrap_or(false);
    let licence = min_some(
        number(playback, "license_duration")?,
        number(playback, "duration")?,
    );
    let rental = number(playback, "rental_duration")?;
    let from_start = number(playback, "playback_duration")?;
    let renewal = number(playback, "renewal_duration")?;
    let mut terms = Terms::default();
    terms.persist = Some(is_stored);
    if is_stored {
        if renewal.is_some() {
            return Err(Error::Unsupported("renewal_duration".to_owned()));
        }
        if licence.is_some() && from_start.is_some() {
            return Err(Error::Unsupported("license_duration".to_owned()));
        }
        terms.storage_seconds = min_some(licence, rental);
        terms.playback_seconds = from_start;
    } else {
        if rental.is_some() {
            return Err(Error::Malformed("rental_duration"));
        }
        if from_start.is_some() {
            return Err(Error::Malformed("playback_duration"));
        }
        terms.lease_seconds = min_some(licence, renewal);
    }
    terms.not_after = utc(playback, "expire_date")?;
    terms.limits.max_streams = number(playback, "max_stream_per_user")?;
    let mut tracks = outputs(policy)?;
    deny(playback, &mut tracks)?;
    Ok(tracks.add_to(terms))
}

/// Output protection, by track.
fn outputs(policy: &Map<String, Value>) -> Result<Tracks, Error> {
    let mut given: Vec<(&str, TrackTerms)> = Vec::new();
    for entry in list(policy, "security_policy")? {
        let entry = entry
            .as_object()
            .ok_or(Error::Malformed("security_policy"))?;
        reject_unknown(
            entry,
            &[
                "track_type",
                "fairplay",
                "widevine",
                "playready",
                "ncg",
                "wiseplay",
            ],
        )?;
        let track = match entry.get("track_type") {
            None => "ALL",
            Some(_) => track_type(entry)?,
        };
        if given.iter().any(|(other, _)| *other == track) {
            return Err(Error::Malformed("track_type"));
        }
        let terms = object(entry, "fairplay")?.map_or(Ok(TrackTerms::default()), fairplay)?;
        given.push((track, terms));
    }
    // From the narrowest to the widest.
    let of = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| given.iter().find(|(track, _)| track == name))
            .fold(TrackTerms::default(), |narrow, (_, wide)| narrow.or(*wide))
    };
    Ok(Tracks {
        audio: of(&["AUDIO", "ALL"]),
        sd: of(&["SD", "ALL_VIDEO", "ALL"]),
        hd: of(&["HD", "ALL_VIDEO", "ALL"]),
        uhd: of(&["UHD1", "ALL_VIDEO", "ALL"]).and(of(&["UHD2", "ALL_VIDEO", "ALL"])),
    })
}

fn fairplay(members: &Map<String, Value>) -> Result<TrackTerms, Error> {
    const HDCP: &str = "hdcp_enforcement";
    reject_unknown(members, &[HDCP, "allow_airplay", "allow_av_adapter"])?;
    let hdcp = match members.get(HDCP) {
        None => None,
        Some(value) => Some(match value.as_i64().ok_or(Error::Malformed(HDCP))? {
            -1 => Hdcp::None,
            0 => Hdcp::Type0,
            1 => Hdcp::Type1,
            _ => return Err(Error::Unsupported(HDCP.to_owned())),
        }),
    };
    Ok(TrackTerms {
        hdcp,
        airplay: flag(members, "allow_airplay")?,
        av_adapter: flag(members, "allow_av_adapter")?,
        ..TrackTerms::default()
    })
}

/// Denies the tracks above what is allowed.
fn deny(playback: &Map<String, Value>, tracks: &mut Tracks) -> Result<(), Error> {
    const NAME: &str = "allowed_track_types";
    let allowed = match playback.get(NAME) {
        None => "ALL",
        Some(value) => value.as_str().ok_or(Error::Malformed(NAME))?,
    };
    (tracks.hd.is_denied, tracks.uhd.is_denied) = match allowed {
        "ALL" | "SD_UHD2" => (false, false),
        "SD_HD" | "SD_UHD1" => (false, true),
        "SD_ONLY" => (true, true),
        _ => return Err(Error::Unsupported(NAME.to_owned())),
    };
    Ok(())
}

/// The ids that the token is for, and the keys that it contains.
fn external_keys(
    policy: &Map<String, Value>,
    cid: &Id,
) -> Result<(Vec<Id>, Vec<ContentKey>), Error> {
    let mut ids = vec![cid.clone()];
    let external = match (
        object(policy, "external_key")?,
        object(policy, "external_policy")?,
    ) {
        (Some(_), Some(_)) => return Err(Error::Malformed("external_key")),
        (one, another) => one.or(another),
    };
    let Some(external) = external else {
        return Ok((ids, Vec::new()));
    };
    reject_unknown(external, &["hls_aes", "mpeg_cenc", "ncg"])?;
    let entries: Vec<&Value> = match list(external, "hls_aes")? {
        // A key without an IV is for the other systems, whose content has the IV.
        [] => list(external, "mpeg_cenc")?
            .iter()
            .filter(|key| key.get("iv").is_some_and(|iv| !iv.is_null()))
            .collect(),
        keys => keys.iter().collect(),
    };

    let mut keys = Vec::with_capacity(entries.len());
    for entry in &entries {
        let entry = entry.as_object().ok_or(Error::Malformed("external_key"))?;
        reject_unknown(entry, &["track_type", "key_id", "key", "iv"])?;
        let (secret, iv) = (bytes(entry, "key")?, bytes(entry, "iv")?);
        let track = match track_type(entry)? {
            "AUDIO" => Some(Track::Audio),
            "SD" => Some(Track::Sd),
            "HD" => Some(Track::Hd),
            "UHD1" | "UHD2" => Some(Track::Uhd),
            _ => None,
        };
        // Without a key id, the only key is that of the title.
        let kid = match entry.get("key_id") {
            Some(_) => Some(Kid::from_bytes(bytes(entry, "key_id")?)),
            None if entries.len() == 1 => None,
            None => return Err(Error::Unsupported("external_key".to_owned())),
        };
        let id = kid.map_or_else(|| cid.clone(), |kid| Id::from_kid(kid)[0].clone());
        let mut key = ContentKey::new(id.clone(), secret.into());
        key.iv = Some(iv);
        key.record.track = track;
        if let Some(kid) = kid.filter(|_| id != *cid) {
            if ids.contains(&id) {
                return Err(Error::Malformed("key_id"));
            }
            key = key.with_kid(kid);
            ids.push(id);
            if entries.len() == 1 {
                key.record = key.record.with_alias(cid.clone());
            }
        }
        keys.push(key);
    }
    Ok((ids, keys))
}

/// 16 bytes, as 32 hexadecimal digits.
fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<[u8; 16], Error> {
    let bytes = encoding::hex(text_of(members, name)?);
    let bytes = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok());
    bytes.ok_or(Error::Malformed(name))
}

fn track_type(members: &Map<String, Value>) -> Result<&str, Error> {
    const NAME: &str = "track_type";
    match text_of(members, NAME)? {
        track @ ("ALL" | "ALL_VIDEO" | "AUDIO" | "SD" | "HD" | "UHD1" | "UHD2") => Ok(track),
        _ => Err(Error::Unsupported(NAME.to_owned())),
    }
}

fn flag(members: &Map<String, Value>, name: &'static str) -> Result<Option<bool>, Error> {
    members
        .get(name)
        .map(|value| value.as_bool().ok_or(Error::Malformed(name)))
        .transpose()
}

/// A number, or digits as text; 0 counts as absent.
fn number(members: &Map<String, Value>, name: &'static str) -> Result<Option<u32>, Error> {
    let number = match members.get(name) {
        None => return Ok(None),
        Some(Value::String(digits)) => digits.parse().ok(),
        Some(value) => value.as_u64(),
    };
    let number: u64 = number.ok_or(Error::Malformed(name))?;
    Ok(seconds(number))
}

/// A date and time as `yyyy-mm-ddThh:mm:ssZ`, in seconds since 1970.
fn utc(members: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Error> {
    let Some(value) = members.get(name) else {
        return Ok(None);
    };
    value
        .as_str()
        .filter(|text| text.len() == "yyyy-mm-ddThh:mm:ssZ".len())
        .and_then(date::instant)
        .map(Some)
        .ok_or(Error::Malformed(name))
}

fn object<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a Map<String, Value>>, Error> {
    members
        .get(name)
        .map(|value| value.as_object().ok_or(Error::Malformed(name)))
        .transpose()
}

/// A list; empty when it is absent.
fn list<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a [Value], Error> {
    members.get(name).map_or(Ok([].as_slice()), |value| {
        value
            .as_array()
            .map(Vec::as_slice)
            .ok_or(Error::Malformed(name))
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use serde_json::json;

    use super::*;
    use crate::encoding::BASE64;
    use crate::token::dialect::Jwks;

    const VECTORS: &str = include_str!("../../../fixtures/dialects/doverunner.json");

    fn vectors() -> (Value, Jwks, u64) {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let keys = Jwks(vectors["variables"]["token_keys"].clone());
        let now = vectors["now"].as_u64().unwrap();
        (vectors, keys, now)
    }

    fn token(name: &str) -> String {
        let (vectors, ..) = vectors();
        let mut cases = vectors["cases"].as_array().unwrap().iter();
        let case = cases.find(|case| case["name"] == name).unwrap();
        case["token"].as_str().unwrap().to_owned()
    }

    #[test]
    fn vectors_are_read_as_they_say() {
        let (vectors, keys, now) = vectors();
        for case in vectors["cases"].as_array().unwrap() {
            let name = &case["name"];
            let expect = &case["expect"];
            let token = case["token"].as_str().unwrap();
            assert!(fits(token), "{name}");
            match read(token, &keys, now) {
                Ok(grant) => {
                    let claim = Entitlement::from_claim(&expect["entitlements"]).unwrap();
                    assert_eq!(grant.entitlement, claim, "{name}");
                    let records = expect.get("content_keys").unwrap_or(&Value::Null);
                    let records = records.as_array().map_or(&[][..], Vec::as_slice);
                    assert_eq!(grant.content_keys.len(), records.len(), "{name}");
                    for (key, record) in grant.content_keys.iter().zip(records) {
                        let text = |name: &str| record.get(name).and_then(Value::as_str);
                        assert_eq!(Some(key.id.clone()), text("id").and_then(Id::from_text));
                        assert_eq!(key.kid, text("kid").and_then(Kid::from_text), "{name}");
                        let bytes = [*key.key.expose(), key.iv.unwrap()].map(hex::encode);
                        assert_eq!(
                            bytes.each_ref().map(|b| Some(b.as_str())),
                            [text("key"), text("iv")]
                        );
                        let track = json!({"audio": 0, "sd": 1, "hd": 2, "uhd": 3})
                            [text("track").unwrap_or_default()]
                        .as_u64();
                        assert_eq!(key.track.map(|track| track as u64), track, "{name}");
                    }
                }
                Err(error) => {
                    let code = match error {
                        Error::Malformed(_) => "token_claims",
                        Error::Unsupported(_) => "term_unsupported",
                        Error::KeyUnknown => "token_key_unknown",
                        Error::Signature => "token_signature",
                        Error::Terms(ref terms) => terms.code().name,
                        Error::Expired(_) => "token_expired",
                        Error::NotYetValid(_) => "token_not_yet_valid",
                        Error::Request(_) => "token_request",
                    };
                    assert_eq!(expect["code"], code, "{name}: {error}");
                    let is_claim = expect.get("entitlements").map(Entitlement::from_claim);
                    assert!(is_claim.is_none_or(|claim| claim.is_err()), "{name}");
                }
            }
        }
    }

    #[test]
    fn the_token_is_told_by_its_digest_however_it_is_written() {
        let (_, keys, now) = vectors();
        let token = token("streaming");
        let grant = read(&token, &keys, now).unwrap();
        assert_eq!(grant.subject.as_deref(), Some("viewer-1"));
        let id = grant.id.unwrap();
        assert_eq!(id.len(), 64);

        let json = encoding::base64(&token).unwrap();
        let mut members = encoding::json_object(&json).unwrap();
        let hash = members["hash"].as_str().unwrap().to_owned();
        members["hash"] = json!(format!(" {} ", hash.trim_end_matches('=')));
        members["response_format"] = json!("custom");
        let rewritten = BASE64.encode(Value::Object(members).to_string());
        assert_eq!(read(&rewritten, &keys, now).unwrap().id.unwrap(), id);
    }

    #[test]
    fn a_token_is_accepted_for_ten_minutes() {
        let (_, keys, now) = vectors();
        let token = token("streaming");
        let read_at = |now| read(&token, &keys, now).map(|_| ());
        assert_eq!(read_at(now - 61), Err(Error::NotYetValid(now)));
        assert_eq!(read_at(now - 60), Ok(()));
        assert_eq!(read_at(now + 600), Ok(()));
        assert_eq!(read_at(now + 601), Err(Error::Expired(now + 600)));
    }

    #[test]
    fn a_site_key_of_the_wrong_size_is_none() {
        let (_, mut keys, now) = vectors();
        for key in keys.0["keys"].as_array_mut().unwrap() {
            if key["alg"] == SITE_KEY {
                key["k"] = json!("c2hvcnQ");
            }
        }
        let result = read(&token("streaming"), &keys, now);
        assert_eq!(result.err(), Some(Error::KeyUnknown));
    }

    #[test]
    fn other_texts_are_not_of_this_dialect() {
        for text in [
            "",
            "e30",
            "e30.e30.e30",
            "not base64!",
            &BASE64.encode(r#"{"site_id":"A","policy":"p"}"#),
            &BASE64.encode(r#"["site_id","policy","hash"]"#),
        ] {
            assert!(!fits(text), "{text}");
        }
    }

    #[test]
    fn tracks_have_the_terms_that_are_nearest_to_them() {
        let policy = json!({"policy_version": 2, "security_policy": [
            {"fairplay": {"hdcp_enforcement": 0, "allow_airplay": false}},
            {"track_type": "ALL_VIDEO", "fairplay": {"allow_airplay": true}},
            {"track_type": "AUDIO", "widevine": {"security_level": 1}},
            {"track_type": "UHD1", "fairplay": {"hdcp_enforcement": -1}},
            {"track_type": "UHD2", "fairplay": {"hdcp_enforcement": 1, "allow_av_adapter": false}},
        ]});
        let expected = json!({
            "persist": false,
            "hdcp": "type1", "airplay": false, "av_adapter": false,
            "tracks": {
                "audio": {"hdcp": "type0", "av_adapter": true},
                "sd": {"hdcp": "type0", "airplay": true, "av_adapter": true},
                "hd": {"hdcp": "type0", "airplay": true, "av_adapter": true},
                "uhd": {"airplay": true},
            },
        });
        let expected = Terms::from_json(expected.as_object().unwrap(), &[]).unwrap();
        assert_eq!(terms(policy.as_object().unwrap()).unwrap(), expected);
    }

    #[test]
    fn whatever_is_not_known_refuses_and_the_error_holds_no_value() {
        let unsupported = |name: &str| Err(Error::Unsupported(name.to_owned()));
        for (policy, expected) in [
            (
                json!({"playback_policy": {"x": "SECRET"}}),
                unsupported("x"),
            ),
            (
                json!({"playback_policy": {"allowed_track_types": "SECRET"}}),
                unsupported("allowed_track_types"),
            ),
            (json!({"security_policy": [{"y": 1}]}), unsupported("y")),
            (
                json!({"security_policy": [{"fairplay": {"z": 1}}]}),
                unsupported("z"),
            ),
            (
                json!({"security_policy": [{"fairplay": {"hdcp_enforcement": 2}}]}),
                unsupported("hdcp_enforcement"),
            ),
            (
                json!({"security_policy": [{"track_type": "SECRET"}]}),
                unsupported("track_type"),
            ),
            (
                json!({"playback_policy": {"persistent": true, "renewal_duration": 60}}),
                unsupported("renewal_duration"),
            ),
            (
                json!({"playback_policy": {"persistent": "true"}}),
                Err(Error::Malformed("persistent")),
            ),
            (
                json!({"playback_policy": {"license_duration": -1}}),
                Err(Error::Malformed("license_duration")),
            ),
            (
                json!({"playback_policy": {"expire_date": "2027-01-15"}}),
                Err(Error::Malformed("expire_date")),
            ),
            (
                json!({"security_policy": {}}),
                Err(Error::Malformed("security_policy")),
            ),
        ] {
            let result = terms(policy.as_object().unwrap());
            if let Err(error) = &result {
                assert!(!error.to_string().contains("SECRET"));
            }
            assert_eq!(result, expected, "{policy}");
        }
    }
}
