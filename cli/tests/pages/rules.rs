//! What holds for every page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use keylet_host::Manifest;

use crate::page::{Marker, Page, repository};
use crate::{TESTS, TYPED};

#[test]
fn every_block_of_commands_is_run_or_says_why_not() {
    let pages = Page::all();
    assert!(pages.len() > 15, "only {} pages found", pages.len());
    let blocks: Vec<_> = pages.iter().flat_map(Page::blocks).collect();
    let problems: Vec<_> = blocks
        .iter()
        .filter_map(|block| block.problem(TESTS))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));

    // A test of blocks that are gone tests nothing.
    let run: BTreeSet<&str> = blocks
        .iter()
        .filter_map(|block| match &block.marker {
            Some(Marker::Run(name)) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(run, TESTS.iter().copied().collect());
}

/// What stands behind each occurrence of `before`, as far as it is a name.
fn names_behind<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    text.split(before)
        .skip(1)
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_variable_of_the_pages_is_declared() {
    let manifest = Manifest::parse(keylet_cli::MANIFEST).unwrap();
    let mut seen = 0;
    for Page { path, text } in Page::all() {
        let by_environment = names_behind(&text, "SPIN_VARIABLE_");
        let by_flag = names_behind(&text, "--variable ");
        for name in by_environment.into_iter().chain(by_flag) {
            let name = name.to_lowercase();
            // `--variable name=@file` and `SPIN_VARIABLE_NAME` show the form.
            if name == "name" {
                continue;
            }
            assert!(manifest.variables.contains_key(&name), "{path}: {name}");
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} variables found");
}

/// The anchors of a page: those of its headings, as GitHub makes them, and its own.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let is_kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
            let heading: String = line
                .trim_start_matches('#')
                .trim()
                .chars()
                .filter(is_kept)
                .collect();
            heading.to_lowercase().replace(' ', "-")
        });
    let own = text
        .split("<a id=\"")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    headings.chain(own).collect()
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let pages: BTreeMap<_, _> = Page::all()
        .into_iter()
        .map(|page| (page.path, page.text))
        .collect();
    let mut links = 0;
    for (path, text) in &pages {
        let folder = repository().join(path).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = match file {
                "" => repository().join(path),
                file => folder.join(file),
            };
            let file = file
                .canonicalize()
                .unwrap_or_else(|_| panic!("{path}: {link}"));
            // The tables of codes have their own test, and a row is no heading.
            let relative = file
                .strip_prefix(repository())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if let Some(text) = pages.get(&relative).filter(|_| !anchor.is_empty()) {
                assert!(anchors(text).contains(anchor), "{path}: {link}");
            }
        }
    }
    assert!(links > 100, "only {links} links found");
}

#[test]
fn every_page_is_in_the_index() {
    let index = Page::read("docs/README.md").text;
    for Page { path, .. } in Page::all() {
        let link = match path.strip_prefix("docs/") {
            Some(below) => below.to_owned(),
            None => format!("../{path}"),
        };
        // What is written for every version, and the index itself.
        if ["../CHANGELOG.md", "README.md"].contains(&link.as_str()) {
            continue;
        }
        assert!(
            index.contains(&format!("]({link}")),
            "docs/README.md has no line for {path}"
        );
    }
}

/// The file of a module of tests, by its path as `docs/threat-model.md` has it: `suite::limits`. A module of tests at the
/// end of a file is in that file.
fn file_of(module: &[&str]) -> Option<PathBuf> {
    let (root, below) = module.split_first()?;
    let root = match *root {
        "suite" => "tests/suite",
        "host" => "cli/tests/host",
        "pages" => "cli/tests/pages",
        "kernel" => "crates/kernel/tests/suite",
        "keylet" => "src",
        "keylet_host" => "cli/host/src",
        "keylet_kernel" => "crates/kernel/src",
        _ => return None,
    };
    let file = |modules: &[&str]| {
        let path = repository().join(root).join(modules.join("/"));
        [path.with_extension("rs"), path.join("mod.rs")]
            .into_iter()
            .find(|path| path.is_file())
    };
    let inline = || match below.split_last() {
        Some((&"tests", outside)) => file(outside),
        _ => None,
    };
    file(below).or_else(inline)
}

/// Whether a file has a test of this name.
fn has_test(file: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}()");
    let place = lines.iter().position(|line| line.contains(&head));
    place.is_some_and(|place| {
        let attributes = lines[..place].iter().rev();
        let mut attributes = attributes.take_while(|line| line.starts_with("#["));
        attributes.any(|line| line.contains("test]"))
    })
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let text = Page::read("docs/threat-model.md").text;
    let names: BTreeSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains("::"))
        .collect();
    assert!(names.len() > 60, "only {} tests named", names.len());
    for path in names {
        let parts: Vec<&str> = path.split("::").collect();
        let (name, module) = parts.split_last().unwrap();
        // Those that type blocks have their names from a macro.
        let is_typed = module == ["pages", "typed"] && TYPED.contains(name);
        let is_there = is_typed || file_of(module).is_some_and(|file| has_test(&file, name));
        assert!(is_there, "docs/threat-model.md: there is no test `{path}`");
    }
    assert!(file_of(&["suite", "no_such_module"]).is_none());
    let own = file_of(&["pages", "rules"]).unwrap();
    assert!(!has_test(&own, "has_test") && !has_test(&own, "no_such_test"));
}
