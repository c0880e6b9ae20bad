//! TLLV blocks: tag, block length, value length, value, padding (specification section 4).
//!
//! ```text
//! [8 bytes] tag
//! [4 bytes] block length B: value and padding
//! [4 bytes] value length V, at most B
//! [V bytes] value
//! [B - V bytes] padding, random
//! ```

use std::ops::Range;

use rand_core::CryptoRng;

use crate::fairplay::error::Error;
use crate::fairplay::tag::{self, Tag};
use crate::reader::Reader;

/// Size of tag, block length and value length.
const HEADER: usize = 16;

/// One block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tllv<'a> {
    /// The tag.
    pub tag: Tag,
    /// The value, without padding.
    pub value: &'a [u8],
    /// Where the block starts in the payload, in bytes.
    pub offset: usize,
}

/// A payload and its blocks, in order, no tag twice.
pub struct Tllvs {
    payload: Vec<u8>,
    blocks: Vec<Block>,
}

/// Where a block stands in the payload.
struct Block {
    tag: Tag,
    offset: usize,
    value: Range<usize>,
}

impl Tllvs {
    /// Walks a payload. Blocks are contiguous and there is no alignment to enforce.
    ///
    /// # Errors
    /// [`Error::Tllv`] for a block that does not fit, [`Error::DuplicateTag`] for any tag that
    /// occurs twice, known or not.
    pub fn parse(payload: Vec<u8>) -> Result<Self, Error> {
        let mut blocks: Vec<Block> = Vec::with_capacity(32);
        let mut reader = Reader(&payload);
        while !reader.0.is_empty() {
            let offset = payload.len() - reader.0.len();
            blocks.push(Block::read(&mut reader, offset).ok_or(Error::Tllv { offset })?);
        }
        let tags = blocks.iter().map(|block| block.tag).collect();
        if let Some(tag) = tag::repeated(tags) {
            let mut of_tag = blocks.iter().filter(|block| block.tag == tag);
            let offset = of_tag.nth(1).map_or(0, |second| second.offset);
            return Err(Error::DuplicateTag { tag, offset });
        }
        Ok(Self { payload, blocks })
    }

    /// The blocks in order.
    pub fn iter(&self) -> impl Iterator<Item = Tllv<'_>> {
        self.blocks.iter().map(|block| Tllv {
            tag: block.tag,
            value: self.payload.get(block.value.clone()).unwrap_or_default(),
            offset: block.offset,
        })
    }

    /// The block with this tag.
    pub fn find(&self, tag: Tag) -> Option<Tllv<'_>> {
        self.iter().find(|block| block.tag == tag)
    }

    /// The block with this tag.
    ///
    /// # Errors
    /// [`Error::MissingTag`] when it is absent.
    pub fn require(&self, tag: Tag) -> Result<Tllv<'_>, Error> {
        self.find(tag).ok_or(Error::MissingTag(tag))
    }
}

impl Block {
    fn read(reader: &mut Reader<'_>, offset: usize) -> Option<Self> {
        let tag = Tag(reader.u64()?);
        let block_length = usize::try_from(reader.u32()?).ok()?;
        let value_length = usize::try_from(reader.u32()?).ok()?;
        reader.bytes(block_length)?.get(..value_length)?;
        let value = offset + HEADER..offset + HEADER + value_length;
        Some(Self { tag, offset, value })
    }
}

impl<'a> Tllv<'a> {
    /// The value as exactly `N` bytes.
    ///
    /// # Errors
    /// [`Error::ValueSize`] with `status`.
    pub fn exactly<const N: usize>(&self, status: i32) -> Result<&'a [u8; N], Error> {
        self.value.try_into().map_err(|_| self.wrong_size(status))
    }

    /// The error for a value of the wrong size.
    pub fn wrong_size(&self, status: i32) -> Error {
        Error::ValueSize {
            tag: self.tag,
            offset: self.offset,
            actual: self.value.len(),
            status,
        }
    }

    /// The error for a value that makes no sense.
    pub fn invalid(&self, status: i32) -> Error {
        Error::Value {
            tag: self.tag,
            offset: self.offset,
            status,
        }
    }
}

/// Appends a block whose length is a multiple of 16, with random padding and up to three further
/// random blocks of 16.
///
/// Values are at most 64 KiB here: their length always fits.
pub fn write(payload: &mut Vec<u8>, tag: Tag, value: &[u8], rng: &mut dyn CryptoRng) {
    let extra = usize::try_from(rng.next_u32() % 4).unwrap_or(0) * 16;
    let block_length = value.len().next_multiple_of(16) + extra;
    payload.extend(tag.0.to_be_bytes());
    payload.extend(
        u32::try_from(block_length)
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    payload.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    payload.extend(value);
    let padding = payload.len();
    payload.resize(padding + block_length - value.len(), 0);
    if let Some(padding) = payload.get_mut(padding..) {
        rng.fill_bytes(padding);
    }
}
