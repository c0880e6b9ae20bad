//! AES-128 as a device has it: by the `aes` and `cbc` crates, and not by the server's own code, so that a
//! fault in that cannot hide here.

use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{
    Block, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit,
};

/// AES-ECB encryption of one block.
pub fn ecb_encrypt(key: &[u8; 16], block: &[u8; 16]) -> [u8; 16] {
    let mut block: Block<Aes128> = (*block).into();
    Aes128::new(key.into()).encrypt_block(&mut block);
    block.into()
}

/// AES-CBC encryption in place.
///
/// # Panics
/// When the data is not whole blocks of 16 bytes: a device makes no other.
pub fn cbc_encrypt(key: &[u8; 16], iv: &[u8; 16], data: &mut [u8]) {
    let length = data.len();
    cbc::Encryptor::<Aes128>::new(key.into(), iv.into())
        .encrypt_padded::<NoPadding>(data, length)
        .expect("whole blocks");
}

/// AES-CBC decryption in place. Returns `false` when the data is not whole blocks of 16 bytes.
#[must_use]
pub fn cbc_decrypt(key: &[u8; 16], iv: &[u8; 16], data: &mut [u8]) -> bool {
    cbc::Decryptor::<Aes128>::new(key.into(), iv.into())
        .decrypt_padded::<NoPadding>(data)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38A, sections F.1.1 and F.2.1.
    #[test]
    fn published_vectors() {
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        let plain = 0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a_u128.to_be_bytes();
        let ecb = 0x3ad7_7bb4_0d7a_3660_a89e_caf3_2466_ef97_u128.to_be_bytes();
        assert_eq!(ecb_encrypt(&key, &plain), ecb);

        let iv = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f_u128.to_be_bytes();
        let cbc = 0x7649_abac_8119_b246_cee9_8e9b_12e9_197d_u128.to_be_bytes();
        let mut data = plain;
        cbc_encrypt(&key, &iv, &mut data);
        assert_eq!(data, cbc);
        assert!(cbc_decrypt(&key, &iv, &mut data));
        assert_eq!(data, plain);
        assert!(!cbc_decrypt(&key, &iv, &mut [0; 17]));
    }
}
