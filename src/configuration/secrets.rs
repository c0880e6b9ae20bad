//! Variables that hold one secret, or several while one is exchanged for another.

use zeroize::Zeroizing;

use super::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::platform::Platform;

/// The secrets of a variable: its text, or where that begins with `[`, the texts of a JSON list. None, where it is not set.
/// `wrong` says what is wrong with one of them.
///
/// # Errors
/// What is no such list, and each secret that is wrong, by its index where there is a list.
pub async fn secrets(
    variable: &'static str,
    platform: &impl Platform,
    wrong: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Zeroizing<String>>, SettingsError> {
    let malformed =
        |reason: String| SettingError::new(variable, SettingErrorKind::Malformed, reason);
    let Some(text) = platform.variable(variable).await? else {
        return Ok(Vec::new());
    };
    if !text.starts_with('[') {
        return match wrong(&text) {
            Some(reason) => Err(malformed(reason).into()),
            None => Ok(vec![text]),
        };
    }
    let secrets: Vec<Zeroizing<String>> = encoding::from_json(text.as_bytes())
        .map_err(|error| SettingError::from_json_error(variable, &error))?;
    if secrets.is_empty() {
        return Err(malformed("it is an empty list".to_owned()).into());
    }
    let all = (0..).zip(&secrets);
    let problems = all.filter_map(|(index, secret)| Some(malformed(wrong(secret)?).at(index)));
    let problems: Vec<SettingError> = problems.collect();
    match problems.is_empty() {
        true => Ok(secrets),
        false => Err(SettingsError::Invalid(problems)),
    }
}
