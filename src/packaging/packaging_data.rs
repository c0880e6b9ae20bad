//! PlayReady's `AcquirePackagingData` (SOAP 1.1), as shaka-packager asks for it: one key for a program.
//!
//! The packager looks for the first `<KeyId>`, `<KeyData>` and `<Data>` as text, so these have neither a prefix nor an
//! attribute, and nothing stands around their values.

use base64::Engine;
use zeroize::Zeroizing;

use super::keys::PackagingKey;
use super::{Caller, Error, PackagingServer};
use crate::cpix::{PlayReadyHeader, ProgramRequest, Scheme};
use crate::encoding::BASE64;
use crate::id::Id;
use crate::platform::Platform;

/// What the audit calls this interface.
pub const PACKAGING_DATA: &str = "playready";

impl<P: Platform> PackagingServer<'_, P> {
    /// Answers a request for packaging data: the SOAP envelope.
    ///
    /// # Errors
    /// [`Error::Request`] for a body that is no such request, and as every interface.
    pub async fn packaging_data(
        &self,
        caller: Caller<'_>,
        scheme: Scheme,
        body: &[u8],
    ) -> Result<Zeroizing<String>, Error> {
        let mut audit = self.audit_of(PACKAGING_DATA);
        audit.asked_by(caller);
        let envelope = async {
            caller.require_plain()?;
            let wrong = |reason: &str| Error::Request(reason.to_owned());
            let request = ProgramRequest::read(body)
                .map_err(|error| wrong(&format!("the SOAP envelope cannot be read: {error}")))?;
            let content = Id::from_text(&request.program);
            let content = content.ok_or_else(|| wrong("`ProgramIdentifier` is empty"))?;
            audit.asked_for(&content);
            caller.require(&content)?;
            let key = self.key_of_content(&content, None, None).await?;
            let urls = self.key_urls().await?;
            let header = PlayReadyHeader {
                keys: &[(key.kid, &key.key.key)],
                scheme,
                license_url: urls.of_licences().playready,
            };
            let object = header.to_object();
            let object = object.ok_or_else(|| wrong("PlayReady has no header for this scheme"))?;
            audit.answered([key.kid]);
            Ok(envelope(&key, &object))
        };
        let envelope = envelope.await;
        self.audited(audit, envelope)
    }
}

fn envelope(key: &PackagingKey, object: &[u8]) -> Zeroizing<String> {
    let PackagingKey { kid, key } = key;
    let value = Zeroizing::new(BASE64.encode(key.key.expose()));
    let (value, object) = (&*value, BASE64.encode(object));
    Zeroizing::new(format!(
        r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><AcquirePackagingDataResponse xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><AcquirePackagingDataResult><Response xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols/AcquirePackagingData/v1.0"><KeyInformation><KeyId>{kid}</KeyId><KeyData>{value}</KeyData></KeyInformation><ProtectionSystemData><Data>{object}</Data></ProtectionSystemData></Response></AcquirePackagingDataResult></AcquirePackagingDataResponse></soap:Body></soap:Envelope>"#
    ))
}
