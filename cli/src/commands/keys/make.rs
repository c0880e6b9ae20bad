//! `keylet keys make`: the keys that the configured seed makes, for a packager.

use std::io::Write;

use anyhow::{Context, Result};
use clap::Args;
use keylet::content_key::KeyQuery;
use keylet::content_key::seed::{self, Seed};
use keylet::entitlement::Track;
use keylet::id::{Id, Kid};
use serde_json::json;
use zeroize::Zeroizing;

use super::seed::seeds;
use crate::commands::variables_file::VariablesFile;
use crate::terminal;

pub const EXAMPLES: &str = "\
Examples:
  keylet keys make --content-id movie-42 --tracks audio,sd,hd,uhd
  keylet keys make --content-id channel-1 --tracks hd --periods 24
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
    variables: VariablesFile,
}

impl Make {
    pub fn run(&self) -> Result<()> {
        let seeds = seeds(&self.variables)?;
        if let Some(kid) = &self.kid {
            return self.of_kid(kid, &seeds);
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
        let tracks: Vec<Option<Track>> = match self.tracks.as_slice() {
            [] => vec![None],
            tracks => tracks.iter().copied().map(Some).collect(),
        };
        let first = self.period.unwrap_or_default();
        // The last one, so that every number has its place.
        let last = self.periods.map_or(first, |count| count.saturating_sub(1));
        for period in first..=last {
            for track in &tracks {
                let kid = seed.make_kid(&id, period, *track);
                let mut line = self.line(kid, seed)?;
                line["content_id"] = json!(id.to_string());
                line["period"] = json!(period);
                // Whoever reads may stop reading.
                if !printed(&line) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The key of a KID that stands in content.
    fn of_kid(&self, text: &str, seeds: &[Seed]) -> Result<()> {
        let kid = Kid::from_text(text).context("--kid: it is not a GUID")?;
        let made_by = |seed: &&Seed| seed.read_kid(kid).is_some();
        let seed = seeds.iter().find(made_by).or(seeds.first());
        let seed = seed.with_context(|| format!("{}: there is no seed", self.variables))?;
        let mut line = self.line(kid, seed)?;
        if let Some(made) = seed.read_kid(kid) {
            line["period"] = json!(made.period);
        }
        printed(&line);
        Ok(())
    }

    /// What a packager needs of a key.
    fn line(&self, kid: Kid, seed: &Seed) -> Result<serde_json::Value> {
        // The server finds it so.
        let key = seed::derive(std::slice::from_ref(seed), &KeyQuery::from_kid(kid));
        let key = key.with_context(|| format!("{}: there is no seed", self.variables))?;
        let mut line = json!({
            "kid": kid.to_string(),
            "uri": format!("skd://{kid}"),
            "key": hex::encode(key.key.expose()),
            "iv": key.iv.map(hex::encode),
        });
        if let Some(track) = key.track {
            line["track"] = json!(track.name());
        }
        if let Some(id) = &seed.id {
            line["seed"] = json!(id);
        }
        Ok(line)
    }
}

fn printed(line: &serde_json::Value) -> bool {
    let text = Zeroizing::new(format!("{line}\n"));
    terminal::product().write_all(text.as_bytes()).is_ok()
}

fn track(name: &str) -> Result<Track, String> {
    Track::from_name(name).ok_or_else(|| {
        let known = Track::ALL.map(Track::name).join(", ");
        format!("it is not one of {known}")
    })
}
