//! Slots, by themselves: many instances at a time whose steps come in any order, whose clocks differ,
//! and which die at any of them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use keylet::entitlement::StreamsFull;
use keylet::platform::{Error, Platform};
use keylet::server_secret::ServerSecret;
use keylet::session::{self, ActiveSession, Handovers, Opening, Period, Sessions, Ticket};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::support::{Chance, run, turn};

/// Seconds of a period, and how far clocks are apart at most, in milliseconds.
const PERIOD: u64 = 60;
const SKEW: u64 = 4_000;

/// What all instances share: a store, and the time as it is.
#[derive(Default)]
struct World {
    store: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Milliseconds since 1970.
    time: Cell<u64>,
    /// Whether operations take turns.
    in_turns: Cell<bool>,
    /// Immediate hand-overs in five minutes.
    handovers: Cell<u64>,
}

impl World {
    /// An instance whose clock is so many milliseconds ahead.
    fn instance(self: &Rc<Self>, ahead: u64) -> Instance {
        Instance {
            world: Rc::clone(self),
            ahead,
        }
    }

    fn has_ended(&self, id: &str) -> bool {
        let store = self.store.borrow();
        let ends = store.keys().filter(|key| key.starts_with("session-end/"));
        ends.into_iter().any(|key| key.ends_with(id))
    }
}

/// An instance: each of its operations waits for its turn before it is done, and after.
#[derive(Clone)]
struct Instance {
    world: Rc<World>,
    /// How far its clock is ahead, in milliseconds.
    ahead: u64,
}

impl Instance {
    async fn act<T>(
        &self,
        act: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T,
    ) -> Result<T, Error> {
        let in_turns = async || {
            if self.world.in_turns.get() {
                turn().await;
            }
        };
        in_turns().await;
        let result = act(&mut self.world.store.borrow_mut());
        in_turns().await;
        Ok(result)
    }
}

impl Platform for Instance {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let value = match name {
            "server_secret" => "what nobody but this server knows".to_owned(),
            "session_period" => PERIOD.to_string(),
            "stream_handovers" => self.world.handovers.get().to_string(),
            _ => return Ok(None),
        };
        Ok(Some(Zeroizing::new(value)))
    }

    fn now(&self) -> u64 {
        (self.world.time.get() + self.ahead) / 1_000
    }

    fn fill_random(&self, _: &mut [u8]) {}

    fn log(&self, _: &str) {}

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.act(|store| store.get(key).cloned()).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.act(|store| drop(store.insert(key.to_owned(), value.to_vec())))
            .await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.act(|store| drop(store.remove(key))).await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.act(|store| store.keys().cloned().collect()).await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.act(|store| {
            let value = store.entry(key.to_owned()).or_insert_with(|| vec![0; 8]);
            let sum = i64::from_le_bytes(value.as_slice().try_into().unwrap()) + delta;
            *value = sum.to_le_bytes().to_vec();
            sum
        })
        .await
    }

    async fn sleep(&self, _: std::time::Duration) {}

    async fn send(&self, _: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        panic!("slots ask nobody")
    }
}

/// What a player asks for.
#[derive(Clone)]
enum Wish {
    /// A session, and with `has_device` the licence of a device.
    Open {
        owner: String,
        has_device: bool,
        full: StreamsFull,
    },
    Beat(Ticket),
    /// The licence of a device in a session.
    Play(Ticket, String),
    End(Ticket),
    /// A device without a session of its own stops.
    Stop(String),
    EndAll,
}

type Outcome = Result<Option<ActiveSession>, session::Error>;

/// A request on its way.
struct Task {
    player: usize,
    instance: Instance,
    wish: Wish,
    future: Pin<Box<dyn Future<Output = Outcome>>>,
}

