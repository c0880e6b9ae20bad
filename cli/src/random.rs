//! The operating system's random source.

use getrandom::SysRng;
use rand_core::UnwrapErr;

/// A random source for key material. It panics when the operating system has none.
pub fn system() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
