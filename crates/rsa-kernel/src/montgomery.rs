//! Montgomery multiplication of signed limbs, in two lanes with a modulus each.
//!
//! With `R = 2^(BITS·N)`, a multiplication gives `a · b / R` modulo `m`. The digits of the quotient
//! are signed, at most 2^(BITS-1), so that the quotient is at most `R/2 · (1 + 2^(1-BITS))` and
//!
//! ```text
//! |result| ≤ |a| · |b| / R + m/2 · (1 + 2^(1-BITS))
//! ```
//!
//! `R` is at least `2^5 · m` in all sizes: factors that are at most `2·m` give a result below `m`,
//! and there is no last subtraction.
//!
//! One pass settles the limbs of a result: what a column has above 2^BITS goes to its neighbour,
//! and not further. A column is at most `2·N · 2^(BITS-1)`, and half as much again comes from the
//! column below; so the neighbour gets at most `1.5·N + 1`, which is below 128 in the sizes of
//! [`Split`](crate::arithmetic::Split). A column of [`Whole`](crate::arithmetic::Whole) is at most
//! 2^53: its neighbour may get 2^30, and it takes a second pass.

#![expect(
    clippy::indexing_slicing,
    reason = "indices are counters of loops over arrays whose length is a constant"
)]

use core::array;

use crate::arithmetic::Arithmetic;
use crate::lanes::Lanes;
use crate::simd::simd;
use crate::{limbs, words};

/// A number in each lane.
pub type Number<A, const N: usize> = [<A as Arithmetic>::Vector; N];

/// What a multiplication sums up in: the columns of the lower and of the upper half.
pub type Columns<A, const N: usize> = [[<A as Arithmetic>::Column; N]; 2];

/// An odd modulus in each lane, and what its arithmetic needs.
pub struct Modulus<A: Arithmetic, const N: usize> {
    limbs: Number<A, N>,
    /// `-1 / m` modulo 2^BITS.
    inverse: A::Vector,
    /// `R^2` modulo `m`: what brings a number into Montgomery's form.
    pub square: Number<A, N>,
}

impl<A: Arithmetic, const N: usize> Modulus<A, N> {
    /// The moduli of the lanes, which have the same number of words and their top bit set.
    ///
    /// `R^2` is found without a division. With `w` the bits of the words, `2^w - m` is `2^w` modulo
    /// `m`; a shift makes it `R`, which is 1 in Montgomery's form. Its double is 2, and squaring and
    /// doubling make that `2^(BITS·N)`, which is `R`, and `R^2` without the form.
    pub fn new(moduli: [&[u32]; 2]) -> Self {
        let exponent = A::BITS * N as u64;
        let inverse = moduli.map(|modulus| limbs::negative_inverse(modulus, A::BITS));
        let one = moduli.map(|modulus| {
            let shift = exponent - 32 * modulus.len() as u64;
            // At most R / 2.
            limbs::from_words(&words::negative(modulus), shift, A::BITS, N)
        });
        let mut modulus = Self {
            limbs: number::<A, N>(moduli),
            inverse: A::Vector::pair(inverse[0], inverse[1]),
            square: pairs(&one[0], &one[1]),
        };
        A::Vector::run(|| raise_two(&mut modulus, exponent));
        modulus
    }
}

/// A number of both lanes from the words of each.
pub fn number<A: Arithmetic, const N: usize>(words: [&[u32]; 2]) -> Number<A, N> {
    let [first, second] = words.map(|words| limbs::from_words(words, 0, A::BITS, N));
    pairs(&first, &second)
}

/// Vectors of the values of their lanes.
pub fn pairs<V: Lanes, const N: usize>(first: &[f64], second: &[f64]) -> [V; N] {
    let mut values = first.iter().zip(second);
    array::from_fn(|_| {
        let (first, second) = values.next().unwrap_or((&0.0, &0.0));
        V::pair(*first, *second)
    })
}

/// Empty columns.
#[inline(always)]
pub fn columns<A: Arithmetic, const N: usize>() -> Columns<A, N> {
    [[A::empty(); N]; 2]
}

