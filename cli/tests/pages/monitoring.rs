//! The alerts and the dashboards: Prometheus tests the alerts, and runs the queries on what a server tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use keylet_e2e::processes::{Process, free_port, wait_for};
use keylet_e2e::skip;
use serde_json::Value;

use crate::page::{Page, repository};
use crate::stage::{Stage, curl, licence};

const PAGE: &str = "docs/deploy/monitoring.md";

/// Grafana's grammar of `LogQL`.
const GRAMMAR: &str = "tests/dashboards/node_modules/@grafana/lezer-logql";

fn file(name: &str) -> String {
    std::fs::read_to_string(repository().join("docs/deploy").join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(name: &str) -> Value {
    serde_yaml_ng::from_str(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether Debian's package is installed.
fn is_prometheus_there(test: &str) -> bool {
    let is_there = |program: &str| {
        let said = Command::new(program).arg("--version").output();
        said.is_ok_and(|said| said.status.success())
    };
    let are_there = is_there("promtool") && is_there("prometheus");
    if !are_there {
        skip("prometheus", test, "there is no promtool or no prometheus");
    }
    are_there
}

pub fn monitoring(test: &'static str) {
    let stage = Stage::new(test);
    if !is_prometheus_there(test) {
        return;
    }
    stage.bring("docs", "docs");
    stage.type_blocks();
}

/// The alerts by name, with the word of their severity.
fn alerts() -> BTreeMap<String, String> {
    let rules = yaml("alerts.yaml")["groups"][0]["rules"].take();
    let named = |rule: &Value| {
        let severity = rule["labels"]["severity"].as_str().unwrap().to_owned();
        (rule["alert"].as_str().unwrap().to_owned(), severity)
    };
    rules.as_array().unwrap().iter().map(named).collect()
}

#[test]
fn the_page_has_every_alert_and_each_is_seen_firing_and_quiet() {
    let page = Page::read(PAGE).text;
    let mut listed = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `Keylet")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        for name in cells[1].split(", ") {
            listed.insert(name.trim_matches('`').to_owned(), cells[2].to_owned());
        }
    }
    assert_eq!(listed, alerts());

    let tests = yaml("alerts_test.yaml");
    let checks = tests["tests"].as_array().unwrap().iter().flat_map(|test| {
        let checks = test["alert_rule_test"].as_array().unwrap();
        checks
            .iter()
            .filter_map(|check| Some((check["alertname"].as_str()?, check)))
    });
    let (firing, quiet): (Vec<_>, Vec<_>) =
        checks.partition(|(_, check)| !check["exp_alerts"].as_array().unwrap().is_empty());
    let names = |checks: Vec<(&str, &Value)>| -> BTreeSet<String> {
        checks
            .into_iter()
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    let all: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!((names(firing), names(quiet)), (all.clone(), all));
}

/// What stands in quotes behind `code=` or `code=~`.
fn codes(text: &str) -> BTreeSet<String> {
    let texts = text.replace("\\\"", "\"");
    let behind = texts.split("code=").skip(1).filter_map(|rest| {
        let (value, _) = rest
            .trim_start_matches('~')
            .strip_prefix('"')?
            .split_once('"')?;
        Some(value.to_owned())
    });
    behind
        .flat_map(|value| value.split('|').map(str::to_owned).collect::<Vec<_>>())
        .filter(|code| code != "ok")
        .collect()
}

#[test]
fn codes_of_the_alerts_and_the_dashboards_are_codes() {
    let errors = Page::read("docs/errors.md").text;
    let mut seen = 0;
    for name in ["alerts.yaml", "grafana.json", "grafana-loki.json"] {
        for code in codes(&file(name)) {
            assert!(errors.contains(&format!("`{code}`")), "{name}: {code}");
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} codes found");
}

/// The queries of a dashboard, with the titles of their panels.
fn queries(name: &str) -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&file(name)).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap().to_owned();
            queries.push((title, target["expr"].as_str().unwrap().to_owned()));
        }
    }
    assert!(queries.len() > 10, "{name}");
    queries
}

