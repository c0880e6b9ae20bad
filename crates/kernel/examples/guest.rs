//! The kernel as a module, for the bench and for the tests of hosts: `tests/suite/support.rs` runs
//! it.
//!
//! The host writes into [`buffer`], calls, and reads there. Numbers are written with their length
//! before them, in 4 bytes, big-endian.

#![expect(
    unsafe_code,
    clippy::unwrap_used,
    reason = "a module's exports are not mangled; a test ends where it cannot go on"
)]

use std::sync::{LazyLock, Mutex};

use keylet_kernel::{CrtParts, Kernel, PrivateKey, PublicKey, oaep, p256 as kernel_p256};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rsa::hazmat::rsa_decrypt_and_check;
use rsa::{BoxedUint, PrivateKey as RsaPrivateKey};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

static BUFFER: Mutex<[u8; 16384]> = Mutex::new([0; 16384]);
static RNG: LazyLock<Mutex<ChaCha20Rng>> =
    LazyLock::new(|| Mutex::new(ChaCha20Rng::seed_from_u64(0)));
static KEY: Mutex<Option<PrivateKey>> = Mutex::new(None);
static PUBLIC: Mutex<Option<PublicKey>> = Mutex::new(None);
static OTHER: Mutex<Option<RsaPrivateKey>> = Mutex::new(None);

/// Where numbers are written and read.
#[unsafe(no_mangle)]
extern "C" fn buffer() -> *mut u8 {
    BUFFER.lock().unwrap().as_mut_ptr()
}

/// Reads `n`, `e`, `p`, `q`, `dp`, `dq`, `qinv`, `d`, as often as asked: 0 when they are taken.
#[unsafe(no_mangle)]
extern "C" fn load(rounds: u32) -> u32 {
    let buffer = BUFFER.lock().unwrap();
    let [n, e, p, q, dp, dq, qinv, _] = numbers(&buffer[..]);
    for _ in 0..rounds {
        let parts = CrtParts {
            n,
            e,
            p,
            q,
            dp,
            dq,
            qinv,
        };
        let Ok(key) = PrivateKey::new(&parts) else {
            return 1;
        };
        *KEY.lock().unwrap() = Some(key);
    }
    0
}

/// The same, for the public key.
#[unsafe(no_mangle)]
extern "C" fn load_public(rounds: u32) -> u32 {
    let buffer = BUFFER.lock().unwrap();
    let [n, e] = numbers(&buffer[..]);
    for _ in 0..rounds {
        let Ok(key) = PublicKey::new(n, e) else {
            return 1;
        };
        *PUBLIC.lock().unwrap() = Some(key);
    }
    0
}

/// The same, for the `rsa` crate.
#[unsafe(no_mangle)]
extern "C" fn load_other(rounds: u32) -> u32 {
    let buffer = BUFFER.lock().unwrap();
    let [n, e, p, q, _, _, _, d] = numbers(&buffer[..]).map(BoxedUint::from_be_slice_vartime);
    for _ in 0..rounds {
        let primes = vec![p.clone(), q.clone()];
        let Ok(key) = RsaPrivateKey::from_components(n.clone(), e.clone(), d.clone(), primes)
        else {
            return 1;
        };
        *OTHER.lock().unwrap() = Some(key);
    }
    0
}

/// Decrypts the number in the buffer, as often as asked. `kernel`: 0 for what the crate chooses, 1
/// for fused, 2 for exact. Gives 1 when the fused kernel answered, 2 when the exact one did, 0 when
/// none.
#[unsafe(no_mangle)]
extern "C" fn decrypt(kernel: u32, rounds: u32) -> u32 {
    let mut buffer = BUFFER.lock().unwrap();
    let [c] = numbers(&buffer[..]).map(<[u8]>::to_vec);
    let key = KEY.lock().unwrap();
    let key = key.as_ref().unwrap();
    let mut rng = RNG.lock().unwrap();
    let mut answered = 0;
    for _ in 0..rounds {
        let decrypted = match kernel {
            0 => key.decrypt(&c, &mut *rng),
            1 => key.decrypt_with(&[Kernel::Fused], &c, &mut *rng),
            _ => key.decrypt_with(&[Kernel::Exact], &c, &mut *rng),
        };
        let Ok(decrypted) = decrypted else {
            return 0;
        };
        answered = match decrypted.kernel {
            Kernel::Fused => 1,
            Kernel::Exact => 2,
        };
        buffer[..c.len()].copy_from_slice(&decrypted.block);
    }
    answered
}

/// The public operation on the number in the buffer, as often as asked.
#[unsafe(no_mangle)]
extern "C" fn apply(rounds: u32) {
    let mut buffer = BUFFER.lock().unwrap();
    let [x] = numbers(&buffer[..]).map(<[u8]>::to_vec);
    let key = PUBLIC.lock().unwrap();
    for _ in 0..rounds {
        let result = key.as_ref().unwrap().apply(&x).unwrap();
        buffer[..x.len()].copy_from_slice(&result);
    }
}

