//! `keySystem`: which DRM system a request is for.

use super::context::parameter;
use super::problem::Problem;
use crate::drm::DrmSystem;
use crate::error::Code;

/// The query parameter, and the member of a JSON body.
pub const PARAMETER: &str = "keySystem";

/// The DRM system that the query or the body names.
///
/// # Errors
/// `key_system_missing` and `key_system_unsupported`.
pub fn required(query: Option<&str>, in_body: Option<&str>) -> Result<DrmSystem, Problem> {
    let in_query = parameter(query, PARAMETER);
    match in_query.as_deref().or(in_body) {
        Some(name) => read(name),
        None => Err(Problem::new(
            Code::KEY_SYSTEM_MISSING,
            format!(
                "`{PARAMETER}` must be in the query or in a JSON body: a key system string or a system id"
            ),
        )),
    }
}

/// The DRM system that the query names, if it names one.
///
/// # Errors
/// `key_system_unsupported`
pub fn in_query(query: Option<&str>) -> Result<Option<DrmSystem>, Problem> {
    parameter(query, PARAMETER)
        .map(|name| read(&name))
        .transpose()
}

/// The DRM system that the query names; FairPlay when it names none.
///
/// # Errors
/// `key_system_unsupported`
pub fn optional(query: Option<&str>) -> Result<DrmSystem, Problem> {
    Ok(in_query(query)?.unwrap_or(DrmSystem::FairPlay))
}

fn read(name: &str) -> Result<DrmSystem, Problem> {
    let unknown = "the key system is not one that this server knows";
    DrmSystem::from_key_system(name)
        .ok_or_else(|| Problem::new(Code::KEY_SYSTEM_UNSUPPORTED, unknown))
}
