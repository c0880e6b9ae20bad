//! The source of keys in the variable `content_keys`: a JSON list of records.
//!
//! A licence needs one record. It is found in the text ([`scan`](super::scan)) and only that one is read,
//! so a long list costs little. `GET /healthz` and the command line read all of them.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use zeroize::Zeroizing;

use super::Found;
use super::query::KeyQuery;
use super::record::{self, ContentKey, ContentKeys, SameName, VARIABLE};
use super::scan;
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::drm_system::DrmSystem;
use crate::encoding;
use crate::id::Id;
use crate::platform::{Platform, once};

/// The records, as this instance has them.
#[derive(Default)]
pub struct Records {
    json: OnceCell<Option<Zeroizing<String>>>,
    /// The records that were found before, by the id that the request had.
    found: RefCell<HashMap<Id, Rc<ContentKey>>>,
}

/// How many found records an instance keeps.
const KEPT: usize = 1_000;

impl Records {
    /// The record of a query.
    ///
    /// # Errors
    /// [`SettingsError::Invalid`] when the variable is not a list, when two records have the name, and for a
    /// mistake in the record itself. Other records are not read.
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, SettingsError> {
        // Another query may have found it by a reading of the id that this one does not have.
        let is_named = |key: &&Rc<ContentKey>| query.names().any(|name| key.names.contains(name));
        if let Some(key) = self.found.borrow().get(query.id()).filter(is_named) {
            return Ok(Found::Key(Rc::clone(key)));
        }
        let Some(json) = self.json(platform).await? else {
            return Ok(Found::Off);
        };
        let Some(key) = find(json, query)? else {
            return Ok(Found::NotHere);
        };
        let key = Rc::new(key);
        let mut found = self.found.borrow_mut();
        if found.len() >= KEPT {
            found.clear();
        }
        found.insert(query.id().clone(), Rc::clone(&key));
        Ok(Found::Key(key))
    }

    /// Reads every record. Returns whether the variable is set.
    ///
    /// # Errors
    /// As [`Self::find`], for every record that is wrong.
    pub async fn check(&self, platform: &impl Platform) -> Result<bool, SettingsError> {
        let Some(json) = self.json(platform).await? else {
            return Ok(false);
        };
        read_all(json).map_err(SettingsError::Invalid)?;
        Ok(true)
    }

    /// Reads the variable.
    ///
    /// # Errors
    /// The host does not answer.
    pub async fn read_ahead(&self, platform: &impl Platform) -> Result<(), SettingsError> {
        self.json(platform).await.map(drop)
    }

    /// The list. `None` when the variable is not set.
    async fn json(&self, platform: &impl Platform) -> Result<Option<&str>, SettingsError> {
        let json = once(&self.json, async {
            platform
                .variable(VARIABLE)
                .await
                .map_err(SettingsError::from)
        });
        Ok(json.await?.as_ref().map(|json| json.as_str()))
    }
}

/// Finds the record of a query in a list, and reads that one alone.
fn find(json: &str, query: &KeyQuery) -> Result<Option<ContentKey>, SettingError> {
    let found = scan::find(json, query).map_err(|error| match error {
        scan::Error::NotAList => malformed("it is not a JSON list of records"),
        scan::Error::Empty => malformed("the list is empty, so there is no key to deliver"),
        scan::Error::Record(index) => malformed("it is not a JSON object").at(index),
        scan::Error::SameName(index) => collision(index),
    })?;
    let Some((index, text)) = found else {
        return Ok(None);
    };
    let record = encoding::json(text.as_bytes())
        .map_err(|error| SettingError::from_json_error(VARIABLE, &error))
        .and_then(ContentKey::from_json);
    record.map(Some).map_err(|error| error.at(index))
}

/// Reads a JSON list of records.
///
/// # Errors
/// Every record that is wrong, by its index; never by its content.
pub fn read_all(json: &str) -> Result<ContentKeys, Vec<SettingError>> {
    let list = encoding::json_list(json.as_bytes())
        .map_err(|error| vec![SettingError::from_json_error(VARIABLE, &error)])?;
    if list.is_empty() {
        return Err(vec![malformed(
            "the list is empty, so there is no key to deliver",
        )]);
    }
    let mut problems = Vec::new();
    let mut records = Vec::with_capacity(list.len());
    // Where each record stands in the list.
    let mut indices = Vec::with_capacity(list.len());
    for (index, record) in list.into_iter().enumerate() {
        let unreachable = record::unreachable_id(&record);
        match ContentKey::from_json(record) {
            Ok(record) => {
                let unreachable = unreachable.filter(|_| record.is_for(DrmSystem::FairPlay));
                problems.extend(unreachable.map(|error| error.at(index)));
                records.push(record);
                indices.push(index);
            }
            Err(error) => problems.push(error.at(index)),
        }
    }
    let keys = ContentKeys::new(records);
    if let Err(twice) = &keys {
        let index = |SameName(index): &SameName| indices.get(*index).copied();
        problems.extend(twice.iter().filter_map(index).map(collision));
    }
    match keys {
        Ok(keys) if problems.is_empty() => Ok(keys),
        _ => Err(problems),
    }
}

fn malformed(reason: impl Into<String>) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason)
}

fn collision(index: usize) -> SettingError {
    let reason = "one of its ids reaches another record too";
    SettingError::new(VARIABLE, SettingErrorKind::Collision, reason).at(index)
}
