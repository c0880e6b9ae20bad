//! Spans by OTLP: one licence is followed from the player's `traceparent` through Keylet to a back end, by a receiver that reads
//! what is sent with the published protobufs.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use http::{Request, Response};
use keylet::encoding::BASE64_URL;
use keylet_cli::built_in;
use keylet_cli::client::Client;
use keylet_cli::jwt::Signer;
use keylet_cli::random;
use keylet_e2e::upstream::{Reply, Upstream};
use keylet_host::{Options, Provided, Server, TelemetrySettings, World};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::json;

use crate::support::{Process, free_port, wait_for};

const KID: &str = "09e36702-8f33-436c-a5dd-60ffe6671e70";
const KEY: &str = "b42ca3172ee4e69bf51848a59db9cd13";
const SECRET: &str = "what this server and the back end share";
const VIEWER: Signer = Signer::EdDsa([1; 32]);

/// The trace of the player, and its span.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PLAYER: &str = "00f067aa0ba902b7";

/// The path of the back end, which holds a secret as some do.
const PATH: &str = "/entitlement?api-key=hidden";

fn variables(callback: Option<&Upstream>) -> Provided {
    let mut option = json!({
        "name": "subscribers",
        "restriction": {
            "issuer": "https://issuer.example",
            "audience": "keylet",
            "jwks": {"keys": [VIEWER.jwk("viewers").unwrap()]},
        },
        "drm": {"clearkey": {}},
        "terms": {},
    });
    if let Some(back_end) = callback {
        option["callback"] = json!({"url": back_end.url(PATH), "secret": SECRET, "retries": 0});
    }
    let records = json!([{"id": "trailer", "kid": KID, "key": KEY, "systems": ["clearkey"]}]);
    Provided::from([
        ("policies".to_owned(), json!([option]).to_string()),
        ("content_keys".to_owned(), records.to_string()),
    ])
}

fn settings(receiver: &str, more: &[(&str, &str)]) -> Option<TelemetrySettings> {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver);
    let variables: BTreeMap<&str, &str> = { more.iter().copied() }.chain([endpoint]).collect();
    let variable = |name: &str| variables.get(name).map(ToString::to_string);
    TelemetrySettings::from_environment(variable).unwrap()
}

fn serve(world: World, back_end: &Upstream, telemetry: Option<TelemetrySettings>) -> Server {
    let mut application = built_in(world, variables(Some(back_end))).unwrap();
    application.manifest.component.allowed_outbound_hosts = vec![back_end.origin()];
    let options = Options {
        telemetry,
        ..keylet_e2e::quiet()
    };
    Server::start(application, &options).unwrap()
}

fn token() -> String {
    let claims = json!({
        "iss": "https://issuer.example",
        "aud": "keylet",
        "sub": "viewer-1",
        "exp": keylet::platform::system_time() + 300,
        "entitlements": [{"keys": "*"}],
    });
    VIEWER
        .token(Some("viewers"), &claims, &mut random::system())
        .unwrap()
}

/// Asks for a licence as a part of a trace.
fn ask(url: &str, token: &str, traceparent: Option<&str>) -> Response<Vec<u8>> {
    let kid = keylet::id::Kid::from_text(KID).unwrap();
    let asked = json!({"kids": [BASE64_URL.encode(kid.as_bytes())], "type": "temporary"});
    let mut request = Request::post(format!("{url}/clearkey?viewer=hidden"))
        .header("authorization", format!("Bearer {token}"))
        .header("tracestate", "vendor=1");
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let client = Client::new(Duration::from_secs(60), None).unwrap();
    let request = request.body(asked.to_string().into_bytes()).unwrap();
    client.exchange(request).unwrap()
}

/// A back end that accepts every viewer.
fn back_end() -> Upstream {
    Upstream::start(|_| Reply::json(&json!({"terms": {}})))
}

fn receiver() -> Upstream {
    Upstream::start(|_| Reply::text("").with("content-type", "application/x-protobuf"))
}

/// The spans that a receiver got, without anything that is secret or of the viewer.
fn spans(receiver: &Upstream, token: &str) -> Vec<Span> {
    let key = hex::decode(KEY).unwrap();
    let encoded = BASE64_URL.encode(&key);
    let parts = token.split('.').map(str::as_bytes);
    let secrets: Vec<&[u8]> = parts
        .chain([key.as_slice(), KEY.as_bytes(), encoded.as_bytes()])
        .chain([SECRET, "hidden", "viewer-1", "/entitlement"].map(str::as_bytes))
        .collect();
    let mut spans = Vec::new();
    for request in receiver.take() {
        assert_eq!(request.uri().path(), "/v1/traces");
        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
        for secret in &secrets {
            let is_told = request
                .body()
                .windows(secret.len())
                .any(|part| part == *secret);
            assert!(!is_told, "{}", String::from_utf8_lossy(secret));
        }
        let export = ExportTraceServiceRequest::decode(request.body().as_slice()).unwrap();
        for of_resource in export.resource_spans {
            let resource = attributes(&of_resource.resource.unwrap().attributes);
            assert_eq!(resource["service.name"], "drm");
            let scopes = of_resource.scope_spans.into_iter();
            spans.extend(scopes.flat_map(|scope| scope.spans));
        }
    }
    spans
}

