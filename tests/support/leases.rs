//! The leases that run, by their CKCs: what a limit of streams is held against.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The leases that are running, by device: an end, counted from the beginning.
pub struct Leases {
    began: Instant,
    running: Mutex<BTreeMap<u8, Duration>>,
}

impl Leases {
    /// None is given yet.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            running: Mutex::default(),
        }
    }

    /// The time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes note of a lease that was asked for at a time. Returns the devices that hold one.
    ///
    /// # Panics
    /// When another thread has panicked meanwhile.
    pub fn hold(&self, device: u8, asked: Duration, seconds: u32) -> Vec<u8> {
        let mut running = self.running.lock().unwrap();
        // The true end is later by what the answer took. The guard of a period is there for that.
        let until = asked + Duration::from_secs(seconds.into());
        let end = running.entry(device).or_default();
        *end = until.max(*end);
        let now = self.elapsed();
        running.retain(|_, until| *until > now);
        running.keys().copied().collect()
    }
}
