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
//! | `session-next/{day}/{session}` | counter: the marks of the sessions that would follow the ended one before its lease is over |
//! | `session-device/{day}/{seat}` | counter: the marks of the devices that asked for a licence in the session first |
//! | `session-second/{day}/{seat}` | counter: the marks of the devices that would join as the second one |
//!
//! # What is promised
//!
//! A session is *alive* from the answer that opens it until it is ended, or until the end of the
//! period after the last one in which an answer confirmed a renewal, less the guard. A session in which a
//! device had a licence and that its player ended is *leased* until that time: the device may play so long.
//! Of a viewer, at most *m* sessions are alive or leased at any time, and as many more leased ones as there
//! were hand-overs and ends by the operator, or for the terms' `end_oldest`. A session that is renewed in every
//! period stays alive until it is ended; and a slot whose session is not renewed in a period is free after it.
//!
//! In a session at most two devices get licences: the first one, and one that joins it. That holds for all the
//! sessions that the first one has one after the other, which have one *seat*.
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
//! *To end*: increment the session's counter of ends. A session with a counter of ends is never renewed
//! again. The instance that gets 1 deletes the counters of the periods in which the session was renewed, and
//! so frees the slot. Where the player ends it and a device has claimed its seat, they stay: the slot is
//! free when the lease is over.
//!
//! *To succeed* a leased session: add the mark of the new session to the counter of its successors, which must
//! be a multiple of it. The new one owns what the ended one owned, and renews from there. The same device or
//! owner may do so, on the same seat; another device in a hand-over, or where the terms say `end_oldest`.
//!
//! *To play*: the first device adds its mark to the seat's counter, which must be a multiple of it; then the
//! counter of ends must not exist. A second one does the same with a counter of its own.
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
//! 6. *A leased session has one successor, and nobody else opens in its slot.* Its counters stay, so 1 and 2
//!    hold for it as if it were alive. Of those that would succeed it, one mark alone divides the counter's
//!    sum. A late renewal of the ended session adds its own mark, which keeps others out for longer.
//! 7. *No device gets a licence in a session that was freed by its player.* The device claims the seat, and
//!    reads the counter of ends; the end increments that, and reads the seat. One of the two sees the other.
//!
//! An instance that dies after a claim leaves a counter without an owner: the next attempt of its session
//! holds, and for others the slot is free after the period and the next one. Between any other two
//! steps nothing is lost: the record is written before the answer, and if it is not, the last answer
//! that the player has still holds.
//!
//! Records only inform: which slots look taken, which of them is this device's, which is the oldest,
//! what may be deleted. An outdated record keeps a slot for a period or two; it gives none.

use serde::Serialize;

use super::Error;
use super::handover::Handovers;
use super::period::Period;
use super::record::{
    Ended, Leftover, RECORD, Record, counter_key, device_key, end_key, next_key, record_key,
    second_key,
};
use super::ticket::{SessionName, Ticket};
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
    /// The session that was ended for it.
    pub replaced: Option<EndedSession>,
}

/// A session that was ended before its lease was over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndedSession {
    /// Its id.
    pub id: String,
    /// Until when its device may play on, in seconds since 1970; `None` where no device had a licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plays_until: Option<u64>,
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
    handovers: Handovers,
}