fn attributes(given: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &any_value::Value| match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    given
        .iter()
        .map(|pair| {
            let value = pair.value.as_ref().unwrap().value.as_ref().unwrap();
            (pair.key.clone(), text(value))
        })
        .collect()
}

/// The attributes of a span, as text.
fn said(span: &Span) -> String {
    let pairs = attributes(&span.attributes).into_iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

/// The one span of a kind.
fn one(spans: &[Span], kind: SpanKind) -> &Span {
    let mut found = spans.iter().filter(|span| span.kind() == kind);
    let (Some(span), None) = (found.next(), found.next()) else {
        panic!("{kind:?}: {spans:#?}");
    };
    assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
    span
}

fn is_error(span: &Span) -> bool {
    let status = span.status.as_ref();
    status.is_some_and(|status| status.code() == StatusCode::Error)
}

const NAMED: (&str, &str) = ("OTEL_SERVICE_NAME", "drm");

#[test]
fn a_licence_is_followed_from_the_player_to_the_back_end() {
    for world in [World::Wasip2, World::Wasip3] {
        let (receiver, back_end) = (receiver(), back_end());
        let server = serve(world, &back_end, settings(&receiver.origin(), &[NAMED]));
        let token = token();
        let answer = ask(
            &server.url(),
            &token,
            Some(&format!("00-{TRACE}-{PLAYER}-01")),
        );
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!(answer.status(), 200, "{world:?}: {text}");
        server.stop();

        let spans = spans(&receiver, &token);
        assert_eq!(spans.len(), 3, "{world:?}: {spans:#?}");
        assert!(
            spans
                .iter()
                .all(|span| hex::encode(&span.trace_id) == TRACE)
        );
        let request = one(&spans, SpanKind::Server);
        assert_eq!(hex::encode(&request.parent_span_id), PLAYER);
        assert_eq!(request.name, "POST /clearkey");
        assert_eq!(
            said(request),
            "http.request.method=POST http.response.status_code=200 http.route=/clearkey url.scheme=http"
        );
        let component = one(&spans, SpanKind::Internal);
        assert_eq!(component.parent_span_id, request.span_id);
        assert_eq!(component.name, "keylet clearkey");
        assert_eq!(
            said(component),
            "keylet.code=ok keylet.drm=clearkey keylet.policy=subscribers"
        );
        let question = one(&spans, SpanKind::Client);
        assert_eq!(question.parent_span_id, component.span_id);
        let port = back_end.address().port();
        assert_eq!(
            said(question),
            format!(
                "http.request.method=POST http.response.status_code=200 server.address=127.0.0.1 server.port={port} \
                 url.scheme=http"
            )
        );
        assert!(!spans.iter().any(is_error));
        let [asked] = back_end.take().try_into().unwrap();
        assert_eq!(
            asked.headers()["traceparent"],
            format!("00-{TRACE}-{}-01", hex::encode(&question.span_id))
        );
        assert_eq!(asked.headers()["tracestate"], "vendor=1");
    }
}

#[test]
fn a_refusal_is_an_attribute_and_a_failure_an_error() {
    let (receiver, back_end) = (receiver(), back_end());
    let server = serve(
        World::Wasip2,
        &back_end,
        settings(&receiver.origin(), &[NAMED]),
    );
    let token = token();
    back_end.answer(|_| Reply::status(403));
    assert_eq!(ask(&server.url(), &token, None).status(), 403);
    back_end.answer(|_| Reply::Bytes(Vec::new()));
    let failed = format!("00-{TRACE}-{PLAYER}-01");
    assert_eq!(ask(&server.url(), &token, Some(&failed)).status(), 502);
    server.stop();

    let spans = spans(&receiver, &token);
    let (failed, refused): (Vec<Span>, Vec<Span>) =
        { spans.into_iter() }.partition(|span| hex::encode(&span.trace_id) == TRACE);
    // A request without a trace begins one.
    let request = one(&refused, SpanKind::Server);
    assert!(request.parent_span_id.is_empty() && !is_error(request));
    assert_eq!(
        attributes(&request.attributes)["keylet.code"],
        "callback_refused"
    );
    let component = one(&refused, SpanKind::Internal);
    assert_eq!(
        attributes(&component.attributes)["keylet.code"],
        "callback_refused"
    );
    assert_eq!(component.parent_span_id, request.span_id);
    assert!(!is_error(component));
    let question = one(&refused, SpanKind::Client);
    assert_eq!(attributes(&question.attributes)["error.type"], "403");
    assert!(is_error(question));

    let request = attributes(&one(&failed, SpanKind::Server).attributes);
    assert_eq!(request["keylet.code"], "callback_failed");
    assert_eq!(request["error.type"], "502");
    let question = attributes(&one(&failed, SpanKind::Client).attributes);
    assert!(
        !question.contains_key("http.response.status_code"),
        "{question:?}"
    );
    let is_kind = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(
        question.get("error.type").is_some_and(is_kind),
        "{question:?}"
    );
    assert!(failed.iter().all(is_error), "{failed:#?}");
    let told = |index: usize| back_end.take().remove(index).headers()["tracestate"].clone();
    assert_eq!(told(1), "vendor=1");
}

#[test]
fn what_the_player_does_not_record_is_not_sent_and_its_trace_goes_on() {
    let (receiver, back_end) = (receiver(), back_end());
    let server = serve(World::Wasip2, &back_end, settings(&receiver.origin(), &[]));
    let unsampled = format!("00-{TRACE}-{PLAYER}-00");
    assert_eq!(ask(&server.url(), &token(), Some(&unsampled)).status(), 200);
    server.stop();
    assert_eq!(receiver.count(), 0);
    let [asked] = back_end.take().try_into().unwrap();
    let told = asked.headers()["traceparent"].to_str().unwrap();
    assert!(
        told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"),
        "{told}"
    );
}

#[test]
fn a_receiver_that_is_away_or_hangs_holds_up_no_request_and_its_loss_is_counted() {
    const REQUESTS: u64 = 20;
    let back_end = back_end();
    let token = token();
    let hangs = Upstream::start(|_| Reply::Silence);
    let away = format!("http://127.0.0.1:{}", free_port());
    let refuses = Upstream::start(|_| Reply::status(500));
    for receiver in [away, hangs.origin(), refuses.origin()] {
        let more = [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "6"),
        ];
        let server = serve(World::Wasip2, &back_end, settings(&receiver, &more));
        let lost = server.metrics().lost_spans();
        let started = Instant::now();
        for _ in 0..REQUESTS {
            assert_eq!(ask(&server.url(), &token, None).status(), 200, "{receiver}");
        }
        // If each waited for the receiver, they would take forty seconds.
        assert!(started.elapsed() < Duration::from_secs(20), "{receiver}");
        let stopping = Instant::now();
        server.stop();
        assert!(stopping.elapsed() < Duration::from_secs(15), "{receiver}");
        assert_eq!(lost.get(), REQUESTS * 3, "{receiver}");
    }
}

