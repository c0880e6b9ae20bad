//! A document of another server, and why there is none.

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::is_safe;
use crate::encoding;
use crate::platform::{self, MAX_ANSWER, Platform, origin};

/// A document as it was fetched.
pub struct Document {
    /// Its text.
    pub text: String,
    /// `max-age` of `Cache-Control`, in seconds; 0 when it is absent.
    pub max_age: u64,
    /// Scheme, host and port of the server that it came from.
    pub origin: String,
}

/// There is no document at present: which server was asked, and what came of it. It holds no path and no query of a
/// URL, which may hold a secret, and nothing of an answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(from = "Kept", into = "Kept")]
#[error("{origin} {reason}")]
pub struct Unavailable {
    /// Scheme, host and port of the server.
    pub origin: String,
    /// What came of it.
    pub reason: Reason,
}

/// Why a server gives no document. Each is a sentence whose subject is the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The host lets no request go there.
    #[error(
        "was not asked: the host allows no request there. Add it to `allowed_outbound_hosts` of the manifest"
    )]
    NotAllowed,
    /// The URL is neither `https`, nor `http` on this machine.
    #[error("was not asked: plain HTTP can be tampered with. Give an https URL")]
    NotSafe,
    /// It did not answer, or not in time. Holds the host's message.
    #[error("did not answer: {0}")]
    NoAnswer(String),
    /// Its answer has more than [`MAX_ANSWER`] bytes.
    #[error("answered with more than {MAX_ANSWER} bytes, which are not read")]
    TooLarge,
    /// It redirects. Holds the status, and scheme, host and port of where to, unless that is the same server.
    #[error(
        "redirects ({status}) to {}, and redirects are not followed. Give the URL that answers itself",
        .to.as_deref().unwrap_or("another path of its own")
    )]
    Redirect {
        /// The status.
        status: u16,
        /// Scheme, host and port; `None` for the same server.
        to: Option<String>,
    },
    /// It answers with another status than 200.
    #[error("answered with the status {0} and not with 200")]
    Status(u16),
    /// It answers with HTML or XML.
    #[error("answered with a page, and not with JSON. It may ask for a login")]
    Page,
    /// Its answer is not text. Holds whether it is compressed, which it was not asked for.
    #[error("answered with {}", not_text(*.is_compressed))]
    NotText {
        /// Whether it says that the answer is compressed.
        is_compressed: bool,
    },
    /// Its answer is another document than the one that is needed. Holds what is wrong with it, in a sentence.
    #[error("answered with a document that cannot be used: {0}")]
    Document(String),
    /// Its document leads to a URL that is not asked. Holds scheme, host and port, where it is a URL.
    #[error(
        "leads to {}, which is not asked: it has to be https, and no address of a private network",
        .0.as_deref().unwrap_or("what is no URL")
    )]
    LeadsElsewhere(Option<String>),
    /// It was asked as often as is allowed within a minute.
    #[error("reached the limit of requests per minute, and is asked again in the next one")]
    AskedOften,
    /// An attempt failed a moment ago, and nobody kept why.
    #[error("failed a moment ago, and is not asked again so soon")]
    Failed,
}

impl Reason {
    /// Its stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::NotSafe => "not_safe",
            Self::NoAnswer(_) => "no_answer",
            Self::TooLarge => "too_large",
            Self::Redirect { .. } => "redirect",
            Self::Status(_) => "status",
            Self::Page => "page",
            Self::NotText { .. } => "not_text",
            Self::Document(_) => "document",
            Self::LeadsElsewhere(_) => "leads_elsewhere",
            Self::AskedOften => "asked_often",
            Self::Failed => "failed",
        }
    }
}

impl Unavailable {
    /// The server of a URL gives no document.
    pub fn at(url: &str, reason: Reason) -> Self {
        let origin = origin_of(url).unwrap_or_else(|| "what is no URL".to_owned());
        Self { origin, reason }
    }
}

/// How the store keeps an [`Unavailable`]: a reason that this version does not know is [`Reason::Failed`].
#[derive(Serialize, Deserialize)]
struct Kept {
    origin: String,
    /// [`Reason::name`]
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// What else the reason holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl From<Unavailable> for Kept {
    fn from(Unavailable { origin, reason }: Unavailable) -> Self {
        let name = reason.name().to_owned();
        let (status, text) = match reason {
            Reason::NoAnswer(text) | Reason::Document(text) => (None, Some(text)),
            Reason::Redirect { status, to } => (Some(status), to),
            Reason::Status(status) => (Some(status), None),
            Reason::NotText { is_compressed } => {
                (None, is_compressed.then(|| COMPRESSED.to_owned()))
            }
            Reason::LeadsElsewhere(to) => (None, to),
            Reason::NotAllowed
            | Reason::NotSafe
            | Reason::TooLarge
            | Reason::Page
            | Reason::AskedOften
            | Reason::Failed => (None, None),
        };
        Self {
            origin,
            reason: name,
            status,
            text,
        }
    }
}

/// What [`Kept`] has as the text of a compressed answer.
const COMPRESSED: &str = "compressed";

