//! AES-128 (FIPS 197): the modes that FairPlay uses, and a cipher on vectors of 16 bytes for WebAssembly,
//! which has no instructions for AES.
//!
//! A block is one vector. A byte is inverted by way of GF(2^4), whose tables have 16 bytes and fit into one
//! vector ([`plane`]): no branch and no address depends on a key or a block, in WebAssembly. (Elsewhere
//! this is for tests: vectors are arrays that are indexed.) Blocks that wait for each other, as in CBC
//! encryption and CMAC, are encrypted alone; bit-sliced code pays for several where it has one. Four that
//! do not wait are decrypted at once.

#![forbid(unsafe_code)]
// Nothing may panic, and nothing may be cut short.
#![cfg_attr(
    not(test),
    warn(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod modes;
mod plane;
mod vector;

pub use modes::{cbc_decrypt, cbc_encrypt, cmac_verifies, ecb_encrypt};

use cipher::array::Array;
use cipher::consts::{U4, U16};
use cipher::{
    Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, InOut, Key, KeyInit, KeySizeUser,
    ParBlocks, ParBlocksSizeUser,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::plane::{
    AFFINE, IDENTITY, INVERSE_AFFINE, Linear, TO_PLANE, after, doubled, multiple, of_inverted,
    of_nibbles, turned,
};
use crate::vector::Vector;

const ROUNDS: usize = 10;

/// The cipher with a key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Aes128 {
    round_keys: [[u8; 16]; ROUNDS + 1],
}

impl KeySizeUser for Aes128 {
    type KeySize = U16;
}

impl BlockSizeUser for Aes128 {
    type BlockSize = U16;
}

impl KeyInit for Aes128 {
    fn new(key: &Key<Self>) -> Self {
        Self {
            round_keys: expand((*key).into()),
        }
    }
}

impl BlockCipherEncrypt for Aes128 {
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
        f.call(&Blocks(encryption_keys(&self.round_keys)));
    }
}

impl BlockCipherDecrypt for Aes128 {
    fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
        f.call(&Blocks(decryption_keys(&self.round_keys)));
    }
}

type Keys = [[u8; 16]; ROUNDS + 1];

/// A direction's round keys, at work.
struct Blocks(Zeroizing<Keys>);

impl BlockSizeUser for Blocks {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for Blocks {
    type ParBlocksSize = U4;
}

impl BlockCipherEncBackend for Blocks {
    fn encrypt_block(&self, mut block: InOut<'_, '_, Block<Self>>) {
        *block.get_out() = Array(encrypt(&self.0, (*block.get_in()).into()));
    }
}

impl BlockCipherDecBackend for Blocks {
    fn decrypt_block(&self, mut block: InOut<'_, '_, Block<Self>>) {
        let [decrypted] = decrypt(&self.0, [(*block.get_in()).into()]);
        *block.get_out() = Array(decrypted);
    }

