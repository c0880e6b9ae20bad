//! Where players find this server: the variable `public_url`. A server behind a proxy cannot know it.

use http::Uri;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::platform::Platform;
use crate::upstream::is_safe;

/// The variable with the base URL of this server as players see it: `https`, or `http` on this machine.
pub const VARIABLE: &str = "public_url";

/// A base URL, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Reads the variable. `None` when it is not set.
    ///
    /// # Errors
    /// What is no such URL.
    pub async fn load(platform: &impl Platform) -> Result<Option<Self>, SettingsError> {
        let Some(url) = platform.variable(VARIABLE).await? else {
            return Ok(None);
        };
        let url = url.trim();
        let has_query = url.parse::<Uri>().is_ok_and(|url| url.query().is_some());
        if !is_safe(url) || has_query || url.contains('#') {
            let reason = "give an `https` URL without a query or fragment; `http` is accepted only for this machine";
            return Err(SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).into());
        }
        Ok(Some(Self(url.trim_end_matches('/').to_owned())))
    }

    /// The URL of a path, which begins with a slash.
    pub fn with(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}
