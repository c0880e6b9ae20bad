//! `c^d mod n` by the Chinese remainder theorem: modulo `p` in one lane and `q` in the other.

use core::array;
use core::hint::black_box;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::arithmetic::Arithmetic;
use crate::blinding::{Blinding, Exponents, Pair, blinded, inverting, random};
use crate::lanes::Lanes;
use crate::montgomery::{
    Columns, Modulus, Number, columns, multiply, number, power, reduce, settle, square, wipe,
};
use crate::simd::simd;
use crate::{limbs, words};

/// Bits of the exponent that are looked up at a time.
const WINDOW: usize = 4;

/// Sums of a limb's powers that do not wait for each other.
const SUMS: usize = 4;

/// The private parts of a key: words, as many for each of them.
pub struct Secrets {
    /// The primes, `p` first.
    pub primes: [Zeroizing<Vec<u32>>; 2],
    /// `d mod (p - 1)` and `d mod (q - 1)`.
    pub exponents: Exponents,
    /// `1 / q` modulo `p`.
    pub coefficient: Zeroizing<Vec<u32>>,
}

/// A private operation, for one size and arithmetic.
pub trait PrivateOperation: Send + Sync {
    /// `c^d mod n`, for `c` below `n` and the `d` that belongs to the public exponent `e`. The time
    /// depends on nothing that is secret.
    fn apply(
        &self,
        secrets: &Secrets,
        c: &[u32],
        e: u64,
        rng: &mut dyn CryptoRng,
    ) -> Zeroizing<Vec<u32>>;

    /// Forgets what is kept between operations: a result was not right.
    fn forget(&self);
}

/// The primes, one in each lane.
pub struct Private<A: Arithmetic, const N: usize> {
    modulus: Modulus<A, N>,
    /// `1 / q`, in Montgomery's form, in the lane of `p`.
    coefficient: Number<A, N>,
    blinding: Blinding<A, N>,
}

impl<A: Arithmetic, const N: usize> Private<A, N> {
    /// Takes primes that are odd, and have the top bits of their words set.
    pub fn new(secrets: &Secrets) -> Self {
        let [p, q] = &secrets.primes;
        let modulus = Modulus::new([p, q]);
        let mut coefficient = number::<A, N>([&secrets.coefficient, &[]]);
        A::Vector::run(|| {
            let mut columns = columns::<A, N>();
            let square = &modulus.square;
            multiply::<A, N>(&modulus, &mut columns, &mut coefficient, square);
            wipe(columns.as_flattened_mut(), A::empty());
        });
        Self {
            modulus,
            coefficient,
            blinding: Blinding::new(),
        }
    }

    /// A pair that hides the base, of a new random number.
    fn pair(&self, secrets: &Secrets, e: u64, rng: &mut dyn CryptoRng) -> Box<Pair<A, N>> {
        let [p, q] = secrets.primes.each_ref().map(|prime| prime.len());
        let [p, q] = [random(p, rng), random(q, rng)];
        let mut workspace = Workspace::<A, N>::new();
        workspace.x = number::<A, N>([&p, &q]);
        let mut pair = Box::new(Pair::new());
        let exponents = inverting(&secrets.primes);
        A::Vector::run(|| hide(&self.modulus, &mut workspace, &mut pair, e, &exponents));
        workspace.wipe();
        pair
    }
}

impl<A: Arithmetic, const N: usize> Drop for Private<A, N> {
    fn drop(&mut self) {
        wipe(&mut self.coefficient, A::Vector::splat(-0.0));
    }
}

