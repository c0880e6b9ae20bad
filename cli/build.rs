//! Builds the components, which the command line carries with it: one for each world.
//!
//! They have a target directory of their own, since cargo holds a lock on the one that is in use.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";

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

    // <target directory>/<profile>/build/<package>/out
    let out = PathBuf::from(variable("OUT_DIR"));
    let target_directory = out
        .ancestors()
        .nth(4)
        .expect("cargo's layout of OUT_DIR")
        .join("component");
    build(&workspace, &target_directory);
    for (package, name) in COMPONENTS {
        let file = format!("{}.wasm", package.replace('-', "_"));
        // Its own copy, so that nothing depends on what becomes of the target directory.
        let built = target_directory.join(TARGET).join("component").join(&file);
        let component = out.join(&file);
        fs::copy(&built, &component).expect("the component was built");
        println!(
            "cargo:rustc-env=KEYLET_COMPONENT_{name}={}",
            component.display()
        );
    }
}

/// Builds all of them at once, so that they are linked side by side.
fn build(workspace: &Path, target_directory: &Path) {
    let mut build = Command::new(variable("CARGO"));
    build
        .current_dir(workspace)
        .args(["build", "--target", TARGET, "--profile", "component"])
        .args(COMPONENTS.map(|(package, _)| format!("--package={package}")))
        .arg("--target-dir")
        .arg(target_directory);
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
    assert!(status.success(), "the components do not build");
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
