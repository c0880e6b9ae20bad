//! `BuyDRM` `KeyOS`.

use super::Vendor;

/// `BuyDRM` `KeyOS`: its players send a token of this server's own kind.
pub const VENDOR: Vendor = Vendor {
    name: "buydrm",
    headers: &["customdata", "x-keyos-authorization"],
    ..Vendor::NONE
};
