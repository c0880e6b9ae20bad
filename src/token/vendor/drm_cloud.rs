//! drm.cloud.

use super::Vendor;

/// drm.cloud: its players send a token of this server's own kind.
pub const VENDOR: Vendor = Vendor {
    name: "drm_cloud",
    headers: &["x-drm-usertoken"],
    parameters: &["UserToken"],
    ..Vendor::NONE
};
