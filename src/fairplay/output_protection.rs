//! HDCP and security level (specification sections 8.7, 8.8 and 14).

use rand_core::CryptoRng;

use crate::entitlement::{Hdcp, Limits, SecurityLevel};
use crate::fairplay::client::{Capabilities, Client};
use crate::fairplay::error::Error;

/// HDCP is not required.
pub const NOT_REQUIRED: u64 = 0xef72_894c_a789_5b78;
/// HDCP type 0.
pub const TYPE_0: u64 = 0x4079_1ac7_8bd5_c571;
/// HDCP type 1.
pub const TYPE_1: u64 = 0x285a_0863_bba8_e1d3;

/// Security level for sound. Numeric order is order of strength.
pub const AUDIO: u64 = 0x17d9_9d57_4eed_567d;
/// Security level baseline.
pub const BASELINE: u64 = 0x32f0_0049_66a5_c4f8;
/// Security level main.
pub const MAIN: u64 = 0x4e7f_d924_21d5_88b4;

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

/// The value of the security level TLLV, where a level is required: `[4] version 1 | [4] 0 | [8] level`.
///
/// # Errors
/// [`Error::SecurityLevel`] when the device does not reach the level.
pub fn security_level(limits: &Limits, client: &Client) -> Result<Option<[u8; 16]>, Error> {
    let if_reported = limits.if_reported.min_security_level;
    for (required, unreported_passes) in [(limits.min_security_level, false), (if_reported, true)] {
        if required.is_some_and(|required| !reaches(client, required, unreported_passes)) {
            return Err(Error::SecurityLevel);
        }
    }
    Ok(limits.security_level().map(|required| {
        let mut value = [0; 16];
        let (version, word) = value.split_at_mut(8);
        version.copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
        word.copy_from_slice(&number(required).to_be_bytes());
        value
    }))
}

fn number(level: SecurityLevel) -> u64 {
    match level {
        SecurityLevel::Audio => AUDIO,
        SecurityLevel::Baseline => BASELINE,
        SecurityLevel::Main => MAIN,
    }
}

/// A device reports its level, or says by its capabilities which ones it reaches. One that does
/// neither, as older ones do, passes only where `unreported_passes`.
fn reaches(client: &Client, required: SecurityLevel, unreported_passes: bool) -> bool {
    let says = |ability: fn(Capabilities) -> bool| client.capabilities.is_some_and(ability);
    let (baseline, main) = (
        says(Capabilities::security_level_baseline),
        says(Capabilities::security_level_main),
    );
    match (client.security_level, required) {
        (_, SecurityLevel::Audio) => true,
        (Some(reported), _) => reported >= number(required),
        (None, SecurityLevel::Baseline) => baseline || main || unreported_passes,
        (None, SecurityLevel::Main) => main || (unreported_passes && !baseline),
    }
}
