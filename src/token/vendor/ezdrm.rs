//! EZDRM.

use super::Vendor;

/// EZDRM: its players send a token of this server's own kind.
pub const VENDOR: Vendor = Vendor {
    name: "ezdrm",
    parameters: &["authorization"],
    ..Vendor::NONE
};
