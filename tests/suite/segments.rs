//! Head and body of an answer leave in one segment. Otherwise a host whose connections do not have `TCP_NODELAY`, as
//! Spin's, waits for the client's delayed acknowledgement between the two: 40 ms.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use keylet_cli::fixtures::variables;
use keylet_cli::host::{Application, AsSpin, Options, Server};

use crate::support::{WORLDS, fixture, token};

/// The licences of a measurement. The first ones of a connection are acknowledged at once, and do not count.
const LICENCES: usize = 100;
const FIRST: usize = 30;

/// The time of a licence on a kept connection: 95 of 100 take this at most.
pub(crate) fn p95(address: SocketAddr) -> Duration {
    let spc = fixture("spc/v1.bin");
    let head = format!(
        "POST /fairplay HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: \
         application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        token("hs256"),
        spc.len()
    );
    let request = [head.as_bytes(), &spc].concat();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut times: Vec<Duration> = (0..FIRST + LICENCES)
        .map(|_| licence(&mut stream, &request))
        .skip(FIRST)
        .collect();
    times.sort();
    times[LICENCES * 95 / 100]
}

fn licence(stream: &mut TcpStream, request: &[u8]) -> Duration {
    let started = Instant::now();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the host closed the connection");
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let Some(head) = text.find("\r\n\r\n") else {
            continue;
        };
        let lines = text[..head].to_ascii_lowercase();
        let length = lines
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        if answer.len() >= head + 4 + length {
            return started.elapsed();
        }
    }
}

/// How often it is measured: beside other tests, a thread may be late by chance.
const ATTEMPTS: usize = 5;

#[test]
fn an_answer_leaves_in_one_segment_in_every_world() {
    for world in WORLDS {
        let measure = || {
            [false, true].map(|delays_segments| {
                let application = Application::built_in(world, variables()).unwrap();
                let options = Options {
                    as_spin: AsSpin {
                        delays_segments,
                        sends_head_at_once: true,
                        ..AsSpin::default()
                    },
                    ..Options::quiet()
                };
                let server = Server::start(application, &options).unwrap();
                let p95 = p95(server.address());
                server.stop();
                p95
            })
        };
        let measured: Vec<[Duration; 2]> = (0..ATTEMPTS).map(|_| measure()).collect();
        println!("{world:?}: {measured:?}");
        let is_one_segment = |[kind, strict]: &[Duration; 2]| *strict < *kind * 3;
        assert!(
            measured.iter().any(is_one_segment),
            "{world:?}: {measured:?}"
        );
    }
}
