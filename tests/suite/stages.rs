//! What the audit of the built component says of the time of a decision.

use std::time::Duration;

use keylet_cli::built_in;
use keylet_e2e::processes::{redis, wait_for};
use keylet_e2e::upstream::{Reply, Upstream};
use keylet_host::{AsSpin, AuditTo, Kept, Options, Provided, Server, World};
use serde_json::{Value, json};

use crate::callback::{device, login, option};
use crate::silent_store::Gate;
use crate::support::{WORLDS, fixture, post_spc_with, spc, variables_with};
use crate::upstream::{SPINS, policies, post};

/// How long what is slow takes, in microseconds: more than everything else together, on a busy machine too.
const SLOW: u64 = 1_200_000;

/// Less than all of it, since the slow one may begin before it is waited for.
const WAITED: u64 = 800_000;

/// What the other stages take at most.
const QUICK: u64 = 500_000;

/// A server whose audit can be read.
struct Audited {
    server: Server,
    audit: Kept,
}

impl Audited {
    fn start(world: World, variables: Provided, options: Options) -> Self {
        let audit = Kept::default();
        let options = Options {
            audit: AuditTo::Memory(audit.clone()),
            ..options
        };
        let mut application = built_in(world, variables).unwrap();
        application.manifest.component.allowed_outbound_hosts =
            vec!["http://127.0.0.1:*".to_owned()];
        let server = Server::start(application, &options).unwrap();
        Self { server, audit }
    }

    /// The records of so many decisions.
    fn records(&self, number: usize) -> Vec<Value> {
        let mut written = Vec::new();
        let lines = std::cell::RefCell::new(&mut written);
        wait_for(|| {
            let mut lines = lines.borrow_mut();
            lines.extend(self.audit.take());
            lines.iter().filter(|byte| **byte == b'\n').count() >= number
        });
        let text = String::from_utf8(written).unwrap();
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
        records.collect()
    }

    fn stages(&self) -> Stages {
        Stages::of(&self.records(1)[0])
    }
}

/// The stages of a record, which must have no other member.
#[derive(Debug)]
struct Stages {
    variables: Option<u64>,
    store: Option<u64>,
    requests: Option<u64>,
    total: u64,
}

impl Stages {
    fn of(record: &Value) -> Self {
        let stages = record["stages"].as_object().unwrap();
        let stage = |name: &str| stages.get(name).map(|number| number.as_u64().unwrap());
        let stages_there = ["variables", "store", "requests", "total"].map(stage);
        let named = stages_there.iter().flatten().count();
        assert_eq!(named, stages.len(), "{record}");
        let [variables, store, requests, total] = stages_there;
        let total = total.unwrap();
        assert!(
            [variables, store, requests]
                .into_iter()
                .flatten()
                .all(|stage| stage <= total),
            "{record}"
        );
        Self {
            variables,
            store,
            requests,
            total,
        }
    }
}

/// A host of no slowness of its own.
fn kind() -> Options {
    Options {
        as_spin: AsSpin {
            waits_for_store: true,
            ..AsSpin::default()
        },
        ..Options::quiet()
    }
}

fn ok(server: &Server, token: &str) {
    let answer = post_spc_with(server, &fixture("spc/v1.bin"), token);
    assert_eq!(answer.status, 200, "{:?}", answer.header("x-keylet-code"));
}

#[test]
fn a_stage_that_did_not_happen_is_absent_and_a_refusal_has_its_time_too() {
    for world in WORLDS {
        let audited = Audited::start(world, variables_with(&[]), kind());
        ok(&audited.server, "hs256");
        let stages = audited.stages();
        assert!(stages.variables.is_some(), "{world:?}: {stages:?}");
        assert_eq!((stages.store, stages.requests), (None, None), "{world:?}");
        assert!((1..QUICK).contains(&stages.total), "{world:?}: {stages:?}");
        let answer = post_spc_with(&audited.server, &fixture("spc/v1.bin"), "expired");
        assert_eq!(answer.status, 401);
        let stages = audited.stages();
        assert!((1..QUICK).contains(&stages.total), "{world:?}: {stages:?}");
        audited.server.stop();
    }
}

#[test]
fn slow_variables_show_up_as_variables_and_nowhere_else() {
    for (world, one_after_the_other) in [(World::Wasip2, 14), (World::Wasip3, 2)] {
        let each = Duration::from_millis(100);
        let options = Options {
            as_spin: AsSpin {
                variable_takes: each,
                ..AsSpin::default()
            },
            ..kind()
        };
        let audited = Audited::start(world, variables_with(&[]), options);
        ok(&audited.server, "million-uses");
        let stages = audited.stages();
        let least = u64::try_from(each.as_micros()).unwrap() * one_after_the_other;
        assert!(stages.variables.unwrap() >= least, "{world:?}: {stages:?}");
        assert!(stages.store.unwrap() < QUICK, "{world:?}: {stages:?}");
        assert_eq!(stages.requests, None);
        // Those that are read at the same time count once.
        assert!(
            stages.total - stages.variables.unwrap() < QUICK,
            "{world:?}: {stages:?}"
        );
        audited.server.stop();
    }
}

#[test]
fn a_slow_store_shows_up_as_the_store_and_nowhere_else() {
    let Some((_process, redis)) = redis("stages") else {
        return;
    };
    for world in SPINS {
        let gate = Gate::before(&redis);
        let options = Options {
            store: gate.store(),
            ..kind()
        };
        let audited = Audited::start(world, variables_with(&[]), options);
        std::thread::scope(|scope| {
            let licence = scope.spawn(|| ok(&audited.server, "million-uses"));
            std::thread::sleep(Duration::from_micros(SLOW));
            gate.open();
            licence.join().unwrap();
        });
        let stages = audited.stages();
        assert!(stages.store.unwrap() >= WAITED, "{world:?}: {stages:?}");
        assert!(stages.variables.unwrap() < QUICK, "{world:?}: {stages:?}");
        assert_eq!(stages.requests, None, "{world:?}");
        audited.server.stop();
    }
}

#[test]
fn a_slow_back_end_shows_up_as_requests_of_its_own_licence_alone() {
    for world in SPINS {
        let back_end = Upstream::start(|_| {
            std::thread::sleep(Duration::from_micros(SLOW));
            Reply::json(&json!({"terms": {}}))
        });
        let variables = policies(&json!([option(&back_end.url("/"))]));
        let options = Options {
            // On WASI 0.3 one instance answers all of them.
            threads: Some(1),
            ..kind()
        };
        let audited = Audited::start(world, variables, options);
        let (asked, _) = spc(&device("film"));
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| {
                let answer = post(&audited.server, "/fairplay", Some(&login()), &asked);
                assert_eq!(answer.status, 200, "{answer:?}");
            });
            std::thread::sleep(Duration::from_micros(SLOW / 4));
            for _ in 0..3 {
                // Refused before the back end is asked.
                let answer = post_spc_with(&audited.server, &asked, "expired");
                assert_eq!(answer.status, 401);
            }
            slow.join().unwrap();
        });
        let mut records = audited.records(4);
        let slow = Stages::of(&records.pop().unwrap());
        assert!(slow.requests.unwrap() >= WAITED, "{world:?}: {slow:?}");
        assert!(slow.variables.unwrap() < QUICK, "{world:?}: {slow:?}");
        assert_eq!(slow.store, None, "{world:?}");
        for record in records {
            let quick = Stages::of(&record);
            assert_eq!((quick.requests, quick.store), (None, None), "{world:?}");
            assert!(quick.total < QUICK, "{world:?}: {quick:?}");
        }
        audited.server.stop();
    }
}
