//! `POST /fairplay`, `POST /license`: SPC in, CKC out. `POST /fairplay/check-in`: a sync SPC in, its
//! report out.

use base64::Engine;
use http::{HeaderMap, Request, StatusCode};
use serde_json::json;

use super::body::{Body, SpcRequest};
use super::format::Format;
use super::origin::TrustedHeaders;
use super::problem::Problem;
use super::reply::{self, Outcome};
use super::{Reply, json, key_system, parameter};
use crate::drm::{DrmSystem, Purpose};
use crate::encoding::BASE64;
use crate::error::Code;
use crate::licence::{LicenceServer, LicenseRequest, SessionRequest};
use crate::platform::Platform;
use crate::token;

/// Where an SPC is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/fairplay`.
    Fairplay,
    /// `/license`, where the request names its key system.
    License,
    /// `/fairplay/check-in`.
    CheckIn,
}

/// Answers the SPCs of a request.
pub async fn reply<P: Platform>(
    licences: &LicenceServer<P>,
    request: Request<Vec<u8>>,
    id: &str,
    endpoint: Endpoint,
) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query();
    let body = Body::read(&parts.headers, body)?;
    if endpoint == Endpoint::License {
        key_system::required(query, body.member(key_system::PARAMETER))?;
    }
    let tokens = token::locate(&parts.headers, query, body.member("token"));
    let session = SessionRequest {
        token: token::session(&parts.headers),
        is_renewal: license_type(&parts.headers, query, body.member(LICENSE_TYPE))?,
    };
    let request = SpcRequest::of(&parts.headers, body)?;
    let format = Format::of_reply(query, &parts.headers, tokens.place(), &request)?;

    let principal = licences
        .authenticate(DrmSystem::FairPlay, id, &tokens)
        .await?;
    let purpose = match endpoint {
        Endpoint::CheckIn => Purpose::Report,
        Endpoint::Fairplay | Endpoint::License => Purpose::License,
    };
    let place = async || {
        let trusted = TrustedHeaders::load(licences.platform()).await?;
        Ok(trusted.place(&parts.headers))
    };
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(request.keys.len());
    for key in &request.keys {
        outcomes.push(match &key.spc {
            Ok(spc) => {
                let request = LicenseRequest {
                    purpose,
                    id,
                    message: spc,
                    session,
                };
                let fairplay = &licences.modules().fairplay;
                let licence = licences.issue(fairplay, &principal, request, place).await;
                licence.map_err(Problem::from)
            }
            Err(problem) => Err(problem.clone()),
        });
    }
    reply::write(format, &request, outcomes)
}

/// Where a player says what a licence is for: a parameter of the query, a header, or a member of a JSON
/// body.
const LICENSE_TYPE: &str = "licenseType";

/// Whether a player asks for a renewal, where it says so (Nagra CONNECT's licence callback).
fn license_type(
    headers: &HeaderMap,
    query: Option<&str>,
    in_body: Option<&str>,
) -> Result<Option<bool>, Problem> {
    let in_query = parameter(query, LICENSE_TYPE);
    let in_header = headers
        .get(LICENSE_TYPE)
        .and_then(|value| value.to_str().ok());
    match in_query.as_deref().or(in_header).or(in_body) {
        None => Ok(None),
        Some("license-request") => Ok(Some(false)),
        Some("license-renewal" | "license-renew") => Ok(Some(true)),
        Some(_) => Err(Problem::new(
            Code::REQUEST_MALFORMED,
            "`licenseType` is neither `license-request` nor `license-renewal`",
        )),
    }
}

/// `POST /fairplay/check-in/challenge`: 8 bytes that a device is to answer, in both encodings that
/// apps ask for, and when they are waited for no more.
pub async fn challenge<P: Platform>(
    licences: &LicenceServer<P>,
    request: &Request<Vec<u8>>,
) -> Result<Reply, Problem> {
    let tokens = token::locate(request.headers(), request.uri().query(), None);
    let challenge = licences.challenge(DrmSystem::FairPlay, &tokens).await?;
    Ok(json(
        StatusCode::OK,
        &json!({
            "challenge": hex::encode(challenge.bytes),
            "challenge_base64": BASE64.encode(challenge.bytes),
            "expires_at": challenge.expires_at,
        }),
    ))
}
