//! Documents: of packagers, of licence services' devices, of operators.

use std::collections::BTreeSet;

use keylet::content_key::read_all;
use keylet::cpix::speke::{Request, Version};
use keylet::cpix::{Document, ProgramRequest};
use keylet::drm::DrmSystem;
use keylet::encoding;
use keylet::policy::{Policies, azure};
use keylet::private_key::EncodedKeys;

use crate::host::{Host, run};

/// A document that has keys is one that a second parser reads too, and it finds the same content id.
pub fn cpix(data: &[u8]) {
    let Ok(document) = Document::read(data) else {
        return;
    };
    let keys = document.keys().map_or(0, |keys| {
        for key in &keys {
            let _ = (
                key.iv(),
                key.value(None),
                key.is_encrypted(),
                document.track_of(key.kid),
            );
        }
        keys.len()
    });
    let Ok(text) = std::str::from_utf8(data) else {
        // UTF-16 and the like are this reader's own matter.
        return;
    };
    let text = text.trim_start_matches('\u{feff}');
    // Declarations and processing instructions are passed over here, whatever is in them.
    let text = match text.strip_prefix("<?") {
        Some(declaration) => declaration.split_once("?>").map_or("", |(_, rest)| rest),
        None => text,
    };
    if text.contains("<?") {
        return;
    }
    let other = match roxmltree::Document::parse(text) {
        Ok(other) => other,
        // A prefix that nobody declares is no namespace here.
        Err(roxmltree::Error::UnknownNamespace(..)) => return,
        Err(error) => panic!("what is read as CPIX is no XML: {error}"),
    };
    let root = other.root_element();
    assert_eq!(document.content_id(), root.attribute("contentId"));
    let named = other
        .descendants()
        .filter(|node| node.tag_name().name() == "ContentKey");
    assert!(keys <= named.count(), "a key that no element has");
}

/// SPEKE of each version.
pub fn speke(data: &[u8]) {
    for version in [Version::V1_0, Version::V2_0, Version::V2_1] {
        let Ok(request) = Request::read(data, version) else {
            continue;
        };
        assert!(!request.keys().is_empty(), "a request for no key");
        for key in request.keys() {
            let _ = (
                key.track(),
                key.is_clear(),
                key.names_tracks(),
                key.mixes_tracks(),
            );
        }
        let _ = request.recipients();
    }
}

/// PlayReady's request for packaging data.
pub fn packaging_data(data: &[u8]) {
    let _ = ProgramRequest::read(data);
}

/// Challenges of PlayReady. What is forwarded stands in the message as it came.
pub fn playready(data: &[u8]) {
    let _ = keylet::playready::token_in(data);
    if let Ok(challenge) = keylet::playready::Challenge::read(data) {
        assert!(!challenge.soap.is_empty());
        for key in &challenge.keys {
            assert!(challenge.key(key.kid).is_some());
        }
    }
}

/// Challenges of Widevine. One that goes on with a licence asks for no other key.
pub fn widevine(data: &[u8]) {
    let _ = keylet::widevine::is_certificate_request(data);
    if let Ok(challenge) = keylet::widevine::Challenge::read(data) {
        let is_new = challenge.kind == keylet::widevine::Kind::New;
        let kids: BTreeSet<_> = challenge.kids.iter().collect();
        assert_eq!(kids.len(), challenge.kids.len(), "each KID once");
        assert!(
            is_new || kids.is_empty(),
            "a renewal asks for no other keys"
        );
    }
}

/// Policies, as an operator configures them.
pub fn policies(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let variables = [("policies".to_owned(), text.to_owned())];
    match run(Policies::load(&Host::new(variables.into()))) {
        Ok(policies) => drop(policies.check()),
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal has a reason"),
    }
}

/// Configurations of Azure's policies.
pub fn azure_policies(data: &[u8]) {
    let Ok(configuration) = encoding::json(data) else {
        return;
    };
    for system in DrmSystem::all() {
        if let Err(reason) = azure::read(system, &configuration) {
            assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}");
        }
        let _ = azure::report(system, &configuration);
    }
}

/// Key records.
pub fn key_records(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(problems) = read_all(text) {
        assert!(!problems.is_empty(), "a refusal without a reason");
    }
}

/// Private keys in PEM, DER and PKCS#12.
pub fn private_keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        let _ = keylet::private_key::is_pfx(data);
        return;
    };
    if let Ok(keys) = EncodedKeys::read(text)
        && !keys.are_encrypted()
    {
        // A password costs thousands of hashes, which is no reader's matter.
        let _ = keys.decode(None);
    }
    let _ = encoding::pem(text);
    let _ = encoding::pem_or_der(text);
}
