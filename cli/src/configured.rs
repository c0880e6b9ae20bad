//! The roles that an operator can play with the variables of a deployment: a device that has the
//! provider's credentials, and a viewer whose token the deployment's own keys sign.

use anyhow::{Context, Result, anyhow};
use keylet::encoding;
use keylet::fairplay::credentials::{ApplicationSecret, Credential, Credentials};
use keylet::platform;
use keylet::token::claim::ENTITLEMENTS;
use keylet::token::{self, POLICIES};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::device::ApplicationKey;
use crate::random;
use crate::settings::Settings;
use crate::signing_key::SigningKey;
use keylet_host::Provided;

/// How long a token holds, in seconds.
const TOKEN_SECONDS: u64 = 300;

/// What a round of PBKDF2 takes in a component, in nanoseconds.
const ROUND_NANOSECONDS: u64 = 650;

/// Who signs it, where the server takes any issuer, and its audience.
const ANYBODY: &str = "keylet";

/// The credentials of settings whose application secret key is known.
pub async fn application_keys(settings: &Provided) -> Vec<ApplicationKey> {
    let credentials = Credentials::default();
    let all = credentials.all(&Settings(settings.clone())).await;
    let keys = all
        .unwrap_or_default()
        .into_iter()
        .filter_map(|credential| {
            let (ask, is_dask) = match &credential.secret {
                ApplicationSecret::Ask(ask) => (ask.clone(), false),
                ApplicationSecret::Development(dask) => (dask.clone(), true),
                ApplicationSecret::Missing => return None,
            };
            Some(ApplicationKey {
                certificate: credential.certificate.der.clone(),
                ask,
                is_dask,
            })
        });
    keys.collect()
}

/// The certificate of the credential with this name.
pub async fn certificate(settings: &Provided, name: &str) -> Option<Vec<u8>> {
    let credentials = Credentials::default();
    let all = credentials.all(&Settings(settings.clone())).await.ok()?;
    let named = all.into_iter().find(|credential| credential.name == name)?;
    Some(named.certificate.der.clone())
}

/// What it costs each cold start to decrypt the private keys, where that is more than a licence; in a sentence.
pub async fn decryption(settings: &Provided) -> Option<String> {
    let credentials = Credentials::default();
    let all = credentials.all(&Settings(settings.clone())).await.ok()?;
    let rounds: u64 = all.into_iter().map(Credential::rounds).sum();
    let milliseconds = rounds * ROUND_NANOSECONDS / 1_000_000;
    (milliseconds > 0).then(|| {
        format!(
            "the private key is encrypted with {rounds} rounds of PBKDF2, some {milliseconds} ms of each cold start"
        )
    })
}

/// Who signs tokens in the place of their issuer.
pub struct Issuer {
    /// A symmetric key that the deployment verifies with.
    pub key: SigningKey,
    /// What it takes as `iss`.
    pub issuer: String,
    /// What it takes as `aud`.
    pub audience: String,
    /// The claim in which it looks for entitlements; `None` where the policy option alone says what is allowed.
    pub claim: Option<String>,
}

/// The issuer whose tokens the settings take, if a symmetric key is among its keys: of a policy option, or else of
/// `token_keys`.
///
/// # Errors
/// A sentence that says what is missing.
pub fn issuer(settings: &Provided) -> Result<Issuer> {
    let setting = |name: &str| platform::value(name, settings.get(name)?.clone());
    let claim = setting(token::ENTITLEMENT_CLAIM);
    let claim = claim.map_or_else(|| ENTITLEMENTS.to_owned(), |name| name.as_str().to_owned());
    let options: Vec<Value> = match setting(POLICIES) {
        Some(policies) => {
            let options: Value = encoding::json(policies.as_bytes())
                .map_err(|error| anyhow!("{POLICIES}: {error}"))?;
            options.as_array().cloned().unwrap_or_default()
        }
        None => {
            let keys = setting(token::KEYS).context(
                "there are no keys for tokens yet: `keylet policies add NAME` makes a policy with a key",
            )?;
            let parties = |name: &str| {
                let text = setting(name).unwrap_or_default();
                serde_json::from_str(&text).unwrap_or_else(|_| json!(text.as_str()))
            };
            let keys = encoding::json(keys.as_bytes());
            let restriction = json!({
                "jwks": keys.unwrap_or_default(),
                "issuer": parties(token::ISSUER),
                "audience": parties(token::AUDIENCE),
            });
            vec![json!({ "restriction": restriction })]
        }
    };
    options.iter().find_map(|option| of_option(option, &claim)).context(
        "no key for tokens here is symmetric, so only their issuer can sign them: give its private key with --key",
    )
}

/// An issuer by a policy option; `claim` has the entitlements where the option does not say it.
fn of_option(option: &Value, claim: &str) -> Option<Issuer> {
    let restriction = &option["restriction"];
    let set = restriction.get("jwks").unwrap_or(&Value::Null);
    let set = set.get("keys").unwrap_or(set);
    let azure = restriction.get("primaryVerificationKey");
    let azure = azure.and_then(|key| key["keyValue"].as_str());
    let azure = azure.map(|key| json!({"kty": "oct", "k": key}));
    let mut keys = set.as_array().into_iter().flatten().chain(&azure);
    let key = keys.find(|key| key["kty"] == "oct" && key["use"] != "enc")?;
    let first = |name: &str| match &restriction[name] {
        Value::Array(list) => list.first()?.as_str().map(ToOwned::to_owned),
        party => Some(party.as_str()?.replace('*', ANYBODY)),
    };
    Some(Issuer {
        key: SigningKey::read(key.to_string().as_bytes(), None, None, None).ok()?,
        issuer: first("issuer")?,
        audience: first("audience")?,
        claim: match &option["entitlement_claim"] {
            Value::Bool(false) => None,
            Value::String(own) => Some(own.clone()),
            _ => Some(claim.to_owned()),
        },
    })
}

/// A token signed by a symmetric key of the settings, for every key, as their issuer would make it. `None` where there
/// is no such key.
pub fn token(settings: &Provided) -> Option<Zeroizing<String>> {
    let issuer = issuer(settings).ok()?;
    let mut claims = json!({
        "iss": issuer.issuer,
        "aud": issuer.audience,
        "exp": platform::system_time() + TOKEN_SECONDS,
    });
    if let Some(name) = &issuer.claim {
        claims[name] = json!([{"keys": ["*"]}]);
    }
    issuer
        .key
        .signer
        .token(issuer.key.kid.as_deref(), &claims, &mut random::system())
        .map(Zeroizing::new)
        .ok()
}
