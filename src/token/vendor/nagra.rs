//! Nagra SSP: the content authorisation token (`ContentAuthZ`, version 1.0).
//!
//! A JWT, HS256, whose header names its key by `kid`: a JWK of `token_keys`. It comes in
//! `nv-authorizations`. Tokens of content keys, which the vendor encrypts, are not read: keys are
//! those of the deployment.
//!
//! | vendor | native |
//! |---|---|
//! | `ver` | `1.0` |
//! | `exp` | required, unless each right has an `end` |
//! | `exp` with `jti` | `max_uses` 1; refused when more than 24 hours are left, or lie between `iat` and `exp` |
//! | `jti` | what tells the token from others |
//! | `device.accountId` | subject (`sub`) |
//! | `device.deviceUniqueId`, `device.deviceId` | refused: the ids are those of the vendor's service. So is any other member of `device` |
//! | `contentRights[].contentId`, `.defaultKcIds[]` | an entry with these `keys` |
//! | … `.storable` | `persist`, `false` by default |
//! | … `.start`, `.end` | `not_before`, `not_after`: seconds since 1970, or date and time with offset |
//! | … `.duration` | seconds: `storage_seconds` when `storable`, else `rental_seconds` |
//! | … `.usageRulesProfileId` | by name, see below; any other name is refused |
//! | … `.sessionControl.maxSessions` | `max_streams`, unless `sessionControlEnabled` is `false`. Other limits (`groups`), and control without `maxSessions`, are refused |
//! | … `.sessionControl.sessionId` | left out |
//! | … `.defaultUsageRules.minLevel` | 0 and 1 ask nothing of FairPlay; more is refused |
//! | … `.defaultUsageRules.digitalOnly` | refused when `true`: FairPlay has no word on analogue outputs |
//! | … `.defaultUsageRules.unprotectedDigitalOutput` | `hdcp` `type0` when `false` |
//!
//! | profile | native |
//! |---|---|
//! | `Test` | nothing |
//! | `SD` | `hdcp` `type0`; `tracks`: no `hd`, no `uhd` |
//! | `HD` | `hdcp` `type0`; `tracks`: no `uhd` |
//! | `UHD` | `hdcp` `type1` |
//! | `default`, or none | `hdcp` `type0` |
//!
//! Documented (`docs.nagra.com/mdrm`): members and their names, epoch seconds for `exp`, anti-replay
//! with `jti` and `exp` and its 24 hours, the binding of `deviceUniqueId` and `deviceId`, that
//! `accountId` binds nothing, that no profile is the default one, that an operator can change the
//! profiles and add others, that FairPlay devices of any kind reach the levels 0 and 1.
//!
//! Inferred, each the stricter way: what profiles ask of FairPlay and that they are about tracks,
//! that durations are seconds, the form of dates, that nothing may be stored by default,
//! that two rights which name the same key contradict each other. `max_uses` counts
//! licences: a token for several keys is good for one of them.

use serde_json::{Map, Value};

use crate::entitlement::{Entitlement, Entry, Hdcp, Terms, Track};
use crate::id::Id;
use crate::token::LEEWAY;
use crate::token::dialect::fields::Fields;
use crate::token::dialect::{Error, Grant};
use crate::token::vendor::{Dialect, ReplyHabit, Vendor};

/// Nagra.
pub const VENDOR: Vendor = Vendor {
    name: "nagra",
    headers: &[HEADER],
    header_is_list: true,
    cors_headers: &["nv-tenant-id"],
    reply: Some(ReplyHabit::JsonForBytes),
    dialect: Some(Dialect::Claims {
        fits,
        read: |claims, _, now| read(claims, now),
    }),
    ..Vendor::NONE
};

/// The header with a list of tokens: that of the content first, then that of the session.
pub const HEADER: &str = "nv-authorizations";

/// How long a token with anti-replay may live, in seconds.
const LONGEST_LIFE: u64 = 86_400;

/// The last time that the vendor's schema allows: more would be milliseconds.
const LAST_TIME: u64 = 0xffff_ffff;

/// Whether the claims are a content authorisation.
pub fn fits(claims: &Map<String, Value>) -> bool {
    claims.get("typ").is_some_and(|typ| typ == "ContentAuthZ")
}

/// What a token grants at `now`, in seconds since 1970. Its signature and `exp` have been checked.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(claims: &Map<String, Value>, now: u64) -> Result<Grant, Error> {
    let token = Fields::new(claims);
    match token.text("ver")? {
        Some("1.0") => {}
        Some(_) => return Err(Error::Unsupported("ver".to_owned())),
        None => return Err(Error::Malformed("ver")),
    }
    let device = token
        .object("device")?
        .only(&["accountId", "deviceUniqueId", "deviceId"])?;
    for binding in ["deviceUniqueId", "deviceId"] {
        if device.has(binding) {
            return Err(Error::Unsupported(binding.to_owned()));
        }
    }
    let id = token.text("jti")?;
    if id.is_some() {
        check_life(token, now)?;
    }
    if !token.has("contentRights") {
        return Err(Error::Malformed("contentRights"));
    }

    let mut entries = Vec::new();
    let mut seen = Vec::new();
    for right in token.objects("contentRights")? {
        let mut terms = right_terms(right)?;
        let mut keys = Vec::new();
        for id in ids(right)? {
            if seen.contains(&id) {
                return Err(Error::Malformed("contentRights"));
            }
            seen.push(id.clone());
            keys.push(id);
        }
        // A right that never ends, in a token that never ends, could be used for ever.
        if terms.not_after.is_none() && !token.has("exp") {
            return Err(Error::Malformed("exp"));
        }
        if id.is_some() {
            terms.limits.max_uses = Some(1);
        }
        entries.push(Entry::new(keys, terms)?);
    }
    Ok(Grant {
        entitlement: Entitlement::new(entries),
        id: id.map(str::to_owned),
        subject: device.text("accountId")?.map(str::to_owned),
        ..Grant::default()
    })
}

