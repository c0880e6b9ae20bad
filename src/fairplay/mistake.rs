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
    /// What a program writes for an object in place of its bytes: `[object ArrayBuffer]`, `undefined`, `1056 bytes`.
    Description,
    /// Bytes that were decoded as text: what was no character is lost.
    LossyText,
    /// Bytes in gzip, zlib or Zstandard.
    Compressed,
    /// A multipart form in which no part is an SPC.
    Multipart,
}

/// An SPC of version 1 has 180 bytes before its payload, most of which are as good as random: so many of them are not
/// all below 128.
const SHORTEST_OF_TEXT: usize = 64;

impl Mistake {
    /// What bytes are that are no SPC; `None` when they are like nothing that is known.
    pub fn recognise(bytes: &[u8]) -> Option<Self> {
        let start = bytes.trim_ascii_start();
        if let Some(mistake) = Self::at_sight(bytes) {
            Some(mistake)
        } else if start.starts_with(b"{") || start.starts_with(b"[") {
            Some(Self::Json)
        } else {
            let text = std::str::from_utf8(bytes).ok()?;
            let inner = encoding::base64(text)?;
            inner.starts_with(&[0, 0, 0]).then_some(Self::Base64)
        }
    }

    /// What bytes are that hold no SPC, however they are read.
    pub fn at_sight(bytes: &[u8]) -> Option<Self> {
        let start = bytes.trim_ascii_start();
        if bytes.starts_with(&[0x30, 0x82]) || start.starts_with(b"-----BEGIN") {
            Some(Self::Certificate)
        } else if is_ckc(bytes) || start.starts_with(b"<ckc>") {
            Some(Self::Ckc)
        } else if start.starts_with(b"spc=") {
            Some(Self::Form)
        } else if is_description(start.trim_ascii_end()) {
            Some(Self::Description)
        } else if has_uri(bytes) {
            Some(Self::Uri)
        } else if is_compressed(bytes) {
            Some(Self::Compressed)
        } else if is_lossy_text(bytes) {
            Some(Self::LossyText)
        } else {
            None
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
            Self::Description => Code::SPC_IS_DESCRIPTION,
            Self::LossyText => Code::SPC_IS_LOSSY_TEXT,
            Self::Compressed => Code::SPC_IS_COMPRESSED,
            Self::Multipart => Code::SPC_IS_MULTIPART,
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
            Self::Description => {
                "the player made text of an object, such as `[object ArrayBuffer]`, `{}`, `undefined` or `1056 bytes`; \
                 send the object's bytes as the whole body (in browsers `new Uint8Array(event.message)`), or their \
                 base64"
            }
            Self::LossyText => {
                "the SPC was decoded as text, and the bytes that are no characters are lost; keep it as bytes \
                 (`ArrayBuffer`, `Data`) from the key system to the request, or send their base64"
            }
            Self::Compressed => {
                "the SPC is compressed, and this server decompresses nothing; send it as it is, without \
                 `content-encoding`"
            }
            Self::Multipart => {
                "no part of the multipart form is an SPC; name the part `spc`, or send the SPC's bytes as the whole \
                 body"
            }
        }
    }
}

/// What JavaScript, Swift and Objective-C write for an object whose bytes were meant.
fn is_description(text: &[u8]) -> bool {
    const VALUES: [&[u8]; 7] = [
        b"undefined",
        b"null",
        b"NaN",
        b"nil",
        b"{}",
        b"true",
        b"false",
    ];
    let optional = text.strip_prefix(b"Optional(");
    let text = optional
        .and_then(|text| text.strip_suffix(b")"))
        .unwrap_or(text);
    let quoted = text
        .strip_prefix(b"\"")
        .and_then(|text| text.strip_suffix(b"\""));
    let text = quoted.unwrap_or(text);
    let count = text.strip_suffix(b" bytes");
    VALUES.contains(&text)
        || text.starts_with(b"[object ") && text.ends_with(b"]")
        || text.starts_with(b"{length = ") && text.ends_with(b"}")
        || count.is_some_and(|count| !count.is_empty() && count.iter().all(u8::is_ascii_digit))
}

/// gzip (RFC 1952), zlib (RFC 1950), which `content-encoding` calls `deflate`, and Zstandard (RFC 8878).
fn is_compressed(bytes: &[u8]) -> bool {
    let is_zlib = |first: u8, second: u8| {
        first == 0x78 && (u16::from(first) * 256 + u16::from(second)).is_multiple_of(31)
    };
    match bytes {
        [0x1f, 0x8b, 8, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => true,
        [first, second, ..] => is_zlib(*first, *second) && std::str::from_utf8(bytes).is_err(),
        _ => false,
    }
}

/// Text in which U+FFFD stands for what was no character, or bytes of an SPC of which each is below 128: where `?` or
/// nothing stands for the others.
fn is_lossy_text(bytes: &[u8]) -> bool {
    if bytes.is_ascii() {
        return bytes.len() >= SHORTEST_OF_TEXT && matches!(bytes, [0, 0, 0, 1..=3, ..]);
    }
    std::str::from_utf8(bytes).is_ok_and(|text| text.contains('\u{fffd}'))
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
        let lost = String::from_utf8_lossy(&[0, 0, 0, 1, 0xfe, 0xbc]).into_owned();
        let halves = [&[0, 0, 0, 2][..], &[b'?'; 80]].concat();
        let cases: [(&[u8], Option<Mistake>); 25] = [
            (b"[object ArrayBuffer]", Some(Mistake::Description)),
            (b"\"[object Object]\"\n", Some(Mistake::Description)),
            (b"undefined", Some(Mistake::Description)),
            (b"Optional(1056 bytes)", Some(Mistake::Description)),
            (
                b"{length = 1056, bytes = 0x00000001 00000000 ... }",
                Some(Mistake::Description),
            ),
            (b"1056 bits", None),
            (&[0x1f, 0x8b, 8, 0, 0xff], Some(Mistake::Compressed)),
            (&[0x78, 0x9c, 0xff, 0xfe], Some(Mistake::Compressed)),
            (lost.as_bytes(), Some(Mistake::LossyText)),
            (&halves, Some(Mistake::LossyText)),
            (&[0, 0, 0, 1, 0xfe, 0xbc], None),
            (b"x^", None),
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
