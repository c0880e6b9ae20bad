//! The licence server's library in this process, for commands that need its settings and no host.

use keylet::platform::{self, Error, Platform};
use rand_core::Rng;
use zeroize::Zeroizing;

use crate::host::Provided;
use crate::random;

/// A platform that has variables and nothing else.
pub struct Settings(pub Provided);

impl Platform for Settings {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let value = self.0.get(name).filter(|value| !value.is_empty());
        Ok(value.cloned().map(Zeroizing::new))
    }

    fn now(&self) -> u64 {
        platform::system_time()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        random::system().fill_bytes(buffer);
    }

    fn log(&self, line: &str) {
        println!("{line}");
    }

    async fn get(&self, _key: &str) -> Result<Option<Vec<u8>>, Error> {
        Err(Error::StoreUnsupported)
    }

    async fn set(&self, _key: &str, _value: &[u8]) -> Result<(), Error> {
        Err(Error::StoreUnsupported)
    }

    async fn delete(&self, _key: &str) -> Result<(), Error> {
        Err(Error::StoreUnsupported)
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        Err(Error::StoreUnsupported)
    }

    async fn increment(&self, _key: &str, _delta: i64) -> Result<i64, Error> {
        Err(Error::StoreUnsupported)
    }

    async fn send(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, Error> {
        Err(Error::OutboundDenied(request.uri().to_string()))
    }
}
