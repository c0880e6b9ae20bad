//! Slots: how many sessions of a viewer there are at once.
//!
//! A viewer with `max_streams` = *m* has the slots 0 to *m*−1, and a session holds one of them. Time is
//! cut into periods, the same ones for every instance.
//!
//! | key | holds |
//! |---|---|
//! | `slot/{start}/{subject}/{slot}` | counter: the marks of the sessions that claimed the slot in the period that starts at this second since 1970 |
//! | `session/{subject}/{slot}` | the record of the slot's last session, as JSON |
//! | `session-end/{day}/{session}` | counter: how often the session was ended; `day` is that of its opening |
//!
//! # What is promised
//!
//! A session is *alive* from the answer that opens it until it is ended, or until the end of the
//! period after the last one in which an answer confirmed a renewal, less the guard. Of a viewer, at most
//! *m* sessions are alive at any time; a session that is renewed in every period stays alive until it is
//! ended; and a slot whose session is not renewed in a period is free after it.
//!
//! This rests on three things: a counter's increment is atomic; the clocks of two instances differ by no
//! more than the guard; and an acknowledged write is not lost. It does not depend on the order in which
//! records are written, on how long an operation takes, or on the operation at which an instance dies.
//!
//! # How
//!
//! Each session has an id that is made of its owner, the slot, and the number of sessions that the slot
//! has had. Its *mark*, a number of 40 bits, is made of the id. To claim a slot in a period *p* is to add
//! the mark to the counter of (slot, *p*). The claim holds when the sum is a multiple of the mark: then no
//! other session has added to it before. A claim may be made twice, because two keys are asked for at a
//! time or an instance has died. It then holds twice, and is one claim of one session. The next session
//! of the same owner has another mark, so it does not mistake a counter that is about to be deleted for
//! its own.
//!
//! *To open* in *p*: the counter of *p*−1 must not exist, and the claim to *p* must hold. Near the end of
//! *p*, where another instance may already count *p*+1, a claim to *p*+1 must hold too; the counter of *p*
//! stays, since to another clock the end of *p* may not be near.
//!
//! *To renew* in *p* after a renewal in *p*−1: add the mark to the counter of *p*, with any result, before
//! the end of *p* less the guard; delete the counter of *p*−1.
//!
//! *To end*: increment the session's counter of ends. The instance that gets 1 deletes the counters of the
//! periods in which the session was renewed. A session with a counter of ends is never renewed again.
//!
//! # Why two sessions never hold a slot
//!
//! A session *a* *owns* (slot, *p*) once its claim held, or once it was renewed in *p*. It is alive
//! only to the end of *p*+1, less the guard, where *p* is the last period that it owns.
//!
//! 1. *While* a *owns p and is not ended, no other session opens in p.* The counter of *p* is not 0, and is
//!    deleted only by an end of *a*, or once *a* owns *p*+1, which by every clock is after the safe end of
//!    *p*. A session that adds to it gets a sum with another mark in it, which is a multiple of its own
//!    once in 2^39. A clock that is behind may bring a latecomer to *p* after that; it is then within the
//!    guard of the end of *p*, and its claim to *p*+1 has the mark of *a* in it.
//! 2. *No other session opens in p*+1 *either*: it finds the counter of *p*, or, when *a* was renewed in *p*+1
//!    and has deleted it, that of *p*+1 with another mark.
//! 3. *So a renewal in time always succeeds*: to add to *p*+1 while owning *p* cannot meet a rightful
//!    owner. After the safe end of *p*+1 it could, and is refused.
//! 4. *An end frees the slot once.* Of several that end a session, the counter of ends gives 1 to one. That
//!    one deletes counters of periods that *a* is known to own, and no other session owns these before.
//!    The last answer that *a* got may be a period further: that period's counter stays, and keeps the slot
//!    until the end of the next period.
//! 5. *A session that was ended is not renewed.* The counter of ends is read before; and when the sum has
//!    another mark in it, once more after, because the end and the next opening both came before.
//!
//! An instance that dies after a claim leaves a counter without an owner: the next attempt of its session
//! holds, and for others the slot is free after the period and the next one. Between any other two
//! steps nothing is lost: the record is written before the answer, and if it is not, the last answer
//! that the player has still holds.
//!
//! Records only inform: which slots look taken, which of them is this device's, which is the oldest,
//! what may be deleted. An outdated record keeps a slot for a period or two; it gives none.

