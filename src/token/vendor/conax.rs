//! Conax.

use super::Vendor;

/// Conax: its players send a token of this server's own kind.
pub const VENDOR: Vendor = Vendor {
    name: "conax",
    headers: &["conax-custom-data"],
    ..Vendor::NONE
};
