//! Terms: what is allowed, for how long, and on which conditions.
//!
//! A token, an operator's rules and a key record state terms; each may leave out any of them. Terms are
//! combined: of two restrictions the stricter one applies, and a permission applies when one source
//! gives it and no source denies it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Error;
use super::device::{DeviceClass, Hdcp, MinOs, SecurityLevel};
use super::origin::{ClientOrigin, Country, Network};
use super::play_right::PlayRight;
use crate::encoding;
use crate::track::Track;

/// Terms as they are stated. Durations are seconds, 1 to 2^32-1; dates are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Permission to store the key on the device; `None`: neither given nor denied.
    pub persist: Option<bool>,
    /// From download to first play.
    pub storage_seconds: Option<u32>,
    /// From first play on.
    pub playback_seconds: Option<u32>,
    /// Playback stops at the end unless renewed.
    pub lease_seconds: Option<u32>,
    /// Playback may start until the end.
    pub rental_seconds: Option<u32>,
    /// Nothing before this time.
    pub not_before: Option<u64>,
    /// Nothing from this time on.
    pub not_after: Option<u64>,
    /// What it may play on, and where.
    pub limits: Limits,
    /// The lease and the rental of a stream, when the permission to store is denied.
    unstored: [Option<u32>; 2],
    /// Terms of single tracks, whole, in the order of [`Track`]; `None`: not allowed.
    tracks: Vec<(Track, Option<Terms>)>,
}

/// The restrictions of a licence other than time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Output protection.
    pub hdcp: Option<Hdcp>,
    /// The minimum security level, which the device must report.
    pub min_security_level: Option<SecurityLevel>,
    /// AirPlay is forbidden.
    pub no_airplay: bool,
    /// Apple's digital AV adapter is forbidden.
    pub no_av_adapter: bool,
    /// Virtual machines are forbidden.
    pub no_virtual_machines: bool,
    /// Pseudonyms of devices.
    pub device_ids: AllOf<String>,
    /// Kinds of device.
    pub device_classes: AllOf<DeviceClass>,
    /// The minimum versions of operating systems.
    pub min_os: MinOs,
    /// The minimum version of the Key Delivery Library, which the device must report.
    pub min_kdl: Option<u32>,
    /// Minimums for devices that report the value; other devices pass.
    pub if_reported: IfReported,
    /// How many licences the token is good for.
    pub max_uses: Option<u32>,
    /// How many streams of a viewer there may be at once.
    pub max_streams: Option<u32>,
    /// What happens when there are that many.
    pub streams_full: Option<StreamsFull>,
    /// Networks.
    pub ip_allow: AllOf<Network>,
    /// Countries.
    pub countries: AllOf<Country>,
    /// Output protection that only PlayReady has.
    pub play_right: PlayRight,
}

/// Minimums that a device passes without reporting the value, as older devices do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IfReported {
    /// The minimum security level.
    pub min_security_level: Option<SecurityLevel>,
    /// The minimum version of the Key Delivery Library.
    pub min_kdl: Option<u32>,
}

/// What happens when as many streams are played as are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamsFull {
    /// The new one is refused.
    RefuseNew,
    /// The oldest one is ended.
    EndOldest,
}

impl StreamsFull {
    fn from_json(value: &Value) -> Result<Self, Error> {
        encoding::from_value(value.clone()).map_err(|_| Error::Terms {
            term: "streams_full",
            reason: "it is neither \"refuse_new\" nor \"end_oldest\"",
        })
    }
}

/// The most streams at once that can be counted.
pub const MAX_STREAMS: u32 = 64;

/// Lists of allowed values; a value must match each list. No list: anything is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllOf<T>(Vec<Vec<T>>);

impl<T> Default for AllOf<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> AllOf<T> {
    /// One list of what is allowed.
    pub fn one_of(list: Vec<T>) -> Self {
        Self(vec![list])
    }

    /// Whether nothing is restricted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each list has an entry that fits.
    pub fn allow(&self, fits: impl Fn(&T) -> bool) -> bool {
        self.0.iter().all(|list| list.iter().any(&fits))
    }

