//! What hides an operation from who measures it: random multiples that are added to the exponents, or
//! random factors of the base.
//!
//! Longer exponents make an operation longer. A pair of numbers that hides the base (Kocher, CRYPTO 1996,
//! section 10) costs next to nothing for each operation, and one inversion to make, which is as much as an
//! operation. So the first operations of a key blind the exponents, and they are all that an instance for
//! one request has; later ones blind the base.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::arithmetic::Arithmetic;
use crate::lanes::Lanes;
use crate::montgomery::{Number, wipe};
use crate::words;

/// Words of the random factor that blinds an exponent.
const FACTOR_WORDS: usize = 2;

/// The operation that makes a pair, counted from the last one that had one: it is worth what it costs.
const OPERATIONS_WITHOUT: u32 = 16;

/// How many operations a pair is used for.
const USES: u32 = 256;

/// Exponents modulo `p - 1` and `q - 1`.
pub type Exponents = [Zeroizing<Vec<u32>>; 2];

/// What the base of an operation is multiplied by, and what its result: in Montgomery's form.
pub struct Pair<A: Arithmetic, const N: usize> {
    /// `u^e`, of a random `u`.
    pub base: Number<A, N>,
    /// `1 / u`.
    pub result: Number<A, N>,
    /// How often it was used.
    uses: u32,
}

impl<A: Arithmetic, const N: usize> Pair<A, N> {
    /// Room for a pair.
    #[inline(never)]
    pub fn new() -> Self {
        let blank = [A::Vector::splat(-0.0); N];
        Self {
            base: blank,
            result: blank,
            uses: 0,
        }
    }
}

impl<A: Arithmetic, const N: usize> Drop for Pair<A, N> {
    fn drop(&mut self) {
        let blank = A::Vector::splat(-0.0);
        wipe(&mut self.base, blank);
        wipe(&mut self.result, blank);
    }
}

/// The pairs that a key has between operations: as many as there were at one time.
pub struct Blinding<A: Arithmetic, const N: usize>(Mutex<State<A, N>>);

struct State<A: Arithmetic, const N: usize> {
    pairs: Vec<Box<Pair<A, N>>>,
    operations_without: u32,
}

impl<A: Arithmetic, const N: usize> Blinding<A, N> {
    pub fn new() -> Self {
        Self(Mutex::new(State {
            pairs: Vec::new(),
            operations_without: 0,
        }))
    }

    /// Takes a pair for an operation. When no pair is left, one operation in `OPERATIONS_WITHOUT` makes
    /// one, and the others have none.
    pub fn take(&self, make: impl FnOnce() -> Box<Pair<A, N>>) -> Option<Box<Pair<A, N>>> {
        let mut state = self.state();
        if let Some(pair) = state.pairs.pop() {
            return Some(pair);
        }
        state.operations_without += 1;
        if state.operations_without < OPERATIONS_WITHOUT {
            return None;
        }
        state.operations_without = 0;
        drop(state);
        Some(make())
    }

    /// Keeps a pair for the next operation, unless it was used often.
    pub fn keep(&self, mut pair: Box<Pair<A, N>>) {
        pair.uses += 1;
        if pair.uses < USES {
            self.state().pairs.push(pair);
        }
    }

    /// Drops the pairs.
    pub fn forget(&self) {
        self.state().pairs.clear();
    }

    fn state(&self) -> MutexGuard<'_, State<A, N>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `exponent + factor · (prime - 1)` for a random factor, which is the same exponent to what the prime
/// does not divide.
pub fn blinded(
    exponents: &Exponents,
    primes: &[Zeroizing<Vec<u32>>; 2],
    rng: &mut dyn CryptoRng,
) -> Exponents {
    let [p, q] = primes;
    let [dp, dq] = exponents;
    [(dp, p), (dq, q)].map(|(exponent, prime)| {
        let mut sum = Zeroizing::new(Vec::with_capacity(exponent.len() + FACTOR_WORDS));
        sum.extend_from_slice(exponent);
        sum.resize(exponent.len() + FACTOR_WORDS, 0);
        words::add_product(
            &mut sum,
            &random(FACTOR_WORDS, rng),
            &words::minus(prime, 1),
        );
        sum
    })
}

/// The exponents that invert: `p - 2` and `q - 2`.
pub fn inverting([p, q]: &[Zeroizing<Vec<u32>>; 2]) -> Exponents {
    [p, q].map(|prime| words::minus(prime, 2))
}

/// So many random words.
pub fn random(length: usize, rng: &mut dyn CryptoRng) -> Zeroizing<Vec<u32>> {
    Zeroizing::new((0..length).map(|_| rng.next_u32()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arithmetic::Whole;
    use crate::lanes::Plain;

    type Pair = super::Pair<Whole<Plain, 24>, 22>;

    #[test]
    fn a_pair_is_made_after_a_while_serves_one_operation_at_a_time_and_is_renewed() {
        let none = || -> Box<Pair> { panic!("nothing is to be made") };
        let blinding = Blinding::new();
        for round in 0..3 {
            for _ in 1..OPERATIONS_WITHOUT {
                assert!(blinding.take(none).is_none());
            }
            let made = blinding.take(|| Box::new(Pair::new())).unwrap();
            assert!(blinding.take(none).is_none(), "an operation has it");
            blinding.keep(made);
            if round == 0 {
                blinding.forget();
            } else {
                for _ in 1..USES {
                    blinding.keep(blinding.take(none).unwrap());
                }
            }
            assert!(blinding.take(none).is_none());
            blinding.state().operations_without = 0;
        }
    }
}
