//! Which store, and what is done with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use http::Method;
use keylet::platform::system_time;
use keylet::sweep::{LONGEST_STEP, STEP, families};
use keylet_host::{Store, StoreChoice};
use serde::Deserialize;

use crate::commands::keys::server::Server;
use crate::commands::remote::Remote;
use crate::progress::Counter;
use crate::sweep::{self, Mode, Report};
use crate::wire::percent_encoded;

/// How long Redis may take for an answer. Nobody waits at a player, and many commands are before each.
const LONGEST: Duration = Duration::from_secs(60);

/// Which store: that of `keylet serve` in this directory, unless `--store` or `--server` says so.
#[derive(Args)]
pub struct Place {
    /// The store itself: the file of a server that does not run now, or the URL of a Redis. Without it, the file of
    /// `keylet serve` in this directory
    #[arg(long, value_name = "FILE|URL")]
    store: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// The answer of a server to a step.
#[derive(Deserialize)]
struct Step {
    looked_at: u64,
    deleted: BTreeMap<String, u64>,
    kept: BTreeMap<String, u64>,
    unknown: u64,
    next: Option<String>,
}

impl Place {
    /// Looks it through.
    ///
    /// # Errors
    /// A store that does not open or fails.
    pub fn sweep(&self, mode: Mode) -> Result<Report> {
        let mut counter = Counter::new("looked at", None);
        if let Some(server) = self.remote.open()? {
            return by_server(&server, mode, &mut counter);
        }
        let store = self.store.as_deref().unwrap_or(".keylet/key_value.redb");
        let choice = match store.contains("://") {
            true => StoreChoice::Redis(store.to_owned()),
            false => StoreChoice::File(PathBuf::from(store)),
        };
        if let StoreChoice::File(path) = &choice
            && !path.exists()
        {
            bail!(
                "{}: there is no such store; `keylet serve` has its own in `.keylet/key_value.redb`",
                path.display()
            );
        }
        let open = Store::open_within(&choice, Some(LONGEST)).map_err(|error| match &choice {
            StoreChoice::File(_) => error.context(
                "the store does not open. While a server runs, only that has its file: use --server, or stop the server",
            ),
            _ => error,
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let report = runtime.block_on(sweep::run(&open, system_time(), mode, &mut counter))?;
        drop(open);
        if mode == Mode::Deleted && report.over() > 0 {
            Store::compact(&choice)?;
        }
        Ok(report)
    }
}

/// Has a server look through its store, step by step.
fn by_server(server: &Server, mode: Mode, counter: &mut Counter) -> Result<Report> {
    let (is_dry, limit) = match mode {
        Mode::Deleted => (false, STEP),
        Mode::Counted | Mode::Measured => (true, LONGEST_STEP),
    };
    let mut report = Report::default();
    let mut after = String::new();
    loop {
        let path = format!("/store/sweep?dry_run={is_dry}&limit={limit}{after}");
        let step: Step = server.ask(Method::POST, &path, None)?;
        for family in families() {
            let [kept, over] = [&step.kept, &step.deleted].map(|counts| counts.get(family.name));
            if kept.or(over).is_some() {
                let [kept, over] = [kept, over].map(|count| count.copied().unwrap_or_default());
                let counts = report.families.entry(family.name).or_default();
                counts.keys = counts.keys.saturating_add(kept).saturating_add(over);
                counts.over = counts.over.saturating_add(over);
            }
        }
        report.unknown = report.unknown.saturating_add(step.unknown);
        counter.add(step.looked_at);
        match step.next {
            Some(next) => after = format!("&after={}", percent_encoded(&next)),
            None => return Ok(report),
        }
    }
}
