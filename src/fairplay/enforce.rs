//! Limits held against what an SPC says of its device.

use crate::entitlement::{IfReported, Limits};
use crate::fairplay::client::{Client, Streaming};
use crate::fairplay::error::Error;
use crate::fairplay::output_protection;

/// Holds every limit against the client. `device_id` is the pseudonym of the device, when there is one.
///
/// # Errors
/// The first limit that the device does not keep, or does not say that it can keep.
pub fn enforce(limits: &Limits, client: &Client, device_id: Option<&str>) -> Result<(), Error> {
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
        if_reported:
            IfReported {
                min_security_level: min_security_level_if_reported,
                min_kdl: min_kdl_if_reported,
            },
        // The pipeline keeps these, for every system.
        max_uses: _,
        max_streams: _,
        streams_full: _,
        ip_allow: _,
        countries: _,
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
        Some(Streaming::AirPlay) if *no_airplay => return Err(Error::Output),
        Some(Streaming::AvAdapter) if *no_av_adapter => return Err(Error::Output),
        _ => {}
    }
    for (level, unreported_passes) in [
        (min_security_level, false),
        (min_security_level_if_reported, true),
    ] {
        if level.is_some_and(|level| !output_protection::reaches(client, level, unreported_passes))
        {
            return Err(Error::SecurityLevel);
        }
    }
    match hdcp {
        Some(hdcp) if !output_protection::can_enforce(client, *hdcp) => Err(Error::HdcpUnsupported),
        _ => Ok(()),
    }
}
