//! A seed, and what is derived from it.
//!
//! | what | how |
//! |---|---|
//! | content key, `hkdf-sha256` | HKDF(`keylet key 1` ‖ KID), 16 bytes |
//! | content key, `playready` | Microsoft's key seed algorithm: [`playready_key`] |
//! | IV, when it is `derived` | HKDF(`keylet iv 1` ‖ KID), 16 bytes |
//! | key of the [KIDs that Keylet makes](super::MadeKid) | HKDF(`keylet kid 1`), 16 bytes |
//! | key of the content digests in them | HKDF(`keylet content 1`), 64 bytes |
//!
//! HKDF is HKDF-SHA256 (RFC 5869): the input keying material is the seed, there is no salt, and the info is what
//! stands in the brackets: the label in ASCII, and the 16 bytes of the KID in the order of its text (big-endian).

use hkdf::Hkdf;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::made_kid::MadeKid;
use crate::content_key::record::ContentKey;
use crate::entitlement::Track;
use crate::id::{Content, ContentDigest, Id, Kid};
use crate::secret::{Key128, Secret};

/// How many bytes a seed of PlayReady's algorithm has.
pub const PLAYREADY: usize = 30;

/// How many bytes a seed for HKDF has at least.
pub const LEAST_HKDF: usize = 32;

/// How a content key comes from a seed and a KID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HKDF-SHA256 (RFC 5869).
    #[serde(rename = "hkdf-sha256")]
    HkdfSha256,
    /// The public algorithm of PlayReady, as packagers have it.
    #[serde(rename = "playready")]
    PlayReady,
}

/// Which IV travels with a derived key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Iv {
    /// The bytes of the KID.
    Kid,
    /// One of its own.
    Derived,
    /// The same for every key.
    Constant([u8; 16]),
}

/// A seed.
pub struct Seed {
    /// Its name, for the operator.
    pub id: Option<String>,
    algorithm: Algorithm,
    iv: Iv,
    /// With PlayReady's algorithm [`PLAYREADY`] bytes, else [`LEAST_HKDF`] or more.
    bytes: Zeroizing<Vec<u8>>,
}

impl Seed {
    /// A seed of these bytes. `None` when there are too few of them.
    pub(super) fn new(
        id: Option<String>,
        algorithm: Algorithm,
        iv: Iv,
        mut bytes: Zeroizing<Vec<u8>>,
    ) -> Option<Self> {
        match algorithm {
            Algorithm::HkdfSha256 if bytes.len() < LEAST_HKDF => return None,
            Algorithm::PlayReady if bytes.len() < PLAYREADY => return None,
            Algorithm::HkdfSha256 => {}
            Algorithm::PlayReady => bytes.truncate(PLAYREADY),
        }
        Some(Self {
            id,
            algorithm,
            iv,
            bytes,
        })
    }

    /// Whether two seeds have the same bytes: KIDs then do not tell them apart.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }

    /// A KID for a key of this seed: of a content, a period of it, and a track.
    pub fn make_kid(&self, content: &Id, period: u32, track: Option<Track>) -> Kid {
        let made = MadeKid {
            content: ContentDigest::make(&self.content_key(), content),
            period,
            track,
        };
        made.seal(&self.kid_key())
    }

    /// What a KID that this seed made says. `None` for any other KID: one in 2^29 is taken for one.
    pub fn read_kid(&self, kid: Kid) -> Option<MadeKid> {
        MadeKid::open(kid, &self.kid_key())
    }

    /// The key of any KID.
    pub fn key(&self, kid: Kid) -> ContentKey {
        let [id, _] = Id::from_kid(kid);
        let key = match self.algorithm {
            Algorithm::HkdfSha256 => self.expand(b"keylet key 1", kid.as_bytes()),
            Algorithm::PlayReady => playready_key(&self.bytes, kid),
        };
        let mut key = ContentKey::new(id, key).with_kid(kid);
        key.iv = Some(match self.iv {
            Iv::Kid => *kid.as_bytes(),
            Iv::Derived => *self.expand::<16>(b"keylet iv 1", kid.as_bytes()).expose(),
            Iv::Constant(iv) => iv,
        });
        key
    }

    /// The key of a KID that this seed made.
    pub fn made_key(&self, kid: Kid, made: &MadeKid) -> ContentKey {
        let mut key = self.key(kid);
        key.record.track = made.track;
        let digest = ContentDigest::new(self.content_key(), made.content);
        key.record.content = Some(Content::Digest(digest));
        key
    }

    fn kid_key(&self) -> Key128 {
        self.expand(b"keylet kid 1", &[])
    }

    fn content_key(&self) -> Secret<64> {
        self.expand(b"keylet content 1", &[])
    }

    /// HKDF-SHA256 of the seed, without a salt.
    fn expand<const N: usize>(&self, label: &[u8], context: &[u8]) -> Secret<N> {
        let mut key = Zeroizing::new([0; N]);
        let hkdf = Hkdf::<Sha256>::new(None, &self.bytes);
        let derived = hkdf.expand_multi_info(&[label, context], &mut *key);
        debug_assert!(derived.is_ok(), "HKDF gives more than 64 bytes");
        Secret::from(*key)
    }
}

