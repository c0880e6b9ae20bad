//! What hides an operation from who measures it: random factors of the exponents, or of the base.
//!
//! A random factor makes an exponent longer, and the operation with it. A pair of numbers that hides the
//! base (Kocher, CRYPTO 1996, section 10) costs next to nothing for each operation, and one inversion to
//! make, which is as much as an operation. So the first operations of a key, which are all that an
//! instance for one request has, blind the exponents, and those of an instance that lives on the base.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::arithmetic::Arithmetic;
use crate::lanes::Lanes;
use crate::montgomery::{Number, wipe};
use crate::words;

/// Words of the random factor that blinds an exponent.
const FACTOR_WORDS: usize = 2;

/// After so many operations without a pair, one is worth what it costs.
const OPERATIONS_WITHOUT: u32 = 16;

/// Exponents modulo `p - 1` and `q - 1`.
pub type Exponents = [Zeroizing<Vec<u32>>; 2];

/// What the base of an operation is multiplied by, and what its result: in Montgomery's form.
pub struct Pair<A: Arithmetic, const N: usize> {
    /// `u^e`, of a random `u`.
    pub base: Number<A, N>,
    /// `1 / u`.
    pub result: Number<A, N>,
}

impl<A: Arithmetic, const N: usize> Drop for Pair<A, N> {
    fn drop(&mut self) {
        let blank = A::Vector::splat(-0.0);
        wipe(&mut self.base, blank);
        wipe(&mut self.result, blank);
    }
}

/// The pair that a key has between operations.
pub struct Blinding<A: Arithmetic, const N: usize>(Mutex<State<A, N>>);

struct State<A: Arithmetic, const N: usize> {
    pair: Option<Box<Pair<A, N>>>,
    operations_without: u32,
}

impl<A: Arithmetic, const N: usize> Blinding<A, N> {
    pub fn new() -> Self {
        Self(Mutex::new(State {
            pair: None,
            operations_without: 0,
        }))
    }

    /// Takes the pair for an operation: made when there is none after a while, and none at first, or
    /// while another operation has it.
    pub fn take(&self, make: impl FnOnce() -> Box<Pair<A, N>>) -> Option<Box<Pair<A, N>>> {
        let mut state = self.state();
        if let Some(pair) = state.pair.take() {
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

    /// Keeps a pair for the next operation.
    pub fn keep(&self, pair: Box<Pair<A, N>>) {
        self.state().pair = Some(pair);
    }

    /// Drops the pair, where there is one.
    pub fn forget(&self) {
        self.state().pair = None;
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

    fn pair() -> Box<Pair> {
        let number = [Plain::splat(1.0); 22];
        Box::new(Pair {
            base: number,
            result: number,
        })
    }

    #[test]
    fn a_pair_is_made_after_a_while_and_serves_one_operation_at_a_time() {
        let none = || -> Box<Pair> { panic!("nothing is to be made") };
        let blinding = Blinding::new();
        for _ in 0..2 {
            for _ in 1..OPERATIONS_WITHOUT {
                assert!(blinding.take(none).is_none());
            }
            let made = blinding.take(pair).unwrap();
            assert!(blinding.take(none).is_none(), "an operation has it");
            blinding.keep(made);
            let kept = blinding.take(none).unwrap();
            blinding.keep(kept);
            blinding.forget();
            blinding.state().operations_without = 0;
        }
    }
}
