//! Settings: the variables that hold them, and what can be wrong with a value.

mod error;
mod secrets;
pub mod settings;
mod variable;

pub use error::{Problems, SettingError, SettingErrorKind, SettingsError};
pub use secrets::secrets;
pub use settings::Configured;
pub use variable::{VARIABLES, Variable};
