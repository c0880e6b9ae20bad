//! A client that asks for licences one after the other on one connection, and measures them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use keylet_cli::fixtures;

/// A licence of the fixtures as it is sent.
///
/// # Panics
/// When the fixtures have no such token.
pub fn request() -> Vec<u8> {
    let tokens: serde_json::Value = serde_json::from_str(fixtures::TOKENS).unwrap();
    let spc = include_bytes!("../../fixtures/spc/v1.bin");
    let head = format!(
        "POST /fairplay HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: \
         application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        tokens["hs256"].as_str().unwrap(),
        spc.len()
    );
    [head.as_bytes(), spc].concat()
}

/// A connection on which a segment of the client's never waits.
///
/// # Panics
/// When there is none, perhaps for want of a descriptor.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a descriptor: see `ulimit -n`");
    stream.set_nodelay(true).unwrap();
    stream
}

/// How long a licence takes.
///
/// # Panics
/// When there is none.
pub fn licence(stream: &mut TcpStream, request: &[u8]) -> Duration {
    let started = Instant::now();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    while !is_whole(&answer) {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the host closed the connection");
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "no licence");
    started.elapsed()
}

/// Whether an answer has come to its end, by its length.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    answer.len() >= head + 4 + length.unwrap().parse::<usize>().unwrap()
}
