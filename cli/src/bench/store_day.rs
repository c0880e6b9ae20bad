//! How large a day of viewers makes a store, and what a sweep leaves of it.
//!
//! Each viewer opens a session, has a licence with a token that is good for three, plays for three minutes, and half of
//! them end their sessions. Some change the device before the lease is over, and some answer a challenge. The calls are
//! those of the library, on the store of the embedded host; what a player and a host do beside them leaves nothing there.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::{Request, Response};
use keylet::drm::Repeats;
use keylet::entitlement::StreamsFull;
use keylet::platform::{Error, Platform, system_time};
use keylet::server_secret::{self, ServerSecret};
use keylet::session::challenge;
use keylet::session::{Claim, Handovers, Opening, Period, Sessions};
use keylet::store_key::DAY;
use keylet_host::{Store, StoreChoice};
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{joined, scoped};
use crate::progress::Counter;
use crate::settings::{Settings, WithStore};
use crate::stored_at;
use crate::sweep::{self, Mode, Report};
use keylet_host::Provided;

/// How many viewers of a thread are under way at a time.
const UNDER_WAY: usize = 1_024;

/// The size of a store at a moment.
#[derive(Debug, Clone, Serialize)]
pub struct Size {
    /// When it is, in a few words.
    pub when: &'static str,
    /// How many keys it has.
    pub keys: u64,
    /// How many bytes they have with their values; in Redis, of memory.
    pub bytes: u64,
    /// How many bytes the file has, or the data in the memory of Redis.
    pub size: u64,
    /// How long it took to come there, in seconds.
    pub seconds: f64,
    /// How many keys the sweep deleted.
    pub deleted: u64,
}

