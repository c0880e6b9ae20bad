//! The request of PlayReady for packaging data: `AcquirePackagingData` (SOAP 1.1).

use super::Error;
use super::xml::{self, Element, Namespace};
use crate::id::Kid;

use super::ProtectionSystem;

/// A request for the key of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRequest {
    /// `ProgramIdentifier`: the content id.
    pub program: String,
}

impl ProgramRequest {
    /// Reads the envelope.
    ///
    /// # Errors
    /// What keeps it from being read; a system other than PlayReady.
    ///
    /// ```
    /// use keylet::cpix::ProgramRequest;
    ///
    /// let body = r#"<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>
    ///     <challenge xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols/AcquirePackagingData/v1.0">
    ///     <ProgramIdentifier>movie-42</ProgramIdentifier></challenge></Body></Envelope>"#;
    /// assert_eq!(ProgramRequest::read(body.as_bytes())?.program, "movie-42");
    /// # Ok::<(), keylet::cpix::Error>(())
    /// ```
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let root = xml::read(bytes)?;
        let systems = all(&root, "ProtectionSystemId");
        let is_playready = |system: &&Element| {
            let id = Kid::from_text(system.text());
            id == Some(ProtectionSystem::PlayReady.system_id())
        };
        if !systems.iter().all(is_playready) {
            return Err(Error::At(
                "ProtectionSystemId",
                "it is not that of PlayReady",
            ));
        }
        let programs = all(&root, "ProgramIdentifier");
        let program = match programs[..] {
            [program] => program.text().trim(),
            [] => return Err(Error::At("ProgramIdentifier", "it is missing")),
            _ => return Err(Error::At("ProgramIdentifier", "there are several")),
        };
        let program = program.to_owned();
        Ok(Self { program })
    }
}

/// The elements of a name, at any depth.
fn all<'a>(element: &'a Element, name: &str) -> Vec<&'a Element> {
    let is_it = element.is(Namespace::PackagingData, name);
    let own = is_it.then_some(element).into_iter();
    let children = element.all_children().iter();
    own.chain(children.flat_map(|child| all(child, name)))
        .collect()
}
