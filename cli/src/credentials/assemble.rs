//! Makes credentials of what was found in files.

use std::collections::{BTreeMap, BTreeSet};

use keylet::fairplay::certificate::ApplicationCertificate;

use super::ask::Ask;
use super::group::{Found, Group};
use super::{Credential, CredentialPart, PrivateKey, Problem};

/// Everything that was found in files, and what became of it.
#[derive(Default)]
pub struct Assembled {
    /// The credentials that are complete enough to be written.
    pub credentials: Vec<Credential>,
    /// Lines for a person: what was taken, what was left, without any secret.
    pub report: Vec<String>,
    /// What is wrong, without any secret.
    pub problems: Vec<Problem>,
}

/// Makes credentials of groups of files: the files of a group belong together.
pub fn assemble(groups: &[Group]) -> Assembled {
    let mut assembled = Assembled::default();
    for group in groups {
        assembled.add(group);
    }
    assembled.join_equal();
    let mut names: Vec<String> = Vec::new();
    for credential in &mut assembled.credentials {
        let mut name = credential.name.clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{}-{number}", credential.name);
            number += 1;
        }
        credential.name.clone_from(&name);
        names.push(name);
    }
    assembled
}

impl Assembled {
    fn add(&mut self, group: &Group) {
        self.report.extend(group.notes.iter().cloned());
        self.problems.extend(group.problems.iter().cloned());
        let mut keys: Vec<&Found<PrivateKey>> = Vec::new();
        for key in &group.keys {
            // The same key is often there in two forms.
            match keys
                .iter()
                .find(|other| other.value.modulus == key.value.modulus)
            {
                Some(other) => self
                    .report
                    .push(format!("{}: the same key as in {}", key.file, other.file)),
                None => keys.push(key),
            }
        }
        let certificates = self.distinct(&group.certificates);
        let fits = |certificate: &&Found<ApplicationCertificate>| {
            let mut each = certificate.value.certificates.iter();
            each.any(|one| keys.iter().any(|key| key.value.modulus == one.modulus))
        };
        let some_fit = certificates.iter().any(fits);
        // What a file that could not be read may have held is not told to be missing.
        let is_whole = |parts: &[CredentialPart]| {
            !group
                .problems
                .iter()
                .any(|problem| parts.contains(&problem.part))
        };
        let has_every_key = is_whole(&[CredentialPart::PrivateKey, CredentialPart::Password]);
        let has_every_file = has_every_key && is_whole(&[CredentialPart::Certificate]);
        let mut used = BTreeSet::new();
        let mut found = Vec::new();
        for certificate in &certificates {
            let mut own = Vec::new();
            let mut missing = Vec::new();
            for one in &certificate.value.certificates {
                match keys.iter().position(|key| key.value.modulus == one.modulus) {
                    Some(index) => own.push(index),
                    None => missing.push(one.bits()),
                }
            }
            if own.is_empty() && some_fit {
                self.report.push(format!(
                    "{}: left out, no private key here belongs to this certificate",
                    certificate.file
                ));
                continue;
            }
            for bits in missing.iter().filter(|_| has_every_key) {
                let text = match keys.is_empty() {
                    true => format!(
                        "{}: there is no private key for the {bits}-bit certificate",
                        certificate.file
                    ),
                    false => format!(
                        "{}: none of the private keys belongs to the {bits}-bit certificate: their moduli differ. \
                         Apple issues a certificate for one signing request, and only the key of that request fits",
                        certificate.file
                    ),
                };
                self.problems
                    .push(Problem::new(CredentialPart::PrivateKey, text));
            }
            used.extend(own.iter().copied());
            if missing.is_empty() {
                found.push((*certificate, own));
            }
        }
        if certificates.is_empty() && has_every_file && !(keys.is_empty() && group.asks.is_empty())
        {
            let text = format!("{}: there is no certificate", group.name);
            self.problems
                .push(Problem::new(CredentialPart::Certificate, text));
        }
        let left_out = keys.iter().enumerate();
        for (_, key) in left_out.filter(|(index, _)| !used.contains(index)) {
            self.report.push(format!(
                "{}: left out, this {}-bit key belongs to no certificate here",
                key.file,
                key.value.bits()
            ));
        }
        let asks: Vec<&Found<Ask>> = group.asks.iter().collect();
        let ask = match asks.as_slice() {
            [] => None,
            [first, rest @ ..] => {
                if rest.iter().any(|other| *other.value != *first.value) {
                    let files: Vec<&str> = asks.iter().map(|ask| ask.file.as_str()).collect();
                    let text = format!("{}: these hold different ASks", files.join(", "));
                    self.problems.push(Problem::new(CredentialPart::Ask, text));
                }
                Some(first)
            }
        };
        if let (Some(ask), true) = (ask, found.len() > 1) {
            let text = format!(
                "{}: there are {} certificates, and nothing says whose ASk this is. Give each credential a \
                 directory of its own, or use certificates.json",
                ask.file,
                found.len()
            );
            self.problems.push(Problem::new(CredentialPart::Ask, text));
            return;
        }
        let several = found.len() > 1;
        for (certificate, own) in found {
            let name = match several {
                true => format!("{}-{}", group.name, certificate.value.certificates.len()),
                false => group.name.clone(),
            };
            let credential = Credential {
                name,
                certificate: certificate.value.der.clone(),
                keys: own
                    .iter()
                    .filter_map(|index| keys.get(*index))
                    .map(|key| key.value.clone())
                    .collect(),
                ask: ask.map(|ask| ask.value.clone()),
            };
            self.report
                .push(describe(&credential, &certificate.value, &certificate.file));
            self.credentials.push(credential);
        }
    }
}

