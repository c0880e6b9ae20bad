//! What a licence costs with few stored keys and with many.
//!
//! The servers of all sizes run at once and are asked in turns, each time for a key that is drawn anew, so that what
//! else the machine does concerns all of them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt};
use keylet::content_key::store::{Catalogue, EncryptionKeys, NewRecord};
use keylet::platform::Platform;
use keylet_host::{Provided, Server, Store, StoreChoice};
use rand_core::Rng;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{BATCH, Player, Requests, Samples, Setup, Times};
use crate::fixtures;
use crate::random;
use crate::settings::{Settings, WithStore};

/// The keys under which the records are stored. They protect nothing: the records are made from their numbers.
const KEYS: &str =
    r#"{"keys":[{"kty":"oct","kid":"bench","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;

/// The seed of keys that nobody stores.
const SEED: &str = r#"{"algorithm":"hkdf-sha256","seed":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}"#;

/// How many records are under way at a time.
const UNDER_WAY: usize = 16_384;

/// Licences with a number of stored keys.
#[derive(Debug, Clone, Serialize)]
pub struct Stored {
    /// The setup.
    pub setup: &'static str,
    /// Where the keys are.
    pub source: Source,
    /// What each licence took, HTTP and host included.
    pub microseconds: Times,
    /// What it took inside the component.
    pub guest: Times,
    /// To the time with the fewest keys, of the shortest.
    pub ratio: f64,
}

/// Where the keys of a server are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// In the fixtures' variable `content_keys`: a few records.
    Variable,
    /// In the store: so many records.
    Stored(u32),
    /// In a seed, by the KIDs that the records have.
    Seed,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable => f.write_str("variable"),
            Self::Stored(size) => write!(f, "{size} stored"),
            Self::Seed => f.write_str("seed"),
        }
    }
}

/// How fast records were stored.
#[derive(Debug, Clone, Serialize)]
pub struct Filled {
    /// How many.
    pub keys: u32,
    /// Records in a second.
    pub per_second: f64,
}

/// What is to be measured.
pub struct Plan {
    /// In which setups.
    pub setups: Vec<Setup>,
    /// Numbers of keys, in order.
    pub sizes: Vec<u32>,
    /// How many licences with each.
    pub rounds: usize,
    /// A Redis whose databases from 0 on are empty, and are written to; `None`: a file each.
    pub redis: Option<String>,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// How the stores were filled.
    pub filled: Vec<Filled>,
    /// Licences.
    pub licences: Vec<Stored>,
}

impl Plan {
    /// Measures it.
    ///
    /// # Errors
    /// A store that cannot be filled, a licence that is refused, a host that does not start.
    pub fn run(&self) -> Result<Report> {
        ensure!(!self.setups.is_empty(), "a host of plain WASI has no store");
        let directory = tempfile::Builder::new().prefix("keylet-bench-").tempdir()?;
        let mut report = Report::default();
        let mut stores = Vec::with_capacity(self.sizes.len());
        for (index, size) in self.sizes.iter().enumerate() {
            let store = match &self.redis {
                Some(url) => StoreChoice::Redis(format!("{}/{index}", url.trim_end_matches('/'))),
                None => StoreChoice::File(directory.path().join(format!("{size}.redb"))),
            };
            let began = Instant::now();
            fill(&store, *size)?;
            report.filled.push(Filled {
                keys: *size,
                per_second: f64::from(*size) / began.elapsed().as_secs_f64(),
            });
            stores.push((*size, store));
        }
        let requests = Requests::new()?;
        for setup in &self.setups {
            report
                .licences
                .extend(self.measure(*setup, &stores, &requests)?);
        }
        Ok(report)
    }

