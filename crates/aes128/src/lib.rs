//! AES-128 (FIPS 197) on vectors of 16 bytes, for WebAssembly, which has no instructions for AES.
//!
//! A block is one vector. The S-box is looked up in 16 rows of 16 bytes, all of which are read whatever
//! the byte is, so that no branch and no address depends on a key or a block. Blocks that wait for each
//! other, as in CBC encryption and CMAC, cost what others do; bit-sliced code pays for four where it has
//! one.

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

mod vector;

use cipher::array::Array;
use cipher::consts::{U1, U16};
use cipher::{
    Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, InOut, Key, KeyInit, KeySizeUser,
    ParBlocksSizeUser,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

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
        f.call(&Blocks(self));
    }
}

impl BlockCipherDecrypt for Aes128 {
    fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
        f.call(&Blocks(self));
    }
}

/// The cipher, block by block.
struct Blocks<'a>(&'a Aes128);

impl BlockSizeUser for Blocks<'_> {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for Blocks<'_> {
    type ParBlocksSize = U1;
}

impl BlockCipherEncBackend for Blocks<'_> {
    fn encrypt_block(&self, mut block: InOut<'_, '_, Block<Self>>) {
        let encrypted = encrypt(&self.0.round_keys, (*block.get_in()).into());
        *block.get_out() = Array(encrypted);
    }
}

impl BlockCipherDecBackend for Blocks<'_> {
    fn decrypt_block(&self, mut block: InOut<'_, '_, Block<Self>>) {
        let decrypted = decrypt(&self.0.round_keys, (*block.get_in()).into());
        *block.get_out() = Array(decrypted);
    }
}

/// 256 bytes, in rows of 16.
type Table = [[u8; 16]; 16];

/// `SubBytes` (section 5.1.1) and its inverse (section 5.3.2).
const S_BOX: Table = s_boxes().0;
const INVERSE_S_BOX: Table = s_boxes().1;

/// Where the bytes of a block come from, column by column: `ShiftRows` (section 5.1.2), its inverse,
/// columns turned by one and by two.
const SHIFT_ROWS: [u8; 16] = [0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11];
const INVERSE_SHIFT_ROWS: [u8; 16] = [0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3];
const TURN_1: [u8; 16] = [1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12];
const TURN_2: [u8; 16] = [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13];

/// Of the key expansion (section 5.2): the last word, rotated, in every column; and the words moved up
/// by one and by two, with zeros after them.
const ROTATED_LAST: [u8; 16] = [
    13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12,
];
const UP_1: [u8; 16] = [NONE, NONE, NONE, NONE, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const UP_2: [u8; 16] = [
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, 0, 1, 2, 3, 4, 5, 6, 7,
];
const NONE: u8 = 0xff;

/// What a number of GF(2^8) is doubled by when it overflows (section 4.2).
const REDUCTION: u8 = 0x1b;

/// Twice a number of GF(2^8).
const fn doubled(byte: u8) -> u8 {
    (byte << 1) ^ ((byte >> 7) * REDUCTION)
}

/// The S-box and its inverse. 3 generates GF(2^8): the powers of 3 and those of its inverse go through
/// all pairs of a number and its inverse.
#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "evaluated by the compiler"
)]
const fn s_boxes() -> (Table, Table) {
    const fn set(table: &mut Table, place: u8, value: u8) {
        table[place as usize >> 4][place as usize & 15] = value;
    }

    let (mut forward, mut inverse) = ([[0; 16]; 16], [[0; 16]; 16]);
    let (mut number, mut inverted) = (1_u8, 1_u8);
    let mut count = 0;
    while count < 256 {
        // Zero has no inverse, and stands for its own.
        let (from, b) = if count == 0 {
            (0, 0)
        } else {
            (number, inverted)
        };
        let to =
            b ^ b.rotate_left(1) ^ b.rotate_left(2) ^ b.rotate_left(3) ^ b.rotate_left(4) ^ 0x63;
        set(&mut forward, from, to);
        set(&mut inverse, to, from);
        if count > 0 {
            number ^= doubled(number);
            // A third: times the inverse of 3, 0xf6, is the sum of its shares.
            inverted ^= inverted << 1;
            inverted ^= inverted << 2;
            inverted ^= inverted << 4;
            inverted ^= (inverted >> 7) * 0x09;
        }
        count += 1;
    }
    (forward, inverse)
}

// In WebAssembly an instruction is inlined only into functions that have its feature, which stands on
// each of them, so that a build needs no flags.

