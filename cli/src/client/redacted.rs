//! What others say, without the secret that they may repeat.

use crate::terminal::Printable;
use crate::wire::percent_encoded;

/// What a server or a library says, without the token that it may repeat.
pub fn without(text: &str, token: Option<&str>) -> Printable {
    Printable::new(match token.filter(|token| !token.is_empty()) {
        Some(token) => text
            .replace(token, "…")
            .replace(&percent_encoded(token), "…"),
        None => text.to_owned(),
    })
}
