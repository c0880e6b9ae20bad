//! `POST /fairplay/inspect`: an SPC explained, for operators.

use http::StatusCode;

use super::spc_request::SpcRequest;
use crate::platform::Platform;
use crate::service::context::Context;
use crate::service::operator::require_operator;
use crate::service::problem::Problem;
use crate::service::request_body::Body;
use crate::service::response::{Reply, json};

pub async fn post<P: Platform>(mut context: Context<'_, P>) -> Result<Reply, Problem> {
    require_operator(context.licences, context.headers()).await?;
    let body = Body::take(&mut context.request)?;
    let spc = SpcRequest::from_body(context.headers(), body)?.only()?;
    Ok(json(StatusCode::OK, &context.licences.inspect(&spc).await?))
}
