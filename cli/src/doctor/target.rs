//! The server that is looked at: one that runs, or the library with the settings of one.

use anyhow::Result;
use http::{Request, Response};
use keylet::configuration::{SettingError, SettingErrorKind};
use keylet::service::Service;
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::client::{Client, check_url};
use crate::settings::Settings;

/// A server.
pub enum Target {
    /// The library in this process.
    Here(Box<Service<Settings>>, Runtime),
    /// One that runs, by the URL of its root, without a slash at the end.
    There(String, Client),
}

/// How the configuration of a server loads.
pub struct Health {
    /// The document of `/healthz`.
    pub document: Value,
    /// What keeps it from loading.
    pub problems: Vec<Problem>,
}

/// A problem of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// What kind of problem, by its code; empty when the host does not answer.
    #[serde(default)]
    pub code: String,
    /// The variable; empty when the host does not answer.
    #[serde(default)]
    pub variable: String,
    /// The entry, where the value is a list, counted from 0.
    pub index: Option<usize>,
    /// The member, where the value or its entry is an object.
    pub member: Option<String>,
    /// What is wrong, and in which entry. Never a value.
    pub message: String,
}

/// Why the keys that an issuer publishes could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeyWarning {
    /// The variable with their URL.
    pub variable: String,
    /// The name of the policy option, where there are policies.
    pub option: Option<String>,
    /// Why, by a stable name.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
    /// Until when the keys that were fetched before are used, in seconds since 1970.
    pub usable_until: Option<u64>,
}

impl std::fmt::Display for KeyWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            variable, message, ..
        } = self;
        match &self.option {
            Some(option) => write!(f, "{variable}: option {option:?}: {message}"),
            None => write!(f, "{variable}: {message}"),
        }
    }
}

impl Problem {
    /// What kind of problem.
    pub fn kind(&self) -> Option<SettingErrorKind> {
        SettingErrorKind::from_code(&self.code)
    }
}

impl From<SettingError> for Problem {
    fn from(error: SettingError) -> Self {
        Self {
            code: error.kind.code().to_owned(),
            variable: error.variable.to_owned(),
            message: error.message(),
            index: error.index,
            member: error.member,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.variable.as_str() {
            "" => f.write_str(&self.message),
            variable => write!(f, "{variable}: {}", self.message),
        }
    }
}

impl Target {
    /// The library, with settings.
    ///
    /// # Errors
    /// A runtime that is not available.
    pub fn here(settings: Settings) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self::Here(Box::new(Service::new(settings)), runtime))
    }

    /// A server that runs. The URL of one of its routes will do.
    ///
    /// # Errors
    /// What is no URL of HTTP.
    pub fn there(url: &str, client: Client) -> Result<Self> {
        check_url(url)?;
        let root = ["/fairplay", "/license", "/healthz"]
            .iter()
            .find_map(|route| url.trim_end_matches('/').strip_suffix(route))
            .unwrap_or(url.trim_end_matches('/'));
        Ok(Self::There(root.to_owned(), client))
    }

    /// Whether it runs by itself, with a connection, a clock and a certificate of its own.
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Here(..) => None,
            Self::There(root, _) => Some(root),
        }
    }

    /// How its configuration loads; `None` when it has no `/healthz` of this server.
    pub fn health(&self) -> Option<Health> {
        let answer = self.send(Request::get("/"), "/healthz", &[]).ok()?;
        let document: Value = serde_json::from_slice(answer.body()).ok()?;
        document["status"].is_string().then_some(())?;
        let problems = match self {
            Self::Here(service, runtime) => {
                let problems = runtime.block_on(service.check());
                let settings = problems.settings.into_iter().map(Problem::from);
                let platform = problems.platform.iter().map(|error| Problem {
                    message: error.to_string(),
                    ..Problem::default()
                });
                settings.chain(platform).collect()
            }
            Self::There(..) => {
                let problems = document.get("problems").cloned().unwrap_or_default();
                serde_json::from_value(problems).unwrap_or_default()
            }
        };
        Some(Health { document, problems })
    }

    /// Whether the key-value store of the server answers, in its words; `None` when that is not said in time.
    pub fn store(&self) -> Option<String> {
        let answer = self.send(Request::get("/"), "/healthz?store", &[]).ok()?;
        let document: Value = serde_json::from_slice(answer.body()).ok()?;
        Some(document["store"].as_str()?.to_owned())
    }

    /// The issuers whose keys the server cannot fetch, by asking them. Empty where that is not said in time.
    pub fn keys_by_url(&self) -> Vec<KeyWarning> {
        let warnings = || {
            let answer = self.send(Request::get("/"), "/healthz?keys", &[]).ok()?;
            let mut document: Value = serde_json::from_slice(answer.body()).ok()?;
            serde_json::from_value(document["warnings"].take()).ok()
        };
        warnings().unwrap_or_default()
    }

    /// Sends a request to a path below its root.
    ///
    /// # Errors
    /// A server that cannot be reached.
    pub fn send(
        &self,
        request: http::request::Builder,
        path: &str,
        body: &[u8],
    ) -> Result<Response<Vec<u8>>> {
        match self {
            Self::Here(service, runtime) => {
                let request = request.uri(path).body(body.to_vec())?;
                Ok(runtime.block_on(service.handle(request)))
            }
            Self::There(root, client) => {
                let request = request.uri(format!("{root}{path}")).body(body.to_vec())?;
                Ok(client.exchange(request)?)
            }
        }
    }
}