impl Assembled {
    /// Of certificates that are there several times, in DER, PEM and PKCS#12, the first one. One that a bundle holds is
    /// left to the bundle, by which the server knows it too.
    fn distinct<'a>(
        &mut self,
        all: &'a [Found<ApplicationCertificate>],
    ) -> Vec<&'a Found<ApplicationCertificate>> {
        let mut distinct: Vec<&Found<ApplicationCertificate>> = Vec::new();
        for (index, certificate) in all.iter().enumerate() {
            let der = &certificate.value.der;
            let equal = all.iter().take(index).find(|other| other.value.der == *der);
            let bundle = all.iter().find(|other| {
                let mut parts = other.value.certificates.iter();
                other.value.der.len() > der.len() && parts.any(|part| part.der == *der)
            });
            match (equal, bundle) {
                (Some(other), _) => self.report.push(format!(
                    "{}: the same certificate as in {}",
                    certificate.file, other.file
                )),
                (None, Some(bundle)) => self.report.push(format!(
                    "{}: this certificate is in the bundle {}",
                    certificate.file, bundle.file
                )),
                (None, None) => distinct.push(certificate),
            }
        }
        distinct
    }

    /// Makes one credential of those with the same certificate.
    fn join_equal(&mut self) {
        let mut distinct: Vec<Credential> = Vec::new();
        // The names of those that have another ASk than the first one.
        let mut others: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for credential in std::mem::take(&mut self.credentials) {
            let mut before = distinct.iter_mut();
            let Some(first) = before.find(|one| one.certificate == credential.certificate) else {
                distinct.push(credential);
                continue;
            };
            match (&first.ask, &credential.ask) {
                (Some(one), Some(other)) if one != other => {
                    let others = others.entry(first.name.clone()).or_default();
                    others.push(credential.name);
                    continue;
                }
                (None, Some(_)) => first.ask = credential.ask,
                _ => {}
            }
            let text = format!("{}: the same credential as {}", credential.name, first.name);
            self.report.push(text);
        }
        for (first, others) in others {
            let text = format!(
                "{first} and {}: two different ASks for one certificate. Apple issues one ASk with a certificate",
                others.join(", ")
            );
            self.problems.push(Problem::new(CredentialPart::Ask, text));
        }
        self.credentials = distinct;
    }
}

fn describe(credential: &Credential, certificate: &ApplicationCertificate, file: &str) -> String {
    let sizes: Vec<String> = certificate
        .certificates
        .iter()
        .map(|one| one.bits().to_string())
        .collect();
    let what = match sizes.as_slice() {
        [one] => format!("certificate of {one} bits"),
        several => format!("bundle of certificates of {} bits", several.join(" and ")),
    };
    let encrypted = credential.keys.iter().any(|key| key.password.is_some());
    format!(
        "{file}: {what}, with {}{}",
        if encrypted {
            "its private key (encrypted)"
        } else {
            "its private key"
        },
        if credential.ask.is_some() {
            " and an ASk"
        } else {
            ", without an ASk"
        },
    )
}
