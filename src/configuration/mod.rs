//! Settings: the variables that hold them, and what can be wrong with a value.

mod error;
pub mod settings;
mod variable;

pub use error::{Problems, SettingError, SettingErrorKind, SettingsError};
pub use settings::Configured;
pub use variable::{VARIABLES, Variable};
