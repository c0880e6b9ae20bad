//! The operating system's random source.

use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};

/// A random source for key material. It panics when the operating system has none.
pub fn system() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// Random bytes of that source.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    system().fill_bytes(&mut bytes);
    bytes
}
