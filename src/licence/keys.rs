//! The operator's work on stored keys. Each change is written to the audit, without a key.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::audit::Audit;
use super::{Error, LicenceServer};
use crate::configuration::Configured;
use crate::content_key::KeyError;
use crate::content_key::store::{Catalogue, Deleted, Entry, GRACE, Outcome};
use crate::error::Code;
use crate::id::Id;
use crate::platform::Platform;

/// What the audit calls this part of the server.
const KEYS: &str = "keys";

/// The most records of a request.
pub const MOST_KEYS: usize = 1_000;

/// What became of the records of an import.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyImport {
    /// How many were not there.
    created: usize,
    /// How many were there, and changed.
    replaced: usize,
    /// How many were there as they are.
    unchanged: usize,
    /// Those that are not stored. Nothing of them was written.
    refused: Vec<RefusedKey>,
}

/// A record that is not stored, or not encrypted again.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RefusedKey {
    /// Its place in the request, counted from 0.
    index: usize,
    /// Its id, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// What kind of problem.
    code: &'static str,
    /// What is wrong, in a sentence.
    message: String,
}

/// A stored record.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoredKey {
    /// Its members, as in `content_keys`. `key` is among them only where it was asked for.
    record: Map<String, Value>,
    /// The `kid` of the key that encrypted it.
    encryption_key: String,
    /// Whether it is deleted, and until when it can be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<Deleted>,
}

/// A record in a list.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListedKey {
    /// Its id.
    id: String,
    /// The record, where it was asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    stored: Option<StoredKey>,
    /// What is wrong with the record, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// A page of the list of records.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyList {
    /// The records, in the order of their ids.
    keys: Vec<ListedKey>,
    /// What `after` is for the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What became of a record.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyPut {
    outcome: Outcome,
}

/// A deletion.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyDeleted {
    deleted: Deleted,
}

/// Records to encrypt again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyRotationRequest {
    /// Their ids.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1000)))]
    pub ids: Vec<String>,
}

/// What became of records that were to be encrypted again.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyRotation {
    /// How many were encrypted under the first key, or taken out because their time was over.
    encrypted: usize,
    /// How many were encrypted under it already, or are not there.
    unchanged: usize,
    /// Those that do not open.
    refused: Vec<RefusedKey>,
}

/// What a page of the list has.
pub struct Page<'a> {
    /// The id behind which it begins.
    pub after: &'a str,
    /// How many records it has at most.
    pub limit: usize,
    /// Whether the records are read.
    pub has_details: bool,
}

impl<P: Platform> LicenceServer<P> {
    /// Stores records: each as a whole, or not at all.
    ///
    /// # Errors
    /// [`Error::KeysOff`], and a store that does not answer. What was stored before that stays, and importing the same
    /// records again brings it to its end.
    pub async fn import_keys(
        &self,
        request_id: &str,
        records: Vec<Value>,
        may_replace_keys: bool,
    ) -> Result<KeyImport, Error> {
        let mut audit = self.audit_of("import", request_id);
        let mut report = KeyImport::default();
        let mut changed = Changed::default();
        let result = self
            .import(records, may_replace_keys, &mut report, &mut changed)
            .await;
        audit.details.extend(changed.details());
        audit
            .details
            .push(("refused_keys", report.refused.len().into()));
        self.changed(audit, result.map(|()| report))
    }

    async fn import(
        &self,
        records: Vec<Value>,
        may_replace_keys: bool,
        report: &mut KeyImport,
        changed: &mut Changed,
    ) -> Result<(), Error> {
        if records.len() > MOST_KEYS {
            return Err(Error::Request("there are more than 1000 records"));
        }
        let catalogue = self.catalogue().await?;
        for (index, record) in records.into_iter().enumerate() {
            let Value::Object(record) = record else {
                let (code, message) = (Code::KEY_RECORD_INVALID, "it is not a JSON object");
                report
                    .refused
                    .push(RefusedKey::new(index, None, code, message));
                continue;
            };
            let id = record.get("id").and_then(Value::as_str);
            let id = id.map(ToOwned::to_owned);
            let put = catalogue.put(record, may_replace_keys).await;
            match put.map_err(KeyError::from)? {
                Ok(Outcome::Created) => {
                    report.created += 1;
                    changed.created.extend(id);
                }
                Ok(Outcome::Replaced) => {
                    report.replaced += 1;
                    changed.replaced.extend(id);
                }
                Ok(Outcome::Unchanged) => report.unchanged += 1,
                Err(error) => {
                    let code = error.code();
                    report
                        .refused
                        .push(RefusedKey::new(index, id, code, error.to_string()));
                }
            }
        }
        Ok(())
    }

