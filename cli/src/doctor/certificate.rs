//! What an application certificate says of itself.

use anyhow::{Context, Result};
use der::Decode;
use keylet::fairplay::certificate::{self, ApplicationCertificate};
use x509_cert::Certificate;
use x509_cert::spki::ObjectIdentifier;

use super::{Report, Severity};
use crate::credentials::request::{DEVELOPMENT_AUTHORITY, SDK_VERSION};

/// The arc of Apple's extensions for FairPlay.
const FAIRPLAY_ARC: &str = "1.2.840.113635.100.6.13.1.";

/// SHA-1 of the certificates of the fixtures and of the SDK's development certificate: their private
/// keys are published.
const SDK_DEVELOPMENT: [u8; 20] = [
    0x55, 0x61, 0x98, 0x0a, 0xa5, 0x1f, 0x03, 0xaa, 0x04, 0xbc, 0xa2, 0x45, 0x56, 0xc8, 0x41, 0xa7,
    0x17, 0x36, 0xc7, 0x71,
];

/// How long before its end a certificate is spoken of, in seconds: Apple issues a new one within days, and apps take longer.
const RENEWAL: u64 = 60 * SECONDS_OF_A_DAY;

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// Looks at an application certificate or bundle, which may be for tests where that is as it should be.
///
/// # Errors
/// A certificate whose SDK version is malformed.
pub fn examine(
    name: &str,
    certificate: &ApplicationCertificate,
    allow_test: bool,
    now: u64,
    report: &mut Report,
) -> Result<()> {
    for one in &certificate.certificates {
        let label = format!("{name}, {} bits", one.bits());
        let Ok(parsed) = Certificate::from_der(&one.der) else {
            report.add(
                Severity::Warning,
                "certificate",
                format!("{label}: it has an RSA key, and the rest of it cannot be read"),
                "The server takes it, since players check certificates themselves; other systems may refuse it.",
                "Compare it with the file that Apple's portal gave.",
            );
            continue;
        };
        let body = parsed.tbs_certificate();
        let versions = if one.bits() == 1024 {
            "version 1"
        } else {
            "versions 2 and 3"
        };
        report.ok(
            "certificate",
            format!(
                "{label}: issued to {}, by {}, for SPCs of {versions}",
                body.subject(),
                body.issuer()
            ),
        );
        report.ok("hashes", format!("{label}: {}", hashes(one)));

        let issuer = body.issuer().to_string();
        let is_published = *one.sha1() == SDK_DEVELOPMENT || fixtures().contains(one.sha1());
        let is_test = is_published || issuer.contains(DEVELOPMENT_AUTHORITY);

        let until = body.validity().not_after.to_unix_duration().as_secs();
        let from = body.validity().not_before.to_unix_duration().as_secs();
        if is_test && allow_test {
            // Its dates matter to nobody: the SDK's own ran out in 2013.
        } else if until < now {
            report.add(
                Severity::Warning,
                "certificate_validity",
                format!("{label}: it expired on {}", body.validity().not_after),
                "FairPlay does not enforce the date, and neither does this server; apps that check certificates may.",
                "Have it renewed when it suits you; both can be served side by side.",
            );
        } else if until - now < RENEWAL {
            let days = (until - now) / SECONDS_OF_A_DAY;
            report.add(
                Severity::Warning,
                "certificate_validity",
                format!("{label}: it expires on {}, in {days} days", body.validity().not_after),
                "FairPlay does not enforce the date, and neither does this server; apps that check certificates may.",
                "Ask Apple for a new one now; both can be served side by side.",
            );
        } else if now < from {
            report.add(
                Severity::Warning,
                "certificate_validity",
                format!("{label}: it is valid from {} on", body.validity().not_before),
                "Either this machine's clock is wrong, or the certificate is not meant to be used yet.",
                "Compare the clock.",
            );
        }

        let extensions: Vec<ObjectIdentifier> = body
            .extensions()
            .into_iter()
            .flatten()
            .map(|extension| extension.extn_id)
            .collect();
        if is_test && allow_test {
            report.ok("test_credentials", format!("{label}: it is for tests"));
        } else if is_test {
            report.add(
                Severity::Warning,
                "test_credentials",
                format!(
                    "{label}: it is for tests{}",
                    if is_published {
                        ", and its private key is published"
                    } else {
                        ""
                    }
                ),
                "No Apple device trusts it for what it plays, or anyone can open what it protects.",
                "Use the certificate that Apple issued to you before content is at stake.",
            );
        } else if !extensions
            .iter()
            .any(|oid| oid.to_string().starts_with(FAIRPLAY_ARC))
        {
            report.add(
                Severity::Warning,
                "certificate_issuer",
                format!("{label}: it has none of Apple's FairPlay extensions ({FAIRPLAY_ARC}*)"),
                "Devices take application certificates that Apple issued for FairPlay only; one for apps or servers is refused.",
                "Give the certificate that the FairPlay page of Apple's portal answered your request with.",
            );
        }
        if one.bits() == 2048 {
            match sdk_version(&parsed)? {
                Some((major, minor)) => report.ok("sdk", format!("{label}: for SDK {major}.{minor}")),
                None => report.add(
                    Severity::Warning,
                    "sdk",
                    format!("{label}: it does not say for which SDK it is"),
                    "Certificates of SDK 26 carry the version; Apple's own server only warns without it.",
                    "Nothing, when players answer it.",
                ),
            }
        }
    }
    match certificate.certificates.as_slice() {
        [one] if one.bits() == 1024 => report.ok("sdk", format!("{name}: a set of SDK 4, players send SPCs of version 1")),
        [one] => report.add(
            Severity::Warning,
            "sdk",
            format!("{name}: a single certificate of {} bits", one.bits()),
            "Apple issues the 2048-bit certificate inside a bundle with a 1024-bit one; systems that know no bundles cannot \
             use it alone.",
            "Serve fps_certificate.bin as the portal gave it.",
        ),
        _ => report.ok(
            "sdk",
            format!("{name}: a bundle of SDK 26, players send SPCs of versions 2 and 3, older systems of version 1"),
        ),
    }
    Ok(())
}

