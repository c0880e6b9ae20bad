//! CPIX documents (DASH-IF, 2.2 to 2.4): the keys of a packager, in the clear or encrypted for a certificate.
//!
//! | CPIX | a record |
//! |---|---|
//! | `ContentKey@kid` | `id` and `kid` |
//! | `Data/Secret/PlainValue` or `EncryptedValue` | `key` |
//! | `ContentKey@explicitIV` | `iv` |
//! | `ContentKeyUsageRule@intendedTrackType` | `track`, where it is one of `audio`, `sd`, `hd` and `uhd` |
//! | `CPIX@contentId`, where the document has one key | `aliases` |

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use keylet::cpix::{self, Document, DocumentKeys};
use keylet::encoding;
use keylet::private_key::EncodedKeys;
use serde_json::{Map, Value, json};

use super::At;
use super::format::Sink;
use crate::file;
use crate::random;

/// Reads a document. `key` is the file with the private key of the certificate that it is encrypted for.
///
/// # Errors
/// A document that is not read as a whole. What is wrong with one key goes to the sink.
pub fn read(text: &[u8], key: Option<&Path>, sink: Sink<'_>) -> Result<()> {
    let document = Document::read(text)?;
    let keys = document.keys()?;
    let opened = match keys.iter().any(cpix::ContentKey::is_encrypted) {
        true => Some(unlock(&document, key)?),
        false => None,
    };
    // Of several keys, none is the key of the content.
    let alias = document.content_id().filter(|_| keys.len() == 1);
    for (key, number) in keys.iter().zip(1..) {
        let record = record(&document, key, opened.as_ref(), alias);
        if !sink(
            At::Record(number),
            record.map_err(|error| error.to_string()),
        ) {
            break;
        }
    }
    Ok(())
}

fn record(
    document: &Document,
    key: &cpix::ContentKey<'_>,
    opened: Option<&DocumentKeys>,
    alias: Option<&str>,
) -> Result<Map<String, Value>, cpix::Error> {
    let value = key.value(opened)?;
    let kid = key.kid.to_string();
    let mut record = encoding::members([
        ("id", json!(kid)),
        ("kid", json!(kid)),
        ("key", json!(hex::encode(value.expose()))),
    ]);
    let iv = key.iv()?.map(|iv| ("iv", json!(hex::encode(iv))));
    let track = document.track_of(key.kid);
    let track = track.map(|track| ("track", json!(track.name())));
    let alias = alias.filter(|alias| !alias.is_empty());
    let alias = alias.map(|alias| ("aliases", json!([alias])));
    for (name, value) in [iv, track, alias].into_iter().flatten() {
        record.insert(name.to_owned(), value);
    }
    Ok(record)
}

fn unlock(document: &Document, key: Option<&Path>) -> Result<DocumentKeys> {
    let key = key.context(
        "its keys are encrypted: give the private key of the certificate that they are encrypted for with --key",
    )?;
    let of_key = || format!("--key {}", key.display());
    let keys = EncodedKeys::read(&file::text(key)?).and_then(|keys| keys.decode(None));
    let keys = keys.map_err(|error| anyhow!(error.reason));
    let keys = keys.with_context(of_key)?;
    let stored = keys
        .first()
        .context("there is no key")
        .with_context(of_key)?;
    let private_key = stored.get().map_err(|error| anyhow!("{error}"));
    let private_key = private_key.with_context(of_key)?;
    Ok(document.unlock(private_key, None, &mut random::system())?)
}