simd! {
/// From 1 in `modulus.square` to 2^exponent.
fn raise_two<A: Arithmetic, const N: usize>(modulus: &mut Modulus<A, N>, exponent: u64) {
    let mut columns = columns::<A, N>();
    let mut power = modulus.square;
    // 1 squared is 1, but at most R / 4 + m / 2; then 2 is at most R / 2 + m.
    square::<A, N>(modulus, &mut columns, &mut power);
    double::<A, N>(&mut power);
    for bit in (0..exponent.ilog2()).rev() {
        square::<A, N>(modulus, &mut columns, &mut power);
        if exponent >> bit & 1 == 1 {
            double::<A, N>(&mut power);
        }
    }
    modulus.square = power;
}
}

simd! {
/// `x = 2 · x`.
fn double<A: Arithmetic, const N: usize>(x: &mut Number<A, N>) {
    for limb in x.iter_mut() {
        *limb = limb.plus(*limb);
    }
    settle::<A, N>(x);
}
}

simd! {
/// Settles limbs that are below 2^53.
pub fn settle<A: Arithmetic, const N: usize>(x: &mut Number<A, N>) {
    let mut carry = A::Vector::splat(0.0);
    for limb in &mut x[..N - 1] {
        let rounded = A::round(*limb);
        *limb = A::carried(carry, limb.minus(rounded));
        carry = rounded;
    }
    x[N - 1] = A::carried(carry, x[N - 1]);
}
}

simd! {
/// `x = x · y / R`.
pub fn multiply<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut Columns<A, N>,
    x: &mut Number<A, N>,
    y: &Number<A, N>,
) {
    sum_products::<A, N>(columns.as_flattened_mut(), x, y);
    reduce::<A, N>(modulus, columns, x);
}
}

simd! {
/// `x = x^2 / R`.
pub fn square<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut Columns<A, N>,
    x: &mut Number<A, N>,
) {
    sum_squares::<A, N>(columns.as_flattened_mut(), x);
    reduce::<A, N>(modulus, columns, x);
}
}

simd! {
/// The columns of `a · b`, two rows in a pass.
fn sum_products<A: Arithmetic, const N: usize>(
    columns: &mut [A::Column],
    a: &Number<A, N>,
    b: &Number<A, N>,
) {
    columns[..N].fill(A::empty());
    columns[2 * N - 1] = A::empty();
    let mut row = 0;
    while row + 1 < N {
        let (a0, a1) = (a[row], a[row + 1]);
        let columns = &mut columns[row..row + N + 1];
        columns[N - 1..].fill(A::empty());
        columns[0] = A::add_product(columns[0], a0, b[0]);
        for ((column, left), right) in columns[1..].iter_mut().zip(&b[1..]).zip(b) {
            *column = A::add_product(A::add_product(*column, a0, *left), a1, *right);
        }
        columns[N] = A::add_product(columns[N], a1, b[N - 1]);
        row += 2;
    }
    if row < N {
        let columns = &mut columns[row..row + N];
        columns[N - 1] = A::empty();
        for (column, limb) in columns.iter_mut().zip(b) {
            *column = A::add_product(*column, a[row], *limb);
        }
    }
}
}

simd! {
/// The columns of `a^2`, two rows of the triangle in a pass: what stands twice is doubled.
fn sum_squares<A: Arithmetic, const N: usize>(columns: &mut [A::Column], a: &Number<A, N>) {
    columns[..N].fill(A::empty());
    columns[2 * N - 1] = A::empty();
    let mut row = 0;
    while row + 1 < N {
        let (a0, a1) = (a[row], a[row + 1]);
        let (d0, d1) = (a0.plus(a0), a1.plus(a1));
        columns[row + N - 1..=row + N].fill(A::empty());
        let columns = &mut columns[2 * row..=row + N];
        columns[0] = A::add_product(columns[0], a0, a0);
        columns[1] = A::add_product(columns[1], d0, a1);
        columns[2] = A::add_product(columns[2], a1, a1);
        let rest = &a[row + 2..];
        for (column, left) in columns[2..].iter_mut().zip(rest) {
            *column = A::add_product(*column, d0, *left);
        }
        for (column, right) in columns[3..].iter_mut().zip(rest) {
            *column = A::add_product(*column, d1, *right);
        }
        row += 2;
    }
    if row < N {
        columns[2 * row] = A::add_product(A::empty(), a[row], a[row]);
    }
}
}

