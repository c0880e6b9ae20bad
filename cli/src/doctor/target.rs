//! The server that is looked at: one that runs, or the library with the settings of one.

use anyhow::{Context, Result, anyhow};
use http::{Request, Response};
use keylet::service::Service;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::client::Client;
use crate::settings::Settings;

/// A server.
pub enum Target {
    /// The library in this process.
    Here(Box<Service<Settings>>, Runtime),
    /// One that runs, by the URL of its root, without a slash at the end.
    There(String, Client),
}

impl Target {
    /// The library, with settings.
    ///
    /// # Errors
    /// A runtime that cannot be had.
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
        let uri: http::Uri = url.parse().map_err(|_| anyhow!("{url} is not a URL"))?;
        let scheme = uri
            .scheme_str()
            .filter(|scheme| ["http", "https"].contains(scheme));
        scheme.with_context(|| format!("{url} is not a URL of HTTP"))?;
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

    /// What its `/healthz` says; `None` when it has none of this server.
    pub fn health(&self) -> Option<Value> {
        let answer = self.send(Request::get("/"), "/healthz", &[]).ok()?;
        let document: Value = serde_json::from_slice(answer.body()).ok()?;
        document["status"].is_string().then_some(document)
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
