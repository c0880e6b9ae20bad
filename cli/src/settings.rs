//! The licence server's library in this process, for commands that need its settings and no host.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, Request, Response};
use keylet::configuration::{SettingError, settings};
use keylet::platform::{self, Error, MAX_ANSWER, Platform, Timeout, origin};
use rand_core::Rng;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::random;
use keylet_host::{Provided, Store, TooLarge, fetch};

/// A platform that has variables, fetches what others publish, and has nothing else.
pub struct Settings(pub Provided);

/// The variables that one may hold, where it is set; otherwise the same.
///
/// # Errors
/// What is wrong with that one.
pub fn expanded(variables: Provided) -> Result<Provided, SettingError> {
    match variables
        .get(settings::VARIABLE)
        .cloned()
        .and_then(|text| platform::value(settings::VARIABLE, text))
    {
        None => Ok(variables),
        Some(text) => {
            let held = settings::read(&text)?;
            Ok(held
                .into_iter()
                .map(|(name, value)| (name, value.to_string()))
                .collect())
        }
    }
}

impl Settings {
    /// Whether Widevine's licences come from this URL.
    fn is_license_service(&self, url: &str) -> bool {
        let setting = self.0.get(keylet::widevine::VARIABLE);
        let setting = setting.and_then(|text| serde_json::from_str::<Value>(text).ok());
        setting.is_some_and(|setting| setting["url"] == url)
    }
}

impl Platform for Settings {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let text = self.0.get(name).cloned();
        Ok(text.and_then(|text| platform::value(name, text)))
    }

    fn now(&self) -> u64 {
        platform::system_time()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        random::system().fill_bytes(buffer);
    }

    /// Commands print what they were asked for, and nothing beside it.
    fn log(&self, _line: &str) {}

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

    async fn sleep(&self, duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }

    /// A document is fetched once in a run, however many checks need it.
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        let origin = origin(request.uri());
        let url = request.uri().to_string();
        // A back end may do something about a question. A licence service does not, and is asked only where the user says so.
        if request.method() != Method::GET && !self.is_license_service(&url) {
            return Err(Error::OutboundDenied(origin));
        }
        if let Some(known) = lock(&FETCHED).get(&url) {
            return known.clone();
        }
        let longest = Timeout::from_request(&request);
        let answer = match tokio::time::timeout(longest, fetch(request, MAX_ANSWER)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is::<TooLarge>() => Err(Error::OutboundTooLarge(origin)),
            Ok(Err(error)) => Err(failed(origin, format!("{error:#}"))),
            Err(_) => Err(failed(origin, "it takes too long".to_owned())),
        };
        lock(&FETCHED).insert(url, answer.clone());
        answer
    }
}

/// The same, and a key-value store.
pub struct WithStore {
    /// What it has beside the store.
    pub settings: Settings,
    /// The store of the embedded host.
    pub store: Store,
}

impl Platform for WithStore {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        self.settings.variable(name).await
    }

    fn now(&self) -> u64 {
        self.settings.now()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.settings.fill_random(buffer);
    }

    fn log(&self, line: &str) {
        self.settings.log(line);
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(key).await.map_err(store_failed)
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.store
            .set(key, value.to_vec())
            .await
            .map_err(store_failed)
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.store.delete(key).await.map_err(store_failed)
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.store.keys().await.map_err(store_failed)
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.store.increment(key, delta).await.map_err(store_failed)
    }

    async fn sleep(&self, duration: std::time::Duration) {
        self.settings.sleep(duration).await;
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        self.settings.send(request).await
    }
}

fn store_failed(error: anyhow::Error) -> Error {
    Error::Store(format!("{error:#}"))
}

/// What was fetched in this run, by URL. A command reads the settings several times, and its checks would each ask
/// anew: there is no store here that keeps an answer.
static FETCHED: Mutex<BTreeMap<String, Answer>> = Mutex::new(BTreeMap::new());

type Answer = Result<Response<Vec<u8>>, Error>;

fn lock(fetched: &Mutex<BTreeMap<String, Answer>>) -> MutexGuard<'_, BTreeMap<String, Answer>> {
    fetched.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(authority: String, reason: String) -> Error {
    Error::Outbound { authority, reason }
}
