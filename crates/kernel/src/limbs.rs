//! Between words and limbs.
//!
//! The number of limbs is public, their values are not: no branch and no index depends on them.

use zeroize::Zeroizing;

use crate::words::low;

/// 1.5 · 2^52: an `f64` of this size counts in ones, in the low bits of its representation.
const ONES: f64 = f64::from_bits(ONES_BITS);
const ONES_BITS: u64 = ((1023 + 52) << 52) | (1 << 51);

/// `words · 2^shift` as `count` settled limbs of `bits` bits.
pub fn from_words(words: &[u32], shift: u64, bits: u64, count: usize) -> Zeroizing<Vec<f64>> {
    let mut limbs = Zeroizing::new(Vec::with_capacity(count));
    // At most a limb and a half-word: 47 + 16 bits.
    let (mut held, mut held_bits) = (0_u64, shift);
    let mut carry = 0;
    let mut settle = |raw: u64| {
        let total = raw + carry;
        carry = (total + (1 << (bits - 1))) >> bits;
        to_f64(total.wrapping_sub(carry << bits).cast_signed())
    };
    let halves = words.iter().flat_map(|word| [word & 0xffff, word >> 16]);
    for half in halves {
        held |= u64::from(half) << held_bits;
        held_bits += 16;
        while held_bits >= bits && limbs.len() + 1 < count {
            limbs.push(settle(held & ((1 << bits) - 1)));
            held >>= bits;
            held_bits -= bits;
        }
    }
    // The top limb takes what is left. It is not settled when the number fills all limbs, and at
    // most twice as large as a settled one then.
    if limbs.len() + 1 < count {
        limbs.push(settle(held));
        held = 0;
    }
    while limbs.len() + 1 < count {
        limbs.push(settle(0));
    }
    if limbs.len() < count {
        limbs.push(to_f64((held + carry).cast_signed()));
    }
    limbs
}

/// The number of `limbs`, which is above `-modulus` and below `modulus`, as words from zero up to
/// the modulus. A limb is below 2^51.
pub fn to_words(
    limbs: impl Iterator<Item = f64>,
    bits: u64,
    modulus: &[u32],
) -> Zeroizing<Vec<u32>> {
    let mut words = Zeroizing::new(Vec::with_capacity(modulus.len() + 2));
    // At most a word and 24 bits.
    let (mut held, mut held_bits) = (0_u64, 0);
    let mut carry = 0_i64;
    for limb in limbs {
        let total = to_i64(limb) + carry;
        carry = total >> bits;
        let digit = total.cast_unsigned() & ((1 << bits) - 1);
        for (piece, width) in [
            (digit & 0xff_ffff, bits.min(24)),
            (digit >> 24, bits.max(24) - 24),
        ] {
            held |= piece << held_bits;
            held_bits += width;
            if held_bits >= 32 {
                words.push(low(held));
                held >>= 32;
                held_bits -= 32;
            }
        }
    }
    words.push(low(held));
    words.resize(modulus.len(), 0);
    // The last carry is the sign: 0, or -1, which is all ones.
    let negative = low(carry.cast_unsigned());
    let mut carry = 0;
    for (word, limb) in words.iter_mut().zip(modulus) {
        let total = u64::from(*word) + u64::from(limb & negative) + carry;
        (*word, carry) = (low(total), total >> 32);
    }
    words
}

/// `-1 / modulus` modulo 2^bits, settled, for an odd modulus.
pub fn negative_inverse(modulus: &[u32], bits: u64) -> f64 {
    let word = |index: usize| u64::from(modulus.get(index).copied().unwrap_or(0));
    let modulus = word(0) | word(1) << 32;
    // Newton's iteration doubles the bits that are right; an odd number is its own inverse modulo 8.
    let inverse = (0..5).fold(modulus, |inverse, _| {
        inverse.wrapping_mul(2_u64.wrapping_sub(modulus.wrapping_mul(inverse)))
    });
    let unused = 64 - bits;
    to_f64((inverse.wrapping_neg() << unused).cast_signed() >> unused)
}

/// 1.0 when the two are equal, and 0.0 when they are not. Both are small.
pub fn equal(a: u32, b: u32) -> f64 {
    let equal = u64::from(a ^ b).wrapping_sub(1) >> 63;
    f64::from_bits(equal * 1.0_f64.to_bits())
}

/// An integer below 2^51 in size.
fn to_f64(value: i64) -> f64 {
    f64::from_bits(ONES_BITS.wrapping_add(value.cast_unsigned())) - ONES
}

/// An `f64` that is an integer below 2^51 in size.
fn to_i64(value: f64) -> i64 {
    (value + ONES)
        .to_bits()
        .wrapping_sub(ONES_BITS)
        .cast_signed()
}
