//! Tokens that other libraries made, and the examples of the RFCs: what is answered to each of them.
//!
//! `fixtures/jose` holds them with the keys that they were made with; `tests/jose` has the programs that
//! wrote the files of `PyJWT` and `jose`, and each file's `comment` says where it is from.

use std::collections::BTreeSet;

use keylet::encoding;
use keylet::service::Service;
use keylet_host::Provided;
use serde::Deserialize;
use serde_json::Value;

use crate::support::{Native, fixture, run, send, serve, variables_with};

/// Files with tokens of libraries.
const LIBRARIES: [&str; 2] = ["pyjwt", "jose"];
/// Every file.
const FILES: [&str; 3] = ["pyjwt", "jose", "rfc"];

/// The algorithms that the README promises.
const ALGORITHMS: [&str; 12] = [
    "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512", "PS256", "PS384", "PS512", "RS256",
    "RS384", "RS512",
];

#[derive(Deserialize)]
struct Vectors {
    /// A JWKS.
    keys: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    comment: String,
    token: String,
    status: u16,
    code: Option<String>,
}

impl Vectors {
    fn read(name: &str) -> Self {
        serde_json::from_slice(&fixture(&format!("jose/{name}.json"))).unwrap()
    }

    /// The variables of a server that is meant by these tokens.
    fn variables(&self) -> Provided {
        variables_with(&[
            ("token_keys", &self.keys.to_string()),
            ("token_issuer", "https://login.example"),
            ("token_audience", "keylet"),
        ])
    }

    fn accepted(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.status == 200)
    }
}

impl Case {
    fn request(&self) -> http::request::Builder {
        http::Request::post("/fairplay")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/octet-stream")
    }

    /// What is wrong with an answer to it.
    fn problem(&self, status: u16, code: Option<&str>) -> Option<String> {
        let (actual, expected) = ((status, code), (self.status, self.code.as_deref()));
        let Self { name, comment, .. } = self;
        (actual != expected).then(|| format!("{name} ({comment}): {actual:?}, not {expected:?}"))
    }

    /// `alg` of its header, by its first name.
    fn algorithm(&self) -> String {
        let (header, _) = self.token.trim().split_once('.').unwrap();
        let header: Value = serde_json::from_slice(&encoding::base64(header).unwrap()).unwrap();
        match header["alg"].as_str().unwrap() {
            "Ed25519" => "EdDSA".to_owned(),
            name => name.to_owned(),
        }
    }
}

#[test]
fn every_token_of_the_libraries_and_the_rfcs_is_answered_as_its_file_says() {
    let spc = fixture("spc/v1.bin");
    let mut problems = Vec::new();
    for file in FILES {
        let vectors = Vectors::read(file);
        let service = Service::new(Native::new(vectors.variables()));
        problems.extend(vectors.cases.iter().filter_map(|case| {
            let reply = run(service.handle(case.request().body(spc.clone()).unwrap()));
            let code = reply.headers().get("x-keylet-code");
            let code = code.map(|code| code.to_str().unwrap());
            let problem = case.problem(reply.status().as_u16(), code)?;
            Some(format!("{file}: {problem}"))
        }));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_component_accepts_every_sound_token_of_the_libraries() {
    let spc = fixture("spc/v1.bin");
    for file in LIBRARIES {
        let vectors = Vectors::read(file);
        let server = serve(&vectors.variables());
        for case in vectors.accepted() {
            let answer = send(&server, case.request(), "/fairplay", &spc);
            let problem = case.problem(answer.status, answer.header("x-keylet-code"));
            assert_eq!(problem, None, "{file}");
        }
        server.stop();
    }
}

#[test]
fn tokens_of_each_library_are_accepted_in_every_algorithm() {
    for file in LIBRARIES {
        let accepted: BTreeSet<String> = Vectors::read(file)
            .accepted()
            .map(Case::algorithm)
            .collect();
        assert!(
            accepted.iter().eq(ALGORITHMS.iter()),
            "{file}: {accepted:?}"
        );
    }
}

#[test]
fn no_private_key_is_kept_with_the_tokens() {
    for file in FILES {
        for key in Vectors::read(file).keys["keys"].as_array().unwrap() {
            assert!(key.get("d").is_none(), "{file}: {key}");
        }
    }
}
