//! A store that is forgotten when the host ends.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;

/// Keys and values behind a lock.
#[derive(Default)]
pub struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().get(key).cloned()
    }

    pub fn set(&self, key: &str, value: Vec<u8>) {
        self.lock().insert(key.to_owned(), value);
    }

    /// Returns whether it was there.
    pub fn delete(&self, key: &str) -> bool {
        self.lock().remove(key).is_some()
    }

    /// The keys behind `after`, and how long their values are.
    pub fn page(&self, after: Option<&str>, most: usize) -> Vec<(String, usize)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let values = self.lock();
        let entries = values.range::<str, _>((after, Bound::Unbounded)).take(most);
        entries
            .map(|(key, value)| (key.clone(), value.len()))
            .collect()
    }

    pub fn keys(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        let mut values = self.lock();
        let sum = super::add(values.get(key).map(Vec::as_slice), delta)?;
        values.insert(key.to_owned(), sum.to_le_bytes().to_vec());
        Ok(sum)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
