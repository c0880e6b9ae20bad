//! A host for unit tests: variables, counters, a log, and servers that answer in turn.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use http::{Request, Response};
use zeroize::Zeroizing;

use super::{Error, Platform, value};

/// When the clocks of all hosts began.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A host in memory. Its clocks stand still, unless a test puts them on.
#[derive(Default)]
pub struct TestHost {
    /// The variables that are set.
    pub variables: HashMap<&'static str, String>,
    /// A variable that cannot be read.
    pub failing: &'static str,
    /// The variables that were read.
    pub asked: RefCell<BTreeSet<String>>,
    /// The lines of the log.
    pub log: RefCell<Vec<String>>,
    /// The answers to the next requests; without one, requests are denied.
    pub answers: RefCell<VecDeque<Result<Response<Vec<u8>>, Error>>>,
    /// The pauses.
    pub pauses: RefCell<Vec<Duration>>,
    /// Seconds after the time at which its clock stands.
    pub later: Cell<u64>,
    /// How far its clock of instants is.
    pub passed: Cell<Duration>,
    /// How often that clock was read.
    pub clock_reads: Cell<usize>,
    /// The values of its store.
    pub values: RefCell<BTreeMap<String, Vec<u8>>>,
    /// How often the store was asked for a value.
    pub reads: Cell<usize>,
    /// How many writes the store takes before it fails; `None` for all.
    pub writes: Cell<Option<usize>>,
    counters: RefCell<HashMap<String, i64>>,
}

impl TestHost {
    /// A host with these variables.
    pub fn new(variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self {
            variables: variables.into_iter().collect(),
            ..Self::default()
        }
    }

    fn write(&self) -> Result<(), Error> {
        match self.writes.get() {
            Some(0) => Err(Error::Store("it is full".to_owned())),
            left => {
                self.writes.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}

impl Platform for TestHost {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        self.asked.borrow_mut().insert(name.to_owned());
        if name == self.failing {
            let variable = name.to_owned();
            return Err(Error::Variables { variable });
        }
        let text = self.variables.get(name).cloned();
        Ok(text.and_then(|text| value(name, text)))
    }

    fn now(&self) -> u64 {
        1_000 + self.later.get()
    }

    fn instant(&self) -> Instant {
        self.clock_reads.set(self.clock_reads.get() + 1);
        *BEGINNING + self.passed.get()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }

    fn log(&self, line: &str) {
        self.log.borrow_mut().push(line.to_owned());
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.reads.set(self.reads.get() + 1);
        Ok(self.values.borrow().get(key).cloned())
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.write()?;
        self.values
            .borrow_mut()
            .insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.write()?;
        self.values.borrow_mut().remove(key);
        Ok(())
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        Ok(self.values.borrow().keys().cloned().collect())
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let mut counters = self.counters.borrow_mut();
        let counter = counters.entry(key.to_owned()).or_default();
        *counter += delta;
        Ok(*counter)
    }

    async fn sleep(&self, duration: Duration) {
        self.pauses.borrow_mut().push(duration);
    }

    async fn send(&self, _: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        let answer = self.answers.borrow_mut().pop_front();
        answer.unwrap_or_else(|| Err(Error::OutboundDenied(String::new())))
    }
}
