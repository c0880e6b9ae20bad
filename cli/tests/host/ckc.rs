//! What `keylet license` makes of CKCs that a server of this test makes, some of them wrong.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockCipherEncrypt, BlockModeEncrypt, KeyInit, KeyIvInit};
use futures_util::FutureExt;
use keylet::fairplay::client::MediaPlaybackState;
use keylet::fairplay::credentials::Credentials;
use keylet::fairplay::ksm;
use keylet::fairplay::spc::VerifiedSpc;
use keylet_cli::fixtures::variables;
use keylet_cli::settings::Settings;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

const KEY: [u8; 16] = *b"the content key.";

const CONTENT_KEY: u64 = 0x58b3_8165_af0e_3d5a;
const R1: u64 = 0xea74_c464_5d5e_fee9;
const KEY_DURATION: u64 = 0x47ac_f6a4_18cd_091a;
const OFFLINE_KEY: u64 = 0x6375_d972_7060_218c;
const HDCP: u64 = 0x2e52_f153_0d8d_db4a;
const SECURITY_LEVEL: u64 = 0x644c_b1da_c031_3250;
const SESSION_KEY_VERSION: u64 = 0x42ca_089e_8e9f_a924;
const ENCRYPTION_MODE: u64 = 0xe6d0_a3e7_2c92_a4ef;
const MEDIA_PLAYBACK_STATE: &str = "eb8efdf2b25ab3a0";
/// In each SPC of the emulated device, and in no return request of this test.
const NOT_REQUESTED: u64 = 0xc392_ec58_91ef_a7d0;

/// A CKC before it is encrypted.
#[derive(Clone)]
struct Ckc {
    version: u32,
    reserved: u32,
    blocks: Vec<Block>,
    /// Bytes behind the last block, which the payload has too.
    tail: usize,
}

#[derive(Clone)]
struct Block {
    tag: u64,
    value: Vec<u8>,
    /// Bytes of padding.
    padding: usize,
}

impl Ckc {
    /// What a server has to send for an SPC, and nothing beside it.
    fn answering(spc: &VerifiedSpc<'_>) -> Self {
        let mut wrapped = KEY.into();
        let key: &[u8; 16] = spc.session_key.sk.expose();
        Aes128::new(key.into()).encrypt_block(&mut wrapped);
        let mut ckc = Self {
            version: 1,
            reserved: 0,
            blocks: Vec::new(),
            tail: 0,
        };
        ckc.add(CONTENT_KEY, &[&[9; 16][..], &wrapped].concat());
        ckc.add(R1, spc.session_key.r1.expose());
        for returned in spc.returned() {
            ckc.add(returned.tag.0, returned.value);
        }
        ckc
    }

    fn add(&mut self, tag: u64, value: &[u8]) {
        let padding = value.len().next_multiple_of(16) - value.len();
        self.blocks.push(Block {
            tag,
            value: value.to_vec(),
            padding,
        });
    }

    fn block(&mut self, tag: u64) -> &mut Block {
        let mut blocks = self.blocks.iter_mut();
        blocks.find(|block| block.tag == tag).unwrap()
    }

    fn seal(&self, spc: &VerifiedSpc<'_>) -> Vec<u8> {
        let mut payload = Vec::new();
        for block in &self.blocks {
            let length = u32::try_from(block.value.len()).unwrap();
            let padded = length + u32::try_from(block.padding).unwrap();
            payload.extend(block.tag.to_be_bytes());
            payload.extend(padded.to_be_bytes());
            payload.extend(length.to_be_bytes());
            payload.extend(&block.value);
            payload.resize(payload.len() + block.padding, 0x5a);
        }
        let whole = payload.len() / 16 * 16;
        let digest = Sha1::digest(spc.session_key.r1.expose());
        let mut key = spc.anti_replay_seed.into();
        let half: &[u8; 16] = digest[..16].try_into().unwrap();
        Aes128::new(half.into()).encrypt_block(&mut key);
        cbc::Encryptor::<Aes128>::new(&key, &[3; 16].into())
            .encrypt_padded::<NoPadding>(&mut payload[..whole], whole)
            .unwrap();
        payload.resize(payload.len() + self.tail, 0);
        let length = u32::try_from(payload.len()).unwrap();
        [
            &self.version.to_be_bytes()[..],
            &self.reserved.to_be_bytes(),
            &[3; 16],
            &length.to_be_bytes(),
            &payload,
        ]
        .concat()
    }
}

/// What a server knows of the SPC that it opened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    playback: Option<MediaPlaybackState>,
    device: Vec<u8>,
}

