//! Axinom DRM: the licence service message (version 1) with an entitlement message (version 2).
//!
//! A JWT, HS256 under the communication key that `com_key_id` names: a JWK of `token_keys` with that
//! `kid` and `kty` `oct`. It comes in `x-axdrm-message` or the query parameter `AxDrmMessage`.
//!
//! | vendor | native |
//! |---|---|
//! | `version` | 1; 2 in `message` |
//! | `begin_date`, `expiration_date` | limit the acceptance of the message. Without `expiration_date`, `exp` or `license.expiration_datetime` it is refused |
//! | `id` | what tells the message from others (`jti`) |
//! | `license.start_datetime` | `not_before`. The vendor does not apply it to FairPlay |
//! | `license.expiration_datetime` | `not_after` |
//! | `license.duration`, and before it `license.fairplay.duration` | with persistence `storage_seconds`; with real-time expiration `lease_seconds`; else `rental_seconds` |
//! | `license.allow_persistence`, and before it `license.fairplay.allow_persistence` | `persist`, `false` by default |
//! | `license.fairplay.real_time_expiration` | playback stops at the end: a lease. With an end to stop at, the permission to store is dropped |
//! | `license.fairplay.playback_duration` | with persistence `playback_seconds`; else `lease_seconds` |
//! | `license.fairplay.ignore_keys_in_license_request`, `license.concurrency_interval`, `license.concurrency_grace_period` | left out |
//! | `content_keys_source.inline[].id`, `content_keys_source.stored[].id` | an entry with these `keys` |
//! | `content_keys_source.inline[].encrypted_key` and `iv` | a key record; without `iv`, it has that of the server's own record, and FairPlay alone needs one (`iv_missing`). `iv` or `seed_id` without `encrypted_key`: left out, the key record has them |
//! | `content_keys_source.license_request` | refused |
//! | `usage_policy` → `content_key_usage_policies[].fairplay.hdcp` | `hdcp`: `NONE` `none`, `TYPE0` `type0`, `TYPE1` `type1` |
//! | … `.allow_airplay`, `.allow_av_adapter` | `airplay`, `av_adapter`, when `false` |
//! | `license_server.access_control.prevent_drm_message_reuse` | `max_uses` 1; needs `id` |
//! | … `.concurrency_limit` with `.concurrency_mode`, and before it `.fairplay.concurrency_mode` | `max_streams`, unless the mode is `NONE` |
//! | … `.allowed_ip_addresses` | `ip_allow` |
//! | … `.fairplay.allowed_device_ids` | refused: the ids are those of the vendor's service |
//! | `session.user_id` | subject (`sub`); the rest of `session` is left out |
//! | `widevine`, `playready` anywhere, `license_server.return_license_request_info` | left out |
//!
//! Documented (`docs.axinom.com/services/drm/license-service`): members, versions, the order of
//! general and FairPlay members, that exactly one source of keys is given, that a policy which a key
//! names must be there once, that a message is reused only once a key. The vendor's own samples
//! write numbers and flags as text too. How keys are encrypted is what the vendor's module
//! `Axinom.Drm.PowerShell` does: AES-256-CBC under the communication key, without padding, with the
//! key id in the order of its digits as IV.
//!
//! Inferred: that persistence is off by default; what a duration means without and with
//! real-time expiration, from the vendor's page on renewal and from PlayReady's member of that name;
//! that a playback duration of a streaming licence is enforced by a lease, which ends no later; that
//! a limit without a mode applies. `max_uses` is stricter than the vendor's rule: it counts the
//! message and not each of its keys.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::content_key::ContentKey;
use crate::encoding;
use crate::entitlement::{AllOf, Entitlement, Entry, Hdcp, Limits, Network, Terms};
use crate::id::{Id, Kid};
use crate::token::LEEWAY;
use crate::token::dialect::fields::Fields;
use crate::token::dialect::{Error, Grant, Secrets};
use crate::token::vendor::{Dialect, Vendor};

/// Axinom DRM.
pub const VENDOR: Vendor = Vendor {
    name: "axinom",
    headers: &["x-axdrm-message"],
    parameters: &["AxDrmMessage"],
    dialect: Some(Dialect::Claims { fits, read }),
    ..Vendor::NONE
};

const HS256: &str = "HS256";

/// Whether the claims are a licence service message with an entitlement message.
pub fn fits(claims: &Map<String, Value>) -> bool {
    let message = claims.get("message").and_then(Value::as_object);
    let kind = message.and_then(|message| message.get("type"));
    claims.contains_key("com_key_id") && kind.is_some_and(|kind| kind == "entitlement_message")
}

