//! A host in memory, for one request after the other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use keylet::platform::{Error, Platform};
use zeroize::Zeroizing;

/// When every request is made: 2027-01-15.
pub const NOW: u64 = 1_800_000_000;

/// Variables, a store, and nobody to ask.
#[derive(Default)]
pub struct Host {
    variables: BTreeMap<String, String>,
    values: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl Host {
    /// A host with these variables, and an empty store.
    pub fn new(variables: BTreeMap<String, String>) -> Self {
        Self {
            variables,
            values: RefCell::default(),
        }
    }
}

/// The variables of the fixtures.
pub fn fixture_variables() -> BTreeMap<String, String> {
    let lines = include_str!("../../fixtures/variables.env").lines();
    let assigned = lines.filter_map(|line| line.strip_prefix("SPIN_VARIABLE_")?.split_once('='));
    assigned
        .map(|(name, value)| {
            let value = value.trim_matches('\'').to_owned();
            (name.to_ascii_lowercase(), value)
        })
        .collect()
}

/// The variables of the fixtures, with changes.
pub fn variables_with(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut variables = fixture_variables();
    let changes = changes.iter();
    variables.extend(changes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

/// Runs a future that never waits, as those on [`Host`] do.
pub fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future on a host in memory waits"),
    }
}

impl Platform for Host {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let value = self.variables.get(name).filter(|value| !value.is_empty());
        Ok(value.cloned().map(Zeroizing::new))
    }

    fn now(&self) -> u64 {
        NOW
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        // The same input has the same result.
        buffer.fill(7);
    }

    fn log(&self, line: &str) {
        assert!(!line.contains('\n'), "an audit record is one line");
        let record: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(record.is_ok(), "an audit record is JSON");
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.values.borrow().get(key).cloned())
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.values
            .borrow_mut()
            .insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.values.borrow_mut().remove(key);
        Ok(())
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        Ok(self.values.borrow().keys().cloned().collect())
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let mut values = self.values.borrow_mut();
        let value = values.entry(key.to_owned()).or_insert_with(|| vec![0; 8]);
        let before: [u8; 8] = value.as_slice().try_into().unwrap_or_default();
        let sum = i64::from_le_bytes(before).wrapping_add(delta);
        *value = sum.to_le_bytes().to_vec();
        Ok(sum)
    }

    async fn sleep(&self, _: Duration) {}

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        Err(Error::OutboundDenied(keylet::platform::origin(
            request.uri(),
        )))
    }
}
