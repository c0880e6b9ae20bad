//! A store that a command works on itself, and not a server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use keylet_host::{Store, StoreChoice};

/// The file of `keylet serve` in its directory.
pub const OF_SERVE: &str = ".keylet/key_value.redb";

/// How long Redis may take for an answer. Nobody waits at a player, and many commands are before each.
const LONGEST: Duration = Duration::from_secs(60);

/// The store that a text names: a file, or the URL of a Redis.
pub fn choice(text: &str) -> StoreChoice {
    match text.contains("://") {
        true => StoreChoice::Redis(text.to_owned()),
        false => StoreChoice::File(PathBuf::from(text)),
    }
}

/// Whether there is such a store: a file is there. Redis says so itself.
///
/// # Errors
/// There is none.
pub fn must_exist(choice: &StoreChoice) -> Result<()> {
    if let StoreChoice::File(path) = choice {
        ensure!(
            path.exists(),
            "{}: there is no such store; `keylet serve` has its own in `{OF_SERVE}`",
            path.display()
        );
    }
    Ok(())
}

/// Opens a store.
///
/// # Errors
/// It does not open.
pub fn open(choice: &StoreChoice) -> Result<Store> {
    Store::open_within(choice, Some(LONGEST)).map_err(|error| match choice {
        StoreChoice::File(_) => error.context(
            "the store does not open. While a server runs, only that has its file: use --server, or stop the server",
        ),
        StoreChoice::Memory | StoreChoice::Redis(_) => error,
    })
}
