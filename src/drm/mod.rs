//! What all DRM systems share: which systems there are, and the seam between the pipeline of a licence and
//! one of them.

mod error;
mod module;

pub use crate::drm_system::DrmSystem;
pub use error::{Details, Error, SERVICE_STATUS, ServiceAnswer};
pub use module::{
    AuditDetails, Device, GrantedKey, Intent, KeyHolder, Module, Purpose, Repeats, Request, Sealed,
};
