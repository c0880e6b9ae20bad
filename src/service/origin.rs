//! Where a request comes from, by the headers that a trusted proxy sets.

use futures_util::future::join;
use http::{HeaderMap, HeaderName};

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::entitlement::{ClientOrigin, last_address};
use crate::platform::Platform;

/// The variable with the name of the header that holds the client's address.
pub const ADDRESS: &str = "client_ip_header";
/// The variable with the name of the header that holds the client's country.
pub const COUNTRY: &str = "client_country_header";

/// The headers that are trusted.
pub struct TrustedHeaders {
    address: Option<HeaderName>,
    country: Option<HeaderName>,
}

impl TrustedHeaders {
    /// Reads their names.
    ///
    /// # Errors
    /// A value that is not the name of a header.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let (address, country) = join(platform.variable(ADDRESS), platform.variable(COUNTRY)).await;
        let mut problems = Vec::new();
        let mut name = |variable, value: Option<&str>| {
            let name = value.map(|value| value.trim().parse()).transpose();
            name.unwrap_or_else(|_| {
                let reason = "it is not the name of a header";
                problems.push(SettingError::new(
                    variable,
                    SettingErrorKind::Malformed,
                    reason,
                ));
                None
            })
        };
        let this = Self {
            address: name(ADDRESS, address?.as_deref().map(String::as_str)),
            country: name(COUNTRY, country?.as_deref().map(String::as_str)),
        };
        if problems.is_empty() {
            Ok(this)
        } else {
            Err(SettingsError::Invalid(problems))
        }
    }

    /// The origin that they state. When a header occurs several times, the last one counts: a client may
    /// have sent the others.
    pub fn origin(&self, headers: &HeaderMap) -> ClientOrigin {
        let last = |name: &Option<HeaderName>| {
            let values = headers.get_all(name.as_ref()?);
            values.iter().next_back()?.to_str().ok()
        };
        ClientOrigin {
            address: last(&self.address).and_then(last_address),
            country: last(&self.country).and_then(|text| text.trim().parse().ok()),
        }
    }
}
