//! Naver Cloud.

use super::Vendor;

/// Naver Cloud: its players send a token of this server's own kind.
pub const VENDOR: Vendor = Vendor {
    name: "naver",
    headers: &["x-drm-token"],
    ..Vendor::NONE
};
