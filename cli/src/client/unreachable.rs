//! Why no answer came, in plain words: what was tried, what failed, what to do.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use http::Uri;
use rustls::CertificateError;

use super::redacted::without;
use crate::terminal::Printable;

/// Why no answer came. It holds no token.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Unreachable {
    /// How far it came.
    pub stage: Stage,
    message: Printable,
}

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It could not be sent so.
    Request,
    /// No connection was made, or it was lost.
    Connection,
    /// The connection could not be made safe.
    Tls,
    /// What came is no answer of HTTP.
    Answer,
}

/// Host and port that were tried.
struct Address<'a> {
    host: &'a str,
    port: u16,
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at port {}", self.host, self.port)
    }
}

impl Unreachable {
    /// Explains an error of the client.
    pub(super) fn from_error(error: &ureq::Error, uri: &Uri, timeout: Duration) -> Self {
        let is_tls = uri.scheme_str() == Some("https");
        let at = &Address {
            host: uri.host().unwrap_or_default(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
        };
        let (stage, message) = match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => (
                Stage::Request,
                not_a_url(&uri.to_string()),
            ),
            ureq::Error::HostNotFound => (Stage::Connection, no_address(at)),
            ureq::Error::Timeout(_) => (
                Stage::Connection,
                format!(
                    "{at} gave no answer within {} ms: check the address, firewalls and the server, or wait longer with --timeout",
                    timeout.as_millis()
                ),
            ),
            ureq::Error::Rustls(error) => of_tls(error, at),
            ureq::Error::Io(error) => of_io(error, at),
            ureq::Error::ConnectionFailed => (
                Stage::Connection,
                format!("no connection to {at} could be made: check the address, and that the server runs"),
            ),
            ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => (
                Stage::Connection,
                "the proxy of this machine's environment (HTTP_PROXY, HTTPS_PROXY) does not connect: correct or unset it".to_owned(),
            ),
            ureq::Error::Protocol(_) => (
                Stage::Answer,
                match is_tls {
                    true => format!("what {at} answers is not HTTP: check the port"),
                    false => format!("what {at} answers is not HTTP: check the port, or use https:// if it speaks TLS"),
                },
            ),
            ureq::Error::LargeResponseHeader(..) | ureq::Error::BodyExceedsLimit(_) => (
                Stage::Answer,
                format!("the answer of {at} is too large for that of a licence server: check the URL"),
            ),
            other => (
                Stage::Connection,
                format!("the exchange with {at} failed: {other}"),
            ),
        };
        Self {
            stage,
            message: Printable::new(message),
        }
    }

    /// The same without a token, which may be in the URL.
    #[must_use]
    pub(super) fn without(self, token: Option<&str>) -> Self {
        Self {
            message: without(self.message.as_str(), token),
            ..self
        }
    }
}

/// What is wrong with a text that is no URL of HTTP.
pub(super) fn not_a_url(shown: &str) -> String {
    format!(
        "{shown} is not a URL of HTTP: it has the form http://HOST:PORT/PATH or https://HOST/PATH"
    )
}

fn no_address(at: &Address<'_>) -> String {
    format!(
        "the name {} leads to no address: check the URL, and the DNS of this machine",
        at.host
    )
}

fn of_io(error: &io::Error, at: &Address<'_>) -> (Stage, String) {
    let inner = error.get_ref();
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref()) {
        return of_tls(tls, at);
    }
    let message = match error.kind() {
        ErrorKind::ConnectionRefused => format!(
            "{at} refused the connection, so nothing listens there: check the address, and that the server runs"
        ),
        ErrorKind::TimedOut => {
            format!("the connection to {at} timed out: check the address and firewalls")
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => format!(
            "{at} closed the connection before it had answered: check the port, whether it expects http:// or https://, and the \
             server's log"
        ),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            format!("there is no route to {at}: check the network of this machine")
        }
        ErrorKind::PermissionDenied => {
            format!("this machine does not permit a connection to {at}: check its firewall")
        }
        // The standard library has no kind for it.
        _ if error.to_string().contains("lookup address") => no_address(at),
        _ => format!("the connection to {at} failed: {error}"),
    };
    (Stage::Connection, message)
}

fn of_tls(error: &rustls::Error, at: &Address<'_>) -> (Stage, String) {
    let message = match error {
        rustls::Error::InvalidCertificate(reason) => of_certificate(reason, at),
        rustls::Error::InvalidMessage(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. } => {
            format!("{at} does not speak TLS: use http://, or the port of HTTPS")
        }
        rustls::Error::PeerIncompatible(_) => format!(
            "{at} speaks neither TLS 1.2 nor TLS 1.3 in a way that is safe: update its TLS settings"
        ),
        rustls::Error::AlertReceived(alert) => format!(
            "{at} ended the TLS handshake ({alert:?}): see its log, and whether it knows the name {}",
            at.host
        ),
        rustls::Error::NoCertificatesPresented => {
            format!("{at} has no TLS certificate: give it one")
        }
        other => format!("TLS with {at} failed: {other}"),
    };
    (Stage::Tls, message)
}

fn of_certificate(reason: &CertificateError, at: &Address<'_>) -> String {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the TLS certificate of {at} has expired: renew it, or correct the clock of this machine"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the TLS certificate of {at} is not valid yet: check the clocks of the server and of this machine"
        ),
        CertificateError::NotValidForName => {
            format!("the TLS certificate of {at} is for another name: use the name that it is for")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = match presented.as_slice() {
                [] => "for no name".to_owned(),
                names => format!("for {}", names.join(", ")),
            };
            format!(
                "the TLS certificate of {at} is {names}, and not for {}: use a name that it is for, or have it issued anew",
                at.host
            )
        }
        CertificateError::UnknownIssuer => format!(
            "the TLS certificate of {at} is of an issuer that is not trusted here: have the server send its whole chain, or \
             name the issuer's certificate with --cacert FILE"
        ),
        CertificateError::Revoked => {
            format!("the TLS certificate of {at} is revoked: have another one issued")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("the TLS certificate of {at} is not for servers: have one issued that is")
        }
        other => {
            format!("the TLS certificate of {at} is not valid ({other}): have another one issued")
        }
    }
}
