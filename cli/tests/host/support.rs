//! `keylet serve`, and what a test needs around it.

use std::process::{Command, Stdio};

use keylet_host::Provided;

pub use keylet_e2e::processes::{Directory, Process, at, free_port, redis, redis_at, wait_for};

/// `keylet serve` in a process of its own, once it listens.
pub fn serve(port: u16, arguments: &[&str], variables: &Provided) -> Process {
    serve_to(port, arguments, variables, Stdio::null())
}

/// The same, whose audit records go to an output.
pub fn serve_to(port: u16, arguments: &[&str], variables: &Provided, output: Stdio) -> Process {
    let names = variables
        .iter()
        .map(|(name, value)| (format!("SPIN_VARIABLE_{}", name.to_uppercase()), value));
    let child = Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
        .args(arguments)
        .envs(names)
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Process(child);
    wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}
