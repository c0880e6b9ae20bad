//! Where tokens stand in requests, and how they are spelled there.

use keylet::service::Service;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Native, fixture, in_every_world, run, send, token, variables_with};

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

/// A request with a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    query: Option<String>,
    /// `token` of a JSON body.
    member: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// The refusal; `None`: a licence.
    code: Option<String>,
}

impl Case {
    fn answer(&self) -> http::Response<Vec<u8>> {
        let settings = self.settings.iter();
        let settings: Vec<(&str, &str)> = settings.map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let service = Service::new(Native::new(variables_with(&settings)));
        let filled = |text: &str| {
            text.replace("{token}", &token("hs256"))
                .replace("{other}", &token("lease"))
        };
        let query = self.query.as_deref().map(filled).unwrap_or_default();
        let mut request = http::Request::post(format!("/fairplay?{query}"));
        for (name, value) in &self.headers {
            request = request.header(name, filled(value));
        }
        let spc = fixture("spc/v1.bin");
        let (content_type, body) = match &self.member {
            None => ("application/octet-stream", spc),
            Some(member) => {
                let body = json!({"spc": STANDARD.encode(spc), "token": filled(member)});
                ("application/json", body.to_string().into_bytes())
            }
        };
        let request = request.header("content-type", content_type);
        run(service.handle(request.body(body).unwrap()))
    }
}

fn cases() -> Vec<Case> {
    let cases: Cases = serde_json::from_slice(&fixture("token-places.json")).unwrap();
    cases.cases
}

#[test]
fn a_token_is_read_in_every_spelling_that_has_one_meaning_and_named_in_the_others() {
    let mut problems = Vec::new();
    for case in cases() {
        let answer = case.answer();
        let code = answer.headers().get("x-keylet-code");
        let code = code.map(|code| code.to_str().unwrap());
        if code != case.code.as_deref() || (code.is_none() && answer.status() != 200) {
            let status = answer.status();
            problems.push(format!(
                "{}: {status} {code:?}, not {:?}",
                case.name, case.code
            ));
        }
        let body = String::from_utf8_lossy(answer.body());
        let is_told = ["hs256", "lease"]
            .iter()
            .any(|name| body.contains(&token(name)));
        assert!(!is_told, "{}", case.name);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_refusal_says_where_the_token_should_have_been() {
    for (name, expected) in [
        ("word-undefined", "the header `authorization`"),
        ("word-in-query", "`?token=`"),
        ("word-in-body", "`token` of the body"),
        ("word-in-a-vendors-header", "`x-axdrm-message`"),
        ("cookie-word", "a cookie of `token_cookies`"),
        (
            "two-differ",
            "in the header `authorization` and in `?access_token=`",
        ),
        (
            "cookie-of-another-page",
            "`cors_origins` does not name the origin",
        ),
        ("other-scheme", "`Authorization` has a scheme"),
    ] {
        let mut cases = cases().into_iter();
        let case = cases.find(|case| case.name == name).unwrap();
        let problem: Value = serde_json::from_slice(case.answer().body()).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{name}: {detail}");
    }
}

#[test]
fn a_page_may_read_what_came_of_its_viewers_cookie() {
    let allowed = |name: &str| {
        let mut cases = cases().into_iter();
        let answer = cases.find(|case| case.name == name).unwrap().answer();
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header("cache-control").as_deref(), Some("no-store"));
        (
            header("access-control-allow-origin"),
            header("access-control-allow-credentials"),
        )
    };
    let page = Some("https://tv.example".to_owned());
    assert_eq!(
        allowed("cookie-of-a-named-page"),
        (page, Some("true".to_owned()))
    );
    assert_eq!(allowed("cookie-of-another-page"), (None, None));
}

#[test]
fn a_word_in_place_of_a_token_is_named_by_the_built_component() {
    in_every_world(|server| {
        let request = http::Request::post("/").header("authorization", "Bearer undefined");
        let answer = send(server, request, "/fairplay", &fixture("spc/v1.bin"));
        let code = answer.header("x-keylet-code");
        assert_eq!((answer.status, code), (401, Some("token_undefined")));
    });
}