/// What a message grants at `now`, in seconds since 1970. Its signature has been verified.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(claims: &Map<String, Value>, secrets: &dyn Secrets, now: u64) -> Result<Grant, Error> {
    let outer = Fields::new(claims);
    version(outer, 1)?;
    let secret = communication_key(outer, secrets)?;
    dates(outer, now)?;
    let id = outer.text("id")?;

    let message = outer.object("message")?.only(&[
        "type",
        "version",
        "license",
        "content_keys_source",
        "content_key_usage_policies",
        "license_server",
        "session",
    ])?;
    version(message, 2)?;
    let mut terms = licence_terms(message.object("license")?)?;
    // A message that never ends could be used for ever by whoever gets hold of it.
    if !outer.has("expiration_date") && !claims.contains_key("exp") && terms.not_after.is_none() {
        return Err(Error::Malformed("expiration_date"));
    }
    access_terms(message.object("license_server")?, id, &mut terms.limits)?;
    let policies = policies(message)?;
    let mut grant = Grant {
        id: id.map(str::to_owned),
        subject: message
            .object("session")?
            .text("user_id")?
            .map(str::to_owned),
        ..Grant::default()
    };

    let mut entries = Vec::new();
    let mut seen = Vec::new();
    for key in keys(message.object("content_keys_source")?)? {
        let name = key.text("id")?.ok_or(Error::Malformed("id"))?;
        let kid = Kid::from_text(name).ok_or(Error::Malformed("id"))?;
        let mut terms = terms.clone();
        if let Some(policy) = key.text("usage_policy")? {
            let (_, policy) = policies
                .iter()
                .find(|(name, _)| *name == policy)
                .ok_or(Error::Malformed("usage_policy"))?;
            policy_terms(*policy, &mut terms.limits)?;
        }
        let [id, _] = Id::from_kid(kid);
        entries.push(Entry::new(vec![id], terms)?);
        if key.has("encrypted_key") {
            grant.content_keys.push(content_key(key, kid, &secret)?);
        }
        if seen.contains(&kid) {
            return Err(Error::Malformed("content_keys_source"));
        }
        seen.push(kid);
    }
    grant.entitlement = Entitlement::new(entries);
    Ok(grant)
}

fn version(of: Fields<'_>, only: u64) -> Result<(), Error> {
    match of.get("version").map(Value::as_u64) {
        Some(Some(version)) if version == only => Ok(()),
        Some(Some(_)) => Err(Error::Unsupported("version".to_owned())),
        _ => Err(Error::Malformed("version")),
    }
}

/// The secret that `com_key_id` names, as it is, in lower case or in upper case.
fn communication_key(
    outer: Fields<'_>,
    secrets: &dyn Secrets,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let kid = outer
        .text("com_key_id")?
        .ok_or(Error::Malformed("com_key_id"))?;
    [kid, &kid.to_ascii_lowercase(), &kid.to_ascii_uppercase()]
        .into_iter()
        .find_map(|kid| secrets.secret(kid, Some(HS256)))
        .ok_or(Error::KeyUnknown)
}

fn dates(outer: Fields<'_>, now: u64) -> Result<(), Error> {
    match outer.instant("begin_date")? {
        Some(begin) if begin > now.saturating_add(LEEWAY) => {
            return Err(Error::NotYetValid(begin));
        }
        _ => {}
    }
    match outer.instant("expiration_date")? {
        Some(end) if now >= end.saturating_add(LEEWAY) => Err(Error::Expired(end)),
        _ => Ok(()),
    }
}

/// Terms of `license`.
fn licence_terms(license: Fields<'_>) -> Result<Terms, Error> {
    license.only(&[
        "start_datetime",
        "expiration_datetime",
        "duration",
        "allow_persistence",
        "concurrency_interval",
        "concurrency_grace_period",
        "fairplay",
        "playready",
        "widevine",
    ])?;
    let fairplay = license.object("fairplay")?.only(&[
        "real_time_expiration",
        "playback_duration",
        "ignore_keys_in_license_request",
        "duration",
        "allow_persistence",
    ])?;
    let may_persist = match fairplay.flag("allow_persistence")? {
        None => license.flag("allow_persistence")?.unwrap_or(false),
        Some(own) => own,
    };
    let duration = match fairplay.positive("duration")? {
        None => license.positive("duration")?,
        own => own,
    };
    let playback = fairplay.positive("playback_duration")?;
    let not_before = license.instant("start_datetime")?;
    let not_after = license.instant("expiration_datetime")?;
    let has_end = duration.or(playback).is_some() || not_after.is_some();
    let stops = fairplay.flag("real_time_expiration")? == Some(true) && has_end;
    let persist = may_persist && !stops;

    let mut terms = Terms::default();
    terms.persist = Some(persist);
    terms.not_before = not_before;
    terms.not_after = not_after;
    if persist {
        terms.storage_seconds = duration;
        terms.playback_seconds = playback;
    } else if stops {
        terms.lease_seconds = duration.into_iter().chain(playback).min();
    } else {
        terms.rental_seconds = duration;
        terms.lease_seconds = playback;
    }
    Ok(terms)
}

