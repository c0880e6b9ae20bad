//! The variable `playready`.

use std::collections::BTreeMap;

use http::{HeaderMap, Uri};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::axinom::CommunicationKey;
use crate::configuration::{SettingError, SettingErrorKind};
use crate::drm::KeyHolder;
use crate::encoding;
use crate::upstream::{self, is_safe};

/// The variable: a JSON object.
pub const VARIABLE: &str = "playready";

/// How a licence service learns what a licence may.
pub enum Service {
    /// By `cfg=` in the query, as Microsoft's test server.
    TestServer,
    /// By Axinom's message.
    Axinom(CommunicationKey),
    /// Not at all.
    Untold,
}

impl Service {
    /// Whether it learns what a licence may.
    pub fn is_told(&self) -> bool {
        !matches!(self, Self::Untold)
    }
}

/// A licence service.
pub struct Config {
    /// What it is told.
    pub service: Service,
    /// Where licences are asked for.
    pub url: Uri,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// Whether this server's own refusals are SOAP faults.
    pub refuses_in_soap: bool,
    /// Who has the keys.
    pub holder: KeyHolder,
}

/// The setting as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    kind: Kind,
    url: Zeroizing<String>,
    #[serde(default)]
    headers: BTreeMap<String, Zeroizing<String>>,
    refusal: Option<Refusal>,
    keys: Option<KeyHolder>,
    com_key_id: Option<String>,
    com_key: Option<Zeroizing<String>>,
}

/// The kinds of service.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    PlayreadyTest,
    Axinom,
    Drmtoday,
    Doverunner,
    Ezdrm,
    Plain,
}

/// The form of refusals, where it is not that of all others.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Refusal {
    Soap,
}

impl Config {
    /// Reads the setting.
    ///
    /// # Errors
    /// The member that is wrong, and how; never a value.
    pub fn read(text: &str) -> Result<Self, SettingError> {
        let setting: Setting = encoding::from_json(text.as_bytes())
            .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
        let service = service(&setting)?;
        let holder = match (service.is_told(), setting.keys) {
            (false, Some(KeyHolder::Here)) => {
                return Err(malformed(
                    "keys",
                    "a service of this kind takes no keys from here: it is `service`",
                ));
            }
            (false, _) => KeyHolder::Service,
            (true, holder) => holder.unwrap_or_default(),
        };
        let headers =
            upstream::headers(&setting.headers).map_err(|reason| malformed("headers", &reason))?;
        // Without it, these services know neither the account nor the viewer.
        let needed: &[&str] = match setting.kind {
            Kind::Drmtoday => &["x-dt-auth-token", "x-dt-custom-data"],
            Kind::Doverunner => &["pallycon-customdata-v2"],
            Kind::PlayreadyTest | Kind::Axinom | Kind::Ezdrm | Kind::Plain => &[],
        };
        if !needed.is_empty() && !needed.iter().any(|name| headers.contains_key(*name)) {
            let needed = needed.join("` or `");
            return Err(malformed("headers", &format!("it has no `{needed}`")));
        }
        Ok(Self {
            url: url(&setting)?,
            service,
            headers,
            refuses_in_soap: matches!(setting.refusal, Some(Refusal::Soap)),
            holder,
        })
    }
}

fn service(setting: &Setting) -> Result<Service, SettingError> {
    let members = [
        ("com_key_id", setting.com_key_id.is_some()),
        ("com_key", setting.com_key.is_some()),
    ];
    if setting.kind != Kind::Axinom {
        return match members.into_iter().find(|(_, is_set)| *is_set) {
            Some((member, _)) => Err(malformed(member, "it belongs to the kind `axinom`")),
            None if setting.kind == Kind::PlayreadyTest => Ok(Service::TestServer),
            None => Ok(Service::Untold),
        };
    }
    let id = setting.com_key_id.as_deref().map(str::trim);
    let id = id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| malformed("com_key_id", "the kind `axinom` needs it"))?;
    let key = setting.com_key.as_deref();
    let key = key.and_then(|text| encoding::fixed::<32>(text));
    let key = key.ok_or_else(|| {
        malformed(
            "com_key",
            "the kind `axinom` needs it: 32 bytes in base64 or hex",
        )
    })?;
    Ok(Service::Axinom(CommunicationKey {
        id: id.to_owned(),
        key: key.into(),
    }))
}

