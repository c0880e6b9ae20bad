//! Routes of the operator.

use http::HeaderMap;

use super::problem::Problem;
use crate::error::Code;
use crate::licence::{self, LicenceServer};
use crate::operator::Operator;
use crate::platform::Platform;
use crate::token;

/// Whether a request carries the operator's bearer token. `None` when no operator is configured.
///
/// # Errors
/// What is wrong with `operator_token`.
pub async fn is_operator<P: Platform>(
    licences: &LicenceServer<P>,
    headers: &HeaderMap,
) -> Result<Option<bool>, Problem> {
    let operator = Operator::load(licences.platform()).await;
    let operator = operator.map_err(licence::Error::from)?;
    let is_it = |operator: Operator| token::bearer(headers).any(|bearer| operator.is(&bearer));
    Ok(operator.map(is_it))
}

/// Requires the operator's bearer token.
///
/// # Errors
/// `operator_token` without it; `route_not_found` when no operator is configured.
pub async fn require_operator<P: Platform>(
    licences: &LicenceServer<P>,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    match is_operator(licences, headers).await? {
        Some(true) => Ok(()),
        Some(false) => Err(Code::OPERATOR_TOKEN.into()),
        None => Err(Code::ROUTE_NOT_FOUND.into()),
    }
}
