//! Headers that a setting adds to requests.

use std::collections::BTreeMap;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

/// Reads the headers that a setting has for requests to a server, by name.
///
/// # Errors
/// What is wrong with one, in a sentence; never a value.
pub fn headers(texts: &BTreeMap<String, Zeroizing<String>>) -> Result<HeaderMap, String> {
    /// What the connection is about, and not the request.
    const REFUSED: [HeaderName; 5] = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in texts {
        let name = HeaderName::try_from(name.trim()).ok();
        let name = name.filter(|name| !REFUSED.contains(name));
        let name = name.ok_or("a header name is not valid, or may not be set here")?;
        let mut value = HeaderValue::try_from(value.trim())
            .map_err(|_| format!("the value of `{name}` is not a valid HTTP header value"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
