//! What a licence service is told of the terms for a key.

use base64::Engine;
use time::OffsetDateTime;

use crate::content_key::ContentKey;
use crate::encoding::BASE64;
use crate::entitlement::{Granted, Hdcp, PlayRight, SecurityLevel, UnknownOutput, Use, min_some};
use crate::id::Kid;

use super::challenge::Algorithm;

/// Explicit output protections (PlayReady Compliance Rules, "Output Controls"): HDCP of a type, serial copy management, and
/// what analogue television carries.
const HDCP_TYPE: &str = "ABB2C6F1-E663-4625-A945-972D17B231E7";
const SCMS: &str = "6D5CFA59-C250-4426-930E-FAC72C8FCFA6";
const ANALOG_TELEVISION: &str = "2098DE8D-7DDD-4BAB-96C6-32EBB6FABEA3";

/// Play enablers: video on outputs that the device does not know, as it is and in a lower resolution.
const UNKNOWN_OUTPUT: &str = "786627D8-C2A6-44BE-8F88-08AE255B01A7";
const CONSTRICTED_OUTPUT: &str = "B621D91F-EDCC-4035-8D4B-DC71760D43E9";

/// The output protection levels of uncompressed digital video (PlayReady Compliance Rules): HDCP, and HDCP or nothing.
const HDCP: u16 = 270;
const HDCP_ALWAYS: u16 = 300;

/// A key that a licence is to carry.
pub struct LicensedKey<'a> {
    /// Its KID.
    pub kid: Kid,
    /// The key; `None` where the service has it.
    pub key: Option<&'a ContentKey>,
    /// How the content is encrypted, where the challenge says it.
    pub algorithm: Option<Algorithm>,
    /// The terms.
    pub rights: Rights,
}

/// Terms as licences of PlayReady have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Whether the licence may be stored.
    pub persist: bool,
    /// When it ends, in seconds since 1970.
    pub end: Option<u64>,
    /// Whether playback that has started stops at the end.
    pub stops: bool,
    /// Seconds of playback from the first time on.
    pub playback_seconds: Option<u32>,
    hdcp: Option<Hdcp>,
    security_level: Option<SecurityLevel>,
    /// What is said of outputs, `hdcp` among it.
    pub play_right: PlayRight,
}

/// An explicit output protection.
pub struct Protection {
    /// Its GUID.
    pub id: &'static str,
    /// Its value as a big-endian number of 32 bits, in base64.
    pub data: String,
}

impl Protection {
    fn new(id: &'static str, value: u8) -> Self {
        let data = BASE64.encode(u32::from(value).to_be_bytes());
        Self { id, data }
    }
}

impl Rights {
    /// The terms at `now`, in seconds since 1970. Where PlayReady has one end for two durations, it is the earlier one.
    pub fn new(granted: &Granted, now: u64) -> Self {
        // A duration of 0 has no end in other languages than ours.
        let at = |seconds: u32| now.saturating_add(seconds.max(1).into());
        let limits = &granted.limits;
        let video = match limits.hdcp {
            None | Some(Hdcp::None) => None,
            Some(Hdcp::Type0) => Some(HDCP),
            Some(Hdcp::Type1) => Some(HDCP_ALWAYS),
        };
        let play_right = PlayRight {
            uncompressed_digital_video: limits.play_right.uncompressed_digital_video.max(video),
            unknown_output: match limits.no_airplay || limits.no_av_adapter {
                // A device may not know what these outputs are.
                true => Some(UnknownOutput::NotAllowed),
                false => limits.play_right.unknown_output,
            },
            ..limits.play_right
        };
        let rights = Self {
            persist: false,
            end: None,
            stops: false,
            playback_seconds: None,
            hdcp: limits.hdcp,
            security_level: limits.min_security_level,
            play_right,
        };
        match granted.use_ {
            Use::Streaming {
                lease_seconds,
                rental_seconds,
            } => Self {
                end: min_some(lease_seconds, rental_seconds).map(at),
                stops: lease_seconds.is_some(),
                ..rights
            },
            Use::Persistent {
                storage_seconds,
                playback_seconds,
                ends_in,
            } => Self {
                persist: true,
                end: min_some(storage_seconds, ends_in).map(at),
                stops: ends_in.is_some(),
                playback_seconds: playback_seconds.map(|seconds| seconds.max(1)),
                ..rights
            },
        }
    }

