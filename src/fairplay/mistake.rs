//! What players send in place of an SPC, recognised by its first bytes.
//!
//! Every way to send an SPC wrongly ends in a version that no SPC has: 813827283 is `30 82 04 d3`,
//! the beginning of a certificate, and 1936745277 is the text `spc=`.

use crate::encoding;
use crate::error::Code;

/// Something that is sent in place of an SPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// The application certificate, in DER or PEM.
    Certificate,
    /// The text `spc=…`, which a form has once.
    Form,
    /// A JSON document, which a request is or is not, as a whole.
    Json,
    /// Base64 of base64.
    Base64,
    /// A Content Key Context: an answer of this server.
    Ckc,
    /// The `skd` URI of the playlist, or the initialisation data with it.
    Uri,
}

impl Mistake {
    /// What bytes are that are no SPC; `None` when they are like nothing that is known.
    pub fn recognise(bytes: &[u8]) -> Option<Self> {
        let start = bytes.trim_ascii_start();
        if bytes.starts_with(&[0x30, 0x82]) || start.starts_with(b"-----BEGIN") {
            Some(Self::Certificate)
        } else if is_ckc(bytes) || start.starts_with(b"<ckc>") {
            Some(Self::Ckc)
        } else if start.starts_with(b"spc=") {
            Some(Self::Form)
        } else if start.starts_with(b"{") || start.starts_with(b"[") {
            Some(Self::Json)
        } else if has_uri(bytes) {
            Some(Self::Uri)
        } else {
            let text = std::str::from_utf8(bytes).ok()?;
            let inner = encoding::base64(text)?;
            inner.starts_with(&[0, 0, 0]).then_some(Self::Base64)
        }
    }

    /// The code of this mistake.
    pub fn code(self) -> Code {
        match self {
            Self::Certificate => Code::SPC_IS_CERTIFICATE,
            Self::Form => Code::SPC_IS_FORM,
            Self::Json => Code::SPC_IS_JSON,
            Self::Base64 => Code::SPC_IS_BASE64,
            Self::Ckc => Code::SPC_IS_CKC,
            Self::Uri => Code::SPC_IS_URI,
        }
    }

    /// What to change in the player.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Certificate => {
                "these bytes are an application certificate; give it to the player's key system, and send what that \
                 answers (the `message` event, or `makeStreamingContentKeyRequestData`)"
            }
            Self::Form => {
                "the SPC itself is the text `spc=…`, so it was wrapped twice; send `spc=` and the base64 of the SPC as \
                 the whole body, or the SPC's own bytes"
            }
            Self::Json => {
                "the SPC itself is a JSON document, so it was wrapped twice; send the document as the body, or the SPC \
                 that is in it"
            }
            Self::Base64 => "the SPC is in base64 twice; encode its bytes once",
            Self::Ckc => {
                "these bytes are a CKC, the answer to an SPC; give it to the player's key system (`update`, or \
                 `AVContentKeyResponse`), and send what that asks"
            }
            Self::Uri => {
                "these bytes are the `skd` URI or the initialisation data; give it to the player's key system, and \
                 send what that answers (the `message` event, or `makeStreamingContentKeyRequestData`)"
            }
        }
    }
}

/// `[4] version 1 | [4] 0 | [16] IV | [4] payload length N | [N] payload`, and nothing after it.
fn is_ckc(bytes: &[u8]) -> bool {
    let Some((header, payload)) = bytes.split_first_chunk::<28>() else {
        return false;
    };
    let length = u32::try_from(payload.len()).unwrap_or(0);
    header.starts_with(&[0, 0, 0, 1, 0, 0, 0, 0])
        && header.ends_with(&length.to_be_bytes())
        && length > 0
}

/// Whether `skd:` stands at the front, in UTF-8 or UTF-16LE, after a length or not.
fn has_uri(bytes: &[u8]) -> bool {
    let front = bytes.get(..12).unwrap_or(bytes);
    let text: Vec<u8> = front.iter().copied().filter(|b| *b != 0).collect();
    text.starts_with(b"skd:") || text.get(1..).is_some_and(|text| text.starts_with(b"skd:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_place_of_an_spc_is_known_by_its_first_bytes() {
        let ckc = [
            &[0, 0, 0, 1, 0, 0, 0, 0][..],
            &[9; 16],
            &[0, 0, 0, 16],
            &[7; 16],
        ]
        .concat();
        let utf16: Vec<u8> = "skd://a"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let legacy = [&14_u32.to_le_bytes()[..], &utf16].concat();
        let cases: [(&[u8], Option<Mistake>); 13] = [
            (&[0x30, 0x82, 0x04, 0xd3], Some(Mistake::Certificate)),
            (b"-----BEGIN CERTIFICATE-----", Some(Mistake::Certificate)),
            (&ckc, Some(Mistake::Ckc)),
            (b"<ckc>AAAA</ckc>", Some(Mistake::Ckc)),
            (b"spc=AAAAAQ", Some(Mistake::Form)),
            (b" {\"spc\":1}", Some(Mistake::Json)),
            (b"[{\"keyID\"", Some(Mistake::Json)),
            (b"AAAAAQAAAAA=", Some(Mistake::Base64)),
            (b"skd://movie-1", Some(Mistake::Uri)),
            (&utf16, Some(Mistake::Uri)),
            (&legacy, Some(Mistake::Uri)),
            (&ckc[..40], None),
            (b"", None),
        ];
        for (bytes, mistake) in cases {
            assert_eq!(Mistake::recognise(bytes), mistake, "{bytes:02x?}");
        }
    }
}
