//! OAEP: vectors in the manner of Wycheproof, and blocks that the `rsa` crate made.

use keylet_kernel::oaep::{self, InvalidPadding};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rsa::{Oaep, PrivateKey as RsaPrivateKey};
use serde::Deserialize;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::support::Parts;

#[derive(Deserialize)]
struct Vectors {
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: u32,
    comment: String,
    hash: String,
    #[serde(with = "hex::serde")]
    label: Vec<u8>,
    #[serde(with = "hex::serde")]
    block: Vec<u8>,
    #[serde(with = "hex::serde")]
    message: Vec<u8>,
    result: String,
}

fn unpad(hash: &str, block: &[u8], label: &[u8]) -> Result<Zeroizing<Vec<u8>>, InvalidPadding> {
    match hash {
        "sha1" => oaep::unpad::<Sha1>(block, label),
        "sha256" => oaep::unpad::<Sha256>(block, label),
        _ => panic!("{hash}"),
    }
}

#[test]
fn a_valid_block_gives_its_message_and_every_other_the_same_refusal() {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/oaep.json")).unwrap();
    for vector in vectors.tests {
        let expected = match vector.result.as_str() {
            "valid" => Ok(Zeroizing::new(vector.message)),
            _ => Err(InvalidPadding),
        };
        let result = unpad(&vector.hash, &vector.block, &vector.label);
        assert_eq!(result, expected, "{}: {}", vector.tc_id, vector.comment);
    }
}

#[test]
fn what_the_rsa_crate_encrypts_is_decrypted() {
    let mut rng = ChaCha20Rng::seed_from_u64(13);
    let judge = RsaPrivateKey::new(&mut rng, 1024).unwrap();
    let key = Parts::from_key(judge.clone()).key();
    let public = judge.to_public_key();
    for (hash, ciphertext) in [
        (
            "sha1",
            public.encrypt(&mut rng, Oaep::<Sha1>::new(), b"SPCK"),
        ),
        (
            "sha256",
            public.encrypt(&mut rng, Oaep::<Sha256>::new(), b"SPCK"),
        ),
    ] {
        let decrypted = key.decrypt(&ciphertext.unwrap(), &mut rng).unwrap();
        assert_eq!(**unpad(hash, &decrypted.block, b"").unwrap(), b"SPCK"[..]);
    }
}
