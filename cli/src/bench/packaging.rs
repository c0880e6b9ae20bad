//! What keys for packagers cost: SPEKE, CPIX by GET, Widevine's key request, PlayReady's packaging data.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use keylet::cpix::speke::Version;
use keylet::cpix::{BlankDocument, BlankKey, ProtectionSystem, Scheme};
use keylet::id::Kid;
use keylet_host::StoreChoice;
use serde::Serialize;
use serde_json::json;

use super::{BATCH, Player, Samples, Setup, Times};
use crate::fixtures;

/// The seed of the keys, and who asks for them. Nothing is protected by these.
const SEED: &str = r#"{"algorithm":"hkdf-sha256","seed":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}"#;
const OPERATOR: &str = "operator of the benchmark, nobody else";

/// Requests of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The setup.
    pub setup: &'static str,
    /// What was asked.
    pub request: &'static str,
    /// How many keys each reply has.
    pub keys: usize,
    /// What each took, HTTP and host included.
    pub microseconds: Times,
    /// What it took inside the component.
    pub guest: Times,
}

/// A request for keys.
struct Asked {
    name: &'static str,
    keys: usize,
    method: Method,
    path: &'static str,
    body: Vec<u8>,
}

impl Asked {
    fn request(&self) -> Result<Request<Vec<u8>>> {
        let request = Request::builder()
            .method(&self.method)
            .header(AUTHORIZATION, format!("Bearer {OPERATOR}"))
            .header("x-speke-version", "2.0");
        Ok(request.body(self.body.clone())?)
    }
}

/// Measures each request in each setup, so many times.
///
/// # Errors
/// A request that is refused, a host that does not start.
pub fn run(setups: &[Setup], rounds: usize) -> Result<Vec<Measured>> {
    let asked = requests()?;
    let mut measured = Vec::new();
    for setup in setups {
        let mut variables = fixtures::variables();
        for (name, value) in [("key_seed", SEED), ("operator_token", OPERATOR)] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        let server = setup.start_with(true, variables, StoreChoice::Memory)?;
        let mut samples: Vec<Samples> = asked.iter().map(|_| Samples::default()).collect();
        // In turns, so that all of them see the same minutes.
        for _ in 0..rounds.div_ceil(BATCH) {
            for (asked, samples) in asked.iter().zip(&mut samples) {
                let player = Player::at(&server.url(), asked.path)?;
                player.ask_batch(&server, 200, || asked.request(), samples)?;
            }
        }
        server.stop();
        for (asked, samples) in asked.iter().zip(samples) {
            measured.push(Measured {
                setup: setup.name,
                request: asked.name,
                keys: asked.keys,
                microseconds: Times::from_samples(samples.whole)?,
                guest: Times::from_samples(samples.guest)?,
            });
        }
    }
    Ok(measured)
}

fn requests() -> Result<Vec<Asked>> {
    let tracks = ["AUDIO", "SD", "HD", "UHD"];
    let keys = tracks.iter().zip(1..).map(|(track_type, number)| BlankKey {
        kid: Kid::from_u128(number),
        track_type,
    });
    let keys: Vec<BlankKey<'_>> = keys.collect();
    let document = BlankDocument {
        content_id: "movie-42",
        version: Version::V2_0,
        scheme: Scheme::Cbcs,
        keys: &keys,
        systems: &[
            ProtectionSystem::FairPlay,
            ProtectionSystem::Widevine,
            ProtectionSystem::PlayReady,
        ],
        certificate: None,
    };
    let document = document
        .to_xml()
        .context("the document of this benchmark")?;
    let types = ["SD", "HD", "UHD1", "UHD2", "AUDIO"].map(|name| json!({"type": name}));
    let common_encryption = |periods: Option<u32>| {
        let mut message = json!({
            "content_id": STANDARD.encode("movie-42"),
            "policy": "",
            "tracks": types,
            "drm_types": ["WIDEVINE"],
            "protection_scheme": "CBCS",
        });
        if let (Some(count), Some(members)) = (periods, message.as_object_mut()) {
            members.insert("first_crypto_period_index".to_owned(), 7.into());
            members.insert("crypto_period_count".to_owned(), count.into());
        }
        let request = STANDARD.encode(message.to_string());
        json!({"request": request}).to_string().into_bytes()
    };
    let getcontentkey = "/cenc/getcontentkey/operator";
    let program = r#"<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><AcquirePackagingData xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><challenge xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols/AcquirePackagingData/v1.0"><StreamProtectionRequests><StreamInformation><ProgramIdentifier>movie-42</ProgramIdentifier></StreamInformation></StreamProtectionRequests></challenge></AcquirePackagingData></Body></Envelope>"#;
    let of = |name, keys, method, path, body| Asked {
        name,
        keys,
        method,
        path,
        body,
    };
    Ok(vec![
        of(
            "SPEKE 2.0, four tracks, three systems",
            4,
            Method::POST,
            "/speke/copyProtection",
            document.into_bytes(),
        ),
        of(
            "CPIX by GET, four tracks, three systems",
            4,
            Method::GET,
            "/cpix/movie-42?tracks=AUDIO,SD,HD,UHD",
            Vec::new(),
        ),
        of(
            "getcontentkey, five tracks",
            5,
            Method::POST,
            getcontentkey,
            common_encryption(None),
        ),
        of(
            "getcontentkey, ten periods of five tracks",
            50,
            Method::POST,
            getcontentkey,
            common_encryption(Some(10)),
        ),
        of(
            "AcquirePackagingData",
            1,
            Method::POST,
            "/playready/packaging",
            program.as_bytes().to_vec(),
        ),
    ])
}
