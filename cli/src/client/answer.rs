//! What comes back: an answer, and why it is no licence.

use http::{HeaderMap, HeaderValue};
use keylet::error::Code;
use serde::Serialize;
use serde_json::Value;

use super::redacted::without;
use super::unreachable::Unreachable;
use crate::terminal::Printable;

/// Headers in which services put the code of a refusal.
const CODE_HEADERS: [&str; 2] = ["x-keylet-code", "x-axdrm-errorcode"];

/// How much is shown of an answer that is not a problem document, in characters.
const SHOWN: usize = 200;

/// What every answer has.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// The server's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Printable>,
    /// From the first byte sent to the last one read, in milliseconds.
    pub milliseconds: f64,
    /// Bytes of the SPC.
    pub spc_bytes: usize,
    /// Bytes of the body of the answer.
    pub answer_bytes: usize,
    /// `x-keylet-expires-at`: when the licence ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// `x-keylet-renew-after`: when to ask for a renewal, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_after: Option<u64>,
}

/// Why there is no licence. No message holds the token, the application secret key or a content key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The SPC cannot be made, or not be sent so.
    #[error("{0:#}")]
    Request(anyhow::Error),
    /// No answer came.
    #[error("{0}")]
    Unreachable(Unreachable),
    /// The server, or for one key among others its answer, says no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The answer is not a licence for this SPC.
    #[error("the answer with status {status} is unreadable: {reason}", status = .0.status, reason = .1)]
    Unreadable(Box<Answered>, Printable),
}

/// The answer of a server that gives no licence.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// The stable code, where the server has such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Printable>,
    /// What the code means (`docs/errors.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
    /// What the server says beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Printable>,
    /// The number of FairPlay's server SDK, or of a key among others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// Where the answer sends instead. Licence servers have no redirects, so that none is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Printable>,
    /// What the answer says beside it.
    #[serde(flatten)]
    pub answer: Answered,
}

impl std::fmt::Display for Refusal {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server answered {}", self.answer.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(id) = &self.answer.request_id {
            write!(f, " (request {id})")?;
        }
        if let Some(location) = &self.location {
            write!(
                f,
                ": it sends to {location}, and redirects are not followed: give the URL of the licence server itself"
            )?;
        }
        let detail = self.detail.as_ref().map(Printable::words);
        let detail = detail.filter(|detail| !detail.as_str().is_empty());
        match (self.meaning, detail) {
            (None, None) => Ok(()),
            (Some(meaning), None) => write!(f, ": {meaning}"),
            (None, Some(detail)) => write!(f, ": {detail}"),
            (Some(meaning), Some(detail)) => write!(f, ": {meaning} {detail}"),
        }
    }
}

impl Refusal {
    /// Whether the server's code is this one.
    pub fn is(&self, code: Code) -> bool {
        self.code
            .as_ref()
            .is_some_and(|said| said.as_str() == code.name)
    }
}

impl Failure {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }

    pub(super) fn unreadable(answer: Answered, reason: impl Into<String>) -> Self {
        Self::Unreadable(Box::new(answer), Printable::new(reason))
    }
}

/// What an answer without a licence says.
pub(super) fn refusal(
    answer: Answered,
    headers: &HeaderMap,
    body: &[u8],
    token: Option<&str>,
) -> Refusal {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let member = |name: &str| document.as_ref()?.get(name)?.as_str();
    let header = |name: &str| headers.get(name).map(text_of);
    let code = CODE_HEADERS.into_iter().find_map(header);
    let code = code
        .or_else(|| member("code").map(ToOwned::to_owned))
        .map(|code| without(&code, token));
    let location = header("location").filter(|_| (300..400).contains(&answer.status));
    let detail = match (member("detail"), document.is_some()) {
        (None, true) => None,
        (Some(detail), _) => Some(without(detail, token)),
        (None, false) => {
            // Cut after the token is out of it, so that no part of one stays.
            let text = without(&String::from_utf8_lossy(body), token);
            let text: String = text.as_str().trim().chars().take(SHOWN).collect();
            (!text.is_empty()).then(|| Printable::new(text))
        }
    };
    Refusal {
        meaning: meaning(code.as_ref()),
        code,
        detail,
        location: location.map(|location| without(&location, token)),
        number: document
            .as_ref()
            .and_then(|document| document.get("fps_status")?.as_i64()),
        answer,
    }
}

/// What a code of this server means.
pub(super) fn meaning(code: Option<&Printable>) -> Option<&'static str> {
    let code = code?.as_str();
    let code = Code::ALL.iter().find(|known| known.name == code)?;
    Some(code.title)
}

/// A header as text. It need not be any.
pub(super) fn text_of(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_without_the_token() {
        let answer = Answered {
            status: 401,
            request_id: Some(Printable::new("r1")),
            ..Answered::default()
        };
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-keylet-code"),
            HeaderValue::from_static("token_expired"),
        )]);
        let body = br#"{"code":"other","detail":"not a/b,\nnor a%2Fb"}"#;
        let refusal = refusal(answer, &headers, body, Some("a/b"));
        assert_eq!(
            refusal.to_string(),
            "the server answered 401 token_expired (request r1): The token has expired. not …, nor …"
        );
    }
}
