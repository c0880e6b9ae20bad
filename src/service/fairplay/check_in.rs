//! `POST /fairplay/check-in`: a sync SPC in, its report out. `POST /fairplay/check-in/challenge`: what a
//! device is to answer.

use base64::Engine;
use http::StatusCode;
use serde::Serialize;

use crate::drm::{DrmSystem, Purpose};
use crate::encoding::BASE64;
use crate::platform::Platform;
use crate::service::context::Context;
use crate::service::problem::Problem;
use crate::service::request_body::Body;
use crate::service::response::{Reply, json};

pub async fn post<P: Platform>(mut context: Context<'_, P>) -> Result<Reply, Problem> {
    let body = Body::take(&mut context.request)?;
    super::answer(context, body, Purpose::Report).await
}

/// A challenge: 8 bytes that a device answers in a sync SPC.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Challenge"))]
pub(in crate::service) struct ChallengeDocument {
    /// 16 hexadecimal digits
    challenge: String,
    /// The same bytes in base64
    challenge_base64: String,
    /// Seconds since 1970
    expires_at: u64,
}

pub async fn challenge<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let tokens = context.tokens(None);
    let challenge = context
        .licences
        .challenge(DrmSystem::FairPlay, &tokens)
        .await?;
    let document = ChallengeDocument {
        challenge: hex::encode(challenge.bytes),
        challenge_base64: BASE64.encode(challenge.bytes),
        expires_at: challenge.expires_at,
    };
    Ok(json(StatusCode::OK, &document))
}
