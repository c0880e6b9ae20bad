//! `keySystem` of `POST /license`: which DRM system a request is for.

use super::parameter;
use super::problem::Problem;
use crate::drm::DrmSystem;
use crate::error::Code;

/// The query parameter, and the member of a JSON body.
pub const PARAMETER: &str = "keySystem";

/// The DRM system of a request: it must be one that is served.
///
/// # Errors
/// `key_system_missing` and `key_system_unsupported`.
pub fn required(query: Option<&str>, in_body: Option<&str>) -> Result<DrmSystem, Problem> {
    let in_query = parameter(query, PARAMETER);
    let name = in_query.as_deref().or(in_body);
    let unsupported = |detail: String| Problem::new(Code::KEY_SYSTEM_UNSUPPORTED, detail);
    match name.map(DrmSystem::from_key_system) {
        None => Err(Problem::new(
            Code::KEY_SYSTEM_MISSING,
            format!(
                "it is looked for in `{PARAMETER}`, in the query and in a JSON body: an EME name or a system id"
            ),
        )),
        Some(None) => Err(unsupported(
            "the key system is none that is known".to_owned(),
        )),
        Some(Some(DrmSystem::FairPlay)) => Ok(DrmSystem::FairPlay),
        Some(Some(other)) => Err(unsupported(format!("this server has no {}", other.title()))),
    }
}
