//! PSSH boxes (ISO/IEC 23001-7 section 8.1), and what Widevine puts into its own.
//!
//! ```text
//! [4 bytes]  size of the box
//! [4 bytes]  "pssh"
//! [1 byte]   version: 0 or 1
//! [3 bytes]  flags: 0
//! [16 bytes] system id
//! [4 bytes]  number of KIDs, and each in [16 bytes]: in version 1 alone
//! [4 bytes]  size of the data
//! [n bytes]  data
//! ```
//!
//! Numbers are big-endian, and so are the fields of KIDs, for PlayReady too.
//!
//! ```
//! use keylet::cpix::{ProtectionSystem, PsshBox, Scheme, WidevineData, pssh_boxes, widevine_kids};
//! use keylet::id::Kid;
//!
//! let kids = [Kid::from_u128(42)];
//! let data = WidevineData { scheme: Some(Scheme::Cbcs), ..WidevineData::of(&kids) }.to_bytes();
//! let system_id = ProtectionSystem::Widevine.system_id();
//! let written = PsshBox { system_id, kids: Vec::new(), data: &data }.to_bytes();
//!
//! let read = pssh_boxes(&written)?;
//! assert_eq!(read[0].system_id, system_id);
//! assert_eq!(widevine_kids(read[0].data)?, kids);
//! # Ok::<(), keylet::cpix::PsshError>(())
//! ```

use super::{MAX_KEYS, Scheme};
use crate::id::Kid;
use crate::protobuf::{self, write_bytes, write_number};
use crate::reader::Reader;

const BOX_TYPE: &[u8; 4] = b"pssh";

/// A PSSH box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PsshBox<'a> {
    /// The system that it is for.
    pub system_id: Kid,
    /// The KIDs of a box of version 1. Without KIDs the version is 0.
    pub kids: Vec<Kid>,
    /// What the system itself has in it.
    pub data: &'a [u8],
}

impl PsshBox<'_> {
    /// The box.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut content = vec![u8::from(!self.kids.is_empty()), 0, 0, 0];
        content.extend(self.system_id.as_bytes());
        if !self.kids.is_empty() {
            content.extend(size(self.kids.len()));
            content.extend(self.kids.iter().flat_map(Kid::as_bytes));
        }
        content.extend(size(self.data.len()));
        content.extend(self.data);

        let header = size(content.len().saturating_add(8));
        [header.as_slice(), BOX_TYPE, &content].concat()
    }
}

/// Reads boxes that stand one behind the other, as in the initialisation data of players.
///
/// # Errors
/// [`PsshError`], for anything that is not a whole PSSH box of version 0 or 1.
pub fn pssh_boxes(bytes: &[u8]) -> Result<Vec<PsshBox<'_>>, PsshError> {
    let mut cursor = Cursor::new(bytes, bytes.len());
    let mut boxes = Vec::new();
    while !cursor.is_empty() {
        boxes.push(read_box(&mut cursor)?);
    }
    Ok(boxes)
}

fn read_box<'a>(cursor: &mut Cursor<'a>) -> Result<PsshBox<'a>, PsshError> {
    let too_small = cursor.error(PsshErrorKind::Size);
    let size = cursor.take(PsshErrorKind::Truncated, Reader::u32)?;
    let size = usize::try_from(size)
        .ok()
        .and_then(|size| size.checked_sub(4));
    let size = size.ok_or(too_small)?;
    let fields = cursor.take(PsshErrorKind::Truncated, |reader| reader.bytes(size))?;
    let mut fields = Cursor::new(fields, cursor.offset());

    let other_type = fields.error(PsshErrorKind::Type);
    if fields.take(PsshErrorKind::Size, Reader::array)? != BOX_TYPE {
        return Err(other_type);
    }
    let other_version = fields.error(PsshErrorKind::Version);
    let [version, _flags @ ..] = *fields.take(PsshErrorKind::Size, Reader::array::<4>)?;
    if version > 1 {
        return Err(other_version);
    }
    let system_id = Kid::from_bytes(*fields.take(PsshErrorKind::Size, Reader::array)?);
    let mut kids = Vec::new();
    if version == 1 {
        for _ in 0..fields.take(PsshErrorKind::Size, Reader::u32)? {
            if kids.len() >= MAX_KEYS {
                return Err(fields.error(PsshErrorKind::TooManyKids));
            }
            let kid = fields.take(PsshErrorKind::Size, Reader::array)?;
            kids.push(Kid::from_bytes(*kid));
        }
    }
    let other_size = fields.error(PsshErrorKind::Size);
    let size = fields.take(PsshErrorKind::Size, Reader::u32)?;
    let data = fields.reader.0;
    if usize::try_from(size) != Ok(data.len()) {
        return Err(other_size);
    }
    Ok(PsshBox {
        system_id,
        kids,
        data,
    })
}

