//! Settings: what can be wrong with the value of a variable.

mod error;

pub use error::{SettingError, SettingErrorKind, SettingsError};
