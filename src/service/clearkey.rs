//! Keys in the clear: W3C Clear Key, and the keys of HLS AES-128.

use http::header::{ACCEPT_RANGES, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};

use super::context::Context;
use super::issue::{KID, issue};
use super::problem::Problem;
use super::response::{Reply, reply};
use crate::error::Code;
use crate::platform::Platform;

/// `POST /clearkey`: KIDs in, a JWK set out. The content type is not looked at: players send none, or any.
pub async fn post<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let message = context.request.body();
    if message.is_empty() {
        return Err(Code::BODY_EMPTY.into());
    }
    answer(&context, message).await
}

/// Answers a request of Clear Key.
pub async fn answer<P: Platform>(
    context: &Context<'_, P>,
    message: &[u8],
) -> Result<Reply, Problem> {
    let clearkey = &context.licences.modules().clearkey;
    let licence = issue(context, clearkey, message, None).await?;
    Ok(reply(StatusCode::OK, "application/json", licence.message))
}

/// `GET /aes128/{kid}`, and `?kid=` in place of the path: the 16 bytes of the key. A range is ignored: players that ask for one take the whole.
pub async fn aes128<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let in_query = context.parameter(KID);
    let kid = context.name.or(in_query.as_deref()).unwrap_or_default();
    let aes128 = &context.licences.modules().aes128;
    let licence = issue(&context, aes128, kid.as_bytes(), None).await?;
    let mut reply = reply(StatusCode::OK, "application/octet-stream", licence.message);
    let headers = reply.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(reply)
}
