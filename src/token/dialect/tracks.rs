//! Terms that a message has by track, in the shape of an entitlement's entry.

use serde_json::{Map, Value, json};

use crate::entitlement::Hdcp;

/// What a message says of one track. `None`: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackTerms {
    /// It is not granted.
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

    /// What is said here, and for the rest what is said there.
    pub fn or(self, other: Self) -> Self {
        Self {
            is_denied: self.is_denied,
            hdcp: self.hdcp.or(other.hdcp),
            airplay: self.airplay.or(other.airplay),
            av_adapter: self.av_adapter.or(other.av_adapter),
        }
    }

    /// The members that say something else than those of `whole` do.
    fn members_beside(self, whole: Self) -> Map<String, Value> {
        let mut members = Map::new();
        if self.hdcp != whole.hdcp {
            let hdcp = self.hdcp.unwrap_or(Hdcp::None);
            members.insert("hdcp".to_owned(), json!(hdcp.name()));
        }
        for (name, own, whole) in [
            ("airplay", self.airplay, whole.airplay),
            ("av_adapter", self.av_adapter, whole.av_adapter),
        ] {
            if own.unwrap_or(true) != whole.unwrap_or(true) {
                members.insert(name.to_owned(), json!(own.unwrap_or(true)));
            }
        }
        members
    }
}

/// What a message says of each track.
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
    /// Adds them to an entry. The entry itself gets the strictest of them, which is what a key has
    /// that is of no track; `tracks` gets where a track differs from that.
    pub fn add_to(&self, entry: &mut Map<String, Value>) {
        let named = [
            ("audio", self.audio),
            ("sd", self.sd),
            ("hd", self.hd),
            ("uhd", self.uhd),
        ];
        let whole = named
            .into_iter()
            .fold(TrackTerms::default(), |whole, (_, own)| whole.and(own));
        entry.extend(whole.members_beside(TrackTerms::default()));
        let tracks: Map<String, Value> = named
            .into_iter()
            .filter_map(|(name, own)| {
                let terms = if own.is_denied {
                    Value::Bool(false)
                } else {
                    let members = own.members_beside(whole);
                    (!members.is_empty()).then_some(Value::Object(members))?
                };
                Some((name.to_owned(), terms))
            })
            .collect();
        if !tracks.is_empty() {
            entry.insert("tracks".to_owned(), Value::Object(tracks));
        }
    }
}

/// Whether both allow it, where nothing said is no say.
fn both(one: Option<bool>, another: Option<bool>) -> Option<bool> {
    match (one, another) {
        (Some(one), Some(another)) => Some(one && another),
        (one, another) => one.or(another),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tracks: &Tracks) -> Value {
        let mut entry = Map::new();
        tracks.add_to(&mut entry);
        Value::Object(entry)
    }

    #[test]
    fn what_all_tracks_have_is_said_once() {
        assert_eq!(entry(&Tracks::default()), json!({}));
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
        assert_eq!(entry(&tracks), json!({"hdcp": "type0", "airplay": false}));
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
        assert_eq!(
            entry(&tracks),
            json!({"hdcp": "type1", "airplay": false, "tracks": {
                "audio": {"hdcp": "none", "airplay": true},
                "sd": {"hdcp": "none"},
                "hd": false,
                "uhd": {"airplay": true},
            }})
        );
    }
}