impl<A: Arithmetic, const N: usize> PrivateOperation for Private<A, N> {
    fn apply(
        &self,
        secrets: &Secrets,
        c: &[u32],
        e: u64,
        rng: &mut dyn CryptoRng,
    ) -> Zeroizing<Vec<u32>> {
        let [p, q] = &secrets.primes;
        // Zero is zero under every factor, and would show the digits of the exponents that are zero.
        let is_zero = c.iter().all(|word| *word == 0);
        let mut pair = match is_zero {
            true => None,
            false => self.blinding.take(|| self.pair(secrets, e, rng)),
        };
        let longer;
        let exponents = if pair.is_some() {
            &secrets.exponents
        } else {
            longer = blinded(&secrets.exponents, &secrets.primes, rng);
            &longer
        };
        let mut workspace = Workspace::<A, N>::new();
        workspace.load(&limbs::from_words(c, 0, A::BITS, 2 * N));
        let hiding = pair.as_deref_mut();
        A::Vector::run(|| raise(&self.modulus, &mut workspace, exponents, hiding));
        if let Some(pair) = pair {
            self.blinding.keep(pair);
        }
        let remainder = limbs::to_words(workspace.lane(1), A::BITS, q);
        // h = (c^dp - c^dq) / q mod p, and the result is c^dq + h · q.
        let subtrahend = limbs::from_words(&remainder, 0, A::BITS, N);
        let coefficient = &self.coefficient;
        A::Vector::run(|| divide(&self.modulus, &mut workspace, &subtrahend, coefficient));
        let quotient = limbs::to_words(workspace.lane(0), A::BITS, p);
        workspace.wipe();
        let mut result = remainder;
        result.resize(p.len() + q.len(), 0);
        words::add_product(&mut result, &quotient, q);
        result
    }

    fn forget(&self) {
        self.blinding.forget();
    }
}

/// What an operation works in.
struct Workspace<A: Arithmetic, const N: usize> {
    x: Number<A, N>,
    columns: Columns<A, N>,
    /// The powers of the base up to 2^WINDOW, limb by limb.
    table: [[A::Vector; 1 << WINDOW]; N],
}

impl<A: Arithmetic, const N: usize> Workspace<A, N> {
    // Filling it is a row of stores, which would stand wherever one is made. That of the table is a loop
    // over its rows, which the compiler must not look into.
    #[inline(never)]
    fn new() -> Self {
        let blank = A::Vector::splat(-0.0);
        Self {
            x: [blank; N],
            columns: columns::<A, N>(),
            table: array::from_fn(|_| black_box([blank; 1 << WINDOW])),
        }
    }

    /// Loads the columns of both lanes with a number of twice the limbs.
    fn load(&mut self, number: &[f64]) {
        let columns = self.columns.as_flattened_mut();
        for (column, limb) in columns.iter_mut().zip(number) {
            *column = A::column(A::Vector::splat(*limb));
        }
    }

    /// The number in a lane, limb by limb.
    fn lane(&self, index: usize) -> impl Iterator<Item = f64> {
        self.x.iter().map(move |limb| {
            let [first, second] = limb.values();
            if index == 0 { first } else { second }
        })
    }

    /// Overwrites everything: all of it is secret.
    fn wipe(&mut self) {
        let blank = A::Vector::splat(-0.0);
        wipe(&mut self.x, blank);
        wipe(self.columns.as_flattened_mut(), A::empty());
        wipe(self.table.as_flattened_mut(), blank);
    }
}

simd! {
/// `x = columns^exponents`, out of Montgomery's form and above `-m` and below `m`. The pair that hides the
/// base is another one afterwards.
fn raise<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    workspace: &mut Workspace<A, N>,
    exponents: &Exponents,
    mut pair: Option<&mut Pair<A, N>>,
) {
    let Workspace { x, columns, .. } = workspace;
    // The reduction divides by R, and each multiplication by R^2 brings one R.
    reduce::<A, N>(modulus, columns, x);
    multiply::<A, N>(modulus, columns, x, &modulus.square);
    multiply::<A, N>(modulus, columns, x, &modulus.square);
    if let Some(pair) = &mut pair {
        multiply::<A, N>(modulus, columns, x, &pair.base);
        square::<A, N>(modulus, columns, &mut pair.base);
    }
    raise_in_form(modulus, workspace, exponents);
    let Workspace { x, columns, .. } = workspace;
    if let Some(pair) = &mut pair {
        multiply::<A, N>(modulus, columns, x, &pair.result);
        square::<A, N>(modulus, columns, &mut pair.result);
    }
    let mut power = *x;
    leave::<A, N>(modulus, columns, x, &power);
    wipe(&mut power, A::Vector::splat(-0.0));
}
}

