//! Checks limits against what an SPC reports of its device.

use crate::entitlement::{IfReported, Limits, SecurityLevel};
use crate::fairplay::client::{Client, Streaming};
use crate::fairplay::error::Error;
use crate::fairplay::output_protection;

/// Holds the limits on the device and its output against the client. `device_id` is the pseudonym of the device,
/// when there is one.
///
/// # Errors
/// The first limit that the device does not enforce, or does not report to enforce.
pub fn device(limits: &Limits, client: &Client, device_id: Option<&str>) -> Result<(), Error> {
    // Without `..`: a new limit does not compile until it is honoured or refused here.
    let Limits {
        no_airplay,
        no_av_adapter,
        no_virtual_machines,
        device_ids,
        device_classes,
        min_os,
        min_kdl,
        if_reported:
            IfReported {
                min_kdl: min_kdl_if_reported,
                min_security_level: _,
            },
        // In `protection`.
        hdcp: _,
        min_security_level: _,
        // The pipeline keeps these, for every system.
        max_uses: _,
        max_streams: _,
        streams_full: _,
        ip_allow: _,
        countries: _,
        // Only a configuration of PlayReady sets it.
        play_right: _,
    } = limits;

    let kdl = client.kdl_version.filter(|version| *version > 0);
    if kdl < *min_kdl || kdl.is_some() && kdl < *min_kdl_if_reported {
        return Err(Error::KdlVersion);
    }
    let class = client.device_class();
    if !device_classes.allow(|allowed| *allowed == class) {
        return Err(Error::DeviceClass);
    }
    if !device_ids.allow(|allowed| device_id == Some(allowed.as_str())) {
        return Err(Error::DeviceId);
    }
    if !min_os.met_by(class, client.os_version()) {
        return Err(Error::OsVersion);
    }
    if *no_virtual_machines && client.vm_device_info.is_some() {
        return Err(Error::VirtualMachine);
    }
    match client.streaming {
        Some(Streaming::AirPlay) if *no_airplay => Err(Error::Output),
        Some(Streaming::AvAdapter) if *no_av_adapter => Err(Error::Output),
        _ => Ok(()),
    }
}

/// Holds the limits on the protection of what is played against the client.
///
/// # Errors
/// The first limit that the device does not enforce, or does not report to enforce.
pub fn protection(limits: &Limits, client: &Client) -> Result<(), Error> {
    let reaches = |level: Option<SecurityLevel>, unreported_passes| {
        level.is_none_or(|level| output_protection::reaches(client, level, unreported_passes))
    };
    if !reaches(limits.min_security_level, false)
        || !reaches(limits.if_reported.min_security_level, true)
    {
        return Err(Error::SecurityLevel);
    }
    match limits.hdcp {
        Some(hdcp) if !output_protection::can_enforce(client, hdcp) => Err(Error::HdcpUnsupported),
        _ => Ok(()),
    }
}