    /// Stores one record.
    ///
    /// # Errors
    /// [`Error::KeysOff`], [`Error::Put`], and a store that does not answer.
    pub async fn put_key(
        &self,
        request_id: &str,
        record: Map<String, Value>,
        may_replace_key: bool,
    ) -> Result<KeyPut, Error> {
        let mut audit = self.audit_of("put", request_id);
        let id = record.get("id").and_then(Value::as_str);
        audit.details.push(("ids", json!(id.as_slice())));
        let put = async {
            let catalogue = self.catalogue().await?;
            let put = catalogue.put(record, may_replace_key).await;
            let outcome = put.map_err(KeyError::from)?.map_err(Error::Put)?;
            Ok(KeyPut { outcome })
        };
        let put = put.await;
        if let Ok(KeyPut { outcome }) = &put {
            audit.details.push(("outcome", json!(outcome)));
        }
        self.changed(audit, put)
    }

    /// A page of the list.
    ///
    /// # Errors
    /// [`Error::KeysOff`], and a store that does not answer.
    pub async fn list_keys(&self, page: Page<'_>) -> Result<KeyList, Error> {
        let catalogue = self.catalogue().await?;
        let limit = page.limit.clamp(1, MOST_KEYS);
        let listed = catalogue.list(page.after, limit).await;
        let listed = listed.map_err(KeyError::from)?;
        let next = listed.ids.last().filter(|_| listed.has_more).cloned();
        let mut keys = Vec::with_capacity(listed.ids.len());
        for id in listed.ids {
            let entry = match page.has_details {
                true => catalogue.entry(&id).await.map_err(KeyError::from)?,
                false => None,
            };
            let (stored, code) = match entry {
                Some(Ok(entry)) => (Some(StoredKey::new(entry, false)), None),
                Some(Err(fault)) => (None, Some(KeyError::from(fault).code().name)),
                None => (None, None),
            };
            keys.push(ListedKey { id, stored, code });
        }
        Ok(KeyList { keys, next })
    }

    /// The record of a name. That its key was read is written to the audit.
    ///
    /// # Errors
    /// [`Error::KeyNotFound`], [`Error::KeysOff`], and what [`KeyError`] names.
    pub async fn stored_key(
        &self,
        request_id: &str,
        name: &Id,
        has_key: bool,
    ) -> Result<StoredKey, Error> {
        let catalogue = self.catalogue().await?;
        let find = async {
            let entry = self.entry(&catalogue, name).await?;
            Ok(StoredKey::new(entry, has_key))
        };
        if !has_key {
            return find.await;
        }
        let mut audit = self.audit_of("read", request_id);
        audit.details.push(("ids", json!([name.to_string()])));
        self.audited(audit, find.await)
    }

    /// Deletes a record: no licence has its key any more, and it can be restored for `grace` seconds, a week by default.
    /// An instance that lives on may use it for a minute more.
    ///
    /// # Errors
    /// As [`Self::stored_key`].
    pub async fn delete_key(
        &self,
        request_id: &str,
        name: &Id,
        grace: Option<u64>,
    ) -> Result<KeyDeleted, Error> {
        let mut audit = self.audit_of("delete", request_id);
        audit.details.push(("ids", json!([name.to_string()])));
        let delete = async {
            let catalogue = self.catalogue().await?;
            let entry = self.entry(&catalogue, name).await?;
            let deleted = catalogue.delete(&entry, grace.unwrap_or(GRACE)).await?;
            Ok(KeyDeleted { deleted })
        };
        self.changed(audit, delete.await)
    }

