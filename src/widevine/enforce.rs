//! Which terms the licence service and the devices of Widevine keep.

use crate::drm::{self, GrantedKey};
use crate::entitlement::{IfReported, Limits, Use};
use crate::error::Code;

/// Holds the terms for a key against what Widevine keeps. `device_id` is the pseudonym of the device, where it is known.
///
/// # Errors
/// The first term that it does not keep.
pub fn enforce(
    key: &GrantedKey<'_>,
    is_offline: bool,
    device_id: Option<&str>,
) -> Result<(), drm::Error> {
    // Without `..`: a new limit does not compile until it is honoured or refused here.
    let Limits {
        // Both go into the licence, and the device keeps them.
        hdcp: _,
        min_security_level: _,
        if_reported:
            IfReported {
                min_security_level: _,
                // Devices that do not report it pass, and none reports it here.
                min_kdl: _,
            },
        // No device of Widevine sends to AirPlay, or to Apple's adapter.
        no_airplay: _,
        no_av_adapter: _,
        no_virtual_machines,
        device_ids,
        device_classes,
        min_os,
        min_kdl,
        max_streams,
        // Only a configuration of PlayReady sets it.
        play_right: _,
        // These are checked for every system.
        max_uses: _,
        streams_full: _,
        ip_allow: _,
        countries: _,
    } = &key.granted.limits;

    let unknown = "the licence service does not say it of a device";
    let is_allowed = |device: &str| device_ids.allow(|allowed| allowed == device);
    let refused = [
        (
            is_offline && !matches!(key.granted.use_, Use::Persistent { .. }),
            Code::OFFLINE_NOT_ALLOWED,
            "the player asks for a licence to store, and the terms have no `persist`",
        ),
        (
            !device_ids.is_empty() && !device_id.is_some_and(is_allowed),
            Code::DEVICE_NOT_ALLOWED,
            "`device_ids` does not have this device",
        ),
        (
            max_streams.is_some() && device_id.is_none(),
            Code::DEVICE_NOT_ALLOWED,
            "`max_streams` needs to know the device, and the licence service does not say which one it is, or this server has no `server_secret`",
        ),
        (
            !device_classes.is_empty(),
            Code::DEVICE_CLASS_NOT_ALLOWED,
            unknown,
        ),
        (!min_os.is_empty(), Code::DEVICE_OS_TOO_OLD, unknown),
        (min_kdl.is_some(), Code::DEVICE_KDL_TOO_OLD, unknown),
        (*no_virtual_machines, Code::DEVICE_VIRTUAL, unknown),
    ];
    match refused.into_iter().find(|(is_refused, ..)| *is_refused) {
        None => Ok(()),
        Some((_, code, reason)) => Err(drm::Error::refused(code, reason)),
    }
}
