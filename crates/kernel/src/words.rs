//! Unsigned integers of 32-bit words, least significant first: what enters and leaves the vectors.
//!
//! The length of an operand is public, its value is not: no branch and no index depends on it.

use zeroize::Zeroizing;

/// A number from big-endian bytes: `None` when it does not fit `length` words.
pub fn from_be_bytes(bytes: &[u8], length: usize) -> Option<Zeroizing<Vec<u32>>> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(zeros..)?;
    if bytes.len() > length.checked_mul(4)? {
        return None;
    }
    let mut words = Zeroizing::new(Vec::with_capacity(length));
    words.extend(bytes.rchunks(4).map(|chunk| {
        chunk
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte))
    }));
    words.resize(length, 0);
    Some(words)
}

/// The big-endian bytes of a number, four for each word.
pub fn to_be_bytes(words: &[u32]) -> Zeroizing<Vec<u8>> {
    let bytes = words.iter().rev().flat_map(|word| word.to_be_bytes());
    Zeroizing::new(bytes.collect())
}

/// `sum += a · b`. The sum has the words of both together, and does not overflow.
pub fn add_product(sum: &mut [u32], a: &[u32], b: &[u32]) {
    for (shift, factor) in a.iter().enumerate() {
        let Some(row) = sum.get_mut(shift..) else {
            return;
        };
        // (2^32-1)^2 + 2·(2^32-1) = 2^64-1: neither the sum nor the carry overflows.
        let mut carry = 0;
        let mut row = row.iter_mut();
        for (limb, word) in b.iter().zip(row.by_ref()) {
            let total = u64::from(*factor) * u64::from(*limb) + u64::from(*word) + carry;
            (*word, carry) = (low(total), total >> 32);
        }
        for word in row {
            let total = u64::from(*word) + carry;
            (*word, carry) = (low(total), total >> 32);
        }
    }
}

/// `a + b`, for operands of one length; `None` when it has more words.
pub fn plus(a: &[u32], b: &[u32]) -> Option<Zeroizing<Vec<u32>>> {
    let mut carry = 0;
    let words = a.iter().zip(b).map(|(a, b)| {
        let total = u64::from(*a) + u64::from(*b) + carry;
        carry = total >> 32;
        low(total)
    });
    let sum = Zeroizing::new(words.collect());
    (carry == 0).then_some(sum)
}

/// `2^(32·words) - number`.
pub fn negative(number: &[u32]) -> Zeroizing<Vec<u32>> {
    let mut carry = 1;
    let words = number.iter().map(|word| {
        let total = u64::from(!word) + carry;
        carry = total >> 32;
        low(total)
    });
    Zeroizing::new(words.collect())
}

/// `number - small`, which is not below zero.
pub fn minus(number: &[u32], small: u32) -> Zeroizing<Vec<u32>> {
    let mut borrow = small;
    let words = number.iter().map(|word| {
        let (difference, borrows) = word.overflowing_sub(borrow);
        borrow = u32::from(borrows);
        difference
    });
    Zeroizing::new(words.collect())
}

/// Whether `a < b`, for operands of one length.
pub fn less_than(a: &[u32], b: &[u32]) -> bool {
    let borrow = a.iter().zip(b).fold(0, |borrow, (a, b)| {
        (u64::from(*a)
            .wrapping_sub(u64::from(*b))
            .wrapping_sub(borrow))
            >> 63
    });
    borrow == 1
}

/// The low word.
pub fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
