//! The application certificate, in the forms in which it is kept and in which services serve it.

use anyhow::{Context, Result};
use keylet::encoding;
use keylet::fairplay::certificate::ApplicationCertificate;
use keylet::fairplay::spc::Version;

use super::Wrapping;

/// Members of a JSON object that hold the certificate.
const MEMBERS: [&str; 2] = ["certificate", "Certificate"];

/// Reads DER or a bundle, PEM, base64, or a JSON object with base64.
///
/// # Errors
/// What it is not.
pub fn read_certificate(bytes: &[u8]) -> Result<ApplicationCertificate> {
    let certificate = match std::str::from_utf8(bytes) {
        Err(_) => ApplicationCertificate::from_der(bytes.to_vec()),
        Ok(text) => {
            let document = encoding::json(text.trim().as_bytes()).unwrap_or_default();
            let member = |name| document.get(name)?.as_str();
            let text = MEMBERS.into_iter().find_map(member).unwrap_or(text);
            ApplicationCertificate::from_text(text.trim())
        }
    };
    certificate.context("the application certificate")
}

/// The oldest version of SPCs that the certificate has a key for.
pub fn oldest_version(certificate: &ApplicationCertificate) -> Wrapping {
    let has_short_key = certificate.certificates.iter().any(|c| c.bits() == 1024);
    Wrapping::Version(if has_short_key {
        Version::V1
    } else {
        Version::V2
    })
}