use serde::Serialize;

use super::period::Period;
use super::record::{Leftovers, Record, counter_key, end_key, record_key};
use super::ticket::Ticket;
use super::{Error, text};
use crate::encoding;
use crate::entitlement::{MAX_STREAMS, StreamsFull};
use crate::platform::{self, Platform};
use crate::server_secret::{Label, ServerSecret};

/// The most ended sessions that a record remembers to clean up after.
const MAX_LEFTOVERS: usize = 32;

/// Who asks for a session.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Pseudonym of the viewer.
    pub subject: &'a str,
    /// Who is to hold it. The same owner gets the same session.
    pub owner: &'a str,
    /// Pseudonym of the device, where it is known.
    pub device: Option<&'a str>,
    /// Playback session id, where it is known: another device with the same one plays the same.
    pub playback: Option<u64>,
    /// The id of the token.
    pub token: &'a str,
    /// How many streams there may be.
    pub limit: u32,
    /// What happens when the limit is reached.
    pub full: StreamsFull,
    /// Whether it continues a stream. Then no other stream is ended for it, and it is not opened again
    /// after it was ended.
    pub is_renewal: bool,
}

/// A session that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveSession {
    /// Its token.
    pub ticket: Ticket,
    /// Its state after the request.
    pub state: SessionState,
}

/// The state of a session after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// It was opened.
    Opened,
    /// It continues.
    Continued,
    /// It was ended.
    Ended,
    /// The store failed, and `store_failure` allows it.
    Unchecked,
}

/// The sessions of a deployment.
pub struct Sessions<'a, P> {
    platform: &'a P,
    secret: &'a ServerSecret,
    period: Period,
}

impl<'a, P: Platform> Sessions<'a, P> {
    /// Sessions with periods of a length.
    pub fn new(platform: &'a P, secret: &'a ServerSecret, period: Period) -> Self {
        Self {
            platform,
            secret,
            period,
        }
    }

    /// Opens a session, or continues that of the same owner, device or playback.
    ///
    /// # Errors
    /// [`Error::StreamsExceeded`]; [`Error::Ended`] for a renewal of an ended session; [`Error::Store`].
    pub async fn open(&self, opening: &Opening<'_>) -> Result<ActiveSession, Error> {
        let limit = opening.limit.min(MAX_STREAMS);
        let is_own = |record: &Record| opening.is_of(record) && self.is_live(record);
        let mut records = self.records(opening.subject, limit, is_own).await?;
        if let Some((slot, Some(record))) = records.last()
            && is_own(record)
        {
            match self.resume(opening, *slot, record).await {
                Ok(held) => return Ok(held),
                Err(Error::Ended) if opening.is_renewal => return Err(Error::Ended),
                Err(Error::Ended | Error::Lapsed) => {}
                Err(error) => return Err(error),
            }
            records = self.records(opening.subject, limit, |_| false).await?;
        }
        let mut known = records.iter().filter_map(|(_, record)| record.as_ref());
        if opening.is_renewal && known.any(|record| record.ended && opening.is_of(record)) {
            return Err(Error::Ended);
        }
        for (slot, record) in &records {
            if record.as_ref().is_some_and(|record| self.is_live(record)) {
                continue;
            }
            if let Some(held) = self.claim_slot(opening, *slot, record.as_ref()).await? {
                return Ok(held);
            }
        }
        if opening.full == StreamsFull::EndOldest && !opening.is_renewal {
            let mut live: Vec<(u32, &Record)> = records
                .iter()
                .filter_map(|(slot, record)| Some((*slot, record.as_ref()?)))
                .filter(|(_, record)| self.is_live(record))
                .collect();
            live.sort_by_key(|(_, record)| record.opened);
            for (slot, record) in live {
                self.end_recorded(opening.subject, slot, record).await?;
                if let Some(held) = self.claim_slot(opening, slot, Some(record)).await? {
                    return Ok(held);
                }
            }
        }
        Err(Error::StreamsExceeded(opening.limit))
    }

