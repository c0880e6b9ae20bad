//! How many instructions the built component takes for a request says nothing of a secret: what is refused for one cause
//! takes as many, wherever it is wrong.
//!
//! The whole request is counted, in an instance of its own that has the same clock and random numbers each time. The private
//! operation, OAEP and AES have tests of their own in `crates/kernel/tests/suite/constant_time.rs`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use keylet::fairplay::spc::Version;
use keylet::fairplay::tag::Tag;
use keylet_cli::device::{SpcOptions, Wrapping};
use keylet_cli::fixtures;
use keylet_host::World;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::instance::Inside;
use crate::support::{fixture, token, variables_with};

static INSIDE: LazyLock<Inside> = LazyLock::new(|| Inside::new(World::Wasip2));

/// Status and code of the answer, and the instructions of the request.
fn count(request: Request<Vec<u8>>) -> (u16, String, u64) {
    let variables = variables_with(&[("operator_token", "an operator's token of 32 characters")]);
    let ran = INSIDE.run(&variables, &[request]);
    let answer = &ran.answers[0];
    let code = answer
        .header("x-keylet-code")
        .unwrap_or_default()
        .to_owned();
    (answer.status, code, ran.instructions)
}

/// Asserts that all requests have one answer, after as many instructions.
fn assert_alike(
    status: u16,
    code: &str,
    requests: impl IntoIterator<Item = (String, Request<Vec<u8>>)>,
) {
    let counts: BTreeMap<String, _> = requests
        .into_iter()
        .map(|(name, request)| (name, count(request)))
        .collect();
    let (_, _, instructions) = counts.values().next().unwrap();
    let expected = (status, code.to_owned(), *instructions);
    let is_alike = counts.len() > 1 && counts.values().all(|count| *count == expected);
    assert!(is_alike, "{expected:?}: {counts:#?}");
}

fn licence(spc: Vec<u8>, token: &str) -> Request<Vec<u8>> {
    Request::post("http://localhost/fairplay")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/octet-stream")
        .body(spc)
        .unwrap()
}

/// An SPC for the fixture certificate whose TLLVs were altered.
fn altered(seed: u64, alter: impl FnOnce(&mut Vec<(Tag, Vec<u8>)>)) -> Vec<u8> {
    let application = fixtures::sdk4().unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut draft = application.draft(&SpcOptions::new("skd://movie-1"), &mut rng);
    alter(&mut draft.tllvs);
    // What pads the blocks has a random length, which is no secret: the same one each time.
    let payload = draft.payload(&mut ChaCha20Rng::seed_from_u64(0)).unwrap();
    application
        .seal(Wrapping::Version(Version::V1), &payload, &mut rng)
        .unwrap()
}

#[test]
fn the_mac_of_a_token_is_compared_as_a_whole() {
    for name in ["hs256", "hs512"] {
        let token = token(name);
        let (signed, tag) = token.rsplit_once('.').unwrap();
        let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
        let wrong = |at: usize, bit: u8| {
            let mut tag = tag.clone();
            tag[at] ^= bit;
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
            (
                format!("byte {at}, bit {bit}"),
                licence(fixture("spc/v1.bin"), &token),
            )
        };
        let last = tag.len() - 1;
        assert_alike(
            401,
            "token_signature",
            [
                wrong(0, 1),
                wrong(0, 128),
                wrong(last / 2, 1),
                wrong(last, 1),
            ],
        );
    }
}

#[test]
fn the_operators_token_is_compared_as_a_whole() {
    let right = "an operator's token of 32 characters";
    let wrong = |at: usize| {
        let mut text = right.as_bytes().to_vec();
        text[at] ^= 1;
        let bearer = format!("Bearer {}", String::from_utf8(text).unwrap());
        let request = Request::get("http://localhost/keys")
            .header("host", "localhost")
            .header("authorization", bearer);
        (format!("character {at}"), request.body(Vec::new()).unwrap())
    };
    assert_alike(
        401,
        "operator_token",
        [wrong(0), wrong(1), wrong(17), wrong(right.len() - 1)],
    );
}

#[test]
fn the_integrity_of_an_spc_is_compared_as_a_whole() {
    let wrong = |at: usize, bit: u8| {
        let spc = altered(1, |tllvs| {
            let mut values = tllvs.iter_mut();
            let (_, value) = values
                .find(|(tag, _)| *tag == Tag::SESSION_KEY_R1_INTEGRITY)
                .unwrap();
            value[at] ^= bit;
        });
        (
            format!("byte {at}, bit {bit}"),
            licence(spc, &token("hs256")),
        )
    };
    assert_alike(
        400,
        "spc_integrity",
        [wrong(0, 1), wrong(0, 128), wrong(7, 1), wrong(15, 1)],
    );
}

#[test]
fn the_cmac_of_an_spc_is_compared_as_a_whole() {
    let wrong = |from_end: usize| {
        let mut spc = fixture("spc/v3.bin");
        let at = spc.len() - from_end;
        spc[at] ^= 1;
        (
            format!("{from_end} from the end"),
            licence(spc, &token("hs256")),
        )
    };
    assert_alike(
        400,
        "spc_integrity",
        [wrong(16), wrong(15), wrong(8), wrong(1)],
    );
}

#[test]
fn a_key_that_does_not_decrypt_takes_as_long_whatever_comes_out() {
    // What comes out of an altered ciphertext is random: another byte of the padding is wrong each time.
    let requests = (0..8).map(|seed| {
        let mut spc = altered(2, |_| ());
        spc[24 + seed * 15 + 1] ^= 1;
        (format!("{seed}"), licence(spc, &token("hs256")))
    });
    assert_alike(400, "spc_undecryptable", requests);
}

#[test]
fn a_licence_takes_as_long_whatever_its_keys_are() {
    /// The D function branches on R2, which the device chose, and has no key of the server's in it.
    const BOUND: u64 = 1000;

    let counts: Vec<u64> = (10..16)
        .map(|seed| {
            let (status, _, instructions) = count(licence(altered(seed, |_| ()), &token("hs256")));
            assert_eq!(status, 200);
            instructions
        })
        .collect();
    let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
    assert!(spread < BOUND, "{counts:?}");
}
