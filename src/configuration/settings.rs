//! Variables as the rooms read them: each from the host, or all of them from one.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use http::{Request, Response};
use serde_json::Value;
use zeroize::Zeroizing;

use super::variable::NAMES;
use super::{SettingError, SettingErrorKind};
use crate::encoding;
use crate::platform::{self, Call, Error, Platform, Stage, Trace};

/// The variable that may hold all others, as one JSON object: its members are named as the variables are.
pub const VARIABLE: &str = "settings";

/// The variables of one that holds all: names and values.
pub type Variables = Vec<(String, Zeroizing<String>)>;

/// Reads the value of [`VARIABLE`]: text, or for a variable that holds JSON the JSON itself. `null` is not set.
///
/// # Errors
/// What is no JSON object, and a member that is no variable.
pub fn read(text: &str) -> Result<Variables, SettingError> {
    let members = encoding::json_object(text.as_bytes())
        .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
    let mut variables = Variables::new();
    for (name, value) in members {
        if !NAMES.contains(&name.as_str()) || name == VARIABLE {
            let name: String = name.chars().take(64).collect();
            let error = SettingError::new(
                VARIABLE,
                SettingErrorKind::Malformed,
                "there is no such variable",
            );
            return Err(error.in_member(name));
        }
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            value => value.to_string(),
        };
        if let Some(text) = platform::value(&name, text) {
            variables.push((name, text));
        }
    }
    Ok(variables)
}

/// A host whose variables may all be in one. Where [`VARIABLE`] is set, no other variable is asked of the host: a
/// host that fetches each from another server then fetches one.
pub struct Configured<P> {
    host: P,
    settings: OnceCell<Option<Variables>>,
}

impl<P: Platform> Configured<P> {
    /// Nothing is read yet.
    pub fn new(host: P) -> Self {
        Self {
            host,
            settings: OnceCell::new(),
        }
    }

    /// The host itself.
    pub fn host(&self) -> &P {
        &self.host
    }

    /// Reads the variable that may hold all, before several are read at a time. What is wrong is said by each that
    /// is read.
    pub async fn read_ahead(&self) {
        if self.settings.get().is_none() {
            drop(self.load().await);
        }
    }

    /// On the heap: every future that reads a variable would hold this one.
    fn load(&self) -> Pin<Box<dyn Future<Output = Result<(), Error>> + '_>> {
        Box::pin(async {
            let call = Call::begin(Stage::Variables, &self.host);
            let text = self.host.variable(VARIABLE).await;
            drop(call);
            let variables = match text? {
                Some(text) => Some(read(&text).map_err(|error| Error::Settings(error.message()))?),
                None => None,
            };
            // Another request may have read it meanwhile.
            let _ = self.settings.set(variables);
            Ok(())
        })
    }
}

impl<P: Platform> Platform for Configured<P> {
    const READS_AT_ONCE: bool = P::READS_AT_ONCE;

    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        if self.settings.get().is_none() {
            self.load().await?;
        }
        match self.settings.get() {
            Some(Some(variables)) => {
                let found = variables.iter().find(|(known, _)| known == name);
                Ok(found.map(|(_, value)| value.clone()))
            }
            Some(None) | None => {
                let _call = Call::begin(Stage::Variables, &self.host);
                self.host.variable(name).await
            }
        }
    }

    fn now(&self) -> u64 {
        self.host.now()
    }

    fn instant(&self) -> Instant {
        self.host.instant()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.host.fill_random(buffer);
    }

    fn log(&self, line: &str) {
        self.host.log(line);
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let _call = Call::begin(Stage::Store, &self.host);
        self.host.get(key).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let _call = Call::begin(Stage::Store, &self.host);
        self.host.set(key, value).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        let _call = Call::begin(Stage::Store, &self.host);
        self.host.delete(key).await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        let _call = Call::begin(Stage::Store, &self.host);
        self.host.keys().await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let _call = Call::begin(Stage::Store, &self.host);
        self.host.increment(key, delta).await
    }

    async fn sleep(&self, duration: Duration) {
        self.host.sleep(duration).await;
    }

    async fn send(&self, mut request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        Trace::pass_on(request.headers_mut());
        let _call = Call::begin(Stage::Requests, &self.host);
        self.host.send(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_json_and_nothing_are_values_and_an_unknown_name_is_an_error() {
        let variables = read(
            r#"{"token_issuer":"me\n","content_keys":[{"id":"a"}],"policies":null,"cors_origins":"","session_period":60}"#,
        );
        let variables = variables.unwrap();
        let mut found: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        found.sort_unstable();
        let expected = [
            ("content_keys", r#"[{"id":"a"}]"#),
            ("session_period", "60"),
            ("token_issuer", "me"),
        ];
        assert_eq!(found, expected);
        for (text, reason) in [
            ("[]", "settings: "),
            ("{", "settings: "),
            (
                r#"{"token_isuer":"me"}"#,
                "`token_isuer`: there is no such variable",
            ),
            (
                r#"{"settings":"{}"}"#,
                "`settings`: there is no such variable",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
