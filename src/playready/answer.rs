//! What the licence service answers.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::challenge::Action;
use super::soap;
use crate::drm::{self, SERVICE_STATUS, ServiceAnswer};
use crate::error::Code;

/// The longest text of the service that is shown, in characters.
const LONGEST: usize = 200;

/// Statuses of faults whose meaning has a code of its own: a revoked device, and a message that cannot be read.
const FAULTS: [(&str, Code); 2] = [
    ("0x8004c065", Code::DEVICE_REFUSED),
    ("0x8004c601", Code::LICENSE_CHALLENGE_INVALID),
];

/// Reads an answer: the SOAP message with the licence, as it came.
///
/// # Errors
/// What the service refuses, and an answer that is none. A SOAP fault is for the device, and is kept as it came; nothing else
/// of an answer is shown, but the code and the message in Axinom's headers.
pub fn read(response: Response<Vec<u8>>, action: Action) -> Result<Vec<u8>, drm::Error> {
    let (parts, body) = response.into_parts();
    let content = Content::of(&parts.headers, &body);
    match (parts.status, content) {
        (StatusCode::OK, Content::Other(name)) if name == format!("{}Response", action.name()) => {
            Ok(body)
        }
        (StatusCode::INTERNAL_SERVER_ERROR, Content::Fault(status)) => {
            Err(fault(status, parts.headers, body))
        }
        (status, _) => Err(of_status(status, &parts.headers)),
    }
}

/// What a body is.
enum Content {
    /// A SOAP fault, and its status.
    Fault(Option<String>),
    /// Another SOAP message: the name of its element; empty for what is none.
    Other(String),
}

impl Content {
    fn of(headers: &HeaderMap, body: &[u8]) -> Self {
        Self::read(headers, body).unwrap_or(Self::Other(String::new()))
    }

    fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        if headers.contains_key(CONTENT_ENCODING) || !is_xml(headers.get(CONTENT_TYPE)) {
            return None;
        }
        let root = soap::read(soap::utf8(body)?).ok()?;
        let element = soap::in_body(&root)?;
        if element.local_name() != "Fault" {
            return Some(Self::Other(element.local_name().to_owned()));
        }
        let status = soap::find(element, "StatusCode");
        let status = status.map(|status| status.text().trim().to_ascii_lowercase());
        Some(Self::Fault(status.filter(|status| is_status(status))))
    }
}

fn is_xml(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok());
    text.is_some_and(|text| {
        let (essence, _) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim().to_ascii_lowercase();
        ["text/xml", "application/xml", "application/soap+xml"].contains(&essence.as_str())
    })
}

/// Whether text is a status: `0x` and eight hexadecimal digits.
fn is_status(text: &str) -> bool {
    let digits = text.strip_prefix("0x");
    digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn fault(status: Option<String>, headers: HeaderMap, body: Vec<u8>) -> drm::Error {
    let row = FAULTS
        .iter()
        .find(|(name, _)| status.as_deref() == Some(name));
    let content_type = headers.get(CONTENT_TYPE).cloned();
    drm::Error::Service {
        code: row.map_or(Code::LICENSE_SERVICE_REFUSED, |(_, code)| *code),
        reason: format!(
            "the licence service answers with a fault, {}",
            status.as_deref().unwrap_or("without a status")
        ),
        details: status
            .map(|status| (SERVICE_STATUS, status.into()))
            .into_iter()
            .collect(),
        answer: Box::new(ServiceAnswer {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            content_type: content_type
                .unwrap_or(HeaderValue::from_static("text/xml; charset=utf-8")),
            body,
        }),
    }
}

fn of_status(status: StatusCode, headers: &HeaderMap) -> drm::Error {
    let number = status.as_u16();
    let (code, reason) = match status {
        StatusCode::OK => (
            Code::LICENSE_SERVICE_ANSWER,
            "the licence service answers 200, and not with a licence".to_owned(),
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            Code::LICENSE_SERVICE_CREDENTIALS,
            format!("the licence service answers {number}"),
        ),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => (
            Code::LICENSE_SERVICE_UNAVAILABLE,
            format!("the licence service answers {number}"),
        ),
        status if status.is_client_error() => (
            Code::LICENSE_SERVICE_REFUSED,
            format!("the licence service answers {number}"),
        ),
        _ => (
            Code::LICENSE_SERVICE_ANSWER,
            format!("the licence service answers {number}, without a fault"),
        ),
    };
    let said = ["x-axdrm-errorcode", "x-axdrm-errormessage"].map(|name| plain(headers.get(name)));
    match said {
        [None, None] => drm::Error::hidden(code, reason),
        [error, message] => {
            let said: Vec<&str> = [&error, &message]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            drm::Error::Refused {
                code,
                reason: format!("{reason}: {}", said.join(" ")),
                is_public: true,
                details: error
                    .map(|error| (SERVICE_STATUS, error.into()))
                    .into_iter()
                    .collect(),
            }
        }
    }
}

/// The text of a header as far as it may be shown: letters, digits, `_`, `.`, `-` and spaces.
fn plain(value: Option<&HeaderValue>) -> Option<String> {
    let bytes = value?.as_bytes().iter().copied();
    let shown = bytes.filter(|byte| byte.is_ascii_alphanumeric() || b"_.- ".contains(byte));
    let text: String = shown.take(LONGEST).map(char::from).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