async fn ask(instance: Instance, wish: Wish, limit: u32) -> Outcome {
    let secret = ServerSecret::load(&instance).await.unwrap().unwrap();
    let period = Period::load(&instance).await.unwrap();
    let handovers = Handovers::load(&instance).await.unwrap();
    let sessions = Sessions::new(&instance, &secret, period, handovers);
    match wish {
        Wish::Open {
            owner,
            has_device,
            full,
        } => {
            let opening = Opening {
                subject: "viewer",
                owner: &owner,
                device: has_device.then_some(owner.as_str()),
                playback: None,
                token: "",
                limit,
                full,
                is_renewal: false,
            };
            sessions.open(&opening).await.map(Some)
        }
        Wish::Beat(ticket) => sessions.heartbeat(&ticket).await.map(Some),
        Wish::Play(ticket, device) => {
            let played = sessions.heartbeat_from_device(&ticket, &device, None, false);
            played.await.map(Some)
        }
        Wish::End(ticket) => sessions.end(&ticket).await.map(|()| None),
        Wish::Stop(device) => {
            let stopped = sessions.end_of_device("viewer", &device, limit);
            stopped.await.map(|()| None)
        }
        Wish::EndAll => sessions.end_of_subject("viewer", None).await.map(|_| None),
    }
}

/// A session that a player knows.
#[derive(Clone)]
struct Playing {
    ticket: Ticket,
    /// In milliseconds, by the time as it is.
    until: u64,
}

/// What came of a storm.
#[derive(Debug, Default)]
struct Counts {
    opened: usize,
    beaten: usize,
    refused: usize,
    lapsed: usize,
    ended: usize,
    died: usize,
}

/// A world at some time, whose operations take turns.
fn begin(seed: u64, handovers: u64) -> (Chance, Rc<World>, Period) {
    let mut chance = Chance(seed);
    let world = Rc::new(World::default());
    world
        .time
        .set(1_800_000_000_000 + chance.below(PERIOD * 1_000));
    world.in_turns.set(true);
    world.handovers.set(handovers);
    let period = run(Period::load(&world.instance(0))).unwrap();
    (chance, world, period)
}

/// Sends a request off at an instance.
fn send(world: &Rc<World>, chance: &mut Chance, player: usize, wish: Wish, limit: u32) -> Task {
    let instance = world.instance(chance.below(SKEW + 1));
    Task {
        player,
        instance: instance.clone(),
        wish: wish.clone(),
        future: Box::pin(ask(instance, wish, limit)),
    }
}

/// Lets one task make a step, or its instance die. Returns a task that is over, and its outcome.
fn step_of_one(
    tasks: &mut Vec<Task>,
    chance: &mut Chance,
    counts: &mut Counts,
) -> Option<(Task, Outcome)> {
    let number = chance.pick(tasks.len());
    if chance.below(500) == 0 {
        drop(tasks.swap_remove(number));
        counts.died += 1;
        return None;
    }
    let context = &mut Context::from_waker(Waker::noop());
    match tasks[number].future.as_mut().poll(context) {
        Poll::Ready(outcome) => Some((tasks.swap_remove(number), outcome)),
        Poll::Pending => None,
    }
}

