//! The modes that FairPlay uses: whole blocks, no padding scheme.

// A machine has instructions for AES, which the `aes` crate knows; WebAssembly has none.
#[cfg(not(target_family = "wasm"))]
use aes::Aes128;
use cipher::{Array, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit};
use cmac::{Cmac, Mac};

#[cfg(target_family = "wasm")]
use crate::Aes128;

/// AES-ECB encryption of one block.
pub fn ecb_encrypt(key: &[u8; 16], block: &[u8; 16]) -> [u8; 16] {
    let mut block = (*block).into();
    Aes128::new(key.into()).encrypt_block(&mut block);
    block.into()
}

/// AES-CBC decryption in place. Bytes after the last whole block stay as they are.
pub fn cbc_decrypt(key: &[u8; 16], iv: &[u8; 16], data: &mut [u8]) {
    let (blocks, _) = data.as_chunks_mut::<16>();
    cbc::Decryptor::<Aes128>::new(key.into(), iv.into())
        .decrypt_blocks(Array::cast_slice_from_core_mut(blocks));
}

/// AES-CBC encryption in place. Bytes after the last whole block stay as they are.
pub fn cbc_encrypt(key: &[u8; 16], iv: &[u8; 16], data: &mut [u8]) {
    let (blocks, _) = data.as_chunks_mut::<16>();
    cbc::Encryptor::<Aes128>::new(key.into(), iv.into())
        .encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
}

/// Whether a message, in parts, has this CMAC (RFC 4493), the whole of it; in constant time.
pub fn cmac_verifies(key: &[u8; 16], message: &[&[u8]], tag: &[u8]) -> bool {
    let mut mac = Cmac::<Aes128>::new(key.into());
    message.iter().for_each(|part| mac.update(part));
    mac.verify_slice(tag).is_ok()
}