    /// Restores a deleted record.
    ///
    /// # Errors
    /// As [`Self::stored_key`].
    pub async fn restore_key(&self, request_id: &str, name: &Id) -> Result<StoredKey, Error> {
        let mut audit = self.audit_of("restore", request_id);
        audit.details.push(("ids", json!([name.to_string()])));
        let restore = async {
            let catalogue = self.catalogue().await?;
            let mut entry = self.entry(&catalogue, name).await?;
            catalogue.restore(&entry).await?;
            entry.deleted = None;
            Ok(StoredKey::new(entry, false))
        };
        self.changed(audit, restore.await)
    }

    /// Encrypts records under the first key of `key_encryption_keys`.
    ///
    /// # Errors
    /// [`Error::KeysOff`], and a store that does not answer.
    pub async fn rotate_keys(
        &self,
        request_id: &str,
        request: &KeyRotationRequest,
    ) -> Result<KeyRotation, Error> {
        let mut audit = self.audit_of("rotate", request_id);
        let mut report = KeyRotation::default();
        let rotate = async {
            if request.ids.len() > MOST_KEYS {
                return Err(Error::Request("there are more than 1000 ids"));
            }
            let catalogue = self.catalogue().await?;
            for (index, id) in request.ids.iter().enumerate() {
                match catalogue.encrypt_again(id).await {
                    Ok(true) => report.encrypted += 1,
                    Ok(false) => report.unchanged += 1,
                    Err(KeyError::Stored(fault)) => {
                        let message = fault.to_string();
                        let code = KeyError::from(fault).code();
                        let id = Some(id.clone());
                        report
                            .refused
                            .push(RefusedKey::new(index, id, code, message));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        };
        let result = rotate.await;
        audit.details.push(("encrypted", report.encrypted.into()));
        audit
            .details
            .push(("refused_keys", report.refused.len().into()));
        self.audited(audit, result.map(|()| report))
    }

    fn audit_of<'a>(&self, action: &'static str, request_id: &'a str) -> Audit<'a> {
        let mut audit = Audit::new(KEYS, self.platform.now(), request_id);
        audit.details.push(("action", action.into()));
        audit
    }

    /// Writes what became of a change, and clears what this instance keeps of the records: some may have changed even if
    /// the request failed half-way.
    fn changed<T>(&self, audit: Audit<'_>, result: Result<T, Error>) -> Result<T, Error> {
        if let Some(stored) = self.keys.stored() {
            stored.forget();
        }
        self.audited(audit, result)
    }

    /// The stored records.
    async fn catalogue(&self) -> Result<Catalogue<'_, Configured<P>>, Error> {
        let stored = self.keys.stored().ok_or(Error::KeysOff)?;
        let keys = stored.encryption_keys(&self.platform).await?;
        Ok(Catalogue::new(keys.ok_or(Error::KeysOff)?, &self.platform))
    }

    async fn entry(
        &self,
        catalogue: &Catalogue<'_, Configured<P>>,
        name: &Id,
    ) -> Result<Entry, Error> {
        catalogue.find(name).await?.ok_or(Error::KeyNotFound)
    }
}

/// The ids of records that an import changed.
#[derive(Default)]
struct Changed {
    created: Vec<String>,
    replaced: Vec<String>,
}

impl Changed {
    fn details(self) -> [(&'static str, Value); 2] {
        [
            ("created", self.created.into()),
            ("replaced", self.replaced.into()),
        ]
    }
}

impl RefusedKey {
    fn new(index: usize, id: Option<String>, code: Code, message: impl Into<String>) -> Self {
        Self {
            index,
            id,
            code: code.name,
            message: message.into(),
        }
    }
}

impl StoredKey {
    fn new(entry: Entry, has_key: bool) -> Self {
        let mut record = entry.record;
        if has_key {
            let key = hex::encode(entry.key.key.expose());
            record.insert("key".to_owned(), key.into());
        }
        Self {
            record,
            encryption_key: entry.encryption_key,
            deleted: entry.deleted,
        }
    }
}
