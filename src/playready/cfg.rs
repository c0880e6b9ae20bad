//! The query of Microsoft's test server (Microsoft, "PlayReady Test Server"): `cfg=(name:value,…),(…)`, a group for each licence.

use base64::Engine;
use zeroize::Zeroizing;

use super::challenge::Algorithm;
use super::rights::{HDCP_TYPE_1, LicensedKey, date};
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
    let rights = &key.rights;
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
    if let Some(level) = rights.security_level() {
        add("sl", &level.to_string());
    }
    if rights.persist {
        add("persist", "true");
    }
    if let Some(end) = rights.end {
        add("enddate", &date(end).concat());
    }
    if rights.stops {
        add("realtime", "true");
    }
    if let Some(seconds) = rights.playback_seconds {
        add("firstexp", &seconds.to_string());
    }
    if let Some(level) = rights.video_level() {
        add("ucvopl", &level.to_string());
    }
    if rights.needs_type_1() {
        let (id, data) = HDCP_TYPE_1;
        add("dvop", &format!("(guid:{id},data:{data})"));
    }
}
