//! How SPCs travel in a request.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::encoding;
use crate::error::Code;
use crate::fairplay::mistake::Mistake;
use crate::fairplay::spc::SpcContainer;
use crate::fairplay::wrapping;
use crate::service::MAX_SPC;
use crate::service::format::Format;
use crate::service::problem::Problem;
use crate::service::request_body::{Body, is_type};

/// The most keys that one request may ask for.
pub const MAX_KEYS: usize = 16;

/// Members of a JSON document that hold an SPC, in the order in which they are looked for.
const MEMBERS: [&str; 6] = [
    "spc",
    "SPC",
    "spcMessage",
    "SpcMessage",
    "payload",
    LICENSE_CHALLENGE,
];

/// The member of hls.js's example, whose answer is an envelope.
const LICENSE_CHALLENGE: &str = "licenseChallenge";

/// The member around `spcMessage` in requests to a Comcast service.
const GET_FAIRPLAY_LICENSE: &str = "getFairplayLicense";

/// One SPC of a request, with what the answer has to repeat.
pub struct Requested {
    /// `id` of an envelope, `keyID` of an array.
    pub id: Option<Value>,
    /// `uri` of an envelope.
    pub uri: Option<Value>,
    /// The SPC, or what is wrong with it.
    pub spc: Result<Zeroizing<Vec<u8>>, Problem>,
}

/// The SPCs of a request and the form in which they came.
///
/// What a request says of the asset beside the SPC, such as `assetId` or `kid`, is not read: the id
/// in the SPC is what the device will play.
pub struct SpcRequest {
    /// The form that the player undoes, as far as the request shows it.
    pub format: Format,
    /// One, or in an envelope or array as many as there are.
    pub keys: Vec<Requested>,
    /// Members that the answer has beside its own.
    pub extra: Option<Extra>,
}

/// What some clients read in a JSON answer, in place of what all others read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// `fairplay-streaming-response`.
    Envelope,
    /// `getFairplayLicenseResponse`.
    GetFairplayLicense,
}

impl SpcRequest {
    /// Finds the SPCs in a body.
    ///
    /// # Errors
    /// `body_empty`, `body_malformed`, `body_too_large`, and what is wrong with an SPC that came
    /// alone.
    pub fn from_body(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        match body {
            Body::Octets(spc) => Self::single(Format::Raw, from_bytes(headers, spc)?),
            Body::Form(text) => Self::single(Format::CkcXml, from_form(&text)?),
            Body::Text(text) | Body::Json(Value::String(text)) => {
                // Kaltura's player for browsers says JSON of its base64, and reads JSON.
                let format = if is_type(headers, "application/json") {
                    Format::Json
                } else {
                    Format::Base64
                };
                Self::single(format, from_base64(&text)?)
            }
            Body::Json(value) if let Some(spc) = wrapping::listed(&value) => {
                Self::single(Format::Json, sized(Zeroizing::new(spc))?)
            }
            Body::Json(Value::Array(entries)) => {
                Self::several(Format::Array, &entries, "keyID", "payload")
            }
            Body::Json(Value::Object(document)) => Self::from_object(&document),
            Body::Json(Value::Null) => Err(Mistake::Description.into()),
            Body::Json(_) => Err(malformed(
                "the JSON document is neither an object nor a list",
            )),
        }
    }

    /// The one SPC of a request that cannot have several.
    ///
    /// # Errors
    /// What is wrong with it; `body_malformed` when there are several.
    pub fn only(mut self) -> Result<Zeroizing<Vec<u8>>, Problem> {
        match (self.keys.pop(), self.keys.is_empty()) {
            (Some(key), true) => key.spc,
            _ => Err(malformed("this path takes one SPC")),
        }
    }

    fn single(format: Format, spc: Zeroizing<Vec<u8>>) -> Result<Self, Problem> {
        let key = Requested {
            id: None,
            uri: None,
            spc: Ok(spc),
        };
        Ok(Self {
            format,
            keys: vec![key],
            extra: None,
        })
    }

