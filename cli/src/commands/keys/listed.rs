//! A key record as commands show it, wherever it is kept.

use keylet::content_key::store::Deleted;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::terminal::local_time;

/// A record, as `GET /keys?details=true` has it.
#[derive(Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Its members: with the key only where it was asked for.
    #[serde(default)]
    pub record: Map<String, Value>,
    /// The `kid` of the key that encrypted it, where it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<String>,
    /// Whether it is deleted, and until when it can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl Listed {
    /// A record that is not stored, but kept in a variable.
    pub fn of_record(record: Map<String, Value>) -> Self {
        let id = record.get("id").and_then(Value::as_str);
        Self {
            id: id.unwrap_or("-").to_owned(),
            record,
            encryption_key: None,
            deleted: None,
            code: None,
        }
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let kid = self.record.get("kid").and_then(Value::as_str);
        let mut line = format!("{:<36}  {:<36}", self.id, kid.unwrap_or("-"));
        if let Some(Value::Array(systems)) = self.record.get("systems") {
            let names: Vec<&str> = systems.iter().filter_map(Value::as_str).collect();
            line.push_str("  ");
            line.push_str(&names.join(","));
        }
        if let Some(terms) = self.record.get("terms") {
            line.push_str(&format!("  {terms}"));
        }
        if let Some(deleted) = self.deleted {
            let until = local_time(deleted.until);
            line.push_str(&format!("  deleted, to be restored until {until}"));
        }
        if let Some(code) = &self.code {
            line.push_str(&format!("  {code}"));
        }
        line.truncate(line.trim_end().len());
        line
    }
}