/// A licence server that answers with a changed CKC. It keeps what it was asked.
fn serve(change: impl Fn(&mut Ckc) + Send + 'static) -> (String, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/fps", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let message = body(&mut connection);
            let credentials = Credentials::default();
            let platform = Settings(variables());
            let opened = ksm::open(&message, &credentials, &platform).now_or_never();
            let spc = opened.unwrap().unwrap();
            kept.lock().unwrap().push(Asked {
                playback: spc.opened.client.playback,
                device: spc.session_key.hu.expose().to_vec(),
            });
            let mut ckc = Ckc::answering(&spc);
            change(&mut ckc);
            let ckc = ckc.seal(&spc);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                ckc.len()
            );
            connection
                .write_all(&[head.as_bytes(), &ckc].concat())
                .unwrap();
        }
    });
    (url, asked)
}

/// The body of a request with `content-length`.
fn body(connection: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = connection.read(&mut buffer).unwrap();
        assert!(read > 0, "the request is cut off");
        request.extend(&buffer[..read]);
        let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let (_, length) = head.split_once("content-length:").unwrap();
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        if request.len() >= end + 4 + length {
            return request.split_off(end + 4);
        }
    }
}

/// Exit code and document of `keylet license`.
fn license(url: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let certificate =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/credentials/sdk4.cer");
    let output = Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(["license", url, "--asset-id", "skd://movie-1"])
        .arg("--certificate")
        .arg(certificate)
        .args(arguments)
        .env("KEYLET_ASK", &variables()["fairplay_ask"])
        .env_remove("KEYLET_TOKEN")
        .env_remove("KEYLET_EXPECT_KEY")
        .output()
        .unwrap();
    let documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let last = documents.last().unwrap().unwrap();
    (output.status.code(), last)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

/// The value of an offline key, without a title id.
fn offline_key(version: u32, reserved: u32) -> Vec<u8> {
    [words(&[version, reserved]), vec![1; 16], words(&[600, 60])].concat()
}

const LEASE: u32 = 0x1a4b_de7e;
const LAST_WORD: u32 = 0x86d3_4a3a;
const TYPE_0: u64 = 0x4079_1ac7_8bd5_c571;
const BASELINE: u64 = 0x32f0_0049_66a5_c4f8;
const GENERIC: u64 = 0x182b_0bb9_f373_83d1;
const VIDEO: u64 = 0x02a6_9d25_f4b9_4c7c;

#[test]
fn a_ckc_that_the_specification_allows_opens() {
    type Case = (&'static str, fn(&mut Ckc), &'static [&'static str]);
    let cases: &[Case] = &[
        ("nothing but what must be there", |_| {}, &[]),
        // Apple's server of SDK 26.0, in Rust on x86-64, writes this.
        (
            "telemetry of Apple's server",
            |ckc| ckc.reserved = 0x3411,
            &[],
        ),
        ("any reserved word", |ckc| ckc.reserved = u32::MAX, &[]),
        (
            "blocks in another order, with more padding",
            |ckc| {
                ckc.blocks.reverse();
                ckc.block(R1).padding += 48;
            },
            &[],
        ),
        (
            "all that Apple's server adds",
            |ckc| {
                ckc.add(SESSION_KEY_VERSION, &numbers(&[1 << 32, GENERIC]));
                ckc.add(HDCP, &numbers(&[TYPE_0, 0x1234_5678_9abc_def0]));
                ckc.add(SECURITY_LEVEL, &numbers(&[1 << 32, BASELINE]));
                ckc.add(KEY_DURATION, &words(&[300, 0, LEASE, LAST_WORD]));
            },
            &["--expect-lease", "300"],
        ),
        (
            "the last word of older servers",
            |ckc| ckc.add(KEY_DURATION, &words(&[300, 0, LEASE, 0])),
            &["--expect-lease", "300"],
        ),
        (
            "the TLLV of published CKCs",
            |ckc| ckc.add(ENCRYPTION_MODE, &numbers(&[1])),
            &[],
        ),
        (
            "an offline key",
            |ckc| ckc.add(OFFLINE_KEY, &offline_key(1, 0)),
            &[],
        ),
        (
            "an offline key with a title",
            |ckc| ckc.add(OFFLINE_KEY, &[offline_key(2, 0), vec![2; 16]].concat()),
            &["--capabilities", "8"],
        ),
        (
            "a tag that was asked for",
            |_| {},
            &["--return", "c392ec5891efa7d0"],
        ),
    ];
    let key = hex::encode(KEY);
    for (case, change, arguments) in cases {
        let (url, _) = serve(change);
        let arguments = [&["--expect-key", &key], *arguments].concat();
        let (code, document) = license(&url, &arguments);
        assert_eq!(
            (code, &document["outcome"]),
            (Some(0), &json!("as_expected")),
            "{case}: {document:#}"
        );
    }
}

#[test]
fn a_ckc_that_the_specification_calls_wrong_is_refused_and_the_fault_is_named() {
    type Case = (
        &'static str,
        fn(&mut Ckc),
        &'static [&'static str],
        &'static [&'static str],
    );
    let cases: &[Case] = &[
        (
            "another container version",
            |ckc| ckc.version = 2,
            &[],
            &["version 2"],
        ),
        (
            "bytes behind the blocks",
            |ckc| ckc.tail = 8,
            &[],
            &["payload", "multiple of 16"],
        ),
        (
            "a block that is not whole 16 bytes",
            |ckc| {
                ckc.block(R1).padding = 3;
                ckc.block(CONTENT_KEY).padding = 1;
            },
            &[],
            &["content key", "33 bytes", "multiple of 16"],
        ),
        (
            "a block that is not whole 16 bytes in a payload that is",
            |ckc| {
                ckc.block(R1).padding = 12;
                ckc.block(CONTENT_KEY).padding = 8;
            },
            &[],
            &["content key", "40 bytes", "multiple of 16"],
        ),
        (
            "a tag twice",
            |ckc| ckc.add(CONTENT_KEY, &[0; 32]),
            &[],
            &["content key", "twice"],
        ),
        (
            "another R1",
            |ckc| ckc.block(R1).value[43] ^= 1,
            &[],
            &["R1"],
        ),
        (
            "another transaction id",
            |ckc| ckc.block(0x47aa_7ad3_4405_77de).value[0] ^= 1,
            &[],
            &["transaction id", "unchanged"],
        ),
        (
            "a tag that was not asked for",
            |ckc| ckc.add(NOT_REQUESTED, &[0; 8]),
            &[],
            &["c392ec5891efa7d0", "not asked for"],
        ),
        (
            "a tag of SPCs that was not asked for",
            |ckc| ckc.add(0xabb0_256a_3184_3974, &[0; 8]),
            &[],
            &["streaming indicator", "not asked for"],
        ),
        (
            "a reserved word of the key duration",
            |ckc| ckc.add(KEY_DURATION, &words(&[300, 0, LEASE, 1])),
            &[],
            &["key duration", "00000001"],
        ),
        (
            "a key duration of another length",
            |ckc| ckc.add(KEY_DURATION, &words(&[300, 0, LEASE])),
            &[],
            &["key duration", "12 bytes"],
        ),
        (
            "a key duration with a byte too many",
            |ckc| {
                ckc.add(
                    KEY_DURATION,
                    &[words(&[300, 0, LEASE, LAST_WORD]), vec![0]].concat(),
                );
            },
            &[],
            &["key duration", "17 bytes"],
        ),
        (
            "a key duration of an unknown type",
            |ckc| ckc.add(KEY_DURATION, &words(&[300, 0, 1, LAST_WORD])),
            &[],
            &["key duration", "type"],
        ),
        (
            "a reserved word of the offline key",
            |ckc| ckc.add(OFFLINE_KEY, &offline_key(1, LAST_WORD)),
            &[],
            &["offline key", "86d34a3a"],
        ),
        (
            "an offline key of another length",
            |ckc| ckc.add(OFFLINE_KEY, &offline_key(1, 0)[..28]),
            &[],
            &["offline key", "28 bytes"],
        ),
        (
            "an offline key of version 2 without a title id",
            |ckc| ckc.add(OFFLINE_KEY, &offline_key(2, 0)),
            &["--capabilities", "8"],
            &["offline key", "32 bytes"],
        ),
        (
            "an offline key of version 3",
            |ckc| ckc.add(OFFLINE_KEY, &offline_key(3, 0)),
            &[],
            &["offline key", "version 3"],
        ),
        (
            "both durations",
            |ckc| {
                ckc.add(KEY_DURATION, &words(&[300, 0, LEASE, LAST_WORD]));
                ckc.add(OFFLINE_KEY, &offline_key(1, 0));
            },
            &[],
            &["exclude each other"],
        ),
        (
            "a key duration for a device that is not prepared for one",
            |ckc| ckc.add(KEY_DURATION, &words(&[300, 0, LEASE, LAST_WORD])),
            &["--omit", MEDIA_PLAYBACK_STATE],
            &["media playback state"],
        ),
        (
            "an offline key for a device that is not prepared for one",
            |ckc| ckc.add(OFFLINE_KEY, &offline_key(1, 0)),
            &["--omit", MEDIA_PLAYBACK_STATE],
            &["media playback state"],
        ),
        (
            "an offline key of version 2 for a device that has version 1",
            |ckc| ckc.add(OFFLINE_KEY, &[offline_key(2, 0), vec![2; 16]].concat()),
            &["--capabilities", "2"],
            &["version 2", "capability"],
        ),
        (
            "an HDCP requirement of 8 bytes",
            |ckc| ckc.add(HDCP, &numbers(&[TYPE_0])),
            &[],
            &["HDCP", "8 bytes"],
        ),
        (
            "an HDCP requirement of 24 bytes",
            |ckc| ckc.add(HDCP, &numbers(&[TYPE_0, 0, 0])),
            &[],
            &["HDCP", "24 bytes"],
        ),
        (
            "an unknown HDCP requirement",
            |ckc| ckc.add(HDCP, &numbers(&[1, 0])),
            &[],
            &["HDCP", "unknown"],
        ),
        (
            "a reserved word of the security level",
            |ckc| ckc.add(SECURITY_LEVEL, &numbers(&[1 << 32 | 1, BASELINE])),
            &[],
            &["security level", "reserved"],
        ),
        (
            "a security level of 20 bytes",
            |ckc| {
                ckc.add(
                    SECURITY_LEVEL,
                    &[numbers(&[1 << 32, BASELINE]), vec![0; 4]].concat(),
                );
            },
            &[],
            &["security level", "20 bytes"],
        ),
        (
            "the session key of another container",
            |ckc| ckc.add(SESSION_KEY_VERSION, &numbers(&[1 << 32, VIDEO])),
            &[],
            &["session key version"],
        ),
        (
            "a reserved word of the session key version",
            |ckc| ckc.add(SESSION_KEY_VERSION, &numbers(&[1 << 32 | 1, GENERIC])),
            &[],
            &["session key version", "reserved"],
        ),
        (
            "another encryption mode",
            |ckc| ckc.add(ENCRYPTION_MODE, &numbers(&[2])),
            &[],
            &["encryption mode"],
        ),
        (
            "no content key",
            |ckc| ckc.blocks.retain(|block| block.tag != CONTENT_KEY),
            &[],
            &["content key", "missing"],
        ),
        (
            "a content key of 48 bytes",
            |ckc| ckc.block(CONTENT_KEY).value.extend([0; 16]),
            &[],
            &["content key", "32 bytes"],
        ),
    ];
    for (case, change, arguments, named) in cases {
        let (url, _) = serve(change);
        let (code, document) = license(&url, arguments);
        assert_eq!(
            (code, &document["outcome"]),
            (Some(5), &json!("unreadable")),
            "{case}: {document:#}"
        );
        let reason = document["reason"].as_str().unwrap();
        for word in *named {
            assert!(reason.contains(word), "{case}: {reason}");
        }
    }
}

#[test]
fn a_device_says_what_time_it_is_and_keeps_its_playback_session_over_renewals() {
    let (url, asked) = serve(|_| {});
    let before = keylet::platform::system_time();
    assert_eq!(license(&url, &["--renew", "--repeat", "2"]).0, Some(0));
    let after = keylet::platform::system_time();
    assert_eq!(license(&url, &[]).0, Some(0));

    let asked = asked.lock().unwrap().clone();
    let [first, renewed, second, _, other] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    for asked in &asked {
        let playback = asked.playback.unwrap();
        let date = u64::from(playback.date);
        assert!(date >= before && date <= after + 60, "{playback:?}");
    }
    let session = |asked: &Asked| asked.playback.unwrap().session_id;
    let state = |asked: &Asked| asked.playback.unwrap().state;
    assert_ne!(state(first), state(renewed));
    assert_eq!(session(first), session(renewed));
    assert_ne!(session(first), session(second), "another playback");
    assert_eq!(first.device, second.device, "one device");
    assert_ne!(
        (session(first), &first.device),
        (session(other), &other.device)
    );

    // What is given is sent.
    let (url, asked) = serve(|_| {});
    let given = format!("{MEDIA_PLAYBACK_STATE}=00000001f4dee5a20000000000000002");
    assert_eq!(license(&url, &["--tllv", &given]).0, Some(0));
    let asked = asked.lock().unwrap().clone();
    assert_eq!(
        (asked[0].playback.unwrap().date, session(&asked[0])),
        (1, 2)
    );
}
