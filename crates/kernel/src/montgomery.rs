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

/// A loop over two slices that takes two of each in a turn: the turn itself costs as much as a product.
/// What the first has beyond the second stays as it is.
macro_rules! in_twos {
    (for ($first:ident, $second:ident) in ($firsts:expr, $seconds:expr) $body:block) => {{
        let (pairs, odd) = $seconds.as_chunks();
        let (first_pairs, first_odd) = $firsts.split_at_mut(2 * pairs.len());
        for ([first0, first1], [second0, second1]) in
            first_pairs.as_chunks_mut().0.iter_mut().zip(pairs)
        {
            let ($first, $second) = (first0, second0);
            $body
            let ($first, $second) = (first1, second1);
            $body
        }
        for ($first, $second) in first_odd.iter_mut().zip(odd) {
            $body
        }
    }};
}

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
    #[expect(clippy::as_conversions, reason = "a length fits 64 bits")]
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

impl<A: Arithmetic, const N: usize> Drop for Modulus<A, N> {
    fn drop(&mut self) {
        let blank = A::Vector::splat(-0.0);
        wipe(&mut self.limbs, blank);
        wipe(&mut self.square, blank);
        wipe(core::slice::from_mut(&mut self.inverse), blank);
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
    wipe(columns.as_flattened_mut(), A::empty());
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
/// `x = x · y / R`. The rows of the product and of the reduction go side by side, so that the
/// digits of the quotient, which wait for each other, are found while products are summed.
pub fn multiply<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut Columns<A, N>,
    x: &mut Number<A, N>,
    y: &Number<A, N>,
) {
    let columns = columns.as_flattened_mut();
    let m = &modulus.limbs;
    begin::<A, N>(columns);
    let mut carry = Carry::<A>::none();
    let mut row = 0;
    while row + 1 < N {
        let (x0, x1) = (x[row], x[row + 1]);
        let columns = &mut columns[row..row + N + 1];
        columns[N - 1..].fill(A::empty());
        let column = A::add_product(columns[0], x0, y[0]);
        let q0 = carry.digit(modulus, column);
        let column = A::add_product(A::add_product(columns[1], x0, y[1]), x1, y[0]);
        let q1 = carry.next_digit(modulus, column, q0);
        let (mut y_below, mut m_below) = (y[1], m[1]);
        for ((column, y), m) in columns[2..].iter_mut().zip(&y[2..]).zip(&m[2..]) {
            let products = A::add_product(A::add_product(*column, x0, *y), x1, y_below);
            *column = A::add_product(A::add_product(products, q0, *m), q1, m_below);
            (y_below, m_below) = (*y, *m);
        }
        let column = A::add_product(columns[N], x1, y_below);
        columns[N] = A::add_product(column, q1, m_below);
        row += 2;
    }
    if row < N {
        let columns = &mut columns[row..row + N];
        columns[N - 1] = A::empty();
        in_twos!(for (column, y) in (columns, y) {
            *column = A::add_product(*column, x[row], *y);
        });
        reduce_row(modulus, columns, &mut carry);
    }
    finish::<A, N>(columns, &carry, x);
}
}

simd! {
/// `x = x^2 / R`. The products of the triangle above the diagonal stand twice in a square: they
/// are taken once, doubled.
pub fn square<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut Columns<A, N>,
    x: &mut Number<A, N>,
) {
    let columns = columns.as_flattened_mut();
    begin::<A, N>(columns);
    let mut carry = Carry::<A>::none();
    let mut row = 0;
    while row + 1 < N {
        let (x0, x1) = (x[row], x[row + 1]);
        let (double0, double1) = (x0.plus(x0), x1.plus(x1));
        columns[row + N - 1..=row + N].fill(A::empty());
        let triangle = &mut columns[2 * row..=row + N];
        triangle[0] = A::add_product(triangle[0], x0, x0);
        triangle[1] = A::add_product(triangle[1], double0, x1);
        triangle[2] = A::add_product(triangle[2], x1, x1);
        let rest = &x[row + 2..];
        if let Some(first) = rest.first() {
            triangle[2] = A::add_product(triangle[2], double0, *first);
            let mut x_below = *first;
            in_twos!(for (column, x) in (triangle[3..], rest[1..]) {
                *column = A::add_product(A::add_product(*column, double0, *x), double1, x_below);
                x_below = *x;
            });
            let last = triangle.len() - 1;
            triangle[last] = A::add_product(triangle[last], double1, x_below);
        }
        reduce_two_rows(modulus, &mut columns[row..=row + N], &mut carry);
        row += 2;
    }
    if row < N {
        columns[2 * row] = A::add_product(A::empty(), x[row], x[row]);
        reduce_row(modulus, &mut columns[row..row + N], &mut carry);
    }
    finish::<A, N>(columns, &carry, x);
}
}

