//! The variable `key_server`.

use std::collections::BTreeMap;

use http::HeaderMap;
use rand_core::CryptoRng;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::asked::{PLACES, Place};
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding::{self, PemOrDer};
use crate::private_key::{EncodedKeys, StoredKey};
use crate::template::Template;
use crate::upstream::{self, is_safe};
use crate::x509;

/// The variable.
pub const VARIABLE: &str = "key_server";

/// How long a key is fresh, in seconds, where the setting does not say.
const CACHE_SECONDS: u64 = 60 * 60;

/// The longest that a key may be fresh, in seconds.
const MOST_CACHE_SECONDS: u64 = 7 * 24 * 60 * 60;

/// How a key server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// SPEKE 2.0: POST of a CPIX document without values.
    Speke,
    /// GET of a CPIX document.
    Cpix,
    /// JSON: by GET where the URL has a place for what is asked, else by POST.
    Json,
}

/// The IV of a key that comes without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultIv {
    /// The 16 bytes of the KID.
    Kid,
    /// The same for every key.
    Fixed([u8; 16]),
}

/// The recipient for whom keys are encrypted.
pub struct Recipient {
    pub private_key: StoredKey,
    /// In DER.
    pub certificate: Option<Zeroizing<Vec<u8>>>,
}

/// A key server.
pub struct Config {
    pub protocol: Protocol,
    pub url: Template<Place>,
    /// `None`: the KID, or the asset id where it has none.
    pub content_id: Option<Template<Place>>,
    pub headers: HeaderMap,
    /// How long a key is fresh, in seconds.
    pub cache_seconds: u64,
    pub iv: Option<DefaultIv>,
    pub recipient: Option<Recipient>,
    /// SHA-256 of all that what is kept depends on, in hexadecimal: which server is asked, as whom, and with which IV.
    pub server: String,
}

/// The setting as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    protocol: Protocol,
    url: Zeroizing<String>,
    #[serde(default)]
    headers: BTreeMap<String, Zeroizing<String>>,
    cache_seconds: Option<u64>,
    content_id: Option<String>,
    iv: Option<String>,
    private_key: Option<Zeroizing<String>>,
    certificate: Option<String>,
}

impl Config {
    /// Reads the setting.
    ///
    /// # Errors
    /// The member that is wrong, and how; never a value.
    pub fn read(text: &str) -> Result<Self, SettingError> {
        let setting: Setting = encoding::from_json(text.as_bytes())
            .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
        let cache_seconds = setting.cache_seconds.unwrap_or(CACHE_SECONDS);
        if cache_seconds > MOST_CACHE_SECONDS {
            let reason = format!("it is more than {MOST_CACHE_SECONDS}, a week");
            return Err(malformed("cache_seconds", reason));
        }
        let is_cpix = matches!(setting.protocol, Protocol::Speke | Protocol::Cpix);
        for (member, is_set) in [
            ("content_id", setting.content_id.is_some()),
            ("private_key", setting.private_key.is_some()),
            ("certificate", setting.certificate.is_some()),
        ] {
            if is_set && !is_cpix {
                let reason = "it belongs to the protocols `speke` and `cpix`";
                return Err(malformed(member, reason));
            }
        }
        let content_id = setting.content_id.as_deref().map(content_id).transpose()?;
        let url = url(&setting.url)?;
        if setting.protocol == Protocol::Speke && url.has_places() {
            return Err(malformed(
                "url",
                "SPEKE asks by POST, so the URL has no placeholder; the content id is in `content_id`",
            ));
        }
        if setting.protocol == Protocol::Cpix && !url.has_places() {
            return Err(malformed(
                "url",
                "it has none of `{kid}`, `{id}` and `{content_id}`, so every key would have one answer",
            ));
        }
        if setting.protocol == Protocol::Json && url.has(Place::ContentId) {
            return Err(malformed(
                "url",
                "`{content_id}` belongs to the protocol `cpix`; there are `{kid}` and `{id}`",
            ));
        }
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update(text);
            digest.update([0]);
        };
        add(&format!("{:?}", setting.protocol));
        add(url.text());
        add(content_id.as_ref().map_or("", Template::text));
        add(setting.iv.as_deref().unwrap_or_default());
        for (name, value) in &setting.headers {
            add(name);
            add(value);
        }
        Ok(Self {
            protocol: setting.protocol,
            server: hex::encode(digest.finalize()),
            url,
            content_id,
            headers: upstream::headers(&setting.headers)
                .map_err(|reason| malformed("headers", reason))?,
            cache_seconds,
            iv: setting.iv.as_deref().map(iv).transpose()?,
            recipient: recipient(&setting)?,
        })
    }

    /// Checks what reading leaves: whether the private key is sound.
    ///
    /// # Errors
    /// That it is not.
    pub fn check(&self, rng: &mut dyn CryptoRng) -> Result<(), SettingsError> {
        let Some(recipient) = &self.recipient else {
            return Ok(());
        };
        let key = recipient.private_key.get();
        let unsound = || malformed("private_key", "it is not a sound RSA key");
        let checked = key.and_then(|key| key.check(rng));
        checked.map_err(|_| unsound().into())
    }
}

