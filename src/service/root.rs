//! `GET /`: the service document.

use http::StatusCode;
use serde_json::json;

use super::{Reply, json};
use crate::licence::LicenceServer;
use crate::platform::Platform;

pub async fn reply<P: Platform>(licences: &LicenceServer<P>) -> Reply {
    let has_fairplay = matches!(licences.credentials().await, Ok(Some(_)));
    let drm: &[&str] = if has_fairplay { &["fairplay"] } else { &[] };
    json(
        StatusCode::OK,
        &json!({
            "name": "keylet",
            "version": env!("CARGO_PKG_VERSION"),
            "drm": drm,
            "links": {
                "health": "/healthz",
                "openapi": "/openapi.json",
                "license": "/license",
                "fairplay": "/fairplay",
                "fairplay_certificate": "/fairplay/certificate",
                "sessions": "/sessions",
                "fairplay_check_in": "/fairplay/check-in",
            },
        }),
    )
}
