//! What OpenTelemetry's environment variables say
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> and
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

/// How long a request to the receiver may take by default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Spans that wait to be sent, by default.
const QUEUE: usize = 2048;

/// Where spans go, and which.
#[derive(Clone)]
pub struct Settings {
    /// The whole URL.
    pub endpoint: String,
    /// Headers of requests to it, which may hold a secret.
    pub headers: Vec<(String, String)>,
    /// How long a request to it may take.
    pub timeout: Duration,
    /// What the spans are of: `service.name`, and what else is said.
    pub resource: Vec<(String, String)>,
    /// Spans that wait to be sent; more are lost.
    pub queue: usize,
    /// Which requests are recorded.
    pub(super) sampler: Sampler,
}

impl Settings {
    /// What variables say. `None` where no endpoint is named, or where they turn spans off.
    ///
    /// # Errors
    /// Names a variable whose value is malformed, or asks for what this host has not.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let environment = Environment(variable);
        if { environment.get("OTEL_SDK_DISABLED") }
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return Ok(None);
        }
        if environment
            .get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
            .is_some()
        {
            tracing::warn!(
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is not read: metrics are served for Prometheus, by --metrics"
            );
        }
        match environment.get("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(_) => bail!("OTEL_TRACES_EXPORTER: only `otlp` and `none` are supported"),
        }
        let Some(endpoint) = environment.endpoint()? else {
            return Ok(None);
        };
        environment.refuse_what_is_not_there()?;
        let timeout = environment.number("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")?;
        let timeout = match timeout {
            Some(timeout) => Some(timeout),
            None => environment.number("OTEL_EXPORTER_OTLP_TIMEOUT")?,
        };
        let queue = environment.number("OTEL_BSP_MAX_QUEUE_SIZE")?;
        Ok(Some(Self {
            endpoint,
            headers: environment.headers()?,
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
            resource: environment.resource()?,
            queue: queue.map_or(Ok(QUEUE), usize::try_from)?.max(1),
            sampler: environment.sampler()?,
        }))
    }
}

struct Environment<F>(F);

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    /// The value of a variable; an empty one is none.
    fn get(&self, name: &str) -> Option<String> {
        let value = self.0(name)?.trim().to_owned();
        Some(value).filter(|value| !value.is_empty())
    }

    /// The variable for traces, or the one for all signals: its name and value.
    fn of_traces(&self, option: &str) -> Option<(String, String)> {
        ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
            .iter()
            .map(|prefix| format!("{prefix}{option}"))
            .find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        let value = self.get(name).map(|value| value.parse());
        value
            .transpose()
            .with_context(|| format!("{name}: not a whole number"))
    }

    fn endpoint(&self) -> Result<Option<String>> {
        let (name, endpoint) = match self.of_traces("ENDPOINT") {
            None => return Ok(None),
            Some((name, base)) if name == "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                let endpoint = format!("{}/v1/traces", base.trim_end_matches('/'));
                (name, endpoint)
            }
            Some(given) => given,
        };
        let uri: Uri = endpoint
            .parse()
            .with_context(|| format!("{name}: not a URL"))?;
        ensure!(
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some(),
            "{name}: not a URL of http or https, such as http://127.0.0.1:4318"
        );
        ensure!(
            !uri.authority()
                .is_some_and(|all| all.as_str().contains('@')),
            "{name}: a URL must not hold a password: use OTEL_EXPORTER_OTLP_HEADERS"
        );
        Ok(Some(endpoint))
    }

    fn refuse_what_is_not_there(&self) -> Result<()> {
        if let Some((name, protocol)) = self.of_traces("PROTOCOL") {
            ensure!(
                protocol == "http/protobuf",
                "{name}: this host sends `http/protobuf` alone, usually to port 4318"
            );
        }
        if let Some((name, compression)) = self.of_traces("COMPRESSION") {
            ensure!(
                compression == "none",
                "{name}: this host does not compress what it sends; leave it out, or say `none`"
            );
        }
        for option in ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            if let Some((name, _)) = self.of_traces(option) {
                bail!(
                    "{name}: this host trusts the public roots alone; send to a Collector beside it"
                );
            }
        }
        Ok(())
    }

    fn headers(&self) -> Result<Vec<(String, String)>> {
        let Some((name, value)) = self.of_traces("HEADERS") else {
            return Ok(Vec::new());
        };
        let headers = pairs(&name, &value)?;
        for (header, value) in &headers {
            let is_header = HeaderName::try_from(header).is_ok()
                && HeaderValue::try_from(value.as_str()).is_ok();
            // The value is not shown: it may be a secret.
            ensure!(
                is_header,
                "{name}: the name or the value of a header is not valid"
            );
        }
        Ok(headers)
    }

    fn resource(&self) -> Result<Vec<(String, String)>> {
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        const NAME: &str = "service.name";
        let attributes = self.get(ATTRIBUTES);
        let mut attributes = match attributes {
            Some(value) => pairs(ATTRIBUTES, &value)?,
            None => Vec::new(),
        };
        if let Some(service) = self.get("OTEL_SERVICE_NAME") {
            attributes.retain(|(name, _)| name != NAME);
            attributes.push((NAME.to_owned(), service));
        }
        if attributes.iter().all(|(name, _)| name != NAME) {
            attributes.push((NAME.to_owned(), "keylet".to_owned()));
        }
        Ok(attributes)
    }

    fn sampler(&self) -> Result<Sampler> {
        const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
        const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";
        let name = self.get(SAMPLER);
        let name = name.as_deref().unwrap_or("parentbased_always_on");
        let (asks_parent, rule) = match name.strip_prefix("parentbased_") {
            Some(rule) => (true, rule),
            None => (false, name),
        };
        let ratio = match rule {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => match self.get(RATIO) {
                Some(ratio) => ratio
                    .parse()
                    .ok()
                    .with_context(|| format!("{RATIO}: not a number"))?,
                None => 1.0,
            },
            _ => bail!(
                "{SAMPLER}: `always_on`, `always_off` and `traceidratio` are known, each also after `parentbased_`"
            ),
        };
        ensure!((0.0..=1.0).contains(&ratio), "{RATIO}: not between 0 and 1");
        Ok(Sampler { asks_parent, ratio })
    }
}