#[test]
fn the_panels_of_a_dashboard_do_not_cover_each_other() {
    for name in ["grafana.json", "grafana-loki.json"] {
        let dashboard: Value = serde_json::from_str(&file(name)).unwrap();
        let variables: Vec<_> = dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| format!("${{{}}}", variable["name"].as_str().unwrap()))
            .collect();
        let mut cells = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = &panel["title"];
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|member| panel["gridPos"][member].as_u64().unwrap());
            assert!(x + w <= 24, "{name}: {title}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{name}: {title} covers another panel");
            }
            for target in panel["targets"].as_array().into_iter().flatten() {
                let source = target["datasource"]["uid"].as_str().unwrap();
                assert!(
                    variables.iter().any(|variable| variable == source),
                    "{name}: {source}"
                );
            }
        }
    }
}

/// A stage whose server has its metrics at an address.
fn serve(stage: &mut Stage) -> String {
    let metrics = format!("127.0.0.1:{}", free_port());
    stage.configure_fixtures();
    stage.succeed(&format!("keylet serve --in-memory --metrics {metrics}"));
    metrics
}

/// A licence, and a refusal after the token was verified.
fn ask(stage: &Stage) {
    let url = format!("http://{}/fairplay", stage.listen);
    assert_eq!(licence(stage, &url, "hs256"), "200");
    assert_eq!(licence(stage, &url, "expired"), "401");
}

