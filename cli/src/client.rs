//! A client of licence servers: an emulated device that asks for a licence over HTTP, as a player
//! does, and opens what comes back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::{HeaderMap, Request, Response, StatusCode};
use keylet::error::Code;
use keylet::fairplay::certificate::ApplicationCertificate;
use serde::Serialize;
use serde_json::Value;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::device::{ApplicationKey, Licence, SpcOptions, Wrapping, read_certificate};
use crate::random;
use crate::wire::{self, Form, Key, Message, Profile, TOKEN, TokenLocation, percent_encoded};

/// Headers in which services put the code of a refusal.
const CODE_HEADERS: [&str; 2] = ["x-keylet-code", "x-axdrm-errorcode"];

/// Headers in which services put the id of a request.
const REQUEST_ID_HEADERS: [&str; 2] = ["x-request-id", "x-correlation-id"];

/// How much is shown of an answer that is not a problem document, in characters.
const SHOWN: usize = 200;

/// What sends requests: HTTP and HTTPS, without following redirects, which licence servers have none
/// of.
pub struct Client {
    agent: ureq::Agent,
}

/// One question to a licence server.
pub struct Exchange<'a> {
    /// The licence URL, with what the server wants in the query.
    pub url: &'a str,
    /// Certificate and application secret key.
    pub key: &'a ApplicationKey,
    /// The version of the SPC.
    pub wrapping: Wrapping,
    /// What the SPC holds.
    pub options: &'a SpcOptions,
    /// The token, where the server wants one.
    pub token: Option<&'a str>,
    /// Where the token goes; `None`: where the profile's player puts it.
    pub location: Option<&'a TokenLocation>,
    /// How the SPC travels.
    pub profile: &'a Profile,
    /// Further headers; they replace those that would be there anyway.
    pub headers: &'a [(String, String)],
}

/// A licence that opened.
#[derive(Debug)]
pub struct Played {
    /// What it holds.
    pub licence: Licence,
    /// The form in which it came.
    pub form: Form,
    /// What the answer says beside it.
    pub answer: Answered,
}

/// What every answer has.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// The server's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
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
    #[error("the server is not reachable: {0}")]
    Unreachable(String),
    /// The server, or for one key among others its answer, says no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The answer is not a licence for this SPC.
    #[error("the answer with status {status} is unreadable: {reason}", status = .0.status, reason = .1)]
    Unreadable(Box<Answered>, String),
}

/// The answer of a server that gives no licence.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// The stable code, where the server has such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the code means (`docs/errors.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
    /// What the server says beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The number of FairPlay's server SDK, or of a key among others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
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
        let texts = [self.meaning, self.detail.as_deref()].into_iter().flatten();
        let words: Vec<_> = texts.flat_map(str::split_whitespace).collect();
        match words.as_slice() {
            [] => Ok(()),
            words => write!(f, ": {}", words.join(" ")),
        }
    }
}

impl Failure {
    fn refused(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }

    fn unreadable(answer: Answered, reason: String) -> Self {
        Self::Unreadable(Box::new(answer), reason)
    }
}

