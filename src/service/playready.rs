//! PlayReady: a challenge in, the licence of the licence service out.

use http::{HeaderValue, StatusCode};

use super::context::Context;
use super::issue::issue;
use super::problem::{CODE_HEADER, Problem};
use super::response::{Reply, reply};
use crate::error::Code;
use crate::licence;
use crate::platform::Platform;
use crate::playready::{fault, token_in};

/// The type of SOAP 1.1.
const SOAP: &str = "text/xml; charset=utf-8";

/// `POST /playready`: a challenge, as the player has it. The content type is not looked at: players send any.
pub async fn post<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    answer(&context, context.request.body(), None).await
}

/// Answers a challenge. `in_body` is a token that stands beside it.
///
/// # Errors
/// The refusal, unless the setting wants faults.
pub async fn answer<P: Platform>(
    context: &Context<'_, P>,
    message: &[u8],
    in_body: Option<&str>,
) -> Result<Reply, Problem> {
    let licences = context.licences;
    let playready = &licences.modules().playready;
    let licence = async {
        if message.is_empty() {
            return Err(Code::BODY_EMPTY.into());
        }
        // Applications write what they like into custom data, so it counts where there is no other token.
        let tokens = context.tokens(in_body);
        let is_alone = async {
            let dialects = licences.policies().await?.dialects();
            tokens.is_empty(dialects, licences.platform()).await
        };
        let is_alone = is_alone.await.map_err(licence::Error::from)?;
        let custom = is_alone.then(|| token_in(message)).flatten();
        issue(context, playready, message, in_body.or(custom.as_deref())).await
    };
    match licence.await {
        Ok(licence) => Ok(reply(StatusCode::OK, SOAP, licence.message)),
        Err(problem)
            if !problem.is_of_service() && playready.refuses_in_soap(licences.platform()).await =>
        {
            let Code { name, title, .. } = problem.code;
            let fault = fault(&format!("{name}: {title}"));
            let mut reply = reply(StatusCode::INTERNAL_SERVER_ERROR, SOAP, fault);
            let headers = reply.headers_mut();
            headers.insert(CODE_HEADER, HeaderValue::from_static(name));
            Ok(reply)
        }
        Err(problem) => Err(problem),
    }
}
