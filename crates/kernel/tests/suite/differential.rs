//! Both kernels against the `rsa` crate and OpenSSL.
//!
//! `KEYLET_RSA_ROUNDS` is the number of random inputs for each size, 20 without it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use keylet_kernel::{Kernel, PublicKey};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rsa::PrivateKey as RsaPrivateKey;
use rsa::hazmat::{rsa_decrypt, rsa_encrypt};
use rsa::pkcs1::EncodeRsaPrivateKey;

use crate::support::{Parts, uint};

/// Inputs that one key is used for.
const INPUTS_PER_KEY: usize = 50;

/// Operations after which a key blinds the base, and the exponents no more.
const UNTIL_BASE: usize = 16;

/// A key in every form.
struct Key {
    parts: Parts,
    judge: RsaPrivateKey,
    kernel: keylet_kernel::PrivateKey,
    public: PublicKey,
}

impl Key {
    fn new(parts: Parts) -> Self {
        let [n, e, p, q, _, _, _, d] = parts.0.each_ref().map(|part| uint(part));
        Self {
            judge: RsaPrivateKey::from_components(n, e, d, vec![p, q]).unwrap(),
            kernel: parts.key(),
            public: PublicKey::new(&parts.0[0], &parts.0[1]).unwrap(),
            parts,
        }
    }

    /// Holds both operations of both kernels against the `rsa` crate.
    fn check(&self, input: &[u8], rng: &mut ChaCha20Rng) {
        let bits = u32::try_from(8 * input.len()).unwrap();
        let number = rsa::BoxedUint::from_be_slice(input, bits).unwrap();
        let private = rsa_decrypt::<ChaCha20Rng>(None, &self.judge, &number).unwrap();
        for kernel in [Kernel::Fused, Kernel::Exact] {
            let decrypted = self.kernel.decrypt_with(&[kernel], input, rng).unwrap();
            assert_eq!(decrypted.kernel, kernel);
            assert_eq!(
                *decrypted.block,
                private.to_be_bytes()[..],
                "{kernel:?}, {}",
                hex::encode(input)
            );
        }
        let public = rsa_encrypt(&self.judge, &number).unwrap().to_be_bytes();
        assert_eq!(self.public.apply(input).unwrap(), public[..]);
    }
}

fn rounds() -> usize {
    std::env::var("KEYLET_RSA_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap())
}

/// A random input below a modulus.
fn below(n: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    loop {
        let mut input = vec![0; n.len()];
        rng.fill_bytes(&mut input);
        if input.as_slice() < n {
            return input;
        }
    }
}

/// 0, 1, 2, their negatives, the primes and their multiples.
fn edges(parts: &Parts) -> Vec<Vec<u8>> {
    let [n, _, p, q, ..] = parts.0.each_ref().map(|part| uint(part));
    let length = parts.0[0].len();
    let mut edges = Vec::new();
    for small in [0_u32, 1, 2, 3] {
        let small = uint(&small.to_be_bytes());
        edges.push(small.clone());
        if small != uint(&[0]) {
            edges.push(n.wrapping_sub(&small));
        }
    }
    for prime in [p, q] {
        edges.push(n.wrapping_sub(&prime));
        edges.push(prime.wrapping_mul(uint(&[255, 254])));
        edges.push(prime);
    }
    edges
        .iter()
        .map(|edge| {
            let bytes = edge.to_be_bytes_trimmed_vartime();
            let mut padded = vec![0; length - bytes.len()];
            padded.extend_from_slice(&bytes);
            padded
        })
        .collect()
}

fn agrees_on_random_keys(bits: usize) {
    let mut rng = ChaCha20Rng::seed_from_u64(bits as u64);
    let mut left = rounds();
    while left > 0 {
        let inputs = left.min(INPUTS_PER_KEY);
        left -= inputs;
        let key = Key::new(Parts::from_key(RsaPrivateKey::new(&mut rng, bits).unwrap()));
        for _ in 0..inputs {
            let input = below(&key.parts.0[0], &mut rng);
            key.check(&input, &mut rng);
        }
    }
}

#[test]
fn both_kernels_agree_with_the_rsa_crate_on_random_keys_of_1024_bits() {
    agrees_on_random_keys(1024);
}

#[test]
fn both_kernels_agree_with_the_rsa_crate_on_random_keys_of_2048_bits() {
    agrees_on_random_keys(2048);
}

#[test]
fn both_kernels_agree_with_the_rsa_crate_on_the_edges_of_special_keys() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/primes.json")).unwrap();
    for vector in vectors.as_array().unwrap() {
        let prime = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
        let key = Key::new(Parts::from_primes(&prime("p"), &prime("q")));
        for input in edges(&key.parts) {
            key.check(&input, &mut rng);
        }
        for _ in 0..UNTIL_BASE {
            key.check(&below(&key.parts.0[0], &mut rng), &mut rng);
        }
        for input in edges(&key.parts) {
            key.check(&input, &mut rng);
        }
    }
}

#[test]
fn public_exponents_are_taken_as_far_as_the_rsa_crate_has_them() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for exponent in [3_u64, 5, 17, 0x8000_0001, 0x1_ffff_ffff] {
        let exponent = uint(&exponent.to_be_bytes());
        let key = loop {
            if let Ok(key) = RsaPrivateKey::new_with_exp(&mut rng, 1024, exponent.clone()) {
                break key;
            }
        };
        let key = Key::new(Parts::from_key(key));
        for _ in 0..UNTIL_BASE + 4 {
            let input = below(&key.parts.0[0], &mut rng);
            key.check(&input, &mut rng);
        }
    }
}

#[test]
fn both_kernels_agree_with_openssl() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    for bits in [1024, 2048] {
        let key = Key::new(Parts::from_key(RsaPrivateKey::new(&mut rng, bits).unwrap()));
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{bits}.der"));
        std::fs::write(&path, key.judge.to_pkcs1_der().unwrap().as_bytes()).unwrap();
        for _ in 0..3 {
            let input = below(&key.parts.0[0], &mut rng);
            let child = Command::new("openssl")
                .args(["pkeyutl", "-decrypt", "-pkeyopt", "rsa_padding_mode:none"])
                .args(["-keyform", "DER", "-inkey"])
                .arg(&path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            let Ok(mut child) = child else {
                println!("left out: there is no `openssl` here");
                return;
            };
            child.stdin.take().unwrap().write_all(&input).unwrap();
            let expected = child.wait_with_output().unwrap().stdout;
            for kernel in [Kernel::Fused, Kernel::Exact] {
                let decrypted = key.kernel.decrypt_with(&[kernel], &input, &mut rng);
                assert_eq!(*decrypted.unwrap().block, expected);
            }
        }
    }
}
