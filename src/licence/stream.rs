//! The session of a licence: the player's own, else one that the licence opens.

use super::audit::SessionAudit;
use super::sessions::{Session, full, token_id};
use super::{Error, LicenceServer, Principal};
use crate::drm::{Intent, Request};
use crate::entitlement::{self, Granted, Limits, Use, min_some};
use crate::platform::Platform;
use crate::policy::Admission;
use crate::session::{self, Opening, Period, Ticket};

/// What a player states about its session.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionRequest<'a> {
    /// Its session token.
    pub token: Option<&'a str>,
    /// Whether it asks for a renewal; `None`: the message of the DRM system states it.
    pub is_renewal: Option<bool>,
}

/// What is to be counted as a stream.
pub(super) struct Stream<'a> {
    /// The player's own session.
    ticket: Option<Ticket>,
    subject: &'a str,
    device: &'a str,
    playback: Option<u64>,
    limit: u32,
    full: entitlement::StreamsFull,
    token: String,
    is_renewal: bool,
    is_elsewhere: bool,
    period: Period,
}

impl<P: Platform> LicenceServer<P> {
    /// The stream of a licence; `None` when it is not counted.
    pub(super) async fn stream<'a>(
        &self,
        principal: &'a Principal<'_>,
        admission: &Admission<'_>,
        request: SessionRequest<'_>,
        asked: &Request<'_>,
        device: Option<&'a str>,
        limits: &Limits,
    ) -> Result<Option<Stream<'a>>, Error> {
        if limits.max_streams.is_none() && request.token.is_none() {
            return Ok(None);
        }
        let Some(((_, secret, period), device)) = self.sessions().await?.zip(device) else {
            return Err(match request.token {
                Some(_) => Error::SessionsOff,
                None => entitlement::Error::Needs("max_streams", "`server_secret`").into(),
            });
        };
        let subject = principal.subject_to_count()?;
        let limit = limits.max_streams.unwrap_or(entitlement::MAX_STREAMS);
        let ticket = request.token.map(|token| Ticket::read(token, secret));
        let ticket = ticket.transpose()?;
        if let Some(ticket) = &ticket {
            if ticket.subject != subject {
                return Err(session::Error::Token.into());
            }
            // The session may hold a slot above the limit of this key.
            if ticket.slot.is_some_and(|slot| slot >= limit) {
                return Err(session::Error::StreamsExceeded(limit).into());
            }
        }
        Ok(Some(Stream {
            ticket,
            subject,
            device,
            playback: asked.device.playback,
            limit,
            full: full(limits),
            token: token_id(admission),
            is_renewal: request
                .is_renewal
                .unwrap_or(asked.intent == Intent::Renewal),
            is_elsewhere: asked.device.is_remote_output,
            period,
        }))
    }

    /// Opens the session of a stream, or renews it. Returns the session for the answer when the player
    /// has its own.
    pub(super) async fn count_stream(
        &self,
        stream: &Stream<'_>,
    ) -> Result<(SessionAudit, Option<Session>), Error> {
        let Some((sessions, secret, _)) = self.sessions().await? else {
            return Err(Error::SessionsOff);
        };
        let (counted, unchecked) = match &stream.ticket {
            Some(ticket) => {
                let beat = sessions.heartbeat_from_device(
                    ticket,
                    stream.device,
                    stream.playback,
                    stream.is_elsewhere,
                );
                (beat.await, sessions.unchecked_again(ticket))
            }
            None => {
                let opening = stream.opening();
                (sessions.open(&opening).await, sessions.unchecked(&opening))
            }
        };
        let held = session::unless_allowed(counted, unchecked, &self.platform).await?;
        let sent = match &stream.ticket {
            Some(_) => Some(self.session_response(&held, secret).await?),
            None => None,
        };
        Ok((SessionAudit::from_session(&held), sent))
    }

    /// Frees the slot of a device that has stopped. A player with its own session ends that itself.
    pub(super) async fn stop_stream(&self, stream: &Stream<'_>) -> Result<(), Error> {
        let Some((sessions, ..)) = self.sessions().await? else {
            return Ok(());
        };
        if stream.ticket.is_none() {
            let ended = sessions.end_of_device(stream.subject, stream.device, stream.limit);
            // When the store fails, the session lapses.
            let _ = ended.await;
        }
        Ok(())
    }
}

impl Stream<'_> {
    /// Limits a lease to the time that the slot lasts without a renewal. Every licence of a stream has a lease.
    pub(super) fn clip(&self, granted: &mut Granted, now: u64) {
        let left = self
            .period
            .plays_until(self.period.number_at(now))
            .saturating_sub(now);
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        if let Use::Streaming { lease_seconds, .. } = &mut granted.use_ {
            *lease_seconds = min_some(*lease_seconds, Some(left));
        }
    }

    fn opening(&self) -> Opening<'_> {
        Opening {
            subject: self.subject,
            owner: self.device,
            device: Some(self.device),
            playback: self.playback,
            token: &self.token,
            limit: self.limit,
            full: self.full,
            is_renewal: self.is_renewal,
        }
    }
}