simd! {
/// The pair of the number in `x`, which is at most twice the modulus, by the exponents that invert it. A
/// random number is one in Montgomery's form as well.
fn hide<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    workspace: &mut Workspace<A, N>,
    pair: &mut Pair<A, N>,
    e: u64,
    inverting: &Exponents,
) {
    let Workspace { x, columns, .. } = workspace;
    pair.base = *x;
    power::<A, N>(modulus, columns, &mut pair.base, e);
    raise_in_form(modulus, workspace, inverting);
    pair.result = workspace.x;
}
}

simd! {
/// `x = x^exponents` in Montgomery's form.
fn raise_in_form<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    workspace: &mut Workspace<A, N>,
    exponents: &Exponents,
) {
    let Workspace { x, columns, table } = workspace;
    let mut base = *x;
    // R^2 out of Montgomery's form is R, which is one.
    leave::<A, N>(modulus, columns, x, &modulus.square);
    for index in 0..1 << WINDOW {
        store(table, index, x);
        multiply::<A, N>(modulus, columns, x, &base);
    }
    wipe(&mut base, A::Vector::splat(-0.0));
    let mut factor = [A::Vector::splat(-0.0); N];
    let mut chosen = [A::Vector::splat(-0.0); 1 << WINDOW];
    let mut first = true;
    for digits in windows(exponents) {
        if first {
            look_up(table, digits, &mut chosen, x);
            first = false;
            continue;
        }
        for _ in 0..WINDOW {
            square::<A, N>(modulus, columns, x);
        }
        look_up(table, digits, &mut chosen, &mut factor);
        multiply::<A, N>(modulus, columns, x, &factor);
    }
    wipe(&mut factor, A::Vector::splat(-0.0));
    wipe(&mut chosen, A::Vector::splat(-0.0));
}
}

simd! {
/// `x = (x - subtrahend) · coefficient`.
fn divide<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    workspace: &mut Workspace<A, N>,
    subtrahend: &[f64],
    coefficient: &Number<A, N>,
) {
    let Workspace { x, columns, .. } = workspace;
    for (limb, subtrahend) in x.iter_mut().zip(subtrahend) {
        *limb = limb.minus(A::Vector::splat(*subtrahend));
    }
    settle::<A, N>(x);
    multiply::<A, N>(modulus, columns, x, coefficient);
}
}

simd! {
/// `x = y / R`.
fn leave<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut Columns<A, N>,
    x: &mut Number<A, N>,
    y: &Number<A, N>,
) {
    let [lower, upper] = columns;
    for (column, limb) in lower.iter_mut().zip(y) {
        *column = A::column(*limb);
    }
    upper.fill(A::empty());
    reduce::<A, N>(modulus, columns, x);
}
}

/// The digits of two exponents of one length, the most significant first.
fn windows(exponents: &Exponents) -> impl Iterator<Item = [u32; 2]> {
    let [first, second] = exponents;
    first
        .iter()
        .zip(second.iter())
        .rev()
        .flat_map(|(first, second)| {
            (0..32 / WINDOW).rev().map(move |window| {
                [first, second].map(|word| word >> (WINDOW * window) & ((1 << WINDOW) - 1))
            })
        })
}

simd! {
/// Keeps a number as one of the powers.
fn store<V: Lanes, const N: usize>(
    table: &mut [[V; 1 << WINDOW]; N],
    index: usize,
    x: &[V; N],
) {
    for (powers, limb) in table.iter_mut().zip(x) {
        if let Some(power) = powers.get_mut(index) {
            *power = *limb;
        }
    }
}
}