#[test]
fn the_environment_of_the_process_decides() {
    let receiver = receiver();
    let variables = variables(None);
    let serve = |port: u16, more: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keylet"));
        command
            .args([
                "serve",
                "--in-memory",
                "--listen",
                &format!("127.0.0.1:{port}"),
            ])
            .envs(
                { variables.iter() }
                    .map(|(name, value)| (format!("SPIN_VARIABLE_{}", name.to_uppercase()), value)),
            )
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.origin())
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .envs(more.iter().copied())
            .stdout(Stdio::null());
        command
    };
    let token = token();
    for (more, is_sent) in [
        ([NAMED, ("OTEL_SDK_DISABLED", "false")], true),
        ([NAMED, ("OTEL_SDK_DISABLED", "true")], false),
        ([NAMED, ("OTEL_TRACES_EXPORTER", "none")], false),
    ] {
        let port = free_port();
        let child = serve(port, &more).stderr(Stdio::null()).spawn().unwrap();
        let _process = Process(child);
        wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert_eq!(
            ask(&format!("http://127.0.0.1:{port}"), &token, None).status(),
            200,
            "{more:?}"
        );
        match is_sent {
            true => {
                wait_for(|| receiver.count() > 0);
                std::thread::sleep(Duration::from_millis(500));
                let spans = spans(&receiver, &token);
                let request = one(&spans, SpanKind::Server);
                let component = one(&spans, SpanKind::Internal);
                assert_eq!(component.parent_span_id, request.span_id);
            }
            false => {
                std::thread::sleep(Duration::from_secs(1));
                assert_eq!(receiver.count(), 0, "{more:?}");
            }
        }
    }
    let refused = serve(free_port(), &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("this host sends `http/protobuf` alone"),
        "{said}"
    );
}