/// Decrypts the number in the buffer with the `rsa` crate, as often as asked.
#[unsafe(no_mangle)]
extern "C" fn decrypt_other(rounds: u32) {
    let mut buffer = BUFFER.lock().unwrap();
    let [c] = numbers(&buffer[..]).map(<[u8]>::to_vec);
    let key = OTHER.lock().unwrap();
    let key = key.as_ref().unwrap();
    let mut rng = RNG.lock().unwrap();
    let bits = u32::try_from(8 * c.len()).unwrap();
    for _ in 0..rounds {
        let c = BoxedUint::from_be_slice(&c, bits).unwrap();
        let result = rsa_decrypt_and_check(key, Some(&mut *rng), &c).unwrap();
        let bytes = result.to_be_bytes_trimmed_vartime();
        buffer[..c_len(bits)].fill(0);
        buffer[c_len(bits) - bytes.len()..c_len(bits)].copy_from_slice(&bytes);
    }
}

/// Reads `u1`, `u2`, `x`, `y` and `r`, and asks the kernel, as often as asked. Gives 1 when `r` is `x` of the sum,
/// 2 when it is not, 0 when that is not known.
#[unsafe(no_mangle)]
extern "C" fn has_x(rounds: u32) -> u32 {
    let buffer = BUFFER.lock().unwrap();
    let [u1, u2, x, y, r] = numbers(&buffer[..]).map(|number| number.try_into().unwrap());
    let mut answer = None;
    for _ in 0..rounds {
        answer = kernel_p256::has_x([u1, u2], [x, y], r);
    }
    match answer {
        Some(true) => 1,
        Some(false) => 2,
        None => 0,
    }
}

/// Takes the OAEP padding off the number in the buffer, with SHA-1 and an empty label: the length of the message, or
/// `u32::MAX` when there is none.
#[unsafe(no_mangle)]
extern "C" fn unpad(rounds: u32) -> u32 {
    unpadded(rounds, oaep::unpad::<Sha1>)
}

/// The same with SHA-256.
#[unsafe(no_mangle)]
extern "C" fn unpad_sha256(rounds: u32) -> u32 {
    unpadded(rounds, oaep::unpad::<Sha256>)
}

fn unpadded(
    rounds: u32,
    unpad: impl Fn(&[u8], &[u8]) -> Result<Zeroizing<Vec<u8>>, oaep::InvalidPadding>,
) -> u32 {
    let buffer = BUFFER.lock().unwrap();
    let [block] = numbers(&buffer[..]);
    let mut length = u32::MAX;
    for _ in 0..rounds {
        let message = unpad(block, b"");
        length = message.map_or(u32::MAX, |message| message.len().try_into().unwrap());
    }
    length
}

/// Reads a key, an IV, data and a tag, and has AES-128 decrypt and encrypt the data by CBC and compare its CMAC, as often
/// as asked: 1 when the tag is that of the data.
#[unsafe(no_mangle)]
extern "C" fn aes(rounds: u32) -> u32 {
    let buffer = BUFFER.lock().unwrap();
    let [key, iv, data, tag] = numbers(&buffer[..]);
    let [key, iv]: [&[u8; 16]; 2] = [key, iv].map(|bytes| bytes.try_into().unwrap());
    let mut holds = false;
    for _ in 0..rounds {
        let mut data = data.to_vec();
        keylet_aes128::cbc_decrypt(key, iv, &mut data);
        keylet_aes128::cbc_encrypt(key, iv, &mut data);
        holds = keylet_aes128::cmac_verifies(key, &[&data], tag);
    }
    u32::from(holds)
}

/// Reads a point, a hash and a signature, and asks the `p256` crate, as often as asked: 1 when the signature holds.
#[unsafe(no_mangle)]
extern "C" fn verify_other(rounds: u32) -> u32 {
    let buffer = BUFFER.lock().unwrap();
    let [point, hash, signature] = numbers(&buffer[..]);
    let mut holds = false;
    for _ in 0..rounds {
        let key = VerifyingKey::from_sec1_bytes(point).unwrap();
        let signature = Signature::from_slice(signature).unwrap();
        holds = key.verify_prehash(hash, &signature).is_ok();
    }
    u32::from(holds)
}

fn c_len(bits: u32) -> usize {
    usize::try_from(bits / 8).unwrap()
}

/// The first numbers in the buffer.
fn numbers<const N: usize>(mut bytes: &[u8]) -> [&[u8]; N] {
    std::array::from_fn(|_| {
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        let (number, rest) = rest.split_at(length);
        bytes = rest;
        number
    })
}
