//! `GET /healthz`: everything is loaded, and everything that is wrong is named by variable.

use http::StatusCode;
use serde::Serialize;

use super::context::Context;
use super::cors::Cors;
use super::origin::TrustedHeaders;
use super::problem::Problem;
use super::response::{Reply, json};
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::drm::Module;
use crate::error::Code;
use crate::fairplay::certificate::Certificate;
use crate::fairplay::credentials::{self, ApplicationSecret, Credentials};
use crate::operator::Operator;
use crate::platform::{self, Platform};
use crate::policy::Policies;
use crate::session::StoreFailure;
use crate::token::{self};

pub async fn get<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let licences = context.licences;
    let mut problems = Vec::new();
    let fairplay = match licences.credentials().await {
        Ok(Some(credentials)) => {
            collect(&mut problems, credentials.check());
            Some(credentials)
        }
        Ok(None) => {
            let message = "no DRM system is configured, so there is nothing to serve";
            problems.push(problem(&SettingError::new(
                credentials::CERTIFICATE,
                SettingErrorKind::Missing,
                message,
            )));
            None
        }
        Err(error) => {
            collect(&mut problems, Err(error));
            None
        }
    };
    collect(
        &mut problems,
        licences.keys().check(licences.platform()).await,
    );
    let policies = licences.policies().await;
    collect(&mut problems, policies.and_then(Policies::check));
    let fairplay_terms = licences.modules().fairplay.terms(licences.platform());
    collect(&mut problems, fairplay_terms.await.map(drop));
    collect(&mut problems, licences.server_secret().await.map(drop));
    let operator = Operator::load(licences.platform()).await;
    collect(&mut problems, operator.map(drop));
    let trusted_headers = TrustedHeaders::load(licences.platform()).await;
    collect(&mut problems, trusted_headers.map(drop));
    let query_tokens = token::query_tokens_allowed(licences.platform()).await;
    collect(&mut problems, query_tokens.map(drop));
    let store_failure = StoreFailure::load(licences.platform()).await;
    collect(&mut problems, store_failure.map(drop));

    let cors = Cors::read(licences.platform()).await;
    collect(&mut problems, cors.map(drop));

    let session_period = licences.session_period().await;
    collect(&mut problems, session_period.map(drop));

    if !problems.is_empty() {
        let status = "error";
        let document = Unhealthy { status, problems };
        return Ok(json(StatusCode::SERVICE_UNAVAILABLE, &document));
    }
    let document = Healthy {
        status: "ok",
        test_credentials: fairplay.is_some_and(|credentials| credentials.test_credentials),
        store: store(licences.platform()).await,
        fairplay: fairplay.map(describe).unwrap_or_default(),
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
    /// Whether the key-value store answers: `available`, `unavailable`, or `unsupported` where the host
    /// has none.
    store: &'static str,
    /// The FairPlay credentials.
    fairplay: Vec<CredentialDocument>,
}

/// A FairPlay credential.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct CredentialDocument {
    name: String,
    certificates: Vec<CertificateDocument>,
    /// Whether licences can be made: `false` without an ASk.
    licences: bool,
}

/// A certificate that SPCs can be made for.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Whether the key-value store answers. The configuration loads without it, so a store that is down
/// makes no server unhealthy: only terms that need it are refused.
async fn store(platform: &impl Platform) -> &'static str {
    match platform.get("health").await {
        Ok(_) => "available",
        Err(platform::Error::StoreUnsupported) => "unsupported",
        Err(_) => "unavailable",
    }
}

/// What a player's SPC can be made for: public, and what a support team asks for first.
fn describe(credentials: &Credentials) -> Vec<CredentialDocument> {
    let describe = |certificate: &Certificate| CertificateDocument {
        bits: certificate.bits(),
        sha1: hex::encode(certificate.sha1()),
        sha256: hex::encode(certificate.sha256()),
    };
    let credentials = credentials.iter().map(|credential| CredentialDocument {
        name: credential.name.clone(),
        certificates: (credential.certificate.certificates.iter().map(describe)).collect(),
        licences: !matches!(credential.secret, ApplicationSecret::Missing),
    });
    credentials.collect()
}

fn collect(problems: &mut Vec<SettingProblem>, result: Result<(), SettingsError>) {
    match result {
        Ok(()) => {}
        Err(SettingsError::Invalid(found)) => problems.extend(found.iter().map(problem)),
        Err(error @ SettingsError::Platform(_)) => problems.push(SettingProblem {
            code: Code::PLATFORM_UNAVAILABLE.name,
            variable: None,
            index: None,
            member: None,
            message: error.to_string(),
        }),
    }
}

fn problem(error: &SettingError) -> SettingProblem {
    SettingProblem {
        code: error.kind.code(),
        variable: Some(error.variable),
        index: error.index,
        member: error.member.clone(),
        message: error.message(),
    }
}
