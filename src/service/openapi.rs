//! `GET /openapi.json`: this interface in `OpenAPI` 3.1.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::context::Context;
use super::problem::Problem;
use super::response::{Reply, reply};
use crate::platform::Platform;

/// The document, without the white space that its source has for readers.
pub const DOCUMENT: &str = match std::str::from_utf8(&COMPACT) {
    Ok(document) => document,
    Err(_) => SOURCE,
};

const SOURCE: &str = include_str!("openapi.json");
static COMPACT: [u8; compact::<0>(SOURCE).0] = compact(SOURCE).1;

/// JSON without white space between its tokens: how many bytes that are, and as many of them as there
/// is room for.
const fn compact<const ROOM: usize>(json: &str) -> (usize, [u8; ROOM]) {
    let mut compact = [0; ROOM];
    let mut length = 0;
    let mut rest = json.as_bytes();
    let (mut in_string, mut is_escaped) = (false, false);
    while let [byte, after @ ..] = rest {
        rest = after;
        if in_string || !byte.is_ascii_whitespace() {
            if let Some((_, [target, ..])) = compact.split_at_mut_checked(length) {
                *target = *byte;
            }
            length += 1;
        }
        if *byte == b'"' && !is_escaped {
            in_string = !in_string;
        }
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    (length, compact)
}

pub async fn get<P: Platform>(_: Context<'_, P>) -> Result<Reply, Problem> {
    let mut reply = reply(StatusCode::OK, "application/json", DOCUMENT);
    let cached = HeaderValue::from_static("public, max-age=3600");
    reply.headers_mut().insert(CACHE_CONTROL, cached);
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn white_space_goes_and_nothing_else() {
        let json = "{ \"a \\\" b\" :\n [ 1 , \" \\\\\" ] }";
        let (length, compact) = compact::<21>(json);
        assert_eq!(length, 20);
        assert_eq!(&compact, b"{\"a \\\" b\":[1,\" \\\\\"]}\0");
    }

    #[test]
    fn the_document_is_its_source() {
        let read = |text| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(DOCUMENT), read(SOURCE));
        assert!(DOCUMENT.len() < SOURCE.len());
    }
}
