//! `keylet keys make`: the keys that the configured seed makes, for a packager.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use keylet::configuration::SettingsError;
use keylet::content_key::KeyQuery;
use keylet::content_key::seed::{self, Seed};
use keylet::entitlement::Track;
use keylet::id::{Id, Kid};
use keylet::packaging::{KeyUrls, SKD_TEMPLATE, SkdTemplate};
use keylet::playready;
use keylet::public_url;
use serde_json::json;
use zeroize::Zeroizing;

use super::formats::{MadeKey, Options, fairplay_uri};
use super::seed::seeds;
use crate::commands::sentences;
use crate::commands::variables_file::VariablesFile;
use crate::settings::Settings;
use crate::terminal;
use keylet_host::Provided;

pub const EXAMPLES: &str = "\
Examples:
  keylet keys make --content-id movie-42 --tracks audio,sd,hd,uhd
  keylet keys make --content-id channel-1 --tracks hd --periods 24
  keylet keys make --content-id movie-42 --tracks audio,sd,hd --format shaka
  keylet keys make --content-id movie-42 --format ffmpeg-keyinfo --key-file movie-42.key
  keylet keys make --content-id movie-42 --tracks audio,hd --format cpix > movie-42.xml
  keylet keys make --kid 339c45b5-fb6d-4bd9-994c-eabd9d41c95b
";

/// The keys to make.
#[derive(Args)]
pub struct Make {
    /// Id of the content, as the `keys` of a token name it
    #[arg(long, value_name = "ID", required_unless_present = "kid")]
    content_id: Option<String>,
    /// Tracks with a key of their own, of `audio`, `sd`, `hd` and `uhd`; without it, one key is for all
    #[arg(long, value_name = "TRACK,…", value_delimiter = ',', value_parser = track)]
    tracks: Vec<Track>,
    /// How many periods have keys of their own, the first one being 0
    #[arg(long, value_name = "NUMBER", conflicts_with = "period", value_parser = clap::value_parser!(u32).range(1..))]
    periods: Option<u32>,
    /// The one period [default: 0]
    #[arg(long, value_name = "NUMBER")]
    period: Option<u32>,
    /// Key id that a packager made: the key that it has
    #[arg(long, conflicts_with_all = ["content_id", "tracks", "periods", "period", "seed"])]
    kid: Option<String>,
    /// Id of the seed that makes the keys [default: the first]
    #[arg(long, value_name = "ID")]
    seed: Option<String>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    variables: VariablesFile,
}

impl Make {
    pub fn run(&self) -> Result<()> {
        let seeds = seeds(&self.variables)?;
        let settings = self.settings()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let skd_template = runtime.block_on(SkdTemplate::load(&settings));
        let skd_template = skd_template.map_err(|error| self.wrong(&error))?;
        let urls = runtime.block_on(KeyUrls::load(&skd_template, &settings));
        let urls = urls.map_err(|error| self.wrong(&error))?;
        if let Some(kid) = &self.kid {
            return self.of_kid(kid, &seeds, &urls);
        }
        let seed = match &self.seed {
            None => seeds.first(),
            Some(id) => seeds.iter().find(|seed| seed.id.as_ref() == Some(id)),
        };
        let seed = seed.with_context(|| {
            let id = self.seed.as_deref().unwrap_or_default();
            format!("{}: no seed has the id {id:?}", self.variables)
        })?;
        let id = self.content_id.as_deref().and_then(Id::from_text);
        let id = id.context("--content-id: it is empty or not hexadecimal")?;
        let content_id = id.to_string();
        let tracks: Vec<Option<Track>> = match self.tracks.as_slice() {
            [] => vec![None],
            tracks => tracks.iter().copied().map(Some).collect(),
        };
        let first = self.period.unwrap_or_default();
        // The last one, so that every number has its place.
        let last = self.periods.map_or(first, |count| count.saturating_sub(1));
        for period in first..=last {
            let mut keys = Vec::new();
            for track in &tracks {
                keys.push(self.made(seed.make_kid(&id, period, *track), seed)?);
            }
            if let Some(text) = self.options.text(Some(&content_id), &keys, &urls)? {
                printed(&text);
                continue;
            }
            for key in &keys {
                let mut line = line(key, seed, Some(&content_id), &urls);
                line["content_id"] = json!(content_id);
                line["period"] = json!(period);
                // Whoever reads may stop reading.
                if !printed(&Zeroizing::new(format!("{line}\n"))) {
                    return Ok(());
                }
            }
        }
        warn();
        Ok(())
    }

    /// The variables that say where players find keys.
    fn settings(&self) -> Result<Settings> {
        let mut settings = Provided::new();
        for name in [SKD_TEMPLATE, public_url::VARIABLE, playready::VARIABLE] {
            let value = self.variables.read(name)?;
            settings.extend(value.map(|value| (name.to_owned(), value.to_string())));
        }
        Ok(Settings(settings))
    }

    fn wrong(&self, error: &SettingsError) -> anyhow::Error {
        match error {
            SettingsError::Invalid(problems) => {
                anyhow!("{}: {}", self.variables, sentences(problems))
            }
            other => anyhow!("{}: {other}", self.variables),
        }
    }

    /// The key of a KID that stands in content.
    fn of_kid(&self, text: &str, seeds: &[Seed], urls: &KeyUrls<'_>) -> Result<()> {
        let kid = Kid::from_text(text).context("--kid: it is not a GUID")?;
        let made_by = |seed: &&Seed| seed.read_kid(kid).is_some();
        let seed = seeds.iter().find(made_by).or(seeds.first());
        let seed = seed.with_context(|| format!("{}: there is no seed", self.variables))?;
        let key = self.made(kid, seed)?;
        let text = self.options.text(None, std::slice::from_ref(&key), urls)?;
        let text = text.unwrap_or_else(|| {
            let mut line = line(&key, seed, None, urls);
            if let Some(made) = seed.read_kid(kid) {
                line["period"] = json!(made.period);
            }
            Zeroizing::new(format!("{line}\n"))
        });
        printed(&text);
        warn();
        Ok(())
    }

    fn made(&self, kid: Kid, seed: &Seed) -> Result<MadeKey> {
        // The server finds it so.
        let key = seed::derive(std::slice::from_ref(seed), &KeyQuery::from_kid(kid));
        let key = key.with_context(|| format!("{}: there is no seed", self.variables))?;
        Ok(MadeKey { kid, key })
    }
}

/// What a packager needs of a key, in JSON.
fn line(
    MadeKey { kid, key }: &MadeKey,
    seed: &Seed,
    content_id: Option<&str>,
    urls: &KeyUrls<'_>,
) -> serde_json::Value {
    let mut line = json!({
        "kid": kid.to_string(),
        "uri": fairplay_uri(urls, content_id, *kid, key),
        "key": hex::encode(key.key.expose()),
        "iv": key.iv.map(hex::encode),
    });
    if let Some(track) = key.track {
        line["track"] = json!(track.name());
    }
    if let Some(id) = &seed.id {
        line["seed"] = json!(id);
    }
    line
}

fn printed(text: &str) -> bool {
    terminal::product().write_all(text.as_bytes()).is_ok()
}

/// Tells a person what he has on his screen.
fn warn() {
    if terminal::product().is_terminal() {
        eprintln!("These are content keys: whoever has them can decrypt the content.");
    }
}

fn track(name: &str) -> Result<Track, String> {
    Track::from_name(name).ok_or_else(|| {
        let known = Track::ALL.map(Track::name).join(", ");
        format!("it is not one of {known}")
    })
}
