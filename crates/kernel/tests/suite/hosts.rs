//! The kernel as WebAssembly, in hosts that treat relaxed instructions as they may.

use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rsa::PrivateKey as RsaPrivateKey;
use rsa::hazmat::rsa_decrypt;

use crate::p256;
use crate::support::{Guest, Host, Parts, module};

const ANY: u32 = 0;
const FUSED: u32 = 1;
const EXACT: u32 = 2;
const NONE: u32 = 0;

/// Operations after which a key blinds the base, and the exponents no more.
const UNTIL_BASE: u32 = 16;

pub static RELAXED: LazyLock<Vec<u8>> = LazyLock::new(|| module(true));
static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| module(false));

/// A key, an input, and what it decrypts to.
fn cases() -> [(Parts, Vec<u8>, Vec<u8>); 2] {
    [1024, 2048].map(|bits| {
        let mut rng = ChaCha20Rng::seed_from_u64(12);
        let key = RsaPrivateKey::new(&mut rng, bits).unwrap();
        let input = vec![0x5a; bits / 8];
        let number = rsa::BoxedUint::from_be_slice_vartime(&input);
        let expected = rsa_decrypt::<ChaCha20Rng>(None, &key, &number).unwrap();
        (Parts::from_key(key), input, expected.to_be_bytes().to_vec())
    })
}

#[test]
fn a_host_that_fuses_gets_the_fused_kernel() {
    for (parts, input, expected) in cases() {
        let mut guest = Guest::new(&RELAXED, Host::Fuses).unwrap();
        guest.load("load", &parts, 1);
        for kernel in [FUSED, EXACT] {
            let decrypted = guest.decrypt(kernel, &input, UNTIL_BASE + 4);
            assert_eq!(decrypted, (kernel, expected.clone()));
        }
        assert_eq!(guest.decrypt(ANY, &input, 2), (FUSED, expected));
    }
}

#[test]
fn a_host_that_rounds_products_gets_the_exact_kernel() {
    for (parts, input, expected) in cases() {
        let mut guest = Guest::new(&RELAXED, Host::Rounds).unwrap();
        guest.load("load", &parts, 1);
        let decrypted = guest.decrypt(ANY, &input, UNTIL_BASE + 4);
        assert_eq!(decrypted, (EXACT, expected));
    }
}

#[test]
fn a_fused_kernel_whose_products_are_rounded_gives_no_result() {
    for (parts, input, _) in cases() {
        let mut guest = Guest::new(&RELAXED, Host::Rounds).unwrap();
        guest.load("load", &parts, 1);
        assert_eq!(guest.decrypt(FUSED, &input, 1).0, NONE);
    }
}

#[test]
fn a_host_without_relaxed_instructions_loads_the_build_without_them() {
    assert!(Guest::new(&RELAXED, Host::Refuses).is_err());
    for (parts, input, expected) in cases() {
        let mut guest = Guest::new(&PLAIN, Host::Refuses).unwrap();
        guest.load("load", &parts, 1);
        assert_eq!(guest.decrypt(ANY, &input, 1), (EXACT, expected));
    }
}

#[test]
fn the_public_operation_is_right_wherever_it_runs() {
    for host in [Host::Fuses, Host::Rounds] {
        for (parts, input, expected) in cases() {
            let mut guest = Guest::new(&RELAXED, host).unwrap();
            guest.load("load_public", &parts, 1);
            assert_eq!(guest.apply("apply", &expected, 1), input);
        }
    }
}

#[test]
fn a_signature_on_p256_is_verified_where_the_host_fuses_and_not_known_elsewhere() {
    let mut rng = ChaCha20Rng::seed_from_u64(12);
    for (module, host, answers) in [
        (&RELAXED, Host::Fuses, [1, 2]),
        (&RELAXED, Host::Rounds, [0, 0]),
        (&PLAIN, Host::Refuses, [0, 0]),
    ] {
        let mut guest = Guest::new(module, host).unwrap();
        for _ in 0..20 {
            let [u1, u2, x, y, r] = p256::random(&mut rng);
            let other = [7; 32];
            let right = guest.ask("has_x", &[&u1, &u2, &x, &y, &r], 1);
            let wrong = guest.ask("has_x", &[&u1, &u2, &x, &y, &other], 1);
            assert_eq!([right, wrong], answers, "{host:?}");
        }
    }
}