impl<'a, P: Platform> Sessions<'a, P> {
    /// Sessions with periods of a length, and as many immediate hand-overs.
    pub fn new(
        platform: &'a P,
        secret: &'a ServerSecret,
        period: Period,
        handovers: Handovers,
    ) -> Self {
        Self {
            platform,
            secret,
            period,
            handovers,
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
                // Of a playback that two devices have already, a third one has a stream of its own.
                Err(Error::Ended | Error::Lapsed | Error::Device) => {}
                Err(error) => return Err(error),
            }
            records = self.records(opening.subject, limit, |_| false).await?;
        }
        let mut known = records.iter().filter_map(|(_, record)| record.as_ref());
        if opening.is_renewal && known.any(|record| record.ended.is_some() && opening.is_of(record))
        {
            return Err(Error::Ended);
        }
        // What was ended gives its slot back to its own device at once.
        let leased = records.iter().filter_map(|(slot, record)| {
            let record = record.as_ref()?;
            self.is_leased(record).then_some((*slot, record))
        });
        let leased: Vec<(u32, &Record)> = leased.collect();
        for (slot, record) in leased
            .iter()
            .filter(|(_, record)| opening.is_the_same(record))
        {
            let succession = Succession::SameDevice;
            if let Some(held) = self.succeed(opening, *slot, record, succession).await? {
                return Ok(held);
            }
        }
        for (slot, record) in &records {
            let is_taken = |record: &Record| self.is_live(record) || self.is_leased(record);
            if record.as_ref().is_some_and(is_taken) {
                continue;
            }
            if let Some(held) = self.claim_slot(opening, *slot, record.as_ref()).await? {
                return Ok(held);
            }
        }
        if opening.is_renewal {
            return Err(Error::StreamsExceeded(opening.limit));
        }
        let ends_others = opening.full == StreamsFull::EndOldest;
        for (slot, record) in leased {
            let succession = if ends_others {
                Succession::Replaced
            } else {
                let now = self.platform.now();
                let counted =
                    self.handovers
                        .count(self.platform, self.period, opening.subject, now);
                match counted.await? {
                    Some(window) => Succession::HandOver(window),
                    None => break,
                }
            };
            if let Some(held) = self.succeed(opening, slot, record, succession).await? {
                return Ok(held);
            }
        }
        if ends_others {
            let live = records.iter().filter_map(|(slot, record)| {
                let record = record.as_ref()?;
                self.is_live(record).then_some((*slot, record))
            });
            let mut oldest: Vec<(u32, &Record)> = live.collect();
            oldest.sort_by_key(|(_, record)| record.opened);
            for (slot, record) in oldest {
                self.free(opening.subject, slot, record).await?;
                if let Some(held) = self.claim_slot(opening, slot, Some(record)).await? {
                    return Ok(ActiveSession {
                        replaced: Some(self.ended(record)),
                        ..held
                    });
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
            self.check_not_ended(&self.name(&ticket.id, ticket.opened))
                .await?;
            return Ok(held(ticket.clone()));
        }
        let record = self.record_of(ticket, slot).await?;
        self.renew(ticket, slot, record).await
    }

    /// As [`Self::heartbeat`], for the licence of a device. The first device that plays in a session keeps it.
    /// A second one joins it where it says that it shows what the first one sends (`is_elsewhere`), or has
    /// the same playback session id; there is no third.
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
        let counted;
        let (ticket, slot) = match ticket.slot {
            Some(slot) => (ticket, slot),
            None => {
                counted = self.count(ticket).await?.ticket;
                let Some(slot) = counted.slot else {
                    return Err(Error::Lapsed);
                };
                (&counted, slot)
            }
        };
        let recorded = self.record_of(ticket, slot).await?;
        let is_recorded = recorded.is_some();
        let mut record = recorded.unwrap_or_else(|| Record::from_ticket(ticket));
        if self
            .admit(&mut record, device, playback, is_elsewhere)
            .await?
            && is_recorded
        {
            self.write(&ticket.subject, slot, &record).await?;
        }
        self.renew(ticket, slot, Some(record)).await
    }

    /// Admits a device to a session as its first or second one. Returns whether it is new there.
    async fn admit(
        &self,
        record: &mut Record,
        device: &str,
        playback: Option<u64>,
        is_elsewhere: bool,
    ) -> Result<bool, Error> {
        let is_known = |known: &Option<String>| known.as_deref() == Some(device);
        if is_known(&record.device) || is_known(&record.second) {
            return Ok(false);
        }
        if record.device.is_none() && self.claim(&device_key(&record.seat), device).await? {
            record.device = Some(device.to_owned());
            record.playback = playback;
            return Ok(true);
        }
        let is_second = is_elsewhere || playback.is_some() && record.playback == playback;
        if is_second
            && record.second.is_none()
            && self.claim(&second_key(&record.seat), device).await?
        {
            record.second = Some(device.to_owned());
            return Ok(true);
        }
        Err(Error::Device)
    }

