//! `GET /healthz`: everything is loaded, and everything that is wrong is named by variable.

use http::StatusCode;
use serde_json::{Value, json};

use super::context::Context;
use super::cors::Cors;
use super::origin::TrustedHeaders;
use super::problem::Problem;
use super::response::{Reply, json};
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::drm::Module;
use crate::error::Code;
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

    Ok(if problems.is_empty() {
        let test_credentials = fairplay.is_some_and(|credentials| credentials.test_credentials);
        json(
            StatusCode::OK,
            &json!({
                "status": "ok",
                "test_credentials": test_credentials,
                "store": store(licences.platform()).await,
                "fairplay": fairplay.map(describe),
            }),
        )
    } else {
        json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"status": "error", "problems": problems}),
        )
    })
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
fn describe(credentials: &Credentials) -> Value {
    credentials
        .iter()
        .map(|credential| {
            let certificates: Vec<Value> = credential
                .certificate
                .certificates
                .iter()
                .map(|c| json!({"bits": c.bits(), "sha1": hex::encode(c.sha1()), "sha256": hex::encode(c.sha256())}))
                .collect();
            json!({
                "name": credential.name,
                "certificates": certificates,
                "licences": !matches!(credential.secret, ApplicationSecret::Missing),
            })
        })
        .collect()
}

fn collect(problems: &mut Vec<Value>, result: Result<(), SettingsError>) {
    match result {
        Ok(()) => {}
        Err(SettingsError::Invalid(found)) => problems.extend(found.iter().map(problem)),
        Err(error @ SettingsError::Platform(_)) => {
            problems.push(
                json!({"code": Code::PLATFORM_UNAVAILABLE.name, "message": error.to_string()}),
            );
        }
    }
}

fn problem(error: &SettingError) -> Value {
    json!({"code": error.kind.code(), "variable": error.variable, "message": error.message()})
}
