//! What component crates share: a platform on WASI, of which only the variables differ between
//! hosts. No SDK is known here.

use std::future::Future;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::platform::{Error, Platform};

/// Where a host keeps its variables.
pub trait Variables {
    /// The value of a variable; `None` when it is undefined. An empty one is taken for that too.
    ///
    /// # Errors
    /// [`Error::Variables`] when the store does not answer.
    fn variable(&self, name: &str) -> impl Future<Output = Result<Option<String>, Error>>;
}

/// A WASI host and its variables.
pub struct Wasi<V>(pub V);

impl<V: Variables> Platform for Wasi<V> {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let value = self.0.variable(name).await?.map(Zeroizing::new);
        Ok(value.filter(|value| !value.is_empty()))
    }

    fn now(&self) -> u64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    #[expect(
        clippy::expect_used,
        reason = "WASI's random source cannot fail; without one no licence may be made"
    )]
    fn fill_random(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the host has a random source");
    }

    fn log(&self, line: &str) {
        println!("{line}");
    }
}
