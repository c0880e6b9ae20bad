//! The KIDs that Keylet makes: one block of AES-128, so that a licence learns from the KID alone what it is for.
//!
//! ```text
//! [8 bytes] digest of the content id, under a key of the seed
//! [4 bytes] period, big-endian
//! [1 byte]  track: 00 none, 01 audio, 02 SD, 03 HD, 04 UHD
//! [3 bytes] check: 00 00 00
//! ```
//!
//! The block is encrypted under a key of the seed. Without the seed, nobody can make a valid KID or read one. The labels of the seed's keys have the number of this layout: another layout gets another number.

use zeroize::Zeroize;

use crate::entitlement::Track;
use crate::id::{ContentDigest, Kid};
use crate::secret::Key128;

/// The bytes by which a KID of the seed is told from others, together with the track.
const CHECK: [u8; 3] = [0; 3];

/// What a KID that Keylet made says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeKid {
    /// Digest of the content id.
    pub content: [u8; ContentDigest::SIZE],
    /// The period of the content, when its keys change with time; else 0.
    pub period: u32,
    /// The kind of track that the key encrypts.
    pub track: Option<Track>,
}

impl MadeKid {
    /// The KID.
    pub(super) fn seal(self, key: &Key128) -> Kid {
        let mut block = [0; 16];
        let [a, b, c, d] = self.period.to_be_bytes();
        let rest = [a, b, c, d, number(self.track)].into_iter().chain(CHECK);
        let plain = self.content.into_iter().chain(rest);
        block
            .iter_mut()
            .zip(plain)
            .for_each(|(to, byte)| *to = byte);
        Kid::from_bytes(keylet_aes128::ecb_encrypt(key.expose(), &block))
    }

    /// Reads a KID. `None` when it was not made under this key.
    pub(super) fn open(kid: Kid, key: &Key128) -> Option<Self> {
        let mut block = *kid.as_bytes();
        // One block in CBC with an IV of zeros is one in ECB.
        keylet_aes128::cbc_decrypt(key.expose(), &[0; 16], &mut block);
        let (content, rest) = block.split_first_chunk()?;
        let (period, rest) = rest.split_first_chunk()?;
        let made = match rest {
            [track, check @ ..] if *check == CHECK => Some(Self {
                content: *content,
                period: u32::from_be_bytes(*period),
                track: track_of(*track)?,
            }),
            _ => None,
        };
        block.zeroize();
        made
    }
}

fn number(track: Option<Track>) -> u8 {
    match track {
        None => 0x00,
        Some(Track::Audio) => 0x01,
        Some(Track::Sd) => 0x02,
        Some(Track::Hd) => 0x03,
        Some(Track::Uhd) => 0x04,
    }
}

/// The track of a number. `None` for a number that no track has.
fn track_of(byte: u8) -> Option<Option<Track>> {
    let tracks = Track::ALL.into_iter().map(Some);
    std::iter::once(None)
        .chain(tracks)
        .find(|track| number(*track) == byte)
}