    fn and(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    fn from_json(
        term: &'static str,
        value: &Value,
        read: impl Fn(&Value) -> Result<T, Error>,
    ) -> Result<Self, Error> {
        match value {
            Value::Array(list) if !list.is_empty() => list
                .iter()
                .map(read)
                .collect::<Result<_, _>>()
                .map(|list| Self(vec![list])),
            _ => Err(Error::Terms {
                term,
                reason: "it is not a list, or an empty one",
            }),
        }
    }
}

impl Limits {
    /// Limits that restrict as much as both.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            hdcp: self.hdcp.max(other.hdcp),
            min_security_level: self.min_security_level.max(other.min_security_level),
            no_airplay: self.no_airplay || other.no_airplay,
            no_av_adapter: self.no_av_adapter || other.no_av_adapter,
            no_virtual_machines: self.no_virtual_machines || other.no_virtual_machines,
            device_ids: self.device_ids.and(&other.device_ids),
            device_classes: self.device_classes.and(&other.device_classes),
            min_os: self.min_os.and(&other.min_os),
            min_kdl: self.min_kdl.max(other.min_kdl),
            if_reported: IfReported {
                min_security_level: (self.if_reported.min_security_level)
                    .max(other.if_reported.min_security_level),
                min_kdl: self.if_reported.min_kdl.max(other.if_reported.min_kdl),
            },
            max_uses: min_some(self.max_uses, other.max_uses),
            max_streams: min_some(self.max_streams, other.max_streams),
            streams_full: min_some(self.streams_full, other.streams_full),
            ip_allow: self.ip_allow.and(&other.ip_allow),
            countries: self.countries.and(&other.countries),
            play_right: self.play_right.and(other.play_right),
        }
    }

    /// The security level that a CKC asks for.
    pub fn security_level(&self) -> Option<SecurityLevel> {
        self.min_security_level
            .max(self.if_reported.min_security_level)
    }

    /// The minimum version of the Key Delivery Library that a device may report.
    pub fn kdl(&self) -> Option<u32> {
        self.min_kdl.max(self.if_reported.min_kdl)
    }

    /// Whether they depend on the origin of a request.
    pub fn concern_origin(&self) -> bool {
        !self.ip_allow.is_empty() || !self.countries.is_empty()
    }

    /// Checks the origin of a request against them.
    ///
    /// # Errors
    /// [`Error::PlaceUnknown`] when the proxy does not state it, [`Error::PlaceNotAllowed`].
    pub fn check_origin(&self, origin: &ClientOrigin) -> Result<(), Error> {
        if !self.ip_allow.is_empty() {
            let address = origin.address.ok_or(Error::PlaceUnknown("ip_allow"))?;
            if !self.ip_allow.allow(|network| network.has(address)) {
                return Err(Error::PlaceNotAllowed("ip_allow"));
            }
        }
        if !self.countries.is_empty() {
            let country = origin.country.ok_or(Error::PlaceUnknown("countries"))?;
            if !self.countries.allow(|one| *one == country) {
                return Err(Error::PlaceNotAllowed("countries"));
            }
        }
        Ok(())
    }
}

impl Terms {
    /// Reads the members of an object, except `ignored`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a member that is not known or cannot be enforced;
    /// [`Error::Terms`] for a value that is not allowed, or that contradicts another.
    pub fn from_json(members: &Map<String, Value>, ignored: &[&str]) -> Result<Self, Error> {
        let mut terms = Self::default();
        for (name, value) in members {
            if name != "tracks" && !ignored.contains(&name.as_str()) {
                terms.set(name, value)?;
            }
        }
        if let Some(tracks) = members.get("tracks") {
            terms.tracks = terms.read_tracks(tracks)?;
        }
        terms.check()?;
        Ok(terms)
    }

    /// Reads an object of `false` or terms by track. They override the terms of every track, member by member. A track
    /// that is not to be stored has the durations of storing from nobody. A track has no `tracks` of its own, and no terms
    /// that are counted.
    fn read_tracks(&self, value: &Value) -> Result<Vec<(Track, Option<Self>)>, Error> {
        const INVALID: Error = Error::Terms {
            term: "tracks",
            reason: "it is not an object of `audio`, `sd`, `hd` and `uhd`, each `false` or an object of terms",
        };
        let mut tracks = Vec::new();
        for (name, value) in value.as_object().ok_or(INVALID)? {
            let track = Track::from_name(name).ok_or(INVALID)?;
            let own = match value {
                Value::Bool(false) => None,
                Value::Object(members) => {
                    let mut own = self.clone();
                    if members.get("persist") == Some(&Value::Bool(false)) {
                        own.storage_seconds = None;
                        own.playback_seconds = None;
                    }
                    for (name, value) in members {
                        if ["tracks", "max_uses", "max_streams", "streams_full"]
                            .contains(&name.as_str())
                        {
                            return Err(INVALID);
                        }
                        own.set(name, value)?;
                    }
                    Some(own)
                }
                _ => return Err(INVALID),
            };
            tracks.push((track, own));
        }
        tracks.sort_by_key(|(track, _)| *track);
        Ok(tracks)
    }

