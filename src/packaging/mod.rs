//! Keys for packagers: who may ask, which keys, and in which form.
//!
//! | interface | file |
//! |---|---|
//! | SPEKE 1.0, 2.0, 2.1, and CPIX by GET | [`speke`], [`document`] |
//! | Widevine's key request, as shaka-packager sends it | [`common_encryption`] |
//! | PlayReady's `AcquirePackagingData` | [`packaging_data`] |
//!
//! Keys come from the sources that licences take them from, so the KID alone leads both to the same key: a record, else
//! what the seed derives.

mod audit;
mod caller;
pub mod common_encryption;
mod document;
mod keys;
pub mod packagers;
mod packaging_data;
mod signalling;
mod signature;
mod speke;

use std::cell::OnceCell;

pub use caller::Caller;
pub use document::{CPIX, DocumentRequest};
pub use packaging_data::PACKAGING_DATA;
pub use signalling::{KeyUrls, SKD_TEMPLATE, SkdTemplate};
pub use speke::{SPEKE, SpekeReply};

use audit::Audit;
use packagers::Packager;

use crate::configuration::{Configured, SettingsError};
use crate::content_key::store::PutError;
use crate::content_key::{KeyError, KeySources};
use crate::cpix::speke::Refusal;
use crate::error::Code;
use crate::id::Kid;
use crate::platform::{Platform, once};

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody may ask: there is neither an operator nor a packager.
    #[error("this server has neither `operator_token` nor `packagers`, so nobody may ask for keys")]
    Off,
    /// The request has no token of a packager.
    #[error("the request has neither the operator's token nor that of a packager")]
    Unauthenticated,
    /// The packager may not ask for this content.
    #[error("this packager may not ask for this content")]
    Content,
    /// The packager has its keys only encrypted for its own certificate.
    #[error("this packager gets keys only encrypted for one of its certificates")]
    Certificate,
    /// The document is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request is not of the documented shape.
    #[error("{0}")]
    Request(String),
    /// There is no key.
    #[error("there is no key for {0}: set `key_seed`, or store a record that has a KID")]
    NoKey(String),
    /// The key was deleted.
    #[error("the key for KID {0} was deleted")]
    Deleted(Kid),
    /// A record cannot be written.
    #[error(transparent)]
    Put(PutError),
    /// A source of keys does not answer.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The configuration does not load.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Off => Code::ROUTE_NOT_FOUND,
            Self::Unauthenticated => Code::PACKAGER_TOKEN,
            Self::Content => Code::CONTENT_NOT_ALLOWED,
            Self::Certificate => Code::CERTIFICATE_NOT_ALLOWED,
            Self::Refused(_) => Code::CPIX_REFUSED,
            Self::Request(_) => Code::REQUEST_MALFORMED,
            Self::NoKey(_) | Self::Deleted(_) => Code::KEY_NOT_FOUND,
            Self::Put(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::Settings(error) => error.code(),
        }
    }

    /// What a packager may read: nothing of the configuration.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Content
            | Self::Certificate
            | Self::Refused(_)
            | Self::Request(_)
            | Self::NoKey(_)
            | Self::Deleted(_) => Some(self.to_string()),
            Self::Off | Self::Unauthenticated | Self::Put(_) | Self::Key(_) | Self::Settings(_) => {
                None
            }
        }
    }
}

/// The settings of this room, each read on first use and kept for the life of the instance.
#[derive(Default)]
pub struct Packaging {
    packagers: OnceCell<Vec<Packager>>,
    skd_template: OnceCell<SkdTemplate>,
}

impl Packaging {
    /// Reads everything.
    ///
    /// # Errors
    /// What is wrong with `packagers` and `skd_template`.
    pub async fn check(&self, platform: &impl Platform) -> [Result<(), SettingsError>; 2] {
        let packagers = once(&self.packagers, packagers::load(platform)).await;
        let template = once(&self.skd_template, SkdTemplate::load(platform)).await;
        [packagers.map(drop), template.map(drop)]
    }
}

/// The key server for packagers, for one request.
pub struct PackagingServer<'s, P> {
    settings: &'s Packaging,
    platform: &'s Configured<P>,
    sources: &'s KeySources,
    request_id: &'s str,
}

impl<'s, P: Platform> PackagingServer<'s, P> {
    /// The server for one request.
    pub fn new(
        settings: &'s Packaging,
        platform: &'s Configured<P>,
        sources: &'s KeySources,
        request_id: &'s str,
    ) -> Self {
        Self {
            settings,
            platform,
            sources,
            request_id,
        }
    }

    async fn packagers(&self) -> Result<&'s [Packager], SettingsError> {
        let packagers = packagers::load(self.platform);
        Ok(once(&self.settings.packagers, packagers).await?)
    }

    async fn skd_template(&self) -> Result<&'s SkdTemplate, SettingsError> {
        once(
            &self.settings.skd_template,
            SkdTemplate::load(self.platform),
        )
        .await
    }

    /// Writes what was decided.
    fn audited<T>(&self, mut audit: Audit<'_>, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            audit.refused(error);
        }
        self.platform.log(&audit.line(self.platform));
        result
    }

    fn audit_of(&self, interface: &'static str) -> Audit<'s> {
        Audit::new(interface, self.platform.now(), self.request_id)
    }
}