simd! {
/// The power that each lane's digit names. Every power is read, and multiplied by 1 or by 0.
fn look_up<V: Lanes, const N: usize>(
    table: &[[V; 1 << WINDOW]; N],
    [first, second]: [u32; 2],
    chosen: &mut [V; 1 << WINDOW],
    x: &mut [V; N],
) {
    for (index, chosen) in (0..).zip(chosen.iter_mut()) {
        *chosen = V::pair(limbs::equal(first, index), limbs::equal(second, index));
    }
    const { assert!((1_usize << WINDOW).is_multiple_of(SUMS)) };
    let (chosen, _) = chosen.as_chunks::<SUMS>();
    for (limb, powers) in x.iter_mut().zip(table) {
        let mut sums = [V::splat(0.0); SUMS];
        for (powers, chosen) in powers.as_chunks::<SUMS>().0.iter().zip(chosen) {
            for ((sum, power), chosen) in sums.iter_mut().zip(powers).zip(chosen) {
                *sum = power.times_plus(*chosen, *sum);
            }
        }
        *limb = sums.into_iter().fold(V::splat(0.0), V::plus);
    }
}
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use rsa::PrivateKey as RsaPrivateKey;
    use rsa::traits::PrivateKeyParts;

    use super::*;
    use crate::arithmetic::{Split, Whole};
    use crate::lanes::{Fused, Plain};

    const E: u64 = 65_537;

    fn secrets(rng: &mut ChaCha20Rng) -> Secrets {
        let key = RsaPrivateKey::new(rng, 1024).unwrap();
        let words = |number: &rsa::BoxedUint| {
            words::from_be_bytes(&number.to_be_bytes_trimmed_vartime(), 16).unwrap()
        };
        Secrets {
            primes: [words(&key.primes()[0]), words(&key.primes()[1])],
            exponents: [words(key.dp().unwrap()), words(key.dq().unwrap())],
            coefficient: words(&key.crt_coefficient().unwrap()),
        }
    }

    /// `base · result^e`, out of Montgomery's form.
    fn product<A: Arithmetic, const N: usize>(
        private: &Private<A, N>,
        secrets: &Secrets,
        pair: &Pair<A, N>,
    ) -> [Zeroizing<Vec<u32>>; 2] {
        let modulus = &private.modulus;
        let mut x = pair.result;
        A::Vector::run(|| {
            let mut columns = columns::<A, N>();
            power::<A, N>(modulus, &mut columns, &mut x, E);
            multiply::<A, N>(modulus, &mut columns, &mut x, &pair.base);
            let product = x;
            leave::<A, N>(modulus, &mut columns, &mut x, &product);
        });
        let lane = |lane: usize| {
            let limbs = x.iter().map(move |limb| limb.values()[lane]);
            limbs::to_words(limbs, A::BITS, &secrets.primes[lane])
        };
        [lane(0), lane(1)]
    }

    fn each_operation_changes_the_pair<A: Arithmetic, const N: usize>() {
        let mut rng = ChaCha20Rng::seed_from_u64(12);
        let secrets = secrets(&mut rng);
        let private = Private::<A, N>::new(&secrets);
        let mut one = vec![0; 16];
        one[0] = 1;
        let mut pair = private.pair(&secrets, E, &mut rng);
        for _ in 0..4 {
            let product = product(&private, &secrets, &pair);
            assert_eq!(
                product.each_ref().map(|lane| lane.to_vec()),
                [&one[..], &one]
            );
            let before = pair.base.map(Lanes::values);
            let mut workspace = Workspace::<A, N>::new();
            workspace.load(&limbs::from_words(&[2; 32], 0, A::BITS, 2 * N));
            let (modulus, exponents) = (&private.modulus, &secrets.exponents);
            A::Vector::run(|| raise(modulus, &mut workspace, exponents, Some(&mut *pair)));
            assert_ne!(pair.base.map(Lanes::values), before);
        }
    }

    #[test]
    fn a_pair_belongs_together_and_changes_with_each_operation() {
        each_operation_changes_the_pair::<Split<Fused, 47>, 11>();
        each_operation_changes_the_pair::<Whole<Plain, 24>, 22>();
    }
}