simd! {
/// `x = x^exponent` in Montgomery's form, for an exponent above 0. The time depends on the exponent.
pub fn power<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut Columns<A, N>,
    x: &mut Number<A, N>,
    exponent: u64,
) {
    let mut base = *x;
    for bit in (0..exponent.ilog2()).rev() {
        square::<A, N>(modulus, columns, x);
        if exponent >> bit & 1 == 1 {
            multiply::<A, N>(modulus, columns, x, &base);
        }
    }
    wipe(&mut base, A::Vector::splat(-0.0));
}
}

simd! {
/// `x = columns / R`.
pub fn reduce<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut Columns<A, N>,
    x: &mut Number<A, N>,
) {
    let columns = columns.as_flattened_mut();
    let mut carry = Carry::<A>::none();
    let mut row = 0;
    while row + 1 < N {
        reduce_two_rows(modulus, &mut columns[row..=row + N], &mut carry);
        row += 2;
    }
    if row < N {
        reduce_row(modulus, &mut columns[row..row + N], &mut carry);
    }
    finish::<A, N>(columns, &carry, x);
}
}

/// Empties the columns of the first row. Each pair of rows empties the two that it is the first to
/// reach, and none reaches the last.
#[inline(always)]
fn begin<A: Arithmetic, const N: usize>(columns: &mut [A::Column]) {
    columns[..N].fill(A::empty());
    columns[2 * N - 1] = A::empty();
}

/// Adds the multiples of the modulus that make the first two of `N + 1` columns zero.
#[inline(always)]
fn reduce_two_rows<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut [A::Column],
    carry: &mut Carry<A>,
) {
    let m = &modulus.limbs;
    let q0 = carry.digit(modulus, columns[0]);
    let q1 = carry.next_digit(modulus, columns[1], q0);
    let mut m_below = m[1];
    in_twos!(for (column, m) in (columns[2..], m[2..]) {
        *column = A::add_product(A::add_product(*column, q0, *m), q1, m_below);
        m_below = *m;
    });
    columns[N] = A::add_product(columns[N], q1, m_below);
}

/// Adds the multiple of the modulus that makes the first of `N` columns zero.
#[inline(always)]
fn reduce_row<A: Arithmetic, const N: usize>(
    modulus: &Modulus<A, N>,
    columns: &mut [A::Column],
    carry: &mut Carry<A>,
) {
    let q = carry.digit(modulus, columns[0]);
    in_twos!(for (column, m) in (columns[1..], modulus.limbs[1..]) {
        *column = A::add_product(*column, q, *m);
    });
}

/// The upper half of the columns as settled limbs.
#[inline(always)]
fn finish<A: Arithmetic, const N: usize>(
    columns: &[A::Column],
    carry: &Carry<A>,
    x: &mut Number<A, N>,
) {
    let mut below = carry.early.plus(carry.late);
    let mut rounded = A::Vector::splat(0.0);
    in_twos!(for (limb, column) in (x, columns[N..2 * N - 1]) {
        let value = A::carried(below, A::here(*column));
        below = A::above(*column);
        let multiple = A::round(value);
        *limb = A::carried(rounded, value.minus(multiple));
        rounded = multiple;
    });
    // The last column has no product.
    let top = A::carried(below, A::here(columns[2 * N - 1]));
    x[N - 1] = A::carried(rounded, top);
    if A::SETTLES_TWICE {
        settle::<A, N>(x);
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

    /// The digit of the quotient for the next column.
    #[inline(always)]
    fn digit<const N: usize>(&mut self, modulus: &Modulus<A, N>, column: A::Column) -> A::Vector {
        let column = self.add_to(column);
        self.take(modulus, column)
    }

    /// The same for a column that lacks the product of the digit before.
    #[inline(always)]
    fn next_digit<const N: usize>(
        &mut self,
        modulus: &Modulus<A, N>,
        column: A::Column,
        digit: A::Vector,
    ) -> A::Vector {
        let column = A::add_product(self.add_to(column), digit, modulus.limbs[1]);
        self.take(modulus, column)
    }

    #[inline(always)]
    fn take<const N: usize>(&mut self, modulus: &Modulus<A, N>, column: A::Column) -> A::Vector {
        let value = A::here(column);
        let digit = A::low_product(value, modulus.inverse);
        self.early = self.early.plus(A::above(column));
        self.late = digit.times_plus(modulus.limbs[0], value);
        digit
    }
}

/// Overwrites what is secret. The compiler must not know the length: it would make a row of stores of it.
#[inline(always)]
pub fn wipe<T: Copy>(memory: &mut [T], blank: T) {
    let memory = core::hint::black_box(memory);
    memory.fill(blank);
    core::hint::black_box(memory);
}
