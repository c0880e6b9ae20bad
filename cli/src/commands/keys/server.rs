//! The stored keys of a server that runs, by its routes for the operator.

use anyhow::{Context, Result, anyhow, bail};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use keylet::content_key::store::{Deleted, Outcome};
use keylet::error::Code;
use keylet::licence::MOST_KEYS;
use keylet::service::MAX_BODY;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::import::{Item, Report, with_hint};
use super::listed::Listed;
use super::rotate::Rotation;
use crate::client::{Client, Failure};
use crate::progress::Counter;
use crate::wire::percent_encoded;

/// The most bytes of a request, a little less than a server takes.
const MOST_BYTES: usize = MAX_BODY - 16 * 1024;

/// A server, and the operator's token.
pub struct Server {
    client: Client,
    url: String,
    token: Zeroizing<String>,
}

/// What became of the records of a request.
#[derive(Deserialize)]
struct Imported {
    created: u64,
    replaced: u64,
    unchanged: u64,
    refused: Vec<Refused>,
}

/// A record that the server did not take.
#[derive(Deserialize)]
struct Refused {
    index: Option<usize>,
    id: Option<String>,
    code: String,
    message: Option<String>,
}

/// A page of the list.
#[derive(Deserialize)]
struct Page {
    keys: Vec<Listed>,
    next: Option<String>,
}

/// What became of records that were to be encrypted again.
#[derive(Deserialize)]
struct Rotated {
    encrypted: u64,
    unchanged: u64,
    refused: Vec<Refused>,
}

impl Refused {
    fn reason(&self) -> String {
        match &self.message {
            Some(message) => format!("{}: {message}", self.code),
            None => self.code.clone(),
        }
    }
}

