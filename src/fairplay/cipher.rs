//! AES-128 as the protocol uses it: whole blocks, no padding scheme.

use aes::Aes128;
use aes::cipher::{
    Array, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit,
};

use crate::secret::Key128;

/// AES-ECB encryption of one block.
pub fn ecb_encrypt(key: &Key128, block: &[u8; 16]) -> [u8; 16] {
    let mut block = (*block).into();
    Aes128::new(key.expose().into()).encrypt_block(&mut block);
    block.into()
}

/// AES-CBC decryption in place. Bytes after the last whole block stay as they are.
pub fn cbc_decrypt(key: &Key128, iv: &[u8; 16], data: &mut [u8]) {
    let (blocks, _) = data.as_chunks_mut::<16>();
    cbc::Decryptor::<Aes128>::new(key.expose().into(), iv.into())
        .decrypt_blocks(Array::cast_slice_from_core_mut(blocks));
}

/// AES-CBC encryption in place. Bytes after the last whole block stay as they are.
pub fn cbc_encrypt(key: &Key128, iv: &[u8; 16], data: &mut [u8]) {
    let (blocks, _) = data.as_chunks_mut::<16>();
    cbc::Encryptor::<Aes128>::new(key.expose().into(), iv.into())
        .encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
}
