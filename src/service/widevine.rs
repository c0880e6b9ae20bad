//! Widevine: a challenge in, the licence of the licence service out.

use http::StatusCode;

use super::context::Context;
use super::issue::issue;
use super::problem::Problem;
use super::response::{Reply, reply};
use crate::error::Code;
use crate::licence;
use crate::platform::Platform;
use crate::widevine::is_certificate_request;

/// `POST /widevine`: a challenge, as the player has it. The content type is not looked at: players send none, or any.
pub async fn post<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    if context.request.body().is_empty() {
        return Err(Code::BODY_EMPTY.into());
    }
    answer(&context, context.request.body()).await
}

/// Answers a challenge.
pub async fn answer<P: Platform>(
    context: &Context<'_, P>,
    message: &[u8],
) -> Result<Reply, Problem> {
    let licences = context.licences;
    let widevine = &licences.modules().widevine;
    let message = match is_certificate_request(message) {
        // It is the same for everybody, so it needs no token.
        true => {
            { widevine.certificate(licences.platform()).await }.map_err(licence::Error::from)?
        }
        false => issue(context, widevine, message, None).await?.message,
    };
    Ok(reply(StatusCode::OK, "application/octet-stream", message))
}
