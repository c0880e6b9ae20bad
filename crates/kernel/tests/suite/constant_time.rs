//! That nobody learns a secret by measuring: as many instructions, whatever the secret is, in the compiled module.
//!
//! The engine counts the instructions of WebAssembly, so the counts are exact: one branch that a secret decides shows.
//! They say nothing of what the engine's compiler makes of an instruction; the times of [`time`] do.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rsa::PrivateKey as RsaPrivateKey;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::hosts::RELAXED;
use crate::support::{Guest, Host, Parts};

/// Operations after which a key blinds the base too.
const OPERATIONS: u32 = 20;

/// Measurements of each class, of each operation: `KEYLET_MEASUREMENTS`.
const MEASUREMENTS: usize = 20_000;

/// Asserts that every class takes as many instructions.
fn assert_one_count(what: &str, counts: &BTreeMap<String, u64>) {
    let first = counts.values().next().unwrap();
    assert!(
        counts.values().all(|count| count == first),
        "{what}: {counts:#?}"
    );
}

/// Instructions of a call.
fn count(guest: &mut Guest, call: impl FnOnce(&mut Guest)) -> u64 {
    let before = guest.instructions();
    call(guest);
    guest.instructions() - before
}

fn random<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Ciphertexts below a modulus, of few bits, of many, and of half.
fn ciphertexts(modulus: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let length = modulus.len();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut two = vec![0; length];
    two[length - 1] = 2;
    let mut ones = vec![0xff; length];
    ones[0] = 0x7f;
    let mut half = vec![0; length];
    rng.fill_bytes(&mut half);
    half[0] &= 0x7f;
    let mut below = modulus.to_vec();
    below[length - 1] -= 1;
    [
        ("two", two),
        ("ones", ones),
        ("random", half),
        ("-1", below),
    ]
}

#[test]
fn the_private_operation_takes_as_many_instructions_whatever_the_key_is() {
    for bits in [1024, 2048] {
        for kernel in [1, 2] {
            // Ciphertexts are no secrets: one of few bits takes fewer.
            let mut counts: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
            for seed in 0..3 {
                let mut rng = ChaCha20Rng::seed_from_u64(seed);
                let parts = Parts::from_key(RsaPrivateKey::new(&mut rng, bits).unwrap());
                for (name, c) in ciphertexts(&parts.0[0]) {
                    // A new guest has the same random numbers.
                    let mut guest = Guest::counting(&RELAXED);
                    guest.load("load", &parts, 1);
                    let count = count(&mut guest, |guest| {
                        assert_eq!(guest.decrypt(kernel, &c, OPERATIONS).0, kernel);
                    });
                    let keys = counts.entry(name).or_default();
                    keys.insert(format!("key {seed}"), count);
                }
            }
            for (name, keys) in counts {
                assert_one_count(&format!("{bits} bits, kernel {kernel}, {name}"), &keys);
            }
        }
    }
}

/// MGF1 is its own inverse: masks what is in the clear, and the other way round.
fn masked<D: Digest>(block: &mut [u8]) {
    let (seed, data) = block[1..].split_at_mut(<D as Digest>::output_size());
    mask::<D>(data, seed);
    mask::<D>(seed, data);
}

