//! The variable `dialects`: whose tokens are accepted.

use serde_json::{Map, Value};

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::platform::Platform;
use crate::token::cat;
use crate::token::dialect::{Error, Grant, Secrets};
use crate::token::vendor::{Dialect, VENDORS, Vendor};

/// The variable with the dialects that are accepted: names, separated by commas or spaces, or a JSON
/// list of them. Default: `native`.
pub const VARIABLE: &str = "dialects";

/// Tokens of this server's own kind.
const NATIVE: &str = "native";

/// Tokens that name nothing but their key, as Azure Media Services accepted them.
const AZURE: &str = "azure";

/// The dialects that a deployment accepts.
pub struct Dialects {
    has_native: bool,
    has_azure: bool,
    has_cat: bool,
    vendors: Vec<&'static Vendor>,
}

impl Dialects {
    /// Only the native one.
    pub fn native() -> Self {
        Self {
            has_native: true,
            has_azure: false,
            has_cat: false,
            vendors: Vec::new(),
        }
    }

    /// Every one.
    pub fn all() -> Self {
        Self {
            has_native: true,
            has_azure: true,
            has_cat: true,
            vendors: with_dialect().collect(),
        }
    }

    /// Reads [`VARIABLE`].
    ///
    /// # Errors
    /// A name that is not known.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let setting = platform.variable(VARIABLE).await?;
        let text = setting.as_deref().map_or(NATIVE, String::as_str);
        let malformed = |reason| SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason);
        let names =
            encoding::words(text).ok_or_else(|| malformed("it is no list of names".to_owned()))?;
        let has = |name: &str| names.iter().any(|named| named == name);
        let this = Self {
            has_native: has(NATIVE),
            has_azure: has(AZURE),
            has_cat: has(cat::NAME),
            vendors: with_dialect().filter(|vendor| has(vendor.name)).collect(),
        };
        let known = || {
            let vendors = with_dialect().map(|vendor| vendor.name);
            [NATIVE, AZURE, cat::NAME].into_iter().chain(vendors)
        };
        if names.iter().all(|name| known().any(|known| known == name)) {
            Ok(this)
        } else {
            let known: Vec<&str> = known().collect();
            Err(malformed(format!("a name in it is none of {}", known.join(", "))).into())
        }
    }

    /// Whether tokens of this server's own kind are accepted.
    pub fn has_native(&self) -> bool {
        self.has_native
    }

    /// Whether a token is accepted that only names its key, as Azure Media Services took it.
    pub fn has_azure(&self) -> bool {
        self.has_azure
    }

    /// Whether Common Access Tokens are accepted.
    pub fn has_cat(&self) -> bool {
        self.has_cat
    }

    /// Whether tokens of a vendor are accepted.
    pub fn has(&self, vendor: &Vendor) -> bool {
        self.vendors.iter().any(|known| known.name == vendor.name)
    }

    /// Whether a message may be something other than a JWT.
    pub fn has_others(&self) -> bool {
        let mut dialects = self.vendors.iter().filter_map(|vendor| vendor.dialect);
        dialects.any(|dialect| matches!(dialect, Dialect::Text { .. }))
    }

    /// What the claims of a JWT grant, when they have the shape of a dialect.
    pub fn of_claims(
        &self,
        claims: &Map<String, Value>,
        secrets: &dyn Secrets,
        now: u64,
    ) -> Option<Result<Grant, Error>> {
        self.vendors.iter().find_map(|vendor| match vendor.dialect {
            Some(Dialect::Claims { fits, read }) if fits(claims) => {
                Some(read(claims, secrets, now))
            }
            _ => None,
        })
    }

    /// What a message that is not a JWT grants, when it has the shape of a dialect.
    pub fn of_text(
        &self,
        text: &str,
        signature: Option<&str>,
        secrets: &dyn Secrets,
        now: u64,
    ) -> Option<Result<Grant, Error>> {
        self.vendors.iter().find_map(|vendor| match vendor.dialect {
            Some(Dialect::Text { fits, read }) if fits(text) => {
                Some(read(text, signature, secrets, now))
            }
            _ => None,
        })
    }

    /// The name of the dialect whose shape the claims of a JWT have.
    pub fn name_of_claims(&self, claims: &Map<String, Value>) -> Option<&'static str> {
        let has_shape = |vendor: &&&Vendor| match vendor.dialect {
            Some(Dialect::Claims { fits, .. }) => fits(claims),
            Some(Dialect::Text { .. }) | None => false,
        };
        self.vendors
            .iter()
            .find(has_shape)
            .map(|vendor| vendor.name)
    }

    /// The name of the dialect whose shape a message has, when it is not a JWT.
    pub fn name_of_text(&self, text: &str) -> Option<&'static str> {
        if self.has_cat && cat::is_shaped(text) {
            return Some(cat::NAME);
        }
        let has_shape = |vendor: &&&Vendor| match vendor.dialect {
            Some(Dialect::Text { fits, .. }) => fits(text),
            Some(Dialect::Claims { .. }) | None => false,
        };
        self.vendors
            .iter()
            .find(has_shape)
            .map(|vendor| vendor.name)
    }
}

fn with_dialect() -> impl Iterator<Item = &'static Vendor> {
    VENDORS
        .iter()
        .copied()
        .filter(|vendor| vendor.dialect.is_some())
}
