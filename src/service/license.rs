//! `POST /license`: a licence of the DRM system that the request names.

use super::context::Context;
use super::key_system;
use super::problem::Problem;
use super::request_body::Body;
use super::response::Reply;
use super::{clearkey, fairplay, playready, widevine};
use crate::drm::{DrmSystem, Purpose};
use crate::encoding;
use crate::error::Code;
use crate::platform::Platform;
use zeroize::Zeroizing;

pub async fn post<P: Platform>(mut context: Context<'_, P>) -> Result<Reply, Problem> {
    // A challenge in bytes may look like text, and is taken as it is.
    let in_query = key_system::in_query(context.query())?;
    if !matches!(context.request.body().first(), Some(b'{')) {
        match in_query {
            Some(DrmSystem::Widevine) => return widevine::post(context).await,
            Some(DrmSystem::PlayReady) => return playready::post(context).await,
            _ => {}
        }
    }
    let body = Body::take(&mut context.request)?;
    let system = key_system::required(context.query(), body.member(key_system::PARAMETER))?;
    match system {
        DrmSystem::FairPlay => fairplay::answer(context, body, Purpose::License).await,
        DrmSystem::ClearKey => match body {
            Body::Json(document) => {
                clearkey::answer(&context, document.to_string().as_bytes()).await
            }
            Body::Octets(_) | Body::Text(_) | Body::Form(_) => {
                let reason = "a request of Clear Key is a JSON document with `kids`";
                Err(Problem::new(Code::REQUEST_MALFORMED, reason))
            }
        },
        DrmSystem::Widevine => widevine::answer(&context, &challenge(&body)?).await,
        DrmSystem::PlayReady => {
            playready::answer(&context, &challenge(&body)?, body.member("token")).await
        }
        DrmSystem::Aes128 => Err(Problem::new(
            Code::KEY_SYSTEM_UNSUPPORTED,
            format!("this server has no {}", system.title()),
        )),
    }
}

/// The message of a DRM system in a JSON document: `challenge`, or `payload` as Widevine's interface calls it, in base64.
fn challenge(body: &Body) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let text = body.member("challenge").or_else(|| body.member("payload"));
    let message = text
        .and_then(encoding::base64)
        .filter(|message| !message.is_empty());
    message.ok_or_else(|| {
        let reason = "give the challenge as bytes, or in base64 as the member `challenge` of a JSON document";
        Problem::new(Code::REQUEST_MALFORMED, reason)
    })
}