/// Each byte as the table has it.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn look_up(table: &Table, bytes: Vector) -> Vector {
    let sixteen = Vector::of([16; 16]);
    let (mut indices, mut found) = (bytes, Vector::of([0; 16]));
    for row in table {
        found = found.xor(Vector::of(*row).pick(indices));
        indices = indices.minus(sixteen);
    }
    found
}

/// `MixColumns` (section 5.1.3): 2a + 3b + c + d is 2(a + b) + b + (c + d).
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn mix_columns(state: Vector) -> Vector {
    let turned = state.pick(Vector::of(TURN_1));
    let sums = state.xor(turned);
    sums.double().xor(turned).xor(sums.pick(Vector::of(TURN_2)))
}

/// Its inverse (section 5.3.3), which is itself after 5a + 4c.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
#[inline]
fn inverse_mix_columns(state: Vector) -> Vector {
    let sums = state.xor(state.pick(Vector::of(TURN_2)));
    mix_columns(state.xor(sums.double().double()))
}

/// The key expansion (section 5.2).
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn expand(key: [u8; 16]) -> [[u8; 16]; ROUNDS + 1] {
    let mut keys = [key; ROUNDS + 1];
    let mut key = Vector::of(key);
    let mut constant = 1;
    for round_key in keys.iter_mut().skip(1) {
        let mut constants = [0; 16];
        constants
            .iter_mut()
            .step_by(4)
            .for_each(|byte| *byte = constant);
        constant = doubled(constant);
        let word = look_up(&S_BOX, key.pick(Vector::of(ROTATED_LAST)));
        key = key.xor(key.pick(Vector::of(UP_1)));
        key = key.xor(key.pick(Vector::of(UP_2)));
        key = key.xor(word).xor(Vector::of(constants));
        *round_key = key.bytes();
    }
    keys
}

/// `Cipher` (section 5.1).
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn encrypt(keys: &[[u8; 16]; ROUNDS + 1], block: [u8; 16]) -> [u8; 16] {
    let [first, middle @ .., last] = keys;
    let mut state = Vector::of(block).xor(Vector::of(*first));
    for key in middle {
        state = look_up(&S_BOX, state).pick(Vector::of(SHIFT_ROWS));
        state = mix_columns(state).xor(Vector::of(*key));
    }
    state = look_up(&S_BOX, state).pick(Vector::of(SHIFT_ROWS));
    state.xor(Vector::of(*last)).bytes()
}

/// `InvCipher` (section 5.3).
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
fn decrypt(keys: &[[u8; 16]; ROUNDS + 1], block: [u8; 16]) -> [u8; 16] {
    let [last, middle @ .., first] = keys;
    let mut state = Vector::of(block).xor(Vector::of(*first));
    for key in middle.iter().rev() {
        state = look_up(&INVERSE_S_BOX, state.pick(Vector::of(INVERSE_SHIFT_ROWS)));
        state = inverse_mix_columns(state.xor(Vector::of(*key)));
    }
    state = look_up(&INVERSE_S_BOX, state.pick(Vector::of(INVERSE_SHIFT_ROWS)));
    state.xor(Vector::of(*last)).bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    fn block(hex: &str) -> Block<Aes128> {
        let bytes: [u8; 16] = hex::decode(hex).unwrap().try_into().unwrap();
        Array(bytes)
    }

    #[test]
    fn the_s_boxes_are_permutations_and_each_others_inverse() {
        let at = |table: &Table, byte: u8| table[usize::from(byte >> 4)][usize::from(byte & 15)];
        let values: BTreeSet<u8> = (0..=255).map(|byte| at(&S_BOX, byte)).collect();
        assert_eq!(values.len(), 256);
        for byte in 0..=255 {
            assert_eq!(at(&INVERSE_S_BOX, at(&S_BOX, byte)), byte);
        }
        // FIPS 197 figure 7.
        assert_eq!((at(&S_BOX, 0), at(&S_BOX, 0x53)), (0x63, 0xed));
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
        for _ in 0..2_000 {
            let (mut key, mut plain) = ([0; 16], [0; 16]);
            rng.fill_bytes(&mut key);
            rng.fill_bytes(&mut plain);
            let (ours, other) = (Aes128::new(&Array(key)), aes::Aes128::new(&Array(key)));
            let (mut state, mut expected) = (Array(plain), Array(plain));
            ours.encrypt_block(&mut state);
            other.encrypt_block(&mut expected);
            assert_eq!(state, expected);
            ours.decrypt_block(&mut state);
            assert_eq!(state, Array(plain));
        }
    }
}
