//! Reads files in which providers keep FairPlay credentials. What a file holds is seen from its content.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use der::Decode;
use keylet::encoding::{self, PEM_BEGIN, Pem, PemOrDer};
use keylet::private_key::is_pfx;
use serde_json::Value;
use x509_cert::Certificate;
use zeroize::Zeroizing;

use super::ask::{self, Ask};
use super::group::{Group, found};
use super::kind::other_kind;
use super::{CredentialPart, PrivateKey, Problem, ber, decrypt, pkcs12};
use crate::file;

/// Files are not larger than this: a credential has some kilobytes.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Asks a person for a password, with the question as argument. `None` without a terminal.
pub type Prompt<'a> = &'a dyn Fn(&str) -> Option<Zeroizing<String>>;

/// Reads files, with the passwords that are known.
pub struct Reader<'a> {
    /// Passwords to try, each on everything that is encrypted.
    pub passwords: Vec<Zeroizing<String>>,
    /// Who is asked for others.
    pub prompt: Prompt<'a>,
}

impl Reader<'_> {
    /// Reads files and directories. The files of a directory are a group of their own, and so are the
    /// entries of a `certificates.json` or an Azure policy; all other files are one group together.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&mut self, paths: &[PathBuf]) -> Result<Vec<Group>> {
        let mut together = Group::named("default");
        let mut groups = Vec::new();
        let mut paths = paths.to_vec();
        paths.sort_by_key(|path| !has_password(path));
        for path in &paths {
            if path.is_dir() {
                groups.extend(self.directory(path)?);
            } else {
                let content = content(path)?;
                let name = path.display().to_string();
                self.file(&name, path, &content, &mut together, &mut groups);
            }
        }
        if !together.is_empty() {
            groups.insert(0, together);
        }
        Ok(groups)
    }

    fn directory(&mut self, path: &Path) -> Result<Vec<Group>> {
        let mut paths = fs::read_dir(path)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.path()))
                    .collect::<std::io::Result<Vec<_>>>()
            })
            .with_context(|| format!("reading {}", path.display()))?;
        paths.retain(|path| path.is_file());
        paths.sort_by_key(|path| (!has_password(path), path.clone()));
        let name = path.canonicalize().ok();
        let name = name.as_deref().unwrap_or(path).file_name();
        let mut own = Group::named(&name.unwrap_or_default().to_string_lossy());
        // A list of what lies here says more than what lies here.
        let list: Vec<PathBuf> = paths
            .iter()
            .filter(|path| path.ends_with("certificates.json"))
            .cloned()
            .collect();
        let mut groups = Vec::new();
        for path in if list.is_empty() { paths } else { list } {
            let content = content(&path)?;
            self.file(
                &path.display().to_string(),
                &path,
                &content,
                &mut own,
                &mut groups,
            );
        }
        if !own.is_empty() {
            groups.insert(0, own);
        }
        Ok(groups)
    }

    /// Reads one file into a group, or into groups of its own.
    fn file(
        &mut self,
        name: &str,
        path: &Path,
        content: &[u8],
        group: &mut Group,
        groups: &mut Vec<Group>,
    ) {
        let text = encoding::text(content);
        let text = text.as_deref().map(|text| text.trim());
        let read = match text {
            _ if let Some(what) = other_kind(content) => Err(anyhow!(what)),
            Some(text) if text.starts_with(['{', '[']) => self.json(name, path, text, groups),
            Some(text) => self.text(name, text, group),
            None if content.len() == 16 && is_named(name, "ask") => ask_of(content).map(|ask| {
                group.asks.push(found(name, ask));
            }),
            None => self.der(name, content, group),
        };
        if let Err(reason) = read {
            let part = reason.downcast_ref().map(|problem: &Problem| problem.part);
            let part = part.unwrap_or(CredentialPart::Certificate);
            let text = format!("{name}: {reason:#}");
            group.problems.push(Problem::new(part, text));
        }
    }

    /// Reads text that is not JSON.
    fn text(&mut self, name: &str, text: &str, group: &mut Group) -> Result<()> {
        let decoded = encoding::pem_or_der(text);
        let is_der = matches!(&decoded, Some(PemOrDer::Der(der)) if der.first() == Some(&0x30));
        if has_password(Path::new(name))
            && text.lines().count() == 1
            && !(is_der || text.contains(PEM_BEGIN))
        {
            self.passwords.push(file::trimmed(text));
            let note = format!("{name}: taken as a password of private keys");
            group.notes.push(note);
            return Ok(());
        }
        match ask::read(text) {
            Ok(ask) => {
                group.asks.push(found(name, ask));
                return Ok(());
            }
            Err(reason) if is_named(name, "ask") => {
                bail!(Problem::new(CredentialPart::Ask, reason))
            }
            Err(_) => {}
        }
        match decoded {
            Some(PemOrDer::Pem(blocks)) => self.pem(name, &blocks, group),
            Some(PemOrDer::Der(der)) if is_der => self.der(name, &der, group),
            _ if text.contains(PEM_BEGIN) => bail!("a PEM block is cut off, or is not base64"),
            _ => {
                group.leave_out(name, "nothing of a credential is in it");
                Ok(())
            }
        }
    }

    fn pem(&mut self, name: &str, blocks: &[Pem], group: &mut Group) -> Result<()> {
        let mut certificates = Vec::new();
        for block in blocks {
            match block.label.as_str() {
                "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                    certificates.push(block.der.to_vec());
                }
                "RSA PRIVATE KEY" | decrypt::PRIVATE_KEY | decrypt::ENCRYPTED_PRIVATE_KEY => {
                    let key = match &block.with_headers {
                        Some(body) => self.with_password(name, |password| {
                            PrivateKey::from_der(&decrypt::traditional(body, password)?)
                        }),
                        None => self.key(name, &block.der),
                    };
                    let key =
                        key.map_err(|error| Problem::about(CredentialPart::PrivateKey, error))?;
                    group.keys.push(found(name, key));
                }
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => group.leave_out_request(name),
                "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                    let reason = "it is a public key, and the private key is needed";
                    bail!(Problem::new(CredentialPart::PrivateKey, reason))
                }
                label if label.ends_with("PRIVATE KEY") => {
                    let reason = format!(
                        "it is a private key of another kind ({label}): FairPlay's are RSA keys"
                    );
                    bail!(Problem::new(CredentialPart::PrivateKey, reason))
                }
                "PKCS7" | "CMS" => bail!(
                    "it is PKCS#7; take the certificate out with `openssl pkcs7 -print_certs`"
                ),
                label => group.leave_out(name, label),
            }
        }
        if !certificates.is_empty() {
            group.add_certificates(name, certificates)?;
        }
        Ok(())
    }

    fn der(&mut self, name: &str, der: &[u8], group: &mut Group) -> Result<()> {
        let der = encoding::whole_der(der);
        // BER of an indefinite length, as NSS writes it, is read as DER.
        let definite = match der {
            [_, 0x80, ..] => ber::to_der(der),
            _ => None,
        };
        if is_pfx(definite.as_deref().map_or(der, Vec::as_slice)) {
            return self.pfx(name, der, group);
        }
        if Certificate::from_der_partial(der).is_ok() {
            let mut certificates = Vec::new();
            let mut rest = der;
            while !rest.is_empty() {
                let Ok((_, after)) = Certificate::from_der_partial(rest) else {
                    bail!("after a certificate follows something that is none");
                };
                certificates.push(
                    rest.get(..rest.len() - after.len())
                        .unwrap_or_default()
                        .to_vec(),
                );
                rest = after;
            }
            return group.add_certificates(name, certificates);
        }
        if x509_cert::request::CertReq::from_der(der).is_ok() {
            group.leave_out_request(name);
            return Ok(());
        }
        if decrypt::is_encrypted_pkcs8(der)
            || pkcs8::PrivateKeyInfoRef::from_der(der).is_ok()
            || rsa::pkcs1::RsaPrivateKeyRef::from_der(der).is_ok()
        {
            let key = self.key(name, der)?;
            group.keys.push(found(name, key));
            return Ok(());
        }
        group.leave_out(name, "nothing of a credential is in it");
        Ok(())
    }

    /// A private key in DER, encrypted or not.
    fn key(&mut self, name: &str, der: &[u8]) -> Result<PrivateKey> {
        if !decrypt::is_encrypted_pkcs8(der) {
            return PrivateKey::from_der(der);
        }
        let mut key = self.with_password(name, |password| {
            PrivateKey::from_der(&decrypt::pkcs8(der, password)?)
        })?;
        if decrypt::is_pbes2(der) {
            key.encrypted = Some(der.to_vec());
        }
        Ok(key)
    }

    /// A PKCS#12 container: its keys, and certificates that a key in it belongs to.
    fn pfx(&mut self, name: &str, der: &[u8], group: &mut Group) -> Result<()> {
        let (archive, password) = self.decrypted(name, |password| pkcs12::open(der, password))?;
        let mut certificates = Vec::new();
        for key in &archive.keys {
            let mut key = PrivateKey::from_der(key.key.as_der())
                .map_err(|error| Problem::about(CredentialPart::PrivateKey, error))?;
            key.password = Some(password.clone()).filter(|password| !password.is_empty());
            group.keys.push(found(name, key));
        }
        for certificate in &archive.certs {
            certificates.push(certificate.cert.as_der().to_vec());
        }
        ensure!(
            !archive.keys.is_empty(),
            Problem::new(
                CredentialPart::PrivateKey,
                "the PKCS#12 container has no private key: it was exported without it"
            )
        );
        if certificates.is_empty() {
            return Ok(());
        }
        group.add_certificates(name, certificates)
    }

    fn with_password(
        &mut self,
        name: &str,
        open: impl Fn(&str) -> Result<PrivateKey>,
    ) -> Result<PrivateKey> {
        let (mut key, password) = self.decrypted(name, open)?;
        key.password = Some(password);
        Ok(key)
    }

    /// Opens something with one of the passwords, or one that a person gives.
    fn decrypted<T>(
        &mut self,
        name: &str,
        open: impl Fn(&str) -> Result<T>,
    ) -> Result<(T, Zeroizing<String>)> {
        let is_wrong = |error: &anyhow::Error| error.to_string() == decrypt::WRONG_PASSWORD;
        let empty = Zeroizing::new(String::new());
        for password in self.passwords.iter().chain([&empty]) {
            match open(password) {
                Ok(opened) => return Ok((opened, password.clone())),
                Err(error) if is_wrong(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for _ in 0..3 {
            let Some(password) = (self.prompt)(&format!("Password of {name}: ")) else {
                break;
            };
            match open(&password) {
                Ok(opened) => {
                    self.passwords.push(password.clone());
                    return Ok((opened, password));
                }
                Err(error) if is_wrong(&error) => eprintln!("{}", decrypt::WRONG_PASSWORD),
                Err(error) => return Err(error),
            }
        }
        let reason = match self.passwords.is_empty() {
            true => {
                "it is encrypted, and no password was given (--password-file, or KEYLET_PASSWORD)"
            }
            false => "it is encrypted, and no password that was given decrypts it",
        };
        bail!(Problem::new(CredentialPart::Password, reason))
    }

    /// `certificates.json` of the server SDK, or a content key policy of Azure Media Services.
    fn json(&mut self, name: &str, path: &Path, text: &str, groups: &mut Vec<Group>) -> Result<()> {
        let document = encoding::json(text.as_bytes()).map_err(|reason| anyhow!(reason))?;
        if let Some(Value::Array(entries)) = document.get("certificates") {
            for (index, entry) in entries.iter().enumerate() {
                let group = self.listed(path, entry);
                let group =
                    group.with_context(|| format!("entry {} of `certificates`", index + 1))?;
                groups.push(group);
            }
            return Ok(());
        }
        let before = groups.len();
        self.azure(name, &document, groups)?;
        ensure!(
            groups.len() > before,
            "it is neither a certificates.json nor an Azure policy with a FairPlay configuration"
        );
        Ok(())
    }

    /// An entry of `certificates.json`, with paths relative to that file.
    fn listed(&mut self, list: &Path, entry: &Value) -> Result<Group> {
        let text = |member: &str| {
            entry
                .get(member)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let file = text("certificate").context("it has no `certificate`")?;
        let stem = Path::new(file).file_stem().unwrap_or_default();
        let mut group = Group::named(&stem.to_string_lossy());
        let mut nested = Vec::new();
        for file in ["certificate", "1024-private-key", "2048-private-key"]
            .into_iter()
            .filter_map(text)
        {
            let path = list.parent().unwrap_or(Path::new("")).join(file);
            let content = content(&path)?;
            self.file(
                &path.display().to_string(),
                &path,
                &content,
                &mut group,
                &mut nested,
            );
        }
        if let Some(ask) = text("ask") {
            let ask = member_ask(ask)?;
            group.asks.push(found(&list.display().to_string(), ask));
        } else if text("provisioning-data").is_some() {
            group.notes.push(format!(
                "{file}: its provisioning data is left out, only Apple's own library reads it. Without an ASk \
                 (--ask-file) this credential opens SPCs and answers them with `ask_missing`"
            ));
        }
        Ok(group)
    }

    /// Every FairPlay configuration at any depth: names are compared without case, as Azure's tools differ.
    fn azure(&mut self, name: &str, value: &Value, groups: &mut Vec<Group>) -> Result<()> {
        match value {
            Value::Array(values) => values
                .iter()
                .try_for_each(|value| self.azure(name, value, groups)),
            Value::Object(members) => {
                let text = |wanted: &str| {
                    let mut members = members.iter();
                    let member = members.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                    member
                        .and_then(|(_, value)| value.as_str())
                        .filter(|text| !text.is_empty())
                };
                let Some(pfx) = text("fairPlayPfx") else {
                    let has_member = members
                        .keys()
                        .any(|name| name.eq_ignore_ascii_case("fairPlayPfx"));
                    ensure!(
                        !has_member,
                        "this Azure policy was exported without its secrets (`fairPlayPfx` is empty). Export it with \
                         `az ams content-key-policy show --with-secrets`, or with getPolicyPropertiesWithSecrets of \
                         the REST API; or import the PFX file and the ASk that it was made from"
                    );
                    return members
                        .values()
                        .try_for_each(|value| self.azure(name, value, groups));
                };
                let mut group = Group::named(&format!("azure-{}", groups.len() + 1));
                let pfx = encoding::base64(pfx).context("`fairPlayPfx` is not base64")?;
                let own = text("fairPlayPfxPassword").map(|text| Zeroizing::new(text.to_owned()));
                let mut reader = Reader {
                    passwords: own
                        .into_iter()
                        .chain(self.passwords.iter().cloned())
                        .collect(),
                    prompt: self.prompt,
                };
                reader.pfx(name, &pfx, &mut group)?;
                if let Some(ask) = text("ask") {
                    group.asks.push(found(name, member_ask(ask)?));
                }
                groups.push(group);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether the name of a file says what is in it.
fn is_named(name: &str, what: &str) -> bool {
    let name = Path::new(name).file_name().unwrap_or_default();
    name.to_string_lossy().to_ascii_lowercase().contains(what)
}

/// Whether a file is called as one with a password, such as Azure's `privatekey-pem-pass.txt`.
fn has_password(path: &Path) -> bool {
    is_named(&path.to_string_lossy(), "pass")
}

fn member_ask(text: &str) -> Result<Ask> {
    ask::read(text)
        .map_err(|reason| Problem::new(CredentialPart::Ask, format!("`ask`: {reason}")).into())
}

fn ask_of(bytes: &[u8]) -> Result<Ask> {
    Ok(Zeroizing::new(bytes.try_into().map_err(|_| {
        Problem::new(CredentialPart::Ask, "an ASk has 16 bytes")
    })?))
}

fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let size = fs::metadata(path)
        .with_context(|| format!("reading {}", path.display()))?
        .len();
    ensure!(
        size <= LARGEST,
        "{}: {size} bytes are too many for a credential",
        path.display()
    );
    let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Zeroizing::new(content))
}