/// Plays a day of so many viewers. The Redis must be empty; without one, the store is a file.
///
/// # Errors
/// A store that is not empty, or fails.
pub fn run(viewers: u32, redis: Option<&str>) -> Result<Vec<Size>> {
    let directory = tempfile::Builder::new().prefix("keylet-bench-").tempdir()?;
    let path = directory.path().join("day.redb");
    let choice = match redis {
        Some(url) => StoreChoice::Redis(url.to_owned()),
        None => StoreChoice::File(path.clone()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let day = system_time() / DAY * DAY;
    let mut sizes = Vec::new();
    let mut measure = |when, now: u64, mode: Mode, started: Instant| -> Result<u64> {
        let mut counter = Counter::new("looked at", None);
        let report = match mode {
            Mode::Deleted => {
                let store = stored_at::open(&choice)?;
                let report = runtime.block_on(sweep::run(&store, now, mode, &mut counter))?;
                drop(store);
                Store::compact(&choice)?;
                report
            }
            Mode::Counted | Mode::Measured => Report::default(),
        };
        let seconds = started.elapsed().as_secs_f64();
        let store = stored_at::open(&choice)?;
        let left = runtime.block_on(sweep::run(&store, now, Mode::Measured, &mut counter))?;
        let memory = runtime.block_on(store.memory())?;
        drop(store);
        sizes.push(Size {
            when,
            keys: left.keys(),
            bytes: left.bytes(),
            size: match memory {
                Some(memory) => memory,
                None => length(&path)?,
            },
            seconds,
            deleted: report.over(),
        });
        Ok(left.keys())
    };
    let keys = measure("before", day, Mode::Measured, Instant::now())?;
    ensure!(keys == 0, "the store is not empty");
    let started = Instant::now();
    play(viewers, day, &choice)?;
    measure("after the day", day + DAY, Mode::Measured, started)?;
    measure(
        "swept 3 hours later",
        day + DAY + 3 * 3_600,
        Mode::Deleted,
        Instant::now(),
    )?;
    measure(
        "swept a day later",
        day + 2 * DAY + 3 * 3_600,
        Mode::Deleted,
        Instant::now(),
    )?;
    measure(
        "swept 9 days later",
        day + 10 * DAY,
        Mode::Deleted,
        Instant::now(),
    )?;
    Ok(sizes)
}

fn length(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

/// Plays the day of every viewer. With Redis, each processor plays a part of them, over a connection of its own.
fn play(viewers: u32, day: u64, choice: &StoreChoice) -> Result<()> {
    let parts = match choice {
        StoreChoice::Redis(_) => std::thread::available_parallelism()?.get(),
        StoreChoice::File(_) | StoreChoice::Memory => 1,
    };
    let counter = Mutex::new(Counter::new("viewers", Some(viewers.into())));
    let next = AtomicU32::new(0);
    let play_part = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let first = next.fetch_add(1, Ordering::Relaxed);
        let numbers = (first..viewers).step_by(parts);
        runtime.block_on(play_some(numbers, viewers, day, choice, &counter))
    };
    std::thread::scope(|scope| joined(scoped(scope, parts, play_part))).map(drop)
}

/// Plays the day of some of so many viewers.
async fn play_some(
    numbers: impl Iterator<Item = u32>,
    viewers: u32,
    day: u64,
    choice: &StoreChoice,
    counter: &Mutex<Counter>,
) -> Result<()> {
    let secret = "a secret that protects nothing: the viewers are numbers";
    let variables = Provided::from([(server_secret::VARIABLE.to_owned(), secret.to_owned())]);
    let platform = WithStore {
        settings: Settings(variables),
        store: stored_at::open(choice)?,
    };
    let secret = ServerSecret::load(&platform).await?;
    let secret = secret.context("there is a secret")?;
    // The last ones have ended before the day has.
    let span = DAY - 1_800;
    let mut done = stream::iter(numbers)
        .map(|number| {
            let began = u64::from(number).saturating_mul(span) / u64::from(viewers);
            let viewer = Viewer {
                platform: &platform,
                now: Cell::new(day.saturating_add(began)),
            };
            let secret = &secret;
            async move { viewer.play(number, secret).await }
        })
        .buffer_unordered(UNDER_WAY);
    while done.try_next().await?.is_some() {
        counter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(1);
    }
    Ok(())
}

/// A viewer has a clock of his own: the day passes faster than time does.
struct Viewer<'a> {
    platform: &'a WithStore,
    now: Cell<u64>,
}

impl Viewer<'_> {
    fn later(&self, seconds: u64) {
        self.now.set(self.now.get().saturating_add(seconds));
    }

    async fn play(&self, number: u32, secret: &ServerSecret) -> Result<()> {
        let name = |what: &str| {
            let digest = Sha256::digest(format!("{what} {number}"));
            hex::encode(digest.split_at(16).0)
        };
        let (subject, device, other) = (name("viewer"), name("device"), name("other device"));
        let token = name("token");
        let period = Period::load(self).await?;
        let sessions = Sessions::new(self, secret, period, Handovers::load(self).await?);
        let opening = |device| Opening {
            subject: &subject,
            owner: device,
            device: Some(device),
            playback: None,
            token: "",
            limit: 1,
            full: StreamsFull::RefuseNew,
            is_renewal: false,
        };
        let licence = |device: &'static [u8]| Claim {
            token: token.as_bytes(),
            expires: self.now.get().saturating_add(3_600),
            device,
            keys: "movie",
            limit: 3,
            repeats: Repeats::OF_A_DEVICE,
            now: self.now.get(),
        };
        let mut held = sessions.open(&opening(&device)).await?;
        licence(b"device").make(self).await?;
        if number.is_multiple_of(4) {
            licence(b"device").make(self).await?;
        }
        // Twice a period, as players do.
        for _ in 0..6 {
            self.later(30);
            held = sessions.heartbeat(&held.ticket).await?;
        }
        if number.is_multiple_of(10) {
            let challenge = challenge::issue(self, self.now.get()).await?;
            let answer = u64::from_be_bytes(challenge.bytes);
            challenge::redeem(self, answer, self.now.get()).await?;
        }
        if number.is_multiple_of(2) {
            sessions.end(&held.ticket).await?;
        }
        if number.is_multiple_of(20) {
            // The lease of the ended session still runs.
            sessions.open(&opening(&other)).await?;
        }
        Ok(())
    }
}

impl Platform for Viewer<'_> {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        self.platform.variable(name).await
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.platform.fill_random(buffer);
    }

    fn log(&self, line: &str) {
        self.platform.log(line);
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.platform.get(key).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.platform.set(key, value).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.platform.delete(key).await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.platform.keys().await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.platform.increment(key, delta).await
    }

    async fn sleep(&self, duration: Duration) {
        self.platform.sleep(duration).await;
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        self.platform.send(request).await
    }
}
