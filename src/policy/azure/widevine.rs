//! Widevine's configuration: the template that Azure handed on to Google's licence service.

use serde_json::Value;

use super::members::{Members, shown};
use super::{Reading, is_nothing};
use crate::encoding;
use crate::entitlement::{Hdcp, Limits, SecurityLevel, Terms, min_some};
use crate::track::Track;

/// Members of a template that have no meaning here, and why.
const NOT_TAKEN: [(&str, &str); 6] = [
    ("provider", "the provider of the licence service signs here"),
    ("payload", "the player's own request is sent"),
    ("content_id", "the key record says which content it is"),
    (
        "session_init",
        "sessions of the licence service are its own",
    ),
    (
        "use_policy_overrides_exclusively",
        "the terms here always hold alone",
    ),
    (
        "allow_unverified_platform",
        "it is a permission, which nothing here gives",
    ),
];

/// Members of `policy_overrides` that have no meaning here, and why.
const OVERRIDES_NOT_TAKEN: [(&str, &str); 9] = [
    ("can_renew", RENEWAL),
    ("renewal_server_url", RENEWAL),
    ("renewal_delay_seconds", RENEWAL),
    ("renewal_retry_interval_seconds", RENEWAL),
    ("renewal_recovery_duration_seconds", RENEWAL),
    ("renew_with_usage", RENEWAL),
    (
        "always_include_client_id",
        "requests of renewal are read without it",
    ),
    (
        "play_start_grace_period_seconds",
        "it is a permission: time counts from the first play on here",
    ),
    (
        "soft_enforce_playback_duration",
        "it is a permission: playback may be stopped here",
    ),
];

const RENEWAL: &str = "a lease is renewed here whenever the terms have one";

/// Members of an entry of `content_key_specs` that have no meaning here, and why.
const SPEC_NOT_TAKEN: [(&str, &str); 3] = [
    ("key_id", "the kind of track says which keys are meant"),
    ("key", "keys are in key records"),
    ("iv", "keys are in key records"),
];

const TRACK_TYPES: [(&str, Track); 5] = [
    ("AUDIO", Track::Audio),
    ("SD", Track::Sd),
    ("HD", Track::Hd),
    ("UHD1", Track::Uhd),
    ("UHD2", Track::Uhd),
];

/// `#Microsoft.Media.ContentKeyPolicyWidevineConfiguration`: `widevineTemplate` is JSON as text, or the object itself.
///
/// # Errors
/// A member that restricts what nothing here keeps, and a value that is not allowed.
pub(super) fn read(configuration: &Value) -> Result<Reading, String> {
    let configuration = Members::parse(configuration)?;
    configuration.only(&["@odata.type", "widevineTemplate"])?;
    let read = match configuration.get("widevineTemplate") {
        None => return Ok(Reading::default()),
        Some(Value::String(text)) => encoding::json(text.as_bytes())
            .map_err(|reason| reason.to_string())
            .and_then(|template| read_template(&template)),
        Some(template) => read_template(template),
    };
    read.map_err(|reason| format!("`widevineTemplate`: {reason}"))
}

/// A template without members allows to play, and nothing else.
fn read_template(template: &Value) -> Result<Reading, String> {
    let template = Members::parse(template)?;
    let mut reading = Reading::default();
    leave(&template, &NOT_TAKEN, "", &mut reading);
    for (name, reason) in [
        (
            "policy_name",
            "it names terms that Google has: write them into `policy_overrides`",
        ),
        ("parse_only", "it asks for no licence"),
        (
            "sd_only_for_l3",
            "no term keeps it: give `content_key_specs` of HD a `security_level`",
        ),
    ] {
        refuse(&template, name, reason)?;
    }
    let mut known = vec![
        "policy_overrides",
        "allowed_track_types",
        "content_key_specs",
        "policy_name",
        "parse_only",
        "sd_only_for_l3",
    ];
    known.extend(NOT_TAKEN.map(|(name, _)| name));
    for name in template.others(&known) {
        reading.leave(&shown(name), "it is not known here");
    }

    let none = Value::Object(serde_json::Map::new());
    let overrides = template.get("policy_overrides").unwrap_or(&none);
    let terms = read_overrides(overrides, &mut reading)
        .map_err(|reason| format!("`policy_overrides`: {reason}"))?;
    let terms = read_specs(&template, terms, &mut reading)
        .map_err(|reason| format!("`content_key_specs`: {reason}"))?;
    reading.terms = Some(read_tracks(&template, terms, &mut reading)?);
    Ok(reading)
}

/// Reports the members of a list that say something.
fn leave(members: &Members<'_>, list: &[(&str, &str)], place: &str, reading: &mut Reading) {
    for (name, why) in list {
        if members.get(name).is_some_and(|value| !is_nothing(value)) {
            reading.leave(&format!("{place}{name}"), *why);
        }
    }
}

/// Refuses a member that says something.
fn refuse(members: &Members<'_>, name: &str, reason: &str) -> Result<(), String> {
    match members.get(name) {
        Some(value) if !is_nothing(value) => Err(format!("`{name}`: {reason}")),
        _ => Ok(()),
    }
}

