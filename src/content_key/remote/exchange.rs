//! A question to a key server, and what it answers.

use std::rc::Rc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::asked::Asked;
use super::config::{Config, DefaultIv, Protocol};
use crate::content_key::ContentKey;
use crate::cpix::speke::Version;
use crate::cpix::{BlankDocument, BlankKey, Document, ProtectionSystem, Scheme};
use crate::encoding;
use crate::id::{Id, Kid};
use crate::platform::{Error, Platform, Random};
use crate::secret::Key128;
use crate::upstream::{self, Failed};

/// What a key server says of a key.
pub enum Fetched {
    /// The key, and its record without it.
    Key(Rc<ContentKey>, Map<String, Value>),
    /// It has no such key.
    Absent,
}

/// Why there is no answer, or none that can be used. It holds no path of a URL, and nothing of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The host does not let it be asked.
    Denied(Error),
    /// It does not answer, or asks to be left alone.
    Silent(String),
    /// It answers that it cannot: perhaps this key alone.
    Unable(String),
    /// Its answer cannot be used.
    Answer(String),
}

/// Asks for a key.
///
/// # Errors
/// [`Failure`]
pub async fn fetch(
    config: &Config,
    asked: &Asked,
    platform: &impl Platform,
) -> Result<Fetched, Failure> {
    // A name that is no text of XML or of HTTP is none of a key.
    let Some(request) = request(config, asked) else {
        return Ok(Fetched::Absent);
    };
    let response = upstream::ask(&request, upstream::LIMIT, platform).await;
    let response = response.map_err(|failed| match failed {
        Failed::Denied(error) => Failure::Denied(error),
        Failed::Silent(reason) => Failure::Silent(reason),
        Failed::TooLarge => Failure::Answer(failed.to_string()),
    })?;
    if is_absence(&response)? {
        return Ok(Fetched::Absent);
    }
    let body = Zeroizing::new(response.into_body());
    let read = match config.protocol {
        Protocol::Speke | Protocol::Cpix => read_cpix(config, asked, &body, platform),
        Protocol::Json => read_json(asked, &body).map(Some),
    };
    let Some((key, mut record)) = read.map_err(Failure::Answer)? else {
        return Ok(Fetched::Absent);
    };
    complete(config, asked, &mut record);
    let read = ContentKey::from_members(record.clone(), key);
    let key = read.map_err(|error| Failure::Answer(error.message()))?;
    if !key.is_named(&asked.name) {
        let what = match asked.kid {
            Some(_) => "it has another KID than the one that was asked for",
            None => "it has another id than the one that was asked for",
        };
        return Err(Failure::Answer(what.to_owned()));
    }
    Ok(Fetched::Key(Rc::new(key), record))
}

fn request(config: &Config, asked: &Asked) -> Option<Request<Vec<u8>>> {
    const XML: HeaderValue = HeaderValue::from_static("application/xml");
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let url = asked.url.as_str();
    let request = match config.protocol {
        Protocol::Speke => {
            let recipient = config.recipient.as_ref();
            let certificate = recipient.and_then(|recipient| recipient.certificate.as_deref());
            let kid = asked.kid?;
            let track_type = "ALL";
            let document = BlankDocument {
                content_id: &asked.content_id,
                version: Version::V2_0,
                scheme: Scheme::Cbcs,
                keys: &[BlankKey { kid, track_type }],
                systems: &[ProtectionSystem::FairPlay],
                certificate: certificate.map(Vec::as_slice),
            };
            Request::post(url)
                .header(CONTENT_TYPE, XML)
                .header(ACCEPT, XML)
                .header(HeaderName::from_static("x-speke-version"), "2.0")
                .body(document.to_xml()?.into_bytes())
        }
        Protocol::Cpix => Request::get(url).header(ACCEPT, XML).body(Vec::new()),
        Protocol::Json if config.url.has_places() => {
            Request::get(url).header(ACCEPT, JSON).body(Vec::new())
        }
        Protocol::Json => {
            let question = match asked.kid {
                Some(kid) => json!({"kid": kid.to_string()}),
                None => json!({"id": asked.name.to_string()}),
            };
            Request::post(url)
                .header(CONTENT_TYPE, JSON)
                .header(ACCEPT, JSON)
                .body(question.to_string().into_bytes())
        }
    };
    let mut request = request.ok()?;
    for (name, value) in &config.headers {
        request.headers_mut().insert(name, value.clone());
    }
    Some(request)
}

