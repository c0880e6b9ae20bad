//! Upfront authorisation tokens of castLabs `DRMtoday`.
//!
//! A JWT (HS256, HS384 or HS512, header `kid`) with two claims that are JSON in a string: `optData`
//! names the viewer, `crt` is the customer rights token, or a list of them.
//!
//! | claim | here |
//! |---|---|
//! | `jti` | required; what tells the token from others. It does not limit how often: the player asks for each key of a title, and for each renewal, with the same token. `max_uses` in the key record's `terms` does |
//! | `exp`, `iat` | `exp`; without it, ten minutes from `iat`. One of them is required |
//! | `optData` | object: `merchant` and `userId`, which is the subject; the rest informs |
//! | `crt` | one object or a list, each for another asset |
//!
//! | member of `crt` | native term |
//! |---|---|
//! | `assetId`, `variantId` | `keys`: the asset id, or `assetId\|variantId` where there is a variant. Required: no token is for every key |
//! | `storeLicense` | `persist`; without it `true` |
//! | `profile` `purchase` | no duration |
//! | `profile` `rental`: `relativeExpiration` | `storage_seconds`, or for a stream `rental_seconds` |
//! | `profile` `rental`: `absoluteExpiration` | `not_after` |
//! | `profile` `rental`: `playDuration` | `playback_seconds`, or for a stream `lease_seconds`; text is a duration, a number is milliseconds |
//! | `outputProtection`: `digital`, `analogue`, `enforce` | any of them `true`: `hdcp` `type0` |
//! | `op.config`: `UHD`, `HD`, `SD`, `AUDIO`; in each `FairPlayM` or `*`: `requireHDCP` | `tracks` and their `hdcp`: `HDCP_NONE` `none`, `HDCP_V1` `type0`, `HDCP_V2` and its versions `type1` |
//! | the same: `deny` | `tracks`: `false` |
//! | `accountingId`, `message` | informs |
//! | `ref`, and everything else | refuses: templates are kept by the service, and concurrency (`csl`) is counted by it |
//!
//! A profile is `{"type": "rental", …}`, or in the older form `{"rental": {…}}`.
//!
//! Documented by castLabs ("License Delivery Authorization", "License Delivery Info Codes", "CRT
//! Selectors and Selective Overrides"; Brightcove's `CustomerRightsToken` for the units): the claims,
//! both forms of a profile, `storeLicense` being `true` when it is missing, the separator `|`, that the
//! two expirations end the time in which playback may start and `playDuration` runs from its start, and
//! that values of `op` override `outputProtection`.
//!
//! Inferred: that a stream starts when its licence is given, so that `playDuration` is a lease;
//! `absoluteExpiration` as `not_after`, which also stops what has started; `analogue` as HDCP, which
//! an analogue output cannot have; `outputProtection` with `enforce` holding whatever `op` says; what
//! `*` says beside `FairPlayM`: the stricter holds; the ten minutes without `exp`.

use serde_json::{Map, Value};

use crate::encoding;
use crate::entitlement::{Entitlement, Entry, Hdcp, Terms};
use crate::id::Id;
use crate::token::LEEWAY;
use crate::token::dialect::fields::{reject_unknown, seconds, text_of};
use crate::token::dialect::tracks::{TrackTerms, Tracks};
use crate::token::dialect::{Error, Grant, date};
use crate::token::vendor::{Dialect, ReplyHabit, Vendor};

/// castLabs `DRMtoday`.
pub const VENDOR: Vendor = Vendor {
    name: "drmtoday",
    headers: &["x-dt-auth-token"],
    cors_headers: &["x-dt-custom-data", "dt-custom-data"],
    reply: Some(ReplyHabit::Base64ForForm),
    dialect: Some(Dialect::Claims {
        fits,
        read: |claims, _, now| read(claims, now),
    }),
    ..Vendor::NONE
};

/// How long a token without `exp` is accepted from `iat` on, in seconds.
const ACCEPTED_SECONDS: u64 = 600;

/// Whether the claims of a JWT are of this dialect.
pub fn fits(claims: &Map<String, Value>) -> bool {
    ["crt", "optData"]
        .into_iter()
        .all(|name| claims.get(name).is_some_and(Value::is_string))
}

