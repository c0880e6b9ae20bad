//! `POST /fairplay/inspect`: an SPC explained, for operators.

use http::{Request, StatusCode};

use super::body::{Body, SpcRequest};
use super::problem::Problem;
use super::{Reply, json};
use crate::error::Code;
use crate::licence::{self, Licensing};
use crate::operator::Operator;
use crate::platform::Platform;
use crate::token;

pub async fn reply<P: Platform>(
    licensing: &Licensing<P>,
    request: Request<Vec<u8>>,
) -> Result<Reply, Problem> {
    let operator = Operator::load(licensing.platform())
        .await
        .map_err(licence::Error::from)?
        // Without an operator this endpoint does not exist.
        .ok_or(Code::ROUTE_NOT_FOUND)?;
    let (parts, body) = request.into_parts();
    if !token::bearer(&parts.headers).any(|bearer| operator.is(&bearer)) {
        return Err(Code::OPERATOR_TOKEN.into());
    }
    let body = Body::read(&parts.headers, body)?;
    let spc = SpcRequest::of(&parts.headers, body)?.only()?;
    Ok(json(StatusCode::OK, &licensing.inspect(&spc).await?))
}