fn url(setting: &Setting) -> Result<Uri, SettingError> {
    let text = setting.url.trim();
    let url: Option<Uri> = text.parse().ok().filter(|_| is_safe(text));
    let url =
        url.ok_or_else(|| malformed("url", "it is neither https nor http on this machine"))?;
    if url
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(malformed(
            "url",
            "it has credentials in front of the host; write them into `headers`, as `authorization`",
        ));
    }
    let has_cfg = |query: &str| query.split('&').any(|part| part.starts_with("cfg="));
    if setting.kind == Kind::PlayreadyTest && url.query().is_some_and(has_cfg) {
        return Err(malformed("url", "it has `cfg`, which this server writes"));
    }
    Ok(url)
}

fn malformed(member: &str, reason: &str) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).in_member(member)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn setting(kind: &str) -> Value {
        let mut setting =
            json!({"kind": kind, "url": "https://license.example/rightsmanager.asmx"});
        let more = match kind {
            "axinom" => json!({"com_key_id": "a", "com_key": "11".repeat(32)}),
            "drmtoday" => json!({"headers": {"x-dt-custom-data": "e30="}}),
            "doverunner" => json!({"headers": {"pallycon-customdata-v2": "e30="}}),
            _ => json!({}),
        };
        let members = setting.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        setting
    }

    fn holder(setting: &Value) -> Result<KeyHolder, Option<String>> {
        let config = Config::read(&setting.to_string());
        config
            .map(|config| config.holder)
            .map_err(|error| error.member)
    }

    #[test]
    fn each_kind_has_its_holder_of_keys() {
        for (kind, default, here) in [
            ("playready_test", KeyHolder::Here, true),
            ("axinom", KeyHolder::Here, true),
            ("drmtoday", KeyHolder::Service, false),
            ("doverunner", KeyHolder::Service, false),
            ("ezdrm", KeyHolder::Service, false),
            ("plain", KeyHolder::Service, false),
        ] {
            let mut setting = setting(kind);
            assert_eq!(holder(&setting), Ok(default), "{kind}");
            setting["keys"] = "service".into();
            assert_eq!(holder(&setting), Ok(KeyHolder::Service), "{kind}");
            setting["keys"] = "here".into();
            let expected = match here {
                true => Ok(KeyHolder::Here),
                false => Err(Some("keys".to_owned())),
            };
            assert_eq!(holder(&setting), expected, "{kind}");
        }
    }

    #[test]
    fn a_wrong_member_is_named() {
        for (kind, member, value) in [
            ("plain", "url", json!("http://license.example")),
            ("plain", "url", json!("https://a:b@license.example")),
            (
                "playready_test",
                "url",
                json!("https://license.example/?a=1&cfg=(kid:header)"),
            ),
            ("plain", "headers", json!({"host": "a"})),
            ("plain", "headers", json!({"x": "a\nb"})),
            ("drmtoday", "headers", json!({"x-other": "a"})),
            ("doverunner", "headers", json!({})),
            ("plain", "refusal", json!("html")),
            ("plain", "keys", json!("there")),
            ("plain", "com_key", json!("11".repeat(32))),
            ("plain", "com_key_id", json!("a")),
            ("axinom", "com_key", json!("1111")),
            ("axinom", "com_key_id", json!(" ")),
            ("axinom", "kind", json!("other")),
            ("plain", "other", json!(1)),
        ] {
            let mut setting = setting(kind);
            setting[member] = value.clone();
            let found = holder(&setting);
            // A member that there is not has no path.
            let expected = (member != "other").then(|| member.to_owned());
            assert_eq!(found, Err(expected), "{kind} {member} {value}");
        }
    }
}
