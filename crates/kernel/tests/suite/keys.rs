//! Which keys are accepted, and what happens to keys that are wrong.

use keylet_kernel::{DecryptError, Kernel, KeyError, OutOfRange, PrivateKey, PublicKey};
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use rsa::PrivateKey as RsaPrivateKey;

use crate::support::Parts;

const N: usize = 0;
const E: usize = 1;
const P: usize = 2;
const DP: usize = 4;
const DQ: usize = 5;
const QINV: usize = 6;

fn parts(bits: usize) -> Parts {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    Parts::from_key(RsaPrivateKey::new(&mut rng, bits).unwrap())
}

fn refusal(parts: &Parts) -> KeyError {
    match PrivateKey::new(&parts.crt()) {
        Ok(_) => panic!("the key was taken"),
        Err(error) => error,
    }
}

#[test]
fn leading_zeros_of_a_key_do_not_matter() {
    let mut parts = parts(1024);
    let expected = decrypt(&parts);
    for part in &mut parts.0 {
        part.insert(0, 0);
    }
    assert_eq!(decrypt(&parts), expected);
}

fn decrypt(parts: &Parts) -> Vec<u8> {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let decrypted = parts.key().decrypt(&[1; 128], &mut rng).unwrap();
    decrypted.block.to_vec()
}

#[test]
fn a_key_of_another_size_is_left_to_another_implementation() {
    assert_eq!(refusal(&parts(1536)), KeyError::Unsupported);
    let mut wide = parts(1024);
    wide.0[P].insert(0, 1);
    assert_eq!(refusal(&wide), KeyError::Unsupported);
    let mut exponent = parts(1024);
    exponent.0[E] = vec![1; 9];
    assert_eq!(refusal(&exponent), KeyError::Unsupported);
    let n = &parts(1536).0[N];
    assert!(matches!(
        PublicKey::new(n, &[3]),
        Err(KeyError::Unsupported)
    ));
    assert!(matches!(
        PublicKey::new(&[], &[3]),
        Err(KeyError::Unsupported)
    ));
}

#[test]
fn parts_that_do_not_belong_together_are_no_key() {
    let change: [fn(&mut Parts); 6] = [
        |parts| *parts.0[N].last_mut().unwrap() ^= 2,
        |parts| *parts.0[N].last_mut().unwrap() ^= 1,
        |parts| parts.0[E] = vec![4],
        |parts| parts.0[E] = vec![],
        |parts| parts.0[DP] = parts.0[P].clone(),
        |parts| parts.0[QINV] = vec![255; 64],
    ];
    for change in change {
        let mut parts = parts(1024);
        change(&mut parts);
        assert_eq!(refusal(&parts), KeyError::Invalid);
    }
}

#[test]
fn a_wrong_part_gives_no_result_and_not_a_wrong_one() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    for part in [DP, DQ, QINV] {
        let mut parts = parts(1024);
        *parts.0[part].last_mut().unwrap() ^= 2;
        let key = PrivateKey::new(&parts.crt()).unwrap();
        let error = key.decrypt(&[1; 128], &mut rng).err();
        assert_eq!(error, Some(DecryptError::Unverified));
    }
}

#[test]
fn an_input_that_is_not_below_the_modulus_is_out_of_range() {
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    let parts = parts(1024);
    let key = parts.key();
    let public = PublicKey::new(&parts.0[N], &parts.0[E]).unwrap();
    for input in [&parts.0[N][..], &[255; 128], &[1; 127], &[0; 129], &[]] {
        let error = key.decrypt(input, &mut rng).err();
        assert_eq!(error, Some(DecryptError::OutOfRange));
        assert_eq!(public.apply(input), Err(OutOfRange));
    }
}

#[test]
fn the_fused_kernel_answers_where_multiply_adds_are_fused() {
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let decrypted = parts(1024).key().decrypt(&[1; 128], &mut rng).unwrap();
    assert_eq!(decrypted.kernel, Kernel::Fused);
}

#[test]
fn operations_at_one_time_share_a_key() {
    let key = parts(1024).key();
    let expected = decrypt(&parts(1024));
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (key, expected) = (&key, &expected);
            scope.spawn(move || {
                let mut rng = ChaCha20Rng::seed_from_u64(seed);
                for _ in 0..20 {
                    let decrypted = key.decrypt(&[1; 128], &mut rng).unwrap();
                    assert_eq!(*decrypted.block, *expected);
                }
            });
        }
    });
}

/// A generator whose numbers are not random but zero.
struct Zeros;

impl TryRng for Zeros {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl TryCryptoRng for Zeros {}

#[test]
fn a_result_that_is_not_right_leaves_nothing_behind() {
    // What hides the base is zero as well, in the operation that makes it, and its result is not right.
    let key = parts(1024).key();
    let expected = decrypt(&parts(1024));
    for operation in 1..=40 {
        let decrypted = key.decrypt(&[1; 128], &mut Zeros).unwrap();
        assert_eq!(*decrypted.block, *expected);
        let kernel = match operation % 16 {
            0 => Kernel::Exact,
            _ => Kernel::Fused,
        };
        assert_eq!(decrypted.kernel, kernel, "operation {operation}");
    }
}
