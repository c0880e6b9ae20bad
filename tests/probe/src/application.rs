//! The probe of a host as an application of the embedded host.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test ends where its expectation does"
)]

use std::path::PathBuf;
use std::process::Command;

use keylet_host::{Application, Manifest, Provided, World};

/// The application: one variable, the store, and requests to this machine.
pub const MANIFEST: &str = r#"
    spin_manifest_version = 2
    [application]
    name = "probe"
    [variables]
    host = { default = "127.0.0.1" }
    set = { default = "a value" }
    [[trigger.http]]
    route = "/..."
    component = "probe"
    [component.probe]
    source = "probe.wasm"
    key_value_stores = ["default"]
    allowed_outbound_hosts = ["http://{{ host }}:*"]
    [component.probe.variables]
    set = "{{ set }}"
"#;

/// The probe of a world, with what a manifest gives it.
pub fn application(world: World, manifest: &str) -> Application {
    Application {
        world,
        component: component(world),
        manifest: Manifest::parse(manifest).unwrap(),
        provided: Provided::new(),
        environment: Vec::new(),
    }
}

/// The probe of a world, as a WebAssembly binary. It is built beside the components that the command
/// line carries, with what was compiled for them.
pub fn component(world: World) -> Vec<u8> {
    let host = match world {
        World::Wasip2 => "wasip2",
        World::Wasip3 => "wasip3",
        World::Wasi => "wasi",
    };
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
    let components = target_directory.join("wasm32-wasip2/component/examples");
    std::fs::read(components.join(example).with_extension("wasm")).unwrap()
}
