//! What a player's request says in the clear.
//!
//! `SignedMessage`: field 1 is its type, field 2 the message. A `LicenseRequest` has, by the path of its fields:
//!
//! | path | what |
//! |---|---|
//! | 2 / 1 / 1, repeated | the data of the PSSH box that the player gave |
//! | 2 / 1 / 2 | 1 for streaming, 2 for offline |
//! | 2 / 1 / 3 | the id of the request |
//! | 2 / 2 / 1, 2, 3 | the same for `WebM`: a KID in place of the data |
//! | 2 / 3 / 1 / 1 | in place of these, for an existing licence: the id of the request that it was given for |
//! | 3 | 1 new, 2 renewal, 3 release |
//!
//! Everything else is for the service: who the device is, and the signature.

use crate::cpix::widevine_data;
use crate::id::Kid;
use crate::protobuf::{self, Value};
use crate::reader::Reader;

/// The largest challenge, in bytes.
const MAX_CHALLENGE: usize = 64 * 1024;

/// How many KIDs a challenge has at most.
const MAX_KIDS: usize = 32;

/// A request for the certificate of the service: a message of type 4, and nothing else.
const CERTIFICATE_REQUEST: [u8; 2] = [0x08, 0x04];

/// Types of a `SignedMessage`.
const LICENSE_REQUEST: u64 = 1;

/// Licence types.
const OFFLINE: u64 = 2;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A licence.
    New,
    /// A licence to go on with.
    Renewal,
    /// To give a stored licence up.
    Release,
}

/// A licence request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What it is for.
    pub kind: Kind,
    /// Whether the player wants to store the licence.
    pub is_offline: bool,
    /// The KIDs, each once. There may be none.
    pub kids: Vec<Kid>,
    /// The id of the content, where there is one.
    pub content_id: Option<Vec<u8>>,
    /// The id of the request, which renewals repeat.
    pub request_id: Option<Vec<u8>>,
}

/// Whether a body asks for the certificate of the service.
pub fn is_certificate_request(body: &[u8]) -> bool {
    body == CERTIFICATE_REQUEST
}

