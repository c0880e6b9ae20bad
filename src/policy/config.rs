//! The JSON of policies. It has the members of Azure's API where that has them.

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::required::{Required, RequiredClaim};
use super::{PolicyOption, Restriction, TokenRestriction, azure};
use crate::configuration::{SettingError, SettingErrorKind};
use crate::drm::DrmSystem;
use crate::encoding;
use crate::entitlement::Terms;
use crate::policy::callback::CallbackConfig;
use crate::token::{
    Accepted, CONTENT_KEY_IDENTIFIER, EntitlementClaim, Expected, Jwk, Location, POLICIES,
    RemoteKeys, VerificationKeys,
};

/// Claims that name a key, when no value is required of them.
const KEY_CLAIMS: [&str; 3] = [CONTENT_KEY_IDENTIFIER, "content_id", "kid"];

/// Reads the document of [`POLICIES`]: a list of options.
pub(super) fn read(json: &str) -> Result<Vec<PolicyOption>, Vec<SettingError>> {
    let configs = encoding::json_list(json.as_bytes())
        .map_err(|error| vec![SettingError::from_json_error(POLICIES, &error)])?;
    let malformed = |reason| SettingError::new(POLICIES, SettingErrorKind::Malformed, reason);
    let mut options = Vec::new();
    let mut problems = Vec::new();
    for (index, config) in configs.into_iter().enumerate() {
        let option = encoding::from_value(config).map_err(String::from);
        match option.and_then(OptionConfig::read) {
            Ok(option) => options.push(option),
            Err(reason) => problems.push(malformed(reason).at(index)),
        }
    }
    if options.is_empty() && problems.is_empty() {
        let reason = "the list is empty, so every token is refused";
        problems.push(malformed(reason.to_owned()));
    }
    // A token that this server made names the option that admitted its bearer.
    let names: Vec<&str> = options.iter().map(|option| option.name.as_str()).collect();
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|other| other == name) {
            let message = "two options have the same `name`";
            problems.push(SettingError::new(
                POLICIES,
                SettingErrorKind::Collision,
                message,
            ));
        }
    }
    if problems.is_empty() {
        Ok(options)
    } else {
        Err(problems)
    }
}

/// An option as it appears in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionConfig {
    name: String,
    restriction: Value,
    terms: Option<Value>,
    drm: Option<Value>,
    callback: Option<CallbackConfig>,
    entitlement_claim: Option<Value>,
}

impl OptionConfig {
    fn read(self) -> Result<PolicyOption, String> {
        if self.name.is_empty() {
            return Err("`name` is empty".to_owned());
        }
        let restriction = RestrictionConfig::read(self.restriction)?;
        let terms = match self.terms {
            None => None,
            Some(Value::Object(members)) => {
                Some(Terms::from_json(&members, &[]).map_err(|error| format!("`terms`: {error}"))?)
            }
            Some(_) => return Err("`terms` is not an object".to_owned()),
        };
        let drm = match self.drm {
            None => None,
            Some(Value::Object(systems)) => Some(systems),
            Some(_) => return Err("`drm` is not an object".to_owned()),
        };
        let systems = drm.map(|drm| {
            let read = drm.iter().map(|(name, configuration)| {
                let system =
                    DrmSystem::from_name(name).ok_or("`drm` names a system that there is not")?;
                Ok((system, system_terms(system, configuration)?))
            });
            read.collect::<Result<Vec<_>, String>>()
        });
        let systems = systems.transpose()?;
        let needs_token = terms
            .as_ref()
            .is_some_and(|terms| terms.limits.max_uses.is_some());
        if needs_token && matches!(restriction, Restriction::Open) {
            return Err("`max_uses` counts tokens, and an open option has none".to_owned());
        }
        let option = PolicyOption {
            name: self.name,
            restriction,
            terms,
            systems,
            callback: self.callback.map(CallbackConfig::read).transpose()?,
        };
        match self.entitlement_claim {
            Some(claim) => with_entitlement_claim(option, &claim),
            None => Ok(option),
        }
    }
}

