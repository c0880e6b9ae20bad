//! The DRM systems of a server: one field and one arm for each.

use futures_util::future::join;

use crate::clearkey::{Aes128, ClearKey};
use crate::configuration::SettingsError;
use crate::drm::{DrmSystem, KeyHolder, Module};
use crate::entitlement::Terms;
use crate::fairplay::FairPlay;
use crate::platform::Platform;
use crate::playready::PlayReady;
use crate::widevine::Widevine;

/// The modules. Each reads its own settings on first use.
#[derive(Default)]
pub struct Modules {
    /// FairPlay.
    pub fairplay: FairPlay,
    /// W3C Clear Key.
    pub clearkey: ClearKey,
    /// HLS AES-128.
    pub aes128: Aes128,
    /// Widevine.
    pub widevine: Widevine,
    /// PlayReady.
    pub playready: PlayReady,
}

impl Modules {
    /// Reads the settings of a system. What is wrong is said where they are needed.
    pub async fn read_ahead(&self, system: DrmSystem, platform: &impl Platform) {
        match system {
            FairPlay::SYSTEM => {
                let (credentials, terms) = (
                    self.fairplay.credentials().read_ahead(platform),
                    self.fairplay.terms(platform),
                );
                drop(join(credentials, terms).await);
            }
            Widevine::SYSTEM => drop(self.widevine.key_holder(platform).await),
            PlayReady::SYSTEM => drop(self.playready.key_holder(platform).await),
            DrmSystem::ClearKey | DrmSystem::Aes128 => {}
        }
    }

    /// Each system whose licences another service makes: who has its keys, or `None` where it is not configured.
    pub async fn services(
        &self,
        platform: &impl Platform,
    ) -> [(DrmSystem, Result<Option<KeyHolder>, SettingsError>); 2] {
        [
            (Widevine::SYSTEM, self.widevine.key_holder(platform).await),
            (PlayReady::SYSTEM, self.playready.key_holder(platform).await),
        ]
    }

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
            ClearKey::SYSTEM => self.clearkey.terms(platform).await.map(Some),
            Aes128::SYSTEM => self.aes128.terms(platform).await.map(Some),
            Widevine::SYSTEM => self.widevine.terms(platform).await.map(Some),
            PlayReady::SYSTEM => self.playready.terms(platform).await.map(Some),
        }
    }
}