/// `name=value` separated by commas, each percent-encoded.
fn pairs(variable: &str, text: &str) -> Result<Vec<(String, String)>> {
    let decoded = |text: &str| {
        percent_decode_str(text.trim())
            .decode_utf8()
            .map(String::from)
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((decoded(name).ok()?, decoded(value).ok()?))
    };
    text.split(',')
        .filter(|text| !text.trim().is_empty())
        .map(pair)
        .collect::<Option<_>>()
        .with_context(|| format!("{variable}: not of the form name=value,name=value"))
}

/// Which requests are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    /// Whether one that belongs to a trace is recorded where its sender records it.
    asks_parent: bool,
    /// How many of the others, from 0 to 1.
    ratio: f64,
}

impl Sampler {
    /// Whether a request is recorded. `parent`: whether its sender records it, where it has a trace.
    pub fn samples(self, trace_id: &str, parent: Option<bool>) -> bool {
        if let Some(is_sampled) = parent.filter(|_| self.asks_parent) {
            return is_sampled;
        }
        // The second half of an id is random in every system.
        let part = trace_id
            .get(16..24)
            .map(|part| u32::from_str_radix(part, 16));
        let part = part.and_then(Result::ok).unwrap_or_default();
        f64::from(part) < self.ratio * (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>> {
        Settings::from_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");

    fn with(name: &str, value: &str) -> Result<Option<Settings>> {
        read(&[ENDPOINT, (name, value)])
    }

    #[test]
    fn spans_are_sent_where_an_endpoint_is_named_alone() {
        assert!(read(&[]).unwrap().is_none());
        assert!(
            read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")])
                .unwrap()
                .is_none()
        );
        let settings = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(settings.endpoint, "http://127.0.0.1:4318/v1/traces");
        let name = ("service.name".to_owned(), "keylet".to_owned());
        assert_eq!(settings.resource, [name]);
        let settings = with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://a.example/in");
        assert_eq!(settings.unwrap().unwrap().endpoint, "https://a.example/in");
        let metrics = (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "http://127.0.0.1:4318",
        );
        assert!(read(&[metrics]).unwrap().is_none());
        for (name, value) in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert!(with(name, value).unwrap().is_none(), "{name}");
        }
        assert!(with("OTEL_SDK_DISABLED", "false").unwrap().is_some());
    }

    #[test]
    fn what_this_host_has_not_is_refused_by_its_name() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a.pem"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://a.example"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://hidden:hidden@a.example/",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: hidden"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hidden%0A"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_RESOURCE_ATTRIBUTES", "production"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ] {
            let Err(error) = with(name, value) else {
                panic!("{name}={value} is taken");
            };
            let said = format!("{error:#}");
            assert!(said.starts_with(name) && !said.contains("hidden"), "{said}");
        }
        assert!(with("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").is_ok());
        assert!(with("OTEL_EXPORTER_OTLP_COMPRESSION", "none").is_ok());
    }

    #[test]
    fn values_are_lists_of_pairs() {
        let settings = with(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Basic%20YTpi, x-scope = a=b,",
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            settings.unwrap().unwrap().headers,
            [pair("authorization", "Basic YTpi"), pair("x-scope", "a=b")]
        );
        let attributes = (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=a,deployment.environment.name=test",
        );
        let resource = |variables: &[_]| read(variables).unwrap().unwrap().resource;
        let environment = pair("deployment.environment.name", "test");
        assert_eq!(
            resource(&[ENDPOINT, attributes]),
            [pair("service.name", "a"), environment.clone()]
        );
        assert_eq!(
            resource(&[ENDPOINT, attributes, ("OTEL_SERVICE_NAME", "b")]),
            [environment, pair("service.name", "b")]
        );
    }

    #[test]
    fn the_sampler_asks_the_sender_unless_it_is_told_not_to() {
        const LOW: &str = "ffffffffffffffff3fffffffffffffff";
        const HIGH: &str = "00000000000000007fffffffffffffff";
        let samples = |name: &str, ratio: &str, id: &str, parent| {
            let variables = [
                ENDPOINT,
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", ratio),
            ];
            let settings = read(&variables).unwrap().unwrap();
            settings.sampler.samples(id, parent)
        };
        for (name, ratio, of_none, of_unsampled, of_sampled) in [
            ("", "", true, false, true),
            ("parentbased_always_off", "", false, false, true),
            ("parentbased_traceidratio", "0.25", false, false, true),
            ("always_on", "", true, true, true),
            ("always_off", "", false, false, false),
            ("traceidratio", "0.5", true, true, true),
            ("traceidratio", "", true, true, true),
        ] {
            for (parent, expected) in [
                (None, of_none),
                (Some(false), of_unsampled),
                (Some(true), of_sampled),
            ] {
                assert_eq!(
                    samples(name, ratio, HIGH, parent),
                    expected,
                    "{name} {parent:?}"
                );
            }
        }
        assert!(samples("traceidratio", "0.25", LOW, None));
        assert!(!samples("traceidratio", "0.25", HIGH, None));
    }
}
