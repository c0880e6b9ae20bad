//! `GET /healthz`: everything is loaded, and everything that is wrong is named by variable.

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
use crate::platform::{self, Platform};

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
    // A store that is away may take minutes to say so. Whoever asks for the configuration does not wait for it.
    let store = match context.parameter("store") {
        Some(_) => Some(store(licences.platform()).await),
        None => None,
    };
    let fairplay = licences.credentials().all(licences.platform()).await;
    let fairplay = fairplay.unwrap_or_default();
    let test_credentials = test_credentials_allowed(licences.platform()).await;
    let test_credentials = !fairplay.is_empty() && test_credentials.unwrap_or_default();
    let document = Healthy {
        status: "ok",
        test_credentials,
        store,
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
    /// The FairPlay credentials.
    fairplay: Vec<CredentialDocument>,
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
