//! Kinds of track as packagers name them (`intendedTrackType` of CPIX).

use crate::track::Track;

/// The kind of track behind an `intendedTrackType` as AWS's encoders and shaka-packager write it. `None` for one that
/// stands for several kinds, such as `VIDEO` and `ALL`, or that is not known.
pub fn track_from_type(name: &str) -> Option<Track> {
    match name {
        "AUDIO"
        | "STEREO_AUDIO"
        | "MULTICHANNEL_AUDIO"
        | "MULTICHANNEL_AUDIO_3_6"
        | "MULTICHANNEL_AUDIO_7" => Some(Track::Audio),
        "SD" => Some(Track::Sd),
        "HD" | "HD1" | "HD2" | "SD+HD1" => Some(Track::Hd),
        "UHD" | "UHD1" | "UHD2" => Some(Track::Uhd),
        _ => None,
    }
}

/// The `intendedTrackType` of a kind of track: `AUDIO`, `SD`, `HD` or `UHD`.
pub const fn intended_track_type(track: Track) -> &'static str {
    match track {
        Track::Audio => "AUDIO",
        Track::Sd => "SD",
        Track::Hd => "HD",
        Track::Uhd => "UHD",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_track_is_read_back_from_its_type() {
        for (track, name) in [
            (Track::Audio, "AUDIO"),
            (Track::Sd, "SD"),
            (Track::Hd, "HD"),
            (Track::Uhd, "UHD"),
        ] {
            assert_eq!(intended_track_type(track), name);
            assert_eq!(track_from_type(name), Some(track));
        }
    }
}
