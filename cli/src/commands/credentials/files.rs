//! The files of a credential, and what is given beside them.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use zeroize::Zeroizing;

use super::PASSWORD;
use crate::credentials::ask::{self, Ask};
use crate::credentials::files::Reader;
use crate::credentials::group::{Found, Group};
use crate::credentials::{CredentialPart, Problem};
use crate::file::{self, secret};

/// The environment variable with the application secret key.
const ASK: &str = "KEYLET_ASK";

/// Files with credentials, and what opens them.
#[derive(Args)]
pub struct Files {
    /// Files and directories
    #[arg(value_name = "FILE|DIRECTORY")]
    pub paths: Vec<PathBuf>,
    /// File with a password of private keys or containers; may be repeated. The environment variable
    /// `KEYLET_PASSWORD` has one too; on a terminal it is asked for
    #[arg(long = "password-file", value_name = "FILE")]
    pub password_files: Vec<PathBuf>,
    /// File with the application secret key, in hexadecimal or base64; the environment variable
    /// `KEYLET_ASK` has it too; on a terminal it is asked for
    #[arg(long, value_name = "FILE")]
    pub ask_file: Option<PathBuf>,
}

impl Files {
    /// The ASk that is given apart, if it is one.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn ask(&self) -> Result<Option<Ask>> {
        let given = self.given_ask()?;
        Ok(given.and_then(|given| ask::read(&given.value).ok()))
    }

    /// The ASk that is given apart, as text.
    fn given_ask(&self) -> Result<Option<Found<Zeroizing<String>>>> {
        Ok(match &self.ask_file {
            Some(path) => Some(Found {
                value: secret(path)?,
                file: path.display().to_string(),
            }),
            None => file::environment(ASK).map(|value| Found {
                value,
                file: ASK.to_owned(),
            }),
        })
    }

    /// The groups of what these files hold, with the ASk that was given apart.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn groups(&self) -> Result<Vec<Group>> {
        let mut passwords = Vec::new();
        for path in &self.password_files {
            passwords.push(secret(path)?);
        }
        passwords.extend(file::environment(PASSWORD));
        let mut reader = Reader {
            passwords,
            prompt: &|question| prompt(question),
        };
        let mut groups = reader.read(&self.paths)?;
        self.add_ask(&mut groups)?;
        Ok(groups)
    }

    /// Gives the ASk that came apart to the certificate that has none.
    fn add_ask(&self, groups: &mut [Group]) -> Result<()> {
        // One of the environment may be there for something else.
        let is_meant = self.ask_file.is_some();
        let lacking = |group: &&mut Group| group.asks.is_empty() && !group.certificates.is_empty();
        let mut certificates: Vec<&[u8]> = groups
            .iter()
            .filter(|group| group.asks.is_empty())
            .flat_map(|group| &group.certificates)
            .map(|certificate| certificate.value.der.as_slice())
            .collect();
        certificates.sort_unstable();
        certificates.dedup();
        let count = certificates.len();
        let lacking_groups = groups.iter_mut().filter(lacking).count();
        match (count, lacking_groups) {
            // Nothing needs it. If it is another one than the files have, that is wrong.
            (0, _) if is_meant => {
                let is_whole = groups.iter().all(|group| group.problems.is_empty());
                let with_certificate = groups
                    .iter_mut()
                    .find(|group| !group.certificates.is_empty());
                if let (true, Some(group), Some(given)) =
                    (is_whole, with_certificate, self.given_ask()?)
                {
                    add(group, &given);
                }
                return Ok(());
            }
            (0, _) => return Ok(()),
            (1, _) | (_, 1) => {}
            _ if is_meant => {
                let file = self
                    .given_ask()?
                    .map(|given| given.file)
                    .unwrap_or_default();
                let text = format!(
                    "{file}: {count} certificates have no ASk, and nothing says whose this is. Give each credential a \
                     directory of its own with its ASk in it"
                );
                if let Some(group) = groups.first_mut() {
                    group.problems.push(Problem::new(CredentialPart::Ask, text));
                }
                return Ok(());
            }
            _ => return Ok(()),
        }
        let given = self.given_ask()?.or_else(|| {
            let value = prompt_for_ask()?;
            Some(Found {
                value,
                file: "the ASk".to_owned(),
            })
        });
        if let Some(given) = given {
            groups
                .iter_mut()
                .filter(lacking)
                .for_each(|group| add(group, &given));
        }
        Ok(())
    }
}

/// Adds an ASk to a group, or what is wrong with it.
fn add(group: &mut Group, given: &Found<Zeroizing<String>>) {
    let file = given.file.clone();
    match ask::read(&given.value) {
        Ok(value) => group.asks.push(Found { value, file }),
        Err(reason) => {
            let text = format!("{file}: {reason}");
            let problem = Problem::new(CredentialPart::Ask, text);
            if !group.problems.contains(&problem) {
                group.problems.push(problem);
            }
        }
    }
}

/// Asks for an ASk until what is typed is one. `None` without a terminal, or when nothing is typed.
fn prompt_for_ask() -> Option<Zeroizing<String>> {
    for _ in 0..3 {
        let text = prompt("ASk, 32 hexadecimal digits (nothing: there is none): ")?;
        if text.trim().is_empty() {
            return None;
        }
        match ask::read(&text) {
            Ok(_) => return Some(text),
            Err(reason) => eprintln!("{reason}"),
        }
    }
    None
}

/// Asks on the terminal, without showing what is typed.
fn prompt(question: &str) -> Option<Zeroizing<String>> {
    if !(std::io::stdin().is_terminal() && crate::terminal::stderr().is_terminal()) {
        return None;
    }
    rpassword::prompt_password(question)
        .ok()
        .map(Zeroizing::new)
}