/// PlayReady's key of a KID ("PlayReady Header Object", "Key Seed"): of A = SHA-256(seed ‖ KID), B = SHA-256(seed ‖ KID ‖
/// seed) and C = SHA-256(seed ‖ KID ‖ seed ‖ KID), the halves of all three, combined by exclusive or. The KID is in the
/// layout of a GUID in memory.
fn playready_key(seed: &[u8], kid: Kid) -> Key128 {
    let kid = *kid.in_guid_order().as_bytes();
    let parts = [seed, &kid, seed, &kid];
    let mut key = Zeroizing::new([0_u8; 16]);
    for count in [2, 3, 4] {
        let mut hash = Sha256::new();
        parts.iter().take(count).for_each(|part| hash.update(part));
        let digest = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
        for half in digest.chunks_exact(16) {
            key.iter_mut()
                .zip(half)
                .for_each(|(key, byte)| *key ^= byte);
        }
    }
    Secret::from(*key)
}

#[cfg(test)]
mod tests {
    use hkdf::Hkdf;
    use serde::Deserialize;
    use serde_json::Value;
    use sha2::Sha256;

    use super::super::read;
    use super::*;

    /// The file that `tests/keys/derived.py` writes.
    #[derive(Deserialize)]
    struct Vectors {
        seeds: Vec<OfSeed>,
    }

    #[derive(Deserialize)]
    struct OfSeed {
        seed: Value,
        made: Vec<Made>,
        foreign: Vec<Derived>,
    }

    #[derive(Deserialize)]
    struct Made {
        content_id: String,
        period: u32,
        track: Option<Track>,
        #[serde(flatten)]
        derived: Derived,
    }

    #[derive(Deserialize)]
    struct Derived {
        kid: String,
        key: String,
        iv: String,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../../../fixtures/keys/derived.json")).unwrap()
    }

    fn assert_derived(key: &ContentKey, expected: &Derived) {
        assert_eq!(
            hex::encode(key.key.expose()),
            expected.key,
            "{}",
            expected.kid
        );
        assert_eq!(key.iv.map(hex::encode).as_ref(), Some(&expected.iv));
        assert_eq!(key.kid, Kid::from_text(&expected.kid));
    }

    #[test]
    fn keys_and_kids_are_those_of_another_implementation() {
        let vectors = vectors();
        assert_eq!(vectors.seeds.len(), 5);
        for of_seed in vectors.seeds {
            let seeds = read(&of_seed.seed.to_string()).unwrap_or_else(|_| panic!());
            let seed = &seeds[0];
            assert_eq!((of_seed.made.len(), of_seed.foreign.len()), (7, 4));
            for made in of_seed.made {
                let content = Id::from_text(&made.content_id).unwrap();
                let kid = seed.make_kid(&content, made.period, made.track);
                assert_eq!(kid.to_string(), made.derived.kid);
                let read = seed.read_kid(kid).unwrap();
                assert_eq!((read.period, read.track), (made.period, made.track));
                let key = seed.made_key(kid, &read);
                assert_derived(&key, &made.derived);
                assert!(key.is_named(&content) && key.is_named(&Id::from_kid(kid)[1]));
                assert!(!key.is_named(&Id::from_bytes(b"another")));
            }
            for foreign in of_seed.foreign {
                let kid = Kid::from_text(&foreign.kid).unwrap();
                assert_eq!(seed.read_kid(kid), None);
                assert_derived(&seed.key(kid), &foreign);
            }
        }
    }

    #[test]
    fn playready_has_its_published_key() {
        let json = r#"{"algorithm":"playready","seed":"XVBovsmzhP9gRIZxWfFta3VVRPzVEWmJsazEJ46I"}"#;
        let seeds = read(json).unwrap_or_else(|_| panic!());
        let kid = Kid::from_text("339C45B5-FB6D-4BD9-994C-EABD9D41C95B").unwrap();
        let key = hex::encode(seeds[0].key(kid).key.expose());
        assert_eq!(key, "a537cdc0ca65841406d525e7bf22d754");
    }

    #[test]
    fn hkdf_passes_the_cases_of_its_rfc() {
        let file = include_str!("../../../fixtures/keys/hkdf.json");
        let vectors: Value = serde_json::from_str(file).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 3);
        for case in cases {
            let bytes = |name: &str| hex::decode(case[name].as_str().unwrap()).unwrap();
            let salt = bytes("salt");
            let (prk, hkdf) = Hkdf::<Sha256>::extract(Some(&salt), &bytes("ikm"));
            assert_eq!(prk.as_slice(), bytes("prk"));
            let mut okm = vec![0; bytes("okm").len()];
            hkdf.expand(&bytes("info"), &mut okm).unwrap();
            assert_eq!(okm, bytes("okm"));
        }
    }

    #[test]
    fn of_many_kids_that_others_made_none_is_taken_for_one_of_the_seed() {
        let seed = &read(&vectors().seeds[0].seed.to_string()).unwrap_or_else(|_| panic!())[0];
        let mut kid = Kid::from_u128(1);
        for _ in 0..20_000 {
            assert_eq!(seed.read_kid(kid), None);
            kid = Kid::from_bytes(*seed.key(kid).key.expose());
        }
        // Each bit of a KID counts.
        let made = seed.make_kid(&Id::from_bytes(b"movie-42"), 0, Some(Track::Hd));
        for bit in 0..128 {
            let other = u128::from_be_bytes(*made.as_bytes()) ^ (1 << bit);
            assert_eq!(seed.read_kid(Kid::from_u128(other)), None, "{bit}");
        }
    }
}
