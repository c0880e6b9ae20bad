//! The roles that an operator can play with the variables of a deployment: a device that has the
//! provider's credentials, and a viewer whose token the deployment's own keys sign.

use keylet::fairplay::credentials::{ApplicationSecret, Credential, Credentials};
use keylet::platform;
use keylet::token::POLICIES;
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

/// A token signed by a symmetric key of the settings, for every key, as their issuer would make it.
pub fn token(settings: &Provided) -> Option<Zeroizing<String>> {
    let setting = |name: &str| platform::value(name, settings.get(name)?.clone());
    if setting(POLICIES).is_some() {
        return None;
    }
    let keys: Value = serde_json::from_str(&setting("token_keys")?).ok()?;
    let mut keys = keys["keys"].as_array()?.iter();
    let key = keys.find(|key| key["kty"] == "oct")?;
    let signing = SigningKey::read(key.to_string().as_bytes(), None, None, None).ok()?;
    let first = |name: &str| {
        let text = setting(name)?;
        match serde_json::from_str::<Vec<String>>(&text) {
            Ok(list) => list.into_iter().next(),
            Err(_) => Some(text.replace('*', ANYBODY)),
        }
    };
    let claims = json!({
        "iss": first("token_issuer")?,
        "aud": first("token_audience")?,
        "exp": platform::system_time() + TOKEN_SECONDS,
        "entitlements": [{"keys": ["*"]}],
    });
    signing
        .signer
        .token(signing.kid.as_deref(), &claims, &mut random::system())
        .map(Zeroizing::new)
        .ok()
}