fn storm(seed: u64, steps: usize, full: StreamsFull, counts: &mut Counts) {
    const PLAYERS: usize = 6;
    const LIMIT: u32 = 2;
    let (mut chance, world, period) = begin(seed, 0);
    let mut playing: Vec<Option<Playing>> = vec![None; PLAYERS];
    let mut tasks: Vec<Task> = Vec::new();

    for step in 0..steps {
        // Most operations are quick, and some take very long.
        let passed = match chance.below(1_000) {
            0 => chance.below(PERIOD * 1_000),
            1..6 => chance.below(8_000),
            _ if tasks.is_empty() => chance.below(15_000),
            _ => chance.below(40),
        };
        world.time.set(world.time.get() + passed);

        if tasks.is_empty() || chance.below(12) == 0 {
            let player = chance.pick(PLAYERS);
            let wish = match (&playing[player], chance.below(12)) {
                (_, 0) if chance.below(20) == 0 => Wish::EndAll,
                (Some(held), 0..2) => {
                    let ticket = held.ticket.clone();
                    // Whoever tears down has stopped.
                    playing[player] = None;
                    Wish::End(ticket)
                }
                (Some(_), 2) => {
                    // It vanishes, and another player of its kind comes.
                    if playing[player]
                        .as_ref()
                        .is_some_and(|held| held.until <= world.time.get())
                    {
                        playing[player] = None;
                    }
                    continue;
                }
                (Some(held), _) => Wish::Beat(held.ticket.clone()),
                (None, chosen) => Wish::Open {
                    // Some come with a name of their own, and so ask twice for one session.
                    owner: if chosen < 6 {
                        format!("player-{player}")
                    } else {
                        format!("{player}-{step}")
                    },
                    has_device: false,
                    full,
                },
            };
            tasks.push(send(&world, &mut chance, player, wish, LIMIT));
        }

        let Some((task, outcome)) = step_of_one(&mut tasks, &mut chance, counts) else {
            continue;
        };
        let Task {
            player,
            instance,
            wish,
            ..
        } = task;
        match (outcome, wish) {
            (Ok(Some(held)), wish) => {
                match wish {
                    Wish::Open { .. } => counts.opened += 1,
                    _ => counts.beaten += 1,
                }
                let left = period
                    .plays_until(held.ticket.renewed)
                    .saturating_sub(instance.now());
                let until = world.time.get() + left * 1_000;
                let is_same = |playing: &Playing| playing.ticket.id == held.ticket.id;
                // An answer that overtakes another takes nothing back.
                let until = playing[player]
                    .as_ref()
                    .filter(|p| is_same(p))
                    .map_or(until, |p| p.until.max(until));
                let has_stopped = matches!(&wish_of(&tasks, player), Some(Wish::End(ticket)) if ticket.id == held.ticket.id);
                if !has_stopped {
                    playing[player] = Some(Playing {
                        ticket: held.ticket,
                        until,
                    });
                }
            }
            (Ok(None), _) => counts.ended += 1,
            (Err(session::Error::StreamsExceeded(_)), _) => counts.refused += 1,
            (Err(session::Error::Lapsed), Wish::Beat(ticket)) => {
                counts.lapsed += 1;
                assert!(
                    instance.now() >= period.plays_until(ticket.renewed),
                    "seed {seed}, step {step}: a session that is alive was refused"
                );
                forget(&mut playing[player], &ticket);
            }
            (Err(session::Error::Ended), Wish::Beat(ticket)) => {
                assert!(world.has_ended(&ticket.id), "seed {seed}, step {step}");
                forget(&mut playing[player], &ticket);
            }
            // A store that is slow beyond measure.
            (Err(session::Error::Store(_)), Wish::Open { .. }) => {}
            (Err(error), _) => panic!("seed {seed}, step {step}: {error}"),
        }

        let alive: BTreeSet<&str> = playing
            .iter()
            .flatten()
            .filter(|playing| world.time.get() < playing.until)
            .map(|playing| playing.ticket.id.as_str())
            .filter(|id| !world.has_ended(id))
            .collect();
        assert!(
            alive.len() <= LIMIT as usize,
            "seed {seed}, step {step}: {} sessions are alive",
            alive.len()
        );
    }

    // Everybody is gone: every slot is free again, and the store holds what it held.
    tasks.clear();
    world.time.set(world.time.get() + 3 * PERIOD * 1_000);
    world.in_turns.set(false);
    for number in 0..=LIMIT {
        let instance = world.instance(0);
        let owner = format!("after-{number}");
        let opened = run(ask(
            instance,
            Wish::Open {
                owner,
                has_device: false,
                full: StreamsFull::RefuseNew,
            },
            LIMIT,
        ));
        assert_eq!(opened.is_ok(), number < LIMIT, "seed {seed}: {number}");
    }
}

/// What a player has under way that ends its session.
fn wish_of(tasks: &[Task], player: usize) -> Option<Wish> {
    let mut wishes = tasks
        .iter()
        .filter(|task| task.player == player)
        .map(|task| &task.wish);
    wishes.find(|wish| matches!(wish, Wish::End(_))).cloned()
}

fn forget(playing: &mut Option<Playing>, ticket: &Ticket) {
    if playing
        .as_ref()
        .is_some_and(|playing| playing.ticket.id == ticket.id)
    {
        *playing = None;
    }
}

#[test]
fn whatever_order_steps_come_in_no_more_sessions_are_alive_than_are_allowed() {
    let seeds = std::env::var("KEYLET_STORM_SEEDS").map_or(150, |seeds| seeds.parse().unwrap());
    for full in [StreamsFull::RefuseNew, StreamsFull::EndOldest] {
        let mut counts = Counts::default();
        for seed in 0..seeds {
            storm(seed, 3_000, full, &mut counts);
        }
        println!("{full:?}: {counts:?}");
        assert!(
            counts.opened > 1_000 && counts.lapsed > 0 && counts.died > 100,
            "{counts:?}"
        );
    }
}

/// A lease that a device was given.
struct Lease {
    device: String,
    /// In milliseconds, by the true time.
    until: u64,
}

