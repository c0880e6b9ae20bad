//! The metrics of the embedded host for Prometheus, and the dashboard that shows them.

use std::collections::BTreeMap;

use keylet_cli::built_in;
use keylet_cli::fixtures::variables;
use keylet_host::{Options, Provided, Reuse, Server, World};

use crate::support::{WORLDS, fixture, get, post_spc, variables_with};

fn start(world: World, reuse: Option<Reuse>) -> Server {
    start_with(world, reuse, variables())
}

fn start_with(world: World, reuse: Option<Reuse>, variables: Provided) -> Server {
    let options = Options {
        metrics: Some(([127, 0, 0, 1], 0).into()),
        reuse,
        ..keylet_e2e::quiet()
    };
    Server::start(built_in(world, variables).unwrap(), &options).unwrap()
}

/// The samples by name and labels, as they appear in the text.
fn samples(server: &Server) -> BTreeMap<String, f64> {
    let url = format!("http://{}/metrics", server.metrics_address().unwrap());
    let mut response = ureq::get(url).call().unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = response.body_mut().read_to_string().unwrap();
    assert!(text.ends_with("# EOF\n"));
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn requests_are_counted_by_route_status_and_code() {
    let server = start(World::Wasip2, None);
    let began = std::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(post_spc(&server, &fixture("spc/v1.bin")).status, 200);
    }
    assert_eq!(post_spc(&server, b"").status, 400);
    get(&server, "/fairplay/certificate/default");
    get(&server, "/healthz");
    for path in ["/one", "/two"] {
        assert_eq!(get(&server, path).status, 404);
    }
    let samples = samples(&server);
    for (labels, expected) in [
        (r#"route="/fairplay",status="200",code="ok""#, 3.0),
        (r#"route="/fairplay",status="400",code="body_empty""#, 1.0),
        (
            r#"route="/fairplay/certificate/{name}",status="200",code="ok""#,
            1.0,
        ),
        (r#"route="/healthz",status="200",code="ok""#, 1.0),
        (r#"route="other",status="404",code="route_not_found""#, 2.0),
    ] {
        assert_eq!(
            samples[&format!("keylet_requests_total{{{labels}}}")],
            expected
        );
    }
    let histogram = r#"keylet_request_duration_seconds_count{route="/fairplay"}"#;
    assert_eq!(samples[histogram], 4.0);
    assert_eq!(samples["keylet_requests_in_flight"], 0.0);
    assert_eq!(samples["keylet_instances_created_total"], 8.0);
    assert_eq!(samples["keylet_instances_reused_total"], 0.0);
    assert!(samples["keylet_component_memory_peak_bytes"] > 1e6);
    // One request came after the other, and so did what instances calculated.
    let calculated = samples["keylet_component_seconds_total"];
    assert!(calculated > 0.0 && calculated < began.elapsed().as_secs_f64());
    server.stop();
}

#[test]
fn instances_are_counted_when_they_are_made_and_when_they_are_used_again() {
    let reuse = Reuse {
        total: 4,
        concurrent: 1,
        idle: std::time::Duration::from_secs(60),
    };
    let server = start(World::Wasip3, Some(reuse));
    for _ in 0..9 {
        get(&server, "/");
    }
    let samples = samples(&server);
    assert_eq!(samples["keylet_instances_created_total"], 3.0);
    assert_eq!(samples["keylet_instances_reused_total"], 6.0);
    assert_eq!(samples["keylet_instances"], 1.0, "the others have ended");
    let memory = samples["keylet_component_memory_bytes"];
    assert!(memory > 0.0 && memory <= samples["keylet_component_memory_peak_bytes"]);
    server.stop();
}

#[test]
fn the_address_of_the_figures_tells_nothing_else() {
    let server = start(World::Wasip2, None);
    let url = format!("http://{}/healthz", server.metrics_address().unwrap());
    assert!(matches!(
        ureq::get(url).call(),
        Err(ureq::Error::StatusCode(404))
    ));
    assert_eq!(get(&server, "/metrics").status, 404);
    server.stop();
}

#[test]
fn the_dashboard_and_its_page_name_figures_that_there_are() {
    let server = start(World::Wasip2, None);
    assert_eq!(post_spc(&server, b"").status, 400);
    let samples = samples(&server);
    server.stop();
    let exists = |figure: &str| {
        samples
            .keys()
            .any(|sample| sample == figure || sample.starts_with(&format!("{figure}{{")))
    };

    let words = |text: &'static str| -> std::collections::BTreeSet<&str> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("keylet_") && !word.starts_with("keylet_wasi"))
            .collect()
    };
    let dashboard = words(include_str!("../../docs/deploy/grafana.json"));
    let page = words(include_str!("../../docs/deploy/embedded.md"));
    assert!(dashboard.len() > 5, "{dashboard:?}");
    for figure in &dashboard {
        assert!(exists(figure), "the dashboard asks for {figure}");
    }
    for figure in &page {
        let bucket = format!("{figure}_bucket");
        assert!(exists(figure) || exists(&bucket), "the page names {figure}");
    }
    for sample in samples.keys() {
        let figure = sample.split('{').next().unwrap();
        let figure = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| figure.strip_suffix(suffix))
            .unwrap_or(figure);
        assert!(page.contains(figure), "the page does not name {figure}");
    }
}

#[test]
fn a_licence_that_an_instance_has_no_memory_for_is_refused_with_a_code() {
    // Larger than all memory that an instance gets.
    let key = r#"{"id":"movie-1","key":"000102030405060708090a0b0c0d0e0f"},"#;
    let keys = format!("[{}]", key.repeat((70 << 20) / key.len()));
    let variables = variables_with(&[("content_keys", &keys)]);
    for world in WORLDS {
        let server = start_with(world, None, variables.clone());
        for _ in 0..2 {
            let answer = post_spc(&server, &fixture("spc/v1.bin"));
            let code = answer.header("x-keylet-code");
            assert_eq!(
                (answer.status, code),
                (503, Some("host_out_of_memory")),
                "{world:?}"
            );
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json")
            );
            let document = answer.json();
            assert_eq!(document["code"], "host_out_of_memory");
            assert_eq!(document["type"], "/docs/errors.md#host_out_of_memory");
        }
        assert_eq!(get(&server, "/").status, 200, "{world:?}");
        let samples = samples(&server);
        let refused =
            r#"keylet_requests_total{route="/fairplay",status="503",code="host_out_of_memory"}"#;
        assert_eq!(samples[refused], 2.0, "{world:?}");
        assert!(
            samples["keylet_component_memory_refused_total"] >= 2.0,
            "{world:?}"
        );
        server.stop();
    }
}