impl From<Kept> for Unavailable {
    fn from(kept: Kept) -> Self {
        let reason = match (kept.reason.as_str(), kept.status, kept.text) {
            ("not_allowed", ..) => Reason::NotAllowed,
            ("not_safe", ..) => Reason::NotSafe,
            ("no_answer", _, Some(text)) => Reason::NoAnswer(text),
            ("too_large", ..) => Reason::TooLarge,
            ("redirect", Some(status), to) => Reason::Redirect { status, to },
            ("status", Some(status), _) => Reason::Status(status),
            ("page", ..) => Reason::Page,
            ("not_text", _, text) => Reason::NotText {
                is_compressed: text.as_deref() == Some(COMPRESSED),
            },
            ("document", _, Some(text)) => Reason::Document(text),
            ("leads_elsewhere", _, to) => Reason::LeadsElsewhere(to),
            ("asked_often", ..) => Reason::AskedOften,
            _ => Reason::Failed,
        };
        Self {
            origin: kept.origin,
            reason,
        }
    }
}

impl Document {
    /// Fetches a document of JSON, once. Redirects are not followed.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub async fn fetch(url: &str, platform: &impl Platform) -> Result<Self, Unavailable> {
        let unavailable = |reason| Unavailable::at(url, reason);
        if !is_safe(url) {
            return Err(unavailable(Reason::NotSafe));
        }
        let request = Request::get(url).header(ACCEPT, "application/json");
        let request = request.body(Vec::new());
        let request = request.map_err(|error| unavailable(Reason::NoAnswer(error.to_string())))?;
        let response = platform.send(request).await.map_err(|error| {
            unavailable(match error {
                platform::Error::OutboundDenied(_) => Reason::NotAllowed,
                platform::Error::OutboundTooLarge(_) => Reason::TooLarge,
                platform::Error::Outbound { reason, .. } => Reason::NoAnswer(reason),
                error @ (platform::Error::Variables { .. }
                | platform::Error::Settings(_)
                | platform::Error::StoreUnsupported
                | platform::Error::Store(_)) => Reason::NoAnswer(error.to_string()),
            })
        })?;
        Self::from_response(response, url).map_err(unavailable)
    }

    /// The body of a response of 200 from a URL, when it is text: UTF-8 or UTF-16, with a byte-order mark or without.
    ///
    /// # Errors
    /// Another status, and what is not text or a page.
    fn from_response(response: Response<Vec<u8>>, url: &str) -> Result<Self, Reason> {
        let (status, headers) = (response.status(), response.headers());
        if status.is_redirection() {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
            let to = to.and_then(origin_of);
            return Err(Reason::Redirect {
                status: status.as_u16(),
                to: to.filter(|to| Some(to) != origin_of(url).as_ref()),
            });
        }
        if status != StatusCode::OK {
            return Err(Reason::Status(status.as_u16()));
        }
        let max_age = max_age(headers);
        let content_type = headers.get(CONTENT_TYPE);
        let is_html = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
        let is_compressed = headers
            .get(http::header::CONTENT_ENCODING)
            .is_some_and(|encoding| encoding != "identity");
        let text = encoding::text(response.body()).filter(|_| !is_compressed);
        let text = text.ok_or(Reason::NotText { is_compressed })?;
        let begins_with = |character| text.trim_start().starts_with(character);
        if begins_with('<') || is_html && !begins_with('{') && !begins_with('[') {
            return Err(Reason::Page);
        }
        Ok(Self {
            text: text.to_string(),
            max_age,
            origin: origin_of(url).unwrap_or_default(),
        })
    }
}

fn not_text(is_compressed: bool) -> &'static str {
    match is_compressed {
        true => "a compressed document, which it was not asked for",
        false => "bytes that are not text",
    }
}

/// Scheme, host and port of an absolute URL.
pub fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    uri.scheme_str()?;
    Some(origin(&uri))
}

/// `max-age` of `Cache-Control` (RFC 9111 sections 1.2.2, 5.2 and 5.2.2.1), in seconds; 0 when it is
/// absent.
fn max_age(headers: &HeaderMap) -> u64 {
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    directives
        .filter_map(|directive| {
            let (name, value) = directive.trim().split_once('=')?;
            let value = value.trim_matches('"');
            let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            (name.eq_ignore_ascii_case("max-age") && is_number)
                .then(|| value.parse().unwrap_or(u64::MAX))
        })
        .next()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_gives_back_the_reason_that_it_was_given() {
        let text = || "text".to_owned();
        for reason in [
            Reason::NotAllowed,
            Reason::NotSafe,
            Reason::NoAnswer(text()),
            Reason::TooLarge,
            Reason::Redirect {
                status: 302,
                to: Some(text()),
            },
            Reason::Redirect {
                status: 301,
                to: None,
            },
            Reason::Status(403),
            Reason::Page,
            Reason::NotText {
                is_compressed: true,
            },
            Reason::NotText {
                is_compressed: false,
            },
            Reason::Document(text()),
            Reason::LeadsElsewhere(Some(text())),
            Reason::LeadsElsewhere(None),
            Reason::AskedOften,
            Reason::Failed,
        ] {
            let why = Unavailable::at("https://issuer.example/hidden", reason);
            let stored = serde_json::to_vec(&why).unwrap();
            // The reader of the store, which is not that of `serde_json`.
            assert_eq!(encoding::from_json::<Unavailable>(&stored), Ok(why));
        }
        let newer = br#"{"origin":"https://issuer.example","reason":"of a later version"}"#;
        let read = encoding::from_json::<Unavailable>(newer).unwrap();
        assert_eq!(read.reason, Reason::Failed);
    }
}