fn mask<D: Digest>(data: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(data.chunks_mut(<D as Digest>::output_size())) {
        let mask = D::new()
            .chain_update(seed)
            .chain_update(counter.to_be_bytes())
            .finalize();
        chunk
            .iter_mut()
            .zip(mask)
            .for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// Blocks by what is wrong with them.
fn blocks<D: Digest>(length: usize) -> Vec<(String, Vec<u8>)> {
    const MESSAGE: usize = 16;
    let hash = <D as Digest>::output_size();
    let separator = length - MESSAGE - 1;
    let mut clear = vec![0; length];
    clear[1..=hash].fill(0x5a);
    clear[1 + hash..1 + 2 * hash].copy_from_slice(&D::digest(b""));
    clear[separator] = 1;
    clear[separator + 1..].fill(0x33);
    let first_zero = 1 + 2 * hash;
    let mut blocks = vec![("valid".to_owned(), clear.clone())];
    let mut wrong = |name: &str, at: usize, value: u8| {
        let mut block = clear.clone();
        block[at] = value;
        blocks.push((format!("{name} at {at}: {value:02x}"), block));
    };
    wrong("first byte", 0, 1);
    wrong("first byte", 0, 0xff);
    for at in [1 + hash, 1 + hash + hash / 2, 2 * hash] {
        wrong("label", at, clear[at] ^ 1);
        wrong("label", at, clear[at] ^ 0xff);
    }
    for at in [first_zero, first_zero + 1, separator - 1] {
        wrong("padding", at, 2);
        wrong("padding", at, 0xff);
    }
    wrong("separator", separator, 2);
    // No separator at all.
    let mut block = clear.clone();
    block[first_zero..].fill(0);
    blocks.push(("no separator".to_owned(), block));
    for (_, block) in &mut blocks {
        masked::<D>(block);
    }
    blocks
}

#[test]
fn every_wrong_padding_takes_as_many_instructions() {
    for (name, length, blocks) in [
        ("unpad", 128, blocks::<Sha1>(128)),
        ("unpad", 256, blocks::<Sha1>(256)),
        ("unpad_sha256", 256, blocks::<Sha256>(256)),
    ] {
        let mut guest = Guest::counting(&RELAXED);
        let mut counts = BTreeMap::new();
        for (what, block) in blocks {
            let mut message = 0;
            let count = count(&mut guest, |guest| message = guest.ask(name, &[&block], 1));
            match what.as_str() {
                // Whoever holds the key has a message then, and goes on.
                "valid" => assert_eq!(message, 16),
                _ => {
                    assert_eq!(message, u32::MAX, "{what}");
                    counts.insert(what, count);
                }
            }
        }
        assert_eq!(counts.len(), 16, "{counts:?}");
        assert_one_count(&format!("{name} of {length} bytes"), &counts);
    }
}

#[test]
fn aes_takes_as_many_instructions_whatever_key_data_and_tag_are() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let mut guest = Guest::counting(&RELAXED);
    // The first call has the guest's memory grow.
    assert_eq!(
        guest.ask("aes", &[&[1; 16], &[7; 16], &[1; 96], &[1; 16]], 1),
        0
    );
    let mut counts = BTreeMap::new();
    for (name, key) in [
        ("zeros", [0; 16]),
        ("ones", [0xff; 16]),
        ("one bit", {
            let mut key = [0; 16];
            key[0] = 1;
            key
        }),
        ("random", random(&mut rng)),
    ] {
        for data in [[0; 96], [0xff; 96], random(&mut rng)] {
            let tag = random::<16>(&mut rng);
            let name = format!("{name}, {:02x}…", data[0]);
            let count = count(&mut guest, |guest| {
                assert_eq!(guest.ask("aes", &[&key, &[7; 16], &data, &tag], 1), 0);
            });
            counts.insert(name, count);
        }
    }
    assert_eq!(counts.len(), 12);
    assert_one_count("AES-128", &counts);
}

/// Welch's t of two classes (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", DATE 2017), without the
/// slowest measurements, which are the machine's.
fn welch(classes: &mut [Vec<f64>; 2]) -> f64 {
    let [one, two] = classes.each_mut().map(|times| {
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() * 9 / 10);
        let count = f64::from(u32::try_from(times.len()).unwrap());
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - two.0) / (one.1 + two.1).sqrt()
}

/// Measures two classes in turns, in an order that is random.
fn measure(what: &str, mut run: impl FnMut(usize)) -> f64 {
    let measurements = std::env::var("KEYLET_MEASUREMENTS");
    let measurements = measurements.map_or(MEASUREMENTS, |number| number.parse().unwrap());
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let mut classes = [Vec::new(), Vec::new()];
    for _ in 0..2 * measurements {
        let class = usize::from(rng.next_u32() & 1 == 1);
        let began = Instant::now();
        run(black_box(class));
        classes[class].push(began.elapsed().as_secs_f64());
    }
    let t = welch(&mut classes);
    println!("{what}: t = {t:.2} of {measurements} measurements a class");
    t.abs()
}

#[test]
#[ignore = "it measures the machine for minutes; the instructions are counted by the other tests"]
fn time() {
    /// Beyond this the two classes differ, says the paper.
    const BOUND: f64 = 10.0;

    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let mut worst: f64 = 0.0;
    for (name, blocks) in [
        ("unpad", blocks::<Sha1>(128)),
        ("unpad_sha256", blocks::<Sha256>(256)),
    ] {
        let find = |what: &str| {
            let (_, block) = blocks
                .iter()
                .find(|(name, _)| name.starts_with(what))
                .unwrap();
            block.clone()
        };
        let mut guest = Guest::new(&RELAXED, Host::Fuses).unwrap();
        for [one, two] in [
            ["first byte", "label"],
            ["label", "no separator"],
            ["padding", "separator"],
        ] {
            let pair = [find(one), find(two)];
            let t = measure(&format!("{name}, {one} or {two}"), |class| {
                guest.ask(name, &[&pair[class]], 20);
            });
            worst = worst.max(t);
        }
    }
    let mut guest = Guest::new(&RELAXED, Host::Fuses).unwrap();
    let keys = [[0; 16], random(&mut rng)];
    let data = random::<96>(&mut rng);
    worst = worst.max(measure(
        "AES-128, a key of zeros or a random one",
        |class| {
            guest.ask("aes", &[&keys[class], &[7; 16], &data, &[0; 16]], 20);
        },
    ));
    let parts = Parts::from_key(RsaPrivateKey::new(&mut rng, 1024).unwrap());
    for (kernel, name) in [(1, "fused"), (2, "exact")] {
        let mut guest = Guest::new(&RELAXED, Host::Fuses).unwrap();
        guest.load("load", &parts, 1);
        let [(_, two), _, (_, random), _] = ciphertexts(&parts.0[0]);
        let pair = [two, random];
        worst = worst.max(measure(
            &format!("RSA-1024, {name}, base 2 or random"),
            |class| {
                guest.decrypt(kernel, &pair[class], 1);
            },
        ));
    }
    assert!(worst < BOUND, "t = {worst}");
}
