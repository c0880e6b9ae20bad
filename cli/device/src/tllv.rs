//! TLLV blocks as a device writes and reads them (specification section 4): the emulator's own code, so that
//! a fault in the server's cannot hide here.
//!
//! ```text
//! [8] tag | [4] block length | [4] value length | value | padding, random
//! ```

use anyhow::{Context, Result, ensure};
use keylet::fairplay::tag::Tag;
use rand_core::CryptoRng;

/// Appends a block of whole 16 bytes, with up to three more blocks of 16 as padding.
pub fn write(payload: &mut Vec<u8>, tag: Tag, value: &[u8], rng: &mut dyn CryptoRng) -> Result<()> {
    let more = usize::try_from(rng.next_u32() % 4)? * 16;
    let padded = value.len().div_ceil(16) * 16 + more;
    payload.extend(tag.0.to_be_bytes());
    payload.extend(u32::try_from(padded)?.to_be_bytes());
    payload.extend(u32::try_from(value.len())?.to_be_bytes());
    payload.extend(value);
    let mut padding = vec![0; padded - value.len()];
    rng.fill_bytes(&mut padding);
    payload.extend(padding);
    Ok(())
}

/// Reads the blocks of a payload, in order.
///
/// # Errors
/// A block that does not fit, a block that is not whole 16 bytes, and a tag that occurs twice.
pub fn read(payload: &[u8]) -> Result<Vec<(Tag, Vec<u8>)>> {
    let mut blocks: Vec<(Tag, Vec<u8>)> = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (header, after) = rest
            .split_first_chunk::<16>()
            .context("a TLLV header is cut off")?;
        let word = |from: usize| -> Result<usize> {
            let bytes: [u8; 4] = header[from..from + 4].try_into()?;
            Ok(usize::try_from(u32::from_be_bytes(bytes))?)
        };
        let (block, length) = (word(8)?, word(12)?);
        let tag = Tag(u64::from_be_bytes(header[..8].try_into()?));
        ensure!(
            block % 16 == 0,
            "the block of {tag:?} has {block} bytes, which is no multiple of 16"
        );
        ensure!(
            length <= block && block <= after.len(),
            "the block of {tag:?} does not fit"
        );
        ensure!(
            blocks.iter().all(|(other, _)| *other != tag),
            "{tag:?} occurs twice"
        );
        blocks.push((tag, after[..length].to_vec()));
        rest = &after[block..];
    }
    Ok(blocks)
}
