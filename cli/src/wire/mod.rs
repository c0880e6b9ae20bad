//! The wire between players and licence servers: how an SPC travels, where the token goes, and how a
//! CKC comes back. The fixtures and the client of licence servers use the same table.

mod profiles;
mod reply;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use profiles::{FORMS, PLAYERS, array, base64, choices, form, json_spc};
pub use reply::{Form, Key, Unreadable, read};

/// The content type of bytes.
pub const OCTETS: &str = "application/octet-stream";
/// The content type of forms.
pub const FORM: &str = "application/x-www-form-urlencoded";
/// The content type of JSON.
pub const JSON: &str = "application/json";
/// The content type of text.
pub const TEXT: &str = "text/plain";

/// What stands for the token in paths, headers and bodies.
pub const TOKEN: &str = "{token}";

/// The path of the fixture server where a profile names no other.
const PATH: &str = "/fairplay";

/// What a player wraps.
pub struct Message<'a> {
    /// The SPC.
    pub spc: &'a [u8],
    /// The asset id that some players send beside it.
    pub asset_id: &'a str,
    /// The URI of the key, in envelopes.
    pub uri: &'a str,
    /// The key id of a content decryption module.
    pub key_id: &'a [u8],
    /// The licence is to be stored, where the form of a player has words for it.
    pub is_offline: bool,
}

/// What a player makes of an SPC.
pub type Wrap = fn(&Message<'_>) -> Vec<u8>;

/// How a player asks.
pub struct Profile {
    /// The name, as `--format` of the command line has it.
    pub name: &'static str,
    /// Who asks so.
    pub comment: &'static str,
    /// The index of a player among all players; the name of its case in the fixtures has it.
    pub player: Option<u8>,
    /// Header `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Wrap,
    /// The form of reply that the player undoes, as the fixtures name it.
    pub form: &'static str,
    /// Path and query, as a sample.
    pub path: &'static str,
    /// Headers beside the content type, as a sample. `None`: the token is a bearer token.
    pub headers: Option<&'static [(&'static str, &'static str)]>,
}

/// Where a token goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenLocation {
    /// A header, and its value with [`TOKEN`] in it.
    Header(String, String),
    /// A parameter of the query, and its value with [`TOKEN`] in it.
    Parameter(String, String),
    /// A member of the JSON body.
    Member(String),
}

impl TokenLocation {
    /// `Authorization: Bearer` (RFC 6750 section 2.1).
    pub fn bearer() -> Self {
        Self::Header("authorization".to_owned(), format!("Bearer {TOKEN}"))
    }
}

impl Profile {
    const fn new(
        name: &'static str,
        comment: &'static str,
        content_type: &'static str,
        body: Wrap,
        form: &'static str,
    ) -> Self {
        Self {
            name,
            comment,
            player: None,
            content_type,
            body,
            form,
            path: PATH,
            headers: None,
        }
    }

    const fn player(
        place: u8,
        name: &'static str,
        comment: &'static str,
        content_type: &'static str,
        body: Wrap,
        form: &'static str,
    ) -> Self {
        Self {
            player: Some(place),
            ..Self::new(name, comment, content_type, body, form)
        }
    }

    const fn to(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    const fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            headers: Some(headers),
            ..self
        }
    }

    /// The profile of this name, of those for clients.
    pub fn named(name: &str) -> Option<&'static Self> {
        choices().find(|profile| profile.name == name)
    }

    /// Where the player puts its token. Of the samples beside it nothing is taken over, since they
    /// mean something to the services that they are of.
    pub fn location(&self) -> TokenLocation {
        let Some(headers) = self.headers else {
            return TokenLocation::bearer();
        };
        let template = |text: &'static str| {
            let (before, _) = text.split_once(TOKEN)?;
            Some(format!("{before}{TOKEN}"))
        };
        let in_header = headers.iter().find_map(|(name, value)| {
            Some(TokenLocation::Header((*name).to_owned(), template(value)?))
        });
        let (_, query) = self.path.split_once('?').unwrap_or_default();
        let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
        let in_query = || {
            parameters.find_map(|(name, value)| {
                // The one sample with an escape in it.
                let value = template(value)?.replace("%3D", "=");
                Some(TokenLocation::Parameter(name.to_owned(), value))
            })
        };
        // What is in neither is in the body.
        in_header
            .or_else(in_query)
            .unwrap_or_else(|| TokenLocation::Member("token".to_owned()))
    }
}

/// All but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Text in a query or a form: everything but unreserved characters is escaped.
pub fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_a_name_of_its_own() {
        let mut names: Vec<_> = choices().map(|profile| profile.name).collect();
        names.sort_unstable();
        assert!(names.array_windows().all(|[a, b]| a != b), "{names:?}");
        for name in [
            "raw", "base64", "form", "json", "envelope", "array", "azure",
        ] {
            assert!(Profile::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_token_goes_where_the_player_puts_it() {
        let header = |name: &str, value: &str| TokenLocation::Header(name.into(), value.into());
        let parameter =
            |name: &str, value: &str| TokenLocation::Parameter(name.into(), value.into());
        for (name, place) in [
            ("raw", TokenLocation::bearer()),
            ("azure", TokenLocation::bearer()),
            ("azure-equals", header("authorization", "Bearer={token}")),
            ("azure-query", parameter("token", "Bearer={token}")),
            ("axinom", header("x-axdrm-message", "{token}")),
            ("nagra", header("nv-authorizations", "{token}")),
            ("kaltura-js", parameter("custom_data", "{token}")),
            ("ezdrm", parameter("authorization", "{token}")),
            ("vudrm-json", TokenLocation::Member("token".into())),
        ] {
            assert_eq!(Profile::named(name).unwrap().location(), place, "{name}");
        }
    }

    #[test]
    fn text_in_a_query_is_escaped() {
        assert_eq!(percent_encoded("a-Z_0.~/+= é"), "a-Z_0.~%2F%2B%3D%20%C3%A9");
    }
}
