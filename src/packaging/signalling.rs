//! What documents for packagers say beside the keys: the URI of FairPlay's tags, URLs, and what outputs and devices need.

use std::borrow::Cow;

use base64::Engine;
use serde::Serialize;

use super::{Error, PackagingServer};
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::content_key::ContentKey;
use crate::cpix::speke::{Filled, Output, Urls};
use crate::encoding::{BASE64, percent_encoded};
use crate::entitlement::{Hdcp, SecurityLevel};
use crate::id::Kid;
use crate::platform::Platform;
use crate::playready;
use crate::public_url::PublicUrl;
use crate::template::{Places, Template};

/// The variable with the URI of FairPlay's tags.
pub const SKD_TEMPLATE: &str = "skd_template";

/// The URI where nothing else is configured.
const DEFAULT: &str = "skd://{kid}";

/// A place in the URI.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The KID, a GUID in lower case with dashes.
    Kid,
    /// The content id.
    ContentId,
    /// The IV in hexadecimal.
    Iv,
    /// Content id, KID and IV as JSON in base64, as AWS's guide for `MediaPackage` has it.
    Json,
}

const PLACES: Places<Place> = &[
    ("{kid}", Place::Kid),
    ("{content_id}", Place::ContentId),
    ("{iv}", Place::Iv),
    ("{json}", Place::Json),
];

/// The JSON of a URI, its members in the order of AWS's guide.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonReference<'a> {
    content_id: &'a str,
    key_id: String,
    #[serde(rename = "IV", skip_serializing_if = "Option::is_none")]
    iv: Option<String>,
}

/// The URI of FairPlay's tags.
pub struct SkdTemplate(Template<Place>);

impl SkdTemplate {
    /// Reads the variable.
    ///
    /// # Errors
    /// What is no URI of `skd`, or has another place.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let text = platform.variable(SKD_TEMPLATE).await?;
        let text = text.as_ref().map_or(DEFAULT, |text| text.trim());
        let wrong = |reason: &str| {
            SettingError::new(SKD_TEMPLATE, SettingErrorKind::Malformed, reason).into()
        };
        let template = Template::read(text, PLACES).ok_or_else(|| {
            wrong("only the placeholders `{kid}`, `{content_id}`, `{iv}` and `{json}` are allowed, and no other braces")
        })?;
        let names_the_key = [Place::Kid, Place::Json];
        let names_the_key = names_the_key.into_iter().any(|place| template.has(place));
        let is_plain = |c: char| c.is_ascii_graphic() && c != '"';
        if !text.starts_with("skd://") || !text.chars().all(is_plain) {
            return Err(wrong(
                "it does not begin with `skd://`, or holds a space or a quotation mark",
            ));
        }
        if !names_the_key {
            return Err(wrong(
                "it has neither `{kid}` nor `{json}`, so all keys of a content would have one URI",
            ));
        }
        Ok(Self(template))
    }

    /// The URI of a key.
    pub fn uri(&self, content_id: &str, kid: Kid, iv: Option<&[u8; 16]>) -> String {
        let uri = self.0.filled(|place| {
            Some(match place {
                Place::Kid => Cow::Owned(kid.to_string()),
                Place::ContentId => percent_encoded(content_id).into(),
                Place::Iv => iv.map(hex::encode).unwrap_or_default().into(),
                Place::Json => {
                    let iv = iv.map(|iv| BASE64.encode(iv));
                    let json = JsonReference {
                        content_id,
                        key_id: kid.to_string(),
                        iv,
                    };
                    let json = serde_json::to_vec(&json).unwrap_or_default();
                    BASE64.encode(json).into()
                }
            })
        });
        uri.unwrap_or_default()
    }
}

/// What a key needs of outputs and devices, by the terms of its record. A policy's terms are a viewer's, and no packager
/// hears of them.
fn output(key: &ContentKey) -> Output {
    let limits = key.terms.for_track(key.track).map(|terms| &terms.limits);
    let Ok(limits) = limits else {
        return Output::default();
    };
    let hdcp = match limits.hdcp {
        None | Some(Hdcp::None) => "NONE",
        Some(Hdcp::Type0) => "TYPE-0",
        Some(Hdcp::Type1) => "TYPE-1",
    };
    let of_level = match limits.security_level() {
        None => {
            return Output {
                hdcp,
                ..Output::default()
            };
        }
        Some(SecurityLevel::Audio) => ["SW_SECURE_CRYPTO", "150", ""],
        Some(SecurityLevel::Baseline) => [
            "HW_SECURE_CRYPTO",
            "2000",
            "com.apple.streamingkeydelivery:AppleBaseline/AppleMain/Baseline/Main",
        ],
        Some(SecurityLevel::Main) => [
            "HW_SECURE_ALL",
            "3000",
            "com.apple.streamingkeydelivery:AppleMain/Main",
        ],
    };
    let [widevine, playready, fairplay] = of_level.map(|text| Some(text).filter(|t| !t.is_empty()));
    Output {
        hdcp,
        widevine,
        playready,
        fairplay,
    }
}