    /// The stricter of both in each way.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            persist: self.persist && other.persist,
            end: min_some(self.end, other.end),
            stops: self.stops || other.stops,
            playback_seconds: min_some(self.playback_seconds, other.playback_seconds),
            hdcp: self.hdcp.max(other.hdcp),
            security_level: self.security_level.max(other.security_level),
            play_right: self.play_right.and(other.play_right),
        }
    }

    /// The explicit protection of digital video.
    pub fn digital_video_protection(&self) -> Option<Protection> {
        (self.hdcp == Some(Hdcp::Type1)).then(|| Protection::new(HDCP_TYPE, 1))
    }

    /// The explicit protection of digital audio.
    pub fn digital_audio_protection(&self) -> Option<Protection> {
        let scms = self.play_right.scms;
        scms.map(|value| Protection::new(SCMS, value))
    }

    /// The explicit protection of analogue television.
    pub fn analog_video_protection(&self) -> Option<Protection> {
        let television = self.play_right.analog_television;
        television.map(|value| Protection::new(ANALOG_TELEVISION, value))
    }

    /// The GUID of the play enabler for outputs that the device does not know. Without one, nothing is shown there.
    pub fn play_enabler(&self) -> Option<&'static str> {
        match self.play_right.unknown_output? {
            UnknownOutput::Allowed => Some(UNKNOWN_OUTPUT),
            UnknownOutput::Constricted => Some(CONSTRICTED_OUTPUT),
            UnknownOutput::NotAllowed => None,
        }
    }

    /// The security level of the device: 150 for tests and software in the clear, 2000 software, 3000 hardware.
    pub fn security_level(&self) -> Option<u16> {
        self.security_level.map(|level| match level {
            SecurityLevel::Audio => 150,
            SecurityLevel::Baseline => 2000,
            SecurityLevel::Main => 3000,
        })
    }
}

/// The parts of a date in GMT, as text of a fixed width: `[yyyy, mm, dd, hh, mm, ss]`. A date behind the year 9999 is its
/// last second.
pub fn date(time: u64) -> [String; 6] {
    const LAST: i64 = 253_402_300_799;
    let time = i64::try_from(time).unwrap_or(LAST).min(LAST);
    let date = OffsetDateTime::from_unix_timestamp(time).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    [
        format!("{:04}", date.year()),
        format!("{:02}", u8::from(date.month())),
        format!("{:02}", date.day()),
        format!("{:02}", date.hour()),
        format!("{:02}", date.minute()),
        format!("{:02}", date.second()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_is_over_still_has_an_end() {
        let granted = |use_| Granted {
            use_,
            has_durations: true,
            remaining: None,
            limits: Default::default(),
        };
        let streaming = granted(Use::Streaming {
            lease_seconds: Some(0),
            rental_seconds: None,
        });
        assert_eq!(Rights::new(&streaming, 5).end, Some(6));
        let stored = granted(Use::Persistent {
            storage_seconds: Some(0),
            playback_seconds: Some(0),
            ends_in: None,
        });
        let rights = Rights::new(&stored, 5);
        assert_eq!((rights.end, rights.playback_seconds), (Some(6), Some(1)));
    }

    #[test]
    fn of_two_rights_the_stricter_counts_in_each_way() {
        let one = Rights {
            persist: true,
            end: Some(7),
            stops: false,
            playback_seconds: None,
            hdcp: Some(Hdcp::Type1),
            security_level: None,
            play_right: PlayRight::default(),
        };
        let other = Rights {
            persist: false,
            end: Some(5),
            stops: true,
            playback_seconds: Some(3),
            hdcp: None,
            security_level: Some(SecurityLevel::Baseline),
            play_right: PlayRight::default(),
        };
        let both = Rights {
            persist: false,
            end: Some(5),
            stops: true,
            playback_seconds: Some(3),
            hdcp: Some(Hdcp::Type1),
            security_level: Some(SecurityLevel::Baseline),
            play_right: PlayRight::default(),
        };
        assert_eq!(one.clone().and(other.clone()), both);
        assert_eq!(other.and(one), both);
    }

    #[test]
    fn dates_have_a_fixed_width() {
        for (time, text) in [
            (0, "19700101000000"),
            (1_709_164_799, "20240228235959"),
            (1_709_251_199, "20240229235959"),
            (1_800_000_000, "20270115080000"),
            (u64::MAX, "99991231235959"),
        ] {
            assert_eq!(date(time).concat(), text);
        }
    }
}
