//! `keylet keys`

mod add;
mod delete;
mod export;
mod formats;
mod import;
mod init;
mod list;
mod listed;
mod make;
mod place;
mod rotate;
mod seed;
pub mod server;
mod show;
mod stored;
mod variables;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// Keep the content keys of the variable `content_keys`, of a server that runs, or of a store.
#[derive(Subcommand)]
pub enum Command {
    /// Add content keys, random ones unless a file has the key, and write them to the file of variables
    #[command(after_help = add::EXAMPLES)]
    Add(add::Add),
    /// List the content keys without the keys themselves
    #[command(after_help = list::EXAMPLES)]
    List(list::List),
    /// Print a content key as JSON: with its secret, for a packager, from the file of variables or with --secret
    #[command(after_help = show::EXAMPLES)]
    Show(show::Show),
    /// Delete content keys. Of the file of variables a copy stays beside it; stored keys can be restored for a while
    #[command(after_help = delete::DELETE)]
    Delete(delete::Delete),
    /// Restore stored keys that were deleted
    #[command(after_help = delete::RESTORE)]
    Restore(delete::Restore),
    /// Import content keys: CSV, JSON lines, JSON, CPIX, Azure's export, encrypted ones too
    #[command(after_help = import::HELP)]
    Import(import::Import),
    /// Export content keys, encrypted for a certificate unless --plaintext is given
    #[command(after_help = export::HELP)]
    Export(export::Export),
    /// Make a key that encrypts stored keys, in the variable `key_encryption_keys`
    #[command(after_help = init::EXAMPLES)]
    Init(init::Init),
    /// Encrypt all stored keys again, under the first key of `key_encryption_keys`
    #[command(after_help = rotate::EXAMPLES)]
    Rotate(rotate::Rotate),
    /// Print the keys that the seed makes for a content, with their KIDs and IVs, as JSON lines or as a packager takes them
    #[command(after_help = make::EXAMPLES)]
    Make(make::Make),
    /// Make the seed that keys are derived from, and write it to the file of variables
    #[command(after_help = seed::EXAMPLES)]
    Seed(seed::New),
}

pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Add(add) => add.run()?,
        Command::List(list) => list.run()?,
        Command::Show(show) => show.run()?,
        Command::Delete(delete) => delete.run()?,
        Command::Restore(restore) => restore.run()?,
        Command::Import(import) => return import.run(),
        Command::Export(export) => return export.run(),
        Command::Init(init) => init.run()?,
        Command::Rotate(rotate) => return rotate.run(),
        Command::Make(make) => make.run()?,
        Command::Seed(new) => new.run()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An id as records have it.
fn name(id: &str) -> &str {
    id.strip_prefix("skd://").unwrap_or(id)
}