    fn several(format: Format, entries: &[Value], id: &str, spc: &str) -> Result<Self, Problem> {
        match entries.len() {
            0 => return Err(malformed("the list of keys is empty")),
            length if length > MAX_KEYS => {
                return Err(Problem::new(
                    Code::BODY_TOO_LARGE,
                    format!("the request has {length} keys; {MAX_KEYS} are the limit"),
                ));
            }
            _ => {}
        }
        let echoed = |entry: &Value, name: &str| {
            let value = entry.get(name);
            value.filter(|v| v.is_string() || v.is_number()).cloned()
        };
        let keys = entries.iter().map(|entry| Requested {
            id: echoed(entry, id),
            uri: echoed(entry, "uri"),
            spc: match entry.get(spc).map(from_value) {
                Some(Some(spc)) => spc,
                Some(None) | None => Err(malformed(format!("the key has no string `{spc}`"))),
            },
        });
        Ok(Self {
            format,
            keys: keys.collect(),
            extra: None,
        })
    }

    fn from_object(document: &Map<String, Value>) -> Result<Self, Problem> {
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let inner =
            |name: &str, member: &str| document.get(name).and_then(|inner| inner.get(member));
        if let Some((name, spc)) = MEMBERS.iter().find_map(|name| Some((*name, text(name)?))) {
            // VUDRM's players, and only they, send all three, and read bytes.
            let is_vudrm =
                name == "payload" && text("token").is_some() && text("contentId").is_some();
            let format = if is_vudrm { Format::Raw } else { Format::Json };
            let extra = (name == LICENSE_CHALLENGE).then_some(Extra::Envelope);
            return Ok(Self {
                extra,
                ..Self::single(format, from_base64(spc)?)?
            });
        }
        if let Some(spc) = inner(GET_FAIRPLAY_LICENSE, "spcMessage").and_then(from_value) {
            let extra = Some(Extra::GetFairplayLicense);
            return Ok(Self {
                extra,
                ..Self::single(Format::Json, spc?)?
            });
        }
        let mut members = MEMBERS.iter().filter_map(|name| document.get(*name));
        if let Some(spc) = members.find_map(from_value) {
            return Self::single(Format::Json, spc?);
        }
        if is_event(document) {
            return Err(Mistake::Description.into());
        }
        // Shaka's released builds send Gumlet's `spc` under a name that their minifier made up.
        let unnamed = document
            .values()
            .filter_map(Value::as_str)
            .find_map(spc_at_sight);
        match (
            inner("fairplay-streaming-request", "streaming-keys"),
            unnamed,
        ) {
            (Some(Value::Array(entries)), _) => {
                Self::several(Format::Envelope, entries, "id", "spc")
            }
            (Some(_), _) => Err(malformed("`streaming-keys` is not a list")),
            (None, Some(spc)) => Self::single(Format::Json, sized(spc)?),
            (None, None) => Err(malformed(format!(
                "the JSON document has no SPC: no string `{}` or `{GET_FAIRPLAY_LICENSE}.spcMessage`, and no \
                 `fairplay-streaming-request` with `streaming-keys`",
                MEMBERS.join("`, `"),
            ))),
        }
    }
}

/// Base64 of what begins like an SPC: with a version.
fn spc_at_sight(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    encoding::base64(text).filter(|spc| matches!(spc.as_slice(), [0, 0, 0, 1..=3, ..]))
}

/// What JavaScript makes JSON of where it was given an `ArrayBuffer` or a `message` event.
fn is_event(document: &Map<String, Value>) -> bool {
    document.is_empty() || document.contains_key("isTrusted")
}

