//! Sessions, over deaths of the host.

use std::time::Duration;

use base64::Engine;
use keylet::encoding::BASE64_URL;
use keylet::fairplay::client::PlaybackState;
use keylet_cli::device::{Licence, SpcOptions};
use keylet_cli::fixtures::variables;
use keylet_cli::random;
use keylet_host::Provided;
use serde_json::{Value, json};

use crate::support::{Directory, Process, device, free_port, serve};

/// Seconds of a period.
const PERIOD: u64 = 6;

/// A host with its store in a file.
struct Host {
    port: u16,
    directory: Directory,
    variables: Provided,
    process: Option<Process>,
}

impl Host {
    fn new() -> Self {
        let mut variables = variables();
        let token_keys =
            json!({"keys": [{"kty": "oct", "alg": "HS256", "k": BASE64_URL.encode([7; 32])}]});
        for (name, value) in [
            ("token_keys", token_keys.to_string()),
            ("token_issuer", "*".to_owned()),
            ("token_audience", "*".to_owned()),
            (
                "server_secret",
                "a secret of 32 bytes or more, for tests".to_owned(),
            ),
            ("session_period", PERIOD.to_string()),
        ] {
            variables.insert(name.to_owned(), value);
        }
        let mut this = Self {
            port: free_port(),
            directory: Directory::new("session-deaths"),
            variables,
            process: None,
        };
        this.die();
        this
    }

    /// Kills the host with SIGKILL, if it runs, and starts it again.
    fn die(&mut self) {
        // Dropping a process kills it and waits for it.
        self.process = None;
        let state = self.directory.0.display().to_string();
        self.process = Some(serve(self.port, &["--state-dir", &state], &self.variables));
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Vec<u8>, Option<String>) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, mut body) = agent
            .run(request.body(body.to_vec()).unwrap())
            .unwrap()
            .into_parts();
        let session = parts
            .headers
            .get("keylet-session")
            .map(|token| token.to_str().unwrap().to_owned());
        (parts.status.as_u16(), body.read_to_vec().unwrap(), session)
    }

    /// Opens a session for a player: its status, id and token.
    fn open(&self, player: &str) -> (u16, String, String) {
        let bearer = format!("Bearer {}", token());
        let body = json!({"device": player}).to_string();
        let (status, answer, _) = self.send(
            "POST",
            "/sessions",
            &[("authorization", &bearer)],
            body.as_bytes(),
        );
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (status, text("session_id"), text("session_token"))
    }

    fn beat(&self, id: &str, session: &str) -> (u16, Option<String>) {
        let path = format!("/sessions/{id}/heartbeat");
        let (status, _, next) = self.send("POST", &path, &[("keylet-session", session)], &[]);
        (status, next)
    }

    fn licence(&self, session: &str) -> u16 {
        let options = SpcOptions {
            hu: Some([9; 20]),
            ..SpcOptions::new("skd://movie-1").playing(PlaybackState::FIRST)
        };
        let (spc, secrets) = device(&options);
        let bearer = format!("Bearer {}", token());
        let headers = [
            ("authorization", bearer.as_str()),
            ("keylet-session", session),
        ];
        let (status, ckc, _) = self.send("POST", "/fairplay", &headers, &spc);
        assert!(status != 200 || Licence::open(&ckc, &secrets).is_ok());
        status
    }
}

/// A token of one viewer, with one stream.
fn token() -> String {
    let claims = json!({
        "sub": "viewer-1", "iss": "test", "aud": "test",
        "exp": keylet::platform::system_time() + 300,
        "entitlements": [{"keys": ["*"], "max_streams": 1}],
    });
    let signer = keylet_cli::jwt::Signer::Hs256(vec![7; 32]);
    signer.token(None, &claims, &mut random::system()).unwrap()
}

#[test]
fn a_host_that_is_killed_between_any_two_steps_loses_no_session_and_frees_no_slot() {
    let mut host = Host::new();
    let (status, id, first) = host.open("a");
    assert_eq!(status, 200);
    host.die();
    assert_eq!(host.open("b").0, 409, "the slot is a's");
    host.die();
    assert_eq!(host.open("a").1, id, "the same player has the same session");
    host.die();
    let (status, next) = host.beat(&id, &first);
    assert_eq!(status, 200);
    let second = next.unwrap();
    host.die();
    assert_eq!(host.licence(&second), 200);
    host.die();
    assert_eq!(host.open("b").0, 409);

    // Through two periods more, with a death after each word of the player.
    let mut session = second;
    for _ in 0..4 {
        let before = session.clone();
        std::thread::sleep(Duration::from_secs(PERIOD / 2));
        let (status, next) = host.beat(&id, &session);
        assert_eq!(status, 200);
        host.die();
        assert_eq!(
            host.beat(&id, &before).0,
            200,
            "an answer that was lost ends nothing"
        );
        assert_eq!(host.open("b").0, 409);
        host.die();
        session = next.unwrap();
    }

    let path = format!("/sessions/{id}");
    assert_eq!(
        host.send("DELETE", &path, &[("keylet-session", &session)], &[])
            .0,
        204
    );
    host.die();
    assert_eq!(host.beat(&id, &session).0, 403);
    assert_eq!(host.licence(&session), 403);
    host.die();
    let (status, other, _) = host.open("b");
    assert_eq!(status, 200, "the slot is free");
    assert_ne!(other, id);
    host.die();
    assert_eq!(host.open("a").0, 409);
}
