//! VUDRM.

use super::Vendor;

/// VUDRM: its players send a token of this server's own kind.
pub const VENDOR: Vendor = Vendor {
    name: "vudrm",
    headers: &["x-vudrm-token"],
    ..Vendor::NONE
};
