//! EME-OAEP (RFC 8017 section 7.1.2): what stands in a decrypted block.

use digest::Digest;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// The block has no OAEP padding of this hash and label. There is one answer for every cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no valid OAEP padding")]
pub struct InvalidPadding;

/// The message in a block, which is as long as the modulus. MGF1 uses the same hash `D`.
///
/// Every check is made, whichever of them fails, in a time that depends on the lengths of block and
/// label alone; only the length of a valid message shows (Manger's attack needs the causes apart).
///
/// # Errors
/// [`InvalidPadding`]
pub fn unpad<D: Digest>(block: &[u8], label: &[u8]) -> Result<Zeroizing<Vec<u8>>, InvalidPadding> {
    let length = <D as Digest>::output_size();
    // [1 byte: 0] [hash length: masked seed] [the rest: masked data block]
    let (first, masked) = block.split_first().ok_or(InvalidPadding)?;
    let (seed, data) = masked.split_at_checked(length).ok_or(InvalidPadding)?;
    let mut seed = Zeroizing::new(seed.to_vec());
    let mut data = Zeroizing::new(data.to_vec());
    mask::<D>(&mut seed, &data);
    mask::<D>(&mut data, &seed);

    // [hash length: hash of the label] [zeros] [1 byte: 1] [the message]
    let (hash, padded) = data.split_at_checked(length).ok_or(InvalidPadding)?;
    let mut valid = first.ct_eq(&0) & D::digest(label).as_slice().ct_eq(hash);
    let mut in_zeros = Choice::from(1);
    let mut start = 0_u32;
    for (position, byte) in (1..).zip(padded) {
        let ends = byte.ct_eq(&1);
        valid &= !in_zeros | ends | byte.ct_eq(&0);
        start.conditional_assign(&position, in_zeros & ends);
        in_zeros &= !ends;
    }
    valid &= !in_zeros;

    if !bool::from(valid) {
        return Err(InvalidPadding);
    }
    let start = usize::try_from(start).map_err(|_| InvalidPadding)?;
    let message = padded.get(start..).ok_or(InvalidPadding)?;
    Ok(Zeroizing::new(message.to_vec()))
}

/// Adds MGF1 of a seed (RFC 8017 appendix B.2.1).
fn mask<D: Digest>(data: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(data.chunks_mut(<D as Digest>::output_size())) {
        let mut mask = D::new()
            .chain_update(seed)
            .chain_update(counter.to_be_bytes())
            .finalize();
        for (byte, mask) in chunk.iter_mut().zip(mask.iter()) {
            *byte ^= mask;
        }
        zeroize::Zeroize::zeroize(mask.as_mut_slice());
    }
}