/// A member that should be an SPC in base64, and may be a list of its bytes or an object without any. `None` for what
/// is no attempt at an SPC.
fn from_value(value: &Value) -> Option<Result<Zeroizing<Vec<u8>>, Problem>> {
    match (value, wrapping::listed(value)) {
        (Value::String(text), _) => Some(from_base64(text)),
        (_, Some(spc)) => Some(sized(Zeroizing::new(spc))),
        (Value::Null | Value::Object(_), None) => Some(Err(Mistake::Description.into())),
        (_, None) => None,
    }
}

/// The field `spc` of a form. A form decoder turns `+` into a space, and clients send base64 with its `+` as it is.
fn from_form(form: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let Some((_, spc)) = form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "spc")
    else {
        return match unwrapped(form.as_bytes(), None) {
            Ok(Some(spc)) => Ok(spc),
            Ok(None) => Err(malformed("the form has no field `spc`")),
            Err(problem) => Err(problem),
        };
    };
    let base64 = wrapping::with_pluses(&spc);
    if let Some(spc) = whole_in_base64(&base64) {
        return sized(spc);
    }
    // The field may be the bytes themselves, not encoded, or encoded, where the decoder of forms takes them for UTF-8.
    let whole = wrapping::unwrap(form.as_bytes()).ok().flatten();
    if let Some(spc) = whole.filter(|spc| SpcContainer::fits(spc)) {
        return sized(Zeroizing::new(spc));
    }
    let mut fields = form.split('&');
    let field = fields.find_map(|field| field.strip_prefix("spc="));
    let spaced = field.unwrap_or_default().replace('+', " ");
    let field = encoding::percent_decoded(spaced.as_bytes()).unwrap_or(spaced.into_bytes());
    one_of(&field, encoding::base64(&base64))
}

/// An SPC in base64, in quotes or not, or what became of it.
fn from_base64(text: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let trimmed = text.trim_ascii();
    let unquoted = trimmed
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let base64 = unquoted.unwrap_or(trimmed);
    if let Some(spc) = whole_in_base64(base64) {
        return sized(spc);
    }
    one_of(text.as_bytes(), encoding::base64(base64))
}

/// The SPC that is wrapped in a text, or what the text is in base64, whatever that is.
fn one_of(text: &[u8], decoded: Option<Zeroizing<Vec<u8>>>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let wrapped = unwrapped(text, decoded.as_ref().map(|spc| spc.as_slice()))?;
    match wrapped.map_or(decoded, Some) {
        Some(spc) => sized(spc),
        None => Err(malformed("the SPC is not base64")),
    }
}

/// The SPC in a body that is not text, or the body itself.
fn from_bytes(
    headers: &HeaderMap,
    body: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, Problem> {
    if SpcContainer::fits(&body) {
        return sized(body);
    }
    let encodings = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    match unwrapped(&body, Some(&body))? {
        Some(spc) => sized(spc),
        None if encodings.is_some_and(|name| name != b"identity") => {
            Err(Mistake::Compressed.into())
        }
        None => sized(body),
    }
}

/// Base64 of a whole SPC, as nearly every request has it.
fn whole_in_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    encoding::base64(text).filter(|spc| SpcContainer::fits(spc))
}

/// The SPC in bytes that are none. A mistake that the bytes show as they will be read is left to their reader, who
/// asks for a token first.
fn unwrapped(bytes: &[u8], read: Option<&[u8]>) -> Result<Option<Zeroizing<Vec<u8>>>, Problem> {
    match wrapping::unwrap(bytes) {
        Ok(spc) => Ok(spc.map(Zeroizing::new)),
        Err(mistake) if read.and_then(Mistake::recognise) == Some(mistake) => Ok(None),
        Err(mistake) => Err(mistake.into()),
    }
}

fn sized(spc: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    match spc.len() {
        0 => Err(Problem::new(Code::BODY_EMPTY, "the SPC is empty")),
        length if length > MAX_SPC => Err(Problem::new(
            Code::BODY_TOO_LARGE,
            format!("the SPC has {length} bytes; {MAX_SPC} are the limit"),
        )),
        _ => Ok(spc),
    }
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BODY_MALFORMED, detail)
}
