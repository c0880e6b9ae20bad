//! AES-128 as the protocol uses it, with keys that are secrets.

use crate::secret::Key128;

/// AES-ECB encryption of one block.
pub fn ecb_encrypt(key: &Key128, block: &[u8; 16]) -> [u8; 16] {
    keylet_aes128::ecb_encrypt(key.expose(), block)
}

/// AES-CBC decryption in place. Bytes after the last whole block stay as they are.
pub fn cbc_decrypt(key: &Key128, iv: &[u8; 16], data: &mut [u8]) {
    keylet_aes128::cbc_decrypt(key.expose(), iv, data);
}

/// AES-CBC encryption in place. Bytes after the last whole block stay as they are.
pub fn cbc_encrypt(key: &Key128, iv: &[u8; 16], data: &mut [u8]) {
    keylet_aes128::cbc_encrypt(key.expose(), iv, data);
}

/// Whether a message, in parts, has this CMAC (RFC 4493), the whole of it; in constant time.
pub fn cmac_verifies(key: &Key128, message: &[&[u8]], tag: &[u8]) -> bool {
    keylet_aes128::cmac_verifies(key.expose(), message, tag)
}
