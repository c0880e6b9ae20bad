//! Session tokens: how a player names its session.
//!
//! A JWT (HS256) under a key of its own that is derived from `server_secret`. It holds what a
//! heartbeat needs, so that most heartbeats read only one key of the store. Each new period brings a
//! new token; the one before it is valid for one more period.

use serde::{Deserialize, Serialize};

use super::Error;
use crate::encoding;
use crate::entitlement::StreamsFull;
use crate::server_secret::{Label, ServerSecret};

const HEADER: &str = r#"{"alg":"HS256","kid":"keylet-session","typ":"JWT"}"#;

/// The longest session token, in bytes.
const LONGEST: usize = 2048;

/// A session by its id and the day of its opening, counted from 1970: what the keys of its counters hold.
pub(super) type SessionName = (String, u64);

/// The content of a session token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The session.
    #[serde(rename = "sid")]
    pub id: String,
    /// Pseudonym of the viewer.
    #[serde(rename = "sub")]
    pub subject: String,
    /// The slot; `None` when the store failed and that was allowed.
    pub slot: Option<u32>,
    /// Who holds it.
    pub owner: String,
    /// The session whose counters hold the devices: its id, and the day of its opening.
    pub seat: SessionName,
    /// When it was opened, in seconds since 1970.
    #[serde(rename = "iat")]
    pub opened: u64,
    /// The last period in which it was renewed.
    #[serde(rename = "heard")]
    pub renewed: u64,
    /// The length of a period in seconds.
    pub period: u64,
    /// How many streams there may be.
    pub limit: u32,
    /// What happens when the limit is reached.
    pub full: StreamsFull,
}

impl Ticket {
    /// Reads a session token.
    ///
    /// # Errors
    /// [`Error::Token`]
    pub fn read(token: &str, secret: &ServerSecret) -> Result<Self, Error> {
        let (signed, tag) = token.rsplit_once('.').ok_or(Error::Token)?;
        let (header, claims) = signed.split_once('.').ok_or(Error::Token)?;
        let part = |text: &str| encoding::base64(text).ok_or(Error::Token);
        let is_ours = token.len() <= LONGEST
            && part(header)?.as_slice() == HEADER.as_bytes()
            && secret.verifies(Label::SessionToken, signed, &part(tag)?);
        if !is_ours {
            return Err(Error::Token);
        }
        encoding::from_json(&part(claims)?).map_err(|_| Error::Token)
    }

    /// Signs it.
    pub fn write(&self, secret: &ServerSecret) -> String {
        let claims = serde_json::to_string(self).unwrap_or_default();
        secret.sign(Label::SessionToken, HEADER, &claims)
    }
}
