//! `POST /tokens`: a playback token, for operators, and for viewers when their policy's back end agrees.

use http::StatusCode;

use super::context::Context;
use super::key_system;
use super::operator::is_operator;
use super::problem::Problem;
use super::response::{Reply, json};
use crate::encoding;
use crate::error::Code;
use crate::platform::Platform;

pub async fn post<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let Context {
        licences,
        request,
        id,
        ..
    } = &context;
    let is_operator = is_operator(licences, request.headers()).await?;
    if request.body().is_empty() {
        return Err(Code::BODY_EMPTY.into());
    }
    let wanted = encoding::json(request.body())
        .map_err(|reason| Problem::new(Code::REQUEST_MALFORMED, reason))?;
    let minted = if is_operator == Some(true) {
        licences.mint_for_operator(id, &wanted).await?
    } else {
        let system = key_system::optional(context.query())?;
        let tokens = context.tokens(None);
        licences
            .mint_for_viewer(system, id, &tokens, &wanted)
            .await?
    };
    Ok(json(StatusCode::OK, &minted))
}
