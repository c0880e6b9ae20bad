//! Builds the probe of a host.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test ends where its expectation does"
)]

use std::path::PathBuf;
use std::process::Command;

/// The probe on the platform of `hosts/{host}`, as a WebAssembly binary. It is built beside the
/// components that the command line carries, with what was compiled for them.
pub fn component(host: &str) -> Vec<u8> {
    // <target directory>/<profile>/deps/<test>
    let test = std::env::current_exe().unwrap();
    let target_directory = test.ancestors().nth(3).unwrap().join("component");
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let example = format!("probe_{host}");
    let built = Command::new(env!("CARGO"))
        .current_dir(workspace)
        .args(["build", "--quiet", "--locked", "--profile", "component"])
        .args(["--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target_directory)
        .args([
            "--package",
            &format!("keylet-{host}"),
            "--example",
            &example,
        ])
        .env_remove("RUSTFLAGS")
        .status()
        .unwrap();
    assert!(built.success(), "{example} does not build");
    std::fs::read(
        target_directory
            .join("wasm32-wasip2/component/examples")
            .join(example)
            .with_extension("wasm"),
    )
    .unwrap()
}
