//! `POST /fairplay/inspect`: an SPC explained, for operators.

use http::{Request, StatusCode};

use super::body::{Body, SpcRequest};
use super::problem::Problem;
use super::sessions::require_operator;
use super::{Reply, json};
use crate::licence::LicenceServer;
use crate::platform::Platform;

pub async fn reply<P: Platform>(
    licences: &LicenceServer<P>,
    request: Request<Vec<u8>>,
) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    require_operator(licences, &parts.headers).await?;
    let body = Body::read(&parts.headers, body)?;
    let spc = SpcRequest::of(&parts.headers, body)?.only()?;
    Ok(json(StatusCode::OK, &licences.inspect(&spc).await?))
}
