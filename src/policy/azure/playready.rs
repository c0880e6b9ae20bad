//! PlayReady's configuration.

use serde_json::Value;

use super::members::Members;
use super::{Reading, is_nothing};
use crate::entitlement::{Hdcp, PlayRight, SecurityLevel, Terms, UnknownOutput, min_some};
use crate::token::dialect::date;

/// `#Microsoft.Media.ContentKeyPolicyPlayReadyConfiguration`: one licence.
///
/// # Errors
/// A member that restricts what nothing here keeps, a value that is not allowed, and more than one licence.
pub(super) fn read(configuration: &Value) -> Result<Reading, String> {
    let configuration = Members::parse(configuration)?;
    configuration.only(&["@odata.type", "licenses", "responseCustomData"])?;
    let mut reading = Reading::default();
    if configuration.optional_text("responseCustomData")?.is_some() {
        reading.leave(
            "responseCustomData",
            "the answer of the licence service goes out as it is",
        );
    }
    let licenses = match configuration.get("licenses") {
        None => return Ok(reading),
        Some(licenses) => licenses.as_array().ok_or("`licenses` is not a list")?,
    };
    let terms = match licenses.as_slice() {
        [] => return Err("`licenses` is empty, so nothing would play".to_owned()),
        [license] => read_license(license, &mut reading),
        _ => {
            let reason = "`licenses` has more than one, and a player gets one licence for a key here: make an option for each";
            return Err(reason.to_owned());
        }
    };
    reading.terms = Some(terms.map_err(|reason| format!("`licenses`: {reason}"))?);
    Ok(reading)
}

/// `ContentKeyPolicyPlayReadyLicense`.
fn read_license(license: &Value, reading: &mut Reading) -> Result<Terms, String> {
    const LEVELS: [(&str, SecurityLevel); 3] = [
        ("SL150", SecurityLevel::Audio),
        ("SL2000", SecurityLevel::Baseline),
        ("SL3000", SecurityLevel::Main),
    ];
    let license = Members::parse(license)?;
    license.only(&[
        "allowTestDevices",
        "securityLevel",
        "beginDate",
        "relativeBeginDate",
        "expirationDate",
        "relativeExpirationDate",
        "gracePeriod",
        "licenseType",
        "contentType",
        "contentKeyLocation",
        "playRight",
    ])?;
    let mut terms = Terms::default();

    if license.flag("allowTestDevices")?.is_some() {
        reading.leave(
            "allowTestDevices",
            "the licence service decides which devices it serves; Microsoft's test server serves test devices",
        );
    }
    if let Some(level) = license.choice("securityLevel", &LEVELS)? {
        terms.limits.min_security_level = Some(level);
        let what = format!("`min_security_level` {}", level.name());
        reading.map("securityLevel", what);
    }
    terms.not_before = instant(&license, "beginDate", "not_before", reading)?;
    terms.not_after = instant(&license, "expirationDate", "not_after", reading)?;
    if period(&license, "relativeBeginDate")?.is_some_and(|seconds| seconds > 0) {
        let reason =
            "`relativeBeginDate` is not zero, and no licence is made here that begins later";
        return Err(reason.to_owned());
    }
    if license.text("gracePeriod").is_some() {
        reading.leave(
            "gracePeriod",
            "it is a permission: nothing plays after the end here",
        );
    }
    let persist = license.choice(
        "licenseType",
        &[("NonPersistent", false), ("Persistent", true)],
    )?;
    let persist = persist.unwrap_or(false);
    terms.persist = Some(persist);
    reading.map("licenseType", format!("`persist` {persist}"));
    let content = license.optional_text("contentType")?;
    if content.is_some_and(|content| !content.eq_ignore_ascii_case("Unspecified")) {
        reading.leave("contentType", "it has no effect on a licence");
    }
    if let Some(location) = license.get("contentKeyLocation") {
        check_location(location).map_err(|reason| format!("`contentKeyLocation`: {reason}"))?;
    }
    if let Some(seconds) = limit(&license, "relativeExpirationDate")? {
        let term = match persist {
            true => ("storage_seconds", &mut terms.storage_seconds),
            false => ("lease_seconds", &mut terms.lease_seconds),
        };
        *term.1 = Some(seconds);
        reading.map("relativeExpirationDate", format!("`{}` {seconds}", term.0));
    }

    let right = license.get("playRight");
    let right = right.ok_or("it has no `playRight`, so nothing would play")?;
    read_right(right, &mut terms, reading).map_err(|reason| format!("`playRight`: {reason}"))?;
    Ok(terms)
}

