//! What all DRM systems share: which systems there are, and the names by which requests, policies and
//! logs call them.

mod system;

pub use system::DrmSystem;
