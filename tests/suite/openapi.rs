//! The `OpenAPI` document, against what the component does.

use std::collections::BTreeSet;

use keylet::error::Code;
use keylet::service;
use serde_json::Value;

use crate::support::{FIXTURE_SERVER, get, manifest};

fn document() -> Value {
    let answer = get(&FIXTURE_SERVER, "/openapi.json");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    answer.json()
}

/// What a reference stands for.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).expect(reference),
        None => value,
    }
}

#[test]
fn it_is_openapi_3_1_and_every_reference_in_it_leads_somewhere() {
    fn check(document: &Value, value: &Value) {
        resolved(document, value);
        match value {
            Value::Object(members) => members.values().for_each(|value| check(document, value)),
            Value::Array(values) => values.iter().for_each(|value| check(document, value)),
            _ => {}
        }
    }
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    check(&document, &document);
}

#[test]
fn it_has_the_routes_that_there_are_and_no_others() {
    let document = document();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    let served = service::routes().map(|(path, method)| (path.to_owned(), method.to_string()));
    assert_eq!(documented, served.collect());
}

#[test]
fn it_has_every_code_with_its_status() {
    let document = document();
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name).collect();
    assert_eq!(
        document["components"]["schemas"]["Code"]["enum"],
        serde_json::json!(names)
    );
    // Refusals of packagers' documents are theirs alone.
    let of = |path: &str, method: &str| &document["paths"][path][method]["responses"];
    let (licence, packagers) = (of("/fairplay", "post"), of("/cpix/{contentId}", "get"));
    for code in Code::ALL.iter().filter(|code| code.status != 405) {
        let status = code.status.to_string();
        assert!(
            licence.get(&status).or(packagers.get(&status)).is_some(),
            "{}",
            code.name
        );
    }
}

#[test]
fn every_answer_to_a_case_of_the_manifest_is_documented() {
    let document = document();
    for case in manifest()
        .cases
        .iter()
        .filter(|case| case.expect.status != 405)
    {
        let pattern = service::route_name(case.path.split('?').next().unwrap());
        if pattern == "other" {
            continue;
        }
        let method = case.method.as_deref().unwrap_or("POST").to_lowercase();
        let responses = &document["paths"][pattern][&method]["responses"];
        let response = responses.get(case.expect.status.to_string());
        let response = resolved(
            &document,
            response.unwrap_or_else(|| panic!("{}", case.name)),
        );
        let content_type = match (case.expect.status, case.expect.form.as_deref()) {
            (204, _) => continue,
            (200, None | Some("raw")) => "application/octet-stream",
            (200, Some("base64" | "ckc-xml")) => "text/plain",
            (200, Some(_)) => "application/json",
            _ => "application/problem+json",
        };
        assert!(
            response["content"].get(content_type).is_some(),
            "{}",
            case.name
        );
    }
}