impl Client {
    /// A client that waits so long for an answer as a whole, and trusts the roots of Mozilla's list, or
    /// those of a PEM file in their place.
    ///
    /// # Errors
    /// PEM without a certificate.
    pub fn new(timeout: Duration, roots: Option<&[u8]>) -> Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = roots {
            let certificates: Vec<_> = parse_pem(pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            ensure!(!certificates.is_empty(), "there is no certificate in PEM");
            tls = tls.root_certs(RootCerts::from(certificates));
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .tls_config(tls.build())
            .build();
        Ok(Self {
            agent: agent.into(),
        })
    }

    /// Fetches the application certificate as an app does.
    ///
    /// # Errors
    /// [`Failure`]; what is not a certificate is unreadable.
    pub fn certificate(&self, url: &str) -> Result<ApplicationCertificate, Failure> {
        let request = Request::get(url).body(Vec::new());
        let (answer, headers, body) = self.send(request, None)?;
        if answer.status != 200 {
            return Err(Failure::refused(refusal(answer, &headers, &body, None)));
        }
        read_certificate(&body).map_err(|error| Failure::unreadable(answer, format!("{error:#}")))
    }

    /// Sends a request as it is, and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// A server that cannot be reached.
    pub fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, ureq::Error> {
        let (parts, mut body) = self.agent.run(request)?.into_parts();
        let body = body.read_to_vec()?;
        Ok(Response::from_parts(parts, body))
    }

    fn send(
        &self,
        request: http::Result<Request<Vec<u8>>>,
        token: Option<&str>,
    ) -> Result<(Answered, HeaderMap, Vec<u8>), Failure> {
        // The reason may name the URL, and the token is in some.
        let reason = |error: &dyn std::fmt::Display| without(&error.to_string(), token);
        let request = request.map_err(|error| Failure::Request(anyhow::anyhow!(reason(&error))))?;
        let start = Instant::now();
        let (parts, body) = match self.exchange(request) {
            Ok(response) => response.into_parts(),
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => {
                return Err(Failure::Request(anyhow::anyhow!(reason(&error))));
            }
            Err(error) => return Err(Failure::Unreachable(reason(&error))),
        };
        let header = |name: &str| parts.headers.get(name)?.to_str().ok();
        let number = |name| header(name)?.parse().ok();
        let answer = Answered {
            status: parts.status.as_u16(),
            request_id: REQUEST_ID_HEADERS
                .into_iter()
                .find_map(header)
                .map(|id| without(id, token)),
            milliseconds: (start.elapsed().as_secs_f64() * 10_000.0).round() / 10.0,
            spc_bytes: 0,
            answer_bytes: body.len(),
            expires_at: number("x-keylet-expires-at"),
            renew_after: number("x-keylet-renew-after"),
        };
        Ok((answer, parts.headers, body))
    }
}

impl Exchange<'_> {
    /// Asks for the licence, and opens it.
    ///
    /// # Errors
    /// [`Failure`]: what became of it else.
    pub fn run(&self, client: &Client) -> Result<Played, Failure> {
        let made = self
            .key
            .spc(self.wrapping, self.options, &mut random::system());
        let (spc, secrets) = made.map_err(Failure::Request)?;
        let request = self.request(&spc).map_err(Failure::Request)?;
        let (mut answer, headers, body) = client.send(Ok(request), self.token)?;
        answer.spc_bytes = spc.len();
        if answer.status != StatusCode::OK.as_u16() {
            return Err(Failure::refused(refusal(
                answer, &headers, &body, self.token,
            )));
        }
        match wire::read(&body) {
            Ok((form, Key::Ckc(ckc))) => match Licence::open(&ckc, &secrets) {
                Ok(licence) => Ok(Played {
                    licence,
                    form,
                    answer,
                }),
                Err(error) => {
                    let reason = format!("the CKC does not open: {error:#}");
                    Err(Failure::unreadable(answer, reason))
                }
            },
            Ok((
                _,
                Key::Refused {
                    number,
                    code,
                    detail,
                },
            )) => Err(Failure::refused(Refusal {
                meaning: meaning(code.as_deref()),
                code: code.map(|code| without(&code, self.token)),
                detail: detail.map(|detail| without(&detail, self.token)),
                number,
                answer,
            })),
            Err(error) => Err(Failure::unreadable(answer, error.to_string())),
        }
    }

    fn request(&self, spc: &[u8]) -> Result<Request<Vec<u8>>> {
        let asset = match std::str::from_utf8(&self.options.asset_id) {
            Ok(text) => text.to_owned(),
            Err(_) => hex::encode(&self.options.asset_id),
        };
        let asset_id = asset.strip_prefix("skd://").unwrap_or(&asset);
        let mut body = (self.profile.body)(&Message {
            spc,
            asset_id,
            uri: &format!("skd://{asset_id}"),
            key_id: &self.options.asset_id,
            is_offline: false,
        });
        let mut url = self.url.to_owned();
        let mut headers = vec![(
            "content-type".to_owned(),
            self.profile.content_type.to_owned(),
        )];
        let own = self.profile.location();
        let mut put_member = |name: &str, value: Option<&str>| -> Result<()> {
            const NONE: &str = "a token goes into a member only of a body that is a JSON object";
            let mut document: Value = serde_json::from_slice(&body).ok().context(NONE)?;
            let members = document.as_object_mut().context(NONE)?;
            match value {
                Some(value) => members.insert(name.to_owned(), value.into()),
                None => members.remove(name),
            };
            body = document.to_string().into_bytes();
            Ok(())
        };
        // The sample that stands in the body for the token.
        if let TokenLocation::Member(name) = &own {
            put_member(name, None)?;
        }
        if let Some(token) = self.token {
            let filled = |template: &str| template.replace(TOKEN, token);
            match self.location.unwrap_or(&own) {
                TokenLocation::Header(name, template) => {
                    headers.push((name.clone(), filled(template)));
                }
                TokenLocation::Parameter(name, template) => {
                    url.push(if url.contains('?') { '&' } else { '?' });
                    url.push_str(&format!("{name}={}", percent_encoded(&filled(template))));
                }
                TokenLocation::Member(name) => put_member(name, Some(token))?,
            }
        }
        let mut request = Request::post(url.as_str());
        let own = headers.iter().filter(|(name, _)| {
            let is_it = |(other, _): &(String, String)| other.eq_ignore_ascii_case(name);
            !self.headers.iter().any(is_it)
        });
        for (name, value) in own.chain(self.headers) {
            request = request.header(name, value);
        }
        request
            .body(body)
            .map_err(|error| anyhow::anyhow!(without(&error.to_string(), self.token)))
    }
}