/// Accepts the key that the player's header names, and no other.
fn check_location(location: &Value) -> Result<(), String> {
    let location = Members::parse(location)?;
    location.only(&["@odata.type", "keyId"])?;
    let kind = location.kind().unwrap_or_default();
    if location.get("keyId").is_some() || kind.ends_with("FromKeyIdentifier") {
        return Err(
            "it names one key, and here the player's header does: make a key record of that `kid`, and require the \
             claim `kid` of tokens"
                .to_owned(),
        );
    }
    Ok(())
}

/// `ContentKeyPolicyPlayReadyPlayRight`.
fn read_right(right: &Value, terms: &mut Terms, reading: &mut Reading) -> Result<(), String> {
    /// What a `cfg` of Microsoft's test server, and the services like it, has no word for.
    const UNSAID: [&str; 3] = [
        "digitalVideoOnlyContentRestriction",
        "imageConstraintForAnalogComponentVideoRestriction",
        "imageConstraintForAnalogComputerMonitorRestriction",
    ];
    const OUTPUTS: [(&str, UnknownOutput); 3] = [
        ("NotAllowed", UnknownOutput::NotAllowed),
        ("Allowed", UnknownOutput::Allowed),
        ("AllowedWithVideoConstriction", UnknownOutput::Constricted),
    ];
    const AUDIO: [u16; 5] = [100, 150, 200, 250, 300];
    let right = Members::parse(right)?;
    let mut known = vec![
        "firstPlayExpiration",
        "allowPassingVideoContentToUnknownOutput",
        "uncompressedDigitalVideoOpl",
        "compressedDigitalVideoOpl",
        "analogVideoOpl",
        "compressedDigitalAudioOpl",
        "uncompressedDigitalAudioOpl",
        "agcAndColorStripeRestriction",
        "scmsRestriction",
        "explicitAnalogTelevisionOutputRestriction",
    ];
    known.extend(UNSAID);
    right.only(&known)?;

    if let Some(seconds) = limit(&right, "firstPlayExpiration")? {
        let term = match terms.persist {
            Some(true) => {
                terms.playback_seconds = Some(seconds);
                "playback_seconds"
            }
            _ => {
                terms.lease_seconds = min_some(terms.lease_seconds, Some(seconds));
                "lease_seconds"
            }
        };
        reading.map("firstPlayExpiration", format!("`{term}` {seconds}"));
    }
    for name in UNSAID {
        match right.flag(name)? {
            Some(true) => return Err(format!("`{name}` is true, and nothing here keeps it")),
            Some(false) => reading.leave(name, "it is false, which restricts nothing"),
            None => {}
        }
    }

    let mut outputs = PlayRight {
        uncompressed_digital_video: level(
            &right,
            "uncompressedDigitalVideoOpl",
            &[100, 250, 270, 300],
        )?,
        compressed_digital_video: level(&right, "compressedDigitalVideoOpl", &[400, 500])?,
        analog_video: level(&right, "analogVideoOpl", &[100, 150, 200])?,
        compressed_digital_audio: level(&right, "compressedDigitalAudioOpl", &AUDIO)?,
        uncompressed_digital_audio: level(&right, "uncompressedDigitalAudioOpl", &AUDIO)?,
        agc_and_color_stripe: two_bits(&right, "agcAndColorStripeRestriction")?,
        scms: two_bits(&right, "scmsRestriction")?,
        analog_television: None,
        unknown_output: right.choice("allowPassingVideoContentToUnknownOutput", &OUTPUTS)?,
    };
    if let Some(television) = right.get("explicitAnalogTelevisionOutputRestriction") {
        const NAME: &str = "explicitAnalogTelevisionOutputRestriction";
        outputs.analog_television =
            read_television(television).map_err(|reason| format!("`{NAME}`: {reason}"))?;
        match outputs.analog_television {
            Some(_) => {}
            None => reading.leave(
                NAME,
                "it is kept by best effort, which nothing here asks for",
            ),
        }
    }
    terms.limits.hdcp = outputs.uncompressed_digital_video.map(|level| match level {
        0..=250 => Hdcp::None,
        _ => Hdcp::Type0,
    });
    if let Some(hdcp) = terms.limits.hdcp {
        let what = format!("`hdcp` {}", hdcp.name());
        reading.map("uncompressedDigitalVideoOpl", what);
    }
    for (name, value) in [
        (
            "compressedDigitalVideoOpl",
            outputs.compressed_digital_video,
        ),
        ("analogVideoOpl", outputs.analog_video),
        (
            "compressedDigitalAudioOpl",
            outputs.compressed_digital_audio,
        ),
        (
            "uncompressedDigitalAudioOpl",
            outputs.uncompressed_digital_audio,
        ),
        (
            "agcAndColorStripeRestriction",
            outputs.agc_and_color_stripe.map(u16::from),
        ),
        ("scmsRestriction", outputs.scms.map(u16::from)),
        (
            "explicitAnalogTelevisionOutputRestriction",
            outputs.analog_television.map(u16::from),
        ),
    ] {
        if let Some(value) = value {
            reading.map(name, format!("{value}, which the licence service is told"));
        }
    }
    if let Some(output) = outputs.unknown_output {
        let what = match output {
            UnknownOutput::Allowed => "unknown outputs are allowed",
            UnknownOutput::Constricted => "unknown outputs are allowed in a lower resolution",
            UnknownOutput::NotAllowed => "unknown outputs are not allowed",
        };
        reading.map("allowPassingVideoContentToUnknownOutput", what);
    }
    terms.limits.play_right = outputs;
    Ok(())
}

