//! Attacks on `max_streams`: scripts that cycle, share session tokens, say AirPlay and race. What counts is the
//! devices that hold a running lease, by their CKCs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use keylet::fairplay::tag::Tag;
use keylet_cli::device::SpcOptions;
use keylet_e2e::leases::Leases;
use keylet_e2e::processes::{Directory, redis};
use keylet_host::{Server, StoreChoice};
use serde_json::json;

use crate::sessions::{
    FIRST, Ours, STOPPED, SessionReply, Sessions, deployment, lease, player, serve, streams, token,
    token_of,
};
use crate::support::Chance;
use crate::upstream::{Deployment, SPINS};

const AIRPLAY: u64 = 0xabb0_256a_3184_3974;
const STRICT: (&str, &str) = ("stream_handovers", "0");

/// A device that says that it shows what another one sends.
fn television(number: u8) -> SpcOptions {
    player(number, "movie", FIRST).with(Tag::STREAMING_INDICATOR, AIRPLAY.to_be_bytes())
}

fn licence(
    server: &impl Sessions,
    token: &str,
    session: Option<&Ours>,
    device: &SpcOptions,
) -> (SessionReply, Option<u32>) {
    let (reply, licence) = server.play(token, session, device);
    let seconds = licence.is_some().then(|| lease(licence));
    (
        reply,
        seconds.map(|seconds| seconds.expect("a licence of a stream has a lease")),
    )
}

#[test]
fn devices_that_open_play_and_end_in_turns_do_not_play_without_a_gap() {
    let deployment = deployment(&[STRICT]);
    let token = token(&streams(1));
    let mut leases: BTreeMap<u8, u64> = BTreeMap::new();
    for round in 0..40_u8 {
        let number = round % 8;
        let opened = deployment.open(&token);
        if opened.status == 200 {
            let session = opened.session();
            let (_, seconds) = licence(
                &deployment,
                &token,
                Some(&session),
                &player(number, "movie", FIRST),
            );
            let now = deployment.platform.now.get();
            leases.insert(number, now + u64::from(seconds.unwrap()));
            assert_eq!(deployment.end(&session).status, 204);
        } else {
            assert_eq!(opened.refusal(), "streams_exceeded");
        }
        let now = deployment.platform.now.get();
        let running = leases.values().filter(|until| **until > now).count();
        assert!(running <= 1, "{running} devices hold a lease: {leases:?}");
        deployment.wait(10);
    }
    assert!(leases.len() > 1, "others have their turn: {leases:?}");
}

#[test]
fn one_session_token_serves_one_device_and_one_television() {
    let deployment = deployment(&[STRICT]);
    let token = token(&streams(1));
    let session = RefCell::new(deployment.open(&token).session());
    let play = |device: &SpcOptions| {
        let held = session.borrow().clone();
        let (reply, _) = licence(&deployment, &token, Some(&held), device);
        if let Some(next) = reply.headers.get("keylet-session") {
            session.borrow_mut().token = next.to_str().unwrap().to_owned();
        }
        reply.refusal().to_owned()
    };
    assert_eq!(play(&player(1, "movie", FIRST)), "");
    for number in 2..10 {
        assert_eq!(play(&player(number, "movie", FIRST)), "session_device");
    }
    assert_eq!(play(&television(20)), "");
    for number in 21..30 {
        assert_eq!(play(&television(number)), "session_device");
    }
    // Both are remembered, and go on.
    for _ in 0..5 {
        deployment.wait(60);
        assert_eq!(play(&television(20)), "");
        assert_eq!(play(&player(1, "movie", FIRST)), "");
    }
    // Nor does a new session of the same device bring another television.
    assert_eq!(deployment.end(&session.borrow()).status, 204);
    let (reply, _) = licence(&deployment, &token, None, &player(1, "movie", FIRST));
    assert_eq!(reply.status, 200, "{:?}", reply.code);
    let copy = SpcOptions {
        hu: Some([40; 20]),
        ..player(1, "movie", FIRST)
    };
    let (reply, _) = licence(&deployment, &token, None, &copy);
    assert_eq!(reply.refusal(), "streams_exceeded");
}

#[test]
fn devices_that_say_one_playback_session_are_two_at_most() {
    let deployment = deployment(&[STRICT]);
    let token = token(&streams(1));
    let played = (1..12_u8).filter(|number| {
        let device = SpcOptions {
            hu: Some([*number; 20]),
            ..player(1, "movie", FIRST)
        };
        licence(&deployment, &token, None, &device).0.status == 200
    });
    assert_eq!(played.count(), 2);
}

