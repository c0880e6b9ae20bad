//! The certificate of the licence service, for which players ask before anything else: with it they hide from onlookers
//! which device they are. It is the same for every player of a provider.

use std::cell::RefCell;

use base64::Engine;

use super::answer::Answer;
use super::config::Config;
use super::message::Message;
use crate::drm;
use crate::encoding::{self, BASE64};
use crate::error::Code;
use crate::platform::{Platform, origin};
use crate::upstream::{self, Cache, Document, Reason, Unavailable};

/// The request of a player.
const REQUEST: [u8; 2] = [0x08, 0x04];

/// What the store keeps of the certificate.
pub const FAMILIES: upstream::Families =
    upstream::families("widevine-certificate", "widevine-certificate-attempt");

/// How long it is kept, in seconds.
const LIFE: u64 = 6 * 60 * 60;

/// The certificate as it is kept, in base64.
pub fn cache(config: &Config) -> Cache<Vec<u8>> {
    let read = |text: &str| {
        let bytes = encoding::base64(text).map(|bytes| bytes.to_vec());
        bytes.ok_or_else(|| "it is not base64".to_owned())
    };
    Cache::new(
        &FAMILIES,
        &format!("{}#{}", config.url, config.provider),
        read,
    )
}

/// The answer to a player that asks for it.
///
/// # Errors
/// The service does not give it.
pub async fn get(
    config: &Config,
    cache: &Cache<Vec<u8>>,
    platform: &impl Platform,
) -> Result<Vec<u8>, drm::Error> {
    if let Some(certificate) = &config.certificate {
        return Ok(certificate.clone());
    }
    // Why the service does not give it: the cache keeps less of that.
    let failure = RefCell::new(None);
    let fetch = async || {
        let unavailable = |error: drm::Error| {
            let reason = Reason::NoAnswer(error.to_string());
            failure.replace(Some(error));
            Unavailable::at(&config.url.to_string(), reason)
        };
        let certificate = fetch(config, platform).await.map_err(unavailable)?;
        Ok(Document {
            text: BASE64.encode(certificate),
            max_age: LIFE,
            origin: origin(&config.url),
        })
    };
    let found = cache.get(fetch, platform, platform.now()).await;
    let (certificate, _) = found.map_err(|unavailable| {
        failure.take().unwrap_or_else(|| {
            drm::Error::hidden(Code::LICENSE_SERVICE_UNAVAILABLE, unavailable.to_string())
        })
    })?;
    Ok(certificate.to_vec())
}

async fn fetch(config: &Config, platform: &impl Platform) -> Result<Vec<u8>, drm::Error> {
    let request = Message::bare(&REQUEST, config).request(config);
    Answer::read(upstream::ask(&request, upstream::LIMIT, platform).await?)?.license()
}