/// Whether a status says that there is no such key.
fn is_absence(response: &Response<Vec<u8>>) -> Result<bool, Failure> {
    let status = response.status();
    match status {
        StatusCode::OK => Ok(false),
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(true),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Err(Failure::Silent(
            format!("its status is {}", status.as_u16()),
        )),
        status if status.is_server_error() => Err(Failure::Unable(format!(
            "its status is {}",
            status.as_u16()
        ))),
        status if status.is_redirection() => Err(Failure::Answer(format!(
            "it is a redirect ({}), and none is followed",
            status.as_u16()
        ))),
        status => Err(Failure::Answer(format!(
            "its status is {}",
            status.as_u16()
        ))),
    }
}

/// A record without its key, and the key.
type Record = (Key128, Map<String, Value>);

/// `None` for a document without keys.
fn read_cpix(
    config: &Config,
    asked: &Asked,
    body: &[u8],
    platform: &impl Platform,
) -> Result<Option<Record>, String> {
    let wrong = |error: crate::cpix::Error| format!("CPIX: {error}");
    let document = Document::read(body).map_err(wrong)?;
    let keys = document.keys().map_err(wrong)?;
    let key = match asked.kid {
        Some(kid) => keys.iter().find(|key| key.kid == kid),
        None if keys.len() > 1 => {
            let reason = "it has several keys, and the asset id has no KID to choose one by";
            return Err(reason.to_owned());
        }
        None => keys.first(),
    };
    let Some(key) = key else {
        return match keys.is_empty() {
            true => Ok(None),
            false => Err("it has another KID than the one that was asked for".to_owned()),
        };
    };
    let unlocked = match (&config.recipient, key.is_encrypted()) {
        (Some(recipient), true) => {
            let private_key = recipient.private_key.get();
            let private_key = private_key.map_err(|error| error.to_string())?;
            let certificate = recipient.certificate.as_deref().map(Vec::as_slice);
            let unlocked = document.unlock(private_key, certificate, &mut Random(platform));
            Some(unlocked.map_err(wrong)?)
        }
        _ => None,
    };
    let value = key.value(unlocked.as_ref()).map_err(wrong)?;
    let mut record = encoding::members([("kid", key.kid.to_string().into())]);
    if let Some(iv) = key.iv().map_err(wrong)? {
        record.insert("iv".to_owned(), hex::encode(iv).into());
    }
    if let Some(track) = document.track_of(key.kid) {
        record.insert("track".to_owned(), track.name().into());
    }
    // The content id of a request by SPEKE is this server's own, and comes back.
    let content_id = document
        .content_id()
        .filter(|_| config.protocol == Protocol::Cpix);
    if let Some(content_id) = content_id.filter(|id| Id::from_text(id).is_some()) {
        record.insert("aliases".to_owned(), json!([content_id]));
    }
    Ok(Some((value, record)))
}

fn read_json(asked: &Asked, body: &[u8]) -> Result<Record, String> {
    let mut record = encoding::json_object(body).map_err(|error| format!("JSON: {error}"))?;
    let key = match record.remove("key") {
        Some(Value::String(text)) => encoding::fixed(&Zeroizing::new(text)),
        _ => None,
    };
    let key = key.ok_or("`key`: it is not 16 bytes in hex or base64")?;
    let kid = record
        .get("kid")
        .map(|kid| kid.as_str().and_then(Kid::from_text));
    match (asked.kid, kid) {
        (Some(_), None) => Err("the member `kid` is missing".to_owned()),
        (Some(asked), Some(kid)) if kid != Some(asked) => {
            Err("it has another KID than the one that was asked for".to_owned())
        }
        _ => Ok((key.into(), record)),
    }
}

/// Adds what a record needs and an answer may leave out: the id that was asked for, and the IV of the setting.
fn complete(config: &Config, asked: &Asked, record: &mut Map<String, Value>) {
    if !record.contains_key("id") {
        record.insert("id".to_owned(), asked.name.to_string().into());
    }
    let iv = match config.iv {
        Some(DefaultIv::Fixed(iv)) => Some(iv),
        Some(DefaultIv::Kid) => {
            let kid = record.get("kid").and_then(Value::as_str);
            kid.and_then(Kid::from_text).map(|kid| *kid.as_bytes())
        }
        None => None,
    };
    if let Some(iv) = iv.filter(|_| !record.contains_key("iv")) {
        record.insert("iv".to_owned(), hex::encode(iv).into());
    }
}
