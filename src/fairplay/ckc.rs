//! The Content Key Context: TLLVs, key, container (specification section 8).

use std::borrow::Cow;

use rand_core::CryptoRng;
use sha1::{Digest, Sha1};

use crate::fairplay::cipher;
use crate::fairplay::error::Error;
use crate::fairplay::tag::{self, Tag};
use crate::fairplay::tllv;
use crate::secret::{Key128, Secret};

/// Container version of a CKC with the generic session key.
pub const VERSION: u32 = 1;

/// The value of the TLLV "session key version used" for the generic session key: `[4] version 1 | [4] 0 | [8] key`.
pub const GENERIC_SESSION_KEY: [u8; 16] =
    0x0000_0001_0000_0000_182b_0bb9_f373_83d1_u128.to_be_bytes();

/// The value of the content key TLLV: CK-IV ‖ AES-ECB(SK, CK).
pub fn content_key(key: &Key128, iv: &[u8; 16], sk: &Key128) -> [u8; 32] {
    let mut value = [0; 32];
    let (head, tail) = value.split_at_mut(16);
    head.copy_from_slice(iv);
    tail.copy_from_slice(&cipher::ecb_encrypt(sk, key.expose()));
    value
}

/// The key that encrypts a CKC: AES-ECB of the anti-replay seed under the first 16 bytes of SHA-1(R1).
pub fn anti_replay_key(r1: &Secret<44>, seed: &[u8; 16]) -> Option<Key128> {
    let digest = Sha1::digest(r1.expose());
    let key = Key128::from(*digest.first_chunk()?);
    Some(cipher::ecb_encrypt(&key, seed).into())
}

/// Shuffles and pads the TLLVs, encrypts them and writes the container.
///
/// ```text
/// [ 4] version 1
/// [ 4] reserved, 0
/// [16] IV, fresh
/// [ 4] payload length N
/// [ N] AES-128-CBC(anti-replay key, IV) of the TLLVs
/// ```
///
/// # Errors
/// [`Error::ReturnRequest`] when two TLLVs have one tag, so that none is ever sent twice.
pub fn seal(
    mut tllvs: Vec<(Tag, Cow<'_, [u8]>)>,
    key: &Key128,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, Error> {
    let tags = tllvs.iter().map(|(tag, _)| *tag).collect();
    if let Some(twice) = tag::repeated(tags) {
        return Err(Error::ReturnRequest(twice));
    }
    shuffle(&mut tllvs, rng);
    let mut payload = Vec::with_capacity(2048);
    for (tag, value) in &tllvs {
        tllv::write(&mut payload, *tag, value, rng);
    }
    let mut iv = [0; 16];
    rng.fill_bytes(&mut iv);
    cipher::cbc_encrypt(key, &iv, &mut payload);

    let mut ckc = Vec::with_capacity(28 + payload.len());
    ckc.extend(VERSION.to_be_bytes());
    ckc.extend([0; 4]);
    ckc.extend(iv);
    // An SPC is at most 64 KiB, and so is what is returned of it: the length fits.
    ckc.extend(
        u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    ckc.extend(payload);
    Ok(ckc)
}

/// Fisher and Yates. The order protects nothing, so the small bias of the remainder does no harm.
fn shuffle<T>(items: &mut [T], rng: &mut dyn CryptoRng) {
    for last in (1..items.len()).rev() {
        let bound = u64::try_from(last + 1).unwrap_or(u64::MAX);
        items.swap(last, usize::try_from(rng.next_u64() % bound).unwrap_or(0));
    }
}
