//! What holds for every page.

use std::collections::{BTreeMap, BTreeSet};

use keylet_host::Manifest;

use crate::TESTS;
use crate::page::{Marker, Page, repository};

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
