//! FairPlay: SPC in, CKC out.

pub mod certificate;
pub mod check_in;
pub mod inspect;
mod negotiation;
pub(super) mod reply;
mod spc_request;

use futures_util::future::join;
use http::HeaderMap;

use self::reply::Outcome;
use self::spc_request::SpcRequest;
use crate::drm::{DrmSystem, Purpose};
use crate::error::Code;
use crate::licence::{LicenseRequest, Renewal, SessionRequest};
use crate::platform::Platform;
use crate::service::context::{Context, parameter};
use crate::service::origin::TrustedHeaders;
use crate::service::problem::Problem;
use crate::service::request_body::Body;
use crate::service::response::Reply;
use crate::token;

/// `POST /fairplay`: SPCs in, CKCs out.
pub async fn post<P: Platform>(mut context: Context<'_, P>) -> Result<Reply, Problem> {
    let body = Body::take(&mut context.request)?;
    answer(context, body, Purpose::License).await
}

/// Answers the SPCs of a body.
pub async fn answer<P: Platform>(
    context: Context<'_, P>,
    body: Body,
    purpose: Purpose,
) -> Result<Reply, Problem> {
    let (licences, headers, query) = (context.licences, context.headers(), context.query());
    let tokens = context.tokens(body.member("token"));
    let session = SessionRequest {
        token: token::session(headers),
        is_renewal: license_type(headers, query, body.member(LICENSE_TYPE))?,
    };
    let request = SpcRequest::from_body(headers, body)?;
    let format = negotiation::reply_format(query, headers, tokens.vendor(), &request)?;

    let principal = licences.authenticate(DrmSystem::FairPlay, context.id, &tokens);
    let (principal, ()) = join(principal, licences.read_ahead(DrmSystem::FairPlay)).await;
    let principal = principal?;
    let origin = async || {
        let trusted = TrustedHeaders::load(licences.platform()).await?;
        Ok(trusted.origin(headers))
    };
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(request.keys.len());
    // A back end that failed for one key is not asked, and waited for, for each of the others.
    let mut failed: Option<Problem> = None;
    for key in &request.keys {
        let outcome = match (&key.spc, &failed) {
            (Ok(spc), None) => {
                let request = LicenseRequest {
                    purpose,
                    id: context.id,
                    message: spc,
                    keys: &[],
                    session,
                    renewal: Renewal::ByPlayer,
                };
                let fairplay = &licences.modules().fairplay;
                let issued = licences.issue(fairplay, &principal, request, &origin).await;
                issued.map_err(Problem::from)
            }
            (Err(problem), _) | (Ok(_), Some(problem)) => Err(problem.clone()),
        };
        if let Err(problem) = &outcome
            && problem.code == Code::CALLBACK_FAILED
        {
            failed.get_or_insert_with(|| problem.clone());
        }
        outcomes.push(outcome);
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
