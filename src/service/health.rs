//! `GET /healthz`: everything is loaded, and everything that is wrong is named by variable.

use futures_util::future::join_all;
use http::StatusCode;
use serde::Serialize;

use super::check::check;
use super::context::Context;
use super::problem::Problem;
use super::response::{Reply, json};
use crate::configuration::SettingError;
use crate::error::Code;
use crate::fairplay::certificate::Certificate;
use crate::fairplay::credentials::{ApplicationSecret, Credential, test_credentials_allowed};
use crate::licence::LicenceServer;
use crate::platform::{self, Platform};
use crate::token::POLICIES;

pub async fn get<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let licences = context.licences;
    let problems = check(licences).await;
    if !problems.is_empty() {
        let status = "error";
        let settings = problems.settings.into_iter().map(SettingProblem::from);
        let platform = problems.platform.into_iter().map(SettingProblem::from);
        let problems = settings.chain(platform).collect();
        let document = Unhealthy { status, problems };
        return Ok(json(StatusCode::SERVICE_UNAVAILABLE, &document));
    }
    // A store that is away may take minutes to say so. Who asks for the configuration waits for it only where keys come
    // by URL, as every licence does there.
    let store = match context.parameter("store") {
        Some(_) => Some(store(licences.platform()).await),
        None => None,
    };
    let fairplay = licences.credentials().all(licences.platform()).await;
    let fairplay = fairplay.unwrap_or_default();
    let test_credentials = test_credentials_allowed(licences.platform()).await;
    let test_credentials = !fairplay.is_empty() && test_credentials.unwrap_or_default();
    let is_asked = context.parameter("keys").is_some();
    let document = Healthy {
        status: "ok",
        test_credentials,
        store,
        warnings: key_warnings(licences, is_asked).await,
        fairplay: fairplay.into_iter().map(describe).collect(),
    };
    Ok(json(StatusCode::OK, &document))
}

/// Everything loads.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Healthy {
    /// `ok`
    status: &'static str,
    /// Whether the public development certificate of the FairPlay SDK is accepted.
    test_credentials: bool,
    /// With `?store`, whether the key-value store answers: `available`, `unavailable`, or `unsupported` where the host
    /// has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'static str>,
    /// What keeps some licences from being made, though the configuration loads; absent when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<KeyWarning>,
    /// The FairPlay credentials.
    fairplay: Vec<CredentialDocument>,
}

/// The keys that an issuer publishes could not be fetched when they were last asked for.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
struct KeyWarning {
    /// `token_keys_unavailable`: what a licence that needs these keys is refused with.
    code: &'static str,
    /// The variable with their URL: `token_keys` or `policies`.
    variable: &'static str,
    /// The name of the policy option; absent where there are no policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    option: Option<String>,
    /// What the attempt came to: `not_allowed`, `not_safe`, `no_answer`, `too_large`, `redirect`, `status`, `page`,
    /// `not_text`, `document`, `leads_elsewhere`, `asked_often` or `failed`.
    reason: &'static str,
    /// The same in a sentence, with scheme, host and port of the issuer. Never more of the URL.
    message: String,
    /// Until when the keys that were fetched before are used, in seconds since 1970; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    usable_until: Option<u64>,
}

/// A FairPlay credential.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
struct CredentialDocument {
    name: String,
    certificates: Vec<CertificateDocument>,
    /// Whether licences can be made: `false` without an ASk.
    licences: bool,
}

/// A certificate that SPCs can be made for.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
struct CertificateDocument {
    /// 1024 or 2048
    bits: usize,
    /// What an SPC of version 1 or 2 names it by, in hexadecimal.
    sha1: String,
    /// What an SPC of version 3 names it by, in hexadecimal.
    sha256: String,
}

/// Something does not load.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(super) struct Unhealthy {
    /// `error`
    status: &'static str,
    problems: Vec<SettingProblem>,
}

/// What is wrong with a setting, or that the host does not answer.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
struct SettingProblem {
    /// `setting_missing`, `setting_malformed`, `setting_unsupported`, `setting_mismatch`,
    /// `setting_collision`, `setting_refused`, or `platform_unavailable`
    code: &'static str,
    /// The variable, unless the host did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<&'static str>,
    /// The entry, where the value is a list, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// The member, where the value or the entry is an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    /// What is wrong, in a sentence. Never a value.
    message: String,
}

/// Whether the key-value store answers, as far as the host lets one wait for it. The configuration loads without it, so a store that is down
/// makes no server unhealthy: only terms that need it are refused.
async fn store(platform: &impl Platform) -> &'static str {
    match platform.get("health").await {
        Ok(_) => "available",
        Err(platform::Error::StoreUnsupported) => "unsupported",
        Err(_) => "unavailable",
    }
}

/// The issuers whose keys could not be fetched when they were last asked for.
async fn key_warnings<P: Platform>(licences: &LicenceServer<P>, is_asked: bool) -> Vec<KeyWarning> {
    let Ok(policies) = licences.policies().await else {
        return Vec::new();
    };
    let variable = policies.variable();
    let now = licences.platform().now();
    let warnings = policies.options().iter().map(async |option| {
        let keys = option.remote_keys()?;
        let failure = keys.failure(is_asked, licences.platform(), now).await?;
        Some(KeyWarning {
            code: Code::TOKEN_KEYS_UNAVAILABLE.name,
            variable,
            option: (variable == POLICIES).then(|| option.name.clone()),
            reason: failure.why.reason.name(),
            message: failure.why.to_string(),
            usable_until: failure.usable_until,
        })
    });
    join_all(warnings).await.into_iter().flatten().collect()
}

/// What a player's SPC can be made for: public, and what a support team asks for first.
fn describe(credential: &Credential) -> CredentialDocument {
    let describe = |certificate: &Certificate| CertificateDocument {
        bits: certificate.bits(),
        sha1: hex::encode(certificate.sha1()),
        sha256: hex::encode(certificate.sha256()),
    };
    CredentialDocument {
        name: credential.name.clone(),
        certificates: (credential.certificate.certificates.iter().map(describe)).collect(),
        licences: !matches!(credential.secret, ApplicationSecret::Missing),
    }
}

impl From<SettingError> for SettingProblem {
    fn from(error: SettingError) -> Self {
        Self {
            code: error.kind.code(),
            variable: Some(error.variable),
            index: error.index,
            message: error.message(),
            member: error.member,
        }
    }
}

impl From<platform::Error> for SettingProblem {
    fn from(error: platform::Error) -> Self {
        Self {
            code: Code::PLATFORM_UNAVAILABLE.name,
            variable: None,
            index: None,
            member: None,
            message: error.to_string(),
        }
    }
}
