//! Keys that an issuer publishes: a JWKS by URL, or by `OpenID` discovery.

use serde_json::Value;

use crate::encoding;
use crate::platform::Platform;
use crate::token::Error;
use crate::token::keys::{PassedOver, Signed, VerificationKeys};
use crate::upstream::{
    self, Cache, Document, Failure, Reason, Unavailable, is_safe, may_lead_to, origin_of,
};

/// What the store keeps of published keys.
pub const FAMILIES: upstream::Families = upstream::families("jwks", "jwks-attempt");

/// Where keys are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A JWKS.
    Jwks(String),
    /// An `OpenID` provider's configuration (`OpenID` Connect Discovery 1.0 section 4), whose `jwks_uri`
    /// is the JWKS.
    Discovery(String),
}

impl Location {
    /// A URL: `https`, or `http` on this machine. One that ends like the document of `OpenID` discovery
    /// counts as that document.
    pub fn from_url(url: &str) -> Option<Self> {
        let url = url.trim();
        is_safe(url).then(|| {
            if url.contains("/.well-known/") && !url.contains("jwks") {
                Self::Discovery(url.to_owned())
            } else {
                Self::Jwks(url.to_owned())
            }
        })
    }

    /// Whether [`is_safe`] holds for its URL.
    pub fn is_safe(&self) -> bool {
        is_safe(self.url())
    }

    /// Its URL, which may hold a secret.
    pub fn url(&self) -> &str {
        match self {
            Self::Jwks(url) | Self::Discovery(url) => url,
        }
    }
}

/// The keys at a location, as this instance has them.
pub struct RemoteKeys {
    location: Location,
    cache: Cache<VerificationKeys>,
}

impl RemoteKeys {
    /// Nothing is fetched yet.
    pub fn new(location: Location) -> Self {
        let read = |text: &str| {
            let keys = VerificationKeys::from_published(text.as_bytes());
            keys.map_err(|error| error.to_string())
        };
        Self {
            cache: Cache::new(&FAMILIES, location.url(), read),
            location,
        }
    }

    /// Verifies a token with the known keys. When none of them has its key id, fetches the published keys
    /// and tries again.
    ///
    /// # Errors
    /// As [`VerificationKeys::verify`]; [`Error::KeysUnavailable`] when no keys are available.
    pub async fn verify(
        &self,
        token: &impl Signed,
        platform: &impl Platform,
        now: u64,
    ) -> Result<(), Error> {
        let fetch = async || self.fetch(platform).await;
        let (keys, is_fetched) = self.cache.get(&fetch, platform, now).await?;
        match keys.verify(token) {
            // There is nothing newer. On a host without a store, each request comes here.
            Err(Error::KeyUnknown) if !is_fetched => {}
            result => return result,
        }
        // Another instance may have fetched them since.
        if let Some(keys) = self.cache.newer(platform).await {
            match keys.verify(token) {
                Err(Error::KeyUnknown) => {}
                result => return result,
            }
        }
        match self.cache.again(&fetch, platform, now).await? {
            Some(keys) => keys.verify(token),
            None => Err(Error::KeyUnknown),
        }
    }

    /// Which published key verifies a token: its index, and its `kid`.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn signer(
        &self,
        token: &impl Signed,
        platform: &impl Platform,
        now: u64,
    ) -> Result<(usize, Option<String>), Error> {
        self.verify(token, platform, now).await?;
        let fetch = async || self.fetch(platform).await;
        let (keys, _) = self.cache.get(&fetch, platform, now).await?;
        let (index, kid) = keys.signer(token)?;
        Ok((index, kid.map(ToOwned::to_owned)))
    }

    /// The published keys that verify nothing here. Empty where no keys are available.
    pub async fn passed_over(&self, platform: &impl Platform, now: u64) -> Vec<PassedOver> {
        let fetch = async || self.fetch(platform).await;
        match self.cache.get(&fetch, platform, now).await {
            Ok((keys, _)) => keys.passed_over().to_vec(),
            Err(_) => Vec::new(),
        }
    }

    /// Where they are published.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Why the last attempt to fetch them failed; see [`Cache::failure`].
    pub async fn failure(
        &self,
        is_asked: bool,
        platform: &impl Platform,
        now: u64,
    ) -> Option<Failure> {
        let fetch = async || self.fetch(platform).await;
        self.cache.failure(is_asked, fetch, platform, now).await
    }

    async fn fetch(&self, platform: &impl Platform) -> Result<Document, Unavailable> {
        match &self.location {
            Location::Jwks(url) => Document::fetch(url, platform).await,
            Location::Discovery(url) => {
                let document = Document::fetch(url, platform).await?;
                match jwks_uri(url, &document.text) {
                    Ok(Some(keys)) => Document::fetch(&keys, platform).await,
                    Ok(None) => Ok(document),
                    Err(reason) => Err(Unavailable::at(url, reason)),
                }
            }
        }
    }
}

/// Where the document of `OpenID` discovery at a URL says that the keys are. `None` where the document is the keys:
/// their URL may look like one of discovery.
fn jwks_uri(url: &str, document: &str) -> Result<Option<String>, Reason> {
    let not_read = |what: String| Reason::Document(what);
    let document = encoding::json_object(document.as_bytes())
        .map_err(|error| not_read(format!("it is no document of OpenID discovery: {error}")))?;
    match document.get("jwks_uri") {
        Some(Value::String(keys)) if may_lead_to(url, keys) => Ok(Some(keys.clone())),
        Some(Value::String(keys)) => Err(Reason::LeadsElsewhere(origin_of(keys))),
        Some(_) => Err(not_read("its `jwks_uri` is not text".to_owned())),
        None if document.contains_key("keys") => Ok(None),
        None => Err(not_read(
            "it has no `jwks_uri`, so it is no document of OpenID discovery, and no `keys` either"
                .to_owned(),
        )),
    }
}

impl From<Unavailable> for Error {
    fn from(why: Unavailable) -> Self {
        Self::KeysUnavailable(Box::new(why))
    }
}
