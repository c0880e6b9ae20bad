//! Requests that a component sends, and where they may go.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use ipnet::IpNet;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, default_send_request};

use super::telemetry::Telemetry;

/// The hosts that `allowed_outbound_hosts` names, in Spin's grammar:
/// `scheme://host[:port]`, where the scheme may be `*`; the host a name, `*.domain` for everything
/// below a domain, an address, a network such as `10.0.0.0/8`, or `*`; and the port a number, a
/// range `from..to` without its end, or `*`. Without a port it is the one that the scheme has.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Vec<AllowedHost>);

impl AllowedHosts {
    /// Every host, as plain hosts have it.
    pub fn any() -> Self {
        Self(vec![AllowedHost {
            scheme: None,
            host: Host::Any,
            ports: Ports::Any,
        }])
    }

    /// Reads the entries of a manifest.
    ///
    /// # Errors
    /// Names the first entry that is not of the grammar.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        entries
            .into_iter()
            .map(|entry| {
                AllowedHost::parse(entry)
                    .with_context(|| format!("`{entry}` in `allowed_outbound_hosts`"))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether a request may go to a URI.
    pub fn allow(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else {
            return false;
        };
        let scheme = uri.scheme_str().unwrap_or("https");
        let host = host.to_ascii_lowercase();
        let port = uri.port_u16().or_else(|| well_known_port(scheme));
        self.0.iter().any(|allowed| {
            allowed.scheme.as_deref().is_none_or(|one| one == scheme)
                && allowed.host.has(host.trim_matches(['[', ']']))
                && allowed.ports.have(port)
        })
    }
}

#[derive(Debug, Clone)]
struct AllowedHost {
    /// `None`: any.
    scheme: Option<String>,
    host: Host,
    ports: Ports,
}

impl AllowedHost {
    fn parse(entry: &str) -> Result<Self> {
        let (scheme, rest) = entry
            .trim()
            .split_once("://")
            .context("it is not of the form scheme://host[:port]")?;
        ensure!(
            scheme == "*" || scheme.bytes().all(|b| b.is_ascii_alphabetic()),
            "the scheme is neither a word nor `*`"
        );
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (rest, None),
        };
        Ok(Self {
            host: Host::parse(host)?,
            ports: match port {
                Some(port) => Ports::parse(port)?,
                None => Ports::One(
                    well_known_port(scheme)
                        .context("it has no port, and the scheme has no usual one")?,
                ),
            },
            scheme: (scheme != "*").then(|| scheme.to_owned()),
        })
    }
}

#[derive(Debug, Clone)]
enum Host {
    Any,
    Name(String),
    /// With the dot before the domain.
    Below(String),
    Network(IpNet),
}

impl Host {
    fn parse(host: &str) -> Result<Self> {
        let host = host.to_ascii_lowercase();
        if host == "*" {
            return Ok(Self::Any);
        }
        if let Ok(network) = host.parse() {
            return Ok(Self::Network(network));
        }
        ensure!(!host.contains('/'), "it has a path");
        let (below, name) = match host.strip_prefix('*') {
            Some(domain) => (true, domain),
            None => (false, host.trim_matches(['[', ']'])),
        };
        ensure!(!name.is_empty(), "it has no host");
        ensure!(
            !name.contains('*') && (!below || name.starts_with('.')),
            "a `*` stands for the whole host, or in `*.` for what is below a domain"
        );
        Ok(match below {
            true => Self::Below(name.to_owned()),
            false => Self::Name(name.to_owned()),
        })
    }

    fn has(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(name) => name == host,
            Self::Below(domain) => host.ends_with(domain),
            Self::Network(network) => host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| network.contains(&address)),
        }
    }
}

#[derive(Debug, Clone)]
enum Ports {
    Any,
    One(u16),
    Range(Range<u16>),
}

impl Ports {
    fn parse(port: &str) -> Result<Self> {
        let number = |text: &str| text.parse().context("the port is not a number");
        Ok(match (port, port.split_once("..")) {
            ("*", _) => Self::Any,
            (_, Some((from, to))) => Self::Range(number(from)?..number(to)?),
            (_, None) => Self::One(number(port)?),
        })
    }

    fn have(&self, port: Option<u16>) -> bool {
        match (self, port) {
            (Self::Any, _) => true,
            (Self::One(one), Some(port)) => *one == port,
            (Self::Range(range), Some(port)) => range.contains(&port),
            (_, None) => false,
        }
    }
}

