//! What an instance leaves in its memory: after a licence, none of the secrets that it was made with.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request;
use keylet::fairplay::credentials::Credentials;
use keylet::fairplay::tag::Tag;
use keylet::fairplay::{d_function, ksm};
use keylet::secret::Key128;
use keylet_host::{Provided, World};
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BoxedUint, Oaep, PrivateKey};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::instance::Inside;
use crate::support::{Native, fixture, run, token, variables_with};

/// So many bytes of a secret in a row are a finding. That as many bytes of something else are the same does not happen.
const LEAST: usize = 8;

/// The pieces of secrets, by what they are pieces of.
#[derive(Default)]
struct Wanted(HashMap<[u8; LEAST], String>);

impl Wanted {
    /// Bytes.
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        for piece in bytes.windows(LEAST) {
            // A key may hold what is everywhere.
            if piece.iter().any(|byte| *byte != piece[0]) {
                self.0.insert(piece.try_into().unwrap(), name.to_owned());
            }
        }
    }

    /// Bytes, and the texts of them that variables have.
    fn key(&mut self, name: &str, bytes: &[u8]) {
        self.bytes(name, bytes);
        self.bytes(
            &format!("{name} in hexadecimal"),
            hex::encode(bytes).as_bytes(),
        );
        for base64 in [STANDARD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)] {
            self.bytes(&format!("{name} in base64"), base64.as_bytes());
        }
    }

    /// A number: big-endian, little-endian, and in the limbs of the kernel.
    fn number(&mut self, name: &str, number: &[u8]) {
        self.bytes(name, number);
        let little: Vec<u8> = number.iter().rev().copied().collect();
        self.bytes(&format!("{name}, little-endian"), &little);
        for bits in [23, 24, 46, 47] {
            for limb in limbs(&little, bits) {
                self.bytes(
                    &format!("{name}, a limb of {bits} bits"),
                    &limb.to_le_bytes(),
                );
            }
        }
    }

    /// What is found in a memory: how many bytes at which places.
    fn find(&self, memory: &[u8]) -> Vec<String> {
        let mut found: Vec<(usize, usize, &str)> = Vec::new();
        for (place, piece) in memory.windows(LEAST).enumerate() {
            if let Some(name) = self.0.get(piece) {
                match found.last_mut() {
                    Some((begin, end, last)) if last == name && *end >= place => {
                        *end = (place + LEAST).max(*begin);
                    }
                    _ => found.push((place, place + LEAST, name)),
                }
            }
        }
        let lines = found
            .iter()
            .map(|(begin, end, name)| format!("{begin:#08x}: {} bytes of {name}", end - begin));
        lines.collect()
    }
}

