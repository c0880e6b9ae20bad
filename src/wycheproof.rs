//! The vectors of Project Wycheproof against what this library itself offers: keys of tokens, private keys, the cipher of
//! stored keys, the modes of AES.
//!
//! `cargo test` runs them where the `rsa`, `p256` and `aes` crates calculate, and not the project's own kernel and AES,
//! which are WebAssembly's.

use base64::Engine as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wycheproof::{
    HashFunction, Mgf, TestResult, aead, cipher, ecdsa, eddsa, mac, rsa_oaep, rsa_pkcs1_verify,
    rsa_pss_verify,
};

use crate::content_key::store::EncryptionKeys;
use crate::encoding::BASE64_URL;
use crate::private_key::EncodedKeys;
use crate::rsa_key::{OaepHash, PublicKey};
use crate::secret::Key128;
use crate::token::{Signed, VerificationKeys};

/// A message and what its signer added.
struct Message<'a> {
    algorithm: &'a str,
    message: &'a [u8],
    signature: &'a [u8],
}

impl Signed for Message<'_> {
    fn algorithm(&self) -> &str {
        self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    fn message(&self) -> &[u8] {
        self.message
    }

    fn signature(&self) -> &[u8] {
        self.signature
    }
}

/// Counts vectors by what should come of them, and holds each against what came.
#[derive(Default)]
struct Tally {
    valid: usize,
    invalid: usize,
}

impl Tally {
    fn add(&mut self, set: &str, case: usize, comment: &str, expected: bool, found: bool) {
        assert_eq!(found, expected, "{set} {case}: {comment}");
        *match expected {
            true => &mut self.valid,
            false => &mut self.invalid,
        } += 1;
    }

    /// No vector is lost by a filter that fits nothing.
    fn assert(&self, valid: usize, invalid: usize) {
        assert_eq!((self.valid, self.invalid), (valid, invalid));
    }
}

/// Verifies by the keys of tokens, as a token is.
fn verifies(jwk: &serde_json::Value, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
    let message = Message {
        algorithm,
        message,
        signature,
    };
    let keys = VerificationKeys::from_json(&jwk.to_string());
    keys.is_ok_and(|keys| keys.verify(&message).is_ok())
}

fn jwk<const N: usize>(kty: &str, alg: &str, members: [(&str, &[u8]); N]) -> serde_json::Value {
    let mut jwk = serde_json::json!({ "kty": kty, "alg": alg });
    for (name, bytes) in members {
        jwk[name] = BASE64_URL.encode(bytes).into();
    }
    jwk
}

/// An algorithm of JOSE by the hash of a set.
fn named(family: &str, hash: HashFunction) -> String {
    let bits = match hash {
        HashFunction::Sha2_256 => 256,
        HashFunction::Sha2_384 => 384,
        HashFunction::Sha2_512 => 512,
        other => panic!("{other:?}"),
    };
    format!("{family}{bits}")
}

#[test]
fn hmac() {
    let mut tally = Tally::default();
    for (set, algorithm, least) in [
        (mac::TestName::HmacSha256, "HS256", 32),
        (mac::TestName::HmacSha384, "HS384", 48),
        (mac::TestName::HmacSha512, "HS512", 64),
    ] {
        let vectors = mac::TestSet::load(set).unwrap();
        for group in &vectors.test_groups {
            for test in &group.tests {
                // Keys shorter than the hash are refused, and so is a MAC that was cut (RFC 7518 section 3.2).
                let is_whole = test.key.len() >= least && test.tag.len() == least;
                let expected = is_whole && test.result == TestResult::Valid;
                let jwk = jwk("oct", algorithm, [("k", &test.key)]);
                let found = verifies(&jwk, algorithm, &test.msg, &test.tag);
                tally.add(algorithm, test.tc_id, &test.comment, expected, found);
            }
        }
    }
    tally.assert(90, 432);
}

#[test]
fn ecdsa_p256_and_p384() {
    let mut tally = Tally::default();
    for (set, algorithm, curve) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, "ES256", "P-256"),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, "ES384", "P-384"),
    ] {
        let vectors = ecdsa::TestSet::load(set).unwrap();
        for group in &vectors.test_groups {
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let mut jwk = jwk("EC", algorithm, [("x", x), ("y", y)]);
            jwk["crv"] = curve.into();
            for test in &group.tests {
                let expected = test.result == TestResult::Valid;
                let found = verifies(&jwk, algorithm, &test.msg, &test.sig);
                tally.add(algorithm, test.tc_id, &test.comment, expected, found);
            }
        }
    }
    tally.assert(366, 176);
}

