//! `POST /license`: a licence of the DRM system that the request names.

use super::context::Context;
use super::key_system;
use super::problem::Problem;
use super::request_body::Body;
use super::response::Reply;
use super::{clearkey, fairplay};
use crate::drm::{DrmSystem, Purpose};
use crate::error::Code;
use crate::platform::Platform;

pub async fn post<P: Platform>(mut context: Context<'_, P>) -> Result<Reply, Problem> {
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
        DrmSystem::Widevine | DrmSystem::PlayReady | DrmSystem::Aes128 => Err(Problem::new(
            Code::KEY_SYSTEM_UNSUPPORTED,
            format!("this server has no {}", system.title()),
        )),
    }
}
