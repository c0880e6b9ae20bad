//! `GET /`: the service document.

use http::StatusCode;
use serde::Serialize;

use super::clearkey;
use super::context::Context;
use super::issue;
use super::problem::Problem;
use super::response::{Reply, json};
use crate::drm::DrmSystem;
use crate::platform::Platform;

/// What this server is, and where its parts are.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Service"))]
pub(super) struct ServiceDocument {
    /// `keylet`
    name: &'static str,
    version: &'static str,
    /// The DRM systems that are configured.
    drm: Vec<&'static str>,
    links: Links,
}

/// Paths by what they are for.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
struct Links {
    health: &'static str,
    openapi: &'static str,
    license: &'static str,
    fairplay: &'static str,
    widevine: &'static str,
    playready: &'static str,
    fairplay_certificate: &'static str,
    sessions: &'static str,
    fairplay_check_in: &'static str,
}

pub async fn get<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    // Azure Media Services has the keys of AES-128 at the root of its hosts.
    if context.parameter(issue::KID).is_some() {
        return clearkey::aes128(context).await;
    }
    let licences = context.licences;
    let credentials = licences.credentials();
    let has_fairplay = credentials.are_configured(licences.platform()).await;
    let services = licences.modules().services(licences.platform()).await;
    let is_service = |system: DrmSystem| {
        let mut services = services.iter();
        services.any(|(of, holder)| *of == system && matches!(holder, Ok(Some(_))))
    };
    let policies = licences.policies().await.ok();
    let is_on = |system: &DrmSystem| match system {
        DrmSystem::FairPlay => has_fairplay.as_ref().is_ok_and(|has_it| *has_it),
        DrmSystem::Widevine | DrmSystem::PlayReady => is_service(*system),
        system => policies.is_some_and(|policies| policies.open(*system)),
    };
    let document = ServiceDocument {
        name: "keylet",
        version: env!("CARGO_PKG_VERSION"),
        drm: DrmSystem::all()
            .filter(is_on)
            .map(DrmSystem::name)
            .collect(),
        links: Links {
            health: "/healthz",
            openapi: "/openapi.json",
            license: "/license",
            fairplay: "/fairplay",
            widevine: "/widevine",
            playready: "/playready",
            fairplay_certificate: "/fairplay/certificate",
            sessions: "/sessions",
            fairplay_check_in: "/fairplay/check-in",
        },
    };
    Ok(json(StatusCode::OK, &document))
}
