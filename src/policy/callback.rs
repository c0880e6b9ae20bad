//! A back end of the operator that makes the final decision: it gets what is known about viewer,
//! key and device, and answers with terms or a refusal.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::encoding;
use crate::entitlement::{self, Terms};
use crate::error::Code;
use crate::platform::Platform;
use crate::upstream::{self, Attempts, is_safe};

/// The header with the time of a question and its HMAC-SHA256 under the option's secret:
/// `t=<seconds since 1970>,v1=<hexadecimal>`, over the time, a full stop and the body.
pub const SIGNATURE_HEADER: &str = "x-keylet-signature";

/// Seconds that an answer may take, unless the option sets less.
const TIMEOUT: u64 = 3;

/// Why a back end does not let a viewer have a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The back end refuses.
    #[error("the back end refuses{}", .0.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Refused(Option<String>),
    /// The back end does not answer, or its answer is invalid.
    #[error("the back end did not answer as it should: {0}")]
    Failed(String),
    /// The terms in its answer are invalid.
    #[error("the back end's terms: {0}")]
    Terms(#[from] entitlement::Error),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(_) => Code::CALLBACK_REFUSED,
            Self::Failed(_) => Code::CALLBACK_FAILED,
            Self::Terms(error) => error.code(),
        }
    }
}

/// Where and how a back end is asked.
pub struct Callback {
    url: String,
    secret: Zeroizing<String>,
    attempts: Attempts,
}

/// A callback as it appears in a policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallbackConfig {
    url: String,
    secret: Zeroizing<String>,
    timeout_seconds: Option<u64>,
    retries: Option<u32>,
}

impl CallbackConfig {
    pub(crate) fn read(self) -> Result<Callback, String> {
        if !is_safe(&self.url) {
            return Err("`callback.url` is neither https nor http on this machine".to_owned());
        }
        if self.secret.len() < 32 {
            return Err("`callback.secret` has fewer than 32 bytes".to_owned());
        }
        let timeout = self.timeout_seconds.unwrap_or(TIMEOUT);
        let retries = self.retries.unwrap_or(1);
        if !(1..=5).contains(&timeout) || retries > 3 {
            return Err(
                "`callback` takes 1 to 5 `timeout_seconds` and up to 3 `retries`".to_owned(),
            );
        }
        Ok(Callback {
            url: self.url,
            secret: self.secret,
            attempts: Attempts {
                most: retries + 1,
                timeout: Duration::from_secs(timeout),
            },
        })
    }
}

/// The request to a back end.
#[derive(Serialize)]
pub struct Question<'a> {
    /// What the answer is for: `licence` or `token`.
    pub purpose: &'static str,
    /// The request's id.
    pub request_id: &'a str,
    /// Seconds since 1970.
    pub time: u64,
    /// Name of the option.
    pub policy: &'a str,
    /// The claims of the viewer's token, verified; empty when no token is needed.
    pub claims: &'a Map<String, Value>,
    /// The DRM system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drm: Option<&'static str>,
    /// The asset id as the device names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// Id of the key record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Class of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_class: Option<&'static str>,
    /// Pseudonym of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<&'a str>,
    /// Ids of the key records that the viewer asks for, of a token.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub keys: &'a [String],
    /// The viewer's request, when the answer is for a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<&'a Value>,
}

/// What a back end answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    terms: Option<Value>,
    refuse: Option<String>,
}

impl Callback {
    /// Asks for terms.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ask(
        &self,
        question: &Question<'_>,
        platform: &impl Platform,
    ) -> Result<Terms, Error> {
        let members = self.terms(question, platform).await?;
        Ok(Terms::from_json(&members, &[])?)
    }

    /// Asks for terms, and asks again when that fails. The terms are not checked.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Failed`].
    pub async fn terms(
        &self,
        question: &Question<'_>,
        platform: &impl Platform,
    ) -> Result<Map<String, Value>, Error> {
        let body = serde_json::to_vec(question).map_err(|e| Error::Failed(e.to_string()))?;
        let request = self.request(body, question.time)?;
        let response = upstream::send(&request, self.attempts, platform).await;
        let response = response.map_err(|error| Error::Failed(error.to_string()))?;
        match response.status() {
            StatusCode::OK => read(response.body()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Refused(None)),
            status => Err(Error::Failed(format!("status {}", status.as_u16()))),
        }
    }

    fn request(&self, body: Vec<u8>, time: u64) -> Result<Request<Vec<u8>>, Error> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())
            .map_err(|_| Error::Failed("its secret is no key".to_owned()))?;
        mac.update(format!("{time}.").as_bytes());
        mac.update(&body);
        let tag = hex::encode(mac.finalize().into_bytes());
        Request::post(&self.url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(
                HeaderName::from_static(SIGNATURE_HEADER),
                format!("t={time},v1={tag}"),
            )
            .body(body)
            .map_err(|_| Error::Failed("its URL is none".to_owned()))
    }
}

fn read(body: &[u8]) -> Result<Map<String, Value>, Error> {
    let answer: Answer =
        encoding::from_json(body).map_err(|error| Error::Failed(error.to_string()))?;
    match (answer.refuse, answer.terms) {
        (Some(reason), _) => {
            let reason = reason
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            Err(Error::Refused(Some(reason)))
        }
        (None, Some(Value::Object(members))) => Ok(members),
        _ => Err(Error::Failed(
            "it has neither `terms` nor `refuse`".to_owned(),
        )),
    }
}