/// What the claims of a verified JWT grant at `now`, in seconds since 1970.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Unsupported`], [`Error::Expired`] and [`Error::NotYetValid`].
pub fn read(claims: &Map<String, Value>, now: u64) -> Result<Grant, Error> {
    check_times(claims, now)?;
    let id = text_of(claims, "jti")?;

    let customer = document(claims, "optData")?;
    let customer = customer.as_object().ok_or(Error::Malformed("optData"))?;
    text_of(customer, "merchant")?;
    let subject = text_of(customer, "userId")?;

    let rights = match document(claims, "crt")? {
        Value::Array(list) if !list.is_empty() => list,
        Value::Object(one) => vec![Value::Object(one)],
        _ => return Err(Error::Malformed("crt")),
    };
    let mut keys: Vec<Id> = Vec::with_capacity(rights.len());
    let mut entries = Vec::with_capacity(rights.len());
    for rights in &rights {
        let rights = rights.as_object().ok_or(Error::Malformed("crt"))?;
        let (key, terms) = terms(rights)?;
        // Two rights for one key contradict each other.
        if keys.contains(&key) {
            return Err(Error::Malformed("assetId"));
        }
        keys.push(key.clone());
        entries.push(Entry::new(vec![key], terms)?);
    }
    Ok(Grant {
        entitlement: Entitlement::new(entries),
        id: Some(id.to_owned()),
        subject: Some(subject.to_owned()),
        ..Grant::default()
    })
}

fn check_times(claims: &Map<String, Value>, now: u64) -> Result<(), Error> {
    let date = |name| match claims.get(name) {
        None => Ok(None),
        Some(value) => encoding::numeric_date(value)
            .map(Some)
            .ok_or(Error::Malformed(name)),
    };
    let issued = date("iat")?;
    let end = match date("exp")? {
        Some(end) => end,
        None => issued
            .ok_or(Error::Malformed("exp"))?
            .saturating_add(ACCEPTED_SECONDS),
    };
    match issued {
        Some(start) if start > now.saturating_add(LEEWAY) => Err(Error::NotYetValid(start)),
        _ if now >= end.saturating_add(LEEWAY) => Err(Error::Expired(end)),
        _ => Ok(()),
    }
}

/// The one key that a customer rights token is for, and the terms for it.
fn terms(rights: &Map<String, Value>) -> Result<(Id, Terms), Error> {
    if rights.contains_key("ref") {
        return Err(Error::Unsupported("ref".to_owned()));
    }
    reject_unknown(
        rights,
        &[
            "assetId",
            "variantId",
            "profile",
            "storeLicense",
            "outputProtection",
            "op",
            "accountingId",
            "message",
        ],
    )?;

    let asset = text_of(rights, "assetId")?;
    let key = match non_null(rights, "variantId") {
        Some(_) => [asset, text_of(rights, "variantId")?].join("|"),
        None => asset.to_owned(),
    };
    let id = Id::from_text(&key)
        .filter(|_| asset != "*")
        .ok_or(Error::Malformed("assetId"))?;

    let is_stored = flag(rights, "storeLicense")?.unwrap_or(true);
    let mut terms = Terms::default();
    terms.persist = Some(is_stored);
    if let Some(rental) = rental(rights)? {
        let to_start = relative_expiration(rental)?;
        let from_start = play_duration(rental)?;
        terms.not_after = absolute_expiration(rental)?;
        if is_stored {
            terms.storage_seconds = to_start;
            terms.playback_seconds = from_start;
        } else {
            terms.rental_seconds = to_start;
            terms.lease_seconds = from_start;
        }
    }
    Ok((id, tracks(rights)?.add_to(terms)))
}

/// The members of a rental's profile; `None` for a purchase.
fn rental(rights: &Map<String, Value>) -> Result<Option<&Map<String, Value>>, Error> {
    const TERMS: [&str; 4] = [
        "type",
        "relativeExpiration",
        "absoluteExpiration",
        "playDuration",
    ];
    const INVALID: Error = Error::Malformed("profile");
    let profile = object(rights, "profile")?.ok_or(INVALID)?;
    let (kind, terms) = match profile.get("type") {
        Some(kind) => (kind.as_str().ok_or(INVALID)?, profile),
        None => {
            let mut members = profile.iter();
            match (members.next(), members.next()) {
                (Some((kind, terms)), None) => (kind.as_str(), terms.as_object().ok_or(INVALID)?),
                _ => return Err(INVALID),
            }
        }
    };
    match kind {
        "purchase" => reject_unknown(terms, &["type"]).map(|()| None),
        "rental" => {
            reject_unknown(terms, &TERMS)?;
            // A rental must have an end.
            let has_end = TERMS
                .into_iter()
                .skip(1)
                .any(|term| non_null(terms, term).is_some());
            has_end.then_some(Some(terms)).ok_or(INVALID)
        }
        _ => Err(Error::Unsupported("profile".to_owned())),
    }
}

