//! Terms, where no device keeps any.

use crate::drm::{self, Details, GrantedKey};
use crate::entitlement::{Hdcp, IfReported, Limits};
use crate::error::Code;

/// Refuses every term that only a device keeps.
///
/// # Errors
/// The first such term.
pub fn enforce(key: &GrantedKey<'_>) -> Result<(), drm::Error> {
    // Without `..`: a new limit does not compile until it is honoured or refused here.
    let Limits {
        hdcp,
        min_security_level,
        no_airplay,
        no_av_adapter,
        no_virtual_machines,
        device_ids,
        device_classes,
        min_os,
        min_kdl,
        // Devices that do not report the value pass, and none reports it here.
        if_reported:
            IfReported {
                min_security_level: _,
                min_kdl: _,
            },
        max_streams,
        // These are checked when the key is asked for, for every system.
        max_uses: _,
        streams_full: _,
        ip_allow: _,
        countries: _,
        // Only a configuration of PlayReady sets it.
        play_right: _,
    } = &key.granted.limits;

    let refused = [
        (
            key.granted.has_durations,
            Code::DURATION_UNSUPPORTED,
            "a lease, a rental or another duration",
        ),
        (
            max_streams.is_some(),
            Code::DURATION_UNSUPPORTED,
            "`max_streams`, which needs a lease",
        ),
        (
            !matches!(hdcp, None | Some(Hdcp::None)),
            Code::DEVICE_HDCP_UNSUPPORTED,
            "`hdcp`",
        ),
        (
            min_security_level.is_some(),
            Code::DEVICE_SECURITY_LEVEL,
            "`min_security_level`",
        ),
        (min_kdl.is_some(), Code::DEVICE_KDL_TOO_OLD, "`min_kdl`"),
        (
            *no_airplay || *no_av_adapter,
            Code::OUTPUT_NOT_ALLOWED,
            "`airplay` and `av_adapter`",
        ),
        (
            *no_virtual_machines,
            Code::DEVICE_VIRTUAL,
            "virtual machines",
        ),
        (
            !device_ids.is_empty(),
            Code::DEVICE_NOT_ALLOWED,
            "`device_ids`",
        ),
        (
            !device_classes.is_empty(),
            Code::DEVICE_CLASS_NOT_ALLOWED,
            "`device_classes`",
        ),
        (!min_os.is_empty(), Code::DEVICE_OS_TOO_OLD, "`min_os`"),
    ];
    match refused.into_iter().find(|(is_set, ..)| *is_set) {
        None => Ok(()),
        Some((_, code, term)) => Err(drm::Error::Refused {
            code,
            reason: format!("the key leaves in the clear here, and nothing keeps {term}"),
            is_public: true,
            details: Details::new(),
        }),
    }
}
