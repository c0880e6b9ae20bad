//! Every case of the manifest, through the component.

use base64::Engine;
use keylet::error::Code;
use keylet_cli::device::{Licence, Secrets};
use keylet_cli::fixtures::Case;

use crate::support::{Answer, fixture, fixture_path, in_every_world, manifest, request, send_to};

#[test]
fn every_case_of_the_manifest_is_answered_as_it_says() {
    in_every_world(|server| {
        let failures = failures(|case| answer(&server.url(), case));
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}

/// The cases of the manifest that are not answered as it says, each with what is wrong.
pub(crate) fn failures(answer: impl Fn(&Case) -> Answer) -> Vec<String> {
    let manifest = manifest();
    assert!(manifest.cases.len() > 150);
    let failures = manifest.cases.iter().filter_map(|case| {
        let wrong = problems(case, &answer(case));
        (!wrong.is_empty())
            .then(|| format!("{} ({}): {}", case.name, case.comment, wrong.join("; ")))
    });
    failures.collect()
}

#[test]
fn every_code_has_a_case_or_a_test_that_names_it() {
    let cases = manifest().cases;
    let elsewhere = [
        include_str!("abuse.rs"),
        include_str!("../../fixtures/token-places.json"),
        include_str!("callback.rs"),
        include_str!("check_in.rs"),
        include_str!("cat.rs"),
        include_str!("clearkey.rs"),
        include_str!("endpoints.rs"),
        include_str!("inspect.rs"),
        include_str!("issuer.rs"),
        include_str!("key_server.rs"),
        include_str!("keys.rs"),
        include_str!("license_data.rs"),
        include_str!("packaging.rs"),
        include_str!("playready.rs"),
        include_str!("policies.rs"),
        include_str!("policy.rs"),
        include_str!("sessions.rs"),
        include_str!("settings.rs"),
        include_str!("stored_keys.rs"),
        include_str!("uses.rs"),
        include_str!("widevine.rs"),
        include_str!("wire.rs"),
    ]
    .concat();
    // The host of this suite always answers.
    let unreachable = [Code::PLATFORM_UNAVAILABLE];
    for code in Code::ALL.iter().filter(|code| !unreachable.contains(code)) {
        let in_case = cases
            .iter()
            .any(|case| case.expect.code.as_deref() == Some(code.name));
        assert!(
            in_case || elsewhere.contains(&format!("\"{}\"", code.name)),
            "no test for {}",
            code.name
        );
    }
}

#[test]
fn every_code_is_documented_with_its_status() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    let document = std::fs::read_to_string(path).unwrap();
    for code in Code::ALL {
        let name = code.name;
        let row = format!("| <a id=\"{name}\"></a>`{name}` | {} |", code.status);
        assert!(document.contains(&row), "docs/errors.md has no row {row}");
    }
}

#[test]
fn case_names_are_unique() {
    let mut names: Vec<String> = manifest().cases.into_iter().map(|case| case.name).collect();
    names.sort();
    assert!(names.array_windows().all(|[a, b]| a != b), "{names:?}");
}

#[test]
fn the_fixtures_are_what_the_command_line_writes() {
    keylet_cli::fixtures::check(&fixture_path("")).unwrap();
}

/// What a server answers to a case, by its base URL.
pub(crate) fn answer(url: &str, case: &Case) -> Answer {
    let (request, path, body) = request(case);
    send_to(url, request, &path, &body)
}

fn problems(case: &Case, answer: &Answer) -> Vec<String> {
    let expect = &case.expect;
    let mut problems = Vec::new();
    let mut check = |what: &str, actual: String, expected: String| {
        if actual != expected {
            problems.push(format!("{what} is {actual}, not {expected}"));
        }
    };
    check(
        "status",
        answer.status.to_string(),
        expect.status.to_string(),
    );
    check(
        "cache-control",
        format!("{:?}", answer.header("cache-control")),
        "Some(\"no-store\")".into(),
    );
    if answer.status >= 400 {
        let problem = answer.json();
        let code = expect.code.clone().unwrap_or_default();
        check(
            "content-type",
            format!("{:?}", answer.header("content-type")),
            "Some(\"application/problem+json\")".into(),
        );
        check(
            "x-keylet-code",
            answer.header("x-keylet-code").unwrap_or_default().into(),
            code.clone(),
        );
        check("code", problem["code"].to_string(), format!("\"{code}\""));
        check(
            "status member",
            problem["status"].to_string(),
            expect.status.to_string(),
        );
        check(
            "fps_status",
            problem["fps_status"].to_string(),
            expect.fps_status.map_or("null".into(), |s| s.to_string()),
        );
        check(
            "request_id",
            problem["request_id"].as_str().unwrap_or_default().into(),
            answer.header("x-request-id").unwrap_or_default().into(),
        );
    } else if let Some(secrets) = &expect.secrets {
        let secrets: Secrets = serde_json::from_slice(&fixture(secrets)).unwrap();
        match ckc(answer, expect.form.as_deref().unwrap_or("raw"))
            .and_then(|ckc| Licence::open(&ckc, &secrets).ok())
        {
            None => problems.push("the CKC does not open".into()),
            Some(licence) => {
                check(
                    "key",
                    hex::encode(&licence.key),
                    expect.key.clone().unwrap_or_default(),
                );
                check(
                    "iv",
                    hex::encode(&licence.iv),
                    expect.iv.clone().unwrap_or_default(),
                );
                let duration = serde_json::to_value(&licence.duration).unwrap();
                check(
                    "duration",
                    duration.to_string(),
                    expect.duration.clone().unwrap_or_default().to_string(),
                );
                check(
                    "hdcp",
                    licence.hdcp.unwrap_or_default().into(),
                    expect.hdcp.clone().unwrap_or_default(),
                );
            }
        }
    } else {
        check("body length", answer.body.len().to_string(), "0".into());
    }
    problems
}

/// Undoes the form of a reply as a player does.
fn ckc(answer: &Answer, form: &str) -> Option<Vec<u8>> {
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
    let text = std::str::from_utf8(&answer.body);
    let member = |pointer: &str| base64(answer.json().pointer(pointer)?.as_str()?);
    let key = |name: &str| format!("/fairplay-streaming-response/streaming-keys/0/{name}");
    match (form, answer.header("content-type")?) {
        ("raw", "application/octet-stream") => Some(answer.body.clone()),
        ("base64", "text/plain") => base64(text.ok()?),
        ("ckc-xml", "text/plain") => {
            base64(text.ok()?.strip_prefix("<ckc>")?.strip_suffix("</ckc>")?)
        }
        ("json", "application/json") => {
            let ckc = member("/ckc")?;
            (member("/CkcMessage")? == ckc && member("/License")? == ckc).then_some(ckc)
        }
        ("envelope", "application/json") => {
            let status = answer.json().pointer(&key("status"))?.as_i64()?;
            member(&key("ckc")).filter(|_| status == 0)
        }
        ("array", "application/json") => member("/0/payload"),
        ("getFairplayLicense", "application/json") => {
            member("/getFairplayLicenseResponse/ckcResponse")
        }
        _ => None,
    }
}
