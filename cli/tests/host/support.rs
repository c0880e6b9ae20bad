//! `keylet serve`, and what a test needs around it.

use std::process::{Command, Stdio};

use keylet::fairplay::spc::Version;
use keylet_cli::client::Client;
use keylet_cli::device::{Secrets, SpcOptions, Wrapping};
use keylet_cli::fixtures;
use keylet_cli::random;
use keylet_host::Provided;

pub use keylet_e2e::processes::{
    Directory, Process, at, free_port, redis, redis_at, redis_with, wait_for,
};

/// `keylet serve` in a process of its own, once it listens.
pub fn serve(port: u16, arguments: &[&str], variables: &Provided) -> Process {
    serve_to(port, arguments, variables, Stdio::null())
}

/// The same, whose audit records go to an output.
pub fn serve_to(port: u16, arguments: &[&str], variables: &Provided, output: Stdio) -> Process {
    started(port, command(port, arguments, variables).stdout(output))
}

/// The command of `keylet serve` with a log that nobody reads.
pub fn command(port: u16, arguments: &[&str], variables: &Provided) -> Command {
    let names = variables
        .iter()
        .map(|(name, value)| (format!("SPIN_VARIABLE_{}", name.to_uppercase()), value));
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylet"));
    command
        .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
        .args(arguments)
        .envs(names)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A server once it listens.
pub fn started(port: u16, command: &mut Command) -> Process {
    let child = Process(command.spawn().unwrap());
    wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}

/// Sends a process a signal, by its name: `HUP`, `TERM`.
pub fn signal(process: &Process, name: &str) {
    let kill = Command::new("kill")
        .args([format!("-{name}"), process.0.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

/// An SPC of a device with the application certificate of the fixtures.
pub fn device(options: &SpcOptions) -> (Vec<u8>, Secrets) {
    let version = Wrapping::Version(Version::V1);
    let key = fixtures::sdk4().unwrap();
    key.spc(version, options, &mut random::system()).unwrap()
}

/// The header of a request that is entitled to every key of the fixtures.
pub fn bearer() -> String {
    let tokens: serde_json::Value = serde_json::from_str(fixtures::TOKENS).unwrap();
    format!("Bearer {}", tokens["hs256"].as_str().unwrap())
}

/// The status of a licence of the fixtures from a server at a base URL, where there is an answer.
pub fn licence(client: &Client, url: &str) -> Option<u16> {
    let spc = include_bytes!("../../../fixtures/spc/v1.bin").to_vec();
    let request = http::Request::post(format!("{url}/fairplay")).header("authorization", bearer());
    Some(
        client
            .exchange(request.body(spc).unwrap())
            .ok()?
            .status()
            .as_u16(),
    )
}
