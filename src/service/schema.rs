//! The schemas of what is sent, by their names in `openapi.json`. They are derived from the types that the
//! handlers serialise.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::fairplay::certificate::CertificateDocument;
use super::fairplay::check_in::ChallengeDocument;
use super::health::{Healthy, Unhealthy};
use super::root::ServiceDocument;
use super::sessions::ssm::SsmSession;
use super::sessions::{EndedSessions, SessionList};
use crate::error::Code;
use crate::fairplay::check_in::Report;
use crate::licence::{CheckIn, Minted, Session};

/// Each schema with its name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name).collect();
    vec![
        ("Code", json!({"type": "string", "enum": codes})),
        ("CheckIn", schema::<CheckIn<Report>>()),
        ("Challenge", schema::<ChallengeDocument>()),
        ("Certificate", schema::<CertificateDocument<'_>>()),
        ("Minted", schema::<Minted>()),
        ("Service", schema::<ServiceDocument>()),
        ("Healthy", schema::<Healthy>()),
        ("Unhealthy", schema::<Unhealthy>()),
        ("Session", schema::<Session>()),
        ("SessionList", schema::<SessionList>()),
        ("SessionsEnded", schema::<EndedSessions>()),
        ("SsmSession", schema::<SsmSession<'_>>()),
    ]
}

/// The schema of a type, whole, without the name that the document has for it.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.into()
}