/// A number as a sum of signed limbs, as the kernel has it, without those that have few bits.
fn limbs(little: &[u8], bits: u32) -> Vec<f64> {
    let (mut limbs, mut held, mut held_bits, mut carry) = (Vec::new(), 0_u128, 0, 0_i64);
    for byte in little {
        held |= u128::from(*byte) << held_bits;
        held_bits += 8;
        if held_bits >= bits {
            let total = i64::try_from(held & ((1 << bits) - 1)).unwrap() + carry;
            carry = (total + (1 << (bits - 1))) >> bits;
            limbs.push(total - (carry << bits));
            held >>= bits;
            held_bits -= bits;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a limb has less than 53 bits")]
    let float = |limb: i64| limb as f64;
    limbs
        .into_iter()
        .filter(|limb| limb.unsigned_abs() > 1 << 16)
        .map(float)
        .collect()
}

/// A licence, and the secrets of it.
struct Case {
    name: &'static str,
    variables: Provided,
    request: Request<Vec<u8>>,
    /// What is configured. An instance that answers several requests keeps it for the next one.
    configured: Wanted,
    /// What belongs to this licence alone.
    own: Wanted,
}

/// The secrets of the credential that a case is for.
struct Secrets {
    private_key: String,
    ask: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let variables = variables_with(&[
        ("server_secret", "Qn8s2hW0zvLrX1pTj6YbKe4uGa9mDc3f"),
        (
            "content_keys",
            r#"[{"id":"movie-1","key":"7ce19a4f0d3b86e25517f0c98ab36de4","iv":"0f0e0d0c0b0a09080706050403020100"}]"#,
        ),
    ]);
    let listed: serde_json::Value =
        serde_json::from_str(&variables["fairplay_credentials"]).unwrap();
    let text = |member: &str| listed[0][member].as_str().unwrap().to_owned();
    let single = || Secrets {
        private_key: variables["fairplay_private_key"].clone(),
        ask: hex::decode(&variables["fairplay_ask"]).unwrap(),
    };
    let of_list = |member: &str| Secrets {
        private_key: text(member),
        ask: STANDARD.decode(text("ask")).unwrap(),
    };
    [
        ("v1", single()),
        ("bundle-v1", of_list("private_key")),
        ("v2", of_list("private_key_2048")),
        ("v3", of_list("private_key_2048")),
    ]
    .into_iter()
    .map(|(name, secrets)| case(name, &variables, &secrets))
    .collect()
}

fn case(name: &'static str, variables: &Provided, secrets: &Secrets) -> Case {
    let spc = fixture(&format!("spc/{name}.bin"));
    let mut configured = Wanted::default();
    configured.key(
        "the content key",
        &hex::decode("7ce19a4f0d3b86e25517f0c98ab36de4").unwrap(),
    );
    configured.key("the ASk", &secrets.ask);
    configured.bytes("server_secret", variables["server_secret"].as_bytes());
    let keys: serde_json::Value = serde_json::from_str(&variables["token_keys"]).unwrap();
    let token_key = keys["keys"][0]["k"].as_str().unwrap();
    configured.key(
        "the key of tokens",
        &URL_SAFE_NO_PAD.decode(token_key).unwrap(),
    );

    let der = STANDARD.decode(&secrets.private_key).unwrap();
    configured.bytes("the private key in base64", secrets.private_key.as_bytes());
    let mut key = PrivateKey::from_pkcs8_der(&der).unwrap();
    key.precompute().unwrap();
    let part = |number: &BoxedUint| number.to_be_bytes_trimmed_vartime().to_vec();
    for (name, number) in [
        ("p", part(&key.primes()[0])),
        ("q", part(&key.primes()[1])),
        ("d", part(key.d())),
        ("dp", part(key.dp().unwrap())),
        ("dq", part(key.dq().unwrap())),
        ("qinv", part(&key.qinv().unwrap().retrieve())),
    ] {
        configured.number(&format!("{name} of the private key"), &number);
    }
    // Both are around them in DER, and public.
    for public in [part(key.n().as_ref()), part(key.e())] {
        for piece in public.windows(LEAST) {
            configured.0.remove(piece);
        }
    }

    let mut own = Wanted::default();
    let device: serde_json::Value =
        serde_json::from_slice(&fixture(&format!("spc/{name}.json"))).unwrap();
    let known = |member: &str| hex::decode(device[member].as_str().unwrap()).unwrap();
    own.bytes("SK", &known("session_key"));
    own.bytes("R1", &known("r1"));
    let credentials = Credentials::default();
    let platform = Native::new(variables.clone());
    let opened = run(ksm::open_container(&spc, &credentials, &platform));
    let Ok(opened) = opened else {
        panic!("{name} does not open")
    };
    let ask = Key128::try_from(secrets.ask.as_slice()).unwrap();
    let r2 = opened.tllvs.find(Tag::R2).unwrap().value;
    own.bytes("DASk", d_function::dask(r2, &ask).unwrap().expose());
    let digest: [u8; 16] = Sha1::digest(known("r1"))[..16].try_into().unwrap();
    let seed: [u8; 16] = known("anti_replay_seed").try_into().unwrap();
    let digest = Key128::from(digest);
    own.bytes("the first half of SHA-1(R1)", digest.expose());
    own.bytes(
        "the CKC's key",
        &keylet::fairplay::cipher::ecb_encrypt(&digest, &seed),
    );
    let spck = match name {
        "v2" | "v3" => key.decrypt(Oaep::<Sha256>::new(), &spc[24..24 + 256]),
        _ => key.decrypt(Oaep::<Sha1>::new(), &spc[24..24 + 128]),
    };
    own.bytes("the SPC's key", &spck.unwrap());

    let request = Request::post("http://localhost/fairplay")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", token("hs256")))
        .header("content-type", "application/octet-stream")
        .body(spc)
        .unwrap();
    Case {
        name,
        variables: variables.clone(),
        request,
        configured,
        own,
    }
}

#[test]
fn an_instance_of_one_request_leaves_no_secret_in_its_memory() {
    let inside = Inside::new(World::Wasip2);
    for case in cases() {
        let ran = inside.run(&case.variables, std::slice::from_ref(&case.request));
        assert_eq!(ran.answers[0].status, 200, "{}", case.name);
        let found = [
            case.own.find(&ran.memory),
            case.configured.find(&ran.memory),
        ]
        .concat();
        assert!(found.is_empty(), "{}:\n{}", case.name, found.join("\n"));
    }
}

#[test]
fn an_instance_of_several_requests_keeps_what_is_configured_and_nothing_of_a_licence() {
    let inside = Inside::new(World::Wasip3);
    for case in cases() {
        let requests = vec![case.request.clone(); 3];
        let ran = inside.run(&case.variables, &requests);
        let statuses: Vec<u16> = ran.answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200; 3], "{}", case.name);
        let found = case.own.find(&ran.memory);
        assert!(found.is_empty(), "{}:\n{}", case.name, found.join("\n"));
        // The search finds what is there, in the form in which it is there.
        let kept = case.configured.find(&ran.memory);
        for name in [
            "the ASk",
            "p of the private key, a limb of",
            "the key of tokens",
        ] {
            assert!(
                kept.iter().any(|line| line.contains(name)),
                "{}: {name}\n{}",
                case.name,
                kept.join("\n")
            );
        }
    }
}
