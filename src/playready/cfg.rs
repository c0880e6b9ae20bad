//! The query of Microsoft's test server (Microsoft, "PlayReady Test Server"): `cfg=(name:value,…),(…)`, a group for each licence.

use base64::Engine;
use zeroize::Zeroizing;

use super::challenge::Algorithm;
use super::rights::{LicensedKey, Protection, Rights, date};
use crate::encoding::BASE64;

/// The groups, one for each key. White space does not occur in them, and nothing in them is percent-encoded.
pub fn cfg(keys: &[LicensedKey<'_>]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for (index, key) in keys.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push('(');
        group(key, &mut text);
        text.push(')');
    }
    text
}

fn group(key: &LicensedKey<'_>, text: &mut Zeroizing<String>) {
    text.push_str(&format!("kid:{}", key.kid));
    let mut add = |name: &str, value: &str| {
        text.push(',');
        text.push_str(name);
        text.push(':');
        text.push_str(value);
    };
    if let Some(key) = key.key {
        let key = Zeroizing::new(BASE64.encode(key.key.expose()));
        add("contentkey", &key);
    }
    if key.algorithm == Some(Algorithm::Cbc) {
        add("ckt", "aes128bitcbc");
    }
    for (name, value) in license_fields(&key.rights) {
        add(name, &value);
    }
}

/// The terms, as members of a group.
pub fn license_fields(rights: &Rights) -> Vec<(&'static str, String)> {
    let is_set = |is_set: bool| is_set.then(|| "true".to_owned());
    let protection = |protection: Option<Protection>| {
        protection.map(|Protection { id, data }| format!("(guid:{id},data:{data})"))
    };
    let level = |level: Option<u16>| level.map(|level| level.to_string());
    let outputs = &rights.play_right;
    let fields = [
        ("sl", level(rights.security_level())),
        ("persist", is_set(rights.persist)),
        ("enddate", rights.end.map(|end| date(end).concat())),
        ("realtime", is_set(rights.stops)),
        (
            "firstexp",
            rights.playback_seconds.map(|seconds| seconds.to_string()),
        ),
        ("ucvopl", level(outputs.uncompressed_digital_video)),
        ("dvop", protection(rights.digital_video_protection())),
        ("cvopl", level(outputs.compressed_digital_video)),
        ("avopl", level(outputs.analog_video)),
        ("avop", protection(rights.analog_video_protection())),
        ("caopl", level(outputs.compressed_digital_audio)),
        ("ucaopl", level(outputs.uncompressed_digital_audio)),
        ("daop", protection(rights.digital_audio_protection())),
        (
            "explicitacp",
            level(outputs.agc_and_color_stripe.map(u16::from)),
        ),
        (
            "playenablers",
            rights.play_enabler().map(|id| format!("({id})")),
        ),
    ];
    let fields = fields.into_iter();
    fields
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
