//! Provides the components that the command line carries with it.
//!
//! It builds them, in a target directory of their own, since cargo holds a lock on the one that is in
//! use: that of WASI 0.2, and with the feature `all-worlds` those of the other worlds too. Where
//! `KEYLET_COMPONENTS` names a folder, it takes the components from there and builds nothing.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

/// The folder with components that were built before.
const FOLDER: &str = "KEYLET_COMPONENTS";

/// The packages of the components, and their names in this build.
const COMPONENTS: [(&str, &str); 3] = [
    ("keylet-wasip2", "WASIP2"),
    ("keylet-wasip3", "WASIP3"),
    ("keylet-wasi", "WASI"),
];

/// Settings of the components' profile that may come from the environment: without link-time
/// optimisation a change is built in a fraction of the time.
const PROFILE: [&str; 3] = [
    "CARGO_PROFILE_COMPONENT_LTO",
    "CARGO_PROFILE_COMPONENT_CODEGEN_UNITS",
    "CARGO_PROFILE_COMPONENT_OPT_LEVEL",
];

fn main() {
    let has_all_worlds = env::var_os("CARGO_FEATURE_ALL_WORLDS").is_some();
    let wanted = match has_all_worlds {
        true => &COMPONENTS[..],
        false => &COMPONENTS[..1],
    };
    println!("cargo:rerun-if-env-changed={FOLDER}");
    let built = match env::var_os(FOLDER) {
        Some(folder) => PathBuf::from(folder),
        None => build(wanted),
    };
    let out = PathBuf::from(variable("OUT_DIR"));
    for (package, name) in wanted {
        let file = format!("{}.wasm", package.replace('-', "_"));
        let source = built.join(&file);
        println!("cargo:rerun-if-changed={}", source.display());
        // Its own copy, so that nothing depends on what becomes of the target directory.
        let component = out.join(&file);
        if let Err(error) = fs::copy(&source, &component) {
            panic!("{} cannot be read: {error}", source.display());
        }
        println!(
            "cargo:rustc-env=KEYLET_COMPONENT_{name}={}",
            component.display()
        );
    }
}

/// Builds the components, all at once, so that they are linked side by side. Returns their folder.
fn build(wanted: &[(&str, &str)]) -> PathBuf {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    for input in [
        "src",
        "crates",
        "wit",
        "hosts",
        "Cargo.toml",
        "Cargo.lock",
        "rust-toolchain.toml",
    ] {
        println!("cargo:rerun-if-changed={}", workspace.join(input).display());
    }
    for name in PROFILE {
        println!("cargo:rerun-if-env-changed={name}");
    }
    ensure_target();
    tell(&format!(
        "keylet: building {} for WebAssembly, with link-time optimisation. This and wasmtime make the first build \
         take several minutes; KEYLET_COMPONENTS=FOLDER takes components that were built before.",
        match wanted {
            [_] => "its component".to_owned(),
            all => format!("its {} components", all.len()),
        }
    ));

    // <target directory>/<profile>/build/<package>/out
    let out = PathBuf::from(variable("OUT_DIR"));
    let target_directory = out
        .ancestors()
        .nth(4)
        .expect("cargo's layout of OUT_DIR")
        .join("component");
    let mut build = Command::new(variable("CARGO"));
    build
        .current_dir(workspace)
        .args(["build", "--target", TARGET, "--profile", "component"])
        .args(
            wanted
                .iter()
                .map(|(package, _)| format!("--package={package}")),
        )
        .arg("--target-dir")
        .arg(&target_directory);
    // What configures this build must not reach the other one.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let is_flag = [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "RUSTC_WORKSPACE_WRAPPER",
        ]
        .contains(&name.as_ref());
        let is_profile = name.starts_with("CARGO_PROFILE_") && !PROFILE.contains(&name.as_ref());
        if is_flag || is_profile || name.starts_with("CARGO_FEATURE_") {
            build.env_remove(name.as_ref());
        }
    }
    let status = build.status().expect("cargo runs");
    assert!(
        status.success(),
        "the components do not build: see the errors of cargo above. {FOLDER}=FOLDER takes components that were built \
         before"
    );
    target_directory.join(TARGET).join("component")
}

/// Tells whoever waits what takes so long. Cargo shows what a build script prints, warnings too, when the script has
/// ended; so this goes to the terminal itself, where there is one.
fn tell(text: &str) {
    if let Ok(mut terminal) = fs::OpenOptions::new().write(true).open("/dev/tty") {
        // Cargo's progress bar is in this line, and comes again in the next one.
        let _ = write!(terminal, "\r\x1b[K{text}\r\n");
    }
}

/// Adds the wasm target when it is missing.
fn ensure_target() {
    let has_target = || {
        let output = Command::new(variable("RUSTC"))
            .args(["--print", "target-libdir", "--target", TARGET])
            .output();
        output
            .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
    };
    if has_target() {
        return;
    }
    let _ = Command::new("rustup")
        .args(["target", "add", TARGET])
        .status();
    assert!(
        has_target(),
        "the target {TARGET} is missing: run `rustup target add {TARGET}`"
    );
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
