//! `/sessions`: secure sessions, for players and operators.

pub mod ssm;

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::context::Context;
use super::key_system;
use super::operator::require_operator;
use super::problem::Problem;
use super::response::{Reply, empty, json};
use super::session_headers::set_session_headers;
use crate::encoding;
use crate::error::Code;
use crate::licence::{Listed, Session};
use crate::platform::Platform;
use crate::token;

/// The parameter with the viewer whose sessions an operator asks for: `sub` of the viewer's tokens, or `*`.
const SUBJECT: &str = "subject";

/// How many sessions were ended.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "SessionsEnded"))]
pub(in crate::service) struct EndedSessions {
    ended: usize,
}

/// The active sessions of a viewer.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(in crate::service) struct SessionList {
    sessions: Vec<Listed>,
}

/// `POST /sessions` by a player; `GET` and `DELETE` by the operator.
pub async fn any<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let licences = context.licences;
    if context.request.method() == Method::POST {
        let system = key_system::optional(context.query())?;
        let tokens = context.tokens(None);
        let wanted = optional_json(context.request.body())?;
        let last = token::session(context.headers());
        let session = licences.open_session(system, context.id, &tokens, last, &wanted);
        return Ok(session_response(&session.await?));
    }
    require_operator(licences, context.headers()).await?;
    let subject = context
        .parameter(SUBJECT)
        .filter(|subject| !subject.is_empty())
        .ok_or_else(|| Problem::new(Code::REQUEST_MALFORMED, "the query has no `subject`"))?;
    if context.request.method() == Method::DELETE {
        let subject = Some(subject.as_ref()).filter(|subject| *subject != "*");
        let ended = licences.end_sessions(context.id, subject, None).await?;
        return Ok(json(StatusCode::OK, &EndedSessions { ended }));
    }
    let sessions = licences.list_sessions(&subject).await?;
    Ok(json(StatusCode::OK, &SessionList { sessions }))
}

/// `POST /sessions/{id}/heartbeat`.
pub async fn heartbeat<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let token = token::session(context.headers());
    let session = context.licences.heartbeat(context.id, context.name, token);
    Ok(session_response(&session.await?))
}

/// `DELETE /sessions/{id}`: by the player that has it, or by the operator, who names the viewer.
pub async fn delete<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let licences = context.licences;
    match context.parameter(SUBJECT) {
        Some(subject) => {
            require_operator(licences, context.headers()).await?;
            let ended = licences.end_sessions(context.id, Some(&subject), context.name);
            ended.await?;
        }
        None => {
            let token = token::session(context.headers());
            licences.teardown(context.id, context.name, token).await?;
        }
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Parses the optional JSON body; an empty one is `null`.
fn optional_json(body: &[u8]) -> Result<Value, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    encoding::json(body).map_err(|reason| Problem::new(Code::REQUEST_MALFORMED, reason))
}

fn session_response(session: &Session) -> Reply {
    let mut reply = json(StatusCode::OK, session);
    set_session_headers(session, reply.headers_mut());
    reply
}
