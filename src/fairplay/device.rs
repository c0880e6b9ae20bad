//! What an SPC says of its device, in the words of terms.

use crate::entitlement::{DeviceClass, OsVersion};
use crate::fairplay::client::Client;

impl Client {
    /// The kind of device, by its identity or by the older device info.
    pub fn device_class(&self) -> DeviceClass {
        match (&self.device_identity, &self.device_info) {
            (Some(identity), _) => match identity.class {
                1 => DeviceClass::LivingRoom,
                2 => DeviceClass::Mobile,
                3 => DeviceClass::Desktop,
                4 => DeviceClass::Spatial,
                5 => DeviceClass::Wearable,
                127 => DeviceClass::AppleUnknown,
                128 => DeviceClass::PartnerLivingRoom,
                255 => DeviceClass::PartnerUnknown,
                _ => DeviceClass::Unknown,
            },
            (None, Some(info)) => match info.device_type {
                0x358c_41b1_ec78_f599 => DeviceClass::Desktop,
                0xc150_0767_c86c_1fae => DeviceClass::LivingRoom,
                0x8551_fd5e_31f4_79b3 => DeviceClass::Mobile,
                0x5da8_6ac0_c571_55dc => DeviceClass::Wearable,
                _ => DeviceClass::Unknown,
            },
            (None, None) => DeviceClass::Unknown,
        }
    }

    /// The version of its operating system; `None` when it reports none, or 0.
    pub fn os_version(&self) -> Option<OsVersion> {
        let number = match (&self.device_identity, &self.device_info) {
            (Some(identity), _) => identity.os_version,
            (None, Some(info)) => info.os_version,
            (None, None) => 0,
        };
        (number != 0).then(|| os_version(number))
    }
}

/// The version of an operating system on the wire: `00`, major, minor, patch.
pub fn os_version(number: u32) -> OsVersion {
    let [_, major, minor, patch] = number.to_be_bytes();
    OsVersion([major, minor, patch])
}