fn content_id(text: &str) -> Result<Template<Place>, SettingError> {
    let template = Template::read(text.trim(), PLACES);
    let template =
        template.filter(|template| !template.has(Place::ContentId) && !template.text().is_empty());
    let reason = "it is empty, or has another placeholder than `{kid}` and `{id}`";
    template.ok_or_else(|| malformed("content_id", reason))
}

fn url(text: &str) -> Result<Template<Place>, SettingError> {
    let text = text.trim();
    let unsafe_url = || malformed("url", "it is neither https nor http on this machine");
    let template = Template::read(text, PLACES).ok_or_else(|| {
        malformed(
            "url",
            "only the placeholders `{kid}`, `{id}` and `{content_id}` are allowed, and no other braces",
        )
    })?;
    let (_, behind_scheme) = text.split_once("://").ok_or_else(unsafe_url)?;
    let authority = behind_scheme
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default();
    if authority.contains('{') {
        return Err(malformed("url", "a placeholder cannot stand in the host"));
    }
    if authority.contains('@') {
        return Err(malformed(
            "url",
            "it has credentials in front of the host; write them into `headers`, as `authorization`",
        ));
    }
    let sample = template.filled(|_| Some("a".into())).unwrap_or_default();
    if is_safe(&sample) {
        Ok(template)
    } else {
        Err(unsafe_url())
    }
}

fn iv(text: &str) -> Result<DefaultIv, SettingError> {
    if text == "kid" {
        return Ok(DefaultIv::Kid);
    }
    let iv = encoding::fixed(text).map(DefaultIv::Fixed);
    iv.ok_or_else(|| malformed("iv", "it is neither `kid` nor 16 bytes in hex or base64"))
}

fn recipient(setting: &Setting) -> Result<Option<Recipient>, SettingError> {
    let Some(text) = &setting.private_key else {
        return match setting.certificate {
            Some(_) => Err(malformed(
                "certificate",
                "it needs `private_key`, which opens what is encrypted for it",
            )),
            None => Ok(None),
        };
    };
    let certificate = setting
        .certificate
        .as_deref()
        .map(certificate)
        .transpose()?;
    if certificate.is_none() && setting.protocol == Protocol::Speke {
        return Err(malformed(
            "private_key",
            "it needs `certificate`, which the key server encrypts for",
        ));
    }
    let keys = EncodedKeys::read(text);
    let encrypted = keys.as_ref().is_ok_and(EncodedKeys::are_encrypted);
    if encrypted {
        return Err(malformed(
            "private_key",
            "it is encrypted; write it without a password, as `openssl pkey` does",
        ));
    }
    let keys = keys.and_then(|keys| keys.decode(None));
    let keys = keys.map_err(|error| {
        SettingError::new(VARIABLE, error.kind, error.reason).in_member("private_key")
    })?;
    let one: Result<[StoredKey; 1], _> = keys.try_into();
    let [private_key] = one.map_err(|_| malformed("private_key", "it is not one private key"))?;
    if let Some(der) = &certificate {
        let read = x509::Certificate::split_from(der);
        let modulus =
            read.map(|(certificate, _)| certificate.public_key.modulus.as_bytes().to_vec());
        if modulus != Ok(private_key.modulus.clone()) {
            let reason = "it is not that of `private_key`";
            return Err(
                SettingError::new(VARIABLE, SettingErrorKind::Mismatch, reason)
                    .in_member("certificate"),
            );
        }
    }
    Ok(Some(Recipient {
        private_key,
        certificate,
    }))
}

/// One certificate with an RSA key: PEM, or base64 of DER.
fn certificate(text: &str) -> Result<Zeroizing<Vec<u8>>, SettingError> {
    let wrong = |reason: &str| malformed("certificate", reason);
    let der = match encoding::pem_or_der(text) {
        Some(PemOrDer::Der(der)) => Some(der),
        Some(PemOrDer::Pem(blocks)) => {
            let mut blocks = blocks.into_iter().filter(encoding::Pem::is_certificate);
            blocks.next().map(|block| block.der)
        }
        None => None,
    };
    let der = der.ok_or_else(|| wrong("it is neither PEM nor base64 of a certificate"))?;
    match x509::Certificate::split_from(&der) {
        Ok((certificate, _)) => Ok(Zeroizing::new(certificate.der.to_vec())),
        Err(x509::Error::Malformed) => Err(wrong("it is not an X.509 certificate")),
        Err(x509::Error::NotRsa) => Err(wrong("its key is not an RSA key")),
    }
}

fn malformed(member: &str, reason: impl Into<String>) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).in_member(member)
}
