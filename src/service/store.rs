//! `/store/sweep`: the key-value store, for the operator.

use http::StatusCode;

use super::context::Context;
use super::operator::require_operator;
use super::parameter::{flag, number};
use super::problem::Problem;
use super::response::{Reply, json};
use crate::platform::Platform;
use crate::sweep::{STEP, Step};

/// `POST /store/sweep`: a step of a sweep.
pub async fn sweep<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_operator(context.licences, context.headers()).await?;
    let limit = number(&context, "limit")?;
    let after = context.parameter("after");
    let step = Step {
        after: after.as_deref(),
        limit: limit.map_or(STEP, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        is_dry: flag(&context, "dry_run")?,
    };
    let swept = context.licences.sweep_store(context.id, step).await?;
    Ok(json(StatusCode::OK, &swept))
}