    /// Records that a session is alive.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::Lapsed`], [`Error::Store`]; and as [`Self::open`] for a session that
    /// was not counted so far.
    pub async fn heartbeat(&self, ticket: &Ticket) -> Result<ActiveSession, Error> {
        let Some(slot) = ticket.slot else {
            return self.count(ticket).await;
        };
        if self.period.number_at(self.platform.now()) == ticket.renewed {
            self.check_not_ended(&ticket.id, ticket.opened).await?;
            return Ok(self.held(ticket.clone()));
        }
        let record = self.record_of(ticket, slot).await?;
        self.renew(ticket, slot, record).await
    }

    /// As [`Self::heartbeat`], for a device: the first device keeps the session. `is_elsewhere`: the device
    /// sends what it plays to another device, which has another identifier.
    ///
    /// # Errors
    /// As [`Self::heartbeat`], and [`Error::Device`].
    pub async fn heartbeat_from_device(
        &self,
        ticket: &Ticket,
        device: &str,
        playback: Option<u64>,
        is_elsewhere: bool,
    ) -> Result<ActiveSession, Error> {
        let Some(slot) = ticket.slot else {
            return self.count(ticket).await;
        };
        let mut record = self.record_of(ticket, slot).await?;
        match &mut record {
            Some(Record {
                device: Some(known),
                playback: playing,
                ..
            }) => {
                let is_same = known == device || playback.is_some() && *playing == playback;
                if !is_same && !is_elsewhere {
                    return Err(Error::Device);
                }
            }
            Some(record) => {
                record.device = Some(device.to_owned());
                record.playback = playback;
                self.write(&ticket.subject, slot, record).await?;
            }
            None => {}
        }
        self.renew(ticket, slot, record).await
    }

    /// Opens a session that was not counted so far, unless it has lapsed or was ended.
    async fn count(&self, ticket: &Ticket) -> Result<ActiveSession, Error> {
        self.check_not_ended(&ticket.id, ticket.opened).await?;
        let has_lapsed = self.platform.now() >= self.period.plays_until(ticket.renewed);
        if has_lapsed || ticket.period != self.period.seconds() {
            return Err(Error::Lapsed);
        }
        self.open(&Opening::again(ticket)).await
    }