impl Challenge {
    /// Reads a challenge.
    ///
    /// # Errors
    /// What it is instead, in a sentence.
    pub fn read(message: &[u8]) -> Result<Self, String> {
        if message.len() > MAX_CHALLENGE {
            return Err(format!("it has more than {MAX_CHALLENGE} bytes"));
        }
        let other = match message {
            [b'{', ..] => Some("JSON: a request of Clear Key goes to /clearkey"),
            [b'<', ..] => Some("a SOAP envelope: send it to /playready"),
            [0, ..] => Some("an SPC: send it to /fairplay"),
            [b'C', b'A', ..] => Some("text in base64: send the bytes"),
            _ => None,
        };
        if let Some(other) = other {
            return Err(format!("it is not a challenge of Widevine but {other}"));
        }
        let cut = || "it is not a message of Protocol Buffers".to_owned();
        let twice = || "a field stands in it twice".to_owned();
        let signed = Message::read(message).ok_or_else(cut)?;
        match signed.number(1) {
            Some(LICENSE_REQUEST) => {}
            Some(other) => {
                return Err(format!(
                    "it is a message of type {other}, not a licence request"
                ));
            }
            None => return Err("it has no type".to_owned()),
        }
        let request = signed.one(2).ok_or_else(twice)?;
        let request = request.ok_or("it has no licence request in it")?;
        let request = Message::read(request).ok_or_else(cut)?;
        let content = request.one(2).ok_or_else(twice)?;
        let content = content.ok_or("it does not say for which content it is")?;
        let content = Message::read(content).ok_or_else(cut)?;
        let kind = match request.number(3) {
            Some(1) | None => Kind::New,
            Some(2) => Kind::Renewal,
            Some(3) => Kind::Release,
            Some(other) => {
                return Err(format!(
                    "it is a request of type {other}, which is not known"
                ));
            }
        };
        let mut challenge = Self {
            kind,
            is_offline: false,
            kids: Vec::new(),
            content_id: None,
            request_id: None,
        };
        let [cenc, webm, existing] = [1, 2, 3].map(|number| content.one(number));
        let (cenc, webm) = (cenc.ok_or_else(twice)?, webm.ok_or_else(twice)?);
        let existing = existing.ok_or_else(twice)?;
        if [cenc, webm, existing].into_iter().flatten().count() > 1 {
            return Err("it says in two ways for which content it is".to_owned());
        }
        // A renewal and a release are of a licence that was given, and ask for no other content.
        if (kind == Kind::New) == existing.is_some() {
            return Err("its type is that of another request than its content".to_owned());
        }
        if let Some(existing) = existing {
            let existing = Message::read(existing).ok_or_else(cut)?;
            let license = existing.one(1).ok_or_else(twice)?.and_then(Message::read);
            let license = license.ok_or_else(cut)?;
            challenge.request_id = license.one(1).ok_or_else(twice)?.map(<[u8]>::to_vec);
            challenge.is_offline = license.number(4) == Some(OFFLINE);
            return Ok(challenge);
        }
        let is_webm = webm.is_some();
        let wanted = cenc.or(webm);
        let Some(wanted) = wanted else {
            // Newer players may name the content in a way that is not known here: the URL has to name the key.
            return Ok(challenge);
        };
        let wanted = Message::read(wanted).ok_or_else(cut)?;
        challenge.is_offline = wanted.number(2) == Some(OFFLINE);
        challenge.request_id = wanted.one(3).ok_or_else(twice)?.map(<[u8]>::to_vec);
        for data in wanted.all(1) {
            let (kids, content_id) = match is_webm {
                true => (
                    <[u8; 16]>::try_from(data)
                        .ok()
                        .map(Kid::from_bytes)
                        .into_iter()
                        .collect(),
                    None,
                ),
                false => widevine_data(data)
                    .map_err(|error| format!("the data of its PSSH box: {error}"))?,
            };
            for kid in kids {
                if !challenge.kids.contains(&kid) {
                    challenge.kids.push(kid);
                }
            }
            match (&challenge.content_id, content_id) {
                (Some(one), Some(another)) if one != another => {
                    return Err("it names two contents".to_owned());
                }
                (None, Some(content_id)) => challenge.content_id = Some(content_id.to_vec()),
                (_, None) | (Some(_), Some(_)) => {}
            }
        }
        match challenge.kids.len() > MAX_KIDS {
            false => Ok(challenge),
            true => Err(format!("it asks for more than {MAX_KIDS} keys")),
        }
    }
}

/// The fields of a message.
struct Message<'a>(Vec<(u64, Value<'a>)>);

