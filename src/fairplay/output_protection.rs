//! HDCP and security level (specification sections 8.7, 8.8 and 14).

use rand_core::CryptoRng;

use crate::entitlement::{Hdcp, SecurityLevel};
use crate::fairplay::client::{Capabilities, Client};

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

/// Whether the device can enforce the protection. Type 1 needs its capability; type 0 is in every device.
pub fn can_enforce(client: &Client, hdcp: Hdcp) -> bool {
    match hdcp {
        Hdcp::None | Hdcp::Type0 => true,
        Hdcp::Type1 => client.capabilities.is_some_and(Capabilities::hdcp_type1),
    }
}

/// The value of the HDCP TLLV: `[8] requirement | [8] random`.
pub fn hdcp(required: Hdcp, rng: &mut dyn CryptoRng) -> [u8; 16] {
    let requirement = match required {
        Hdcp::None => NOT_REQUIRED,
        Hdcp::Type0 => TYPE_0,
        Hdcp::Type1 => TYPE_1,
    };
    let mut value = [0; 16];
    let (word, filler) = value.split_at_mut(8);
    word.copy_from_slice(&requirement.to_be_bytes());
    rng.fill_bytes(filler);
    value
}

/// The value of the security level TLLV: `[4] version 1 | [4] 0 | [8] level`.
pub fn security_level(required: SecurityLevel) -> [u8; 16] {
    let mut value = [0; 16];
    let (version, word) = value.split_at_mut(8);
    version.copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
    word.copy_from_slice(&number(required).to_be_bytes());
    value
}

fn number(level: SecurityLevel) -> u64 {
    match level {
        SecurityLevel::Audio => AUDIO,
        SecurityLevel::Baseline => BASELINE,
        SecurityLevel::Main => MAIN,
    }
}

/// Whether the device reaches a security level. It reports its level, or says by its capabilities which
/// ones it reaches. Older devices do neither: they pass only where `unreported_passes`.
pub fn reaches(client: &Client, required: SecurityLevel, unreported_passes: bool) -> bool {
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
