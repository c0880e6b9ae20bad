//! SPCs. Encryption hides what is inside, so one target alters the payload and encrypts it again.

use std::sync::LazyLock;

use keylet::encoding;
use keylet::fairplay::cipher;
use keylet::fairplay::credentials::Credentials;
use keylet::fairplay::inspect::explain;
use keylet::fairplay::ksm;
use keylet::fairplay::spc::SpcContainer;
use keylet::platform::Random;
use keylet::rsa_key::{OaepHash, PrivateKey};
use keylet::secret::Key128;

use crate::host::{Host, fixture_variables, run};

/// An SPC of version 1 for the fixtures' certificate.
const SPC: &[u8] = include_bytes!("../../fixtures/spc/path.bin");
/// Version, reserved bytes and IV; wrapped key; hash of the certificate.
const IV: std::ops::Range<usize> = 8..24;
const WRAPPED_KEY: std::ops::Range<usize> = 24..152;
const HEAD: usize = 172;

/// The payload key of that SPC.
static PAYLOAD_KEY: LazyLock<Key128> = LazyLock::new(|| {
    let pem = include_str!("../../fixtures/credentials/sdk4-pkcs1.pem");
    let der = encoding::pem(pem).unwrap().remove(0).der;
    let key = PrivateKey::from_pkcs1_der(&der).unwrap();
    let host = Host::default();
    let (key, _) = key
        .decrypt_oaep(OaepHash::Sha1, &SPC[WRAPPED_KEY], &mut Random(&host))
        .unwrap();
    Key128::try_from(key.as_slice()).unwrap()
});

thread_local! {
    static HOST: Host = Host::new(fixture_variables());
    static CREDENTIALS: Credentials = Credentials::default();
}

/// The container, before anything is decrypted.
pub fn container(data: &[u8]) {
    let fits = SpcContainer::fits(data);
    let parsed = SpcContainer::parse(data);
    assert!(parsed.is_ok() || !fits, "what fits is parsed");
}

/// The payload of an SPC, in the clear.
pub fn payload(data: &[u8]) {
    let whole = &data[..data.len() / 16 * 16];
    let length = u32::try_from(whole.len()).unwrap();
    let mut encrypted = whole.to_vec();
    let iv: [u8; 16] = SPC[IV].try_into().unwrap();
    cipher::cbc_encrypt(&PAYLOAD_KEY, &iv, &mut encrypted);
    let message = [&SPC[..HEAD], &length.to_be_bytes(), &encrypted].concat();
    HOST.with(|host| {
        CREDENTIALS.with(|credentials| {
            let opened = run(ksm::open_container(&message, credentials, host));
            let tags = tags(whole);
            let Ok(opened) = opened else {
                return;
            };
            // A reader that is written from the specification alone finds the same blocks.
            let tags = tags.expect("what is opened is a sequence of blocks");
            let mut sorted = tags.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), tags.len(), "no tag occurs twice");
            let _ = explain(&opened);
            let _ = opened.verify();
        });
    });
}

/// The tags of a payload (specification section 5): tag, length of the block, length of the value, and the block. `None` where
/// it is no sequence of them.
pub fn tags(mut payload: &[u8]) -> Option<Vec<u64>> {
    let mut tags = Vec::new();
    while !payload.is_empty() {
        let (tag, rest) = payload.split_first_chunk::<8>()?;
        let (block, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let block = usize::try_from(u32::from_be_bytes(*block)).ok()?;
        let value = usize::try_from(u32::from_be_bytes(*value)).ok()?;
        if value > block {
            return None;
        }
        tags.push(u64::from_be_bytes(*tag));
        payload = rest.get(block..)?;
    }
    Some(tags)
}
