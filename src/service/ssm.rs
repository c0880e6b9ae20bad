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

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::problem::Problem;
use super::sessions::{require_operator, set_session_headers};
use super::{Reply, json};
use crate::drm::DrmSystem;
use crate::encoding;
use crate::error::Code;
use crate::licence::{self, LicenceServer, Session};
use crate::platform::Platform;
use crate::token;

/// What a player asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `setup`
    Setup,
    /// `heartbeat`
    Heartbeat,
    /// `teardown`
    Teardown,
    /// `killAccountSessions`
    Kill,
}

impl Action {
    /// Each with its pattern.
    pub const ALL: [(&'static str, Self); 4] = [
        ("/{tenant}/ssm/v1/sessions/setup", Self::Setup),
        ("/{tenant}/ssm/v1/sessions/heartbeat", Self::Heartbeat),
        ("/{tenant}/ssm/v1/sessions/teardown", Self::Teardown),
        ("/{tenant}/ssm/v1/sessions/killAccountSessions", Self::Kill),
    ];

    /// The action of a path, and its pattern. Tenants are told apart by their tokens alone.
    pub fn of(path: &str) -> Option<(&'static str, Self)> {
        let (tenant, rest) = path.strip_prefix('/')?.split_once('/')?;
        let is_it = |pattern: &str| pattern.strip_prefix("/{tenant}/") == Some(rest);
        let found = Self::ALL.into_iter().find(|(pattern, _)| is_it(pattern));
        found.filter(|_| !tenant.is_empty())
    }
}

/// Answers it, where tokens of that kind are accepted.
pub async fn reply<P: Platform>(
    licences: &LicenceServer<P>,
    request: Request<Vec<u8>>,
    id: &str,
    action: Action,
) -> Result<Reply, Problem> {
    let policies = licences.policies().await.map_err(licence::Error::from)?;
    if !policies.dialects().has_nagra() {
        return Err(Code::ROUTE_NOT_FOUND.into());
    }
    let (parts, body) = request.into_parts();
    let session = token::session(&parts.headers);
    match action {
        Action::Setup => {
            let tokens = token::locate(&parts.headers, parts.uri.query(), None);
            let opened = licences
                .open_session(DrmSystem::FairPlay, id, &tokens, &Value::Null)
                .await;
            opened
                .map(|session| session_response(&session))
                .map_err(numbered)
        }
        Action::Heartbeat => {
            let heard = licences.heartbeat(id, None, session).await;
            heard
                .map(|session| session_response(&session))
                .map_err(numbered)
        }
        Action::Teardown => {
            licences.teardown(id, None, session).await?;
            Ok(json(StatusCode::OK, &json!({})))
        }
        Action::Kill => {
            require_operator(licences, &parts.headers).await?;
            let asked =
                encoding::json(&body).map_err(|e| Problem::new(Code::REQUEST_MALFORMED, e))?;
            let account = asked.get("accountId").and_then(Value::as_str);
            let account = account
                .ok_or_else(|| Problem::new(Code::REQUEST_MALFORMED, "there is no `accountId`"))?;
            licences.end_sessions(id, Some(account), None).await?;
            Ok(json(StatusCode::OK, &json!({})))
        }
    }
}

fn session_response(session: &Session) -> Reply {
    let mut reply = json(
        StatusCode::OK,
        &json!({"heartBeat": session.heartbeat_seconds, "sessionToken": session.token}),
    );
    set_session_headers(session, reply.headers_mut());
    reply
}

/// The vendor's number, where there is a public one.
fn numbered(error: licence::Error) -> Problem {
    let mut problem = Problem::from(error);
    problem.error_code = (problem.code == Code::STREAMS_EXCEEDED).then_some(1007);
    problem
}