/// Where Keylet serves the certificate, beside the licence URL: `…/fairplay/certificate`.
pub fn certificate_url(licence_url: &str) -> String {
    let (path, _) = licence_url
        .split_once(['?', '#'])
        .unwrap_or((licence_url, ""));
    let path = path.trim_end_matches('/');
    // Neither `https://` nor what follows it is a part of the path.
    let authority = path.find("://").map_or(0, |at| at + 3);
    let parent = match path.rfind('/').filter(|at| *at > authority) {
        Some(at) => path.split_at(at).0,
        None => path,
    };
    format!("{parent}/fairplay/certificate")
}

fn refusal(answer: Answered, headers: &HeaderMap, body: &[u8], token: Option<&str>) -> Refusal {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let member = |name: &str| document.as_ref()?.get(name)?.as_str();
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let code = CODE_HEADERS.into_iter().find_map(header);
    let code = code
        .or_else(|| member("code"))
        .map(|code| without(code, token));
    let detail = match (member("detail"), document.is_some()) {
        (None, true) => None,
        (Some(detail), _) => Some(without(detail, token)),
        (None, false) => {
            // Cut after the token is out of it, so that no part of one stays.
            let text = without(&String::from_utf8_lossy(body), token);
            let text: String = text.trim().chars().take(SHOWN).collect();
            (!text.is_empty()).then_some(text)
        }
    };
    Refusal {
        meaning: meaning(code.as_deref()),
        code,
        detail,
        number: document
            .as_ref()
            .and_then(|document| document.get("fps_status")?.as_i64()),
        answer,
    }
}

fn meaning(code: Option<&str>) -> Option<&'static str> {
    let code = Code::ALL.iter().find(|known| Some(known.name) == code)?;
    Some(code.title)
}

/// What a server or a library says, without the token that it may repeat.
fn without(text: &str, token: Option<&str>) -> String {
    match token.filter(|token| !token.is_empty()) {
        Some(token) => text
            .replace(token, "…")
            .replace(&percent_encoded(token), "…"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_beside_the_licence_url() {
        for (url, certificate) in [
            ("http://a:1/fairplay", "http://a:1/fairplay/certificate"),
            (
                "http://a:1/license?keySystem=x",
                "http://a:1/fairplay/certificate",
            ),
            (
                "https://a/drm/fairplay/",
                "https://a/drm/fairplay/certificate",
            ),
            (
                "https://a/FairPlay/?kid=1/2",
                "https://a/fairplay/certificate",
            ),
            ("https://a", "https://a/fairplay/certificate"),
            ("https://a/", "https://a/fairplay/certificate"),
        ] {
            assert_eq!(certificate_url(url), certificate, "{url}");
        }
    }

    #[test]
    fn a_refusal_is_one_line_without_the_token() {
        let answer = Answered {
            status: 401,
            request_id: Some("r1".to_owned()),
            ..Answered::default()
        };
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-keylet-code"),
            http::HeaderValue::from_static("token_expired"),
        )]);
        let body = br#"{"code":"other","detail":"not a/b,\nnor a%2Fb"}"#;
        let refusal = refusal(answer, &headers, body, Some("a/b"));
        assert_eq!(
            refusal.to_string(),
            "the server answered 401 token_expired (request r1): The token has expired. not …, nor …"
        );
    }
}