#[test]
fn every_query_of_the_dashboard_returns_figures() {
    let test = "monitoring";
    let mut stage = Stage::new(test);
    if !is_prometheus_there(test) {
        return;
    }
    let metrics = serve(&mut stage);
    ask(&stage);
    // Words of the alerts that are figures.
    let (_, figures) = curl(&stage, &format!("http://{metrics}/metrics"));
    let alerts = file("alerts.yaml");
    for word in alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let figure = word.trim_end_matches("_bucket").trim_end_matches("_total");
        let is_there = figures.contains(&format!("# TYPE {figure} "));
        assert!(
            !word.starts_with("keylet_") || is_there,
            "the alerts ask for {word}"
        );
    }

    let mut configuration = file("prometheus.yml").replace(": 15s", ": 1s");
    for target in ["\"10.0.0.11:9100\"", "\"10.0.0.12:9100\""] {
        assert!(configuration.contains(target));
    }
    configuration = configuration
        .replace("\"10.0.0.11:9100\", ", "")
        .replace("10.0.0.12:9100", &metrics);
    stage.write("prometheus.yml", &configuration);
    stage.write("alerts.yaml", &alerts);
    let address = format!("127.0.0.1:{}", free_port());
    let prometheus = Command::new("prometheus")
        .arg(format!(
            "--config.file={}",
            stage.file("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            stage.file("figures").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Process(prometheus.unwrap());
    let get = |arguments: &str| -> Value {
        let said = stage.run(&format!("curl -sS -G {arguments}"));
        serde_json::from_str(&said.stdout).unwrap_or_default()
    };
    let query = |expression: &str| {
        stage.write("query", expression);
        get(&format!(
            "--data-urlencode query@query http://{address}/api/v1/query"
        ))
    };
    // Rates need a few scrapes, between which something was asked for.
    wait_for(|| {
        ask(&stage);
        let scrapes = query(
            "sum(count_over_time(keylet_requests_total{code=\"ok\",route=\"/fairplay\"}[1m]))",
        );
        let scrapes = scrapes["data"]["result"][0]["value"][1]
            .as_str()
            .map(str::to_owned);
        scrapes.is_some_and(|count| count.parse::<f64>().unwrap() >= 6.0)
    });
    for (title, expression) in queries("grafana.json") {
        let expression = expression
            .replace("$__rate_interval", "30s")
            .replace("$__range", "1m");
        let said = query(&expression);
        let result = said["data"]["result"].as_array();
        let is_figure = |sample: &Value| {
            let value = sample["value"][1].as_str().unwrap();
            value.parse::<f64>().unwrap().is_finite()
        };
        let has_figures =
            result.is_some_and(|result| !result.is_empty() && result.iter().all(is_figure));
        assert!(has_figures, "{title}: {expression}: {said}");
    }

    // Each alert was evaluated, and a healthy server alerts nobody.
    let rules =
        || get(&format!("http://{address}/api/v1/rules"))["data"]["groups"][0]["rules"].clone();
    let is_done = |rules: &Value| {
        let health = rules
            .as_array()
            .into_iter()
            .flatten()
            .map(|rule| &rule["health"]);
        health.clone().count() > 0 && health.into_iter().all(|health| health != "unknown")
    };
    wait_for(|| is_done(&rules()));
    for rule in rules().as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}

/// What a query of `LogQL` names of the lines: what it filters by, groups by and unwraps.
fn fields(query: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = |text: &str| -> String { text.chars().take_while(|c| is_name(*c)).collect() };
    let filters = query.split("| ").skip(1).filter_map(|rest| {
        let field = name(rest);
        let operator = rest[field.len()..].trim_start();
        let is_filter = ["=", "!", ">", "<"]
            .iter()
            .any(|sign| operator.starts_with(sign));
        (is_filter && !field.is_empty()).then_some(field)
    });
    let unwrapped = query.split("unwrap ").skip(1).map(name);
    let grouped = query.split("by (").skip(1).flat_map(|rest| {
        let list = rest.split(')').next().unwrap();
        list.split(", ").map(str::to_owned).collect::<Vec<_>>()
    });
    filters.chain(unwrapped).chain(grouped).collect()
}

/// The fields that `| json` makes of a line: names of objects and of their members, joined.
fn flattened(prefix: &str, line: &Value, into: &mut BTreeSet<String>) {
    for (name, value) in line.as_object().into_iter().flatten() {
        let name = format!("{prefix}{name}");
        flattened(&format!("{name}_"), value, into);
        into.insert(name);
    }
}

#[test]
fn the_queries_of_loki_are_ones_and_name_fields_that_lines_have() {
    let test = "monitoring";
    let mut stage = Stage::new(test);
    serve(&mut stage);
    ask(&stage);
    wait_for(|| stage.read("served.out").lines().count() >= 2);
    wait_for(|| stage.read("served.err").matches("\"ms\":").count() >= 2);
    let lines = stage.read("served.out") + &stage.read("served.err");
    let mut there = BTreeSet::new();
    for line in lines.lines() {
        flattened("", &serde_json::from_str(line).unwrap(), &mut there);
    }
    let mut text = String::new();
    let mut named = BTreeSet::new();
    for (title, query) in queries("grafana-loki.json") {
        for field in fields(&query) {
            // These licences need neither a store nor another server. The audit's tests have records with both.
            let needs_more = ["stages_store", "stages_requests"].contains(&field.as_str());
            assert!(
                needs_more || there.contains(&field),
                "{title}: no line has {field}"
            );
            named.insert(field);
        }
        // What lines are chosen by; those of `abuse` need a limit.
        for part in query.split("|= `").skip(1) {
            let part = part.split('`').next().unwrap();
            let is_there = part == "\"signals\":" || lines.contains(part);
            assert!(is_there, "{title}: no line has {part}");
        }
        text += &query
            .replace("$__auto", "5m")
            .replace("$__range", "6h")
            .replace("$app", "keylet");
        text.push('\n');
    }
    assert!(
        named.contains("device_class") && named.contains("ms"),
        "{named:?}"
    );

    if !repository().join(GRAMMAR).exists() {
        skip("dashboards", test, "`npm ci` in tests/dashboards is needed");
        return;
    }
    let parser = repository().join("tests/dashboards/logql.mjs");
    let parse = |text: &str| {
        stage.write("queries", text);
        stage.run(&format!("node '{}' < queries", parser.display()))
    };
    let said = parse(&text);
    assert!(said.is_success, "{}", said.stderr);
    assert!(!parse(&text.replacen(")", "", 1)).is_success);
}