    /// These terms, and those of each track that is named and allowed.
    fn each(&self) -> impl Iterator<Item = &Self> {
        let tracks = self.tracks.iter().filter_map(|(_, own)| own.as_ref());
        std::iter::once(self).chain(tracks)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        let limits = &mut self.limits;
        match name {
            "persist" => self.persist = Some(flag("persist", value)?),
            "storage_seconds" => self.storage_seconds = Some(seconds("storage_seconds", value)?),
            "playback_seconds" => self.playback_seconds = Some(seconds("playback_seconds", value)?),
            "lease_seconds" => self.lease_seconds = Some(seconds("lease_seconds", value)?),
            "rental_seconds" => self.rental_seconds = Some(seconds("rental_seconds", value)?),
            "not_before" => self.not_before = Some(date("not_before", value)?),
            "not_after" => self.not_after = Some(date("not_after", value)?),
            "hdcp" => limits.hdcp = Some(Hdcp::from_json(value)?),
            "min_security_level" => {
                limits.min_security_level = Some(SecurityLevel::from_json(value)?);
            }
            "airplay" => limits.no_airplay = !flag("airplay", value)?,
            "av_adapter" => limits.no_av_adapter = !flag("av_adapter", value)?,
            "virtual_machines" => limits.no_virtual_machines = !flag("virtual_machines", value)?,
            "device_ids" => {
                limits.device_ids = AllOf::from_json("device_ids", value, device_id)?;
            }
            "device_classes" => {
                limits.device_classes =
                    AllOf::from_json("device_classes", value, DeviceClass::from_json)?;
            }
            "min_os" => limits.min_os = MinOs::from_json(value)?,
            "min_kdl" => limits.min_kdl = Some(positive("min_kdl", value, NUMBER)?),
            "max_uses" => limits.max_uses = Some(positive("max_uses", value, NUMBER)?),
            "max_streams" => limits.max_streams = Some(streams(value)?),
            "streams_full" => limits.streams_full = Some(StreamsFull::from_json(value)?),
            "ip_allow" => {
                limits.ip_allow = AllOf::from_json("ip_allow", value, Network::from_json)?;
            }
            "countries" => {
                limits.countries = AllOf::from_json("countries", value, Country::from_json)?;
            }
            other => return Err(Error::Unsupported(other.chars().take(64).collect())),
        }
        Ok(())
    }

    /// The same terms with those of a track, which replace them for that track; `None`: the track is not
    /// allowed.
    #[must_use]
    pub fn with_track(mut self, track: Track, own: Option<Self>) -> Self {
        self.tracks.push((track, own));
        self.tracks.sort_by_key(|(track, _)| *track);
        self
    }

    /// Refuses terms that contradict each other, or are out of range, for each track.
    ///
    /// # Errors
    /// [`Error::Terms`]
    pub fn check(&self) -> Result<(), Error> {
        self.each().try_for_each(Self::check_one)
    }

    fn check_one(&self) -> Result<(), Error> {
        let invalid = |term, reason| Err(Error::Terms { term, reason });
        match self.persist {
            _ if self.limits.max_streams > Some(MAX_STREAMS) => {
                invalid("max_streams", "it is a whole number from 1 to 64")
            }
            Some(true) if self.lease_seconds.is_some() => {
                invalid("lease_seconds", "a lease cannot be stored (`persist`)")
            }
            Some(true) if self.rental_seconds.is_some() => invalid(
                "rental_seconds",
                "a streaming rental cannot be stored (`persist`)",
            ),
            Some(false) if self.storage_seconds.is_some() => {
                invalid("storage_seconds", "it needs `persist`")
            }
            Some(false) if self.playback_seconds.is_some() => {
                invalid("playback_seconds", "it needs `persist`")
            }
            _ => Ok(()),
        }
    }

    /// Refuses durations of storing without the permission to store. Terms that apply alone, such as a
    /// token's, would otherwise grant more than they seem to.
    ///
    /// # Errors
    /// [`Error::Terms`]
    pub fn check_alone(&self) -> Result<(), Error> {
        let needs = |term| {
            let reason = "it needs `persist`";
            Err(Error::Terms { term, reason })
        };
        self.each().try_for_each(|terms| {
            match (terms.persist, terms.storage_seconds, terms.playback_seconds) {
                (None, Some(_), _) => needs("storage_seconds"),
                (None, _, Some(_)) => needs("playback_seconds"),
                _ => Ok(()),
            }
        })
    }