    /// Adds the mark of a name to a counter. Returns whether no other name has added to it.
    async fn claim(&self, key: &str, name: &str) -> Result<bool, Error> {
        let mark = mark(name);
        Ok(self.platform.increment(key, mark).await? % mark == 0)
    }

    /// Opens a session that was not counted so far, unless it has lapsed or was ended.
    async fn count(&self, ticket: &Ticket) -> Result<ActiveSession, Error> {
        self.check_not_ended(&self.name(&ticket.id, ticket.opened))
            .await?;
        let has_lapsed = self.platform.now() >= self.period.plays_until(ticket.renewed);
        if has_lapsed || ticket.period != self.period.seconds() {
            return Err(Error::Lapsed);
        }
        self.open(&Opening::again(ticket)).await
    }

    /// Ends a session for its player. To end it again does nothing. Where a device had a licence in it, its
    /// slot stays taken until the lease is over.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn end(&self, ticket: &Ticket) -> Result<(), Error> {
        let Some(slot) = ticket.slot else {
            // It was not counted, and must not be.
            let key = end_key(&self.name(&ticket.id, ticket.opened));
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
        self.end_for_player(&ticket.subject, slot, &record, is_recorded)
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
                    self.end_for_player(subject, slot, &record, true).await?;
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
            match self
                .check_not_ended(&self.name(&record.id, record.opened))
                .await
            {
                Ok(()) => live.push((slot, record)),
                Err(Error::Ended) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(live)
    }

    /// Ends the sessions of a viewer, or the one with an id, and frees their slots.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn end_of_subject(
        &self,
        subject: &str,
        id: Option<&str>,
    ) -> Result<Vec<EndedSession>, Error> {
        let mut ended = Vec::new();
        for (slot, record) in self.list(subject).await? {
            if id.is_none_or(|id| id == record.id) {
                self.free(subject, slot, &record).await?;
                ended.push(self.ended(&record));
            }
        }
        Ok(ended)
    }

