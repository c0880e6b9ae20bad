//! How an SPC travels in a request, and the form of reply that goes with it.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use zeroize::Zeroizing;

use super::problem::Problem;
use super::{MAX_SPC, Reply, json, reply};
use crate::encoding::{self, BASE64};
use crate::error::Code;
use base64::Engine;

/// The forms in which an SPC comes and a CKC goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The bytes themselves.
    Raw,
    /// `spc=` and base64; answered with base64 in `<ckc>`.
    UrlEncoded,
    /// `{"spc": base64}`; answered with `{"ckc": base64}`.
    Json,
}

/// An SPC and the form in which it came.
pub struct SpcBody {
    /// The SPC.
    pub spc: Zeroizing<Vec<u8>>,
    /// How it came.
    pub form: Form,
}

impl SpcBody {
    /// Reads a body: by what it is, since content types lie, and by content type where that leaves
    /// a choice. An SPC begins with the byte 0, which neither JSON nor a form does.
    ///
    /// # Errors
    /// `body_empty`, `body_malformed` or `body_too_large`.
    pub fn read(headers: &HeaderMap, body: Vec<u8>) -> Result<Self, Problem> {
        if body.is_empty() {
            return Err(Code::BODY_EMPTY.into());
        }
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let is_binary = body.first() == Some(&0);
        let text = std::str::from_utf8(&body)
            .ok()
            .filter(|_| !is_binary)
            .map(str::trim_ascii);
        let (spc, form) = match text {
            Some(text) if text.starts_with('{') || content_type.starts_with("application/json") => {
                (from_json(text)?, Form::Json)
            }
            Some(text)
                if text.starts_with("spc=")
                    || text.contains("&spc=")
                    || content_type.starts_with("application/x-www-form-urlencoded") =>
            {
                (from_form(text)?, Form::UrlEncoded)
            }
            _ => (Zeroizing::new(body), Form::Raw),
        };
        match spc.len() {
            0 => Err(Problem::new(Code::BODY_EMPTY, "the SPC is empty")),
            length if length > MAX_SPC => Err(Problem::new(
                Code::BODY_TOO_LARGE,
                format!("the SPC has {length} bytes; {MAX_SPC} are the limit"),
            )),
            _ => Ok(Self { spc, form }),
        }
    }
}

impl Form {
    /// Puts a CKC into the form that the player undoes.
    pub fn reply(self, ckc: Vec<u8>) -> Reply {
        match self {
            Self::Raw => reply(StatusCode::OK, "application/octet-stream", ckc),
            Self::UrlEncoded => reply(
                StatusCode::OK,
                "text/plain",
                format!("<ckc>{}</ckc>", BASE64.encode(ckc)),
            ),
            Self::Json => json(StatusCode::OK, &json!({ "ckc": BASE64.encode(ckc) })),
        }
    }
}

fn from_json(text: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let document = encoding::json_object(text.as_bytes())
        .map_err(|e| Problem::new(Code::BODY_MALFORMED, e))?;
    let spc = document
        .get("spc")
        .and_then(|spc| spc.as_str())
        .ok_or_else(|| {
            Problem::new(
                Code::BODY_MALFORMED,
                "the JSON document has no string `spc`",
            )
        })?;
    from_base64(spc)
}

/// A form decoder turns `+` into a space, and clients send base64 with its `+` as it is: no base64
/// has spaces, so each of them was a `+`.
fn from_form(text: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let (_, spc) = form_urlencoded::parse(text.as_bytes())
        .find(|(name, _)| name == "spc")
        .ok_or_else(|| Problem::new(Code::BODY_MALFORMED, "the form has no field `spc`"))?;
    from_base64(&spc.trim_ascii().replace(' ', "+"))
}

fn from_base64(text: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    encoding::base64(text).ok_or_else(|| Problem::new(Code::BODY_MALFORMED, "`spc` is not base64"))
}