#[test]
fn of_sixteen_devices_at_once_with_one_session_token_one_gets_a_key() {
    for world in SPINS {
        let server = serve(world, &StoreChoice::Memory, &[STRICT]);
        for round in 0..10 {
            let token = token_of(&format!("viewer-{round}"), &streams(1));
            let session = server.open(&token).session();
            let played = AtomicUsize::new(0);
            let barrier = Barrier::new(16);
            std::thread::scope(|scope| {
                for number in 0..16_u8 {
                    let (server, token, session) = (&server, &token, &session);
                    let (played, barrier) = (&played, &barrier);
                    scope.spawn(move || {
                        let device = player(number + 1, "movie", FIRST);
                        barrier.wait();
                        let (reply, _) = licence(server, token, Some(session), &device);
                        match reply.status {
                            200 => drop(played.fetch_add(1, Ordering::Relaxed)),
                            _ => assert_eq!(reply.refusal(), "session_device"),
                        }
                    });
                }
            });
            assert!(played.into_inner() <= 1, "{world:?}, round {round}");
        }
        server.stop();
    }
}

#[test]
fn a_player_that_ends_its_session_begins_the_next_one_at_once() {
    let deployment = deployment(&[STRICT]);
    let token = token(&streams(1));
    let device = player(1, "movie", FIRST);
    let mut session = deployment.open_as(&token, "tablet").session();
    for _ in 0..30 {
        let (reply, _) = licence(&deployment, &token, Some(&session), &device);
        assert_eq!(reply.status, 200, "{:?}", reply.code);
        assert_eq!(deployment.end(&session).status, 204);
        // By its name, or with the last session token.
        assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("keylet-session", session.token.as_str()),
        ];
        let next = deployment
            .with("POST", "/sessions", &headers, b"")
            .session();
        assert_ne!(next.id, session.id);
        // It is the same device's.
        let other = player(2, "movie", FIRST);
        let (reply, _) = licence(&deployment, &token, Some(&next), &other);
        assert_eq!(reply.refusal(), "session_device");
        session = next;
        deployment.wait(20);
    }
    let keys = deployment.platform.store.borrow().as_ref().unwrap().len();
    assert!(keys < 40, "{keys}");
}

#[test]
fn a_viewer_goes_on_with_another_device_once_in_five_minutes() {
    let handover = |deployment: &Deployment, from: u8, to: u8| {
        let token = token(&streams(1));
        let (reply, _) = licence(deployment, &token, None, &player(from, "movie", STOPPED));
        assert_eq!(reply.status, 204);
        let (reply, _) = licence(deployment, &token, None, &player(to, "movie", FIRST));
        reply.refusal().to_owned()
    };
    for allowed in [0_u8, 1, 3] {
        let deployment = deployment(&[("stream_handovers", &allowed.to_string())]);
        let (reply, _) = licence(
            &deployment,
            &token(&streams(1)),
            None,
            &player(1, "movie", FIRST),
        );
        assert_eq!(reply.status, 200);
        for number in 1..=allowed {
            assert_eq!(handover(&deployment, number, number + 1), "", "{allowed}");
        }
        let last = allowed + 1;
        for _ in 0..5 {
            let refused = handover(&deployment, last, last + 1);
            assert_eq!(refused, "streams_exceeded", "{allowed}");
        }
        // When the lease is over, anybody may.
        deployment.wait(120);
        let token = token(&streams(1));
        let (reply, _) = licence(&deployment, &token, None, &player(90, "movie", FIRST));
        assert_eq!(reply.status, 200);
        // Ten minutes later there are as many again.
        deployment.wait(600);
        let (reply, _) = licence(&deployment, &token, None, &player(91, "movie", FIRST));
        assert_eq!(reply.status, 200);
        let next = handover(&deployment, 91, 92);
        assert_eq!(next.is_empty(), allowed > 0, "{allowed}: {next}");
    }
}

#[test]
fn the_audit_says_until_when_a_device_plays_whose_session_was_ended() {
    let deployment = deployment(&[]);
    let first = token(&json!({"max_streams": 1, "streams_full": "end_oldest"}));
    let (reply, _) = licence(&deployment, &first, None, &player(1, "movie", FIRST));
    assert_eq!(reply.status, 200);
    let id = deployment.audit()["session"]["id"].clone();
    let (reply, _) = licence(&deployment, &first, None, &player(2, "movie", FIRST));
    assert_eq!(reply.status, 200);
    let now = deployment.platform.now.get();
    assert_eq!(
        deployment.audit()["session"]["replaced"],
        json!({"id": id, "plays_until": now + 115})
    );
    let ended = deployment.as_operator("DELETE", "/sessions?subject=viewer-1");
    assert_eq!(ended.json()["ended"], 1);
    assert_eq!(
        deployment.audit()["ended"],
        json!({"count": 1, "plays_until": now + 115})
    );
    // The operator's end frees the slot at once.
    let (reply, _) = licence(
        &deployment,
        &token(&streams(1)),
        None,
        &player(3, "movie", FIRST),
    );
    assert_eq!(reply.status, 200, "{:?}", reply.code);
}

/// The number of the first television, less one.
const TELEVISIONS: u8 = 100;

