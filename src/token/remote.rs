//! Keys that an issuer publishes: a JWKS by URL, or by `OpenID` discovery.

use http::{Request, StatusCode};

use crate::encoding;
use crate::platform::Platform;
use crate::token::Error;
use crate::token::jwt::UntrustedToken;
use crate::token::keys::VerificationKeys;
use crate::upstream::{Cache, Document, Unavailable, is_safe, may_lead_to};

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

    fn url(&self) -> &str {
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
            let keys = VerificationKeys::from_published(text.as_bytes()).ok()?;
            (!keys.is_empty()).then_some(keys)
        };
        Self {
            cache: Cache::new("jwks", location.url(), read),
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
        token: &UntrustedToken<'_>,
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
        token: &UntrustedToken<'_>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<(usize, Option<String>), Error> {
        self.verify(token, platform, now).await?;
        let fetch = async || self.fetch(platform).await;
        let (keys, _) = self.cache.get(&fetch, platform, now).await?;
        let (index, kid) = keys.signer(token)?;
        Ok((index, kid.map(ToOwned::to_owned)))
    }

    async fn fetch(&self, platform: &impl Platform) -> Option<Document> {
        match &self.location {
            Location::Jwks(url) => get(platform, url).await,
            Location::Discovery(url) => {
                let document = get(platform, url).await?;
                let document = encoding::json_object(document.text.as_bytes()).ok()?;
                let keys = document.get("jwks_uri")?.as_str()?;
                if !may_lead_to(url, keys) {
                    return None;
                }
                get(platform, keys).await
            }
        }
    }
}

impl From<Unavailable> for Error {
    fn from(Unavailable: Unavailable) -> Self {
        Self::KeysUnavailable
    }
}

async fn get(platform: &impl Platform, url: &str) -> Option<Document> {
    let request = Request::get(url).header("accept", "application/json");
    let request = request.body(Vec::new()).ok().filter(|_| is_safe(url))?;
    let response = platform.send(request).await.ok()?;
    let is_found = response.status() == StatusCode::OK;
    Document::from_response(response).filter(|_| is_found)
}
