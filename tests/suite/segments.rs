//! Head and body of an answer leave in one segment. Otherwise a host whose connections do not have `TCP_NODELAY`, as
//! Spin's, waits for the client's delayed acknowledgement between the two: 40 ms.

use std::net::SocketAddr;
use std::time::Duration;

use keylet_cli::built_in;
use keylet_cli::fixtures::variables;
use keylet_host::{AsSpin, Options, Server};

use crate::support::WORLDS;
use keylet_e2e::kept;

/// The licences of a measurement. The first ones of a connection are acknowledged at once, and do not count.
const LICENCES: usize = 100;
const FIRST: usize = 30;

/// The time of a licence on a kept connection: 95 of 100 take this at most.
pub(crate) fn p95(address: SocketAddr) -> Duration {
    let request = kept::request();
    let mut stream = kept::connect(address);
    let mut times: Vec<Duration> = (0..FIRST + LICENCES)
        .map(|_| kept::licence(&mut stream, &request))
        .skip(FIRST)
        .collect();
    times.sort();
    times[LICENCES * 95 / 100]
}

/// How often it is measured: beside other tests, a thread may be late by chance.
const ATTEMPTS: usize = 5;

#[test]
fn an_answer_leaves_in_one_segment_in_every_world() {
    for world in WORLDS {
        let measure = || {
            [false, true].map(|delays_segments| {
                let application = built_in(world, variables()).unwrap();
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
