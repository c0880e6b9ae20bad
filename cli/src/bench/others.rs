//! What requests other than FairPlay's cost: keys in the clear, Widevine before a licence service, and keys for packagers by
//! SPEKE, CPIX, Widevine's key request and PlayReady's packaging data.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use keylet::cpix::speke::Version;
use keylet::cpix::{BlankDocument, BlankKey, ProtectionSystem, Scheme, WidevineData};
use keylet::id::Kid;
use keylet_host::{Provided, StoreChoice};
use serde::Serialize;
use serde_json::{Value, json};

use super::{BATCH, Player, Samples, Setup, Times};
use crate::fixtures;

/// The seed of the keys, and who asks for them. Nothing is protected by these.
const SEED: &str = r#"{"algorithm":"hkdf-sha256","seed":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}"#;
/// The KID of the key that is handed out in the clear.
pub(super) const KID: &str = "33333333-3333-3333-3333-333333333333";
pub(super) const OPERATOR: &str = "operator of the benchmark, nobody else";

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
pub(super) struct Asked {
    pub(super) name: &'static str,
    keys: usize,
    pub(super) bearer: String,
    method: Method,
    pub(super) path: &'static str,
    body: Vec<u8>,
}

impl Asked {
    pub(super) fn request(&self) -> Result<Request<Vec<u8>>> {
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
    let service = license_service()?;
    let mut measured = Vec::new();
    for setup in setups {
        let variables = variables(&service)?;
        let origins = vec![service.clone()];
        let server = setup.start_beside(true, variables, StoreChoice::Memory, origins)?;
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
pub(super) fn variables(service: &str) -> Result<Provided> {
    let mut variables = fixtures::variables();
    let jwks: Value = serde_json::from_str(&variables["token_keys"])?;
    let policies = json!([{
        "name": "bench",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks},
        "drm": {"clearkey": {}, "aes128": {}, "widevine": {}},
    }]);
    let widevine = json!({
        "provider": "bench", "key": "00".repeat(32), "iv": "00".repeat(16), "url": format!("{service}/"),
    });
    let records = json!([{
        "id": KID, "kid": KID, "key": "000102030405060708090a0b0c0d0e0f",
        "systems": ["clearkey", "aes128", "widevine"],
    }]);
    let changes = [
        ("key_seed", SEED.to_owned()),
        ("operator_token", OPERATOR.to_owned()),
        ("policies", policies.to_string()),
        ("content_keys", records.to_string()),
        ("widevine", widevine.to_string()),
    ];
    variables.extend(changes.map(|(name, value)| (name.to_owned(), value)));
    Ok(variables)
}

/// A challenge for [`KID`], as long as those of browsers.
pub(super) fn challenge() -> Result<Vec<u8>> {
    let kid = Kid::from_text(KID).context("the KID")?;
    let data = WidevineData::of(&[kid]).to_bytes();
    let content = message(
        1,
        &[message(1, &data), vec![0x10, 1], message(3, &[7; 16])].concat(),
    );
    let request = [message(8, &[7; 4000]), message(2, &content), vec![0x18, 1]].concat();
    Ok([vec![0x08, 1], message(2, &request), message(3, &[7; 256])].concat())
}

/// A field of Protocol Buffers with bytes in it.
fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        let [low, ..] = length.to_le_bytes();
        field.push(low | 0x80);
        length >>= 7;
    }
    let [low, ..] = length.to_le_bytes();
    field.push(low);
    [field, bytes.to_vec()].concat()
}

/// Starts a licence service that gives everybody the same licence. Returns its base URL. It ends with this process.
pub(super) fn license_service() -> Result<String> {
    let body = json!({"status": "OK", "license": STANDARD.encode([7; 600])});
    answering("application/json", body.to_string())
}

/// Starts a server that gives everybody the same answer. Returns its base URL. It ends with this process.
pub(super) fn answering(content_type: &str, body: String) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // A request that cannot be answered is one that the measured server reports.
            let _ = answer(&mut connection, &head, &body);
        }
    });
    Ok(url)
}

fn answer(connection: &mut TcpStream, head: &str, body: &str) -> Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    connection.write_all(format!("{head}{body}").as_bytes())?;
    Ok(())
}

pub(super) fn requests() -> Result<Vec<Asked>> {
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
            "/clearkey" | "/widevine" => viewer.to_owned(),
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
            "Widevine, without the licence service",
            1,
            post.clone(),
            "/widevine",
            challenge()?,
        ),
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