/// What Widevine has in a PSSH box: the message `WidevinePsshData` in Protocol Buffers, as shaka-packager declares it.
#[derive(Debug, Clone, Copy)]
pub struct WidevineData<'a> {
    /// The KIDs.
    pub kids: &'a [Kid],
    /// Whose content it is. Players do not need it.
    pub provider: Option<&'a str>,
    /// The id of the content. Players do not need it.
    pub content_id: Option<&'a [u8]>,
    /// The scheme. Widevine takes `cenc` without one.
    pub scheme: Option<Scheme>,
}

/// Fields of `WidevinePsshData`, by their number.
mod field {
    pub const KEY_ID: u64 = 2;
    pub const PROVIDER: u64 = 3;
    pub const CONTENT_ID: u64 = 4;
    pub const PROTECTION_SCHEME: u64 = 9;
}

impl<'a> WidevineData<'a> {
    /// Data with these KIDs alone.
    pub fn of(kids: &'a [Kid]) -> Self {
        Self {
            kids,
            provider: None,
            content_id: None,
            scheme: None,
        }
    }

    /// The message, its fields by number.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut message = Vec::new();
        for kid in self.kids {
            write_bytes(&mut message, field::KEY_ID, kid.as_bytes());
        }
        if let Some(provider) = self.provider {
            write_bytes(&mut message, field::PROVIDER, provider.as_bytes());
        }
        if let Some(content_id) = self.content_id {
            write_bytes(&mut message, field::CONTENT_ID, content_id);
        }
        if let Some(scheme) = self.scheme {
            write_number(
                &mut message,
                field::PROTECTION_SCHEME,
                scheme.fourcc().into(),
            );
        }
        message
    }
}

/// The KIDs in what Widevine has in a PSSH box. Fields that are not known are passed over, those of old too (an
/// algorithm, a track type, a policy). There may be no KID: old data has a content id alone.
///
/// # Errors
/// [`PsshError`], with the offset in `data`.
pub fn widevine_kids(data: &[u8]) -> Result<Vec<Kid>, PsshError> {
    widevine_data(data).map(|(kids, _)| kids)
}

/// The KIDs, and the id of the content where the data has one.
///
/// # Errors
/// As [`widevine_kids`].
pub fn widevine_data(data: &[u8]) -> Result<(Vec<Kid>, Option<&[u8]>), PsshError> {
    let mut cursor = Cursor::new(data, data.len());
    let (mut kids, mut content_id) = (Vec::new(), None);
    while !cursor.is_empty() {
        let other_type = cursor.error(PsshErrorKind::Field);
        let other_size = cursor.error(PsshErrorKind::KidSize);
        let (number, value) = cursor.take(PsshErrorKind::Truncated, protobuf::field)?;
        let value = value.ok_or(other_type)?;
        match number {
            field::KEY_ID if kids.len() >= MAX_KEYS => {
                return Err(cursor.error(PsshErrorKind::TooManyKids));
            }
            field::KEY_ID => {
                let kid = value.bytes().and_then(|kid| kid.try_into().ok());
                kids.push(Kid::from_bytes(kid.ok_or(other_size)?));
            }
            field::CONTENT_ID => content_id = value.bytes(),
            _ => {}
        }
    }
    Ok((kids, content_id))
}

/// A reader that knows where it is.
struct Cursor<'a> {
    reader: Reader<'a>,
    /// The offset behind its last byte.
    end: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8], end: usize) -> Self {
        let reader = Reader(bytes);
        Self { reader, end }
    }

    fn is_empty(&self) -> bool {
        self.reader.0.is_empty()
    }

    fn offset(&self) -> usize {
        self.end.saturating_sub(self.reader.0.len())
    }

    fn error(&self, kind: PsshErrorKind) -> PsshError {
        let offset = self.offset();
        PsshError { kind, offset }
    }

    /// Takes a field. Where there is none, the error has the offset at which it would begin.
    fn take<T>(
        &mut self,
        missing: PsshErrorKind,
        field: impl FnOnce(&mut Reader<'a>) -> Option<T>,
    ) -> Result<T, PsshError> {
        let missing = self.error(missing);
        field(&mut self.reader).ok_or(missing)
    }
}

/// A number of bytes or KIDs. Nothing that is written here comes near to 4 GiB: it always fits.
fn size(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}

/// Why PSSH boxes, or the data of one, are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {kind}")]
pub struct PsshError {
    /// What is wrong.
    pub kind: PsshErrorKind,
    /// Where, in bytes from the front.
    pub offset: usize,
}

/// What is wrong with a PSSH box or its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PsshErrorKind {
    /// It ends too early.
    #[error("it ends too early")]
    Truncated,
    /// The box has a size that its fields do not have.
    #[error("the size of the box is not that of its fields")]
    Size,
    /// A box of another type.
    #[error("the box is not a PSSH box")]
    Type,
    /// A version above 1.
    #[error("the version of the box is neither 0 nor 1")]
    Version,
    /// A KID in Widevine data that is not 16 bytes.
    #[error("the KID is not 16 bytes")]
    KidSize,
    /// More than [`MAX_KEYS`] KIDs.
    #[error("it has more than {MAX_KEYS} KIDs")]
    TooManyKids,
    /// A field of a wire type that Widevine data does not have.
    #[error("it is not a field of Protocol Buffers that can be read")]
    Field,
}
