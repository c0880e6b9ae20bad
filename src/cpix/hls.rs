//! The tags by which HLS playlists tell where keys are (RFC 8216 sections 4.3.2.4 and 4.3.4.5).

use base64::Engine;

use super::{ProtectionSystem, Scheme, characters};
use crate::encoding::BASE64;
use crate::id::Kid;

/// What a playlist says of a key for one system. AWS SPEKE 2.0 calls it `HLSSignalingData`.
///
/// ```
/// use keylet::cpix::HlsKey;
///
/// let key = HlsKey::FairPlay { uri: "skd://movie-42" };
/// assert_eq!(
///     key.media_tag().unwrap(),
///     r#"#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://movie-42",KEYFORMAT="com.apple.streamingkeydelivery",KEYFORMATVERSIONS="1""#
/// );
/// ```
#[derive(Debug, Clone, Copy)]
pub enum HlsKey<'a> {
    /// FairPlay, whose method is always `SAMPLE-AES`, and whose IV comes with the licence.
    FairPlay {
        /// The URI that the player puts into its SPC.
        uri: &'a str,
    },
    /// Widevine.
    Widevine {
        /// The KID.
        kid: Kid,
        /// The scheme.
        scheme: Scheme,
        /// The PSSH box.
        pssh: &'a [u8],
    },
    /// PlayReady.
    PlayReady {
        /// The scheme.
        scheme: Scheme,
        /// The PlayReady Object.
        object: &'a [u8],
    },
    /// Whole segments under AES-128.
    Aes128 {
        /// Where the key is.
        uri: &'a str,
        /// The IV of every segment. Without one it is the segment's number.
        iv: Option<[u8; 16]>,
    },
}

impl HlsKey<'_> {
    /// The line of a media playlist, without a line break. `None` for a URI that is empty or that a quoted string cannot
    /// hold.
    pub fn media_tag(&self) -> Option<String> {
        Some(format!("#EXT-X-KEY:{}", self.attributes()?))
    }

    /// The line of a multivariant playlist: the attributes of [`Self::media_tag`]. `None` for the same reasons.
    pub fn session_tag(&self) -> Option<String> {
        Some(format!("#EXT-X-SESSION-KEY:{}", self.attributes()?))
    }

    fn attributes(&self) -> Option<String> {
        match *self {
            Self::FairPlay { uri } => {
                let uri = quotable(uri)?;
                Some(format!(
                    r#"METHOD=SAMPLE-AES,URI="{uri}",KEYFORMAT="com.apple.streamingkeydelivery",KEYFORMATVERSIONS="1""#
                ))
            }
            Self::Widevine { kid, scheme, pssh } => {
                let (method, pssh) = (scheme.hls_method(), BASE64.encode(pssh));
                let kid = hex::encode(kid.as_bytes());
                let system = ProtectionSystem::Widevine.system_id();
                Some(format!(
                    r#"METHOD={method},URI="data:text/plain;base64,{pssh}",KEYID=0x{kid},KEYFORMAT="urn:uuid:{system}",KEYFORMATVERSIONS="1""#
                ))
            }
            // In the order of Microsoft's own sample, which MediaPackage has too.
            Self::PlayReady { scheme, object } => {
                let (method, object) = (scheme.hls_method(), BASE64.encode(object));
                Some(format!(
                    r#"METHOD={method},KEYFORMAT="com.microsoft.playready",KEYFORMATVERSIONS="1",URI="data:text/plain;charset=UTF-16;base64,{object}""#
                ))
            }
            Self::Aes128 { uri, iv } => {
                let uri = quotable(uri)?;
                let iv = iv.map(|iv| format!(",IV=0x{}", hex::encode(iv)));
                let iv = iv.unwrap_or_default();
                Some(format!(
                    r#"METHOD=AES-128,URI="{uri}",KEYFORMAT="identity",KEYFORMATVERSIONS="1"{iv}"#
                ))
            }
        }
    }
}

fn quotable(uri: &str) -> Option<&str> {
    (!uri.is_empty() && characters::are_quotable(uri)).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KID: Kid = Kid::from_u128(0x339c45b5_fb6d_4bd9_994c_eabd9d41c95b);

    #[test]
    fn each_system_has_its_attributes_in_both_tags() {
        let widevine = |scheme| HlsKey::Widevine {
            kid: KID,
            scheme,
            pssh: b"box",
        };
        let playready = |scheme| HlsKey::PlayReady {
            scheme,
            object: b"object",
        };
        let aes = |iv| HlsKey::Aes128 {
            uri: "https://k.example/aes128/1?a=b&c=d",
            iv,
        };
        for (key, attributes) in [
            (
                HlsKey::FairPlay { uri: "skd://1" },
                r#"METHOD=SAMPLE-AES,URI="skd://1",KEYFORMAT="com.apple.streamingkeydelivery",KEYFORMATVERSIONS="1""#,
            ),
            (
                widevine(Scheme::Cbcs),
                r#"METHOD=SAMPLE-AES,URI="data:text/plain;base64,Ym94",KEYID=0x339c45b5fb6d4bd9994ceabd9d41c95b,KEYFORMAT="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed",KEYFORMATVERSIONS="1""#,
            ),
            (
                widevine(Scheme::Cens),
                r#"METHOD=SAMPLE-AES-CTR,URI="data:text/plain;base64,Ym94",KEYID=0x339c45b5fb6d4bd9994ceabd9d41c95b,KEYFORMAT="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed",KEYFORMATVERSIONS="1""#,
            ),
            (
                playready(Scheme::Cbcs),
                r#"METHOD=SAMPLE-AES,KEYFORMAT="com.microsoft.playready",KEYFORMATVERSIONS="1",URI="data:text/plain;charset=UTF-16;base64,b2JqZWN0""#,
            ),
            (
                playready(Scheme::Cenc),
                r#"METHOD=SAMPLE-AES-CTR,KEYFORMAT="com.microsoft.playready",KEYFORMATVERSIONS="1",URI="data:text/plain;charset=UTF-16;base64,b2JqZWN0""#,
            ),
            (
                aes(None),
                r#"METHOD=AES-128,URI="https://k.example/aes128/1?a=b&c=d",KEYFORMAT="identity",KEYFORMATVERSIONS="1""#,
            ),
            (
                aes(Some([0x0a; 16])),
                r#"METHOD=AES-128,URI="https://k.example/aes128/1?a=b&c=d",KEYFORMAT="identity",KEYFORMATVERSIONS="1",IV=0x0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"#,
            ),
        ] {
            let (media, session) = (key.media_tag().unwrap(), key.session_tag().unwrap());
            assert_eq!(media, format!("#EXT-X-KEY:{attributes}"));
            assert_eq!(session, format!("#EXT-X-SESSION-KEY:{attributes}"));
        }
    }

    #[test]
    fn a_uri_never_ends_its_attribute_or_its_line() {
        for uri in [
            "",
            "skd://1\",METHOD=NONE",
            "skd://1\n#EXTM3U",
            "skd://\u{85}",
        ] {
            assert!(HlsKey::FairPlay { uri }.media_tag().is_none(), "{uri:?}");
            let aes = HlsKey::Aes128 { uri, iv: None };
            assert!(aes.session_tag().is_none(), "{uri:?}");
        }
    }
}