#[test]
fn ed25519() {
    let mut tally = Tally::default();
    let vectors = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    for group in &vectors.test_groups {
        let mut jwk = jwk("OKP", "EdDSA", [("x", &group.key.pk)]);
        jwk["crv"] = "Ed25519".into();
        for test in &group.tests {
            let expected = test.result == TestResult::Valid;
            let found = verifies(&jwk, "EdDSA", &test.msg, &test.sig);
            tally.add("Ed25519", test.tc_id, &test.comment, expected, found);
        }
    }
    tally.assert(88, 63);
}

#[test]
fn rsa_pkcs1() {
    use rsa_pkcs1_verify::{TestName, TestSet};

    let mut tally = Tally::default();
    for set in [
        TestName::Rsa2048Sha256,
        TestName::Rsa2048Sha384,
        TestName::Rsa2048Sha512,
        TestName::Rsa3072Sha256,
        TestName::Rsa3072Sha384,
        TestName::Rsa3072Sha512,
        TestName::Rsa4096Sha256,
        TestName::Rsa4096Sha384,
        TestName::Rsa4096Sha512,
    ] {
        let vectors = TestSet::load(set).unwrap();
        for group in &vectors.test_groups {
            let algorithm = named("RS", group.hash);
            let jwk = jwk(
                "RSA",
                &algorithm,
                [("n", &group.key.n), ("e", &group.key.e)],
            );
            for test in &group.tests {
                // What is acceptable there has a hash without its parameters, and is refused.
                let expected = test.result == TestResult::Valid;
                let found = verifies(&jwk, &algorithm, &test.msg, &test.sig);
                let name = format!("{algorithm} of {} bits", group.key_size);
                tally.add(&name, test.tc_id, &test.comment, expected, found);
            }
        }
    }
    tally.assert(68, 2262);
}

#[test]
fn rsa_pss() {
    use rsa_pss_verify::{TestName, TestSet};

    let mut tally = Tally::default();
    for set in TestName::all() {
        let vectors = TestSet::load(set).unwrap();
        for group in &vectors.test_groups {
            let has_own_mgf = group.mgf == Mgf::Mgf1 && group.mgf_hash == Some(group.hash);
            let salt = match group.hash {
                HashFunction::Sha1 => 20,
                HashFunction::Sha2_256 => 32,
                HashFunction::Sha2_384 => 48,
                HashFunction::Sha2_512 => 64,
                _ => continue,
            };
            // RFC 7518 section 3.5: MGF1 by the same hash, and a salt that is as long.
            if !has_own_mgf || group.salt_size != salt || !(2048..=4096).contains(&group.key_size) {
                continue;
            }
            for test in &group.tests {
                let expected = test.result == TestResult::Valid;
                let found = match group.hash {
                    HashFunction::Sha1 => PublicKey::from_components(&group.key.n, &group.key.e)
                        .is_ok_and(|key| key.verify_pss_sha1(&test.msg, &test.sig)),
                    hash => {
                        let algorithm = named("PS", hash);
                        let members: [(&str, &[u8]); 2] =
                            [("n", &group.key.n), ("e", &group.key.e)];
                        let jwk = jwk("RSA", &algorithm, members);
                        verifies(&jwk, &algorithm, &test.msg, &test.sig)
                    }
                };
                let name = format!("{set:?}");
                tally.add(&name, test.tc_id, &test.comment, expected, found);
            }
        }
    }
    tally.assert(861, 503);
}