fn relative_expiration(rental: &Map<String, Value>) -> Result<Option<u32>, Error> {
    non_null(rental, "relativeExpiration")
        .map(|value| value.as_str().and_then(date::duration).and_then(seconds))
        .map(|value| value.ok_or(Error::Malformed("relativeExpiration")))
        .transpose()
}

fn absolute_expiration(rental: &Map<String, Value>) -> Result<Option<u64>, Error> {
    non_null(rental, "absoluteExpiration")
        .map(|value| value.as_str().and_then(date::instant))
        .map(|value| value.ok_or(Error::Malformed("absoluteExpiration")))
        .transpose()
}

fn play_duration(rental: &Map<String, Value>) -> Result<Option<u32>, Error> {
    non_null(rental, "playDuration")
        .map(|value| match value {
            Value::String(text) => date::duration(text).and_then(seconds),
            value => value.as_u64().and_then(|millis| seconds(millis / 1_000)),
        })
        .map(|value| value.ok_or(Error::Malformed("playDuration")))
        .transpose()
}

fn tracks(rights: &Map<String, Value>) -> Result<Tracks, Error> {
    let mut whole = TrackTerms::default();
    let mut is_enforced = false;
    if let Some(protection) = object(rights, "outputProtection")? {
        reject_unknown(protection, &["digital", "analogue", "enforce"])?;
        is_enforced = flag(protection, "enforce")?.unwrap_or(false);
        let digital = flag(protection, "digital")?.unwrap_or(false);
        let analogue = flag(protection, "analogue")?.unwrap_or(false);
        whole.hdcp = (digital || analogue || is_enforced).then_some(Hdcp::Type0);
    }

    let config = match object(rights, "op")? {
        None => None,
        Some(op) => {
            reject_unknown(op, &["config"])?;
            object(op, "config")?
        }
    };
    if let Some(config) = config {
        reject_unknown(config, &["AUDIO", "SD", "HD", "UHD"])?;
    }
    let track = |name| -> Result<TrackTerms, Error> {
        let own = match config {
            None => None,
            Some(config) => object(config, name)?,
        };
        let own = own.map_or(Ok(TrackTerms::default()), of_track)?;
        Ok(if is_enforced {
            own.and(whole)
        } else {
            own.or(whole)
        })
    };
    Ok(Tracks {
        audio: track("AUDIO")?,
        sd: track("SD")?,
        hd: track("HD")?,
        uhd: track("UHD")?,
    })
}

/// The terms of a track: those for every DRM system, and those for FairPlay.
fn of_track(systems: &Map<String, Value>) -> Result<TrackTerms, Error> {
    let mut terms = TrackTerms::default();
    for system in ["*", "FairPlayM"] {
        let Some(members) = object(systems, system)? else {
            continue;
        };
        // The last one allows Widevine clients that are revoked.
        reject_unknown(members, &["requireHDCP", "deny", "allowRevokedDevice"])?;
        let hdcp = match non_null(members, "requireHDCP") {
            None => None,
            Some(value) => Some(hdcp(
                value.as_str().ok_or(Error::Malformed("requireHDCP"))?,
            )?),
        };
        terms = terms.and(TrackTerms {
            is_denied: flag(members, "deny")?.unwrap_or(false),
            hdcp,
            ..TrackTerms::default()
        });
    }
    Ok(terms)
}

/// An HDCP version, such as `HDCP_V2_2` or `HDCP_v22`.
fn hdcp(version: &str) -> Result<Hdcp, Error> {
    match version.to_ascii_uppercase().as_str() {
        "HDCP_NONE" => Ok(Hdcp::None),
        "HDCP_V1" => Ok(Hdcp::Type0),
        "HDCP_V2" | "HDCP_V21" | "HDCP_V22" | "HDCP_V23" | "HDCP_V2_1" | "HDCP_V2_2"
        | "HDCP_V2_3" => Ok(Hdcp::Type1),
        _ => Err(Error::Unsupported("requireHDCP".to_owned())),
    }
}

