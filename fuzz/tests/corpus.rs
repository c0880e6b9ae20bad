//! What fuzzing kept, and the fixtures, are given to every target: each promise holds for all of it.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation does")]

use std::path::{Path, PathBuf};

use keylet_fuzz::TARGETS;

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let entries = entries.map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

#[test]
fn every_promise_holds_for_what_fuzzing_kept() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let files = files(&corpus.join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            // Shown only when the promise does not hold.
            println!("{}", file.display());
            target(&std::fs::read(file).unwrap());
        }
    }
}

#[test]
fn every_promise_holds_for_every_fixture() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let folders = [
        "",
        "cpix",
        "dialects",
        "jose",
        "keys",
        "packaging",
        "policies",
        "spc",
    ];
    let all: Vec<PathBuf> = { folders.iter() }
        .flat_map(|folder| files(&fixtures.join(folder)))
        .collect();
    assert!(all.len() > 100);
    for file in all {
        let data = std::fs::read(&file).unwrap();
        for (name, target) in TARGETS {
            println!("{name} {}", file.display());
            target(&data);
        }
    }
}

#[test]
fn a_corpus_belongs_to_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(keylet_fuzz::target(&name).is_some(), "{name}");
    }
}