/// The configuration data; `None` where it is kept by best effort.
fn read_television(television: &Value) -> Result<Option<u8>, String> {
    let television = Members::parse(television)?;
    television.only(&["bestEffort", "configurationData"])?;
    let data = two_bits(&television, "configurationData")?;
    let data = data.ok_or("it has no `configurationData`")?;
    let by_best_effort = television.flag("bestEffort")? == Some(true);
    Ok((!by_best_effort).then_some(data))
}

/// An output protection level, one of a list.
fn level(members: &Members<'_>, name: &str, levels: &[u16]) -> Result<Option<u16>, String> {
    let Some(number) = members.number(name)? else {
        return Ok(None);
    };
    let level = levels.iter().find(|level| u32::from(**level) == number);
    let reason = || {
        let levels: Vec<String> = levels.iter().map(u16::to_string).collect();
        format!("`{name}` is none of {}", levels.join(", "))
    };
    level.copied().map(Some).ok_or_else(reason)
}

fn two_bits(members: &Members<'_>, name: &str) -> Result<Option<u8>, String> {
    let number = members.number(name)?.map(u8::try_from).transpose();
    match number {
        Ok(number) if number <= Some(3) => Ok(number),
        _ => Err(format!("`{name}` is no number from 0 to 3")),
    }
}

/// A date and time, which becomes the term of a name.
fn instant(
    members: &Members<'_>,
    name: &str,
    term: &str,
    reading: &mut Reading,
) -> Result<Option<u64>, String> {
    let Some(value) = members.get(name) else {
        return Ok(None);
    };
    let reason = || format!("`{name}` is no date with time and zone, such as 2030-01-01T00:00:00Z");
    let time = value.as_str().and_then(date::instant).ok_or_else(reason)?;
    reading.map(name, format!("`{term}` {time}"));
    Ok(Some(time))
}

/// A duration that limits, so that it is not zero.
fn limit(members: &Members<'_>, name: &str) -> Result<Option<u32>, String> {
    match period(members, name)? {
        Some(0) => Err(format!("`{name}` is zero, so nothing would play")),
        seconds => Ok(seconds),
    }
}

/// A duration in seconds.
fn period(members: &Members<'_>, name: &str) -> Result<Option<u32>, String> {
    let Some(value) = members.get(name) else {
        return Ok(None);
    };
    if is_nothing(value) && value.is_string() {
        return Ok(None);
    }
    let seconds = value
        .as_str()
        .and_then(|text| iso(text).or_else(|| clock(text)));
    match seconds.map(u32::try_from) {
        Some(Ok(seconds)) => Ok(Some(seconds)),
        Some(Err(_)) => Err(format!("`{name}` is more than 4294967295 seconds")),
        None => Err(format!(
            "`{name}` is no duration such as PT12H or P30D; years and months have no fixed length"
        )),
    }
}

/// A duration of ISO 8601. The fraction of its last second is cut off.
fn iso(text: &str) -> Option<u64> {
    let seconds = text.strip_suffix('S');
    match seconds.and_then(|text| text.split_once('.')) {
        Some((whole, fraction)) if is_digits(fraction) => date::duration(&format!("{whole}S")),
        _ => date::duration(text),
    }
}

/// A duration as .NET prints it, `[d.]hh:mm:ss[.fffffff]`, and as the Azure CLI does, `[d days, ]h:mm:ss[.ffffff]`.
fn clock(text: &str) -> Option<u64> {
    let (days, time) = match text.split_once(", ") {
        Some((days, time)) => {
            let days = days.strip_suffix("days").or(days.strip_suffix("day"))?;
            (days.trim_end(), time)
        }
        None => match text.split_once('.') {
            Some((days, time)) if !days.contains(':') => (days, time),
            _ => ("0", text),
        },
    };
    let whole = match time.split_once('.') {
        Some((whole, fraction)) if is_digits(fraction) => whole,
        Some(_) => return None,
        None => time,
    };
    let mut sum = number(days)?;
    let mut parts = whole.split(':');
    for units in [24, 60, 60] {
        let part = number(parts.next()?).filter(|part| *part < units)?;
        sum = sum.checked_mul(units)?.checked_add(part)?;
    }
    parts.next().is_none().then_some(sum)
}

fn number(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|_| is_digits(digits))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