/// Sets the claim with the entitlements: a name or a path, or `false` where the option alone says what its tokens allow.
///
/// # Errors
/// What is neither, and an option to which it does not apply.
fn with_entitlement_claim(mut option: PolicyOption, claim: &Value) -> Result<PolicyOption, String> {
    let claim = match claim {
        Value::String(name) => EntitlementClaim::named(name)
            .map_err(|reason| format!("`entitlement_claim`: {reason}"))?,
        Value::Bool(false) => EntitlementClaim::Foreign,
        _ => return Err("`entitlement_claim` is neither a name nor false".to_owned()),
    };
    let mut systems = option.systems.iter().flatten();
    let says_terms = option.terms.is_some()
        || option.callback.is_some()
        || systems.any(|(_, terms)| terms.is_some());
    if claim == EntitlementClaim::Foreign && !says_terms {
        return Err(
            "`entitlement_claim` is false, and nothing says what its tokens allow: give `terms`, `{}` for no limit"
                .to_owned(),
        );
    }
    match &mut option.restriction {
        Restriction::Token(restriction) => restriction.expected.entitlements = claim,
        Restriction::Open => {
            return Err(
                "`entitlement_claim` is about tokens, and an open option has none".to_owned(),
            );
        }
    }
    Ok(option)
}

/// The terms in a system's configuration, for that system alone; `None` when it has none.
///
/// # Errors
/// A member that is not read: it could restrict the viewer.
fn system_terms(system: DrmSystem, configuration: &Value) -> Result<Option<Terms>, String> {
    azure::read(system, configuration)
        .map(|reading| reading.terms)
        .map_err(|reason| format!("`drm.{}`: {reason}", system.name()))
}

/// `#Microsoft.Media.ContentKeyPolicyTokenRestriction`, with the further members `jwks`, `jwks_uri`,
/// `audience_claim` and `max_token_life`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RestrictionConfig {
    #[serde(rename = "@odata.type")]
    _type: Option<String>,
    issuer: Value,
    audience: Value,
    primary_verification_key: Option<VerificationKeyConfig>,
    alternate_verification_keys: Option<Vec<VerificationKeyConfig>>,
    required_claims: Option<Vec<RequiredClaimConfig>>,
    restriction_token_type: Option<String>,
    open_id_connect_discovery_document: Option<String>,
    jwks: Option<Value>,
    #[serde(rename = "jwks_uri")]
    jwks_uri: Option<String>,
    #[serde(rename = "audience_claim")]
    audience_claim: Option<String>,
    #[serde(rename = "max_token_life")]
    max_token_life: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RequiredClaimConfig {
    claim_type: String,
    claim_value: Option<String>,
}

/// One of Azure's three kinds of key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct VerificationKeyConfig {
    #[serde(rename = "@odata.type")]
    _type: Option<String>,
    key_value: Option<Zeroizing<String>>,
    exponent: Option<String>,
    modulus: Option<String>,
    raw_body: Option<String>,
}

