//! What the store keeps of slots and sessions, and under which keys. `slot` explains it.

use serde::{Deserialize, Serialize};

use super::handover::LONGEST_WINDOW;
use super::period::{LONGEST, Period};
use super::ticket::{SessionName, Ticket};
use crate::encoding;
use crate::entitlement::StreamsFull;
use crate::store_key::{DAY, End, Family, Period as Span};

/// The counter of a slot counts in its period and in the next one, of which neither is longer than the longest.
const COUNTER: Family = Family::new(
    "slot",
    3,
    End::Period(Span {
        part: 0,
        seconds: 1,
        lasts: 2 * LONGEST,
    }),
);

/// A window of hand-overs counts with the next one.
const HANDOVER: Family = Family::new(
    "handover",
    2,
    End::Period(Span {
        part: 0,
        seconds: 1,
        lasts: 2 * LONGEST_WINDOW,
    }),
);

/// The record of a slot's last session.
pub(super) const RECORD: Family = Family::new("session", 2, End::Record);

const ENDS: Family = Family::new("session-end", 2, End::Session);
const NEXT: Family = Family::new("session-next", 2, End::Session);
const FIRST_DEVICE: Family = Family::new("session-device", 2, End::Session);
const SECOND_DEVICE: Family = Family::new("session-second", 2, End::Session);

/// What the store keeps of sessions.
pub(super) const FAMILIES: [Family; 7] = [
    COUNTER,
    HANDOVER,
    RECORD,
    ENDS,
    NEXT,
    FIRST_DEVICE,
    SECOND_DEVICE,
];

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
    /// Pseudonym of the second device, to which the first one sends what it plays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) second: Option<String>,
    /// The session whose counters hold the devices: the first of those that the same device had one after
    /// the other.
    pub(super) seat: SessionName,
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
    /// Whether it was ended, and what became of its slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<Ended>,
    /// Earlier sessions whose counters may still exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) leftovers: Vec<Leftover>,
    /// When the last window of hand-overs started in which the slot was handed over, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handover: Option<u64>,
}

/// An earlier session whose counters may still exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leftover {
    /// Its name.
    pub(super) name: SessionName,
    /// The last period in which its counters count.
    pub(super) until: u64,
}

/// What became of the slot of a session that was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ended {
    /// It is taken until the last lease is over.
    Leased,
    /// It is free.
    Freed,
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
            second: None,
            seat: ticket.seat.clone(),
            token: String::new(),
            opened: ticket.opened,
            seen: ticket.opened,
            renewed: ticket.renewed,
            period: ticket.period,
            ended: None,
            leftovers: Vec::new(),
            handover: None,
        }
    }

    /// Reads the value of a record's key; `None` where it is none.
    pub fn from_value(value: &[u8]) -> Option<Self> {
        encoding::from_json(value).ok()
    }

    /// Until when its session can have been alive or leased, in seconds since 1970.
    pub fn ends_at(&self) -> u64 {
        let period = self.renewed.saturating_add(2);
        period.saturating_mul(self.period)
    }

    /// The first of the days that the keys of its counters name, counted from 1970.
    pub fn first_day(&self) -> u64 {
        let leftovers = self.leftovers.iter().map(|leftover| leftover.name.1);
        let opened = self.opened.saturating_sub(self.period) / DAY;
        leftovers.chain([self.seat.1]).fold(opened, u64::min)
    }

    /// The session token of the record's session.
    pub(super) fn ticket(&self, subject: &str, slot: u32, limit: u32, full: StreamsFull) -> Ticket {
        Ticket {
            id: self.id.clone(),
            subject: subject.to_owned(),
            slot: Some(slot),
            owner: self.owner.clone(),
            seat: self.seat.clone(),
            opened: self.opened,
            renewed: self.renewed,
            period: self.period,
            limit,
            full,
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
    COUNTER.key(format_args!("{start}/{subject}/{slot}"))
}

/// The key of the record of a slot's last session.
pub(super) fn record_key(subject: &str, slot: u32) -> String {
    RECORD.key(format_args!("{subject}/{slot}"))
}

/// The key of the counter of a session's ends.
pub(super) fn end_key((id, day): &SessionName) -> String {
    ENDS.key(format_args!("{day}/{id}"))
}

/// The key of the counter of the marks of a session's successors.
pub(super) fn next_key((id, day): &SessionName) -> String {
    NEXT.key(format_args!("{day}/{id}"))
}

/// The key of the counter of the marks of a seat's first devices.
pub(super) fn device_key((id, day): &SessionName) -> String {
    FIRST_DEVICE.key(format_args!("{day}/{id}"))
}

/// The key of the counter of the marks of a seat's second devices.
pub(super) fn second_key((id, day): &SessionName) -> String {
    SECOND_DEVICE.key(format_args!("{day}/{id}"))
}

/// The key of the counter of a viewer's hand-overs in the window that starts at a second since 1970.
pub(super) fn handover_key(start: u64, subject: &str) -> String {
    HANDOVER.key(format_args!("{start}/{subject}"))
}
