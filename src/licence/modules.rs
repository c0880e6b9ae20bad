//! The DRM systems of a server: one field and one arm for each.

use crate::configuration::SettingsError;
use crate::drm::{DrmSystem, Module};
use crate::entitlement::Terms;
use crate::fairplay::FairPlay;
use crate::platform::Platform;

/// The modules. Each reads its own settings on first use.
#[derive(Default)]
pub struct Modules {
    /// FairPlay.
    pub fairplay: FairPlay,
}

impl Modules {
    /// The terms that the deployment has for every licence of a system; `None` for a system that has no
    /// module.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub async fn terms(
        &self,
        system: DrmSystem,
        platform: &impl Platform,
    ) -> Result<Option<&Terms>, SettingsError> {
        match system {
            FairPlay::SYSTEM => self.fairplay.terms(platform).await.map(Some),
            DrmSystem::Widevine
            | DrmSystem::PlayReady
            | DrmSystem::ClearKey
            | DrmSystem::Aes128 => Ok(None),
        }
    }
}
