//! `/{tenant}/ssm/v1/sessions/…`: sessions as the players of Nagra's Secure Session Manager ask for
//! them.
//!
//! | path | `nv-authorizations` | answer |
//! |---|---|---|
//! | `setup` | the content's token | `{"heartBeat", "sessionToken"}` |
//! | `heartbeat` | the last session token | the same |
//! | `teardown` | the last session token | `{}` |
//! | `killAccountSessions` | none: `authorization` is the operator's, `{"accountId"}` the body | `{}` |
//!
//! Documented (`docs.nagra.com`): paths, header, names of members, that the token changes with each
//! heartbeat, 1007 for too many sessions. Inferred: that the number stands in `errorCode`, beside the
//! members of a problem document; what `killAccountSessions` takes.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use crate::drm::DrmSystem;
use crate::encoding;
use crate::error::Code;
use crate::licence::{self, Session};
use crate::platform::Platform;
use crate::service::context::Context;
use crate::service::operator::require_operator;
use crate::service::problem::Problem;
use crate::service::response::{Reply, json};
use crate::service::session_headers::set_session_headers;
use crate::token;
use crate::token::vendor::nagra;

/// A session, as Nagra's players read it.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "SsmSession"))]
#[serde(rename_all = "camelCase")]
pub(in crate::service) struct SsmSession<'a> {
    /// Seconds between two heartbeats
    heart_beat: u64,
    session_token: &'a str,
}

/// An answer without members.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(in crate::service) struct SsmDone {}

pub async fn setup<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_nagra(&context).await?;
    let tokens = context.tokens(None);
    let last = token::session(context.headers());
    let system = DrmSystem::FairPlay;
    let opened = context
        .licences
        .open_session(system, context.id, &tokens, last, &Value::Null);
    let opened = opened.await.map_err(with_error_code)?;
    Ok(session_response(&opened))
}

pub async fn heartbeat<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_nagra(&context).await?;
    let token = token::session(context.headers());
    let session = context.licences.heartbeat(context.id, None, token);
    let session = session.await.map_err(with_error_code)?;
    Ok(session_response(&session))
}

pub async fn teardown<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_nagra(&context).await?;
    let token = token::session(context.headers());
    context.licences.teardown(context.id, None, token).await?;
    Ok(json(StatusCode::OK, &SsmDone {}))
}

pub async fn kill_account_sessions<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_nagra(&context).await?;
    require_operator(context.licences, context.headers()).await?;
    let malformed = |reason: String| Problem::new(Code::REQUEST_MALFORMED, reason);
    let body =
        encoding::json(context.request.body()).map_err(|error| malformed(error.to_string()))?;
    let account = body.get("accountId").and_then(Value::as_str);
    let account = account.ok_or_else(|| malformed("there is no `accountId`".to_owned()))?;
    let ended = context
        .licences
        .end_sessions(context.id, Some(account), None);
    ended.await?;
    Ok(json(StatusCode::OK, &SsmDone {}))
}

/// These routes exist where tokens of Nagra's are accepted. Tenants differ by their tokens alone.
async fn require_nagra<P: Platform>(context: &Context<'_, P>) -> Result<(), Problem> {
    let policies = context.licences.policies().await;
    let policies = policies.map_err(licence::Error::from)?;
    if policies.dialects().has(&nagra::VENDOR) {
        Ok(())
    } else {
        Err(Code::ROUTE_NOT_FOUND.into())
    }
}

fn session_response(session: &Session) -> Reply {
    let document = SsmSession {
        heart_beat: session.heartbeat_seconds,
        session_token: &session.token,
    };
    let mut reply = json(StatusCode::OK, &document);
    set_session_headers(session, reply.headers_mut());
    reply
}

/// Adds the vendor's number, where there is a public one.
fn with_error_code(error: licence::Error) -> Problem {
    let mut problem = Problem::from(error);
    if problem.code == Code::STREAMS_EXCEEDED {
        problem.extensions.push(("errorCode", 1007.into()));
    }
    problem
}
