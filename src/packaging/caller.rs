//! Who asks.

use super::packagers::Packager;
use super::{Error, PackagingServer};
use crate::id::Id;
use crate::operator::Operator;
use crate::platform::Platform;

/// Who asks for keys, once that is proved.
#[derive(Clone, Copy)]
pub enum Caller<'a> {
    /// The operator, who may have every key.
    Operator,
    /// A packager.
    Packager(&'a Packager),
}

impl<'a> Caller<'a> {
    /// The name for the audit.
    pub fn name(self) -> &'a str {
        match self {
            Self::Operator => "operator",
            Self::Packager(packager) => &packager.name,
        }
    }

    /// Requires that the caller may have the keys of a content.
    ///
    /// # Errors
    /// [`Error::Content`]
    pub(super) fn require(self, content: &Id) -> Result<(), Error> {
        match self {
            Self::Packager(packager) if !packager.may_have(content) => Err(Error::Content),
            Self::Operator | Self::Packager(_) => Ok(()),
        }
    }

    /// Requires that keys may travel in the clear: the interface has no other way.
    ///
    /// # Errors
    /// [`Error::Certificate`]
    pub(super) fn require_plain(self) -> Result<(), Error> {
        match self.certificates() {
            Some(_) => Err(Error::Certificate),
            None => Ok(()),
        }
    }

    /// Whether he may not ask for everything.
    pub(super) fn is_limited(self) -> bool {
        match self {
            Self::Operator => false,
            Self::Packager(packager) => packager.is_limited(),
        }
    }

    /// Whether all tracks of a content have one key.
    pub(super) fn has_shared_key(self) -> bool {
        match self {
            Self::Operator => false,
            Self::Packager(packager) => packager.shared_key,
        }
    }

    /// SHA-256 of the certificates that keys are encrypted for; `None`: any, and keys may travel in the clear.
    pub(super) fn certificates(self) -> Option<&'a [[u8; 32]]> {
        match self {
            Self::Operator => None,
            Self::Packager(packager) => packager.certificates.as_deref(),
        }
    }
}

impl<'s, P: Platform> PackagingServer<'s, P> {
    /// Who asks, by the secrets that came with a request. `None` when none of them is the operator's or a packager's.
    ///
    /// # Errors
    /// [`Error::Off`], and [`Error::Settings`].
    pub async fn caller(&self, secrets: &[String]) -> Result<Option<Caller<'s>>, Error> {
        let operator = Operator::load(self.platform).await?;
        let packagers = self.packagers().await?;
        if operator.is_none() && packagers.is_empty() {
            return Err(Error::Off);
        }
        let is_operator = |secret: &String| {
            let operator = operator.as_ref();
            operator.is_some_and(|operator| operator.is(secret))
        };
        if secrets.iter().any(is_operator) {
            return Ok(Some(Caller::Operator));
        }
        let is_its = |packager: &&Packager| secrets.iter().any(|secret| packager.has_token(secret));
        Ok(packagers.iter().find(is_its).map(Caller::Packager))
    }

    /// Who asks. A refusal is written to the audit.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::Off`] and [`Error::Settings`].
    pub async fn authenticate(
        &self,
        interface: &'static str,
        secrets: &[String],
    ) -> Result<Caller<'s>, Error> {
        let caller = self.caller(secrets).await;
        let caller = caller.and_then(|caller| caller.ok_or(Error::Unauthenticated));
        match caller {
            Ok(caller) => Ok(caller),
            Err(error) => self.audited(self.audit_of(interface), Err(error)),
        }
    }
}
