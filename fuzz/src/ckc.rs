//! CKCs, as a device opens them. Encryption hides what is inside: the payload is encrypted after it was altered.

use std::sync::LazyLock;

use keylet::fairplay::cipher;
use keylet::fairplay::tag::Tag;
use keylet::secret::Key128;
use keylet_device::{Announced, Licence, Returned, Secrets};

use crate::spc::tags;

static SECRETS: LazyLock<Secrets> = LazyLock::new(|| Secrets {
    session_key: vec![3; 16],
    r1: vec![1; 44],
    anti_replay_seed: vec![2; 16],
    returned: vec![Returned {
        tag: format!("{:016x}", Tag::ASSET_ID.0),
        value: b"movie".to_vec(),
    }],
    announced: Some(Announced {
        playback_state: true,
        capabilities: 0,
    }),
});

/// The key of a CKC for these secrets: AES of the seed under the first half of R1's SHA-1 digest (specification section 8).
const KEY: [u8; 16] = [
    0xff, 0x73, 0x95, 0x39, 0xa4, 0x97, 0xc5, 0xa3, 0x34, 0x3c, 0x93, 0xfe, 0xdf, 0x3f, 0x7a, 0xd3,
];

/// Any bytes as a CKC, and as the payload of one, in the clear. What opens has R1 and what was to be returned.
pub fn ckc(data: &[u8]) {
    let _ = Licence::open(data, &SECRETS);
    let whole = &data[..data.len() / 16 * 16];
    let length = u32::try_from(whole.len()).unwrap();
    let mut encrypted = whole.to_vec();
    cipher::cbc_encrypt(&Key128::from(KEY), &[4; 16], &mut encrypted);
    let ckc = [
        &1_u32.to_be_bytes()[..],
        &[0; 4],
        &[4; 16],
        &length.to_be_bytes(),
        &encrypted,
    ]
    .concat();
    let Ok(licence) = Licence::open(&ckc, &SECRETS) else {
        return;
    };
    // A reader that is written from the specification alone finds the same blocks.
    let tags = tags(whole).expect("what is opened is a sequence of blocks");
    let names: Vec<String> = tags.iter().map(|tag| format!("{:?}", Tag(*tag))).collect();
    assert_eq!(licence.tags, names);
    for part in [&SECRETS.r1, &SECRETS.returned[0].value] {
        assert!(whole.windows(part.len()).any(|window| window == part));
    }
    assert_eq!((licence.key.len(), licence.iv.len()), (16, 16));
}