    fn decrypt_par_blocks(&self, mut blocks: InOut<'_, '_, ParBlocks<Self>>) {
        let decrypted = decrypt(&self.0, blocks.get_in().0.map(Into::into));
        *blocks.get_out() = Array(decrypted.map(Array));
    }
}

/// Where the bytes of a block come from, column by column, when columns are turned by none, one, two and
/// three; when that comes after `ShiftRows` (section 5.1.2); and after its inverse.
const TURNS: [[u8; 16]; 4] = turned([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const SHIFT_ROWS: [[u8; 16]; 4] = turned([0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11]);
const INVERSE_SHIFT_ROWS: [[u8; 16]; 4] =
    turned([0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3]);

/// Of the key expansion (section 5.2): the last word, rotated, in every column; and the words moved up
/// by one and by two, with zeros in the places that they leave.
const ROTATED_LAST: [u8; 16] = [
    13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12,
];
const UP_1: [u8; 16] = [NONE, NONE, NONE, NONE, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const UP_2: [u8; 16] = [
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, 0, 1, 2, 3, 4, 5, 6, 7,
];
const NONE: u8 = 0xff;

/// What `SubBytes` adds at its end (section 5.1.1). `MixColumns` leaves it as it is.
const CONSTANT: [u8; 16] = [0x63; 16];

// In WebAssembly an instruction is inlined only into functions that have its feature, which stands on
// each of them, so that a build needs no flags.

/// `MixColumns` (section 5.1.3): 2a + 3b + c + d is 2(a + b) + b + (c + d).
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn mix_columns(state: Vector) -> Vector {
    let turned = state.pick(Vector::new(TURNS[1]));
    let sums = state.xor(turned);
    sums.double()
        .xor(turned)
        .xor(sums.pick(Vector::new(TURNS[2])))
}

/// Its inverse (section 5.3.3), which is `MixColumns` after 5a + 4c.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn inverse_mix_columns(state: Vector) -> Vector {
    let sums = state.xor(state.pick(Vector::new(TURNS[2])));
    mix_columns(state.xor(sums.double().double()))
}

/// The key expansion (section 5.2).
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn expand(key: [u8; 16]) -> Keys {
    const OUT: [[u8; 16]; 2] = of_inverted(&AFFINE);

    let mut keys = [key; ROUNDS + 1];
    let mut key = Vector::new(key);
    let mut constant = 1;
    for round_key in keys.iter_mut().skip(1) {
        let mut constants = [0; 16];
        constants
            .iter_mut()
            .step_by(4)
            .for_each(|byte| *byte = constant);
        constant = doubled(constant);
        let word = linear(&ONTO, key.pick(Vector::new(ROTATED_LAST)));
        let word = inverted(&OUT, invert(word)).xor(Vector::new(CONSTANT));
        key = key.xor(key.pick(Vector::new(UP_1)));
        key = key.xor(key.pick(Vector::new(UP_2)));
        key = key.xor(word).xor(Vector::new(constants));
        *round_key = key.bytes();
    }
    keys
}

/// A linear map by its two tables, for the lower and the upper halves of bytes.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn linear([low, high]: &[[u8; 16]; 2], bytes: Vector) -> Vector {
    let low = Vector::new(*low).pick(bytes.low());
    low.xor(Vector::new(*high).pick(bytes.high()))
}

/// The reciprocals of u and w, of bytes on the plane: what [`of_inverted`] has tables for.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn invert(bytes: Vector) -> [Vector; 2] {
    let inverse = Vector::new(plane::INVERSES);
    let (k, i) = (bytes.low(), bytes.high());
    let j = i.xor(k);
    let quotient = Vector::new(plane::QUOTIENTS).pick(k);
    [
        inverse.pick(inverse.pick(i).xor(quotient)).xor(j),
        inverse.pick(inverse.pick(j).xor(quotient)).xor(i),
    ]
}

/// A linear map of what [`invert`] inverted.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn inverted([first, second]: &[[u8; 16]; 2], [u, w]: [Vector; 2]) -> Vector {
    Vector::new(*first)
        .pick(u)
        .xor(Vector::new(*second).pick(w))
}

/// Onto the plane, for encryption; in a round of decryption after the linear half of the inverse of
/// `SubBytes`.
const ONTO: [[u8; 16]; 2] = of_nibbles(&TO_PLANE);
const INVERSE_AFFINE_ONTO: [[u8; 16]; 2] = of_nibbles(&after(&TO_PLANE, &INVERSE_AFFINE));

/// The round keys as [`encrypt`] has them: those in the middle on the plane, and with what `SubBytes`
/// adds before them.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn encryption_keys(keys: &Keys) -> Zeroizing<Keys> {
    let constant = Vector::new(CONSTANT);
    let mut keys = Zeroizing::new(*keys);
    let [_, middle @ .., last] = &mut *keys;
    for key in middle {
        *key = linear(&ONTO, Vector::new(*key).xor(constant)).bytes();
    }
    *last = Vector::new(*last).xor(constant).bytes();
    keys
}

/// `Cipher` (section 5.1).
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn encrypt(keys: &Keys, block: [u8; 16]) -> [u8; 16] {
    const ONCE: [[u8; 16]; 2] = of_inverted(&after(&TO_PLANE, &AFFINE));
    const TWICE: [[u8; 16]; 2] = of_inverted(&after(&TO_PLANE, &after(&multiple(2), &AFFINE)));
    const OUT: [[u8; 16]; 2] = of_inverted(&AFFINE);

    let [first, middle @ .., last] = keys;
    let mut state = linear(&ONTO, Vector::new(block).xor(Vector::new(*first)));
    for key in middle {
        let inverse = invert(state);
        let (once, twice) = (inverted(&ONCE, inverse), inverted(&TWICE, inverse));
        // `MixColumns` after `ShiftRows`: 2a + 3b + c + d.
        let [a, b, c, d] = SHIFT_ROWS.map(Vector::new);
        state = (twice.pick(a).xor(twice.xor(once).pick(b)))
            .xor(once.pick(c).xor(once.pick(d)))
            .xor(Vector::new(*key));
    }
    let state = inverted(&OUT, invert(state)).pick(Vector::new(SHIFT_ROWS[0]));
    state.xor(Vector::new(*last)).bytes()
}

