//! The report of a sync SPC (specification section 10).

use serde::Serialize;

use crate::fairplay::client::OfflineSync;

/// Flags by bit.
const FLAGS: [(u32, &str); 7] = [
    (0, "report"),
    (1, "secure_invalidation"),
    (2, "secure_invalidation_of_all"),
    (TITLE_ID_VALID, "title_id_valid"),
    (16, "success"),
    (17, "object_not_found"),
    (18, "object_expired"),
];

const TITLE_ID_VALID: u32 = 3;

/// No expiry.
const NEVER: u32 = u32::MAX;

/// What a device reports of the keys that it has stored. Ids are in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// Version of the report: 1 or 2.
    pub version: u32,
    /// The flags that are set, by name; empty in version 1.
    pub flags: Vec<&'static str>,
    /// Content id of the key (version 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
    /// Title id of the keys (version 2), when the flag `title_id_valid` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title_id: Option<String>,
    /// Stream ids of the keys that were invalidated (version 2).
    pub invalidated_stream_ids: Vec<String>,
    /// Seconds until the key expires: 0 when it has expired; `null` when it never expires. Before the
    /// first play it counts the storage duration, afterwards the playback duration.
    pub seconds_to_expiry: Option<u32>,
    /// The challenge that it answers; 0 for none.
    #[serde(skip)]
    pub challenge: u64,
}

impl Report {
    /// The report; `None` when it reports nothing.
    pub fn from_sync(sync: &OfflineSync) -> Option<Self> {
        match sync {
            OfflineSync::V1 {
                content_id,
                seconds_to_expiry,
            } => Some(Self {
                version: 1,
                flags: Vec::new(),
                content_id: Some(hex::encode(content_id)),
                title_id: None,
                invalidated_stream_ids: Vec::new(),
                seconds_to_expiry: seconds(*seconds_to_expiry),
                challenge: 0,
            }),
            OfflineSync::V2 { flags: 0, .. } => None,
            OfflineSync::V2 {
                server_challenge,
                flags,
                title_id,
                seconds_to_expiry,
                invalidated,
            } => {
                let has = |bit: u32| flags >> bit & 1 == 1;
                Some(Self {
                    version: 2,
                    flags: FLAGS
                        .iter()
                        .filter_map(|(bit, name)| has(*bit).then_some(*name))
                        .collect(),
                    content_id: None,
                    title_id: has(TITLE_ID_VALID).then(|| hex::encode(title_id)),
                    invalidated_stream_ids: invalidated.iter().map(hex::encode).collect(),
                    seconds_to_expiry: seconds(*seconds_to_expiry),
                    challenge: *server_challenge,
                })
            }
        }
    }
}

fn seconds(seconds: u32) -> Option<u32> {
    (seconds != NEVER).then_some(seconds)
}
