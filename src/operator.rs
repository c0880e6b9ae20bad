//! The operator of a deployment, who may see what viewers may not.

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::configuration::{self, SettingsError};
use crate::platform::Platform;

/// The variable with the operator's bearer secret, or a JSON list of them: 32 characters or more each.
pub const VARIABLE: &str = "operator_token";

/// How many characters such a secret has at least.
pub const LEAST: usize = 32;

/// The operator.
pub struct Operator(Vec<Zeroizing<String>>);

impl Operator {
    /// Reads the secrets. `None`: there is no operator.
    ///
    /// # Errors
    /// What is no list of secrets, and a secret that is too short.
    pub async fn load(platform: &impl Platform) -> Result<Option<Self>, SettingsError> {
        let wrong = |secret: &str| {
            let is_short = secret.chars().count() < LEAST;
            is_short.then(|| format!("it has fewer than {LEAST} characters"))
        };
        let secrets = configuration::secrets(VARIABLE, platform, wrong).await?;
        Ok((!secrets.is_empty()).then_some(Self(secrets)))
    }

    /// Whether these are the operator's words.
    pub fn is(&self, bearer: &str) -> bool {
        let secrets = self.0.iter().map(|secret| secret.as_bytes());
        let is_one = secrets.map(|secret| secret.ct_eq(bearer.as_bytes()));
        is_one.fold(Choice::from(0), |any, one| any | one).into()
    }
}