/// 64 devices of one viewer who may have three streams: in each round each makes a move that some script may make.
fn storm(servers: &[Server], handovers: usize, rounds: usize) {
    const DEVICES: u8 = 64;
    const LIMIT: usize = 3;
    const LONGEST: Duration = Duration::from_secs(90);
    let token = token(&streams(3));
    let is_over = AtomicBool::new(false);
    let leases = Leases::begin();
    let shared: Mutex<Vec<Ours>> = Mutex::default();
    let barrier = Barrier::new(DEVICES.into());
    let (given, ended, most) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for number in 1..=DEVICES {
            let (token, leases, shared, barrier) = (&token, &leases, &shared, &barrier);
            let (given, ended, most, is_over) = (&given, &ended, &most, &is_over);
            scope.spawn(move || {
                let mut chance = Chance(u64::from(number));
                let mut pick = |below| usize::try_from(chance.below(below)).unwrap();
                for round in 0.. {
                    if barrier.wait().is_leader() {
                        // Time for periods to pass. There are more rounds where few licences were given.
                        std::thread::sleep(Duration::from_millis(150));
                        let has_moved = given.load(Ordering::Relaxed) > LIMIT;
                        let is_late = leases.elapsed() > LONGEST;
                        is_over.store(round >= rounds && (has_moved || is_late), Ordering::Relaxed);
                    }
                    barrier.wait();
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let server = &servers[pick(1 << 20) % servers.len()];
                    let session = {
                        let shared = shared.lock().unwrap();
                        match shared.len() {
                            0 => None,
                            length => Some(shared[pick(1 << 20) % length].clone()),
                        }
                    };
                    let asked = leases.elapsed();
                    let device = player(number, "movie", FIRST);
                    let mut device_number = number;
                    let (reply, seconds) = match (if round == 0 { 0 } else { pick(12) }, session) {
                        (0, _) => {
                            let opened = server.open(token);
                            if opened.status == 200 {
                                let mut shared = shared.lock().unwrap();
                                shared.push(opened.session());
                                if shared.len() > 4 {
                                    shared.remove(0);
                                }
                            }
                            continue;
                        }
                        (1, _) => {
                            let stopped = player(number, "movie", STOPPED);
                            assert!(server.play(token, None, &stopped).0.status < 500);
                            continue;
                        }
                        (2, Some(session)) => {
                            assert!(server.end(&session).status < 500);
                            ended.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        (4, Some(session)) => {
                            device_number += TELEVISIONS;
                            let device = television(device_number);
                            licence(server, token, Some(&session), &device)
                        }
                        (5 | 6, Some(session)) => licence(server, token, Some(&session), &device),
                        (7, Some(session)) => {
                            let heartbeat = server.heartbeat(&session);
                            assert!(heartbeat.status < 500, "{:?}", heartbeat.code);
                            continue;
                        }
                        _ => licence(server, token, None, &device),
                    };
                    match seconds {
                        Some(seconds) => {
                            given.fetch_add(1, Ordering::Relaxed);
                            let held = leases.hold(device_number, asked, seconds);
                            let is_television = |device: &&u8| **device > TELEVISIONS;
                            let televisions = held.iter().filter(is_television).count();
                            let (all, devices) = (held.len(), held.len() - televisions);
                            most.fetch_max(devices, Ordering::Relaxed);
                            // Only a television is a second device of a stream.
                            let allowed = LIMIT + handovers;
                            assert!(devices <= allowed, "{devices} devices hold a lease");
                            assert!(all <= 2 * allowed, "{all} devices hold a lease");
                        }
                        None => assert!(reply.status < 500, "{:?}", reply.code),
                    }
                }
            });
        }
    });
    let (given, ended) = (given.into_inner(), ended.into_inner());
    println!(
        "{rounds} rounds, {handovers} hand-overs: {given} licences, {ended} ends, {} devices at most",
        most.into_inner()
    );
    assert!(given > LIMIT && ended > 0, "{given} licences, {ended} ends");
}

fn rounds() -> usize {
    std::env::var("KEYLET_STORM_ROUNDS").map_or(40, |rounds| rounds.parse().unwrap())
}

#[test]
fn of_64_devices_no_more_hold_a_lease_than_are_allowed() {
    let directory = Directory::new("streams");
    for (world, handovers) in SPINS.into_iter().zip([0, 1]) {
        let store = StoreChoice::File(directory.file(&format!("store-{handovers}")));
        let changes = [
            ("session_period", "4"),
            ("stream_handovers", if handovers == 0 { "0" } else { "1" }),
        ];
        let server = serve(world, &store, &changes);
        storm(std::slice::from_ref(&server), handovers, rounds());
        server.stop();
    }
}

#[test]
fn nor_do_more_on_two_hosts_with_one_redis() {
    let Some((_redis, store)) = redis("nor_do_more_hold_a_lease") else {
        return;
    };
    for handovers in [0, 1] {
        let changes = [
            ("session_period", "4"),
            ("stream_handovers", if handovers == 0 { "0" } else { "1" }),
        ];
        let hosts = SPINS.map(|world| serve(world, &store, &changes));
        storm(&hosts, handovers, rounds());
        hosts.into_iter().for_each(Server::stop);
        // The next storm is another viewer's day: leases of this one are over.
        std::thread::sleep(Duration::from_secs(9));
    }
}