fn hashes(one: &certificate::Certificate) -> String {
    match one.bits() {
        1024 => format!("players name it {}", hex::encode(one.sha1())),
        _ => format!(
            "players name it {} (version 2) or {} (version 3)",
            hex::encode(one.sha1()),
            hex::encode(one.sha256())
        ),
    }
}

/// The version that the extension of SDK 26 says: an INTEGER of two bytes, major and minor.
fn sdk_version(certificate: &Certificate) -> Result<Option<(u8, u8)>> {
    let mut extensions = certificate
        .tbs_certificate()
        .extensions()
        .into_iter()
        .flatten();
    let Some(extension) = extensions.find(|extension| extension.extn_id == SDK_VERSION) else {
        return Ok(None);
    };
    let version = u16::from_der(extension.extn_value.as_bytes());
    let [major, minor] = version
        .context("its SDK version is malformed, which Apple's own server refuses")?
        .to_be_bytes();
    Ok(Some((major, minor)))
}

fn fixtures() -> Vec<[u8; 20]> {
    let variables = crate::fixtures::variables();
    let single = variables.get("fairplay_certificate").map(String::as_str);
    let list: Vec<serde_json::Value> = variables
        .get("fairplay_credentials")
        .and_then(|list| serde_json::from_str(list).ok())
        .unwrap_or_default();
    single
        .into_iter()
        .chain(
            list.iter()
                .filter_map(|entry| entry["certificate"].as_str()),
        )
        .filter_map(|text| ApplicationCertificate::from_text(text).ok())
        .flat_map(|certificate| {
            certificate
                .certificates
                .iter()
                .map(|one| *one.sha1())
                .collect::<Vec<_>>()
        })
        .collect()
}