/// The port of a URL that names none.
pub fn well_known_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Sends the requests of an instance that are allowed.
pub struct Outbound {
    /// Where they may go.
    pub allowed: Arc<AllowedHosts>,
    /// What makes spans of them.
    pub telemetry: Option<Arc<Telemetry>>,
}

type Boxed<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Boxed<()>,
    ) -> Boxed<(Response<WasiBody>, Boxed<()>)> {
        if !self.allowed.allow(request.uri()) {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        // Also for what has no timeout of its own on the way: the name's address, and TLS.
        let longest = options
            .and_then(|options| Some(options.connect_timeout? + options.first_byte_timeout?))
            .unwrap_or(Duration::from_secs(600));
        let telemetry = self.telemetry.as_ref();
        let span = telemetry.and_then(|telemetry| telemetry.outbound(&mut request));
        Box::new(async move {
            let sent = tokio::time::timeout(longest, default_send_request(request, options));
            let answer = sent.await.map_err(|_| Error::ConnectionTimeout);
            let answer = answer.flatten();
            if let Some(span) = span {
                span.end(answer.as_ref().map(|(response, _)| response));
            }
            let (response, io) = answer?;
            let io: Boxed<()> = Box::new(io);
            Ok((response.map(BodyExt::boxed_unsync), io))
        })
    }
}

/// An answer has more bytes than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge(pub usize);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer has more than {} bytes", self.0)
    }
}

impl std::error::Error for TooLarge {}

/// Sends a request of this program itself, over the connections that requests of components use, and reads the whole
/// answer.
///
/// # Errors
/// A server that cannot be reached; [`TooLarge`] for an answer with more than `max_answer` bytes.
pub async fn fetch(mut request: Request<Vec<u8>>, max_answer: usize) -> Result<Response<Vec<u8>>> {
    let host = request.uri().authority().map(ToString::to_string);
    if let Some(host) = host {
        request
            .headers_mut()
            .insert(http::header::HOST, host.parse()?);
    }
    let request = request.map(|body| Full::new(body.into()).map_err(|never| match never {}));
    let (response, connection) = default_send_request(request, None).await?;
    tokio::spawn(connection);
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, max_answer).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => anyhow::Error::new(TooLarge(max_answer)),
        false => anyhow::anyhow!("{error}"),
    })?;
    Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(entry: &str, uri: &str) -> bool {
        AllowedHosts::parse([entry])
            .unwrap()
            .allow(&uri.parse().unwrap())
    }

    #[test]
    fn scheme_host_and_port_must_all_be_named() {
        for (entry, uri, expected) in [
            ("https://a.example", "https://a.example/path", true),
            ("https://a.example", "https://A.Example/", true),
            ("https://a.example", "https://a.example:443/", true),
            ("https://a.example", "https://a.example:8443/", false),
            ("https://a.example", "http://a.example/", false),
            (
                "https://a.example",
                "https://a.example.evil.example/",
                false,
            ),
            ("https://a.example", "https://evil.example/a.example", false),
            (
                "https://a.example",
                "https://a.example@evil.example/",
                false,
            ),
            ("https://*.a.example", "https://b.a.example/", true),
            ("https://*.a.example", "https://a.example/", false),
            ("https://*.a.example", "https://ba.example/", false),
            ("*://a.example:8080", "http://a.example:8080/", true),
            ("http://*:*", "http://anything:1/", true),
            ("http://*:*", "https://anything/", false),
            ("*://*:*", "https://anything/", true),
            ("http://10.0.0.0/8:*", "http://10.1.2.3:99/", true),
            ("http://10.0.0.0/8:*", "http://11.1.2.3:99/", false),
            (
                "http://127.0.0.1:8000..8002",
                "http://127.0.0.1:8001/",
                true,
            ),
            (
                "http://127.0.0.1:8000..8002",
                "http://127.0.0.1:8002/",
                false,
            ),
            ("http://[::1]:80", "http://[::1]/", true),
            ("http://localhost/", "http://localhost/", true),
        ] {
            assert_eq!(allow(entry, uri), expected, "{entry} {uri}");
        }
        assert!(!AllowedHosts::default().allow(&"https://a.example/".parse().unwrap()));
    }

    #[test]
    fn entries_of_another_form_stop_the_start() {
        for entry in [
            "",
            "*",
            "a.example",
            "https://",
            "https://a.example/path",
            "https://a*.example",
            "https://*.*.example",
            "https://a.example:http",
            "*://a.example",
            "h2://a.example:80",
        ] {
            assert!(AllowedHosts::parse([entry]).is_err(), "{entry}");
        }
    }
}
