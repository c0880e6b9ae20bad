//! What the licence service answers.

use http::{Response, StatusCode};
use serde_json::{Map, Value};

use crate::drm::{self, SERVICE_STATUS};
use crate::encoding;
use crate::error::Code;

/// The longest status that is shown.
const LONGEST_STATUS: usize = 64;

/// An answer whose status is `OK`. Its other members, such as the device's serial number and the licence's signing key,
/// go nowhere.
pub struct Answer(Map<String, Value>);

impl Answer {
    /// Reads an answer. It is judged by `status` alone: `internal_status` is a number other than 0 in good answers too,
    /// and the HTTP status is 200 for refusals.
    ///
    /// # Errors
    /// What the service refuses, and an answer that is none.
    pub fn read(response: Response<Vec<u8>>) -> Result<Self, drm::Error> {
        let http_status = response.status();
        let body = response.into_body();
        let members = encoding::json_object(&body).ok();
        let status = match &members {
            Some(members) => members.get("status").and_then(Value::as_str),
            // Some refusals are the status alone, as text.
            None => std::str::from_utf8(&body).ok().map(str::trim),
        };
        let status = status.filter(|status| is_status(status));
        match status.map(ToOwned::to_owned).as_deref() {
            Some("OK") => members.map(Self).ok_or_else(|| of_http_status(http_status)),
            Some(status) => Err(of_status(status)),
            None => Err(of_http_status(http_status)),
        }
    }

    /// The licence, or the certificate: the octets for the player.
    ///
    /// # Errors
    /// That there is none.
    pub fn license(&self) -> Result<Vec<u8>, drm::Error> {
        let license = self.text("license").and_then(encoding::base64);
        let license = license.filter(|license| !license.is_empty());
        let license = license.map(|license| license.to_vec());
        license.ok_or_else(|| {
            let reason = "the licence service answers OK, and `license` is missing or not base64";
            drm::Error::hidden(Code::LICENSE_SERVICE_ANSWER, reason)
        })
    }

    /// A member that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A member that is a number, or text of one.
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }
}

/// Whether text is of the shape of a status. Nothing else of an answer is shown.
fn is_status(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=LONGEST_STATUS).contains(&text.len()) && text.bytes().all(is_part)
}

/// What a status means to the player, by its words: the complete list is not public.
fn of_status(status: &str) -> drm::Error {
    const WORDS: [(&[&str], Code); 5] = [
        (
            &["INVALID_LICENSE_CHALLENGE", "INVALID_PSSH"],
            Code::LICENSE_CHALLENGE_INVALID,
        ),
        // What the service does not accept of this server.
        (
            &["SIGNATURE", "ACCESS_DENIED", "PROVIDER", "SIGNER"],
            Code::LICENSE_SERVICE_CREDENTIALS,
        ),
        (
            &[
                "REVOKED",
                "SECURITY_LEVEL",
                "DENIED",
                "UNVERIFIED",
                "TAMPERED",
            ],
            Code::DEVICE_REFUSED,
        ),
        (&["POLICY_UNKNOWN"], Code::LICENSE_SERVICE_REFUSED),
        (
            &["CONTENT_ID_MISSING", "KEY_MISSING", "NOT_FOUND"],
            Code::LICENSE_SERVICE_KEY_MISSING,
        ),
    ];
    let mut rows = WORDS.iter();
    let row = rows.find(|(words, _)| words.iter().any(|word| status.contains(word)));
    // The challenge was read here, so it is this server's message that the service refuses.
    let code = row.map_or(Code::LICENSE_SERVICE_REFUSED, |(_, code)| *code);
    drm::Error::Refused {
        code,
        reason: format!("the licence service answers {status}"),
        is_public: true,
        details: vec![(SERVICE_STATUS, status.into())],
    }
}

fn of_http_status(status: StatusCode) -> drm::Error {
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::LICENSE_SERVICE_CREDENTIALS,
        _ => Code::LICENSE_SERVICE_ANSWER,
    };
    let status = status.as_u16();
    drm::Error::hidden(
        code,
        format!(
            "the licence service's answer has the HTTP status {status}, and no status that is known"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Vec<u8>, (&'static str, Option<String>)> {
        let response = Response::builder()
            .status(status)
            .body(body.as_bytes().to_vec());
        let answer = Answer::read(response.unwrap()).and_then(|answer| answer.license());
        answer.map_err(|error| {
            let status = error
                .details()
                .iter()
                .find(|(name, _)| *name == SERVICE_STATUS);
            (
                error.code().name,
                status.map(|(_, status)| status.as_str().unwrap().to_owned()),
            )
        })
    }

    #[test]
    fn an_answer_is_judged_by_its_status_alone() {
        let good = r#"{"status":"OK","license":"AQID","internal_status":139,"message_type":"SERVICE_CERTIFICATE"}"#;
        for status in [200, 400, 500] {
            assert_eq!(read(status, good), Ok(vec![1, 2, 3]));
        }
        for (status, code) in [
            ("INVALID_LICENSE_CHALLENGE", "license_challenge_invalid"),
            ("INVALID_PSSH", "license_challenge_invalid"),
            ("SIGNATURE_FAILED", "license_service_credentials"),
            ("ACCESS_DENIED", "license_service_credentials"),
            ("UNKNOWN_PROVIDER", "license_service_credentials"),
            ("DRM_DEVICE_CERTIFICATE_REVOKED", "device_refused"),
            ("PLATFORM_UNVERIFIED", "device_refused"),
            ("SECURITY_LEVEL_TOO_LOW", "device_refused"),
            ("CONTENT_ID_MISSING", "license_service_key_missing"),
            ("CONTENT_KEY_MISSING", "license_service_key_missing"),
            ("POLICY_UNKNOWN", "license_service_refused"),
            ("MALFORMED_REQUEST", "license_service_refused"),
            ("INTERNAL_ERROR", "license_service_refused"),
            ("SOMETHING_NEW_7", "license_service_refused"),
        ] {
            let body = format!(r#"{{"status":"{status}","license":"AQID"}}"#);
            for http_status in [200, 403, 500] {
                assert_eq!(
                    read(http_status, &body),
                    Err((code, Some(status.to_owned())))
                );
                assert_eq!(
                    read(http_status, status),
                    Err((code, Some(status.to_owned())))
                );
            }
        }
    }

    #[test]
    fn what_is_no_answer_shows_nothing_of_itself() {
        for (status, body, code) in [
            (200, "<html>Secret</html>", "license_service_answer"),
            (200, "{}", "license_service_answer"),
            (200, r#"{"status":"OK"}"#, "license_service_answer"),
            (
                200,
                r#"{"status":"OK","license":""}"#,
                "license_service_answer",
            ),
            (
                200,
                r#"{"status":"OK","license":"%"}"#,
                "license_service_answer",
            ),
            (
                200,
                r#"{"status":"OK","status":"OK","license":"AQID"}"#,
                "license_service_answer",
            ),
            (
                200,
                r#"{"status":"see https://x"}"#,
                "license_service_answer",
            ),
            (200, "OK", "license_service_answer"),
            (401, "", "license_service_credentials"),
            (403, "<html>", "license_service_credentials"),
            (307, "", "license_service_answer"),
            (500, "no", "license_service_answer"),
        ] {
            assert_eq!(read(status, body), Err((code, None)), "{body}");
        }
    }
}