/// Where documents say that keys are, by the variables of a deployment.
pub struct KeyUrls<'a> {
    /// The URI of FairPlay's tags.
    pub skd_template: &'a SkdTemplate,
    public_url: Option<PublicUrl>,
    clearkey: Option<String>,
    playready: Option<String>,
}

impl<'a> KeyUrls<'a> {
    /// Reads the variables. A system whose licences this server does not give has no URL of them.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub async fn load(
        skd_template: &'a SkdTemplate,
        platform: &impl Platform,
    ) -> Result<Self, SettingsError> {
        let public_url = PublicUrl::load(platform).await?;
        let has_playready = platform.variable(playready::VARIABLE).await?.is_some();
        let at = |path: &str| public_url.as_ref().map(|url| url.with(path));
        Ok(Self {
            skd_template,
            clearkey: at("/clearkey"),
            playready: at("/playready").filter(|_| has_playready),
            public_url,
        })
    }

    /// Where licences are asked for.
    pub fn of_licences(&self) -> Urls<'_> {
        Urls {
            clearkey: self.clearkey.as_deref(),
            playready: self.playready.as_deref(),
        }
    }

    /// What goes into a document for a key of a content. `iv` is the one that licences carry.
    pub fn filled(
        &self,
        content_id: &str,
        kid: Kid,
        key: &ContentKey,
        iv: Option<[u8; 16]>,
    ) -> Filled {
        Filled {
            key: key.key.clone(),
            iv,
            fairplay_uri: self.skd_template.uri(content_id, kid, iv.as_ref()),
            aes128_url: self.aes128(kid),
            output: output(key),
        }
    }

    /// The URL of a key for HLS AES-128.
    pub fn aes128(&self, kid: Kid) -> Option<String> {
        let url = self.public_url.as_ref()?;
        Some(url.with(&format!("/aes128/{kid}")))
    }
}

impl<P: Platform> PackagingServer<'_, P> {
    pub(super) async fn key_urls(&self) -> Result<KeyUrls<'_>, Error> {
        let skd_template = self.skd_template().await?;
        Ok(KeyUrls::load(skd_template, self.platform).await?)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::content_key::KeyQuery;
    use crate::id::Id;
    use crate::platform::test_host::TestHost;

    fn template(text: &str) -> Result<SkdTemplate, SettingsError> {
        let host = TestHost::new([(SKD_TEMPLATE, text.to_owned())]);
        SkdTemplate::load(&host).now_or_never().unwrap()
    }

    #[test]
    fn every_uri_that_a_template_makes_leads_back_to_the_kid() {
        let kid = Kid::from_u128(0x339c_45b5_fb6d_4bd9_994c_eabd_9d41_c95b);
        for (text, content, expected) in [
            ("", "movie-42", "skd://339c45b5-fb6d-4bd9-994c-eabd9d41c95b"),
            (
                "skd://{content_id}/{kid}",
                "a b",
                "skd://a%20b/339c45b5-fb6d-4bd9-994c-eabd9d41c95b",
            ),
            (
                "skd://{kid}:{iv}",
                "movie-42",
                "skd://339c45b5-fb6d-4bd9-994c-eabd9d41c95b:07070707070707070707070707070707",
            ),
            (
                "skd://{json}",
                "101",
                "skd://eyJDb250ZW50SWQiOiIxMDEiLCJLZXlJZCI6IjMzOWM0NWI1LWZiNmQtNGJkOS05OTRjLWVhYmQ5ZDQxYzk1YiIsIklWIjoiQndjSEJ3Y0hCd2NIQndjSEJ3Y0hCdz09In0=",
            ),
        ] {
            let template = template(text).unwrap_or_else(|error| panic!("{error:?}"));
            let uri = template.uri(content, kid, Some(&[7; 16]));
            assert_eq!(uri, expected);
            let query = KeyQuery::from_id(Id::from_bytes(uri.as_bytes()));
            assert!(query.kids().any(|found| found == kid), "{uri}");
        }
    }

    #[test]
    fn a_template_that_leads_to_no_key_is_refused() {
        for (text, reason) in [
            ("skd://{kdi}", "only the placeholders"),
            ("https://{kid}", "does not begin with `skd://`"),
            ("skd://{content_id}", "neither `{kid}` nor `{json}`"),
            ("skd://\"{kid}", "quotation mark"),
        ] {
            let Err(SettingsError::Invalid(errors)) = template(text) else {
                panic!("{text}");
            };
            assert!(errors[0].to_string().contains(reason), "{text}");
        }
    }
}
