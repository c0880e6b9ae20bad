//! Terms that a message has by track.

use crate::entitlement::{Hdcp, Terms, Track};

/// What a message states for one track. `None`: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackTerms {
    /// The track is not granted.
    pub is_denied: bool,
    /// Output protection.
    pub hdcp: Option<Hdcp>,
    /// Whether AirPlay is allowed.
    pub airplay: Option<bool>,
    /// Whether Apple's digital AV adapter is allowed.
    pub av_adapter: Option<bool>,
}

impl TrackTerms {
    /// What both allow.
    pub fn and(self, other: Self) -> Self {
        Self {
            is_denied: self.is_denied || other.is_denied,
            hdcp: self.hdcp.max(other.hdcp),
            airplay: both(self.airplay, other.airplay),
            av_adapter: both(self.av_adapter, other.av_adapter),
        }
    }

    /// The terms of `self`; those that it does not state are those of `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            is_denied: self.is_denied,
            hdcp: self.hdcp.or(other.hdcp),
            airplay: self.airplay.or(other.airplay),
            av_adapter: self.av_adapter.or(other.av_adapter),
        }
    }

    /// Replaces in `terms` what `whole` states by what `self` states.
    fn replace(self, whole: Self, terms: &mut Terms) {
        let limits = &mut terms.limits;
        if self.hdcp != whole.hdcp {
            limits.hdcp = Some(self.hdcp.unwrap_or(Hdcp::None));
        }
        limits.no_airplay = self.airplay == Some(false);
        limits.no_av_adapter = self.av_adapter == Some(false);
    }

    /// Whether both give the same licence.
    fn is_like(self, other: Self) -> bool {
        let allows = |terms: Self| {
            (
                terms.airplay != Some(false),
                terms.av_adapter != Some(false),
            )
        };
        self.hdcp == other.hdcp && allows(self) == allows(other)
    }
}

/// What a message states for each track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tracks {
    /// Sound.
    pub audio: TrackTerms,
    /// Standard definition.
    pub sd: TrackTerms,
    /// High definition.
    pub hd: TrackTerms,
    /// Ultra high definition.
    pub uhd: TrackTerms,
}

impl Tracks {
    /// Adds them to the terms for every key. These get the strictest of them, which apply to a key without
    /// a track. A track that differs gets terms of its own.
    pub fn add_to(&self, mut terms: Terms) -> Terms {
        let named = [
            (Track::Audio, self.audio),
            (Track::Sd, self.sd),
            (Track::Hd, self.hd),
            (Track::Uhd, self.uhd),
        ];
        let whole = named
            .into_iter()
            .fold(TrackTerms::default(), |whole, (_, own)| whole.and(own));
        whole.replace(TrackTerms::default(), &mut terms);
        let every = terms.clone();
        for (track, own) in named {
            if own.is_denied {
                terms = terms.with_track(track, None);
            } else if !own.is_like(whole) {
                let mut of_track = every.clone();
                own.replace(whole, &mut of_track);
                terms = terms.with_track(track, Some(of_track));
            }
        }
        terms
    }
}

/// Whether both allow it; `None` does not count.
fn both(one: Option<bool>, another: Option<bool>) -> Option<bool> {
    match (one, another) {
        (Some(one), Some(another)) => Some(one && another),
        (one, another) => one.or(another),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(members: &Value) -> Terms {
        Terms::from_json(members.as_object().unwrap(), &[]).unwrap()
    }

    fn added(tracks: &Tracks) -> Terms {
        tracks.add_to(Terms::default())
    }

    #[test]
    fn what_all_tracks_have_is_said_once() {
        assert_eq!(added(&Tracks::default()), Terms::default());
        let terms = TrackTerms {
            hdcp: Some(Hdcp::Type0),
            airplay: Some(false),
            av_adapter: Some(true),
            ..TrackTerms::default()
        };
        let tracks = Tracks {
            audio: terms,
            sd: terms,
            hd: terms,
            uhd: terms,
        };
        let expected = read(&json!({"hdcp": "type0", "airplay": false}));
        assert_eq!(added(&tracks), expected);
    }

    #[test]
    fn a_key_of_no_track_has_the_strictest_terms() {
        let hdcp = |hdcp| TrackTerms {
            hdcp,
            ..TrackTerms::default()
        };
        let tracks = Tracks {
            audio: hdcp(None),
            sd: TrackTerms {
                airplay: Some(false),
                ..hdcp(Some(Hdcp::None))
            },
            hd: TrackTerms {
                is_denied: true,
                ..hdcp(Some(Hdcp::Type0))
            },
            uhd: hdcp(Some(Hdcp::Type1)),
        };
        let expected = read(&json!({"hdcp": "type1", "airplay": false, "tracks": {
            "audio": {"hdcp": "none", "airplay": true},
            "sd": {"hdcp": "none"},
            "hd": false,
            "uhd": {"airplay": true},
        }}));
        assert_eq!(added(&tracks), expected);
    }
}
