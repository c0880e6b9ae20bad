//! A CPIX document by GET, for packagers that fetch one: a request of SPEKE that this server writes and answers itself.

use zeroize::Zeroizing;

use super::{Caller, Error, PackagingServer};
use crate::cpix::speke::{Request, Version};
use crate::cpix::{BlankDocument, BlankKey, ProtectionSystem, Scheme, track_from_type};
use crate::id::Id;
use crate::platform::Platform;

/// What the audit calls this interface.
pub const CPIX: &str = "cpix";

/// A document that is asked for.
pub struct DocumentRequest<'a> {
    /// The content id.
    pub content_id: &'a str,
    /// The protection scheme; without one `cbcs`.
    pub scheme: Option<&'a str>,
    /// The types of the tracks, between commas, each with a key of its own; without them one key for `ALL`.
    pub tracks: Option<&'a str>,
    /// The names of the systems, between commas; without them FairPlay, Widevine and PlayReady, as far as they have the
    /// scheme.
    pub systems: Option<&'a str>,
    /// The period of content whose keys change.
    pub period: Option<u32>,
}

/// The type of a key for all tracks.
const ALL: &str = "ALL";

impl<P: Platform> PackagingServer<'_, P> {
    /// Writes a document.
    ///
    /// # Errors
    /// [`Error::Request`] for what is asked for and does not exist, and as every interface.
    pub async fn document(
        &self,
        caller: Caller<'_>,
        wanted: &DocumentRequest<'_>,
    ) -> Result<Zeroizing<String>, Error> {
        let mut audit = self.audit_of(CPIX);
        audit.asked_by(caller);
        let document = async {
            let wrong = |reason: String| Error::Request(reason);
            let content = Id::from_text(wanted.content_id)
                .ok_or_else(|| wrong("the content id is empty or not hexadecimal".to_owned()))?;
            audit.asked_for(&content);
            caller.require(&content)?;
            let scheme = Scheme::from_name(wanted.scheme.unwrap_or(Scheme::Cbcs.name()));
            let scheme = scheme.ok_or_else(|| {
                wrong("`scheme` is not one of cenc, cens, cbc1 and cbcs".to_owned())
            })?;
            let systems = systems(wanted.systems, scheme)?;
            let mut keys: Vec<BlankKey<'_>> = Vec::new();
            for name in wanted.tracks.unwrap_or(ALL).split(',').map(str::trim) {
                let track = track_from_type(name);
                if track.is_none() && name != ALL {
                    let reason = format!(
                        "the track {name:?} is none of AUDIO, SD, HD, UHD, UHD1, UHD2 and ALL"
                    );
                    return Err(wrong(reason));
                }
                let track = track.filter(|_| !caller.has_shared_key());
                let key = self.key_of_content(&content, track, wanted.period).await?;
                let is_there = keys.iter().any(|other| other.track_type == name);
                if is_there || name == ALL && !keys.is_empty() {
                    return Err(wrong(format!(
                        "`tracks` has {name} twice, or ALL beside others"
                    )));
                }
                keys.push(BlankKey {
                    kid: key.kid,
                    track_type: name,
                });
            }
            let blank = BlankDocument {
                content_id: wanted.content_id,
                version: Version::V2_1,
                scheme,
                keys: &keys,
                systems: &systems,
                certificate: None,
            };
            let blank = blank.to_xml();
            let blank = blank.ok_or_else(|| {
                wrong("the content id holds a character that XML does not have".to_owned())
            })?;
            let request = Request::read(blank.as_bytes(), Version::V2_1)?;
            self.fill(caller, &request, &mut audit).await
        };
        let document = document.await;
        self.audited(audit, document)
    }
}

fn systems(names: Option<&str>, scheme: Scheme) -> Result<Vec<ProtectionSystem>, Error> {
    let Some(names) = names else {
        return Ok(ProtectionSystem::usual(scheme));
    };
    let systems = names.split(',').map(|name| {
        let name = name.trim();
        let system = ProtectionSystem::from_name(name);
        system.ok_or_else(|| Error::Request(format!("the system {name:?} is not known")))
    });
    systems.collect()
}
