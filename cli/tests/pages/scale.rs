//! The plan of a deployment's size is what the measured figures say.

use serde_json::Value;

use crate::page::{Page, repository};

const PAGE: &str = "docs/deploy/scale.md";

/// The share of a processor that the plan and the autoscaler use.
const USED: f64 = 0.6;

/// Bytes of a request, of an answer, and of the lines of a log, of a licence, as the page says.
const BYTES: [f64; 3] = [2_900.0 + 453.0, 803.0, 500.0];

fn number(text: &str) -> f64 {
    let text = text.trim().replace(',', "");
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// With commas between thousands, and as many digits behind the point as asked for.
fn shown(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let groups: Vec<_> = whole
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    let whole = groups.join(",");
    rest.map_or(whole.clone(), |rest| format!("{whole}.{rest}"))
}

/// Milliseconds of a processor for a licence of versions 1 and 2.
fn milliseconds() -> [f64; 2] {
    let measured = Page::read("docs/performance.md").text;
    let line = |start: &str| {
        let mut lines = measured.lines();
        lines
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no line begins with {start}"))
    };
    let hosts = line("| embedded, WASI 0.2 |");
    let eight = hosts.split('|').nth(3).unwrap().split(", ").next().unwrap();
    let first = 2.0 * 1000.0 / number(eight);
    let least = |version: &str| {
        let row = line(&format!("wasip2        {version}    hs256"));
        number(row.split_whitespace().nth(3).unwrap())
    };
    [first, first * least("v2") / least("v1")]
}

#[test]
fn the_table_of_instances_is_what_the_measured_figures_say() {
    let page = Page::read(PAGE).text;
    let [first, second] = milliseconds();
    let rates = [100.0, 1_000.0, 10_000.0, 100_000.0];
    for rate in rates {
        let processors = |milliseconds: f64| rate * milliseconds / 1000.0 / USED;
        let instances = |milliseconds: f64| processors(milliseconds).ceil().max(3.0);
        let [sent, answered, logged] = BYTES;
        let cells = [
            shown(rate, 0),
            shown(processors(first), 1),
            shown(processors(second), 1),
            shown(instances(first), 0),
            shown(instances(second), 0),
            shown(instances(second) / 2.0, 1),
            shown(rate * sent * 8.0 / 1e6, 1),
            shown(rate * answered * 8.0 / 1e6, 1),
            shown(rate * logged * 86_400.0 / 1e9, 0),
        ];
        let row = format!("| {} |", cells.join(" | "));
        assert!(page.contains(&row), "the page has no row {row}");
    }
    for milliseconds in [first, second] {
        assert!(
            page.contains(&format!(", HS256 | {milliseconds:.2} |")),
            "{milliseconds}"
        );
        let hours = 1e6 * milliseconds / 3.6e6 / USED;
        let row = format!("| {hours:.2} × price | {:.3} |", hours * 0.05);
        assert!(page.contains(&row), "the page has no {row}");
    }

    // Operations of the store are those of a licence, times licences.
    let mut rows = 0;
    let (_, operations) = page.split_once("## Operations of the store").unwrap();
    for line in operations
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
    {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, _, each, writes, expected @ .., _] = cells.as_slice() else {
            panic!("{line}");
        };
        if expected.len() != rates.len() {
            break;
        }
        for (rate, expected) in rates.iter().zip(expected) {
            assert_eq!(shown(rate * number(each), 0), *expected, "{line}");
        }
        assert!(number(writes) <= number(each), "{line}");
        rows += 1;
    }
    assert!(rows > 5, "only {rows} rows");
}

/// The pod that the plan counts is the one of the folder.
#[test]
fn an_instance_of_the_plan_is_the_pod_of_the_folder() {
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(repository().join("docs/deploy/kubernetes").join(name));
        serde_yaml_ng::from_str(&text.unwrap()).unwrap()
    };
    let deployment = read("deployment.yaml");
    let resources = &deployment["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(
        (
            &resources["requests"]["cpu"],
            &resources["limits"]["memory"]
        ),
        (&"1".into(), &"512Mi".into())
    );
    let autoscaler = read("autoscaler.yaml");
    let target = &autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"];
    assert_eq!(
        (target, &autoscaler["spec"]["minReplicas"]),
        (&60.into(), &3.into())
    );
    assert!(
        Page::read(PAGE)
            .text
            .contains("one processor at 60 %, 512 MiB, and never fewer than three")
    );
}
