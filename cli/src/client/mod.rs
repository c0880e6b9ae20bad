//! A client of licence servers: an emulated device that asks for a licence over HTTP, as a player
//! does, and opens what comes back.

mod answer;
mod redacted;
mod unreachable;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use keylet::fairplay::certificate::ApplicationCertificate;
use serde_json::Value;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::device::{ApplicationKey, Licence, SpcOptions, Wrapping, read_certificate};
use crate::random;
use crate::terminal::Printable;
use crate::wire::{self, Form, Key, Message, Profile, TOKEN, TokenLocation, percent_encoded};

pub use answer::{Answered, Failure, Refusal};
use answer::{meaning, refusal, text_of};
pub use redacted::without;
pub use unreachable::{Stage, Unreachable};

/// Headers in which services put the id of a request.
const REQUEST_ID_HEADERS: [&str; 2] = ["x-request-id", "x-correlation-id"];

/// What sends requests: HTTP and HTTPS, without following redirects, which licence servers have none
/// of.
pub struct Client {
    agent: ureq::Agent,
    timeout: Duration,
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
            timeout,
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

    /// Sends a request that has a secret, and returns the body of the answer.
    ///
    /// # Errors
    /// [`Failure`], without the secret: also for every status that is not of success.
    pub fn ask(&self, request: Request<Vec<u8>>, secret: &str) -> Result<Vec<u8>, Failure> {
        let (answer, headers, body) = self.send(Ok(request), Some(secret))?;
        match answer.status {
            200..300 => Ok(body),
            _ => Err(Failure::refused(refusal(
                answer,
                &headers,
                &body,
                Some(secret),
            ))),
        }
    }

    /// Sends a request as it is, and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// A server that cannot be reached, in plain words.
    pub fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Unreachable> {
        let uri = request.uri().clone();
        let run = || -> Result<_, ureq::Error> {
            let (parts, mut body) = self.agent.run(request)?.into_parts();
            let body = body.read_to_vec()?;
            Ok(Response::from_parts(parts, body))
        };
        run().map_err(|error| Unreachable::from_error(&error, &uri, self.timeout))
    }

    fn send(
        &self,
        request: http::Result<Request<Vec<u8>>>,
        token: Option<&str>,
    ) -> Result<(Answered, HeaderMap, Vec<u8>), Failure> {
        // The reason may name the URL, and the token is in some.
        let request = request.map_err(|error| {
            Failure::Request(anyhow::anyhow!(without(&error.to_string(), token)))
        })?;
        let start = Instant::now();
        let (parts, body) = match self.exchange(request) {
            Ok(response) => response.into_parts(),
            Err(error) => {
                let error = error.without(token);
                return Err(match error.stage {
                    Stage::Request => Failure::Request(error.into()),
                    _ => Failure::Unreachable(error),
                });
            }
        };
        let header = |name: &str| parts.headers.get(name).map(text_of);
        let number = |name| header(name)?.parse().ok();
        let answer = Answered {
            status: parts.status.as_u16(),
            request_id: REQUEST_ID_HEADERS
                .into_iter()
                .find_map(header)
                .map(|id| without(&id, token)),
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
            )) => {
                let code = code.map(|code| without(&code, self.token));
                Err(Failure::refused(Refusal {
                    meaning: meaning(code.as_ref()),
                    code,
                    detail: detail.map(|detail| without(&detail, self.token)),
                    number,
                    location: None,
                    answer,
                }))
            }
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
        check_url(&url)?;
        let mut request = Request::post(url.as_str());
        let own = headers.iter().filter(|(name, _)| {
            let is_it = |(other, _): &(String, String)| other.eq_ignore_ascii_case(name);
            !self.headers.iter().any(is_it)
        });
        for (name, value) in own.chain(self.headers) {
            let shown = without(name, self.token);
            let name: HeaderName = name
                .parse()
                .ok()
                .with_context(|| format!("{shown} is not the name of a header"))?;
            let value: HeaderValue = value
                .parse()
                .ok()
                .with_context(|| not_in_a_header(&name, value, self.token))?;
            request = request.header(name, value);
        }
        Ok(request.body(body)?)
    }
}

/// Why a value cannot be that of a header. The value may be a secret.
fn not_in_a_header(name: &HeaderName, value: &str, token: Option<&str>) -> String {
    let place = |text: &str| text.chars().position(char::is_control);
    match (token.and_then(place), place(value)) {
        (Some(place), _) => format!(
            "the token has a line break or another control character at character {}, which the header {name} cannot hold: \
             give the token alone, in one line",
            place + 1
        ),
        (None, place) => format!(
            "the value of the header {name} has a line break or another control character at character {}",
            place.unwrap_or_default() + 1
        ),
    }
}

/// Checks that a text is a URL of HTTP.
///
/// # Errors
/// One that is not, without its query, which may hold a secret.
pub fn check_url(url: &str) -> Result<()> {
    let uri: Option<Uri> = url.parse().ok();
    let is_http =
        |uri: &Uri| uri.host().is_some() && ["http", "https"].map(Some).contains(&uri.scheme_str());
    let (shown, _) = url.split_once('?').unwrap_or((url, ""));
    ensure!(
        uri.as_ref().is_some_and(is_http),
        "{}",
        unreachable::not_a_url(Printable::new(shown).as_str())
    );
    Ok(())
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
}
