//! The plain component under a real host: `wasmtime serve`.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use keylet_cli::fixtures::variables;
use keylet_host::World;

use crate::fixtures::{answer, failures};
use crate::segments::p95;
use keylet_e2e::processes::{Directory, Process, free_port, wait_for};

/// The environment variable with the path of `wasmtime`, where it is not on the search path.
const WASMTIME: &str = "KEYLET_WASMTIME";

struct Wasmtime {
    address: SocketAddr,
    directory: Directory,
    _process: Process,
}

impl Wasmtime {
    /// Serves the fixtures; `None` where there is no `wasmtime`.
    fn start(test: &str, preload: Option<&Path>) -> Option<Self> {
        let program = std::env::var_os(WASMTIME).unwrap_or_else(|| "wasmtime".into());
        let version = Command::new(&program).arg("--version").output();
        if !version.is_ok_and(|version| version.status.success()) {
            keylet_e2e::skip("wasmtime", test, "there is no wasmtime");
            return None;
        }
        let directory = Directory::new(test);
        let component = directory.file("keylet_wasi.wasm");
        std::fs::write(&component, keylet_cli::component(World::Wasi).unwrap()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(program);
        command
            .args(["serve", "-Scli", "-Sconfig", "-Sinherit-env", "--addr"])
            .arg(address.to_string())
            .arg(component)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .envs(variables().into_iter().map(|(name, value)| {
                (
                    format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase()),
                    value,
                )
            }));
        if let Some(preload) = preload {
            command.env("LD_PRELOAD", preload);
        }
        let process = Process(command.spawn().unwrap());
        wait_for(|| TcpStream::connect(address).is_ok());
        Some(Self {
            address,
            directory,
            _process: process,
        })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_smoke_test_and_every_case_of_the_manifest_pass_under_wasmtime_serve() {
    let Some(server) = Wasmtime::start("wasmtime-serve", None) else {
        return;
    };
    let smoke = Command::new("bash")
        .arg(file("smoke.sh"))
        .arg(server.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&smoke.stdout);
    assert!(smoke.status.success(), "{said}");
    let failures = failures(|case| answer(&server.url(), case));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_answer_of_wasmtime_serve_leaves_in_one_segment() {
    let Some(kind) = Wasmtime::start("wasmtime-nodelay", None) else {
        return;
    };
    let library = kind.directory.file("nodelay.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(file("wasmtime/nodelay.c"))
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cc is needed");
    let strict = Wasmtime::start("wasmtime-strict", Some(&library)).unwrap();
    let measure = || [p95(kind.address), p95(strict.address)];
    let measured: Vec<[Duration; 2]> = (0..5).map(|_| measure()).collect();
    println!("{measured:?}");
    assert!(
        measured.iter().any(|[kind, strict]| *strict < *kind * 3),
        "{measured:?}"
    );
}
