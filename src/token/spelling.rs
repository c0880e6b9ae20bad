//! How a token is spelled: what players put around it, and what they send when they have none.

/// How many layers around a token are taken off. Nobody puts more around one.
const MOST_LAYERS: usize = 6;

/// Pairs around a token: quotes, and what Python and Swift print of bytes and of an optional value.
const PAIRS: [(&str, &str); 6] = [
    ("\"", "\""),
    ("'", "'"),
    ("\\\"", "\\\""),
    ("b'", "'"),
    ("b\"", "\""),
    ("Optional(", ")"),
];

/// Schemes that are read beside `Bearer`, where a JWT follows. `Token` is also written `Token token="…"`.
const OTHER_SCHEMES: [&str; 3] = ["jwt", "token", "oauth"];

/// What programs print of a variable that has no value.
const WORDS: [&str; 9] = [
    "undefined",
    "null",
    "(null)",
    "<null>",
    "none",
    "nil",
    "nan",
    "false",
    "[object object]",
];

/// Text in a place for tokens, without what stands around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelled<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether `Bearer` stood before it.
    pub is_bearer: bool,
}

impl<'a> Spelled<'a> {
    /// Takes off white space, quotes, `Bearer`, also twice, and the other schemes where a JWT or nothing of value
    /// follows.
    pub fn read(value: &'a str) -> Self {
        let mut this = Self {
            text: value.trim(),
            is_bearer: false,
        };
        // What to return where another scheme has something else.
        let mut before_scheme = None;
        for _ in 0..MOST_LAYERS {
            if let Some(rest) = after_bearer(this.text) {
                this = Self {
                    text: rest,
                    is_bearer: true,
                };
            } else if let Some(rest) = after_other_scheme(this.text) {
                before_scheme = before_scheme.or(Some(this));
                this.text = rest;
            } else if let Some(inside) = PAIRS.iter().find_map(|pair| within(this.text, *pair)) {
                this.text = inside;
            } else {
                break;
            }
        }
        match before_scheme {
            Some(before) if !(is_jwt(this.text) || is_nothing(this.text)) => before,
            _ => this,
        }
    }
}

/// Whether it has the form of a signed JWT: three parts.
pub fn is_jwt(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c == ',') && text.matches('.').count() == 2
}

/// Whether it is empty, or what a program prints of a variable without a value.
pub fn is_nothing(text: &str) -> bool {
    text.is_empty() || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// What follows `Bearer` and a space, `=` or `:`; nothing after the word alone.
fn after_bearer(text: &str) -> Option<&str> {
    let rest = after_word(text, "bearer")?;
    match rest.strip_prefix([' ', '\t', '=', ':']) {
        Some(rest) => Some(rest.trim()),
        None => rest.is_empty().then_some(rest),
    }
}

/// What follows another scheme: `JWT …`, `Token …`, `token="…"` up to the next parameter.
fn after_other_scheme(text: &str) -> Option<&str> {
    let rest = OTHER_SCHEMES
        .iter()
        .find_map(|scheme| after_word(text, scheme))?;
    let rest = match rest.strip_prefix('=') {
        Some(value) => value.split([',', ';']).next().unwrap_or_default(),
        None => rest.strip_prefix([' ', '\t'])?,
    };
    Some(rest.trim())
}

fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then_some(rest)
}

/// The text between a pair, where neither is inside.
fn within<'a>(text: &'a str, (open, close): (&str, &str)) -> Option<&'a str> {
    let inside = text.strip_prefix(open)?.strip_suffix(close)?.trim();
    (!inside.contains(close) || open != close).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_a_token_is_taken_off() {
        for (value, is_bearer) in [
            ("a.b.c", false),
            ("  a.b.c ", false),
            ("Bearer a.b.c", true),
            ("bearer  a.b.c ", true),
            ("Bearer=a.b.c", true),
            ("BEARER: a.b.c", true),
            ("Bearer Bearer a.b.c", true),
            ("Bearer Bearer=a.b.c", true),
            ("\"a.b.c\"", false),
            ("'a.b.c'", false),
            ("Bearer \"a.b.c\"", true),
            ("\"Bearer a.b.c\"", true),
            ("Bearer \\\"a.b.c\\\"", true),
            ("Bearer b'a.b.c'", true),
            ("Bearer Optional(\"a.b.c\")", true),
            ("JWT a.b.c", false),
            ("Token a.b.c", false),
            ("OAuth a.b.c", false),
            ("Bearer JWT a.b.c", true),
            ("Token token=\"a.b.c\"", false),
            ("Token token=\"a.b.c\", nonce=\"def\"", false),
            ("Token token=a.b.c; nonce=def", false),
            ("token=a.b.c", false),
        ] {
            let text = "a.b.c";
            assert_eq!(Spelled::read(value), Spelled { text, is_bearer }, "{value}");
        }
    }

    #[test]
    fn what_is_no_jwt_stays_as_it_is_under_another_scheme() {
        for value in [
            "Token abc",
            "JWT a b",
            "Token token=\"abc\"",
            "Basic a.b.c",
            "tokens",
            "bearers a",
        ] {
            let expected = Spelled {
                text: value,
                is_bearer: false,
            };
            assert_eq!(Spelled::read(value), expected);
        }
        // A message of another service is no JWT, and may follow Bearer alone.
        assert_eq!(Spelled::read("Bearer eyJh+/=").text, "eyJh+/=");
        let many = "Token ".repeat(2000);
        assert_eq!(Spelled::read(&many).text, many.trim());
    }

    #[test]
    fn a_variable_without_a_value_is_nothing() {
        for value in [
            "",
            " ",
            "Bearer",
            "Bearer ",
            "Bearer=",
            "Bearer undefined",
            "undefined",
            "Bearer null",
            "Bearer (null)",
            "Bearer [object Object]",
            "Bearer \"\"",
            "Bearer None",
            "JWT null",
            "Token token=\"undefined\"",
            "Bearer Optional(nil)",
        ] {
            assert!(is_nothing(Spelled::read(value).text), "{value}");
        }
        assert!(!is_nothing("nullable") && !is_nothing("a.b.c"));
    }
}