/// The durations. A duration of zero means no limit.
///
/// | member | streaming | with `can_persist` |
/// |---|---|---|
/// | `license_duration_seconds` | `lease_seconds` | the end of storing and playing together |
/// | `rental_duration_seconds` | `rental_seconds` | `storage_seconds` |
/// | `playback_duration_seconds` | `lease_seconds` | `playback_seconds` |
fn read_overrides(overrides: &Value, reading: &mut Reading) -> Result<Terms, String> {
    let overrides = Members::parse(overrides)?;
    let mut known = vec![
        "can_play",
        "can_persist",
        "license_duration_seconds",
        "rental_duration_seconds",
        "playback_duration_seconds",
        "time_shift_limit_seconds",
        "soft_enforce_rental_duration",
    ];
    known.extend(OVERRIDES_NOT_TAKEN.map(|(name, _)| name));
    overrides.only(&known)?;
    leave(
        &overrides,
        &OVERRIDES_NOT_TAKEN,
        "policy_overrides.",
        reading,
    );
    if overrides.flag("can_play")? == Some(false) {
        return Err("`can_play` is false, so nothing would play".to_owned());
    }
    refuse(
        &overrides,
        "time_shift_limit_seconds",
        "no term limits how far back a viewer goes",
    )?;
    let seconds =
        |name: &str| -> Result<_, String> { Ok(overrides.number(name)?.filter(|n| *n > 0)) };
    let license = seconds("license_duration_seconds")?;
    let rental = seconds("rental_duration_seconds")?;
    let playback = seconds("playback_duration_seconds")?;
    if rental.is_some() && overrides.flag("soft_enforce_rental_duration")? == Some(false) {
        let reason = "`soft_enforce_rental_duration` is false, and no term stops playback at the end of a rental";
        return Err(reason.to_owned());
    }

    let mut terms = Terms::default();
    let persist = overrides.flag("can_persist")?.unwrap_or(false);
    terms.persist = Some(persist);
    let mut map = |name: &str, term: &str, value: Option<u32>| {
        if let Some(value) = value {
            let field = format!("policy_overrides.{name}");
            reading.map(&field, format!("`{term}` {value}"));
        }
    };
    if persist {
        // What is stored until then and played from then on must be over when the licence is: what is left of the licence
        // after the rental may be played.
        let rest = license
            .zip(rental)
            .map(|(license, rental)| license.saturating_sub(rental));
        let fits = |playback: &u32| license.is_none_or(|license| *playback < license);
        terms.playback_seconds = playback.filter(fits).or(rest.filter(|rest| *rest > 0));
        if license.is_some() && terms.playback_seconds.is_none() {
            let reason = "`license_duration_seconds` ends what is stored, and no term does that alone: give a shorter `playback_duration_seconds` or `rental_duration_seconds`";
            return Err(reason.to_owned());
        }
        let end = license.map(|license| license - terms.playback_seconds.unwrap_or(0));
        terms.storage_seconds = min_some(rental, end);
        let storage = terms.storage_seconds;
        let of_playback = match playback.filter(fits) {
            Some(_) => "playback_duration_seconds",
            None => "license_duration_seconds",
        };
        map("license_duration_seconds", "storage_seconds", end);
        map(
            "rental_duration_seconds",
            "storage_seconds",
            rental.and(storage),
        );
        map(of_playback, "playback_seconds", terms.playback_seconds);
    } else {
        terms.lease_seconds = min_some(license, playback);
        terms.rental_seconds = rental;
        map("license_duration_seconds", "lease_seconds", license);
        map("rental_duration_seconds", "rental_seconds", rental);
        map("playback_duration_seconds", "lease_seconds", playback);
    }
    reading.map(
        "policy_overrides.can_persist",
        format!("`persist` {persist}"),
    );
    Ok(terms)
}

/// The limits by kind of track. A key without a track, and a kind of track that no entry names, has those of every entry
/// together.
fn read_specs(
    template: &Members<'_>,
    terms: Terms,
    reading: &mut Reading,
) -> Result<Terms, String> {
    let Some(specs) = template.get("content_key_specs") else {
        return Ok(terms);
    };
    let specs = specs.as_array().ok_or("it is not a list")?;
    let mut by_track: Vec<(Track, Limits)> = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let (track, limits) =
            read_spec(spec, reading).map_err(|reason| format!("entry {}: {reason}", index + 1))?;
        let level = limits.min_security_level.map(SecurityLevel::name);
        let words: Vec<String> = [
            ("min_security_level", level),
            ("hdcp", limits.hdcp.map(Hdcp::name)),
        ]
        .into_iter()
        .filter_map(|(term, value)| Some(format!("`{term}` {}", value?)))
        .collect();
        if !words.is_empty() {
            let what = format!("track {}: {}", track.name(), words.join(", "));
            reading.map("content_key_specs", what);
        }
        match by_track.iter_mut().find(|(named, _)| *named == track) {
            Some((_, so_far)) => *so_far = so_far.clone().and(&limits),
            None => by_track.push((track, limits)),
        }
    }
    let with = |limits: Limits| {
        let mut terms = terms.clone();
        terms.limits = limits;
        terms
    };
    let every = by_track.iter().map(|(_, limits)| limits);
    let every = with(every.fold(Limits::default(), Limits::and));
    Ok(by_track.into_iter().fold(every, |all, (track, limits)| {
        all.with_track(track, Some(with(limits)))
    }))
}