    /// Terms that apply alone: a permission that is not given is denied. Terms that are combined with
    /// others deny only what they state.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.each_mut(|terms| {
            terms.persist.get_or_insert(false);
        });
        self
    }

    /// The same terms, but the minimum security level and Key Delivery Library only apply to devices that
    /// report theirs.
    #[must_use]
    pub fn if_reported(mut self) -> Self {
        self.each_mut(|Self { limits, .. }| {
            limits.if_reported = IfReported {
                min_security_level: limits.min_security_level.take(),
                min_kdl: limits.min_kdl.take(),
            };
        });
        self
    }

    /// The terms of a rental, which has the same end whether it is stored or streamed. When the permission
    /// to store is denied, `storage_seconds` applies as `rental_seconds`, and `playback_seconds` (if absent,
    /// `storage_seconds`) applies as `lease_seconds`.
    #[must_use]
    pub fn into_rental(mut self) -> Self {
        self.each_mut(|terms| {
            if terms.persist == Some(true) {
                let lease = terms.playback_seconds.or(terms.storage_seconds);
                terms.unstored = [lease, terms.storage_seconds];
            }
        });
        self
    }

    fn each_mut(&mut self, change: impl Fn(&mut Self)) {
        let tracks = self.tracks.iter_mut().filter_map(|(_, own)| own.as_mut());
        tracks.for_each(&change);
        change(self);
    }

    /// Whether some of them are for one kind of track.
    pub fn name_tracks(&self) -> bool {
        !self.tracks.is_empty()
    }

    /// The terms of a track: those that are set for it, else those of every track. A key without a track
    /// has the terms of every track, unless each track by itself is denied.
    ///
    /// # Errors
    /// [`Error::TrackNotAllowed`]
    pub fn for_track(&self, track: Option<Track>) -> Result<&Self, Error> {
        let is_denied = |track: Track| {
            self.tracks
                .iter()
                .any(|(of, own)| *of == track && own.is_none())
        };
        match self.tracks.iter().find(|(of, _)| Some(*of) == track) {
            None if track.is_none() && Track::ALL.into_iter().all(is_denied) => {
                Err(Error::TrackNotAllowed)
            }
            None => Ok(self),
            Some((_, own)) => own.as_ref().ok_or(Error::TrackNotAllowed),
        }
    }

    /// The terms that satisfy both, for each track and for keys without a track. A permission to store is
    /// dropped when there is a lease or a rental.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = self.and_of_one(other);
        for track in Track::ALL {
            let is_named = |terms: &Self| terms.tracks.iter().any(|(named, _)| *named == track);
            if is_named(self) || is_named(other) {
                let own = (self.for_track(Some(track)), other.for_track(Some(track)));
                let own = match own {
                    (Ok(one), Ok(another)) => Some(one.and_of_one(another)),
                    _ => None,
                };
                both.tracks.push((track, own));
            }
        }
        both
    }

    fn and_of_one(&self, other: &Self) -> Self {
        let ([lease, rental], [other_lease, other_rental]) = (self.unstored, other.unstored);
        let lease_seconds = min_some(self.lease_seconds, other.lease_seconds);
        let rental_seconds = min_some(self.rental_seconds, other.rental_seconds);
        let is_streaming = lease_seconds.is_some() || rental_seconds.is_some();
        let persist = match (self.persist, other.persist) {
            _ if is_streaming => Some(false),
            (Some(false), _) | (_, Some(false)) => Some(false),
            (one, another) => one.or(another),
        };
        Self {
            persist,
            storage_seconds: min_some(self.storage_seconds, other.storage_seconds),
            playback_seconds: min_some(self.playback_seconds, other.playback_seconds),
            lease_seconds,
            rental_seconds,
            not_before: self.not_before.max(other.not_before),
            not_after: min_some(self.not_after, other.not_after),
            limits: self.limits.clone().and(&other.limits),
            unstored: [min_some(lease, other_lease), min_some(rental, other_rental)],
            tracks: Vec::new(),
        }
    }

    /// The lease and the rental of a stream.
    fn of_stream(&self) -> [Option<u32>; 2] {
        let [lease, rental] = self.unstored;
        [
            min_some(self.lease_seconds, lease),
            min_some(self.rental_seconds, rental),
        ]
    }

    /// What these terms grant at `now`: dates are checked, and `not_after` clips every duration.
    ///
    /// # Errors
    /// [`Error::NotYetValid`] and [`Error::Ended`].
    pub fn granted_at(&self, now: u64) -> Result<Granted, Error> {
        if let Some(start) = self.not_before
            && now < start
        {
            return Err(Error::NotYetValid(start));
        }
        let remaining = match self.not_after {
            Some(end) if now >= end => return Err(Error::Ended(end)),
            Some(end) => Some(u32::try_from(end - now).unwrap_or(u32::MAX)),
            None => None,
        };
        let clip = |duration: u32| remaining.map_or(duration, |remaining| duration.min(remaining));
        // Stored content plays without being counted.
        let use_ = if self.persist == Some(true) && self.limits.max_streams.is_none() {
            Use::Persistent {
                storage_seconds: self.storage_seconds.map(clip),
                playback_seconds: self.playback_seconds.map(clip),
                ends_in: remaining,
            }
        } else {
            let [lease, rental] = self.of_stream();
            Use::Streaming {
                lease_seconds: lease.map(clip).or(remaining),
                rental_seconds: rental.map(clip),
            }
        };
        let durations = match use_ {
            Use::Persistent { .. } => [self.storage_seconds, self.playback_seconds],
            Use::Streaming { .. } => self.of_stream(),
        };
        Ok(Granted {
            use_,
            has_durations: durations.iter().any(Option::is_some),
            remaining,
            limits: self.limits.clone(),
        })
    }
}

