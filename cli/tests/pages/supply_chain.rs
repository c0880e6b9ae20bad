//! `docs/supply-chain.md` says what is true: its tables are compared with the manifests, with what cargo resolves, and with
//! the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::page::{Page, repository};

/// The packages of the components.
const COMPONENTS: [&str; 3] = ["keylet-wasi", "keylet-wasip2", "keylet-wasip3"];

/// Their manifests, and those of the project's packages that are in them.
const MANIFESTS: [&str; 6] = [
    "Cargo.toml",
    "crates/aes128/Cargo.toml",
    "crates/kernel/Cargo.toml",
    "hosts/wasi/Cargo.toml",
    "hosts/wasip2/Cargo.toml",
    "hosts/wasip3/Cargo.toml",
];

const TARGET: &str = "wasm32-wasip2";

/// The rows of the table below a heading, without their head: each cell.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = Page::read("docs/supply-chain.md").text;
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("there is no section {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .collect()
}

/// What is in backticks.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// What stands in backticks in the second cell of a row, by its first cell.
fn row(heading: &str, first: &str) -> BTreeSet<String> {
    let row = rows(heading).into_iter().find(|row| row[0] == first);
    names(&row.unwrap_or_else(|| panic!("there is no row {first}"))[1])
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(repository())
        .args(arguments)
        .arg("--locked")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What the components are built of: names and versions, without the project's own.
fn crates() -> BTreeSet<(String, String)> {
    let mut arguments = vec![
        "tree",
        "--target",
        TARGET,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    for package in COMPONENTS {
        arguments.extend(["--package", package]);
    }
    let tree = cargo(&arguments);
    let lines = tree.lines().filter_map(|line| {
        let (name, rest) = line.split_once(" v")?;
        let version = rest.split(' ').next()?;
        Some((name.to_owned(), version.to_owned()))
    });
    lines
        .filter(|(name, _)| !name.starts_with("keylet"))
        .collect()
}

#[test]
fn every_direct_dependency_of_the_component_has_a_row_and_every_row_is_one() {
    let mut direct = BTreeSet::new();
    for manifest in MANIFESTS {
        let text = std::fs::read_to_string(repository().join(manifest)).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let of_wasm = manifest.get("target").and_then(|target| {
            target
                .get("cfg(target_family = \"wasm\")")?
                .get("dependencies")
        });
        let tables = [manifest.get("dependencies"), of_wasm];
        for (name, dependency) in tables
            .into_iter()
            .flatten()
            .flat_map(|table| table.as_table().unwrap())
        {
            let is_optional = dependency
                .get("optional")
                .is_some_and(|optional| optional.as_bool() == Some(true));
            if !is_optional && !name.starts_with("keylet") {
                direct.insert(name.clone());
            }
        }
    }
    let listed = rows("Direct dependencies")
        .iter()
        .flat_map(|row| names(&row[0]))
        .collect::<BTreeSet<_>>();
    assert_eq!(listed, direct);
}

#[test]
fn every_crate_of_the_component_is_on_the_page() {
    let crates: BTreeSet<String> = crates().into_iter().map(|(name, _)| name).collect();
    let direct = rows("Direct dependencies")
        .into_iter()
        .flat_map(|row| names(&row[0]));
    let others = rows("What comes with them")
        .into_iter()
        .flat_map(|row| names(&row[1]));
    let listed: Vec<String> = direct.chain(others).collect();
    let set: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(set.len(), listed.len(), "one is there twice");
    assert_eq!(set, crates);
}

#[test]
fn what_runs_on_the_machine_that_builds_is_on_the_page() {
    let crates = crates();
    let metadata: Value = serde_json::from_str(&cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        TARGET,
    ]))
    .unwrap();
    let of_kind = |kind: &str| -> BTreeSet<String> {
        let packages = metadata["packages"].as_array().unwrap().iter();
        let names = packages.filter_map(|package| {
            let text = |member: &str| package[member].as_str().unwrap().to_owned();
            let mut kinds = package["targets"].as_array().unwrap().iter();
            let has = kinds.any(|target| target["kind"][0] == kind);
            (has && crates.contains(&(text("name"), text("version")))).then(|| text("name"))
        });
        names.collect()
    };
    let heading = "What runs on the machine that builds";
    assert_eq!(row(heading, "build scripts"), of_kind("custom-build"));
    assert_eq!(row(heading, "macros"), of_kind("proc-macro"));
}

/// The sources below a folder, by their paths in the repository.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir()
            && !name.starts_with('.')
            && !["target", "node_modules"].contains(&name.as_str())
        {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// How often a source is unsafe: blocks, functions, implementations and attributes.
fn places(source: &str) -> usize {
    // Written in parts, so that this file has none.
    let begins = ["{", "(", " {", " fn", " impl", " extern", " trait"]
        .map(|end| ["un", "safe", end].concat());
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.filter(|line| begins.iter().any(|begin| line.contains(begin.as_str())))
        .count()
}

#[test]
fn every_unsafe_place_is_on_the_page_and_forbidden_elsewhere() {
    let mut files = Vec::new();
    sources(&repository(), &mut files);
    assert!(files.len() > 300, "only {} sources", files.len());
    let mut counted = BTreeMap::new();
    for file in files {
        let count = places(&std::fs::read_to_string(&file).unwrap());
        if count > 0 {
            let path = file.strip_prefix(repository()).unwrap();
            counted.insert(path.to_str().unwrap().to_owned(), count);
        }
    }
    let listed: BTreeMap<String, usize> = rows("`unsafe`")
        .iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].parse().unwrap()))
        .collect();
    assert_eq!(listed, counted);
    // Each of these has a reason that stands in the table; no other package may have any.
    for root in [
        "src/lib.rs",
        "cli/src/lib.rs",
        "cli/src/main.rs",
        "cli/host/src/lib.rs",
        "crates/aes128/src/lib.rs",
        "fuzz/src/lib.rs",
        "hosts/wasi/src/lib.rs",
        "hosts/wasip2/src/lib.rs",
        "hosts/wasip3/src/lib.rs",
        "tests/probe/src/lib.rs",
    ] {
        let source = std::fs::read_to_string(repository().join(root)).unwrap();
        assert!(source.contains("\n#![forbid(unsafe_code)]\n"), "{root}");
    }
    assert_eq!(places(&["un", "safe { work() }"].concat()), 1);
}