    /// Ends every session, and frees its slot. It looks at every key of the store.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn end_all(&self) -> Result<Vec<EndedSession>, Error> {
        let mut ended = Vec::new();
        for key in self.platform.keys().await? {
            let parts = RECORD.parts(&key).unwrap_or_default();
            let [subject, slot] = parts.as_slice() else {
                continue;
            };
            let Ok(slot) = slot.parse() else { continue };
            match self.record(subject, slot).await? {
                Some(record) if self.is_live(&record) => {
                    self.free(subject, slot, &record).await?;
                    ended.push(self.ended(&record));
                }
                _ => {}
            }
        }
        Ok(ended)
    }

    /// What an operator learns of a session that was ended.
    fn ended(&self, record: &Record) -> EndedSession {
        let until = || record.expires_at(self.period);
        EndedSession {
            id: record.id.clone(),
            plays_until: record.device.as_ref().map(|_| until()),
        }
    }

    /// A session that is not counted, because the store failed and that is allowed.
    pub fn unchecked(&self, opening: &Opening<'_>) -> ActiveSession {
        let now = self.platform.now();
        let id = self.id(opening.subject, None, now, opening.owner);
        let ticket = Ticket {
            seat: self.name(&id, now),
            id,
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
            replaced: None,
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
            replaced: None,
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
        let record = self.platform.get(&record_key(subject, slot)).await?;
        Ok(record.and_then(|record| Record::from_value(&record)))
    }

    /// The record of a ticket's slot, when it is of the same session.
    async fn record_of(&self, ticket: &Ticket, slot: u32) -> Result<Option<Record>, Error> {
        let record = self.record(&ticket.subject, slot).await?;
        // Once the slot's record was swept, an id may come again on another day.
        let name = self.name(&ticket.id, ticket.opened);
        Ok(record.filter(|record| self.name(&record.id, record.opened) == name))
    }

    async fn write(&self, subject: &str, slot: u32, record: &Record) -> Result<(), Error> {
        let text = serde_json::to_string(record).unwrap_or_default();
        let key = record_key(subject, slot);
        Ok(self.platform.set(&key, text.as_bytes()).await?)
    }

    /// Whether a session looks alive.
    fn is_live(&self, record: &Record) -> bool {
        record.ended.is_none() && self.is_recent(record)
    }

    /// Whether a session was ended, and its slot is taken as long as its last lease may run.
    fn is_leased(&self, record: &Record) -> bool {
        record.ended == Some(Ended::Leased) && self.is_recent(record)
    }

    /// Whether a session was renewed in this period or the one before.
    fn is_recent(&self, record: &Record) -> bool {
        let now = self.platform.now();
        let is_over = self.period.number_at(now) > record.renewed.saturating_add(1);
        record.period == self.period.seconds()
            && !is_over
            && !self.period.is_ahead(record.renewed, now)
    }

    async fn check_not_ended(&self, session: &SessionName) -> Result<(), Error> {
        match self.platform.get(&end_key(session)).await? {
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
        let mut known = record.clone();
        let is_owner = record.owner == opening.owner;
        if let Some(device) = opening.device.filter(|_| !is_owner)
            && self
                .admit(&mut known, device, opening.playback, false)
                .await?
        {
            self.write(opening.subject, slot, &known).await?;
        }
        let ticket = known.ticket(opening.subject, slot, opening.limit, opening.full);
        self.renew(&ticket, slot, Some(known)).await
    }

    /// Renews a session in the current period.
    async fn renew(
        &self,
        ticket: &Ticket,
        slot: u32,
        record: Option<Record>,
    ) -> Result<ActiveSession, Error> {
        let name = self.name(&ticket.id, ticket.opened);
        self.check_not_ended(&name).await?;
        let now = self.platform.now();
        let period = self.period.number_at(now);
        // A renewal counts even if its answer was lost.
        let sent = ticket.renewed;
        let renewed = record
            .as_ref()
            .map(|record| record.renewed)
            .filter(|renewed| !self.period.is_ahead(*renewed, now))
            .map_or(sent, |renewed| sent.max(renewed));
        let is_too_old = period > sent.saturating_add(2) || ticket.period != self.period.seconds();
        let is_of_no_period = is_too_old || self.period.is_ahead(sent, now);
        // A renewal in the last seconds must not keep the slot from others.
        if is_of_no_period || now >= self.period.plays_until(renewed) {
            return Err(Error::Lapsed);
        }
        let ticket = Ticket {
            renewed: period.max(renewed),
            ..ticket.clone()
        };
        if period <= renewed {
            return Ok(held(ticket));
        }

        let mark = mark(&ticket.id);
        let sum = self.add(period, &ticket.subject, slot, mark).await?;
        if sum % mark != 0 {
            self.check_not_ended(&name).await?;
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
        Ok(held(ticket))
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
        if sum != mark && !self.is_unended(&id, now).await? {
            return Ok(None);
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
            serial,
            renewed,
            leftovers,
            handover: last.and_then(|last| last.handover),
            ..self.first_record(opening, id, now)
        };
        self.write(subject, slot, &record).await?;
        if let Some(last) =
            last.filter(|last| last.ended != Some(Ended::Freed) && !self.is_recent(last))
        {
            self.clear_claims(subject, slot, last).await;
        }
        self.clear_leftovers(over, &record.seat).await;
        self.opened(opening, slot, record)
    }

    /// Opens a session in place of one that was ended and whose lease may still run. `None` when the slot is
    /// another's.
    async fn succeed(
        &self,
        opening: &Opening<'_>,
        slot: u32,
        last: &Record,
        succession: Succession,
    ) -> Result<Option<ActiveSession>, Error> {
        let subject = opening.subject;
        let now = self.platform.now();
        let period = self.period.number_at(now);
        if now >= self.period.plays_until(last.renewed) {
            return Ok(None);
        }
        let serial = last.serial.saturating_add(1);
        let id = self.id(subject, Some(slot), serial, opening.owner);
        let mark = mark(&id);
        let name = self.name(&last.id, last.opened);
        let sum = self.platform.increment(&next_key(&name), mark).await?;
        if sum % mark != 0 || sum != mark && !self.is_unended(&id, now).await? {
            return Ok(None);
        }
        // What the last session owned is its own now. From here on it renews.
        if period > last.renewed {
            self.add(period, subject, slot, mark).await?;
            if self.platform.now() >= self.period.safe_end(period) {
                return Ok(None);
            }
        }
        let (over, leftovers) = self.leftovers(last, period);
        let mut record = Record {
            serial,
            renewed: period.max(last.renewed),
            leftovers,
            handover: last.handover,
            ..self.first_record(opening, id, now)
        };
        match succession {
            Succession::SameDevice => {
                record.seat = last.seat.clone();
                record.device = last.device.clone().or(record.device);
                record.playback = record.playback.or(last.playback);
                record.second.clone_from(&last.second);
            }
            Succession::HandOver(window) => record.handover = Some(window),
            Succession::Replaced => {}
        }
        self.write(subject, slot, &record).await?;
        if period > last.renewed {
            self.clear_claims(subject, slot, last).await;
        }
        self.clear_leftovers(over, &record.seat).await;
        if let (Succession::HandOver(window), Some(before)) = (succession, last.handover) {
            self.handovers
                .clear(self.platform, self.period, subject, before, window)
                .await;
        }
        let replaced = matches!(succession, Succession::Replaced).then(|| self.ended(last));
        let opened = self.opened(opening, slot, record)?;
        Ok(opened.map(|opened| ActiveSession { replaced, ..opened }))
    }

    /// A session, if its answer is in time.
    fn opened(
        &self,
        opening: &Opening<'_>,
        slot: u32,
        record: Record,
    ) -> Result<Option<ActiveSession>, Error> {
        if self.platform.now() >= self.period.plays_until(record.renewed) {
            return Err(Error::Store(platform::Error::Store(
                "it answered too late".to_owned(),
            )));
        }
        Ok(Some(ActiveSession {
            ticket: record.ticket(opening.subject, slot, opening.limit, opening.full),
            state: SessionState::Opened,
            replaced: None,
        }))
    }

    /// The record of the first session of a slot.
    fn first_record(&self, opening: &Opening<'_>, id: String, now: u64) -> Record {
        Record {
            seat: self.name(&id, now),
            id,
            serial: 1,
            owner: opening.owner.to_owned(),
            device: opening.device.map(ToOwned::to_owned),
            playback: opening.playback,
            second: None,
            token: opening.token.to_owned(),
            opened: now,
            seen: now,
            renewed: self.period.number_at(now),
            period: self.period.seconds(),
            ended: None,
            leftovers: Vec::new(),
            handover: None,
        }
    }

    /// Deletes the counters of the periods that a session owned.
    async fn clear_claims(&self, subject: &str, slot: u32, record: &Record) {
        self.clear(&record.slot_key(record.renewed, subject, slot))
            .await;
        // Opened near the end of a period, it has claimed that one and the next.
        let first = self.period.number_at(record.opened);
        if record.renewed == first.saturating_add(1) {
            self.clear(&record.slot_key(first, subject, slot)).await;
        }
    }

    /// Which sessions' counters are obsolete once a session takes the slot in which `last` was before, and which ones
    /// the next record must remember.
    fn leftovers(&self, last: &Record, period: u64) -> (Vec<Leftover>, Vec<Leftover>) {
        let mut known = last.leftovers.clone();
        // A session token is good for two periods after the last renewal.
        let until = last.renewed.saturating_add(2);
        for name in [&last.seat, &self.name(&last.id, last.opened)] {
            known.retain(|leftover| leftover.name != *name);
            known.push(Leftover {
                name: name.clone(),
                until,
            });
        }
        if last.period != self.period.seconds() {
            return (known, Vec::new());
        }
        let is_obsolete = |leftover: &Leftover| leftover.until < period;
        let (over, mut recent): (Vec<_>, Vec<_>) = known.into_iter().partition(is_obsolete);
        let surplus = recent.len().saturating_sub(MAX_LEFTOVERS);
        recent.drain(..surplus);
        (over, recent)
    }

    /// Deletes the counters of sessions that are over, but for those of a seat.
    async fn clear_leftovers(&self, over: Vec<Leftover>, seat: &SessionName) {
        for Leftover { name, .. } in over {
            self.clear(&end_key(&name)).await;
            self.clear(&next_key(&name)).await;
            if name != *seat {
                self.clear(&device_key(&name)).await;
                self.clear(&second_key(&name)).await;
            }
        }
    }

    /// Whether a session has not been ended.
    async fn is_unended(&self, id: &str, opened: u64) -> Result<bool, Error> {
        match self.check_not_ended(&self.name(id, opened)).await {
            Ok(()) => Ok(true),
            Err(Error::Ended) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a session and frees its slot at once.
    async fn free(&self, subject: &str, slot: u32, record: &Record) -> Result<(), Error> {
        let name = self.name(&record.id, record.opened);
        if self.platform.increment(&end_key(&name), 1).await? != 1 {
            return Ok(());
        }
        // Before the slot is free: after that the record may be another's.
        self.write_ended(subject, slot, record, Ended::Freed)
            .await?;
        self.delete_claims(subject, slot, record).await
    }

    /// Ends a session for its player. `is_recorded`: the slot's record is its own.
    async fn end_for_player(
        &self,
        subject: &str,
        slot: u32,
        record: &Record,
        is_recorded: bool,
    ) -> Result<(), Error> {
        let name = self.name(&record.id, record.opened);
        if self.platform.increment(&end_key(&name), 1).await? != 1 {
            return Ok(());
        }
        // A device that comes from now on finds the end.
        let is_leased = record.device.is_some()
            || self
                .platform
                .get(&device_key(&record.seat))
                .await?
                .is_some();
        let ended = if is_leased {
            Ended::Leased
        } else {
            Ended::Freed
        };
        if is_recorded {
            self.write_ended(subject, slot, record, ended).await?;
        }
        match ended {
            Ended::Leased => Ok(()),
            Ended::Freed => self.delete_claims(subject, slot, record).await,
        }
    }

    async fn write_ended(
        &self,
        subject: &str,
        slot: u32,
        record: &Record,
        ended: Ended,
    ) -> Result<(), Error> {
        let ended = Record {
            ended: Some(ended),
            ..record.clone()
        };
        self.write(subject, slot, &ended).await
    }

    /// Deletes the counters of the periods that a session is known to own.
    async fn delete_claims(&self, subject: &str, slot: u32, record: &Record) -> Result<(), Error> {
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

    fn name(&self, id: &str, opened: u64) -> SessionName {
        (id.to_owned(), self.period.day(opened))
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
        let is_second = self.device.is_some() && record.second.as_deref() == self.device;
        let is_playback = self.playback.is_some() && record.playback == self.playback;
        record.owner == self.owner || is_device || is_second || is_playback
    }

    /// Whether the one who asks is the one who had the session.
    fn is_the_same(&self, record: &Record) -> bool {
        let is_device = self.device.is_some() && record.device.as_deref() == self.device;
        record.owner == self.owner || is_device
    }
}

/// Why a session takes the place of one whose lease may still run.
#[derive(Clone, Copy)]
enum Succession {
    /// The same device goes on.
    SameDevice,
    /// The viewer goes on with another device, in a window of hand-overs.
    HandOver(u64),
    /// The terms say that the oldest gives way.
    Replaced,
}

fn held(ticket: Ticket) -> ActiveSession {
    ActiveSession {
        ticket,
        state: SessionState::Continued,
        replaced: None,
    }
}

/// The mark of a session or a device: from 2^39 to 2^40.
fn mark(id: &str) -> i64 {
    let digits = id.get(..10).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or_default() | (1 << 39)
}