/// A member that is present and not `null`.
fn non_null<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn flag(members: &Map<String, Value>, name: &'static str) -> Result<Option<bool>, Error> {
    non_null(members, name)
        .map(|value| value.as_bool().ok_or(Error::Malformed(name)))
        .transpose()
}

fn object<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a Map<String, Value>>, Error> {
    non_null(members, name)
        .map(|value| value.as_object().ok_or(Error::Malformed(name)))
        .transpose()
}

/// The JSON in a claim that is a string.
fn document(claims: &Map<String, Value>, name: &'static str) -> Result<Value, Error> {
    let text = text_of(claims, name)?;
    encoding::json(text.as_bytes()).map_err(|_| Error::Malformed(name))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use serde_json::json;

    use super::*;
    use crate::entitlement::Track;

    const VECTORS: &str = include_str!("../../../fixtures/dialects/drmtoday.json");

    fn claims(members: &Value) -> Map<String, Value> {
        members.as_object().unwrap().clone()
    }

    /// Reads a customer rights token in an otherwise plain token.
    fn of_crt(crt: &Value) -> Result<Grant, Error> {
        read(
            &claims(&json!({
                "jti": "1", "iat": 1_000, "crt": crt.to_string(),
                "optData": json!({"merchant": "m", "userId": "u"}).to_string(),
            })),
            1_000,
        )
    }

    #[test]
    fn vectors_are_read_as_they_say() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let now = vectors["now"].as_u64().unwrap();
        let mut read_cases = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let name = &case["name"];
            let expect = &case["expect"];
            // What is verified before a dialect is read.
            let code = expect["code"].as_str();
            if matches!(code, Some("token_signature" | "token_key_unknown")) {
                continue;
            }
            let token = case["token"].as_str().unwrap();
            let payload = URL_SAFE_NO_PAD
                .decode(token.split('.').nth(1).unwrap())
                .unwrap();
            let claims = encoding::json_object(&payload).unwrap();
            assert!(fits(&claims), "{name}");
            match read(&claims, now) {
                Ok(grant) => {
                    let claim = Entitlement::from_claim(&expect["entitlements"]).unwrap();
                    assert_eq!(grant.entitlement, claim, "{name}");
                }
                Err(error) => {
                    let expected = match error {
                        Error::Malformed(_) => "token_claims",
                        Error::Unsupported(_) => "term_unsupported",
                        Error::Expired(_) => "token_expired",
                        Error::NotYetValid(_) => "token_not_yet_valid",
                        Error::Terms(_) => "terms_invalid",
                        Error::KeyUnknown | Error::Signature | Error::Request(_) => {
                            panic!("{name}")
                        }
                    };
                    assert_eq!(code, Some(expected), "{name}: {error}");
                    assert!(expect.get("entitlements").is_none(), "{name}");
                }
            }
            read_cases += 1;
        }
        assert!(read_cases > 25);
    }

    #[test]
    fn the_token_says_who_it_is_about_and_what_it_is() {
        let crt = json!({"assetId": "a", "profile": {"type": "purchase"}});
        let grant = of_crt(&crt).unwrap();
        assert_eq!(grant.id.as_deref(), Some("1"));
        assert_eq!(grant.subject.as_deref(), Some("u"));
        assert!(grant.content_keys.is_empty());
    }

    #[test]
    fn a_token_without_exp_is_accepted_for_ten_minutes() {
        let read_at = |now| {
            let crt = json!({"assetId": "a", "profile": {"purchase": {}}}).to_string();
            let customer = json!({"merchant": "m", "userId": "u"}).to_string();
            let members = json!({"jti": "1", "iat": 1_000, "crt": crt, "optData": customer});
            read(&claims(&members), now).map(|_| ())
        };
        assert_eq!(read_at(939), Err(Error::NotYetValid(1_000)));
        assert_eq!(read_at(940), Ok(()));
        assert_eq!(read_at(1_659), Ok(()));
        assert_eq!(read_at(1_660), Err(Error::Expired(1_600)));
    }

    #[test]
    fn only_tokens_with_both_claims_in_strings_are_of_this_dialect() {
        assert!(fits(&claims(&json!({"crt": "", "optData": ""}))));
        for members in [
            json!({}),
            json!({"crt": "{}"}),
            json!({"crt": {}, "optData": "{}"}),
        ] {
            assert!(!fits(&claims(&members)), "{members}");
        }
    }

    #[test]
    fn whatever_is_not_known_refuses_and_the_error_holds_no_value() {
        for (crt, name) in [
            (json!({"csl": {"maxStreams": "SECRET"}}), "csl"),
            (json!({"ref": [":SECRET"]}), "ref"),
            (
                json!({"outputProtection": {"requireHDCP": "SECRET"}}),
                "requireHDCP",
            ),
            (json!({"op": {"audio": "SECRET"}}), "audio"),
            (json!({"op": {"config": {"8K": "SECRET"}}}), "8K"),
            (
                json!({"op": {"config": {"HD": {"FairPlayM": {"minSL": 3}}}}}),
                "minSL",
            ),
            (
                json!({"op": {"config": {"HD": {"*": {"requireHDCP": "SECRET"}}}}}),
                "requireHDCP",
            ),
            (json!({"profile": {"type": "SECRET"}}), "profile"),
            (
                json!({"profile": {"type": "purchase", "playDuration": 1}}),
                "playDuration",
            ),
            (json!({"profile": {"rental": {"maxPlays": 1}}}), "maxPlays"),
        ] {
            let mut members = json!({"assetId": "a", "profile": {"type": "purchase"}});
            members
                .as_object_mut()
                .unwrap()
                .extend(crt.as_object().unwrap().clone());
            let error = of_crt(&members).err().unwrap();
            assert_eq!(error, Error::Unsupported(name.to_owned()), "{crt}");
            assert!(!error.to_string().contains("SECRET"));
        }
    }

    #[test]
    fn durations_are_never_longer_than_said_and_never_zero() {
        let rental = |terms: Value| {
            let crt = json!({"assetId": "a", "profile": {"rental": terms}});
            of_crt(&crt).map(|grant| grant.entitlement.each_terms().next().unwrap().clone())
        };
        let entry = rental(json!({"playDuration": 1_999, "relativeExpiration": null})).unwrap();
        assert_eq!(
            (entry.playback_seconds, entry.storage_seconds),
            (Some(1), None)
        );
        let entry = rental(json!({"playDuration": u64::MAX})).unwrap();
        assert_eq!(entry.playback_seconds, Some(u32::MAX));
        for terms in [
            json!({}),
            json!({"playDuration": null}),
            json!({"playDuration": 999}),
            json!({"playDuration": -1}),
            json!({"playDuration": 1.5e3}),
            json!({"playDuration": "1000"}),
            json!({"relativeExpiration": 3_600}),
            json!({"relativeExpiration": "PT0S"}),
            json!({"relativeExpiration": "P1M"}),
            json!({"absoluteExpiration": 1_900_000_000}),
            json!({"absoluteExpiration": "2030-01-01"}),
        ] {
            let result = rental(terms.clone());
            assert!(matches!(result, Err(Error::Malformed(_))), "{terms}");
        }
    }

    #[test]
    fn output_protection_that_is_enforced_holds_for_every_track() {
        let terms = |enforce| {
            let crt = json!({
                "assetId": "a", "profile": {"purchase": {}},
                "outputProtection": {"digital": true, "analogue": true, "enforce": enforce},
                "op": {"config": {
                    "UHD": {"FairPlayM": {"requireHDCP": "HDCP_V2_2"}},
                    "AUDIO": {"*": {"requireHDCP": "HDCP_NONE"}, "WidevineM": {"minSL": 3}},
                }},
            });
            of_crt(&crt).unwrap().entitlement
        };
        let claim = json!([{"keys": ["a"], "persist": true, "hdcp": "type1", "tracks": {
            "audio": {"hdcp": "type0"}, "sd": {"hdcp": "type0"}, "hd": {"hdcp": "type0"},
        }}]);
        assert_eq!(terms(true), Entitlement::from_claim(&claim).unwrap());
        let overridden = terms(false);
        let audio = overridden
            .each_terms()
            .next()
            .unwrap()
            .for_track(Some(Track::Audio));
        assert_eq!(audio.unwrap().limits.hdcp, Some(Hdcp::None));
    }
}
