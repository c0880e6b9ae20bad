//! `GET /license-data`: what Kaltura's players are configured with, for the operator.

use http::StatusCode;

use super::context::Context;
use super::operator::require_operator;
use super::problem::Problem;
use super::response::{Reply, json};
use crate::error::Code;
use crate::licence::LicenseDataRequest;
use crate::platform::Platform;

/// The DRM system, as Kaltura's own service (`getLicenseData`) has it in `drm`.
const FAIRPLAY: &str = "fps";

pub async fn get<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_operator(context.licences, context.headers()).await?;
    // The short names, and those of Kaltura's service.
    let parameter = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| context.parameter(name));
        found.filter(|value| !value.is_empty())
    };
    if parameter(["drm"; 2]).is_some_and(|drm| drm != FAIRPLAY) {
        let reason = "`drm` is not `fps`: only FairPlay is supported";
        return Err(Problem::new(Code::REQUEST_MALFORMED, reason));
    }
    let entry = parameter(["entry", "entry_id"])
        .ok_or_else(|| Problem::new(Code::REQUEST_MALFORMED, "the parameter `entry` is missing"))?;
    let wanted = LicenseDataRequest {
        entry,
        flavor: parameter(["flavor", "flavor_id"]),
        user_token: parameter(["user_token", "ks"]),
        account: parameter(["account", "partner_id"]),
        certificate: parameter(["certificate"; 2]),
    };
    let data = context.licences.license_data(context.id, &wanted).await?;
    Ok(json(StatusCode::OK, &data))
}