impl Server {
    /// A server at a URL without a path.
    pub fn new(client: Client, url: &str, token: Zeroizing<String>) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { client, url, token }
    }

    /// Puts records, in requests of many.
    pub fn import(
        &self,
        items: impl Iterator<Item = Item<Zeroizing<String>>>,
        may_replace_keys: bool,
        report: &mut Report,
        counter: &mut Counter,
    ) -> Result<()> {
        let mut batch = Batch::default();
        for item in items {
            counter.add(1);
            let text = match &item.record {
                Ok(text) => text,
                Err(reason) => {
                    report.refuse(&item.origin, item.id.as_deref(), reason);
                    continue;
                }
            };
            if batch.items.len() >= MOST_KEYS || batch.bytes.saturating_add(text.len()) > MOST_BYTES
            {
                self.send(std::mem::take(&mut batch), may_replace_keys, report)?;
            }
            batch.bytes = batch.bytes.saturating_add(text.len()).saturating_add(1);
            batch.items.push(item);
        }
        self.send(batch, may_replace_keys, report)
    }

    fn send(&self, batch: Batch, may_replace_keys: bool, report: &mut Report) -> Result<()> {
        if batch.items.is_empty() {
            return Ok(());
        }
        let mut body = Zeroizing::new(String::with_capacity(batch.bytes.saturating_add(2)));
        for item in &batch.items {
            let before = if body.is_empty() { '[' } else { ',' };
            body.push(before);
            body.push_str(item.record.as_deref().map_or("null", |text| text));
        }
        body.push(']');
        let path = format!("/keys?replace_keys={may_replace_keys}");
        let imported: Imported = self.ask(Method::POST, &path, Some(&body))?;
        report.created = report.created.saturating_add(imported.created);
        report.replaced = report.replaced.saturating_add(imported.replaced);
        report.unchanged = report.unchanged.saturating_add(imported.unchanged);
        for refused in imported.refused {
            let item = refused.index.and_then(|index| batch.items.get(index));
            let item = item.context("the server refused a record that it was not sent")?;
            let id = refused.id.as_deref().or(item.id.as_deref());
            let is_other_key = refused.code == Code::KEY_DIFFERS.name;
            report.refuse(
                &item.origin,
                id,
                &with_hint(&refused.reason(), is_other_key),
            );
        }
        Ok(())
    }

    /// Shows every record without its key, page by page, until `show` returns `false`.
    pub fn list(&self, mut show: impl FnMut(Listed) -> Result<bool>) -> Result<()> {
        let mut after = String::new();
        loop {
            let path = format!(
                "/keys?details=true&limit={MOST_KEYS}&after={}",
                percent_encoded(&after)
            );
            let page: Page = self.ask(Method::GET, &path, None)?;
            for listed in page.keys {
                if !show(listed)? {
                    return Ok(());
                }
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// The record of a name, with its key where that is asked for.
    pub fn find(&self, id: &str, has_key: bool) -> Result<Listed> {
        let query = if has_key { "?secret=true" } else { "" };
        let path = format!("/keys/{}{query}", percent_encoded(id));
        let mut found: Listed = self.ask(Method::GET, &path, None)?;
        if let Some(id) = found.record.get("id").and_then(Value::as_str) {
            found.id = id.to_owned();
        }
        Ok(found)
    }

    /// Whether there is a record of a name.
    pub fn has(&self, id: &str) -> Result<bool> {
        Ok(self.find_if_there(id, false)?.is_some())
    }

    /// The same as [`Self::find`]; `None` where there is no such record.
    pub fn find_if_there(&self, id: &str, has_key: bool) -> Result<Option<Listed>> {
        match self.find(id, has_key) {
            Ok(found) => Ok(Some(found)),
            Err(error) => match error.downcast_ref::<Failure>() {
                Some(Failure::Refused(refusal)) if refusal.is(Code::KEY_NOT_FOUND) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Puts one record.
    pub fn put(&self, id: &str, record: &Map<String, Value>) -> Result<Outcome> {
        #[derive(Deserialize)]
        struct Put {
            outcome: Outcome,
        }
        let body = Zeroizing::new(json!(record).to_string());
        let path = format!("/keys/{}", percent_encoded(id));
        let put: Put = self.ask(Method::PUT, &path, Some(&body))?;
        Ok(put.outcome)
    }

    /// Deletes a record.
    pub fn delete(&self, id: &str, grace: u64) -> Result<Deleted> {
        #[derive(Deserialize)]
        struct Answer {
            deleted: Deleted,
        }
        let path = format!("/keys/{}?grace_seconds={grace}", percent_encoded(id));
        let answer: Answer = self.ask(Method::DELETE, &path, None)?;
        Ok(answer.deleted)
    }

    /// Restores a deleted record.
    pub fn restore(&self, id: &str) -> Result<()> {
        let path = format!("/keys/{}/restore", percent_encoded(id));
        let _: Value = self.ask(Method::POST, &path, None)?;
        Ok(())
    }

    /// Encrypts every record again.
    pub fn rotate(&self, counter: &mut Counter) -> Result<Rotation> {
        let mut rotation = Rotation::default();
        let mut after = String::new();
        loop {
            let path = format!("/keys?limit={MOST_KEYS}&after={}", percent_encoded(&after));
            let page: Page = self.ask(Method::GET, &path, None)?;
            let ids: Vec<&str> = page.keys.iter().map(|key| key.id.as_str()).collect();
            if !ids.is_empty() {
                let body = Zeroizing::new(json!({ "ids": ids }).to_string());
                let rotated: Rotated = self.ask(Method::POST, "/key-rotation", Some(&body))?;
                rotation.encrypted = rotation.encrypted.saturating_add(rotated.encrypted);
                rotation.unchanged = rotation.unchanged.saturating_add(rotated.unchanged);
                for refused in rotated.refused {
                    let reason = refused.reason();
                    rotation.refuse(refused.id.as_deref().unwrap_or("-"), &reason);
                }
            }
            counter.add(u64::try_from(ids.len())?);
            match page.next {
                Some(next) => after = next,
                None => return Ok(rotation),
            }
        }
    }

    /// Asks the server for a path below its URL, and reads its JSON.
    ///
    /// # Errors
    /// No answer, a refusal, and another document.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<T> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.token.as_str()))
            .map_err(|_| anyhow!("the operator's token has a character that no header can hold"))?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
            .body(body.unwrap_or_default().as_bytes().to_vec())?;
        let answer = Zeroizing::new(self.client.ask(request, &self.token)?);
        match serde_json::from_slice(&answer) {
            Ok(answer) => Ok(answer),
            Err(_) => bail!(
                "{}: the answer is not the documented one: is it a Keylet server of this version?",
                self.url
            ),
        }
    }
}

/// Records of a request.
#[derive(Default)]
struct Batch {
    items: Vec<Item<Zeroizing<String>>>,
    bytes: usize,
}
