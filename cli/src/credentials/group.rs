//! What was found in files that belong together.

use anyhow::{Result, bail};
use keylet::fairplay::certificate::{self, ApplicationCertificate, is_authority};

use super::ask::Ask;
use super::{PrivateKey, Problem};

/// Something that was found, and where.
pub struct Found<T> {
    /// What it is.
    pub value: T,
    /// The file, as it was named.
    pub file: String,
}

/// Files that belong together.
#[derive(Default)]
pub struct Group {
    /// What a credential made of them is called.
    pub name: String,
    /// Certificates and bundles, those of authorities left out.
    pub certificates: Vec<Found<ApplicationCertificate>>,
    /// Private keys.
    pub keys: Vec<Found<PrivateKey>>,
    /// Application secret keys.
    pub asks: Vec<Found<Ask>>,
    /// Lines for a person.
    pub notes: Vec<String>,
    /// What cannot be used though it should.
    pub problems: Vec<Problem>,
}

/// Something that was found in a file.
pub fn found<T>(file: &str, value: T) -> Found<T> {
    Found {
        value,
        file: file.to_owned(),
    }
}

impl Group {
    /// An empty one. Its name has the characters that names of credentials may have.
    pub fn named(name: &str) -> Self {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = name.replace(|c| !allowed(c), "-");
        Self {
            name: if name.is_empty() {
                "default".to_owned()
            } else {
                name
            },
            ..Self::default()
        }
    }

    /// Whether nothing was found, and nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
            && self.keys.is_empty()
            && self.asks.is_empty()
            && self.notes.is_empty()
            && self.problems.is_empty()
    }

    /// A file that no credential needs.
    pub fn leave_out(&mut self, name: &str, what: &str) {
        self.notes.push(format!("{name}: left out, {what}"));
    }

    /// A signing request, which no server needs.
    pub fn leave_out_request(&mut self, name: &str) {
        let what =
            "a signing request: it goes to Apple's portal, which answers with the certificate";
        self.leave_out(name, what);
    }

    /// Certificates of one file: an application certificate or a bundle, either with those of authorities.
    /// An authority's own one may be the application certificate, in tests.
    ///
    /// # Errors
    /// What is no application certificate.
    pub fn add_certificates(&mut self, name: &str, certificates: Vec<Vec<u8>>) -> Result<()> {
        let (authorities, own): (Vec<_>, Vec<_>) =
            certificates.into_iter().partition(|der| is_authority(der));
        if own.is_empty() {
            let usable = authorities
                .into_iter()
                .filter_map(|der| ApplicationCertificate::from_der(der).ok());
            self.certificates.extend(usable.map(|one| found(name, one)));
            return Ok(());
        }
        if !authorities.is_empty() {
            self.notes.push(format!(
                "{name}: certificates of authorities are left out, players need only the application's"
            ));
        }
        match ApplicationCertificate::from_der(own.concat()) {
            Ok(one) => self.certificates.push(found(name, one)),
            Err(certificate::Error::Bundle) if own.len() == 2 => {
                bail!(
                    "{}; these are in another order or of other sizes",
                    certificate::Error::Bundle
                )
            }
            Err(certificate::Error::Bundle) => {
                for one in own {
                    self.certificates
                        .push(found(name, ApplicationCertificate::from_der(one)?));
                }
            }
            Err(error) => bail!("{error}"),
        }
        Ok(())
    }
}