    /// Ends a session. Ending it again does nothing.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn end(&self, ticket: &Ticket) -> Result<(), Error> {
        let Some(slot) = ticket.slot else {
            // It was not counted, and must not be.
            let key = end_key(&ticket.id, self.period.day(ticket.opened));
            self.platform.increment(&key, 1).await?;
            return Ok(());
        };
        let recorded = self.record_of(ticket, slot).await?;
        let is_recorded = recorded.is_some();
        let mut record = recorded.unwrap_or_else(|| Record::from_ticket(ticket));
        record.renewed = record.renewed.max(ticket.renewed);
        if !self.is_recent(&record) {
            return Ok(());
        }
        self.end_slot(&ticket.subject, slot, &record, is_recorded)
            .await
    }

    /// Ends the session of a device whose playback has stopped, where there is one.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn end_of_device(
        &self,
        subject: &str,
        device: &str,
        limit: u32,
    ) -> Result<(), Error> {
        for (slot, record) in self
            .records(subject, limit.min(MAX_STREAMS), |_| false)
            .await?
        {
            match record {
                Some(record) if record.owner == device && self.is_live(&record) => {
                    self.end_recorded(subject, slot, &record).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The sessions of a viewer that are alive.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn list(&self, subject: &str) -> Result<Vec<(u32, Record)>, Error> {
        let mut live = Vec::new();
        for (slot, record) in self.records(subject, MAX_STREAMS, |_| false).await? {
            let Some(record) = record.filter(|record| self.is_live(record)) else {
                continue;
            };
            match self.check_not_ended(&record.id, record.opened).await {
                Ok(()) => live.push((slot, record)),
                Err(Error::Ended) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(live)
    }

    /// Ends the sessions of a viewer, or the one with an id, and returns how many were ended.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn end_of_subject(&self, subject: &str, id: Option<&str>) -> Result<usize, Error> {
        let mut count = 0;
        for (slot, record) in self.list(subject).await? {
            if id.is_none_or(|id| id == record.id) {
                self.end_recorded(subject, slot, &record).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Ends every session, and returns how many were ended. It looks at every key of the store.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn end_all(&self) -> Result<usize, Error> {
        let mut count = 0;
        for key in self.platform.keys().await? {
            let Some((subject, slot)) = key
                .strip_prefix("session/")
                .and_then(|key| key.split_once('/'))
            else {
                continue;
            };
            let Ok(slot) = slot.parse() else { continue };
            match self.record(subject, slot).await? {
                Some(record) if self.is_live(&record) => {
                    self.end_recorded(subject, slot, &record).await?;
                    count += 1;
                }
                _ => {}
            }
        }
        Ok(count)
    }

    /// A session that is not counted, because the store failed and that is allowed.
    pub fn unchecked(&self, opening: &Opening<'_>) -> ActiveSession {
        let now = self.platform.now();
        let ticket = Ticket {
            id: self.id(opening.subject, None, now, opening.owner),
            subject: opening.subject.to_owned(),
            slot: None,
            owner: opening.owner.to_owned(),
            opened: now,
            renewed: self.period.number_at(now),
            period: self.period.seconds(),
            limit: opening.limit,
            full: opening.full,
        };
        ActiveSession {
            ticket,
            state: SessionState::Unchecked,
        }
    }

    /// The same for a session that was counted before. It is counted again when the store works.
    pub fn unchecked_again(&self, ticket: &Ticket) -> ActiveSession {
        let renewed = self.period.number_at(self.platform.now());
        ActiveSession {
            ticket: Ticket {
                // Within the same period, it keeps its slot.
                slot: ticket.slot.filter(|_| renewed == ticket.renewed),
                renewed,
                ..ticket.clone()
            },
            state: SessionState::Unchecked,
        }
    }

    /// Records of a viewer's slots, in their order, up to one that is wanted. Slots are taken from 0
    /// upwards: above two slots that were never taken, no slot was taken.
    async fn records(
        &self,
        subject: &str,
        limit: u32,
        is_wanted: impl Fn(&Record) -> bool,
    ) -> Result<Vec<(u32, Option<Record>)>, Error> {
        let mut records: Vec<(u32, Option<Record>)> = Vec::new();
        let mut missing = 0;
        for slot in 0..limit {
            // A slot without a record can be taken, too.
            let record = match missing {
                0 | 1 => self.record(subject, slot).await?,
                _ => None,
            };
            missing = if record.is_some() { 0 } else { missing + 1 };
            let is_found = record.as_ref().is_some_and(&is_wanted);
            records.push((slot, record));
            if is_found {
                break;
            }
        }
        Ok(records)
    }

    async fn record(&self, subject: &str, slot: u32) -> Result<Option<Record>, Error> {
        let record = text(self.platform, &record_key(subject, slot)).await?;
        Ok(record.and_then(|record| encoding::from_json(record.as_bytes()).ok()))
    }

    /// The record of a ticket's slot, when it is of the same session.
    async fn record_of(&self, ticket: &Ticket, slot: u32) -> Result<Option<Record>, Error> {
        let record = self.record(&ticket.subject, slot).await?;
        Ok(record.filter(|record| record.id == ticket.id))
    }

    async fn write(&self, subject: &str, slot: u32, record: &Record) -> Result<(), Error> {
        let text = serde_json::to_string(record).unwrap_or_default();
        let key = record_key(subject, slot);
        Ok(self.platform.set(&key, text.as_bytes()).await?)
    }

    /// Whether a session looks alive.
    fn is_live(&self, record: &Record) -> bool {
        !record.ended && self.is_recent(record)
    }

    /// Whether a session was renewed in this period or the one before.
    fn is_recent(&self, record: &Record) -> bool {
        let now = self.period.number_at(self.platform.now());
        record.period == self.period.seconds() && now <= record.renewed.saturating_add(1)
    }

    async fn check_not_ended(&self, id: &str, opened: u64) -> Result<(), Error> {
        let key = end_key(id, self.period.day(opened));
        match self.platform.get(&key).await? {
            None => Ok(()),
            Some(_) => Err(Error::Ended),
        }
    }

    /// Continues the session of a record.
    async fn resume(
        &self,
        opening: &Opening<'_>,
        slot: u32,
        record: &Record,
    ) -> Result<ActiveSession, Error> {
        let ticket = Ticket {
            id: record.id.clone(),
            subject: opening.subject.to_owned(),
            slot: Some(slot),
            owner: record.owner.clone(),
            opened: record.opened,
            renewed: record.renewed,
            period: record.period,
            limit: opening.limit,
            full: opening.full,
        };
        self.renew(&ticket, slot, Some(record.clone())).await
    }

    /// Renews a session in the current period.
    async fn renew(
        &self,
        ticket: &Ticket,
        slot: u32,
        record: Option<Record>,
    ) -> Result<ActiveSession, Error> {
        self.check_not_ended(&ticket.id, ticket.opened).await?;
        let now = self.platform.now();
        let period = self.period.number_at(now);
        // A renewal counts even if its answer was lost.
        let sent = ticket.renewed;
        let renewed = record
            .as_ref()
            .map_or(sent, |record| sent.max(record.renewed));
        let is_too_old = period > sent.saturating_add(2) || ticket.period != self.period.seconds();
        // A renewal in the last seconds must not keep the slot from others.
        if is_too_old || now >= self.period.plays_until(renewed) {
            return Err(Error::Lapsed);
        }
        let ticket = Ticket {
            renewed: period.max(renewed),
            ..ticket.clone()
        };
        if period <= renewed {
            return Ok(self.held(ticket));
        }

        let mark = mark(&ticket.id);
        let sum = self.add(period, &ticket.subject, slot, mark).await?;
        if sum % mark != 0 {
            self.check_not_ended(&ticket.id, ticket.opened).await?;
        }
        if self.platform.now() >= self.period.safe_end(period) {
            return Err(Error::Lapsed);
        }
        let mut record = record.unwrap_or_else(|| Record::from_ticket(&ticket));
        record.renewed = period;
        record.seen = now;
        self.write(&ticket.subject, slot, &record).await?;
        self.clear(&self.slot_key(renewed, &ticket.subject, slot))
            .await;
        // A session that was opened near the end of a period has claimed that period and the next.
        let first = self.period.number_at(ticket.opened);
        if renewed == first.saturating_add(1) {
            self.clear(&self.slot_key(first, &ticket.subject, slot))
                .await;
        }
        Ok(self.held(ticket))
    }

    fn held(&self, ticket: Ticket) -> ActiveSession {
        ActiveSession {
            ticket,
            state: SessionState::Continued,
        }
    }

    /// Opens a session in a slot. `None` when it is taken.
    async fn claim_slot(
        &self,
        opening: &Opening<'_>,
        slot: u32,
        last: Option<&Record>,
    ) -> Result<Option<ActiveSession>, Error> {
        let subject = opening.subject;
        let now = self.platform.now();
        let period = self.period.number_at(now);
        let before = self.slot_key(period.saturating_sub(1), subject, slot);
        if self.platform.get(&before).await?.is_some() {
            return Ok(None);
        }
        let serial = last.map_or(1, |last| last.serial.saturating_add(1));
        let id = self.id(subject, Some(slot), serial, opening.owner);
        let mark = mark(&id);
        let sum = self.add(period, subject, slot, mark).await?;
        if sum % mark != 0 {
            return Ok(None);
        }
        // The mark may be there already from a session with this id that was ended: `last` may be old.
        if sum != mark {
            match self.check_not_ended(&id, now).await {
                Ok(()) => {}
                Err(Error::Ended) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let mut renewed = period;
        if self.platform.now() >= self.period.safe_end(period) {
            renewed = period.saturating_add(1);
            let sum = self.add(renewed, subject, slot, mark).await?;
            // The counter of this period stays: by other clocks, its end may not be near.
            if sum % mark != 0 || self.platform.now() >= self.period.safe_end(renewed) {
                return Ok(None);
            }
        }

        let (over, leftovers) =
            last.map_or_else(Default::default, |last| self.leftovers(last, period));
        let record = Record {
            id,
            serial,
            owner: opening.owner.to_owned(),
            device: opening.device.map(ToOwned::to_owned),
            playback: opening.playback,
            token: opening.token.to_owned(),
            opened: now,
            seen: now,
            renewed,
            period: self.period.seconds(),
            ended: false,
            leftovers,
        };
        self.write(subject, slot, &record).await?;
        if let Some(last) = last.filter(|last| !last.ended && !self.is_recent(last)) {
            self.clear(&last.slot_key(last.renewed, subject, slot))
                .await;
            let first = self.period.number_at(last.opened);
            if last.renewed == first.saturating_add(1) {
                self.clear(&last.slot_key(first, subject, slot)).await;
            }
        }
        for (id, day) in over {
            self.clear(&end_key(&id, day)).await;
        }
        if self.platform.now() >= self.period.plays_until(renewed) {
            return Err(Error::Store(platform::Error::Store(
                "it answered too late".to_owned(),
            )));
        }
        Ok(Some(ActiveSession {
            ticket: Ticket {
                id: record.id,
                subject: subject.to_owned(),
                slot: Some(slot),
                owner: record.owner,
                opened: now,
                renewed,
                period: record.period,
                limit: opening.limit,
                full: opening.full,
            },
            state: SessionState::Opened,
        }))
    }

    /// Which counters of ends are obsolete, and which ones the next record must remember, when a session
    /// takes the slot in which `last` was before. Nothing is more than a period older than it states.
    fn leftovers(&self, last: &Record, period: u64) -> (Leftovers, Leftovers) {
        let is_gone = |renewed: u64| renewed.saturating_add(2) < period;
        let own = (last.id.clone(), self.period.day(last.opened));
        let mut older = last.leftovers.clone();
        if last.period == self.period.seconds() && !is_gone(self.period.number_at(last.opened)) {
            older.push(own);
            older.truncate(MAX_LEFTOVERS);
            (Vec::new(), older)
        } else if last.period == self.period.seconds() && !is_gone(last.renewed) {
            (older, vec![own])
        } else {
            older.extend(last.ended.then_some(own));
            (older, Vec::new())
        }
    }

    /// Ends a session by its record.
    async fn end_recorded(&self, subject: &str, slot: u32, record: &Record) -> Result<(), Error> {
        self.end_slot(subject, slot, record, true).await
    }

    /// Ends a session. `is_recorded`: the slot's record is its own.
    async fn end_slot(
        &self,
        subject: &str,
        slot: u32,
        record: &Record,
        is_recorded: bool,
    ) -> Result<(), Error> {
        let ends = self
            .platform
            .increment(&end_key(&record.id, self.period.day(record.opened)), 1)
            .await?;
        if ends != 1 {
            return Ok(());
        }
        if is_recorded {
            let ended = Record {
                ended: true,
                ..record.clone()
            };
            // This comes before the slot is free: afterwards the record may be another session's.
            self.write(subject, slot, &ended).await?;
        }
        let first = self.period.number_at(record.opened);
        for renewed in record.renewed.saturating_sub(1).max(first)..=record.renewed {
            let key = record.slot_key(renewed, subject, slot);
            self.platform.delete(&key).await?;
        }
        Ok(())
    }

    async fn add(&self, period: u64, subject: &str, slot: u32, mark: i64) -> Result<i64, Error> {
        let key = self.slot_key(period, subject, slot);
        Ok(self.platform.increment(&key, mark).await?)
    }

    /// Deletes an obsolete key. If that fails, the key does no harm.
    async fn clear(&self, key: &str) {
        let _ = self.platform.delete(key).await;
    }

    fn slot_key(&self, period: u64, subject: &str, slot: u32) -> String {
        counter_key(period.saturating_mul(self.period.seconds()), subject, slot)
    }

    /// The id of a session, the same for each attempt of an owner to open it.
    fn id(&self, subject: &str, slot: Option<u32>, serial: u64, owner: &str) -> String {
        let text = format!("id/{subject}/{slot:?}/{serial}/{owner}");
        self.secret.pseudonym(Label::Session, text.as_bytes())
    }
}

impl<'a> Opening<'a> {
    /// The opening of a ticket's session, repeated.
    fn again(ticket: &'a Ticket) -> Self {
        Self {
            subject: &ticket.subject,
            owner: &ticket.owner,
            device: None,
            playback: None,
            token: "",
            limit: ticket.limit,
            full: ticket.full,
            is_renewal: false,
        }
    }

    /// Whether a session belongs to the same player.
    fn is_of(&self, record: &Record) -> bool {
        let is_device = self.device.is_some() && record.device.as_deref() == self.device;
        let is_playback = self.playback.is_some() && record.playback == self.playback;
        record.owner == self.owner || is_device || is_playback
    }
}

/// The mark of a session: from 2^39 to 2^40.
fn mark(id: &str) -> i64 {
    let digits = id.get(..10).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or_default() | (1 << 39)
}
