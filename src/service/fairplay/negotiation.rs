//! Which form of reply a player undoes.

use http::HeaderMap;
use http::header::ACCEPT;

use super::spc_request::SpcRequest;
use crate::error::Code;
use crate::service::context::parameter;
use crate::service::format::{self, Format};
use crate::service::problem::Problem;
use crate::token::vendor::{ReplyHabit, Vendor};

/// The form of the reply: what the query asks for, else what `Accept` does, else that in which the
/// request came, as the clients of the token's service read it.
///
/// # Errors
/// `format_unsupported` for a name that there is not, and for one that has no room for all keys.
pub fn reply_format(
    query: Option<&str>,
    headers: &HeaderMap,
    vendor: Option<&Vendor>,
    request: &SpcRequest,
) -> Result<Format, Problem> {
    let came = request.format;
    if let Some(name) = parameter(query, format::PARAMETER).filter(|name| !name.is_empty()) {
        let names = Format::ALL.map(|(name, _)| name).join(", ");
        let (_, format) = Format::ALL
            .into_iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| {
                Problem::new(
                    Code::FORMAT_UNSUPPORTED,
                    format!("`format` is none of {names}"),
                )
            })?;
        return if request.keys.len() > 1 && !format.has_room() {
            let detail =
                "the request has several keys, and only `envelope` and `array` have room for them";
            Err(Problem::new(Code::FORMAT_UNSUPPORTED, detail))
        } else {
            Ok(format)
        };
    }
    let accepted = accepted(headers, came);
    Ok(
        if accepted != came && (request.keys.len() == 1 || accepted.has_room()) {
            accepted
        } else {
            vendor
                .and_then(|vendor| read_by(vendor, came))
                .unwrap_or(came)
        },
    )
}

/// What the players of a vendor read, whatever they send and accept.
fn read_by(vendor: &Vendor, came: Format) -> Option<Format> {
    match (vendor.reply?, came) {
        (ReplyHabit::Base64ForForm, Format::CkcXml) => Some(Format::Base64),
        (ReplyHabit::JsonForBytes, Format::Raw) | (ReplyHabit::JsonForBase64, Format::Base64) => {
            Some(Format::Json)
        }
        _ => None,
    }
}

/// What `Accept` (RFC 9110 section 12.5.1) prefers. Where it leaves a choice, and where nothing suits,
/// it is the form in which the request came.
fn accepted(headers: &HeaderMap, came: Format) -> Format {
    let ranges: Vec<(String, u16)> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(media_range)
        .collect();
    // The most specific range counts.
    let weight_of = |media_type: &str| {
        let (kind, _) = media_type.split_once('/').unwrap_or_default();
        let range = [media_type, &format!("{kind}/*"), "*/*"]
            .into_iter()
            .find_map(|range| ranges.iter().find(|(accepted, _)| accepted == range));
        range.map_or(0, |(_, weight)| *weight)
    };
    let mut best = (came, 0);
    for format in [
        came,
        Format::Raw,
        Format::Json,
        Format::Base64,
        Format::CkcXml,
    ] {
        let weight = format
            .media_types()
            .iter()
            .map(|media_type| weight_of(media_type))
            .max()
            .unwrap_or_default();
        if weight > best.1 {
            best = (format, weight);
        }
    }
    best.0
}

/// The weight of what has none (RFC 9110 section 12.4.2), in thousandths, as all weights.
const FULL_WEIGHT: u16 = 1_000;

/// A media range without its parameters, and its weight.
fn media_range(text: &str) -> (String, u16) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|parameter| match parameter.split_once('=') {
        Some(("q" | "Q", value)) => weight(value),
        _ => None,
    });
    (range, weight.unwrap_or(FULL_WEIGHT))
}

/// A `qvalue`: 0 to 1. It has up to three decimals, but clients write more of them, and `.2`.
fn weight(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let decimals = decimals.get(..3).unwrap_or(decimals);
    let thousandths = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "" if !decimals.is_empty() => Some(thousandths),
        "1" if thousandths == 0 => Some(FULL_WEIGHT),
        _ => None,
    }
}
