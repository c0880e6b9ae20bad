//! How a CKC comes back: recognised by its content, as players do.

use keylet::encoding;
use serde_json::Value;

/// The form of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The bytes themselves.
    Raw,
    /// Base64 alone, in quotes or not.
    Base64,
    /// Base64 in `<ckc>`.
    CkcXml,
    /// A JSON object with a member for the CKC.
    Json,
    /// `fairplay-streaming-response`.
    Envelope,
    /// `[{"keyID", "payload"}]`.
    Array,
}

/// What a reply has for the one key that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Key {
    /// The CKC.
    Ckc(Vec<u8>),
    /// The key's own refusal, which comes with status 200.
    Refused {
        /// `status` or `error`.
        number: Option<i64>,
        /// `code`.
        code: Option<String>,
        /// `detail`.
        detail: Option<String>,
    },
}

/// Why a reply holds no CKC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// There is no body.
    #[error("the answer is empty")]
    Empty,
    /// Neither bytes of a CKC nor a form in which one comes.
    #[error("the answer is neither a CKC nor base64, `<ckc>` or JSON with one")]
    Form,
    /// JSON, and no member that is known.
    #[error("the JSON of the answer has no CKC")]
    Member,
    /// What should be base64 is not base64.
    #[error("the CKC of the answer is not base64")]
    Base64,
}

/// Members of a JSON object that hold a CKC: those that Shaka and dash.js look for, in their order,
/// and that of a Comcast service.
const MEMBERS: [&str; 4] = [
    "/ckc",
    "/CkcMessage",
    "/License",
    "/getFairplayLicenseResponse/ckcResponse",
];

/// Bytes of a CKC's header: version, reserved word, IV and length.
const HEADER: usize = 28;

/// Finds the CKC in a reply to a request for one key.
///
/// # Errors
/// [`Unreadable`] says what the reply is not.
pub fn read(body: &[u8]) -> Result<(Form, Key), Unreadable> {
    if body.is_empty() {
        return Err(Unreadable::Empty);
    }
    // A CKC begins with its version, 00 00 00 01, which no text does. Of another version the device says so.
    let text = match std::str::from_utf8(body) {
        Ok(text) if body.first() != Some(&0) => text.trim_start_matches('\u{feff}').trim(),
        _ if body.starts_with(&[0, 0, 0, 1])
            || (body.starts_with(&[0; 3]) && body.len() >= HEADER) =>
        {
            return Ok((Form::Raw, Key::Ckc(body.to_vec())));
        }
        _ => return Err(Unreadable::Form),
    };
    if let Some(inner) = text.strip_prefix("<ckc>") {
        let inner = inner.strip_suffix("</ckc>").ok_or(Unreadable::Form)?;
        return Ok((Form::CkcXml, ckc(inner)?));
    }
    if text.starts_with(['{', '[', '"']) {
        let document = encoding::json(text.as_bytes()).map_err(|_| Unreadable::Form)?;
        return of_json(&document);
    }
    ckc(text)
        .map(|key| (Form::Base64, key))
        .map_err(|_| Unreadable::Form)
}

fn of_json(document: &Value) -> Result<(Form, Key), Unreadable> {
    if let Some(text) = document.as_str() {
        return Ok((Form::Base64, ckc(text)?));
    }
    let member = |pointer: &&str| document.pointer(pointer)?.as_str();
    if let Some(text) = MEMBERS.iter().find_map(member) {
        return Ok((Form::Json, ckc(text)?));
    }
    let in_envelope = document.pointer("/fairplay-streaming-response/streaming-keys/0");
    let (form, key, ckc_name, number_name) = match (in_envelope, document.get(0)) {
        (Some(key), _) => (Form::Envelope, key, "ckc", "status"),
        (None, Some(key)) => (Form::Array, key, "payload", "error"),
        (None, None) => return Err(Unreadable::Member),
    };
    let number = key.get(number_name).and_then(Value::as_i64);
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let key = match (text(ckc_name), number) {
        (Some(text), None | Some(0)) => ckc(text)?,
        (None, None) if text("code").is_none() => return Err(Unreadable::Member),
        _ => Key::Refused {
            number,
            code: text("code").map(str::to_owned),
            detail: text("detail").map(str::to_owned),
        },
    };
    Ok((form, key))
}

fn ckc(text: &str) -> Result<Key, Unreadable> {
    let ckc = encoding::base64(text).filter(|ckc| !ckc.is_empty());
    let ckc = ckc.ok_or(Unreadable::Base64)?;
    Ok(Key::Ckc(ckc.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CKC: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 0];
    const TEXT: &str = "AAAAAQAAAAA=";

    #[test]
    fn a_ckc_is_found_in_every_form_of_reply() {
        for (form, body) in [
            (Form::Base64, TEXT.to_owned()),
            (Form::Base64, format!("\u{feff}\"{TEXT}\"\r\n")),
            (Form::CkcXml, format!(" <ckc>{TEXT}</ckc>\n")),
            (Form::Json, format!(r#"{{"ckc":"{TEXT}"}}"#)),
            (Form::Json, format!(r#"{{"License":"{TEXT}","x":1}}"#)),
            (Form::Json, format!(r#"{{"CkcMessage":"{TEXT}"}}"#)),
            (
                Form::Json,
                format!(r#"{{"getFairplayLicenseResponse":{{"ckcResponse":"{TEXT}"}}}}"#),
            ),
            (
                Form::Envelope,
                format!(
                    r#"{{"fairplay-streaming-response":{{"streaming-keys":[{{"status":0,"ckc":"{TEXT}"}}]}}}}"#
                ),
            ),
            (
                Form::Array,
                format!(r#"[{{"keyID":"AQ==","payload":"{TEXT}"}}]"#),
            ),
        ] {
            assert_eq!(
                read(body.as_bytes()),
                Ok((form, Key::Ckc(CKC.to_vec()))),
                "{body}"
            );
        }
        assert_eq!(read(&CKC), Ok((Form::Raw, Key::Ckc(CKC.to_vec()))));
    }

    #[test]
    fn a_refusal_among_keys_is_told_from_a_ckc() {
        let refused = |number| Key::Refused {
            number: Some(number),
            code: Some("not_entitled".to_owned()),
            detail: None,
        };
        let envelope = r#"{"fairplay-streaming-response":{"streaming-keys":[{"status":403,"code":"not_entitled"}]}}"#;
        assert_eq!(
            read(envelope.as_bytes()),
            Ok((Form::Envelope, refused(403)))
        );
        let array = r#"[{"error":403,"code":"not_entitled"}]"#;
        assert_eq!(read(array.as_bytes()), Ok((Form::Array, refused(403))));
    }

    #[test]
    fn what_holds_no_ckc_is_told() {
        for (body, reason) in [
            (&b""[..], Unreadable::Empty),
            (b"<html>not here</html>", Unreadable::Form),
            (b"<ckc>AAAA", Unreadable::Form),
            (b"{\"a\":", Unreadable::Form),
            (b"\0\0\0\x02", Unreadable::Form),
            (b"\xff\xfe", Unreadable::Form),
            (b"{}", Unreadable::Member),
            (b"[]", Unreadable::Member),
            (b"[{}]", Unreadable::Member),
            (b"{\"ckc\":\"%\"}", Unreadable::Base64),
            (b"<ckc></ckc>", Unreadable::Base64),
        ] {
            assert_eq!(read(body), Err(reason), "{body:?}");
        }
    }
}