impl RestrictionConfig {
    fn read(restriction: Value) -> Result<Restriction, String> {
        if restriction == "open" {
            return Ok(Restriction::Open);
        }
        let kind = restriction.get("@odata.type").and_then(Value::as_str);
        if kind.is_some_and(|kind| kind.ends_with("PolicyOpenRestriction")) {
            return match restriction.as_object() {
                Some(members) if members.len() == 1 => Ok(Restriction::Open),
                _ => Err("`restriction` is an open one, and has members beside".to_owned()),
            };
        }
        let restriction: Self = encoding::from_value(restriction)
            .map_err(|reason| format!("`restriction`: {reason}"))?;
        if restriction
            .restriction_token_type
            .is_some_and(|kind| !kind.eq_ignore_ascii_case("jwt"))
        {
            return Err("`restrictionTokenType` is not `Jwt`".to_owned());
        }
        let accepted = |name: &str, value: Value| {
            let text = match value {
                Value::String(text) => text,
                list @ Value::Array(_) => list.to_string(),
                _ => return Err(format!("`{name}` is neither text nor a list")),
            };
            Accepted::from_setting(Some(&text)).map_err(|(_, reason)| format!("`{name}`: {reason}"))
        };
        let alternates = restriction.alternate_verification_keys.unwrap_or_default();
        let mut keys = restriction
            .primary_verification_key
            .into_iter()
            .chain(alternates)
            .map(VerificationKeyConfig::read)
            .collect::<Result<Vec<Jwk>, String>>()?;
        if let Some(set) = restriction.jwks {
            let set = set.get("keys").cloned().unwrap_or(set);
            let more = encoding::from_value(set).map_err(String::from);
            let more = more.and_then(|set| Jwk::read_each(set).map_err(|error| error.to_string()));
            keys.extend(more.map_err(|reason| format!("`jwks`: {reason}"))?);
        }
        let location = match (
            restriction.jwks_uri,
            restriction.open_id_connect_discovery_document,
        ) {
            (Some(_), Some(_)) => {
                return Err(
                    "`jwks_uri` and `openIdConnectDiscoveryDocument` exclude each other".to_owned(),
                );
            }
            (Some(url), None) => Some(Location::Jwks(url)),
            (None, Some(url)) => Some(Location::Discovery(url)),
            (None, None) => None,
        };
        if location
            .as_ref()
            .is_some_and(|location| !location.is_safe())
        {
            return Err("a URL of keys is neither https nor http on this machine".to_owned());
        }
        let keys = VerificationKeys::from_jwks(keys).map_err(|errors| {
            let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
            reasons.join("; ")
        })?;
        if keys.is_empty() && location.is_none() {
            return Err(match keys.passed_over().is_empty() {
                true => "there is no key to verify a token with".to_owned(),
                false => keys.nothing().to_string(),
            });
        }
        if restriction.audience_claim.as_deref() == Some("") {
            return Err("`audience_claim` is empty".to_owned());
        }
        if restriction.max_token_life == Some(0) {
            return Err("`max_token_life` is a number of seconds from 1 on".to_owned());
        }
        let claims = restriction.required_claims.unwrap_or_default();
        Ok(Restriction::Token(Box::new(TokenRestriction {
            expected: Expected {
                audience_claim: restriction.audience_claim,
                max_life: restriction.max_token_life,
                ..Expected::new(
                    accepted("issuer", restriction.issuer)?,
                    accepted("audience", restriction.audience)?,
                )
            },
            keys,
            remote: location.map(RemoteKeys::new),
            required: claims.into_iter().map(RequiredClaimConfig::read).collect(),
        })))
    }
}

impl RequiredClaimConfig {
    fn read(self) -> RequiredClaim {
        let value = match self.claim_value.filter(|value| !value.is_empty()) {
            Some(value) => Required::Equal(value),
            None if KEY_CLAIMS.contains(&self.claim_type.as_str()) => Required::RequestedKey,
            None => Required::Present,
        };
        RequiredClaim {
            name: self.claim_type,
            value,
        }
    }
}

impl VerificationKeyConfig {
    fn read(self) -> Result<Jwk, String> {
        match self {
            Self {
                key_value: Some(key),
                exponent: None,
                modulus: None,
                raw_body: None,
                ..
            } => Ok(Jwk::symmetric_key(key)),
            Self {
                key_value: None,
                exponent: Some(exponent),
                modulus: Some(modulus),
                raw_body: None,
                ..
            } => Ok(Jwk::rsa_key(modulus, exponent)),
            Self {
                key_value: None,
                exponent: None,
                modulus: None,
                raw_body: Some(certificate),
                ..
            } => Jwk::of_certificate(&certificate),
            _ => Err(
                "a verification key is none of `keyValue`, `exponent` with `modulus`, and `rawBody`"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn terms_of_a_system_bind_that_system_alone() {
        let options = json!([{
            "name": "a",
            "restriction": "open",
            "terms": {"hdcp": "type0"},
            "drm": {
                "fairplay": {"rentalAndLeaseKeyType": "Undefined"},
                "widevine": {"@odata.type": "#Microsoft.Media.ContentKeyPolicyWidevineConfiguration"},
            },
        }]);
        let Ok(options) = read(&options.to_string()) else {
            panic!("the option loads");
        };
        let persist = |system| -> Vec<Option<bool>> {
            let terms = options[0].terms_for(system);
            terms.map(|terms| terms.persist).collect()
        };
        assert_eq!(persist(DrmSystem::FairPlay), [None, Some(false)]);
        assert_eq!(persist(DrmSystem::Widevine), [None]);
        let is_for = |system| options[0].is_for(system);
        assert!(is_for(DrmSystem::Widevine) && !is_for(DrmSystem::ClearKey));
    }

    #[test]
    fn the_example_loads() {
        let options = read(include_str!("../../examples/policies.json"));
        let options = options.unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(options.len(), 2);
        assert!(options[0].callback.is_some() && !options[1].is_for(DrmSystem::Widevine));
    }
}
