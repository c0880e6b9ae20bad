//! A request body, by what it is.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request};
use serde_json::Value;
use zeroize::Zeroizing;

use super::problem::Problem;
use crate::encoding;
use crate::error::Code;
use crate::fairplay::mistake::Mistake;

/// A request body, by what it is: content types lie.
pub enum Body {
    /// Bytes that are not text.
    Octets(Zeroizing<Vec<u8>>),
    /// Text that is none of the following.
    Text(String),
    /// A form, or what has `spc=` like one.
    Form(String),
    /// A JSON document.
    Json(Value),
}

impl Body {
    /// Takes the body of a request and reads it. The content type decides only where the bytes leave a choice: an SPC begins
    /// with the byte 0, which no text does.
    ///
    /// # Errors
    /// `body_empty`; for text that begins like JSON but is not JSON `body_malformed`, or the mistake that it is.
    pub fn take(request: &mut Request<Vec<u8>>) -> Result<Self, Problem> {
        let body = std::mem::take(request.body_mut());
        Self::read(request.headers(), body)
    }

    fn read(headers: &HeaderMap, body: Vec<u8>) -> Result<Self, Problem> {
        if body.is_empty() {
            return Err(Code::BODY_EMPTY.into());
        }
        let body = encoding::utf16(&body).map_or(body, String::into_bytes);
        let text = match std::str::from_utf8(&body) {
            Ok(text) if body.first() != Some(&0) => {
                // Spaces at the end of a form may be what became of pluses.
                let text = text.trim_start_matches('\u{feff}').trim_ascii_start();
                text.trim_end_matches(['\r', '\n'])
            }
            _ => return Ok(Self::Octets(Zeroizing::new(body))),
        };
        // Shaka's tutorial once encoded the whole form, name and all.
        if text.starts_with("spc%3D") {
            let form = form_urlencoded::parse(text.as_bytes()).next();
            return Ok(Self::Form(
                form.map(|(form, _)| form.into_owned()).unwrap_or_default(),
            ));
        }
        if text.starts_with(['{', '[', '"']) {
            return match (
                encoding::json(text.as_bytes()),
                Mistake::at_sight(text.as_bytes()),
            ) {
                (Ok(document), _) => Ok(Self::Json(document)),
                // `[object ArrayBuffer]` only begins like JSON.
                (Err(_), Some(mistake)) => Err(mistake.into()),
                (Err(error), None) => Err(Problem::new(Code::BODY_MALFORMED, error)),
            };
        }
        let is_form = text.starts_with("spc=") || text.contains("&spc=");
        Ok(
            if is_form || is_type(headers, "application/x-www-form-urlencoded") && !is_base64(text)
            {
                Self::Form(text.to_owned())
            } else {
                Self::Text(text.to_owned())
            },
        )
    }

    /// A member of a JSON document that is text.
    pub fn member(&self, name: &str) -> Option<&str> {
        match self {
            Self::Json(document) => document.get(name)?.as_str(),
            _ => None,
        }
    }
}

fn is_base64(text: &str) -> bool {
    encoding::base64(text).is_some()
}

/// Whether the content type is this one, whatever its parameters.
pub fn is_type(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let (essence, _) = value.split_once(';').unwrap_or((value, ""));
        essence.trim().eq_ignore_ascii_case(media_type)
    })
}
