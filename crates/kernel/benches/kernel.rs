//! `cargo bench -p keylet-kernel`: what an operation costs in a host, beside the `rsa` crate
//! there and OpenSSL outside.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

#[path = "../tests/suite/support.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod support;

use std::process::Command;

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::ops::{Invert, Reduce};
use p256::{FieldBytes, NonZeroScalar, Scalar};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rsa::PrivateKey as RsaPrivateKey;

use support::{Guest, Host, Parts, module};

/// How long each operation is repeated, like `openssl speed` with its option here.
const SECONDS: f64 = 1.0;

fn main() {
    let module = module(true);
    println!(
        "microseconds of processor time, mean of {SECONDS} second; in wasmtime but for OpenSSL\n"
    );
    for bits in [1024, 2048] {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let parts = Parts::from_key(RsaPrivateKey::new(&mut rng, bits).unwrap());
        let mut guest = Guest::new(&module, Host::Fuses).unwrap();
        guest.load("load", &parts, 1);
        guest.load("load_public", &parts, 1);
        guest.load("load_other", &parts, 1);
        let mut c = parts.0[0].clone();
        c[0] = 1;

        let fused = mean(4, |rounds| {
            assert_eq!(guest.decrypt(1, &c, rounds).0, 1);
        });
        let exact = mean(2, |rounds| {
            assert_eq!(guest.decrypt(2, &c, rounds).0, 2);
        });
        let other = mean(1, |rounds| {
            guest.apply("decrypt_other", &c, rounds);
        });
        let public = mean(50, |rounds| {
            guest.apply("apply", &c, rounds);
        });
        let load_public = mean(20, |rounds| guest.load("load_public", &parts, rounds));
        let load = mean(20, |rounds| guest.load("load", &parts, rounds));
        // A key that is loaded anew is made ready by its first operation.
        let first = mean(2, |rounds| {
            for _ in 0..rounds {
                guest.load("load", &parts, 1);
                guest.decrypt(1, &c, 1);
            }
        });
        let openssl = openssl(bits);
        println!("RSA-{bits}");
        println!("  private, OpenSSL   {:>9.1}", openssl[0]);
        println!("  public, OpenSSL    {:>9.1}", openssl[1]);
        for (name, time) in [
            ("private, fused", fused),
            ("private, exact", exact),
            ("private, rsa crate", other),
            ("parts taken", load),
            ("first, fused", first),
        ] {
            println!("  {name:<18} {time:>9.1}  {:>6.2}", time / openssl[0]);
        }
        println!(
            "  public             {public:>9.1}  {:>6.2}",
            public / openssl[1]
        );
        println!("  public key taken   {load_public:>9.1}\n");
    }
    signature(&module);
}

/// A signature of ECDSA on P-256: what the kernel does of it, and the whole by the `p256` crate.
fn signature(module: &[u8]) {
    let mut guest = Guest::new(module, Host::Fuses).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let key = SigningKey::from(NonZeroScalar::generate_from_rng(&mut rng));
    let hash = [9; 32];
    let signature: Signature = key.sign_prehash(&hash).unwrap();
    let (r, s) = signature.split_scalars();
    let inverse = s.invert_vartime();
    let u1 = <Scalar as Reduce<FieldBytes>>::reduce(&hash.into()) * *inverse;
    let [u1, u2, r] = [u1, *r * *inverse, *r].map(|scalar| scalar.to_bytes());
    let point = key.verifying_key().to_sec1_point(false);
    let (x, y) = (point.x().unwrap(), point.y().unwrap());
    let kernel = mean(10, |rounds| {
        let holds = guest.ask("has_x", &[&u1, &u2, x, y, &r], rounds);
        assert_eq!(holds, 1);
    });
    let other = mean(4, |rounds| {
        let numbers: [&[u8]; 3] = [point.as_bytes(), &hash, &signature.to_bytes()];
        assert_eq!(guest.ask("verify_other", &numbers, rounds), 1);
    });
    println!("ECDSA on P-256");
    println!(
        "  sum of multiples   {kernel:>9.1}  {:>6.2}",
        kernel / other
    );
    println!("  p256 crate         {other:>9.1}");
}

/// Microseconds for a round, of the time that this thread was given.
fn mean(rounds: u32, mut work: impl FnMut(u32)) -> f64 {
    work(1);
    let start = running_seconds();
    let mut done = 0.0;
    loop {
        work(rounds);
        done += f64::from(rounds);
        let elapsed = running_seconds() - start;
        if elapsed >= SECONDS {
            return elapsed * 1e6 / done;
        }
    }
}

/// How long this thread has run, by Linux's account.
fn running_seconds() -> f64 {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = account.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}

/// Microseconds of the private and the public operation, by `openssl speed`; not a number without.
fn openssl(bits: usize) -> [f64; 2] {
    let output = Command::new("openssl")
        .args(["speed", "-seconds", "1", "-mr", &format!("rsa{bits}")])
        .output();
    let Ok(output) = output else {
        return [f64::NAN; 2];
    };
    // +F2:<number>:<bits>:<private operations in a second>:<public operations>
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields: Vec<f64> = text
        .lines()
        .find_map(|line| line.strip_prefix("+F2:"))
        .map(|line| {
            line.split(':')
                .filter_map(|field| field.parse().ok())
                .collect()
        })
        .unwrap_or_default();
    match fields[..] {
        [_, _, private, public, ..] => [1e6 / private, 1e6 / public],
        _ => [f64::NAN; 2],
    }
}