simd! {
/// `x = columns / R`, settled, after the multiple of the modulus is added that makes the lower
/// half zero. Two rows in a pass.
pub fn reduce<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut Columns<A, N>,
    x: &mut Number<A, N>,
) {
    let columns = columns.as_flattened_mut();
    let m = &modulus.limbs;
    let mut carry = Carry::<A>::none();
    let mut row = 0;
    while row + 1 < N {
        let columns = &mut columns[row..row + N + 1];
        let column = carry.add_to(columns[0]);
        let q0 = carry.digit(modulus, column);
        let column = A::add_product(carry.add_to(columns[1]), q0, m[1]);
        let q1 = carry.digit(modulus, column);
        for ((column, left), right) in columns[2..].iter_mut().zip(&m[2..]).zip(&m[1..]) {
            *column = A::add_product(A::add_product(*column, q0, *left), q1, *right);
        }
        columns[N] = A::add_product(columns[N], q1, m[N - 1]);
        row += 2;
    }
    if row < N {
        let columns = &mut columns[row..row + N];
        let column = carry.add_to(columns[0]);
        let q = carry.digit(modulus, column);
        for (column, limb) in columns[1..].iter_mut().zip(&m[1..]) {
            *column = A::add_product(*column, q, *limb);
        }
    }
    let mut below = carry.early.plus(carry.late);
    let mut rounded = A::Vector::splat(0.0);
    for (limb, column) in x.iter_mut().zip(&columns[N..2 * N - 1]) {
        let value = A::carried(below, A::here(*column));
        below = A::above(*column);
        let multiple = A::round(value);
        *limb = A::carried(rounded, value.minus(multiple));
        rounded = multiple;
    }
    // The last column has no product.
    let top = A::carried(below, A::here(columns[2 * N - 1]));
    x[N - 1] = A::carried(rounded, top);
    if A::SETTLES_TWICE {
        settle::<A, N>(x);
    }
}
}

/// What the lower columns of a reduction carry: multiples of 2^BITS.
///
/// What comes early and is large is rounded before it is added, so that the sum of a column and
/// its carries keeps within the bounds of [`Arithmetic::low_product`].
struct Carry<A: Arithmetic> {
    /// What was summed above the column, and is known before its digit.
    early: A::Vector,
    /// What the digit makes of the column's own sum.
    late: A::Vector,
}

impl<A: Arithmetic> Carry<A> {
    #[inline(always)]
    fn none() -> Self {
        let zero = A::Vector::splat(0.0);
        Self {
            early: zero,
            late: zero,
        }
    }

    /// The next column with what it is carried. What is too large for it stays in `early`.
    #[inline(always)]
    fn add_to(&mut self, column: A::Column) -> A::Column {
        let early = self.early.times(A::Vector::splat(A::DOWN));
        self.early = A::round(early);
        A::add(column, A::carried(self.late, early.minus(self.early)))
    }

    /// The digit of the quotient for a column, which is done with then.
    #[inline(always)]
    fn digit<const N: usize>(&mut self, modulus: &Modulus<A, N>, column: A::Column) -> A::Vector {
        let value = A::here(column);
        let digit = A::low_product(value, modulus.inverse);
        self.early = self.early.plus(A::above(column));
        self.late = digit.times_plus(modulus.limbs[0], value);
        digit
    }
}

/// Overwrites what is secret.
#[inline(always)]
pub fn wipe<T: Copy>(memory: &mut [T], blank: T) {
    memory.fill(blank);
    core::hint::black_box(memory);
}
