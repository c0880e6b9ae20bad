//! The schemas of `openapi.json`, from the types that handlers send and read.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::fairplay::certificate::CertificateDocument;
use super::fairplay::check_in::ChallengeDocument;
use super::fairplay::reply::{ArrayReply, EnvelopeReply, LicenceDocument};
use super::health::{Healthy, Unhealthy};
use super::problem::schema::ProblemDocument;
use super::root::ServiceDocument;
use super::sessions::ssm::{SsmDone, SsmSession};
use super::sessions::{EndedSessions, SessionList};
use crate::clearkey::{LicenseDocument, RequestDocument};
use crate::fairplay::check_in::Report;
use crate::licence::{
    CheckIn, KeyDeleted, KeyImport, KeyList, KeyPut, KeyRotation, KeyRotationRequest, LicenseData,
    Minted, OpenSessionRequest, OperatorTokenRequest, Session, StoredKey, ViewerTokenRequest,
};
use crate::sweep::Swept;

/// The schema of each document, by name.
fn schemas() -> Map<String, Value> {
    macro_rules! schemas {
        ($settings:expr, $($document:ty),* $(,)?) => {{
            let mut settings = $settings;
            settings.definitions_path = "/components/schemas".into();
            let mut generator = settings.into_generator();
            $(generator.subschema_for::<$document>();)*
            generator.take_definitions(true)
        }};
    }
    let mut schemas = schemas![
        SchemaSettings::draft2020_12().for_serialize(),
        ProblemDocument,
        LicenceDocument<'_>,
        EnvelopeReply<'_>,
        ArrayReply<'_>,
        CheckIn<Report>,
        ChallengeDocument,
        CertificateDocument<'_>,
        Minted,
        LicenseData,
        ServiceDocument,
        Healthy,
        Unhealthy,
        Session,
        SessionList,
        EndedSessions,
        SsmSession<'_>,
        SsmDone,
        KeyList,
        KeyImport,
        KeyPut,
        StoredKey,
        KeyDeleted,
        KeyRotation,
        Swept,
        LicenseDocument<'_>,
    ];
    schemas.extend(schemas![
        SchemaSettings::draft2020_12().for_deserialize(),
        RequestDocument,
        OperatorTokenRequest,
        ViewerTokenRequest,
        OpenSessionRequest,
        KeyRotationRequest,
    ]);
    schemas.values_mut().for_each(simplify);
    schemas
}

/// Removes what is of no use to a client: formats of integers, line breaks of doc comments, and `null` for
/// members that may be left out.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_integer = |format: &Value| {
                let format = format.as_str().unwrap_or_default();
                format.starts_with("int") || format.starts_with("uint")
            };
            if members.get("format").is_some_and(is_integer) {
                members.remove("format");
            }
            if let Some(Value::String(description)) = members.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            let required = members.get("required").cloned().unwrap_or_default();
            let is_required = |name: &str| {
                let mut names = required.as_array().into_iter().flatten();
                names.any(|required| required == name)
            };
            if let Some(Value::Object(properties)) = members.get_mut("properties") {
                let optional = properties.iter_mut().filter(|(name, _)| !is_required(name));
                optional.for_each(|(_, schema)| remove_null(schema));
            }
            members.values_mut().for_each(simplify);
        }
        Value::Array(values) => values.iter_mut().for_each(simplify),
        _ => {}
    }
}

fn remove_null(schema: &mut Value) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [only] = choices.as_slice() {
            let only = only.clone();
            let members = schema.as_object_mut().into_iter();
            members.for_each(|members| drop(members.remove("anyOf")));
            if let (Value::Object(members), Value::Object(only)) = (schema, only) {
                members.extend(only);
            }
        }
    }
}

/// The lines of `source`, a JSON document as `serde_json` prints it, with each of `schemas` in its
/// `components.schemas`, in place of the one of the same name or at the end.
fn rewrite(source: &str, schemas: &Map<String, Value>) -> String {
    let mut lines: Vec<String> = source.lines().map(ToOwned::to_owned).collect();
    let find = |lines: &[String], from: usize, line: &str| {
        let mut found = lines.iter().skip(from);
        found
            .position(|l| l == line || *l == format!("{line},"))
            .map(|i| from + i)
    };
    for (name, schema) in schemas {
        let start = find(&lines, 0, "    \"schemas\": {").expect("`schemas`");
        let end = find(&lines, start, "    }").expect("the end of `schemas`");
        let key = format!("      {}: {{", Value::from(name.as_str()));
        let text = format!("      {}: {schema:#}", Value::from(name.as_str()));
        let text = text.replace('\n', "\n      ");
        match find(&lines, start, &key).filter(|at| *at < end) {
            Some(at) => {
                let last = find(&lines, at, "      }").expect("the end of a schema");
                let comma = if lines[last].ends_with(',') { "," } else { "" };
                lines.splice(at..=last, [text + comma]);
            }
            None => {
                lines[end - 1].push(',');
                lines.insert(end, text);
            }
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn every_schema_of_openapi_json_is_used() {
    let source = include_str!("openapi.json");
    let document: Value = serde_json::from_str(source).unwrap();
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let reference = format!("\"#/components/schemas/{name}\"");
        assert!(source.contains(&reference), "{name}");
    }
}

/// With `KEYLET_BLESS=1` the test writes the schemas into the file.
#[test]
fn openapi_json_has_the_schemas_of_the_documents_that_are_sent() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/service/openapi.json");
    let source = std::fs::read_to_string(path).unwrap();
    let fresh = rewrite(&source, &schemas());
    if std::env::var_os("KEYLET_BLESS").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == fresh,
        "openapi.json is stale: run KEYLET_BLESS=1 cargo test -p keylet --features schema openapi"
    );
}
