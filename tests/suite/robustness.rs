//! Hostile SPCs: every one is answered with a refusal or with a CKC that opens.

use keylet::fairplay::client::PlaybackState;
use keylet::fairplay::spc::Version;
use keylet::service::Service;
use keylet_cli::device::{Draft, Licence, Secrets, SpcOptions, Wrapping};
use keylet_cli::fixtures::{sdk4, variables};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::support::{FIXTURE_SERVER, Native, fixture, post_spc, run, token};

/// How an SPC was answered.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Licence,
    /// Also a report: no key was given.
    Refusal,
}

/// Holds an answer against what is allowed: a refusal with a code below 500 or 501, a CKC, or the
/// report that a changed offline sync block has become.
fn judge(status: u16, code: Option<&str>, body: &[u8], secrets: &Secrets) -> Outcome {
    match status {
        200 if body.starts_with(b"{") => {
            let report: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(report["version"], 2);
            Outcome::Refusal
        }
        200 => {
            let header: [u8; 8] = body[..8].try_into().unwrap();
            assert_eq!(header, [0, 0, 0, 1, 0, 0, 0, 0]);
            assert_eq!(body.len() % 16, 28 % 16);
            // The IV of [SK..R1] is not authenticated: a change there changes SK, and with it the key
            // that this device would unwrap. Whatever else opens is the configured record.
            if let Ok(licence) = Licence::open(body, secrets) {
                assert_eq!(hex::encode(licence.iv), "0f0e0d0c0b0a09080706050403020100");
            }
            Outcome::Licence
        }
        400 | 403 | 404 | 501 => {
            assert!(code.is_some());
            Outcome::Refusal
        }
        other => panic!("status {other}: {}", String::from_utf8_lossy(body)),
    }
}

fn over_http(spc: &[u8], secrets: &Secrets) -> Outcome {
    let answer = post_spc(&FIXTURE_SERVER, spc);
    judge(
        answer.status,
        answer.header("x-keylet-code"),
        &answer.body,
        secrets,
    )
}

fn fixture_case(name: &str) -> (Vec<u8>, Secrets) {
    let secrets = serde_json::from_slice(&fixture(&format!("spc/{name}.json"))).unwrap();
    (fixture(&format!("spc/{name}.bin")), secrets)
}

#[test]
fn every_truncation_of_an_spc_is_refused_by_the_component() {
    for name in ["v1", "v3"] {
        let (spc, secrets) = fixture_case(name);
        for length in 1..spc.len() {
            assert_eq!(
                over_http(&spc[..length], &secrets),
                Outcome::Refusal,
                "{name}, {length} bytes"
            );
        }
    }
}

#[test]
fn every_value_of_every_length_byte_is_answered_by_the_component() {
    let (spc, secrets) = fixture_case("v1");
    for index in 172..176 {
        for value in (0..=u8::MAX).filter(|value| *value != spc[index]) {
            let mut changed = spc.clone();
            changed[index] = value;
            assert_eq!(
                over_http(&changed, &secrets),
                Outcome::Refusal,
                "byte {index} = {value}"
            );
        }
    }
}

#[test]
fn every_value_of_every_length_byte_in_the_payload_is_answered() {
    let (device, mut rng) = (sdk4().unwrap(), ChaCha20Rng::from_seed([1; 32]));
    let draft = device.draft(&options(), &mut rng);
    let payload = draft.payload(&mut rng).unwrap();
    let (ask, v1) = (natively(), Wrapping::Version(Version::V1));
    // The values next to every limit go through the component as well.
    let limits = [
        0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 112, 127, 128, 200, 201, 254, 255,
    ];
    for index in length_bytes(&payload) {
        for value in (0..=u8::MAX).filter(|value| *value != payload[index]) {
            let mut changed = payload.clone();
            changed[index] = value;
            let spc = device.seal(v1, &changed, &mut rng).unwrap();
            if limits.contains(&value) {
                over_http(&spc, &draft.secrets);
            }
            ask(spc, &draft.secrets);
        }
    }
}

/// The service in this process: many times as fast as through a host.
fn natively() -> impl Fn(Vec<u8>, &Secrets) -> Outcome {
    let service = Service::new(Native::new(variables()));
    let bearer = format!("Bearer {}", token("hs256"));
    move |spc, secrets| {
        let request = http::Request::post("/fairplay").header("authorization", &bearer);
        let reply = run(service.handle(request.body(spc).unwrap()));
        let code = reply.headers().get("x-keylet-code");
        let code = code.map(|code| code.to_str().unwrap());
        judge(reply.status().as_u16(), code, reply.body(), secrets)
    }
}

