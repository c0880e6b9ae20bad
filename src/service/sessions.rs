//! `/sessions`: secure sessions, for players and operators.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Reply, json, parameter};
use crate::drm::DrmSystem;
use crate::encoding;
use crate::error::Code;
use crate::licence::{self, LicenceServer, Session};
use crate::operator::Operator;
use crate::platform::Platform;
use crate::token;

/// The header with the seconds between two heartbeats.
pub const HEARTBEAT_HEADER: &str = "x-keylet-heartbeat-seconds";

/// The parameter with the viewer whose sessions an operator asks for: `sub` of his tokens, or `*`.
const SUBJECT: &str = "subject";

/// `POST`, `GET` and `DELETE /sessions`.
pub async fn reply<P: Platform>(
    licences: &LicenceServer<P>,
    request: Request<Vec<u8>>,
    id: &str,
) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query();
    if parts.method == Method::POST {
        let tokens = token::locate(&parts.headers, query, None);
        let session = licences
            .open_session(DrmSystem::FairPlay, id, &tokens, &wanted(&body)?)
            .await?;
        return Ok(session_response(&session));
    }
    require_operator(licences, &parts.headers).await?;
    let subject = parameter(query, SUBJECT)
        .filter(|subject| !subject.is_empty())
        .ok_or_else(|| Problem::new(Code::REQUEST_MALFORMED, "the query has no `subject`"))?;
    if parts.method == Method::DELETE {
        let subject = Some(subject.as_ref()).filter(|subject| *subject != "*");
        let ended = licences.end_sessions(id, subject, None).await?;
        return Ok(json(StatusCode::OK, &json!({"ended": ended})));
    }
    let sessions = licences.list_sessions(&subject).await?;
    Ok(json(StatusCode::OK, &json!({"sessions": sessions})))
}

/// `POST /sessions/{id}/heartbeat`.
pub async fn heartbeat<P: Platform>(
    licences: &LicenceServer<P>,
    request: &Request<Vec<u8>>,
    id: &str,
    session: &str,
) -> Result<Reply, Problem> {
    let token = token::session(request.headers());
    Ok(session_response(
        &licences.heartbeat(id, Some(session), token).await?,
    ))
}

/// `DELETE /sessions/{id}`: by the player that has it, or by the operator, who names the principal.
pub async fn delete<P: Platform>(
    licences: &LicenceServer<P>,
    request: &Request<Vec<u8>>,
    id: &str,
    session: &str,
) -> Result<Reply, Problem> {
    match parameter(request.uri().query(), SUBJECT) {
        Some(subject) => {
            require_operator(licences, request.headers()).await?;
            licences
                .end_sessions(id, Some(&subject), Some(session))
                .await?;
        }
        None => {
            let token = token::session(request.headers());
            licences.teardown(id, Some(session), token).await?;
        }
    }
    let mut reply = Response::new(Vec::new());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    Ok(reply)
}

/// What came in place of nothing.
fn wanted(body: &[u8]) -> Result<Value, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    encoding::json(body).map_err(|e| Problem::new(Code::REQUEST_MALFORMED, e))
}

fn session_response(session: &Session) -> Reply {
    let mut reply = json(StatusCode::OK, &json!(session));
    set_session_headers(session, reply.headers_mut());
    reply
}

/// What every answer with a session has in its headers.
pub fn set_session_headers(session: &Session, headers: &mut HeaderMap) {
    headers.insert(
        HEARTBEAT_HEADER,
        HeaderValue::from(session.heartbeat_seconds),
    );
    if let Ok(token) = HeaderValue::from_str(&session.token) {
        headers.insert(token::SESSION_HEADER, token);
    }
}

/// Lets nobody on but the operator, and where there is none nobody.
pub async fn require_operator<P: Platform>(
    licences: &LicenceServer<P>,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let operator = Operator::load(licences.platform())
        .await
        .map_err(licence::Error::from)?
        // Without an operator this endpoint does not exist.
        .ok_or(Code::ROUTE_NOT_FOUND)?;
    if token::bearer(headers).any(|bearer| operator.is(&bearer)) {
        Ok(())
    } else {
        Err(Code::OPERATOR_TOKEN.into())
    }
}