fn read_spec(spec: &Value, reading: &mut Reading) -> Result<(Track, Limits), String> {
    let spec = Members::parse(spec)?;
    let mut known = vec!["track_type", "security_level", "required_output_protection"];
    known.extend(SPEC_NOT_TAKEN.map(|(name, _)| name));
    spec.only(&known)?;
    leave(&spec, &SPEC_NOT_TAKEN, "content_key_specs.", reading);
    let track = spec.choice("track_type", &TRACK_TYPES)?;
    let track = track.ok_or("it has no `track_type`")?;
    let mut limits = Limits {
        min_security_level: match spec.number("security_level")? {
            None => None,
            Some(1) => Some(SecurityLevel::Audio),
            Some(2 | 3) => Some(SecurityLevel::Baseline),
            Some(4 | 5) => Some(SecurityLevel::Main),
            Some(_) => return Err("`security_level` is no number from 1 to 5".to_owned()),
        },
        ..Limits::default()
    };
    if let Some(output) = spec.get("required_output_protection") {
        limits.hdcp = read_output(output)
            .map_err(|reason| format!("`required_output_protection`: {reason}"))?;
    }
    Ok((track, limits))
}

fn read_output(output: &Value) -> Result<Option<Hdcp>, String> {
    let output = Members::parse(output)?;
    // Azure's table of members writes `hdc`.
    output.only(&[
        "hdcp",
        "hdc",
        "cgms_flags",
        "disable_analog_output",
        "hdcp_srm_rule",
    ])?;
    if output.flag("disable_analog_output")? == Some(true) {
        return Err("`disable_analog_output` is true, and no term keeps it".to_owned());
    }
    if output.choice("cgms_flags", &CGMS)? == Some(true) {
        return Err("`cgms_flags` limits copies, and no term keeps it".to_owned());
    }
    if output.choice("hdcp_srm_rule", &SRM)? == Some(true) {
        return Err("`hdcp_srm_rule` is CURRENT_SRM, and no term keeps it".to_owned());
    }
    let hdcp = [output.choice("hdcp", &HDCP)?, output.choice("hdc", &HDCP)?];
    if hdcp.contains(&Some(None)) {
        return Err("`hdcp` is HDCP_NO_DIGITAL_OUTPUT, and no term keeps it".to_owned());
    }
    Ok(hdcp.into_iter().flatten().flatten().max())
}

/// Values of `cgms_flags`, and whether they restrict.
const CGMS: [(&str, bool); 4] = [
    ("CGMS_NONE", false),
    ("COPY_FREE", false),
    ("COPY_ONCE", true),
    ("COPY_NEVER", true),
];

/// Values of `hdcp_srm_rule`, and whether they restrict.
const SRM: [(&str, bool); 2] = [("HDCP_SRM_RULE_NONE", false), ("CURRENT_SRM", true)];

/// Values of `hdcp`; `None`: no term says it.
const HDCP: [(&str, Option<Hdcp>); 7] = [
    ("HDCP_NONE", Some(Hdcp::None)),
    ("HDCP_V1", Some(Hdcp::Type0)),
    ("HDCP_V2", Some(Hdcp::Type1)),
    ("HDCP_V2_1", Some(Hdcp::Type1)),
    ("HDCP_V2_2", Some(Hdcp::Type1)),
    ("HDCP_V2_3", Some(Hdcp::Type1)),
    ("HDCP_NO_DIGITAL_OUTPUT", None),
];

/// Denies the tracks that `allowed_track_types` does not have. Sound always has its key.
fn read_tracks(
    template: &Members<'_>,
    terms: Terms,
    reading: &mut Reading,
) -> Result<Terms, String> {
    const NAME: &str = "allowed_track_types";
    const TYPES: [(&str, &[Track]); 4] = [
        ("SD_ONLY", &[Track::Hd, Track::Uhd]),
        ("SD_HD", &[Track::Uhd]),
        ("SD_UHD1", &[]),
        ("SD_UHD2", &[]),
    ];
    let Some(denied) = template.choice(NAME, &TYPES)? else {
        return Ok(terms);
    };
    let names: Vec<String> = denied
        .iter()
        .map(|track| format!("track {}: not allowed", track.name()))
        .collect();
    match names.is_empty() {
        true => reading.leave(NAME, "it allows every kind of track that there is here"),
        false => reading.map(NAME, names.join(", ")),
    }
    let denied = denied.iter().fold(Terms::default(), |terms, track| {
        terms.with_track(*track, None)
    });
    Ok(terms.and(&denied))
}