#[test]
fn a_hundred_thousand_mutations_give_a_refusal_or_a_licence() {
    const ROUNDS: u32 = 100_000;
    let ask = natively();
    let device = sdk4().unwrap();
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let draft = device.draft(&options(), &mut rng);
    let payload = draft.payload(&mut rng).unwrap();
    let v1 = Wrapping::Version(Version::V1);
    let sealed = device.seal(v1, &payload, &mut rng).unwrap();
    assert_eq!(ask(sealed.clone(), &draft.secrets), Outcome::Licence);

    let (mut licences, mut refusals) = (0, 0);
    for round in 0..ROUNDS {
        // Half of them change what the device encrypts, which random ciphertext never reaches.
        let spc = if round % 2 == 0 {
            device
                .seal(v1, &whole_blocks(mutate(&payload, &mut rng)), &mut rng)
                .unwrap()
        } else {
            mutate(&sealed, &mut rng)
        };
        match ask(spc, &draft.secrets) {
            Outcome::Licence => licences += 1,
            Outcome::Refusal => refusals += 1,
        }
    }
    assert!(
        licences > 1_000 && refusals > 10_000,
        "{licences} licences, {refusals} refusals: not both were tried"
    );
}

#[test]
fn mutations_do_not_trap_the_component() {
    let device = sdk4().unwrap();
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let draft: Draft = device.draft(&options(), &mut rng);
    let payload = draft.payload(&mut rng).unwrap();
    for _ in 0..1_500 {
        let changed = whole_blocks(mutate(&payload, &mut rng));
        let spc = device
            .seal(Wrapping::Version(Version::V1), &changed, &mut rng)
            .unwrap();
        over_http(&spc, &draft.secrets);
    }
}

/// An SPC with many of the optional tags, so that mutations reach their parsers.
fn options() -> SpcOptions {
    use keylet::fairplay::tag::Tag;
    SpcOptions::new("skd://movie-1")
        .playing(PlaybackState::FIRST)
        .capable(0b11_1111)
        .with(
            Tag::SUPPORTED_KEY_FORMATS,
            [
                &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..],
                &Tag::CONTENT_KEY.0.to_be_bytes(),
            ]
            .concat(),
        )
        .with(
            Tag::SECURITY_LEVEL_REPORT,
            [&[0, 0, 0, 1, 0, 0, 0, 0][..], &[1; 12]].concat(),
        )
        .with(Tag::DEVICE_IDENTITY, [0; 40])
        .with(Tag::VM_DEVICE_INFO, [&[0, 0, 0, 1][..], &[0; 24]].concat())
        .with(
            Tag::OFFLINE_SYNC,
            [&[0, 0, 0, 2][..], &[0; 40], &[0, 0, 0, 1], &[5; 16]].concat(),
        )
}

/// Where the block lengths and value lengths of a payload stand.
fn length_bytes(payload: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        places.extend(at + 8..at + 16);
        at += 16
            + usize::try_from(u32::from_be_bytes(
                payload[at + 8..at + 12].try_into().unwrap(),
            ))
            .unwrap();
    }
    places
}

/// One to four changes: a byte, a bit, a cut, a copy of a piece, an inserted piece.
fn mutate(bytes: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.next_u32() % 4 {
        let below = |rng: &mut ChaCha20Rng, bound: usize| {
            usize::try_from(rng.next_u64() % u64::try_from(bound).unwrap()).unwrap()
        };
        let at = below(rng, bytes.len());
        match rng.next_u32() % 16 {
            0..=5 => bytes[at] ^= 1 << (rng.next_u32() % 8),
            6..=11 => bytes[at] = u8::try_from(rng.next_u32() % 256).unwrap(),
            12 => bytes.truncate(at.max(1)),
            13 => {
                let piece = bytes[at..(at + 32).min(bytes.len())].to_vec();
                let to = below(rng, bytes.len());
                bytes.splice(to..to, piece);
            }
            14 => {
                let end = (at + 1 + below(rng, 32)).min(bytes.len());
                if end - at < bytes.len() {
                    bytes.drain(at..end);
                }
            }
            _ => {
                let piece = bytes[at..(at + 16).min(bytes.len())].to_vec();
                let to = below(rng, bytes.len());
                let end = (to + piece.len()).min(bytes.len());
                bytes.splice(to..end, piece);
            }
        }
    }
    bytes
}

/// A payload that can be encrypted.
fn whole_blocks(mut payload: Vec<u8>) -> Vec<u8> {
    payload.truncate(payload.len() / 16 * 16);
    if payload.is_empty() {
        vec![0; 16]
    } else {
        payload
    }
}
