//! The kernels against the `rsa` crate and OpenSSL.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[expect(dead_code, reason = "other tests use all of it")]
mod support;

use keylet_rsa_kernel::{DecryptError, Kernel, PrivateKey, PublicKey};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rsa::hazmat::{rsa_decrypt, rsa_encrypt};
use rsa::{BoxedUint, RsaPrivateKey};

use support::Parts;

#[test]
fn quick() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for bits in [1024, 2048] {
        let key = RsaPrivateKey::new(&mut rng, bits).unwrap();
        let parts = Parts::of(key.clone());
        let public = PublicKey::new(&parts.0[0], &parts.0[1]).unwrap();
        let kernel = parts.key();
        for _ in 0..3 {
            let mut m = vec![0; bits / 8];
            rng.fill_bytes(&mut m[1..]);
            let c = rsa_encrypt(&key, &BoxedUint::from_be_slice(&m, bits as u32).unwrap()).unwrap();
            let c = c.to_be_bytes().to_vec();
            assert_eq!(c, public.apply(&m).unwrap(), "{bits} public");
            for k in [Kernel::Exact, Kernel::Fused] {
                let got = kernel.decrypt_with(&[k], &c, &mut rng).map(|d| d.block);
                println!("{bits} {k:?} {:?}", got.as_ref().map(|b| **b == m).map_err(|e| *e));
            }
        }
    }
}
