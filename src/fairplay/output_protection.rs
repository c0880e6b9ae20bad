//! HDCP (specification section 8.7).

use rand_core::CryptoRng;

use crate::entitlement::Hdcp;
use crate::fairplay::client::{Capabilities, Client};
use crate::fairplay::error::Error;

/// Not required.
pub const NOT_REQUIRED: u64 = 0xef72_894c_a789_5b78;
/// Type 0.
pub const TYPE_0: u64 = 0x4079_1ac7_8bd5_c571;
/// Type 1.
pub const TYPE_1: u64 = 0x285a_0863_bba8_e1d3;

/// The value of the HDCP TLLV: requirement ‖ 8 random bytes.
///
/// # Errors
/// [`Error::HdcpUnsupported`] when type 1 is asked of a device that does not say it can enforce it.
pub fn hdcp(required: Hdcp, client: &Client, rng: &mut dyn CryptoRng) -> Result<[u8; 16], Error> {
    let requirement = match required {
        Hdcp::None => NOT_REQUIRED,
        Hdcp::Type0 => TYPE_0,
        Hdcp::Type1 if client.capabilities.is_some_and(Capabilities::hdcp_type1) => TYPE_1,
        Hdcp::Type1 => return Err(Error::HdcpUnsupported),
    };
    let mut value = [0; 16];
    let (word, filler) = value.split_at_mut(8);
    word.copy_from_slice(&requirement.to_be_bytes());
    rng.fill_bytes(filler);
    Ok(value)
}
