//! Which store, and what is done with it.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use http::Method;
use keylet::platform::system_time;
use keylet::sweep::{LONGEST_STEP, STEP, families};
use keylet_host::Store;
use serde::Deserialize;

use crate::commands::keys::server::Server;
use crate::commands::remote::Remote;
use crate::progress::Counter;
use crate::stored_at;
use crate::sweep::{self, Mode, Report};
use crate::wire::percent_encoded;

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
        let choice = stored_at::choice(self.store.as_deref().unwrap_or(stored_at::OF_SERVE));
        stored_at::must_exist(&choice)?;
        let open = stored_at::open(&choice)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let report = runtime.block_on(sweep::run(&open, system_time(), mode, &mut counter))?;
        drop(open);
        if mode == Mode::Deleted && report.over() > 0 {
            // What was deleted is deleted.
            if let Err(error) = Store::compact(&choice) {
                eprintln!("warning: the file was not made smaller: {error:#}");
            }
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
        let is_known = |name: &str| families().any(|family| family.name == name);
        let newer = { step.kept.iter().chain(&step.deleted) }.filter(|(name, _)| !is_known(name));
        let newer = newer.map(|(_, count)| *count).sum();
        report.unknown = { report.unknown }
            .saturating_add(step.unknown)
            .saturating_add(newer);
        counter.add(step.looked_at);
        match step.next {
            Some(next) => after = format!("&after={}", percent_encoded(&next)),
            None => return Ok(report),
        }
    }
}
