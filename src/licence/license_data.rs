//! Licence data for Kaltura's players: a licence URL that has everything in its query, signed.
//!
//! Kaltura's service makes it (`getLicenseData` of kaltura/mwEmbed), and its players are configured with it. The URL is
//! for streaming and for downloads alike: what a viewer may do is asked of the back end of the policy with each licence.

use std::borrow::Cow;

use base64::Engine;
use serde::Serialize;

use super::audit::Audit;
use super::mint::TOKEN;
use super::{Error, LicenceServer};
use crate::drm::DrmSystem;
use crate::encoding::BASE64;
use crate::platform::Platform;
use crate::public_url::PublicUrl;
use crate::token;
use crate::token::dialect::Secrets;
use crate::token::vendor::kaltura::{self, CustomData, SIGNING_KEY};

/// What licence data is asked for.
pub struct LicenseDataRequest<'a> {
    /// The id of the content: of a key record, or an alias; several between commas.
    pub entry: Cow<'a, str>,
    /// The flavours that are played: their ids between commas.
    pub flavor: Option<Cow<'a, str>>,
    /// What the back end knows the viewer by (Kaltura's session, KS). Without it, the message has a random one.
    pub user_token: Option<Cow<'a, str>>,
    /// The account whose key signs. Without it, the first one that is configured.
    pub account: Option<Cow<'a, str>>,
    /// The name of the FairPlay credential whose certificate the player gets. Without it, the first one.
    pub certificate: Option<Cow<'a, str>>,
}

/// What a player of Kaltura is configured with.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LicenseData {
    /// The URL for licences. It holds a token: whoever has it asks as this viewer.
    #[serde(rename = "licenseUri")]
    license_uri: String,
    /// The application certificate, DER in base64.
    #[serde(rename = "fpsCertificate")]
    certificate: String,
}

impl<P: Platform> LicenceServer<P> {
    /// Licence data, as the operator asks for it. The decision is written to the audit.
    ///
    /// # Errors
    /// [`Error::LicenseDataOff`] with what is not configured; [`Error::Request`]; [`Error::Drm`] and
    /// [`Error::Settings`].
    pub async fn license_data(
        &self,
        request_id: &str,
        wanted: &LicenseDataRequest<'_>,
    ) -> Result<LicenseData, Error> {
        let audit = Audit::new(TOKEN, self.platform().now(), request_id);
        let result = self.decide_license_data(wanted).await;
        self.audited(audit, result)
    }

    async fn decide_license_data(
        &self,
        wanted: &LicenseDataRequest<'_>,
    ) -> Result<LicenseData, Error> {
        let platform = self.platform();
        let policies = self.policies().await?;
        if !policies.dialects().has(&kaltura::VENDOR) {
            return Err(Error::LicenseDataOff("`dialects` does not name `kaltura`"));
        }
        if !token::query_tokens_allowed(platform).await? {
            let reason = "`query_tokens` is `deny`, and the URL has its token in the query";
            return Err(Error::LicenseDataOff(reason));
        }
        let public_url = PublicUrl::load(platform).await?;
        let public_url = public_url.ok_or(Error::LicenseDataOff("`public_url` is not set"))?;

        // The message has no rights of its own, so a policy counts only with a back end.
        let options = policies.options().iter();
        let options = options
            .filter(|option| option.callback.is_some() && option.is_for(DrmSystem::FairPlay));
        let signing = options.filter_map(|option| {
            let keys = option.keys()?;
            let account = wanted
                .account
                .as_deref()
                .or_else(|| keys.first_for(SIGNING_KEY))?;
            let secret = keys.secret(account, Some(SIGNING_KEY))?;
            Some((account, secret))
        });
        let (account, secret) = { signing }.next().ok_or(Error::LicenseDataOff(
            "no policy with a back end has a key of `alg` `kaltura-signing-key` for the account",
        ))?;

        let random = || {
            let mut random = [0; 16];
            platform.fill_random(&mut random);
            hex::encode(random)
        };
        let message = CustomData {
            user_token: wanted
                .user_token
                .as_deref()
                .map_or_else(random, str::to_owned),
            account_id: account.into(),
            content_id: wanted.entry.to_string(),
            files: wanted.flavor.as_deref().unwrap_or_default().to_owned(),
        };
        let signed = message.sign(&secret);
        let signed = signed.ok_or(Error::Request("`entry` or `flavor` is no id of a key"))?;

        let credentials = self.modules().fairplay.credentials();
        let credential = credentials
            .named(wanted.certificate.as_deref(), platform)
            .await?;
        let credential = credential.ok_or(Error::Request(
            "no credential has the name in `certificate`",
        ))?;

        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("custom_data", &signed.custom_data);
        query.append_pair("signature", &signed.signature);
        // Kaltura's service says so which flavour the URL is for. Nothing reads it here.
        if let Some(flavor) = wanted.flavor.as_deref() {
            query.append_pair("files", &BASE64.encode(flavor));
        }
        Ok(LicenseData {
            license_uri: format!("{}?{}", public_url.with("/fairplay"), query.finish()),
            certificate: BASE64.encode(&credential.certificate.der),
        })
    }
}
