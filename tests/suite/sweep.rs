//! A sweep of the store: it deletes what is over, and changes no answer.

use keylet::platform::Error;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::sessions::{
    FIRST, Ours, SessionReply, Sessions, ends_soon, player, sessions, streams, token_of,
};
use crate::support::Native;
use crate::upstream::Deployment;

const DAY: u64 = 86_400;

/// Sweeps in steps of a size, and returns what the steps deleted of a family, and how many there were.
fn sweep(deployment: &Deployment, limit: u32, family: &str) -> (u64, u32) {
    let (mut deleted, mut steps) = (0, 0);
    let mut after = String::new();
    loop {
        let path = format!("/store/sweep?limit={limit}{after}");
        let reply = deployment.as_operator("POST", &path);
        assert_eq!(reply.status, 200, "{:?}", reply.code);
        let step = reply.json();
        assert_eq!(step["unknown"], 0);
        deleted += step["deleted"][family].as_u64().unwrap_or_default();
        steps += 1;
        match step["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('/', "%2F")),
            None => return (deleted, steps),
        }
    }
}

fn size(deployment: &Deployment) -> usize {
    deployment.platform.store.borrow().as_ref().unwrap().len()
}

/// What a viewer has in each of two deployments.
#[derive(Default)]
struct Viewer {
    held: [Option<Ours>; 2],
}

#[test]
fn a_sweep_at_any_moment_changes_no_answer() {
    let mut saved = 0;
    for seed in 0..6 {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut draw = |below: u32| random.next_u32() % below;
        let both = [0, 1].map(|_| Deployment::new(sessions(&[])));
        let now = both[0].platform.now.get();
        let mut counted = ends_soon(0, now + 3_600);
        let mut viewers: [Viewer; 3] = Default::default();
        for turn in 0..150 {
            let wait = match draw(12) {
                0..5 => draw(40),
                5..9 => 30 + draw(60),
                9 => draw(5_000),
                10 => draw(100_000),
                _ => draw(900_000),
            };
            both.iter().for_each(|one| one.wait(wait.into()));
            let now = both[0].platform.now.get();
            let number = draw(3);
            let viewer = &mut viewers[usize::try_from(number).unwrap()];
            let token = token_of(&format!("viewer-{number}"), &streams(1));
            let act = draw(8);
            let device = ["tv", "phone"][usize::try_from(draw(2)).unwrap()];
            let hu = u8::try_from(1 + draw(2)).unwrap();
            if act == 7 {
                counted = ends_soon(turn, now + u64::from(draw(200_000)) + 10);
            }
            let ask = |one: &Deployment, held: &Option<Ours>| -> Option<SessionReply> {
                match act {
                    0 | 1 => Some(one.open_as(&token, device)),
                    2..5 => held.as_ref().map(|held| one.heartbeat(held)),
                    5 => held.as_ref().map(|held| one.end(held)),
                    _ => Some(one.play(&counted, None, &player(hu, "movie", FIRST)).0),
                }
            };
            let replies = [0, 1].map(|at| ask(&both[at], &viewer.held[at]));
            let told = |reply: &Option<SessionReply>| {
                let reply = reply.as_ref();
                reply.map(|reply| (reply.status, reply.code.clone()))
            };
            assert_eq!(
                told(&replies[0]),
                told(&replies[1]),
                "seed {seed}, turn {turn}, act {act}"
            );
            for (held, reply) in viewer.held.iter_mut().zip(&replies) {
                if let (0..5, Some(reply)) = (act, reply)
                    && reply.status == 200
                {
                    *held = Some(reply.session());
                }
            }
            sweep(&both[1], 1 + draw(9), "");
        }
        let [plain, swept] = both.map(|one| size(&one));
        assert!(swept <= plain);
        saved += plain - swept;
    }
    assert!(
        saved > 20,
        "sweeps that delete nothing show nothing: {saved}"
    );
}

#[test]
fn the_store_is_back_at_its_start_when_all_is_over() {
    let deployment = Deployment::new(sessions(&[]));
    let now = deployment.platform.now.get();
    for number in 0..20 {
        let token = token_of(&format!("viewer-{number}"), &streams(1));
        let held = deployment.open_as(&token, "tv").session();
        deployment.wait(60);
        let held = deployment.heartbeat(&held).session();
        if number % 2 == 0 {
            deployment.end(&held);
        }
    }
    for number in 1..3 {
        let counted = ends_soon(number.into(), now + 3_600);
        let device = player(number, "movie", FIRST);
        assert_eq!(deployment.play(&counted, None, &device).0.status, 200);
    }
    let full = size(&deployment);
    assert_eq!(
        sweep(&deployment, 1_000, "slot"),
        (0, 1),
        "all of it is alive"
    );
    assert_eq!(size(&deployment), full);
    deployment.wait(10 * DAY);
    let path = "/store/sweep?dry_run=true";
    let dry = deployment.as_operator("POST", path).json();
    assert_eq!(
        (&dry["deleted"]["session"], &dry["deleted"]["use"]),
        (&json!(20), &json!(2))
    );
    assert_eq!(size(&deployment), full, "a dry run deletes nothing");
    let (sessions, steps) = sweep(&deployment, 7, "session");
    assert_eq!(sessions, 20);
    assert!(steps > 5, "{steps}");
    assert_eq!(size(&deployment), 0);
    let audit = deployment.audit();
    assert_eq!(
        (&audit["drm"], &audit["action"]),
        (&json!("store"), &json!("sweep"))
    );
    assert!(audit["deleted"].is_object());
}

#[test]
fn only_the_operator_sweeps_and_a_store_that_fails_is_named() {
    let deployment = Deployment::new(sessions(&[]));
    let asked = deployment.with(
        "POST",
        "/store/sweep",
        &[("authorization", "Bearer x")],
        b"",
    );
    assert_eq!((asked.status, asked.refusal()), (401, "operator_token"));
    let nobody = Deployment::new(sessions(&[("operator_token", "")]));
    assert_eq!(
        nobody.as_operator("POST", "/store/sweep").refusal(),
        "route_not_found"
    );
    for query in ["after=x", "limit=many", "dry_run=perhaps"] {
        let path = format!("/store/sweep?{query}");
        assert_eq!(
            deployment.as_operator("POST", &path).refusal(),
            "request_malformed",
            "{query}"
        );
    }
    let broken = Deployment::on(Native::with_broken_store(sessions(&[])));
    let refused = broken.as_operator("POST", "/store/sweep");
    assert_eq!(
        (refused.status, refused.refusal()),
        (503, "store_unavailable")
    );
    *broken.platform.store.borrow_mut() = Err(Error::StoreUnsupported);
    assert_eq!(
        broken.as_operator("POST", "/store/sweep").refusal(),
        "store_unsupported"
    );
    let problem: Value = refused.json();
    assert_eq!(
        problem.get("detail"),
        None,
        "what the store says is the log's"
    );
}
