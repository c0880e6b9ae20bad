//! What requests other than FairPlay's cost: keys in the clear, and keys for packagers by SPEKE, CPIX, Widevine's key request
//! and PlayReady's packaging data.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use keylet::cpix::speke::Version;
use keylet::cpix::{BlankDocument, BlankKey, ProtectionSystem, Scheme};
use keylet::id::Kid;
use keylet_host::{Provided, StoreChoice};
use serde::Serialize;
use serde_json::{Value, json};

use super::{BATCH, Player, Samples, Setup, Times};
use crate::fixtures;

/// The seed of the keys, and who asks for them. Nothing is protected by these.
const SEED: &str = r#"{"algorithm":"hkdf-sha256","seed":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}"#;
/// The KID of the key that is handed out in the clear.
const KID: &str = "33333333-3333-3333-3333-333333333333";
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
    bearer: String,
    method: Method,
    path: &'static str,
    body: Vec<u8>,
}

impl Asked {
    fn request(&self) -> Result<Request<Vec<u8>>> {
        let request = Request::builder()
            .method(&self.method)
            .header(AUTHORIZATION, format!("Bearer {}", self.bearer))
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
        let variables = variables()?;
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

/// The fixtures with a seed, an operator, and a policy that opens the doors of keys in the clear.
fn variables() -> Result<Provided> {
    let mut variables = fixtures::variables();
    let jwks: Value = serde_json::from_str(&variables["token_keys"])?;
    let policies = json!([{
        "name": "bench",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks},
        "drm": {"clearkey": {}, "aes128": {}},
    }]);
    let records = json!([{
        "id": KID, "kid": KID, "key": "000102030405060708090a0b0c0d0e0f",
        "systems": ["clearkey", "aes128"],
    }]);
    let changes = [
        ("key_seed", SEED.to_owned()),
        ("operator_token", OPERATOR.to_owned()),
        ("policies", policies.to_string()),
        ("content_keys", records.to_string()),
    ];
    variables.extend(changes.map(|(name, value)| (name.to_owned(), value)));
    Ok(variables)
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
    let tokens: Value = serde_json::from_str(fixtures::TOKENS)?;
    let viewer = tokens["hs256"].as_str().context("the token")?;
    let clearkey = json!({"kids": [STANDARD.encode([0x33; 16])]}).to_string();
    let aes128 = "/aes128/33333333-3333-3333-3333-333333333333";
    let of = |name, keys, method, path, body: Vec<u8>| Asked {
        name,
        keys,
        bearer: match path {
            "/clearkey" => viewer.to_owned(),
            path if path == aes128 => viewer.to_owned(),
            _ => OPERATOR.to_owned(),
        },
        method,
        path,
        body,
    };
    let [get, post] = [Method::GET, Method::POST];
    Ok(vec![
        of(
            "Clear Key",
            1,
            post.clone(),
            "/clearkey",
            clearkey.into_bytes(),
        ),
        of("AES-128", 1, get.clone(), aes128, Vec::new()),
        of(
            "SPEKE 2.0, four tracks, three systems",
            4,
            post.clone(),
            "/speke/copyProtection",
            document.into_bytes(),
        ),
        of(
            "CPIX by GET, four tracks, three systems",
            4,
            get,
            "/cpix/movie-42?tracks=AUDIO,SD,HD,UHD",
            Vec::new(),
        ),
        of(
            "getcontentkey, five tracks",
            5,
            post.clone(),
            getcontentkey,
            common_encryption(None),
        ),
        of(
            "getcontentkey, ten periods of five tracks",
            50,
            post.clone(),
            getcontentkey,
            common_encryption(Some(10)),
        ),
        of(
            "AcquirePackagingData",
            1,
            post,
            "/playready/packaging",
            program.as_bytes().to_vec(),
        ),
    ])
}