/// Terms at the moment of a licence, with every duration clipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Streaming or stored, and for how long.
    pub use_: Use,
    /// Whether the terms have a duration of their own, beside the date on which all ends.
    pub has_durations: bool,
    /// Seconds until nothing is allowed any more; `None` when there is no such end.
    pub remaining: Option<u32>,
    /// What it may play on, and where.
    pub limits: Limits,
}

/// The two ways to use a key, each with its durations in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The key is held while playback lasts.
    Streaming {
        /// Playback stops at the end unless renewed.
        lease_seconds: Option<u32>,
        /// Playback may start until the end.
        rental_seconds: Option<u32>,
    },
    /// The key may be stored on the device.
    Persistent {
        /// From download to first play.
        storage_seconds: Option<u32>,
        /// From first play on.
        playback_seconds: Option<u32>,
        /// Nothing is allowed after this many seconds from now.
        ends_in: Option<u32>,
    },
}

/// The smaller of two numbers; `None` is no limit.
pub(crate) fn min_some<T: Ord>(one: Option<T>, another: Option<T>) -> Option<T> {
    match (one, another) {
        (Some(one), Some(another)) => Some(one.min(another)),
        (one, another) => one.or(another),
    }
}

/// What the number of a term must be.
pub const NUMBER: &str = "it is a whole number from 1 to 4294967295";

fn seconds(term: &'static str, value: &Value) -> Result<u32, Error> {
    let reason = "a duration is a whole number of seconds from 1 to 4294967295";
    positive(term, value, reason)
}

fn positive(term: &'static str, value: &Value, reason: &'static str) -> Result<u32, Error> {
    match value.as_u64().map(u32::try_from) {
        Some(Ok(number)) if number > 0 => Ok(number),
        _ => Err(Error::Terms { term, reason }),
    }
}

fn streams(value: &Value) -> Result<u32, Error> {
    let reason = "it is a whole number from 1 to 64";
    match positive("max_streams", value, reason) {
        Ok(number) if number <= MAX_STREAMS => Ok(number),
        _ => Err(Error::Terms {
            term: "max_streams",
            reason,
        }),
    }
}

fn date(term: &'static str, value: &Value) -> Result<u64, Error> {
    let reason = "a date is a number of seconds since 1970";
    encoding::numeric_date(value).ok_or(Error::Terms { term, reason })
}

fn flag(term: &'static str, value: &Value) -> Result<bool, Error> {
    let reason = "it is neither true nor false";
    value.as_bool().ok_or(Error::Terms { term, reason })
}

fn device_id(value: &Value) -> Result<String, Error> {
    let is_pseudonym =
        |text: &&str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    value
        .as_str()
        .filter(is_pseudonym)
        .map(str::to_ascii_lowercase)
        .ok_or(Error::Terms {
            term: "device_ids",
            reason: "it is not a list of device ids, 32 hexadecimal digits each",
        })
}