    fn measure(
        &self,
        setup: Setup,
        stores: &[(u32, StoreChoice)],
        requests: &Requests,
    ) -> Result<Vec<Stored>> {
        let with = |changes: &[(&str, &str)]| {
            let mut variables = fixtures::variables();
            let changes = changes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            variables.extend(changes);
            variables
        };
        let memory = || StoreChoice::Memory;
        let mut measured = vec![
            Measured::start(setup, with(&[]), memory(), Source::Variable)?,
            Measured::start(
                setup,
                with(&[("content_keys", ""), ("key_seed", SEED)]),
                memory(),
                Source::Seed,
            )?,
        ];
        for (size, store) in stores {
            let variables = with(&[("content_keys", ""), ("key_encryption_keys", KEYS)]);
            let source = Source::Stored(*size);
            measured.push(Measured::start(setup, variables, store.clone(), source)?);
        }
        for _ in 0..self.rounds.div_ceil(BATCH) {
            for one in &mut measured {
                one.ask(requests)?;
            }
        }
        let mut stored = Vec::with_capacity(measured.len());
        for one in measured {
            one.server.stop();
            let microseconds = Times::from_samples(one.samples.whole)?;
            stored.push(Stored {
                setup: setup.name,
                source: one.source,
                ratio: 1.0,
                microseconds,
                guest: Times::from_samples(one.samples.guest)?,
            });
        }
        let is_stored = |one: &&Stored| matches!(one.source, Source::Stored(_));
        let first = stored.iter().find(is_stored);
        let first = first.map_or(1.0, |first| first.microseconds.least);
        for one in &mut stored {
            one.ratio = one.microseconds.least / first;
        }
        Ok(stored)
    }
}

/// A server with a number of keys.
struct Measured {
    server: Server,
    player: Player,
    source: Source,
    samples: Samples,
}

impl Measured {
    fn start(
        setup: Setup,
        variables: Provided,
        store: StoreChoice,
        source: Source,
    ) -> Result<Self> {
        let server = setup.start_with(true, variables, store)?;
        Ok(Self {
            player: Player::new(&server.url())?,
            server,
            source,
            samples: Samples::default(),
        })
    }

    /// Some licences, each for a key that is drawn.
    fn ask(&mut self, requests: &Requests) -> Result<()> {
        let draw = || {
            let drawn = |size: u32| random::system().next_u64() % u64::from(size).max(1);
            let asset = match self.source {
                Source::Variable => "skd://movie-1".to_owned(),
                Source::Stored(size) => format!("skd://{}", name(drawn(size))),
                Source::Seed => format!("skd://{}", kid_and_key(drawn(u32::MAX)).0),
            };
            requests.for_asset(&asset)
        };
        self.player
            .ask_batch(&self.server, 200, draw, &mut self.samples)
    }
}

/// Stores the records 0 to `size`.
fn fill(choice: &StoreChoice, size: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let platform = WithStore {
        settings: Settings(Provided::new()),
        store: Store::open(choice, true)?,
    };
    let keys = EncryptionKeys::from_json(KEYS)
        .ok()
        .context("the keys of this benchmark")?;
    let catalogue = Catalogue::new(&keys, &platform);
    let put = async |number: u64| {
        let record = NewRecord::read(record(number))?;
        catalogue.put_record(record, true).await??;
        anyhow::Ok(())
    };
    runtime.block_on(async {
        let is_empty = platform.keys().await?.is_empty();
        ensure!(
            is_empty,
            "the store of the benchmark is not empty: give a Redis whose databases from 0 on are"
        );
        let mut under_way = stream::iter(0..u64::from(size))
            .map(put)
            .buffer_unordered(UNDER_WAY);
        while let Some(put) = under_way.next().await {
            put?;
        }
        anyhow::Ok(())
    })
}

fn name(number: u64) -> String {
    format!("movie-{number}")
}

/// A record with a KID and a key of its own.
fn record(number: u64) -> Map<String, Value> {
    let (kid, key) = kid_and_key(number);
    let record = json!({"id": name(number), "kid": kid, "key": key, "iv": kid});
    match record {
        Value::Object(record) => record,
        _ => Map::new(),
    }
}

fn kid_and_key(number: u64) -> (String, String) {
    let digest = hex::encode(Sha256::digest(number.to_be_bytes()));
    let (kid, key) = digest.split_at(32);
    (kid.to_owned(), key.to_owned())
}
