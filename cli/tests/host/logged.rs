//! `keylet serve` with its log, in a directory of its own.

use std::process::{Command, Stdio};

use keylet_host::Provided;

use crate::support::{Directory, Process};

/// `keylet serve` with its log, read line by line until one is found.
pub struct Logged {
    pub server: Process,
    pub lines: std::io::Lines<std::io::BufReader<std::process::ChildStderr>>,
}

impl Logged {
    pub fn start(directory: &Directory, arguments: &[&str], variables: &Provided) -> Self {
        let names = variables
            .iter()
            .map(|(name, value)| (format!("SPIN_VARIABLE_{}", name.to_uppercase()), value));
        let mut child = Command::new(env!("CARGO_BIN_EXE_keylet"))
            .arg("serve")
            .args(arguments)
            .current_dir(&directory.0)
            .env_clear()
            .envs(names)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = std::io::BufReader::new(child.stderr.take().unwrap());
        Self {
            server: Process(child),
            lines: std::io::BufRead::lines(log),
        }
    }

    /// The lines up to the first one that holds a text.
    pub fn until(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for line in self.lines.by_ref() {
            lines.push(line.unwrap());
            if lines.last().unwrap().contains(text) {
                return lines;
            }
        }
        panic!("{text:?} is not in the log: {lines:#?}");
    }
}
