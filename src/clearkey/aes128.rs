//! HLS AES-128: the key itself, 16 bytes.

use super::{NO_DEVICE, REPEATS, enforce};
use crate::configuration::SettingsError;
use crate::content_key::KeyQuery;
use crate::drm::{
    self, AuditDetails, Details, DrmSystem, GrantedKey, Intent, KeyHolder, Module, Purpose,
    Repeats, Request, Sealed,
};
use crate::entitlement::Terms;
use crate::error::Code;
use crate::id::Kid;
use crate::platform::Platform;

/// HLS AES-128. The message is the KID, as a path has it.
#[derive(Default)]
pub struct Aes128(Terms);

/// What packagers write behind the KID.
const SUFFIXES: [&str; 2] = [".key", ".bin"];

impl Module for Aes128 {
    const SYSTEM: DrmSystem = DrmSystem::Aes128;

    const REPEATS: Repeats = REPEATS;

    type Opened<'m> = Kid;

    type Report = ();

    async fn terms(&self, _: &impl Platform) -> Result<&Terms, SettingsError> {
        Ok(&self.0)
    }

    async fn open(&self, message: &[u8], _: &impl Platform) -> Result<Kid, drm::Error> {
        let text = std::str::from_utf8(message).unwrap_or_default();
        let mut suffixes = SUFFIXES.iter();
        let text = suffixes
            .find_map(|suffix| text.strip_suffix(suffix))
            .unwrap_or(text);
        Kid::from_text(text).ok_or_else(|| drm::Error::Refused {
            code: Code::REQUEST_MALFORMED,
            reason: "the path does not end with a KID: a GUID or 32 hexadecimal digits".to_owned(),
            is_public: true,
            details: Details::new(),
        })
    }

    fn audit_details(&self, _: &Kid) -> AuditDetails {
        AuditDetails::default()
    }

    fn request<'o>(&self, kid: &'o Kid, _: Purpose) -> Result<Request<'o>, drm::Error> {
        Ok(Request {
            keys: vec![KeyQuery::from_kid(*kid)],
            holder: KeyHolder::Here,
            intent: Intent::License,
            device: NO_DEVICE,
            license_session: None,
        })
    }

    fn report(&self, _: &Kid) -> Option<()> {
        None
    }

    fn enforce(&self, key: &GrantedKey<'_>, _: &Kid, _: Option<&str>) -> Result<(), drm::Error> {
        enforce::enforce(key)
    }

    async fn seal(
        &self,
        _: &Self::Opened<'_>,
        keys: &[GrantedKey<'_>],
        _: Option<&str>,
        _: &impl Platform,
    ) -> Result<Sealed, drm::Error> {
        let key = keys.iter().find_map(|granted| granted.key);
        let key = key.map(|key| key.key.expose().to_vec());
        Ok(Sealed::new(key.unwrap_or_default()))
    }
}
