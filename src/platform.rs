//! The one trait behind which the host stands.

use std::convert::Infallible;
use std::future::Future;

use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

/// The host did not provide what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The variable store failed. Holds the variable's name, never its value.
    #[error("the variable store did not answer for {variable}")]
    Variables {
        /// Name of the variable.
        variable: String,
    },
}

/// What the host provides.
pub trait Platform {
    /// The value of a variable. `None` when it is undefined or empty: empty equals unset.
    ///
    /// # Errors
    /// [`Error::Variables`] when the store does not answer.
    fn variable(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Zeroizing<String>>, Error>>;

    /// Seconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> u64;

    /// Fills `buffer` from the host's cryptographic random source.
    fn fill_random(&self, buffer: &mut [u8]);

    /// Writes one line to the host's log: the audit trail.
    fn log(&self, line: &str);
}

/// A platform's random source in the shape that cryptographic code takes.
pub struct Random<'a, P: Platform>(pub &'a P);

impl<P: Platform> TryRng for Random<'_, P> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill_random(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill_random(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_random(buffer);
        Ok(())
    }
}

impl<P: Platform> TryCryptoRng for Random<'_, P> {}
