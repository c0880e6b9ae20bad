//! What the store keeps of slots and sessions, and under which keys. `slot` explains it.

use serde::{Deserialize, Serialize};

use super::period::Period;
use super::ticket::Ticket;

/// Sessions that were ended: id, and the day of their counter of ends.
pub(super) type Leftovers = Vec<(String, u64)>;

/// What the store knows of a slot's last session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// How many sessions the slot has had.
    pub(super) serial: u64,
    /// Pseudonym of its holder: a device, or the name that a player gives itself.
    pub(super) owner: String,
    /// Pseudonym of the device, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Playback session id of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) playback: Option<u64>,
    /// The id of the token that opened it: the beginning of its SHA-256.
    pub token: String,
    /// When it was opened, in seconds since 1970.
    pub opened: u64,
    /// When it was renewed last, if that was the first time in a period.
    pub seen: u64,
    /// The last period in which it was renewed.
    #[serde(rename = "heard")]
    pub(super) renewed: u64,
    /// The length of a period in seconds.
    pub(super) period: u64,
    /// Whether it was ended.
    pub(super) ended: bool,
    /// Earlier sessions whose counter of ends may still exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) leftovers: Leftovers,
}

impl Record {
    /// The record of a ticket, when the slot's record is another session's.
    pub(super) fn from_ticket(ticket: &Ticket) -> Self {
        Self {
            id: ticket.id.clone(),
            serial: 0,
            owner: ticket.owner.clone(),
            device: None,
            playback: None,
            token: String::new(),
            opened: ticket.opened,
            seen: ticket.opened,
            renewed: ticket.renewed,
            period: ticket.period,
            ended: false,
            leftovers: Vec::new(),
        }
    }

    /// The key of the slot's counter in one of its periods.
    pub(super) fn slot_key(&self, period: u64, subject: &str, slot: u32) -> String {
        counter_key(period.saturating_mul(self.period), subject, slot)
    }

    /// Until when it plays, in seconds since 1970, unless it is renewed.
    pub fn expires_at(&self, period: Period) -> u64 {
        period.plays_until(self.renewed)
    }
}

/// The key of a slot's counter in the period that starts at a second since 1970.
pub(super) fn counter_key(start: u64, subject: &str, slot: u32) -> String {
    format!("slot/{start}/{subject}/{slot}")
}

/// The key of the record of a slot's last session.
pub(super) fn record_key(subject: &str, slot: u32) -> String {
    format!("session/{subject}/{slot}")
}

/// The key of the counter of a session's ends.
pub(super) fn end_key(id: &str, day: u64) -> String {
    format!("session-end/{day}/{id}")
}