/// Terms of `license_server.access_control`.
fn access_terms(server: Fields<'_>, id: Option<&str>, limits: &mut Limits) -> Result<(), Error> {
    let access = server
        .only(&["return_license_request_info", "access_control"])?
        .object("access_control")?
        .only(&[
            "prevent_drm_message_reuse",
            "concurrency_limit",
            "concurrency_mode",
            "allowed_ip_addresses",
            "fairplay",
            "playready",
            "widevine",
        ])?;
    let fairplay = access.object("fairplay")?.only(&[
        "concurrency_mode",
        "use_native_session_ids",
        "allowed_device_ids",
    ])?;
    if fairplay.has("allowed_device_ids") {
        return Err(Error::Unsupported("allowed_device_ids".to_owned()));
    }

    if access.flag("prevent_drm_message_reuse")? == Some(true) {
        id.ok_or(Error::Malformed("id"))?;
        limits.max_uses = Some(1);
    }
    let mode = match fairplay.text("concurrency_mode")? {
        None => access.text("concurrency_mode")?,
        own => own,
    };
    let limit = access.positive("concurrency_limit")?;
    match (mode, limit) {
        (Some("NONE"), _) | (None, None) => {}
        (Some("BLOCK_NEW_DEVICE") | None, Some(limit)) => {
            limits.max_streams = Some(limit);
        }
        (Some("BLOCK_NEW_DEVICE"), None) => return Err(Error::Malformed("concurrency_limit")),
        (Some(_), _) => return Err(Error::Unsupported("concurrency_mode".to_owned())),
    }
    if access.has("allowed_ip_addresses") {
        let addresses = access.texts("allowed_ip_addresses")?;
        if addresses.is_empty() {
            return Err(Error::Malformed("allowed_ip_addresses"));
        }
        let networks = addresses.into_iter().map(Network::from_text);
        limits.ip_allow = AllOf::one_of(networks.collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// The policies by name; each name occurs once.
fn policies<'a>(message: Fields<'a>) -> Result<Vec<(&'a str, Fields<'a>)>, Error> {
    let mut policies: Vec<(&str, Fields<'_>)> = Vec::new();
    for policy in message.objects("content_key_usage_policies")? {
        let name = policy.text("name")?.ok_or(Error::Malformed("name"))?;
        if policies.iter().any(|(other, _)| *other == name) {
            return Err(Error::Malformed("content_key_usage_policies"));
        }
        policies.push((name, policy));
    }
    Ok(policies)
}

/// Terms of a usage policy.
fn policy_terms(policy: Fields<'_>, limits: &mut Limits) -> Result<(), Error> {
    let fairplay = policy
        .only(&["name", "fairplay", "playready", "widevine"])?
        .object("fairplay")?
        .only(&["hdcp", "allow_airplay", "allow_av_adapter"])?;
    limits.hdcp = match fairplay.text("hdcp")? {
        None => None,
        Some("NONE") => Some(Hdcp::None),
        Some("TYPE0") => Some(Hdcp::Type0),
        Some("TYPE1") => Some(Hdcp::Type1),
        Some(_) => return Err(Error::Unsupported("hdcp".to_owned())),
    };
    limits.no_airplay = fairplay.flag("allow_airplay")? == Some(false);
    limits.no_av_adapter = fairplay.flag("allow_av_adapter")? == Some(false);
    Ok(())
}

/// The keys of the one source that is given.
fn keys<'a>(source: Fields<'a>) -> Result<Vec<Fields<'a>>, Error> {
    source.only(&["inline", "stored", "license_request"])?;
    if source.has("license_request") {
        return Err(Error::Unsupported("license_request".to_owned()));
    }
    let (keys, known): (_, &[&str]) = match (source.has("inline"), source.has("stored")) {
        (true, false) => (
            source.objects("inline")?,
            &["id", "encrypted_key", "iv", "seed_id", "usage_policy"],
        ),
        (false, true) => (source.objects("stored")?, &["id", "usage_policy"]),
        _ => return Err(Error::Malformed("content_keys_source")),
    };
    keys.into_iter().map(|key| key.only(known)).collect()
}

/// A key that comes with the message.
fn content_key(key: Fields<'_>, kid: Kid, secret: &[u8]) -> Result<ContentKey, Error> {
    const ENCRYPTED: Error = Error::Malformed("encrypted_key");
    // FairPlay alone needs an IV, and may have that of the server's own record.
    let read = |iv: &str| encoding::fixed::<16>(iv).ok_or(Error::Malformed("iv"));
    let iv = key.text("iv")?.map(read).transpose()?;
    let encrypted = key.text("encrypted_key")?.ok_or(ENCRYPTED)?;
    let encrypted = encoding::base64(encrypted).ok_or(ENCRYPTED)?;
    let block = <[u8; 16]>::try_from(encrypted.as_slice()).map_err(|_| ENCRYPTED)?;

    let secret = <&[u8; 32]>::try_from(secret).map_err(|_| Error::KeyUnknown)?;
    let mut block = block.into();
    cbc::Decryptor::<Aes256>::new(secret.into(), kid.as_bytes().into()).decrypt_block(&mut block);
    let [id, _] = Id::from_kid(kid);
    let mut key = ContentKey::new(id, <[u8; 16]>::from(block).into()).with_kid(kid);
    key.iv = iv;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::dialect::Jwks;

    const VECTORS: &str = include_str!("../../../fixtures/dialects/axinom.json");

    fn claims(token: &Value) -> Map<String, Value> {
        let claims = token.as_str().unwrap().split('.').nth(1).unwrap();
        encoding::json_object(&encoding::base64(claims).unwrap()).unwrap()
    }

    #[test]
    fn every_vector_comes_to_what_it_says() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let secrets = Jwks(vectors["variables"]["token_keys"].clone());
        let now = vectors["now"].as_u64().unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let claims = claims(&case["token"]);
            assert!(fits(&claims), "{}", case["name"]);
            let result = read(&claims, &secrets, now);
            if let (Some(expected), Ok(grant)) = (case.get("grant"), &result) {
                let claim = Entitlement::from_claim(&expected["entitlements"]).unwrap();
                assert_eq!(grant.entitlement, claim, "{}", case["name"]);
                let text = |name| expected.get(name).and_then(Value::as_str);
                assert_eq!(grant.id.as_deref(), text("id"), "{}", case["name"]);
                assert_eq!(
                    grant.subject.as_deref(),
                    text("subject"),
                    "{}",
                    case["name"]
                );
                let records = expected.get("content_keys").unwrap_or(&Value::Null);
                let records = records.as_array().map_or(&[][..], Vec::as_slice);
                assert_eq!(grant.content_keys.len(), records.len(), "{}", case["name"]);
                for (key, record) in grant.content_keys.iter().zip(records) {
                    let kid = Kid::from_text(record["kid"].as_str().unwrap());
                    let bytes = [*key.key.expose(), key.iv.unwrap()].map(hex::encode);
                    assert_eq!(
                        (key.kid, json!(bytes)),
                        (kid, json!([record["key"], record["iv"]]))
                    );
                }
            }
            assert!(
                case.get("grant").is_none() || result.is_ok(),
                "{}",
                case["name"]
            );
            let is_limit = |grant: &Grant| {
                let mut terms = grant.entitlement.each_terms();
                terms.any(|terms| terms.limits.max_streams.is_some())
            };
            let fits = match case["expect"]["code"].as_str() {
                Some("token_claims") => matches!(result, Err(Error::Malformed(_))),
                Some("term_unsupported") => match result {
                    Ok(grant) => is_limit(&grant),
                    Err(error) => matches!(error, Error::Unsupported(_)),
                },
                Some("token_key_unknown") => matches!(result, Err(Error::KeyUnknown)),
                Some("token_expired") => matches!(result, Err(Error::Expired(_))),
                Some("token_not_yet_valid") => matches!(result, Err(Error::NotYetValid(_))),
                // The verification of the token, or of its terms, refuses the others.
                _ => result.is_ok(),
            };
            assert!(fits, "{}", case["name"]);
        }
    }

    #[test]
    fn other_claims_do_not_fit() {
        for claims in [
            json!({"message": {"type": "entitlement_message"}}),
            json!({"com_key_id": "a", "message": {"type": "license_request_info"}}),
            json!({"com_key_id": "a", "message": "entitlement_message"}),
            json!({"com_key_id": "a"}),
        ] {
            assert!(!fits(claims.as_object().unwrap()), "{claims}");
        }
    }

    #[test]
    fn an_error_holds_a_name_and_is_short() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let secrets = Jwks(vectors["variables"]["token_keys"].clone());
        let mut claims = claims(&vectors["cases"][0]["token"]);
        claims["message"]["license"]["x".repeat(1000)] = json!("a secret");
        let now = vectors["now"].as_u64().unwrap();
        assert_eq!(
            read(&claims, &secrets, now).err(),
            Some(Error::Unsupported("x".repeat(64)))
        );
    }
}
