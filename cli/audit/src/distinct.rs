//! How many different ones there are, in bounded memory: exactly up to a bound, and from a sample behind it.
//!
//! A sample keeps what has a hash with so many leading zeros, and one zero more whenever it is full (Flajolet, "On adaptive
//! sampling", 1990). It is a fair sample of all, however often each of them comes, so it also tells how many devices a viewer has.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hasher;

/// The hash of a text.
pub fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// A number that is exact or estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The number.
    pub number: u64,
    /// Whether it is an estimate.
    pub is_estimated: bool,
}

fn is_kept(hash: u64, level: u32) -> bool {
    hash.leading_zeros() >= level
}

fn scaled(kept: usize, level: u32) -> u64 {
    u64::try_from(kept).unwrap_or(u64::MAX) << level.min(32)
}

/// Different ones in each of several periods.
pub struct Periods {
    most: usize,
    kept: usize,
    periods: BTreeMap<i32, Sample>,
}

#[derive(Default)]
struct Sample {
    level: u32,
    hashes: HashSet<u64>,
}

impl Periods {
    /// None yet. At most so many hashes are kept, of all periods together.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            kept: 0,
            periods: BTreeMap::new(),
        }
    }

    /// Adds one, by its hash, to a period.
    pub fn add(&mut self, period: i32, hash: u64) {
        let sample = self.periods.entry(period).or_default();
        if !is_kept(hash, sample.level) || !sample.hashes.insert(hash) {
            return;
        }
        self.kept += 1;
        while self.kept > self.most {
            let largest = self.periods.values_mut();
            let Some(largest) = largest.max_by_key(|sample| sample.hashes.len()) else {
                return;
            };
            let before = largest.hashes.len();
            largest.level += 1;
            let level = largest.level;
            largest.hashes.retain(|hash| is_kept(*hash, level));
            self.kept -= before - largest.hashes.len();
        }
    }

    /// The periods, and how many each has.
    pub fn counts(&self) -> impl Iterator<Item = (i32, Count)> {
        self.periods.iter().map(|(period, sample)| {
            let count = Count {
                number: scaled(sample.hashes.len(), sample.level),
                is_estimated: sample.level > 0,
            };
            (*period, count)
        })
    }
}

/// Owners, and how many different things each of them has.
pub struct Owners {
    most: usize,
    level: u32,
    numbers: HashMap<u64, u32>,
    // The higher half of the owner's hash, and that of the thing.
    pairs: HashSet<u64>,
}

impl Owners {
    /// None yet. At most so many pairs are kept.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            level: 0,
            numbers: HashMap::new(),
            pairs: HashSet::new(),
        }
    }

    /// Adds a pair by the hashes of both.
    pub fn add(&mut self, owner: u64, thing: u64) {
        let half = u64::from(u32::MAX);
        if !is_kept(owner, self.level) || !self.pairs.insert((owner & !half) | (thing >> 32)) {
            return;
        }
        *self.numbers.entry(owner).or_default() += 1;
        while self.pairs.len() > self.most && self.level < 32 {
            self.level += 1;
            let level = self.level;
            self.pairs.retain(|pair| is_kept(*pair, level));
            self.numbers.retain(|owner, _| is_kept(*owner, level));
        }
    }

    /// How many owners have each number of things.
    pub fn distribution(&self) -> BTreeMap<u32, u64> {
        let mut distribution = BTreeMap::new();
        for number in self.numbers.values() {
            *distribution.entry(*number).or_default() += scaled(1, self.level);
        }
        distribution
    }

    /// Whether these are estimates.
    pub fn is_estimated(&self) -> bool {
        self.level > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_the_bound_a_number_is_exact() {
        let mut periods = Periods::new(1_000);
        for _ in 0..3 {
            (0..600).for_each(|viewer| periods.add(1, hash(&format!("viewer {viewer}"))));
            (0..400).for_each(|viewer| periods.add(2, hash(&format!("viewer {viewer}"))));
        }
        let counts: Vec<_> = periods.counts().collect();
        let exact = |number| Count {
            number,
            is_estimated: false,
        };
        assert_eq!(counts, [(1, exact(600)), (2, exact(400))]);
    }

    #[test]
    fn behind_the_bound_a_number_is_an_estimate_in_the_same_memory() {
        let mut periods = Periods::new(20_000);
        let mut owners = Owners::new(20_000);
        let viewers: u32 = 300_000;
        for viewer in 0..viewers {
            let owner = hash(&format!("viewer {viewer}"));
            periods.add(1, owner);
            for device in 0..=viewer % 3 {
                owners.add(owner, hash(&format!("device {device} of {viewer}")));
            }
        }
        // Another period stays exact beside it.
        (0..10).for_each(|viewer| periods.add(2, hash(&format!("viewer {viewer}"))));
        assert!(periods.kept <= 20_000 && owners.pairs.len() <= 20_000);
        let counts: Vec<_> = periods.counts().collect();
        let is_close = |number: u64, exact: u32| {
            let ratio = f64::from(u32::try_from(number).unwrap()) / f64::from(exact);
            (0.95..1.05).contains(&ratio)
        };
        assert!(counts[0].1.is_estimated && is_close(counts[0].1.number, viewers));
        assert!(!counts[1].1.is_estimated && counts[1].1.number == 10);
        assert!(owners.is_estimated());
        let distribution = owners.distribution();
        assert_eq!(distribution.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(
            distribution
                .values()
                .all(|number| is_close(*number, viewers / 3)),
            "{distribution:?}"
        );
    }
}
