//! `keylet demo`: one whole exchange, and how to repeat it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keylet::fairplay::spc::Version;

use crate::built_in;
use crate::client::{Client, Exchange, Played};
use crate::device::{SpcOptions, Wrapping};
use crate::fixtures::{self, Manifest};
use crate::log;
use crate::wire::Profile;
use keylet_host::{AuditTo, Options, Server, World};

const MANIFEST: &str = include_str!("../../../fixtures/manifest.json");

/// A first instance is compiled before it answers.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet demo
";

pub fn run() -> Result<()> {
    log::to_stderr(None);
    let variables = fixtures::variables();
    let start = |port| {
        let listen = vec![(Ipv4Addr::LOCALHOST, port).into()];
        let options = Options {
            listen,
            audit: AuditTo::StandardOutput,
            ..Options::quiet()
        };
        Server::start(built_in(World::Wasip2, variables.clone())?, &options)
    };
    // The usual port of Spin, or any that is free.
    let server = start(3000).or_else(|_| start(0))?;
    let url = format!("{}/fairplay", server.url());

    let key = fixtures::sdk4()?;
    let tokens: std::collections::BTreeMap<String, String> =
        serde_json::from_str(fixtures::TOKENS)?;
    let token = tokens.get("hs256").context("the fixture token")?;
    let manifest: Manifest = serde_json::from_str(MANIFEST)?;
    let case = manifest
        .cases
        .iter()
        .find(|case| case.name == "v1")
        .context("the fixture case")?;

    let exchange = Exchange {
        url: &url,
        key: &key,
        wrapping: Wrapping::Version(Version::V1),
        options: &SpcOptions::new("skd://movie-1"),
        token: Some(token),
        location: None,
        profile: Profile::named("raw").context("the plain form")?,
        headers: &[],
    };
    let Played {
        licence, answer, ..
    } = exchange.run(&Client::new(TIMEOUT, None)?)?;
    ensure!(
        case.expect.key.as_deref() == Some(&hex::encode(&licence.key)),
        "another content key came back"
    );

    println!(
        "
Keylet serves the fixtures at {url}

  token  {token_head}… (HS256, entitled to every key)
  SPC    version 1, {spc} bytes, asset skd://movie-1, from an emulated device
  CKC    {ckc} bytes; R1 and the returned tags are the device's own
  key    {key}, the one configured

Fixture credentials are public: they protect nothing.
",
        token_head = token.chars().take(24).collect::<String>(),
        spc = answer.spc_bytes,
        ckc = answer.answer_bytes,
        key = hex::encode(&licence.key),
    );
    let fixtures = if Path::new("fixtures/manifest.json").exists() {
        "fixtures"
    } else {
        "<the project>/fixtures"
    };
    println!(
        "To repeat it with a ready-made SPC:

  curl -sS -o ckc.bin -H 'authorization: Bearer {token}' \\
    -H 'content-type: application/octet-stream' --data-binary @{fixtures}/spc/v1.bin {url}
  cargo run --release -q -- device open ckc.bin --secrets {fixtures}/spc/v1.json

  curl -sS {base}/healthz

To see Clear Key and HLS AES-128 play in a browser, open the page of examples/player: its README has the two commands.

Ctrl-C ends it.
",
        base = server.url(),
    );
    // Nobody balances a server that is tried out.
    let variables = || Ok(fixtures::variables());
    server.run_until_interrupted(Duration::ZERO, variables, |_, _| Ok(()))
}
