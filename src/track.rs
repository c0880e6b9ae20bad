//! The kinds of track that content keys are for.

use serde::Deserialize;

/// The kinds of track that terms and key records distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// Sound.
    Audio,
    /// Standard definition.
    Sd,
    /// High definition.
    Hd,
    /// Ultra high definition.
    Uhd,
}

impl Track {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Audio, Self::Sd, Self::Hd, Self::Uhd];

    /// Its name in terms and key records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Sd => "sd",
            Self::Hd => "hd",
            Self::Uhd => "uhd",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|track| track.name() == name)
    }
}