/// Refuses a token for one use that lives too long to be remembered.
fn check_life(token: Fields<'_>, now: u64) -> Result<(), Error> {
    let expires = time(token, "exp")?.ok_or(Error::Malformed("exp"))?;
    let from_now = expires > now.saturating_add(LONGEST_LIFE + LEEWAY);
    let from_issue =
        time(token, "iat")?.is_some_and(|issued| expires > issued.saturating_add(LONGEST_LIFE));
    if from_now || from_issue {
        return Err(Error::Malformed("exp"));
    }
    Ok(())
}

/// The ids of a right: its content's and those of keys, each once.
fn ids(right: Fields<'_>) -> Result<Vec<Id>, Error> {
    let mut ids: Vec<Id> = Vec::new();
    let content = right.text("contentId")?;
    for name in content.into_iter().chain(right.texts("defaultKcIds")?) {
        // `*` is not the id of a content.
        let id = Id::from_text(name).filter(|_| name != "*");
        let id = id.ok_or(Error::Malformed("contentRights"))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        return Err(Error::Malformed("contentId"));
    }
    Ok(ids)
}

/// Terms of one of `contentRights`.
fn right_terms(right: Fields<'_>) -> Result<Terms, Error> {
    right.only(&[
        "contentId",
        "defaultKcIds",
        "storable",
        "start",
        "end",
        "duration",
        "usageRulesProfileId",
        "sessionControl",
        "defaultUsageRules",
    ])?;
    let (hdcp, denied) = profile(right.text("usageRulesProfileId")?)?;
    let mut terms = Terms::default();
    terms.limits.hdcp = hdcp;
    generic_rules(right.object("defaultUsageRules")?, &mut terms)?;
    let persist = right.flag("storable")?.unwrap_or(false);
    terms.persist = Some(persist);
    let duration = right.positive("duration")?;
    if persist {
        terms.storage_seconds = duration;
    } else {
        terms.rental_seconds = duration;
    }
    terms.not_before = time(right, "start")?;
    terms.not_after = time(right, "end")?;
    terms.limits.max_streams = sessions(right.object("sessionControl")?)?;
    let deny = |terms: Terms, track: &Track| terms.with_track(*track, None);
    Ok(denied.iter().fold(terms, deny))
}

/// What a profile asks: HDCP, and tracks that it does not allow.
fn profile(name: Option<&str>) -> Result<(Option<Hdcp>, &'static [Track]), Error> {
    match name {
        Some("Test") => Ok((None, &[])),
        Some("SD") => Ok((Some(Hdcp::Type0), &[Track::Hd, Track::Uhd])),
        Some("HD") => Ok((Some(Hdcp::Type0), &[Track::Uhd])),
        Some("UHD") => Ok((Some(Hdcp::Type1), &[])),
        Some("default") | None => Ok((Some(Hdcp::Type0), &[])),
        Some(_) => Err(Error::Unsupported("usageRulesProfileId".to_owned())),
    }
}

/// Adds the older, generic rules to those of the profile.
fn generic_rules(rules: Fields<'_>, terms: &mut Terms) -> Result<(), Error> {
    rules.only(&["minLevel", "digitalOnly", "unprotectedDigitalOutput"])?;
    match rules.get("minLevel").map(Value::as_u64) {
        None | Some(Some(0 | 1)) => {}
        Some(Some(_)) => return Err(Error::Unsupported("minLevel".to_owned())),
        Some(None) => return Err(Error::Malformed("minLevel")),
    }
    if rules.flag("digitalOnly")? == Some(true) {
        return Err(Error::Unsupported("digitalOnly".to_owned()));
    }
    if rules.flag("unprotectedDigitalOutput")? == Some(false) {
        terms.limits.hdcp.get_or_insert(Hdcp::Type0);
    }
    Ok(())
}

/// How many sessions at a time there may be.
fn sessions(control: Fields<'_>) -> Result<Option<u32>, Error> {
    if control.is_empty() || control.flag("sessionControlEnabled")? == Some(false) {
        return Ok(None);
    }
    control.only(&["sessionControlEnabled", "maxSessions", "sessionId"])?;
    match control.positive("maxSessions")? {
        None => Err(Error::Unsupported("sessionControl".to_owned())),
        limit => Ok(limit),
    }
}

/// A time, in seconds since 1970 or as date and time.
fn time(of: Fields<'_>, name: &'static str) -> Result<Option<u64>, Error> {
    let time = match of.get(name) {
        Some(Value::Number(number)) => number.as_u64(),
        Some(_) => of.instant(name)?,
        None => return Ok(None),
    };
    time.filter(|time| *time <= LAST_TIME)
        .map(Some)
        .ok_or(Error::Malformed(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::encoding;

    const VECTORS: &str = include_str!("../../../fixtures/dialects/nagra.json");

    #[test]
    fn every_vector_comes_to_what_it_says() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let now = vectors["now"].as_u64().unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let token = case["token"].as_str().unwrap();
            let claims = encoding::base64(token.split('.').nth(1).unwrap()).unwrap();
            let claims = encoding::json_object(&claims).unwrap();
            assert!(fits(&claims), "{}", case["name"]);
            let result = read(&claims, now);
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
                // The verification of the token refuses the others.
                _ => result.is_ok(),
            };
            assert!(fits, "{}", case["name"]);
        }
    }

    #[test]
    fn other_claims_do_not_fit() {
        for claims in [json!({}), json!({"typ": "JWT"}), json!({"typ": 1})] {
            assert!(!fits(claims.as_object().unwrap()), "{claims}");
        }
    }
}
