//! Settings: the variables that hold them, and what can be wrong with a value.

mod error;
mod variable;

pub use error::{Problems, SettingError, SettingErrorKind, SettingsError};
pub use variable::{VARIABLES, Variable};
