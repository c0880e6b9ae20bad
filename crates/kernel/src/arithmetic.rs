//! How limbs are multiplied: as two halves that fused multiply-adds separate, or whole.
//!
//! A number is a sum of signed limbs, `Σ limb[k] · 2^(BITS·k)`. A *settled* limb is at most
//! `2^(BITS-1) + 128` in size: half the radix, and what one pass of carries leaves on top. What is
//! multiplied is settled, so a product is at most `2^(2·BITS-2)`, and a little: the 128 add less
//! than a part in 2^14 to it, which the margins below cover.
//!
//! A *column* is the sum of the products of one weight. With `N` limbs it takes `N` products of a
//! multiplication and `N` of its reduction. What is stated of the sizes of [`Split`] holds for
//! `N + 1 < 2^(52-BITS)`: in use are 11 and 22 limbs of 47 bits (23 is below 32) and 45 of 46 bits
//! (46 is below 64).

use core::marker::PhantomData;

use crate::lanes::Lanes;

/// Products of limbs, and the columns in which they are summed.
pub trait Arithmetic: Send + Sync + 'static {
    /// The vector type.
    type Vector: Lanes;

    /// A sum of products of one weight.
    type Column: Copy;

    /// Bits of a limb.
    const BITS: u64;

    /// Whether a sum is so large that its carries take two passes ([`crate::montgomery`]).
    const SETTLES_TWICE: bool;

    /// 2^-BITS.
    const DOWN: f64 = f64::from_bits((1023 - Self::BITS) << 52);

    /// 1.5 · 2^(52+BITS), which rounds to multiples of 2^BITS what is added to it: it has no bits
    /// below 2^BITS, and keeps its exponent while what is added stays below 2^(51+BITS).
    const ANCHOR: f64 = f64::from_bits((1023 + 52 + Self::BITS) << 52 | 1 << 51);

    /// A column that holds a value.
    fn column(value: Self::Vector) -> Self::Column;

    /// A column with a value added that has the size of a few limbs.
    fn add(column: Self::Column, value: Self::Vector) -> Self::Column;

    /// A column with a product added.
    fn add_product(column: Self::Column, a: Self::Vector, b: Self::Vector) -> Self::Column;

    /// The part of the sum that stays in its column.
    fn here(column: Self::Column) -> Self::Vector;

    /// The part of the sum that belongs to the column above: a multiple of 2^BITS.
    fn above(column: Self::Column) -> Self::Vector;

    /// `value · factor` modulo 2^BITS, at most 2^(BITS-1) in size. The factor is settled, the value
    /// is the part of a column that stays, and two limbs.
    fn low_product(value: Self::Vector, factor: Self::Vector) -> Self::Vector;

    /// An empty column. It holds minus zero, because arrays of zeros are made by calls into the
    /// host.
    #[inline(always)]
    fn empty() -> Self::Column {
        Self::column(Self::Vector::splat(-0.0))
    }

    /// The nearest multiple of 2^BITS.
    #[inline(always)]
    fn round(value: Self::Vector) -> Self::Vector {
        let anchor = Self::Vector::splat(Self::ANCHOR);
        value.plus(anchor).minus(anchor)
    }

    /// `value` with a carry from the column below, which is a multiple of 2^BITS.
    #[inline(always)]
    fn carried(carry: Self::Vector, value: Self::Vector) -> Self::Vector {
        carry.times_plus(Self::Vector::splat(Self::DOWN), value)
    }
}

/// Limbs whose products are longer than an `f64`. Each is split exactly, by a vector type that
/// does not round the product of a multiply-add.
///
/// The column's `high` starts at the anchor, so that adding a product to it rounds the product to
/// a multiple of 2^BITS; the difference to the sum before is what was added, and a second
/// multiply-add leaves what was not. The sum of `2·N` products is below
/// `2·N · 2^(2·BITS-2) < 2^(51+BITS)`, so that `high` keeps its exponent. What is left of a product
/// is at most 2^(BITS-1), and `2·N` of them stay below 2^52, so that `low` is exact.
pub struct Split<V, const BITS: u64>(PhantomData<V>);

/// A column of [`Split`].
#[derive(Clone, Copy)]
pub struct Halves<V> {
    high: V,
    low: V,
}

impl<V: Lanes, const BITS: u64> Arithmetic for Split<V, BITS> {
    type Vector = V;
    type Column = Halves<V>;

    const BITS: u64 = BITS;
    const SETTLES_TWICE: bool = false;

    #[inline(always)]
    fn column(value: V) -> Halves<V> {
        Halves {
            high: V::splat(Self::ANCHOR),
            low: value,
        }
    }

    #[inline(always)]
    fn add(column: Halves<V>, value: V) -> Halves<V> {
        Halves {
            high: column.high,
            low: column.low.plus(value),
        }
    }

    #[inline(always)]
    fn add_product(column: Halves<V>, a: V, b: V) -> Halves<V> {
        let high = a.times_plus(b, column.high);
        let left = a.times_plus(b, column.high.minus(high));
        Halves {
            high,
            low: column.low.plus(left),
        }
    }

    #[inline(always)]
    fn here(column: Halves<V>) -> V {
        column.low
    }

    #[inline(always)]
    fn above(column: Halves<V>) -> V {
        column.high.minus(V::splat(Self::ANCHOR))
    }

    /// The value is at most `(2·N + 2) · 2^(BITS-1) = (N + 1) · 2^BITS < 2^52`, its product with the
    /// factor is below 2^(51+BITS), and the anchor keeps its exponent. What is left is exact as in
    /// a column.
    #[inline(always)]
    fn low_product(value: V, factor: V) -> V {
        let anchor = V::splat(Self::ANCHOR);
        let high = value.times_plus(factor, anchor);
        value.times_plus(factor, anchor.minus(high))
    }
}

/// Limbs that are so small that `2·N` products and their sum fit an `f64`: exact with any vector
/// type, and with a host that rounds the product of a multiply-add.
///
/// `2·N` products are below `2·N · 2^(2·BITS-2) · (1 + 2^-14)`: 2^52.5 for 44 limbs of 24 bits, and
/// 2^51.5 for 90 limbs of 23 bits. A carry adds less than 2^30 to it.
pub struct Whole<V, const BITS: u64>(PhantomData<V>);

impl<V: Lanes, const BITS: u64> Arithmetic for Whole<V, BITS> {
    type Vector = V;
    type Column = V;

    const BITS: u64 = BITS;
    const SETTLES_TWICE: bool = true;

    #[inline(always)]
    fn column(value: V) -> V {
        value
    }

    #[inline(always)]
    fn add(column: V, value: V) -> V {
        column.plus(value)
    }

    #[inline(always)]
    fn add_product(column: V, a: V, b: V) -> V {
        a.times_plus(b, column)
    }

    #[inline(always)]
    fn here(column: V) -> V {
        column
    }

    #[inline(always)]
    fn above(_: V) -> V {
        V::splat(0.0)
    }

    /// The value is cut to its low bits first, so that the product is one of limbs.
    #[inline(always)]
    fn low_product(value: V, factor: V) -> V {
        let product = value.minus(Self::round(value)).times(factor);
        product.minus(Self::round(product))
    }
}
