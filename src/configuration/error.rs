//! What is wrong with a setting.

use super::settings;
use crate::encoding::JsonError;
use crate::error::Code;
use crate::platform;

/// What kind of problem a setting has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingErrorKind {
    /// It is not set, and nothing works without it.
    Missing,
    /// It is not of the documented form.
    Malformed,
    /// It is of a form that is not read here.
    Unsupported,
    /// It does not belong to another setting.
    Mismatch,
    /// Two entries claim the same.
    Collision,
    /// It is refused for safety.
    Refused,
}

impl SettingErrorKind {
    const ALL: [Self; 6] = [
        Self::Missing,
        Self::Malformed,
        Self::Unsupported,
        Self::Mismatch,
        Self::Collision,
        Self::Refused,
    ];

    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Stable identifier, as on the health page.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "setting_missing",
            Self::Malformed => "setting_malformed",
            Self::Unsupported => "setting_unsupported",
            Self::Mismatch => "setting_mismatch",
            Self::Collision => "setting_collision",
            Self::Refused => "setting_refused",
        }
    }
}

/// A problem with a setting: which variable, where in its value, and what is wrong there. Never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {message}", message = self.message())]
pub struct SettingError {
    /// Name of the variable.
    pub variable: &'static str,
    /// The entry, where the value is a list, counted from 0.
    pub index: Option<usize>,
    /// The member, where the value or its entry is an object.
    pub member: Option<String>,
    /// What kind of problem.
    pub kind: SettingErrorKind,
    /// What is wrong, in a sentence for the operator.
    pub reason: String,
}

impl SettingError {
    /// A problem with `variable` as a whole.
    pub fn new(variable: &'static str, kind: SettingErrorKind, reason: impl Into<String>) -> Self {
        Self {
            variable,
            index: None,
            member: None,
            kind,
            reason: reason.into(),
        }
    }

    /// A value that is not JSON of the expected shape. Where the error is in an entry of a list or in a
    /// member of an object, the problem has its index and its name.
    pub fn from_json_error(variable: &'static str, error: &JsonError) -> Self {
        Self {
            index: error.index(),
            member: error.member(),
            ..Self::new(variable, SettingErrorKind::Malformed, error.to_string())
        }
    }

    /// The same problem, with one entry of the list.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// The same problem, with one member of the object.
    #[must_use]
    pub fn in_member(mut self, name: impl Into<String>) -> Self {
        self.member = Some(name.into());
        self
    }

    /// Where it is and what is wrong, in a sentence: ``record 3: `key`: it is not 16 bytes``, counted from 1.
    pub fn message(&self) -> String {
        let entry = self.index.map(|index| {
            let noun = match self.variable {
                "content_keys" => "record",
                "skd_rules" => "rule",
                "key_seed" => "seed",
                "policies" => "option",
                "key_encryption_keys" | "token_keys" => "key",
                _ => "entry",
            };
            // People count from 1.
            format!("{noun} {}", index.saturating_add(1))
        });
        let member = self.member.as_ref().map(|name| format!("`{name}`"));
        match (entry, member) {
            (None, None) => self.reason.clone(),
            (Some(index), None) | (None, Some(index)) => format!("{index}: {}", self.reason),
            (Some(entry), Some(member)) => format!("{entry}: {member}: {}", self.reason),
        }
    }
}

/// Why a room could not read its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Settings are wrong; every problem found is named.
    #[error("{} settings are wrong", .0.len())]
    Invalid(Vec<SettingError>),
    /// The host did not answer.
    #[error(transparent)]
    Platform(#[from] platform::Error),
}

impl From<SettingError> for SettingsError {
    fn from(error: SettingError) -> Self {
        Self::Invalid(vec![error])
    }
}

impl SettingsError {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::Platform(platform::Error::Settings(_)) => {
                Code::CONFIGURATION_INVALID
            }
            Self::Platform(_) => Code::PLATFORM_UNAVAILABLE,
        }
    }
}

/// Several rooms may meet the same problem.
fn add_once<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Everything that keeps settings from loading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// Settings that are wrong.
    pub settings: Vec<SettingError>,
    /// What the host did not answer.
    pub platform: Vec<platform::Error>,
}

impl Problems {
    /// Adds why a room could not read its settings, if it could not.
    pub fn add(&mut self, result: Result<(), SettingsError>) {
        match result {
            Ok(()) => {}
            Err(SettingsError::Invalid(found)) => {
                for error in found {
                    add_once(&mut self.settings, error);
                }
            }
            Err(SettingsError::Platform(platform::Error::Settings(reason))) => {
                let kind = SettingErrorKind::Malformed;
                let error = SettingError::new(settings::VARIABLE, kind, reason);
                add_once(&mut self.settings, error);
            }
            Err(SettingsError::Platform(error)) => add_once(&mut self.platform, error),
        }
    }

    /// A sentence for each: the variable, and what is wrong with it.
    pub fn messages(&self) -> impl Iterator<Item = String> {
        let settings = self.settings.iter().map(ToString::to_string);
        settings.chain(self.platform.iter().map(ToString::to_string))
    }

    /// Whether everything loads.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.platform.is_empty()
    }
}
