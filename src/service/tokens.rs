//! `POST /tokens`: a playback token, for operators, and for viewers whom a back end lets have one.

use http::{Request, StatusCode};
use serde_json::json;

use super::problem::Problem;
use super::{Reply, json};
use crate::drm::DrmSystem;
use crate::encoding;
use crate::error::Code;
use crate::licence::{self, LicenceServer};
use crate::operator::Operator;
use crate::platform::Platform;
use crate::token;

/// Mints a token.
pub async fn reply<P: Platform>(
    licences: &LicenceServer<P>,
    request: Request<Vec<u8>>,
    id: &str,
) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let operator = Operator::load(licences.platform())
        .await
        .map_err(licence::Error::from)?;
    let is_operator = operator
        .is_some_and(|operator| token::bearer(&parts.headers).any(|bearer| operator.is(&bearer)));
    if body.is_empty() {
        return Err(Code::BODY_EMPTY.into());
    }
    let wanted = encoding::json(&body).map_err(|e| Problem::new(Code::REQUEST_MALFORMED, e))?;
    let minted = if is_operator {
        licences.mint_for_operator(id, &wanted).await?
    } else {
        let tokens = token::locate(&parts.headers, parts.uri.query(), None);
        licences
            .mint_for_viewer(DrmSystem::FairPlay, id, &tokens, &wanted)
            .await?
    };
    Ok(json(
        StatusCode::OK,
        &json!({"token": minted.token, "expires_in": minted.expires_in}),
    ))
}
