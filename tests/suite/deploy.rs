//! The deployment pages name variables and commands that there are.

use std::collections::BTreeSet;

use keylet_host::Manifest;

const PAGES: [(&str, &str); 6] = [
    ("README.md", include_str!("../../docs/deploy/README.md")),
    ("spin.md", include_str!("../../docs/deploy/spin.md")),
    (
        "spin-cloud.md",
        include_str!("../../docs/deploy/spin-cloud.md"),
    ),
    ("spinkube.md", include_str!("../../docs/deploy/spinkube.md")),
    ("wasmtime.md", include_str!("../../docs/deploy/wasmtime.md")),
    ("embedded.md", include_str!("../../docs/deploy/embedded.md")),
];

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
    for (page, text) in PAGES {
        let by_environment = names_behind(text, "SPIN_VARIABLE_");
        let by_flag = names_behind(text, "--variable ");
        let by_manifest = names_behind(text, "\n    - name: ");
        for name in by_environment.into_iter().chain(by_flag).chain(by_manifest) {
            let name = name.to_lowercase();
            // `--variable name=@file` shows the form, and stores have names too.
            if ["name", "default"].contains(&name.as_str()) {
                continue;
            }
            assert!(manifest.variables.contains_key(&name), "{page}: {name}");
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} variables found");
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy");
    for (page, text) in PAGES {
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            let is_elsewhere = link.is_empty() || link.contains("://");
            assert!(
                is_elsewhere || directory.join(link).exists(),
                "{page}: {link}"
            );
        }
    }
}
