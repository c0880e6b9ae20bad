//! Whole requests to the server.

use http::Request;
use keylet::error::Code;
use keylet::service::{CODE_HEADER, MAX_BODY, Service};
use serde_json::Value;

use crate::host::{Host, run, variables_with};

/// A line with method and path, headers, an empty line, and a body, as HTTP/1.1 has them. Every answer is well-formed.
pub fn requests(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let mut lines = head.lines();
    let Some((method, path)) = lines.next().and_then(|line| line.split_once(' ')) else {
        return;
    };
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        request = request.header(name, value.trim());
    }
    let Ok(request) = request.body(body.to_vec()) else {
        return;
    };
    if request.body().len() > MAX_BODY || request.method() == http::Method::CONNECT {
        return;
    }
    let variables = variables_with(&[
        ("policies", POLICIES),
        (
            "server_secret",
            "a secret of the server, long enough to be one",
        ),
        (
            "operator_token",
            "a token of the operator, long enough to be one",
        ),
        ("public_url", "https://drm.example"),
        (
            "playready",
            r#"{"kind":"plain","url":"https://license.example/"}"#,
        ),
        ("widevine", WIDEVINE),
        (
            "key_seed",
            r#"{"id":"a","seed":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}"#,
        ),
    ]);
    let is_head = request.method() == http::Method::HEAD;
    let reply = run(Service::new(Host::new(variables)).handle(request));
    let status = reply.status().as_u16();
    if let Some(code) = reply.headers().get(CODE_HEADER) {
        let code = code.to_str().unwrap();
        let known = Code::ALL.iter().find(|known| known.name == code);
        let known = known.expect("a code that is documented");
        assert_eq!(status, known.status, "{code}");
        if !is_head {
            let problem: Value = serde_json::from_slice(reply.body()).expect("a problem document");
            assert_eq!(problem["code"], code);
        }
    } else {
        assert!(
            status < 400 || status == 503,
            "a refusal without a code: {status}"
        );
    }
}

/// Anybody may have anything, so that what comes after the token is reached.
const POLICIES: &str = r#"[{"name": "open", "restriction": "open", "terms": {},
    "drm": {"fairplay": {}, "widevine": {}, "playready": {}, "clearkey": {}, "aes128": {}}}]"#;

/// The credentials that Google publishes for tests.
const WIDEVINE: &str = r#"{"provider": "widevine_test", "url": "https://license.example/",
    "key": "1ae8ccd0e7985cc0b6203a55855a1034afc252980e970ca90e5202689f947ab9", "iv": "d58ce954203b7c9a9a9d467f59839249"}"#;
