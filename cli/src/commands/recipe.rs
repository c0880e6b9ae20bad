//! `keylet recipe`

use std::io::Write;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

/// The page with the recipes.
const PAGE: &str = include_str!("../../../docs/players.md");

/// The server in the recipes of the page.
const EXAMPLE: &str = "https://keylet.example";

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet recipe shaka --url https://drm.example.com
  keylet recipe avfoundation
";

/// The player, and its server.
#[derive(Args)]
pub struct Arguments {
    /// The player
    #[arg(value_enum, value_name = "PLAYER")]
    player: Player,
    /// URL of the licence server, such as <http://127.0.0.1:3000/fairplay>
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000")]
    url: String,
}

/// A player of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Player {
    /// Shaka Player
    Shaka,
    /// hls.js
    Hlsjs,
    /// dash.js
    Dashjs,
    /// video.js with videojs-contrib-eme
    Videojs,
    /// The framework of Apple's devices
    Avfoundation,
    /// Kaltura playkit
    Kaltura,
    /// react-native-video
    ReactNative,
    /// Bitmovin
    Bitmovin,
    /// JW Player
    Jwplayer,
    /// The player of THEO
    Theoplayer,
}

impl Player {
    /// How the heading of its section begins.
    fn heading(self) -> &'static str {
        match self {
            Self::Shaka => "Shaka Player",
            Self::Hlsjs => "hls.js",
            Self::Dashjs => "dash.js",
            Self::Videojs => "video.js",
            Self::Avfoundation => "AVFoundation",
            Self::Kaltura => "Kaltura playkit",
            Self::ReactNative => "react-native-video",
            Self::Bitmovin => "Bitmovin",
            Self::Jwplayer => "JW Player",
            Self::Theoplayer => "THEOplayer",
        }
    }

    /// Its section of the page.
    fn section(self) -> Option<&'static str> {
        let mut sections = PAGE.split("\n## ").skip(1);
        sections.find(|section| section.starts_with(self.heading()))
    }
}

/// Prints the recipe of a player for a server.
///
/// # Errors
/// A URL that is none.
pub fn run(arguments: &Arguments) -> Result<()> {
    let section = arguments.player.section().context("no such recipe")?;
    let url = arguments.url.parse::<http::Uri>().ok();
    let origin = url.and_then(|url| Some(format!("{}://{}", url.scheme_str()?, url.authority()?)));
    let origin = origin.context("--url is not a URL such as https://drm.example.com")?;
    // Whoever reads may stop reading.
    let _ = writeln!(
        crate::terminal::stdout(),
        "# {}",
        section.trim_end().replace(EXAMPLE, &origin)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_player_has_a_recipe_with_code() {
        for player in Player::value_variants() {
            let section = player.section().unwrap();
            assert!(
                section.contains("\n```") && section.contains(EXAMPLE),
                "{player:?}"
            );
        }
    }
}
