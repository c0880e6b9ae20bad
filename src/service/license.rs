//! `POST /license`: a licence of the DRM system that the request names.

use super::context::Context;
use super::fairplay;
use super::key_system;
use super::problem::Problem;
use super::request_body::Body;
use super::response::Reply;
use crate::drm::Purpose;
use crate::platform::Platform;

pub async fn post<P: Platform>(mut context: Context<'_, P>) -> Result<Reply, Problem> {
    let body = Body::take(&mut context.request)?;
    let system = key_system::required(context.query(), body.member(key_system::PARAMETER))?;
    key_system::require_served(system)?;
    fairplay::answer(context, body, Purpose::License).await
}
