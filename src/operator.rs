//! The operator of a deployment, who may see what viewers may not.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::platform::Platform;

/// The variable with the operator's bearer secret: 32 characters or more.
pub const VARIABLE: &str = "operator_token";

/// How many characters such a secret has at least.
pub const LEAST: usize = 32;

/// The operator.
pub struct Operator(Zeroizing<String>);

impl Operator {
    /// Reads the secret. `None`: there is no operator.
    ///
    /// # Errors
    /// A secret that is too short.
    pub async fn load(platform: &impl Platform) -> Result<Option<Self>, SettingsError> {
        match platform.variable(VARIABLE).await? {
            Some(secret) if secret.chars().count() < LEAST => Err(SettingError::new(
                VARIABLE,
                SettingErrorKind::Malformed,
                format!("it has fewer than {LEAST} characters"),
            )
            .into()),
            secret => Ok(secret.map(Self)),
        }
    }

    /// Whether these are the operator's words.
    pub fn is(&self, bearer: &str) -> bool {
        self.0.as_bytes().ct_eq(bearer.as_bytes()).into()
    }
}
