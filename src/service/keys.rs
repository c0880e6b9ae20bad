//! `/keys`: the stored key records, for the operator.

use http::{Method, StatusCode};
use serde_json::{Map, Value};

use super::context::Context;
use super::operator::require_operator;
use super::parameter::{flag, number};
use super::problem::Problem;
use super::response::{Reply, json};
use crate::encoding;
use crate::error::Code;
use crate::id::Id;
use crate::licence::{KeyRotationRequest, Page};
use crate::platform::Platform;

/// How many records a page of the list has, unless the request says so.
const PAGE: usize = 100;

/// `GET /keys`: a page of the list. `POST /keys`: an import.
pub async fn any<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_operator(context.licences, context.headers()).await?;
    let licences = context.licences;
    if context.request.method() == Method::POST {
        let records = records(context.request.body())?;
        let may_replace = flag(&context, "replace_keys")?;
        let report = licences.import_keys(context.id, records, may_replace);
        return Ok(json(StatusCode::OK, &report.await?));
    }
    let limit = number(&context, "limit")?;
    let limit = limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let after = context.parameter("after").unwrap_or_default();
    let page = Page {
        after: &after,
        limit,
        has_details: flag(&context, "details")?,
    };
    Ok(json(StatusCode::OK, &licences.list_keys(page).await?))
}

/// `GET`, `PUT` and `DELETE /keys/{id}`.
pub async fn one<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_operator(context.licences, context.headers()).await?;
    let licences = context.licences;
    let (text, name) = name(&context)?;
    let method = context.request.method();
    if method == Method::PUT {
        let record = record(context.request.body(), &text, &name)?;
        let may_replace = flag(&context, "replace_key")?;
        let put = licences.put_key(context.id, record, may_replace).await?;
        return Ok(json(StatusCode::OK, &put));
    }
    if method == Method::DELETE {
        let grace = number(&context, "grace_seconds")?;
        let deleted = licences.delete_key(context.id, &name, grace).await?;
        return Ok(json(StatusCode::OK, &deleted));
    }
    let has_key = flag(&context, "secret")?;
    let stored = licences.stored_key(context.id, &name, has_key).await?;
    Ok(json(StatusCode::OK, &stored))
}

/// `POST /keys/{id}/restore`.
pub async fn restore<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_operator(context.licences, context.headers()).await?;
    let (_, name) = name(&context)?;
    let restored = context.licences.restore_key(context.id, &name).await?;
    Ok(json(StatusCode::OK, &restored))
}

/// `POST /key-rotation`.
pub async fn rotate<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    require_operator(context.licences, context.headers()).await?;
    let request: KeyRotationRequest = encoding::from_json(context.request.body())
        .map_err(|reason| Problem::new(Code::REQUEST_MALFORMED, reason.to_string()))?;
    let report = context.licences.rotate_keys(context.id, &request).await?;
    Ok(json(StatusCode::OK, &report))
}

/// The name in the path, as it is written and as ids are compared.
fn name<P: Platform>(context: &Context<'_, P>) -> Result<(String, Id), Problem> {
    let name = context.name.unwrap_or_default();
    let text = encoding::percent_decoded(name.as_bytes()).map_or_else(
        || Some(name.to_owned()),
        |text| String::from_utf8(text).ok(),
    );
    let text = text.ok_or(Code::KEY_NOT_FOUND)?;
    let id = Id::from_text(&text).ok_or(Code::KEY_NOT_FOUND)?;
    Ok((text, id))
}

/// The records of a body: a JSON list, or JSON lines.
fn records(body: &[u8]) -> Result<Vec<Value>, Problem> {
    let malformed = |reason: String| Problem::new(Code::REQUEST_MALFORMED, reason);
    if body.trim_ascii().is_empty() {
        return Err(Code::BODY_EMPTY.into());
    }
    if body.trim_ascii_start().starts_with(b"[") {
        return encoding::json_list(body).map_err(|error| malformed(error.to_string()));
    }
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(index, line)| {
            encoding::json(line)
                .map_err(|error| malformed(format!("line {}: {error}", index.saturating_add(1))))
        })
        .collect()
}

/// The record of a body. Its id is that of the path, and may be left out.
fn record(body: &[u8], text: &str, name: &Id) -> Result<Map<String, Value>, Problem> {
    let malformed = |reason: &str| Problem::new(Code::REQUEST_MALFORMED, reason);
    let mut record =
        encoding::json_object(body).map_err(|reason| malformed(&reason.to_string()))?;
    let id = record.entry("id").or_insert_with(|| text.into());
    let is_same = id.as_str().and_then(Id::from_text).as_ref() == Some(name);
    match is_same {
        true => Ok(record),
        false => Err(malformed("`id` is not the id of the path")),
    }
}
