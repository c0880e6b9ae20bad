//! The variable `widevine`.

use http::Uri;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::signature::AesSigner;
use crate::configuration::{SettingError, SettingErrorKind};
use crate::drm::KeyHolder;
use crate::encoding;
use crate::protobuf;
use crate::upstream::is_safe;

/// The variable: a JSON object.
pub const VARIABLE: &str = "widevine";

/// How a message with the certificate of the service begins: type 5, and field 2.
const CERTIFICATE_TYPE: u64 = 5;

/// How the licence service is asked.
pub struct Config {
    /// The name under which the provider signs.
    pub provider: String,
    /// What signs requests.
    pub signer: AesSigner,
    /// Where licences are asked for.
    pub url: Uri,
    /// Who has the keys.
    pub holder: KeyHolder,
    /// The answer to a player that asks for the certificate of the service; `None`: the service is asked.
    pub certificate: Option<Vec<u8>>,
}

/// The setting as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    provider: String,
    key: Zeroizing<String>,
    iv: Zeroizing<String>,
    url: String,
    #[serde(default)]
    keys: KeyHolder,
    service_certificate: Option<String>,
}

impl Config {
    /// Reads the setting.
    ///
    /// # Errors
    /// The member that is wrong, and how; never a value.
    pub fn read(text: &str) -> Result<Self, SettingError> {
        let setting: Setting = encoding::from_json(text.as_bytes())
            .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
        if setting.provider.is_empty() {
            return Err(malformed("provider", "it is empty"));
        }
        let signer = AesSigner::read(&setting.key, &setting.iv);
        let signer = signer.map_err(|(member, reason)| malformed(member, reason))?;
        let url = setting.url.trim();
        let url = url.parse().ok().filter(|_| is_safe(url));
        let url =
            url.ok_or_else(|| malformed("url", "it is neither https nor http on this machine"))?;
        let certificate = setting.service_certificate.as_deref().map(certificate);
        Ok(Self {
            provider: setting.provider,
            signer,
            url,
            holder: setting.keys,
            certificate: certificate.transpose()?,
        })
    }
}

/// The message with a certificate: players that are given the certificate itself have it without the message around it,
/// so both are taken.
fn certificate(text: &str) -> Result<Vec<u8>, SettingError> {
    let bytes = encoding::base64(text).filter(|bytes| bytes.len() > 2);
    let bytes = bytes.ok_or_else(|| {
        malformed(
            "service_certificate",
            "it is not a certificate of Widevine in base64",
        )
    })?;
    if bytes.starts_with(&[0x08, 0x05]) {
        return Ok(bytes.to_vec());
    }
    let mut message = Vec::new();
    protobuf::write_number(&mut message, 1, CERTIFICATE_TYPE);
    protobuf::write_bytes(&mut message, 2, &bytes);
    Ok(message)
}

fn malformed(member: &str, reason: &str) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).in_member(member)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn setting() -> Value {
        json!({
            "provider": "widevine_test",
            "key": "1ae8ccd0e7985cc0b6203a55855a1034afc252980e970ca90e5202689f947ab9",
            "iv": "d58ce954203b7c9a9a9d467f59839249",
            "url": "https://license.uat.widevine.com/cenc/getlicense/widevine_test",
        })
    }

    #[test]
    fn a_certificate_is_taken_with_and_without_its_message() {
        for (text, expected) in [
            ("CAUSAQE=", vec![8, 5, 0x12, 1, 1]),
            ("AQID", vec![8, 5, 0x12, 3, 1, 2, 3]),
        ] {
            let mut setting = setting();
            setting["service_certificate"] = text.into();
            let Ok(config) = Config::read(&setting.to_string()) else {
                panic!("it loads");
            };
            assert_eq!(config.certificate, Some(expected));
        }
    }

    #[test]
    fn a_wrong_member_is_named() {
        for (member, value) in [
            ("provider", json!("")),
            ("key", json!("00")),
            ("iv", json!("00")),
            ("url", json!("http://license.example")),
            ("keys", json!("there")),
            ("service_certificate", json!("%")),
            ("other", json!(1)),
        ] {
            let mut setting = setting();
            setting[member] = value;
            let Err(error) = Config::read(&setting.to_string()) else {
                panic!("{member}");
            };
            // A member that there is not has no path.
            assert!(
                error.member.as_deref() == Some(member) || member == "other",
                "{member}"
            );
        }
        assert!(Config::read(&setting().to_string()).is_ok());
    }
}
