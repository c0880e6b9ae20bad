//! GF(2^8) as a plane over its subfield GF(2^4), and the tables of 16 bytes that invert in it (Hamburg,
//! "Accelerating AES with Vector Permute Instructions", CHES 2009).
//!
//! A byte x is k + iτ, of k and i in GF(2^4), where τ² + aτ + a = 0. Its norm is N = k² + aik + ai², and its
//! inverse (k + ai + iτ)/N. That is u + τ(u/a + (u + w)/a²) for u = (k + ai)/N and w = (k + ai + ak)/N: each of
//! them has its own share, in whatever is linear and comes after. Their reciprocals take five look-ups of
//! reciprocals and of a/k, with j = i + k:
//!
//! ```text
//! 1/u = 1/(1/i + a/k) + j            1/w = 1/(1/j + a/k) + i
//! ```
//!
//! 1/0 is a byte that no table has an entry for, which stands for infinity: it stays so when something is
//! added, its reciprocal is 0, and so is its share. For x = 0, two of them cancel, and the reciprocal of that
//! is infinite again: 0 is its own inverse, as AES has it.

#![cfg_attr(
    not(test),
    expect(
        clippy::as_conversions,
        clippy::indexing_slicing,
        reason = "evaluated by the compiler"
    )
)]

/// A linear map of bytes: the result for each bit.
pub type Linear = [u8; 8];

/// What is added to the double of a number of GF(2^8) that overflows (FIPS 197 section 4.2).
pub const REDUCTION: u8 = 0x1b;

/// Leaves a byte as it is.
pub const IDENTITY: Linear = multiple(1);

/// The linear half of `SubBytes` (section 5.1.1), and its inverse.
pub const AFFINE: Linear = rotations(&[0, 1, 2, 3, 4]);
pub const INVERSE_AFFINE: Linear = rotations(&[1, 3, 6]);

/// Coordinates on the plane, i in the upper half of the byte and k in the lower.
pub const TO_PLANE: Linear = to_plane();

/// Reciprocals in GF(2^4), and the quotients of a by each number.
pub const INVERSES: [u8; 16] = quotients(1);
pub const QUOTIENTS: [u8; 16] = quotients(A);

const TAU: u8 = tau();
const A: u8 = TAU ^ power(TAU, 16);

/// The bytes that the bits of coordinates stand for: a basis of GF(2^4) out of powers of one that has the
/// order 15, and τ times that.
const FROM_PLANE: Linear = {
    // 3 generates GF(2^8), so that its order is 255.
    let g = power(3, 17);
    let (g2, g3) = (times(g, g), power(g, 3));
    [
        1,
        g,
        g2,
        g3,
        TAU,
        times(TAU, g),
        times(TAU, g2),
        times(TAU, g3),
    ]
};

/// Infinity.
const NONE: u8 = 0x80;

/// Twice a number of GF(2^8).
pub const fn doubled(byte: u8) -> u8 {
    (byte << 1) ^ ((byte >> 7) * REDUCTION)
}

/// The product (section 4.2).
const fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        product ^= (b & 1) * a;
        a = doubled(a);
        b >>= 1;
    }
    product
}

const fn power(byte: u8, exponent: u8) -> u8 {
    let mut power = 1;
    let mut count = 0;
    while count < exponent {
        power = times(power, byte);
        count += 1;
    }
    power
}

/// Zero stands for its own.
const fn inverse(byte: u8) -> u8 {
    power(byte, 254)
}

/// The first number outside GF(2^4) whose trace and norm over it are the same.
const fn tau() -> u8 {
    let mut tau = 2;
    loop {
        let conjugate = power(tau, 16);
        if conjugate != tau && conjugate ^ tau == times(conjugate, tau) {
            return tau;
        }
        tau += 1;
    }
}

const fn apply(map: &Linear, byte: u8) -> u8 {
    let (mut image, mut bit) = (0, 0);
    while bit < 8 {
        image ^= (byte >> bit & 1) * map[bit];
        bit += 1;
    }
    image
}

/// `a` after `b`.
pub const fn after(a: &Linear, b: &Linear) -> Linear {
    let (mut map, mut bit) = ([0; 8], 0);
    while bit < 8 {
        map[bit] = apply(a, b[bit]);
        bit += 1;
    }
    map
}

/// So many times a byte, in GF(2^8).
pub const fn multiple(factor: u8) -> Linear {
    let (mut map, mut bit) = ([0; 8], 0);
    while bit < 8 {
        map[bit] = times(factor, 1 << bit);
        bit += 1;
    }
    map
}

/// The sum of a byte turned so far.
const fn rotations(distances: &[u32]) -> Linear {
    let (mut map, mut bit) = ([0; 8], 0);
    while bit < 8 {
        let mut index = 0;
        while index < distances.len() {
            map[bit] ^= (1_u8 << bit).rotate_left(distances[index]);
            index += 1;
        }
        bit += 1;
    }
    map
}

const fn to_plane() -> Linear {
    let (mut map, mut coordinates) = ([0; 8], 0);
    while coordinates < 255 {
        coordinates += 1;
        let byte = apply(&FROM_PLANE, coordinates);
        if byte.is_power_of_two() {
            map[byte.trailing_zeros() as usize] = coordinates;
        }
    }
    map
}

/// A linear map by tables: for the lower half of a byte, and for the upper.
pub const fn of_nibbles(map: &Linear) -> [[u8; 16]; 2] {
    let (mut tables, mut nibble) = ([[0; 16]; 2], 0);
    while nibble < 16 {
        tables[0][nibble as usize] = apply(map, nibble);
        tables[1][nibble as usize] = apply(map, nibble << 4);
        nibble += 1;
    }
    tables
}

/// A linear map of an inverse by tables: for the reciprocals of u, and of w.
pub const fn of_inverted(map: &Linear) -> [[u8; 16]; 2] {
    let (mut tables, mut nibble) = ([[0; 16]; 2], 1);
    while nibble < 16 {
        let reciprocal = inverse(apply(&FROM_PLANE, nibble));
        let by_a = times(reciprocal, inverse(A));
        let by_a2 = times(by_a, inverse(A));
        let of_u = reciprocal ^ times(TAU, by_a ^ by_a2);
        tables[0][nibble as usize] = apply(map, of_u);
        tables[1][nibble as usize] = apply(map, times(TAU, by_a2));
        nibble += 1;
    }
    tables
}

/// The quotients of a number by each of GF(2^4).
const fn quotients(dividend: u8) -> [u8; 16] {
    let (mut table, mut nibble) = ([NONE; 16], 1);
    while nibble < 16 {
        let quotient = times(dividend, inverse(apply(&FROM_PLANE, nibble)));
        table[nibble as usize] = apply(&TO_PLANE, quotient);
        nibble += 1;
    }
    table
}

/// An order of 16 bytes, and what it is when each four of them are turned by one, two and three.
pub const fn turned(order: [u8; 16]) -> [[u8; 16]; 4] {
    let (mut turned, mut index) = ([order; 4], 0);
    while index < 64 {
        let (turn, byte) = (index / 16, index % 16);
        turned[turn][byte] = order[byte / 4 * 4 + (byte + turn) % 4];
        index += 1;
    }
    turned
}