/// Devices that take licences, end their sessions and come back, with sessions of their own and without: those
/// that hold a lease at one moment.
fn lease_storm(seed: u64, steps: usize, handovers: u64, counts: &mut Counts) {
    const DEVICES: usize = 8;
    const LIMIT: usize = 2;
    let (mut chance, world, period) = begin(seed, handovers);
    // Any device may use any of the last session tokens.
    let mut tickets: Vec<Ticket> = Vec::new();
    let mut leases: Vec<Lease> = Vec::new();
    let mut tasks: Vec<Task> = Vec::new();
    for step in 0..steps {
        let passed = match chance.below(1_000) {
            0 => chance.below(PERIOD * 1_000),
            1..6 => chance.below(8_000),
            _ if tasks.is_empty() => chance.below(9_000),
            _ => chance.below(40),
        };
        world.time.set(world.time.get() + passed);
        if tasks.is_empty() || chance.below(8) == 0 {
            let player = chance.pick(DEVICES);
            // Names as pseudonyms are: the marks of devices are taken from their first digits.
            let device = hex::encode(Sha256::digest([u8::try_from(player).unwrap()]));
            let ticket = match tickets.len() {
                0 => None,
                length => Some(tickets[chance.pick(length)].clone()),
            };
            let wish = match (ticket, chance.below(10)) {
                (Some(ticket), 0..2) => Wish::End(ticket),
                (Some(ticket), 2..5) => Wish::Play(ticket, device),
                (Some(ticket), 5) => Wish::Beat(ticket),
                (_, 6) => Wish::Stop(device),
                // A session of an app, under a name of its own or one that others say too.
                (_, 7) => Wish::Open {
                    owner: format!("app-{}", chance.below(3)),
                    has_device: false,
                    full: StreamsFull::RefuseNew,
                },
                _ => Wish::Open {
                    owner: device,
                    has_device: true,
                    full: StreamsFull::RefuseNew,
                },
            };
            tasks.push(send(
                &world,
                &mut chance,
                player,
                wish,
                LIMIT.try_into().unwrap(),
            ));
        }
        let Some((task, outcome)) = step_of_one(&mut tasks, &mut chance, counts) else {
            continue;
        };
        let Task { instance, wish, .. } = task;
        let held = match outcome {
            Ok(Some(held)) => held,
            Ok(None) => {
                counts.ended += 1;
                continue;
            }
            Err(session::Error::Lapsed) => {
                counts.lapsed += 1;
                continue;
            }
            Err(_) => {
                counts.refused += 1;
                continue;
            }
        };
        let left = period
            .plays_until(held.ticket.renewed)
            .saturating_sub(instance.now());
        let until = world.time.get() + left * 1_000;
        // A session that a licence opens is told to no player.
        let is_of_device = matches!(&wish, Wish::Open { has_device, .. } if *has_device);
        let device = match wish {
            Wish::Play(_, device) => Some(device),
            Wish::Open {
                owner, has_device, ..
            } => {
                counts.opened += 1;
                has_device.then_some(owner)
            }
            _ => None,
        };
        if !is_of_device {
            tickets.push(held.ticket);
        }
        if tickets.len() > 6 {
            tickets.remove(0);
        }
        if let Some(device) = device {
            counts.beaten += 1;
            leases.retain(|lease| lease.until > world.time.get());
            leases.push(Lease { device, until });
            let playing: BTreeSet<&str> =
                leases.iter().map(|lease| lease.device.as_str()).collect();
            let allowed = LIMIT + usize::try_from(handovers).unwrap();
            assert!(
                playing.len() <= allowed,
                "seed {seed}, step {step}: {playing:?} hold leases"
            );
        }
    }
}

#[test]
fn no_more_devices_hold_a_lease_than_are_allowed_and_one_more_for_each_handover() {
    let seeds = std::env::var("KEYLET_STORM_SEEDS").map_or(150, |seeds| seeds.parse().unwrap());
    for handovers in [0, 1, 2] {
        let mut counts = Counts::default();
        for seed in 0..seeds {
            lease_storm(seed, 3_000, handovers, &mut counts);
        }
        println!("{handovers} hand-overs: {counts:?}");
        assert!(
            counts.opened > 1_000 && counts.beaten > 1_000 && counts.ended > 1_000,
            "{counts:?}"
        );
    }
}