/// The round keys as [`decrypt`] has them: those in the middle after the inverse of `MixColumns`, and
/// ready for the inversion in the next round.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn decryption_keys(keys: &Keys) -> Zeroizing<Keys> {
    let constant = Vector::new(CONSTANT);
    let mut keys = Zeroizing::new(*keys);
    let [_, middle @ .., first] = &mut *keys;
    for key in middle {
        let mixed = inverse_mix_columns(Vector::new(*key));
        *key = linear(&INVERSE_AFFINE_ONTO, mixed.xor(constant)).bytes();
    }
    *first = Vector::new(*first).xor(constant).bytes();
    keys
}

/// `InvCipher` (section 5.3), of blocks that do not wait for each other: their rounds overlap.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn decrypt<const N: usize>(keys: &Keys, blocks: [[u8; 16]; N]) -> [[u8; 16]; N] {
    const OUT: [[u8; 16]; 2] = of_inverted(&IDENTITY);

    let [last, middle @ .., first] = keys;
    let mut states = blocks.map(|block| {
        let state = Vector::new(block).xor(Vector::new(*first));
        linear(&INVERSE_AFFINE_ONTO, state)
    });
    for key in middle.iter().rev() {
        states = states.map(|state| inverse_round(state, Vector::new(*key)));
    }
    states.map(|state| {
        let state = inverted(&OUT, invert(state)).pick(Vector::new(INVERSE_SHIFT_ROWS[0]));
        state.xor(Vector::new(*last)).bytes()
    })
}

/// The inverse of `MixColumns` after those of `SubBytes` and `ShiftRows`: 14a + 11b + 13c + 9d.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn inverse_round(state: Vector, key: Vector) -> Vector {
    const fn multiplied(factor: u8) -> [[u8; 16]; 2] {
        const ONTO: Linear = after(&TO_PLANE, &INVERSE_AFFINE);
        of_inverted(&after(&ONTO, &multiple(factor)))
    }

    const FACTORS: [[[u8; 16]; 2]; 4] = [
        multiplied(14),
        multiplied(11),
        multiplied(13),
        multiplied(9),
    ];

    let inverse = invert(state);
    let [a, b, c, d] = INVERSE_SHIFT_ROWS.map(Vector::new);
    let [of_a, of_b, of_c, of_d] = FACTORS.map(|tables| inverted(&tables, inverse));
    (of_a.pick(a).xor(of_b.pick(b)))
        .xor(of_c.pick(c).xor(of_d.pick(d)))
        .xor(key)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    fn block(hex: &str) -> Block<Aes128> {
        let bytes: [u8; 16] = hex::decode(hex).unwrap().try_into().unwrap();
        Array(bytes)
    }

    #[test]
    fn vectors_of_the_standard_hold() {
        // FIPS 197 appendices A.1, B and C.1.
        let cipher = Aes128::new(&block("2b7e151628aed2a6abf7158809cf4f3c"));
        let last = hex::encode(cipher.round_keys[ROUNDS]);
        assert_eq!(last, "d014f9a8c9ee2589e13f0cc8b6630ca6");
        for (key, plain, encrypted) in [
            (
                "2b7e151628aed2a6abf7158809cf4f3c",
                "3243f6a8885a308d313198a2e0370734",
                "3925841d02dc09fbdc118597196a0b32",
            ),
            (
                "000102030405060708090a0b0c0d0e0f",
                "00112233445566778899aabbccddeeff",
                "69c4e0d86a7b0430d8cdb78070b4c55a",
            ),
        ] {
            let cipher = Aes128::new(&block(key));
            let mut state = block(plain);
            cipher.encrypt_block(&mut state);
            assert_eq!(state, block(encrypted));
            cipher.decrypt_block(&mut state);
            assert_eq!(state, block(plain));
        }
    }

    #[test]
    fn it_agrees_with_another_implementation() {
        let mut rng = ChaCha20Rng::seed_from_u64(197);
        for _ in 0..400 {
            let mut key = [0; 16];
            rng.fill_bytes(&mut key);
            let (ours, other) = (Aes128::new(&Array(key)), aes::Aes128::new(&Array(key)));
            // Some at once, and some that are left.
            let plain = [(); 7].map(|()| {
                let mut block = [0; 16];
                rng.fill_bytes(&mut block);
                Array(block)
            });
            let (mut state, mut expected) = (plain, plain);
            ours.encrypt_blocks(&mut state);
            other.encrypt_blocks(&mut expected);
            assert_eq!(state, expected);
            ours.decrypt_blocks(&mut state);
            assert_eq!(state, plain);
        }
    }
}
