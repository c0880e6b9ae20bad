//! \[SK..R1\]: the session key, the device and R1 (specification section 6).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::fairplay::cipher;
use crate::fairplay::error::Error;
use crate::secret::{Key128, Secret};

/// Size of the TLLV value: IV (16) ‖ ciphertext (96).
pub const LENGTH: usize = 112;

/// The decrypted and verified \[SK..R1\].
pub struct SessionKeyR1 {
    /// Session key (SK): wraps the content key.
    pub sk: Key128,
    /// Anonymised device identifier (HU), stable for one device and provider.
    pub hu: Secret<20>,
    /// Random value (R1) that the CKC carries back.
    pub r1: Secret<44>,
}

impl SessionKeyR1 {
    /// Decrypts the TLLV value and compares its integrity value with the one of the SPC.
    ///
    /// ```text
    /// [16 bytes] IV
    /// [96 bytes] AES-128-CBC(DASk, IV) of
    ///            [16 bytes] SK
    ///            [20 bytes] HU
    ///            [44 bytes] R1
    ///            [16 bytes] integrity
    /// ```
    ///
    /// # Errors
    /// [`Error::Integrity`] when they differ, which is also what a wrong DASk leads to. The
    /// comparison takes the same time wherever they differ.
    pub fn open(value: &[u8; LENGTH], integrity: &[u8; 16], dask: &Key128) -> Result<Self, Error> {
        let (iv, ciphertext) = value.split_first_chunk::<16>().ok_or(Error::Integrity)?;
        let mut plaintext = Zeroizing::new([0; LENGTH - 16]);
        plaintext.copy_from_slice(ciphertext);
        cipher::cbc_decrypt(dask, iv, &mut *plaintext);

        let (sk, rest) = plaintext
            .split_first_chunk::<16>()
            .ok_or(Error::Integrity)?;
        let (hu, rest) = rest.split_first_chunk::<20>().ok_or(Error::Integrity)?;
        let (r1, claimed) = rest.split_first_chunk::<44>().ok_or(Error::Integrity)?;
        if !bool::from(claimed.ct_eq(integrity)) {
            return Err(Error::Integrity);
        }
        Ok(Self {
            sk: (*sk).into(),
            hu: (*hu).into(),
            r1: (*r1).into(),
        })
    }
}
