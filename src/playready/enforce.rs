//! Which terms a licence service and the devices of PlayReady keep.

use super::config::Service;
use crate::drm::{self, GrantedKey};
use crate::entitlement::{Hdcp, IfReported, Limits, PlayRight, SecurityLevel};
use crate::error::Code;
use crate::track::Track;

/// Holds the terms for a key against what PlayReady and this licence service keep.
///
/// # Errors
/// The first term that is not kept.
pub fn enforce(key: &GrantedKey<'_>, service: &Service) -> Result<(), drm::Error> {
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
        play_right,
        // These are checked for every system.
        max_uses: _,
        streams_full: _,
        ip_allow: _,
        countries: _,
    } = &key.granted.limits;

    let is_told = service.is_told();
    let untold = "this licence service is not told of it";
    let unknown = "a challenge does not say which device it is";
    let is_of_sound = key.record.track == Some(Track::Audio);
    let refused = [
        (
            !is_told && (key.granted.has_durations || key.granted.remaining.is_some()),
            Code::DURATION_UNSUPPORTED,
            "a lease, a rental, another duration or an end",
            untold,
        ),
        (
            !is_told && !matches!(hdcp, None | Some(Hdcp::None)),
            Code::DEVICE_HDCP_UNSUPPORTED,
            "`hdcp`",
            untold,
        ),
        (
            !is_told && min_security_level.is_some(),
            Code::DEVICE_SECURITY_LEVEL,
            "`min_security_level`",
            untold,
        ),
        (
            is_of_sound && *min_security_level == Some(SecurityLevel::Main),
            Code::DEVICE_SECURITY_LEVEL,
            "`min_security_level` `main`",
            "PlayReady has at most level 2000 for sound: give the track `audio` terms of its own",
        ),
        // A service that is told of terms is told of no play enabler then, so no licence has one.
        (
            !is_told && (*no_airplay || *no_av_adapter),
            Code::OUTPUT_NOT_ALLOWED,
            "`airplay` and `av_adapter`",
            untold,
        ),
        (
            !is_told && *play_right != PlayRight::default(),
            Code::OUTPUT_NOT_ALLOWED,
            "the play right of the policy",
            untold,
        ),
        (
            matches!(service, Service::Axinom(_)) && play_right.agc_and_color_stripe.is_some(),
            Code::OUTPUT_NOT_ALLOWED,
            "`agcAndColorStripeRestriction`",
            untold,
        ),
        (
            max_streams.is_some(),
            Code::DEVICE_NOT_ALLOWED,
            "`max_streams`",
            unknown,
        ),
        (
            !device_ids.is_empty(),
            Code::DEVICE_NOT_ALLOWED,
            "`device_ids`",
            unknown,
        ),
        (
            !device_classes.is_empty(),
            Code::DEVICE_CLASS_NOT_ALLOWED,
            "`device_classes`",
            unknown,
        ),
        (
            !min_os.is_empty(),
            Code::DEVICE_OS_TOO_OLD,
            "`min_os`",
            unknown,
        ),
        (
            min_kdl.is_some(),
            Code::DEVICE_KDL_TOO_OLD,
            "`min_kdl`",
            unknown,
        ),
        (
            *no_virtual_machines,
            Code::DEVICE_VIRTUAL,
            "`virtual_machines`",
            unknown,
        ),
    ];
    match refused.into_iter().find(|(is_refused, ..)| *is_refused) {
        None => Ok(()),
        Some((_, code, term, why)) => Err(drm::Error::refused(
            code,
            format!("{term} is not kept: {why}"),
        )),
    }
}
