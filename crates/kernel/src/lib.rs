#![doc = include_str!("../README.md")]
// Attackers supply the input of all of this: nothing may panic, and nothing may be cut short.
#![cfg_attr(
    not(test),
    warn(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod arithmetic;
mod blinding;
mod kernel;
mod key;
mod lanes;
mod limbs;
mod montgomery;
pub mod oaep;
pub mod p256;
mod private;
mod public;
mod simd;
mod words;

pub use kernel::Kernel;
pub use key::{CrtParts, DecryptError, Decrypted, KeyError, OutOfRange, PrivateKey, PublicKey};
