//! `x^e mod n`.

use zeroize::Zeroizing;

use crate::arithmetic::Arithmetic;
use crate::lanes::Lanes;
use crate::limbs;
use crate::montgomery::{Modulus, Number, columns, multiply, number, power, square, wipe};
use crate::simd::simd;

/// A public operation, for one size and arithmetic.
pub trait PublicOperation: Send + Sync {
    /// `x^exponent mod n`, for `x` below `n`. The time depends on the exponent, and not on `x`.
    fn apply(&self, x: &[u32], exponent: u64) -> Zeroizing<Vec<u32>>;
}

/// The modulus `n`, the same in both lanes.
pub struct Public<A: Arithmetic, const N: usize> {
    words: Vec<u32>,
    modulus: Modulus<A, N>,
}

impl<A: Arithmetic, const N: usize> Public<A, N> {
    /// Takes a modulus that is odd, and has the top bit of its words set.
    pub fn new(modulus: &[u32]) -> Self {
        Self {
            words: modulus.to_vec(),
            modulus: Modulus::new([modulus, modulus]),
        }
    }
}

impl<A: Arithmetic, const N: usize> PublicOperation for Public<A, N> {
    fn apply(&self, x: &[u32], exponent: u64) -> Zeroizing<Vec<u32>> {
        let mut power = number::<A, N>([x, x]);
        A::Vector::run(|| raise(&self.modulus, &mut power, exponent));
        let limbs = power.iter().map(|limb| limb.values()[0]);
        let words = limbs::to_words(limbs, A::BITS, &self.words);
        wipe(&mut power, A::Vector::splat(-0.0));
        words
    }
}

simd! {
/// `x = x^exponent`, for an odd exponent above 1.
fn raise<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    x: &mut Number<A, N>,
    exponent: u64,
) {
    let mut columns = columns::<A, N>();
    let mut base = *x;
    multiply::<A, N>(modulus, &mut columns, x, &modulus.square);
    power::<A, N>(modulus, &mut columns, x, exponent >> 1);
    // The last factor is as it came, and its product leaves Montgomery's form.
    square::<A, N>(modulus, &mut columns, x);
    multiply::<A, N>(modulus, &mut columns, x, &base);
    // A private operation's result is checked here.
    wipe(&mut base, A::Vector::splat(-0.0));
    wipe(columns.as_flattened_mut(), A::empty());
}
}
