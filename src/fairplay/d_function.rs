//! The D function: DASk from R2 and the application secret key (specification section 7).

use sha1::{Digest, Sha1};

use crate::fairplay::cipher;
use crate::secret::Key128;

/// The longest R2, in bytes: with its padding byte it fills 14 words.
pub const MAX_R2: usize = 55;

const PRIME: u32 = 813_416_437;

/// `DASk = AES-ECB(ASk, hash(R2))`. `None` unless R2 has 1 to [`MAX_R2`] bytes.
pub fn dask(r2: &[u8], ask: &Key128) -> Option<Key128> {
    Some(cipher::ecb_encrypt(ask, &hash(r2)?).into())
}

/// The hash of R2 before the application secret key comes in. `None` unless R2 has 1 to
/// [`MAX_R2`] bytes.
///
/// ```text
/// B := R2 ‖ 80 ‖ zeros up to 56 bytes, read as 14 big-endian words
/// for each half of 7 words: their sum mod 2^32, mixed, appended little-endian
/// hash := the first 16 bytes of SHA-1(B), B being 64 bytes by now
/// ```
pub fn hash(r2: &[u8]) -> Option<[u8; 16]> {
    if r2.is_empty() || r2.len() > MAX_R2 {
        return None;
    }
    let mut padded = [0; 56];
    let (head, tail) = padded.split_at_mut(r2.len());
    head.copy_from_slice(r2);
    *tail.first_mut()? = 0x80;

    let mut sha1 = Sha1::new_with_prefix(padded);
    for half in padded.chunks_exact(28) {
        let (words, _) = half.as_chunks::<4>();
        let sum = words.iter().fold(0, |sum: u32, word| {
            sum.wrapping_add(u32::from_be_bytes(*word))
        });
        sha1.update(mix(sum).to_le_bytes());
    }
    sha1.finalize().first_chunk().copied()
}

/// Sixteen rounds: an odd number is halved, an even one goes to `3m + 1 (mod 2^32) mod PRIME`.
/// Both wraps at 2^32, here and in the sum, are part of the function.
fn mix(sum: u32) -> u32 {
    (0..16).fold(sum, |m, _| {
        if m & 1 == 1 {
            m >> 1
        } else {
            m.wrapping_mul(3).wrapping_add(1) % PRIME
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_specification_hold() {
        let r2 = hex::decode("11f7be612ca95ef5e007ce51896ae4502ca3d8801b").unwrap();
        assert_eq!(
            hex::encode(hash(&r2).unwrap()),
            "556e51572777a04a214bd419ed4ae2f0"
        );
        let ask = Key128::from(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        assert_eq!(
            hex::encode(dask(&r2, &ask).unwrap().expose()),
            "771038ea6613f51e7210e2c2eaf46177"
        );
        for (r2, expected) in [
            (vec![0], "1df7bf25cf025fb820de429f86bd30a6"),
            (vec![0; 55], "f760d25ddc64e90bbddeaacb86c925f3"),
            (vec![0xff; 55], "d961e16712083c74349213798511381e"),
        ] {
            assert_eq!(hex::encode(hash(&r2).unwrap()), expected);
        }
    }

    #[test]
    fn r2_outside_its_range_is_refused() {
        assert!(hash(&[]).is_none());
        assert!(hash(&[0; 56]).is_none());
    }
}