impl<'a> Message<'a> {
    /// `None` for bytes that are not a message.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let mut fields = Vec::new();
        while !reader.0.is_empty() {
            let (number, value) = protobuf::field(&mut reader)?;
            fields.push((number, value?));
        }
        Some(Self(fields))
    }

    /// The bytes of a field that stands there at most once. The outer `None` is a field that does more often: of messages, a
    /// reader of Protocol Buffers merges all, and this one looks at one.
    #[expect(
        clippy::option_option,
        reason = "a field that is there, is not, or is there twice"
    )]
    fn one(&self, number: u64) -> Option<Option<&'a [u8]>> {
        let mut fields = self.all(number);
        let first = fields.next();
        fields.next().is_none().then_some(first)
    }

    fn number(&self, number: u64) -> Option<u64> {
        let mut fields = self.0.iter().rev();
        fields.find_map(|(known, value)| (*known == number).then(|| value.number())?)
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.0.iter();
        fields.filter_map(move |(known, value)| (*known == number).then(|| value.bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpix::WidevineData;
    use crate::protobuf::{write_bytes, write_number};

    const KIDS: [Kid; 2] = [Kid::from_u128(1), Kid::from_u128(2)];

    /// A message of these fields.
    fn message(fields: &[(u64, &[u8])], numbers: &[(u64, u64)]) -> Vec<u8> {
        let mut message = Vec::new();
        for (field, number) in numbers {
            write_number(&mut message, *field, *number);
        }
        for (field, bytes) in fields {
            write_bytes(&mut message, *field, bytes);
        }
        message
    }

    fn signed(content: &[u8], kind: u64) -> Vec<u8> {
        let request = message(&[(2, content), (8, b"a client")], &[(3, kind), (6, 21)]);
        message(&[(2, &request), (3, b"signature")], &[(1, 1)])
    }

    fn cenc(data: &[&[u8]], license_type: u64) -> Vec<u8> {
        let mut fields: Vec<(u64, &[u8])> = data.iter().map(|data| (1, *data)).collect();
        fields.push((3, b"request"));
        message(&[(1, &message(&fields, &[(2, license_type)]))], &[])
    }

    #[test]
    fn a_challenge_says_kids_content_and_kind() {
        let all = WidevineData {
            content_id: Some(b"movie"),
            ..WidevineData::of(&KIDS)
        }
        .to_bytes();
        let one = WidevineData::of(&KIDS[..1]).to_bytes();
        let read = Challenge::read(&signed(&cenc(&[&all, &one], 2), 1)).unwrap();
        assert_eq!(
            read,
            Challenge {
                kind: Kind::New,
                is_offline: true,
                kids: KIDS.to_vec(),
                content_id: Some(b"movie".to_vec()),
                request_id: Some(b"request".to_vec()),
            }
        );
        let webm = message(&[(1, KIDS[0].as_bytes()), (3, b"r")], &[(2, 1)]);
        let read = Challenge::read(&signed(&message(&[(2, &webm)], &[]), 1)).unwrap();
        assert_eq!((read.kids.as_slice(), read.is_offline), (&KIDS[..1], false));
    }

    #[test]
    fn a_renewal_and_a_release_name_the_request_of_their_licence() {
        let license = message(&[(1, b"request"), (2, b"session")], &[(4, 2), (5, 0)]);
        let existing = message(&[(3, &message(&[(1, &license)], &[(2, 60)]))], &[]);
        for (kind, expected) in [(2, Kind::Renewal), (3, Kind::Release)] {
            let read = Challenge::read(&signed(&existing, kind)).unwrap();
            assert_eq!((read.kind, read.is_offline), (expected, true));
            assert_eq!(read.request_id.as_deref(), Some(b"request".as_slice()));
            assert!(read.kids.is_empty());
        }
    }

    #[test]
    fn what_is_no_challenge_is_named() {
        let long = vec![8; MAX_CHALLENGE + 1];
        let unknown = signed(&cenc(&[], 1), 9);
        for (body, reason) in [
            (b"{}".as_slice(), "Clear Key"),
            (b"<soap", "/playready"),
            (b"<\0s\0", "/playready"),
            (b"\0\0\0\x01", "/fairplay"),
            (b"CAESAjAx", "base64"),
            (b"\x08", "Protocol Buffers"),
            (b"\x08\x05", "type 5"),
            (b"\x12\x00", "no type"),
            (b"\x08\x01", "no licence request"),
            (b"\x08\x01\x12\x00", "which content"),
            (b"\x08\x01\x12\x02\x30\x31", "which content"),
            (&unknown, "type 9"),
            (&long, "more than 65536"),
        ] {
            let found = Challenge::read(body).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
        assert!(is_certificate_request(&[8, 4]) && !is_certificate_request(&[8, 4, 0]));
    }

    #[test]
    fn every_cut_of_a_challenge_is_refused_and_nothing_panics() {
        let all = WidevineData::of(&KIDS).to_bytes();
        let whole = signed(&cenc(&[&all], 1), 1);
        for end in 0..whole.len() {
            if let Ok(read) = Challenge::read(&whole[..end]) {
                // Only the signature, which is for the service, may be missing.
                assert_eq!(read.kids, KIDS, "{end}");
            }
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut other = whole.clone();
                other[at] ^= 1 << bit;
                let _ = Challenge::read(&other);
            }
        }
    }
}
