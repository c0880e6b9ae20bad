//! The key records of the variable `content_keys` in a file of variables.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail};
use keylet::configuration::SettingError;
use keylet::content_key::store::{Outcome, PutError};
use keylet::content_key::{self, VARIABLE};
use keylet::encoding;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::import::{Item, Report, with_hint};
use super::listed::Listed;
use super::name;
use crate::commands::sentences;
use crate::commands::variables_file::VariablesFile;

/// The records of a file; none when it does not set the variable.
pub fn records(variables: &VariablesFile) -> Result<Vec<Value>> {
    let Some(text) = variables.read(VARIABLE)? else {
        return Ok(Vec::new());
    };
    let records = encoding::json_list(text.as_bytes());
    records.map_err(|reason| anyhow!("{variables}: {VARIABLE}: {reason}"))
}

/// Where the record of an id is among others.
pub fn position(records: &[Value], id: &str) -> Option<usize> {
    records.iter().position(|record| record["id"] == id)
}

/// Writes records that the server reads.
pub fn write(variables: &VariablesFile, records: &[Value]) -> Result<()> {
    let text = Zeroizing::new(json!(records).to_string());
    if let Err(problems) = content_key::read_all(&text) {
        bail!(
            "the server would not read these keys: {}",
            sentences(&problems)
        );
    }
    variables.write(VARIABLE, Some(&text))
}

/// The records for a list, with their keys or without.
pub fn listed(variables: &VariablesFile, has_keys: bool) -> Result<Vec<Listed>> {
    let records = records(variables)?.into_iter().map(|record| {
        let Value::Object(mut record) = record else {
            bail!("{variables}: {VARIABLE}: a record is not a JSON object");
        };
        if !has_keys && let Some(Value::String(key)) = record.remove("key") {
            drop(Zeroizing::new(key));
        }
        Ok(Listed::of_record(record))
    });
    records.collect()
}

/// The record of an id, with its key.
pub fn find(variables: &VariablesFile, id: &str) -> Result<Map<String, Value>> {
    let records = records(variables)?;
    let found = position(&records, name(id)).and_then(|index| records.get(index));
    let record = found.and_then(Value::as_object).cloned();
    record.with_context(|| absent(variables, id))
}

/// Takes records out. A copy of the file stays beside it.
pub fn delete(variables: &VariablesFile, ids: &[String]) -> Result<()> {
    let mut records = records(variables)?;
    for id in ids {
        let index = position(&records, name(id)).with_context(|| absent(variables, id))?;
        records.remove(index);
    }
    variables.back_up()?;
    if records.is_empty() {
        variables.write(VARIABLE, None)?;
    } else {
        write(variables, &records)?;
    }
    for id in ids {
        eprintln!("{variables}: deleted {:?}", name(id));
    }
    Ok(())
}

/// Puts records into the file: all that can be, or none when the server would not read them.
pub fn import(
    variables: &VariablesFile,
    items: impl Iterator<Item = Item<Map<String, Value>>>,
    may_replace_keys: bool,
    report: &mut Report,
) -> Result<()> {
    // What is not written is not counted.
    let mut counted = Report::default();
    let mut records = records(variables)?;
    let ids = records.iter().enumerate().filter_map(|(index, record)| {
        let id = record["id"].as_str()?;
        Some((id.to_owned(), index))
    });
    let mut places: HashMap<String, usize> = ids.collect();
    for item in items {
        let record = match item.record {
            Ok(record) => record,
            Err(reason) => {
                counted.refuse(&item.origin, item.id.as_deref(), &reason);
                continue;
            }
        };
        let one = Zeroizing::new(json!([record]).to_string());
        if let Err(problems) = content_key::read_all(&one) {
            let reasons: Vec<String> = problems
                .into_iter()
                .map(|problem| {
                    SettingError {
                        index: None,
                        ..problem
                    }
                    .message()
                })
                .collect();
            counted.refuse(&item.origin, item.id.as_deref(), &reasons.join("; "));
            continue;
        }
        let id = item.id.clone().unwrap_or_default();
        let place = places.get(&id).copied();
        match place.and_then(|place| records.get_mut(place)) {
            None => {
                places.insert(id, records.len());
                records.push(Value::Object(record));
                counted.count(Outcome::Created);
            }
            Some(old) if old.as_object() == Some(&record) => counted.count(Outcome::Unchanged),
            Some(old) => {
                let key = |record: &Value| {
                    let text = record["key"].as_str().unwrap_or_default();
                    encoding::fixed::<16>(text).map(Zeroizing::new)
                };
                let record = Value::Object(record);
                if key(old) != key(&record) && !may_replace_keys {
                    let reason = with_hint(&PutError::OtherKey.to_string(), true);
                    counted.refuse(&item.origin, item.id.as_deref(), &reason);
                    continue;
                }
                *old = record;
                counted.count(Outcome::Replaced);
            }
        }
    }
    if counted.changed() > 0 {
        variables.back_up()?;
        write(variables, &records)?;
    }
    *report = counted;
    Ok(())
}

fn absent(variables: &VariablesFile, id: &str) -> String {
    format!(
        "{variables}: there is no key {:?}; `keylet keys list` shows those that there are",
        name(id)
    )
}