#[test]
fn rsa_oaep_with_sha1_and_sha256() {
    use rsa_oaep::{TestName, TestSet};

    let mut tally = Tally::default();
    // What hides an operation does not matter here.
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    for set in [
        TestName::Rsa2048Sha1Mgf1Sha1,
        TestName::Rsa2048Sha256Mgf1Sha256,
        TestName::Rsa3072Sha256Mgf1Sha256,
        TestName::Rsa4096Sha256Mgf1Sha256,
        TestName::RsaMisc,
    ] {
        let vectors = TestSet::load(set).unwrap();
        for group in &vectors.test_groups {
            let hash = match group.hash {
                HashFunction::Sha1 => OaepHash::Sha1,
                HashFunction::Sha2_256 => OaepHash::Sha256,
                _ => continue,
            };
            // The `rsa` crate takes a second for an operation of 8192 bits when it is not optimised.
            if group.mgf_hash != group.hash || group.key_size > 4096 {
                continue;
            }
            // As an operator writes it into a variable.
            let keys = EncodedKeys::read(&BASE64_URL.encode(&**group.pkcs8));
            let keys = keys.and_then(|keys| keys.decode(None)).unwrap();
            let key = keys[0].get().unwrap();
            for test in &group.tests {
                // A label is no part of the protocol: with one, nothing opens.
                let expected = test.result == TestResult::Valid && test.label.is_empty();
                let opened = key.decrypt_oaep(hash, &test.ct, &mut rng);
                let found = opened.is_ok_and(|(message, _)| *message == **test.pt);
                let name = format!("{set:?} of {} bits", group.key_size);
                tally.add(&name, test.tc_id, &test.comment, expected, found);
            }
        }
    }
    tally.assert(67, 123);
}

#[test]
fn aes_gcm_siv_of_stored_keys() {
    let mut tally = Tally::default();
    let vectors = aead::TestSet::load(aead::TestName::AesGcmSiv).unwrap();
    for group in vectors
        .test_groups
        .iter()
        .filter(|group| group.key_size == 256)
    {
        for test in &group.tests {
            // A content key has 16 bytes.
            let sealed = [&**test.ct, &**test.tag].concat();
            let (Ok(sealed), Ok(nonce)) = (sealed.try_into(), test.nonce.as_slice().try_into())
            else {
                continue;
            };
            let mut jwk = jwk("oct", "A256GCM", [("k", &test.key)]);
            jwk["kid"] = "one".into();
            let keys = EncryptionKeys::from_json(&jwk.to_string()).unwrap();
            let key = keys.first().unwrap();
            let opened = key.decrypt(&nonce, &test.aad, &sealed);
            let expected = test.result == TestResult::Valid;
            let found = opened.is_some_and(|opened| opened.expose()[..] == **test.pt);
            tally.add(
                "AES-256-GCM-SIV",
                test.tc_id,
                &test.comment,
                expected,
                found,
            );
            if expected {
                let plain = Key128::try_from(test.pt.as_slice()).unwrap();
                assert_eq!(key.encrypt(&nonce, &test.aad, &plain), Some(sealed));
            }
        }
    }
    tally.assert(21, 8);
}

#[test]
fn aes_cmac() {
    let mut tally = Tally::default();
    let vectors = mac::TestSet::load(mac::TestName::AesCmac).unwrap();
    for test in vectors.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(key) = Key128::try_from(test.key.as_slice()) else {
            continue;
        };
        let expected = test.result == TestResult::Valid;
        let found = keylet_aes128::cmac_verifies(key.expose(), &[&test.msg], &test.tag);
        tally.add("AES-CMAC", test.tc_id, &test.comment, expected, found);
    }
    tally.assert(21, 81);
}

#[test]
fn aes_cbc() {
    let mut tally = Tally::default();
    let vectors = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    for test in vectors.test_groups.iter().flat_map(|group| &group.tests) {
        let (Ok(key), Ok(iv)) = (
            <[u8; 16]>::try_from(test.key.as_slice()),
            <[u8; 16]>::try_from(test.nonce.as_slice()),
        ) else {
            continue;
        };
        // What is invalid there has a wrong padding, which is not the mode's.
        if test.result != TestResult::Valid {
            continue;
        }
        let missing = 16 - test.pt.len() % 16;
        let padded = [&test.pt[..], &vec![u8::try_from(missing).unwrap(); missing]].concat();
        let mut data = padded.clone();
        keylet_aes128::cbc_encrypt(&key, &iv, &mut data);
        let encrypts = data == **test.ct;
        keylet_aes128::cbc_decrypt(&key, &iv, &mut data);
        tally.add(
            "AES-CBC",
            test.tc_id,
            &test.comment,
            true,
            encrypts && data == padded,
        );
    }
    tally.assert(24, 0);
}
