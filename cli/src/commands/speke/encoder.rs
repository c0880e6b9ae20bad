//! An encoder that asks for keys: its requests, and the order of the checks.

use anyhow::{Context, Result, anyhow};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use keylet::cpix::speke::Version;
use keylet::cpix::{BlankDocument, BlankKey, Document, ProtectionSystem, Scheme};
use keylet::id::Kid;
use keylet::private_key::{EncodedKeys, StoredKey};
use keylet::secret::Key128;
use serde_json::Value;
use zeroize::Zeroizing;

use super::checks::Checks;
use super::reply;
use crate::client::{Client, without};
use crate::credentials::request::NewKey;
use crate::progress::while_waiting;
use crate::random;
use crate::terminal::Printable;

/// The header with the version of SPEKE.
pub(super) const SPEKE_VERSION: &str = "x-speke-version";

/// The element with the encryption contract, as [`BlankDocument`] writes it.
const CONTRACT: [&str; 2] = [
    "<cpix:ContentKeyUsageRuleList>",
    "</cpix:ContentKeyUsageRuleList>",
];

/// A version that no server has.
const NO_VERSION: &str = "9.9";

/// How much is shown of an answer that is a refusal, in characters.
const SHOWN: usize = 300;

/// An encoder.
pub(super) struct Encoder {
    client: Client,
    url: String,
    pub(super) version: Version,
    headers: HeaderMap,
    /// What no output may hold.
    secrets: Vec<Zeroizing<String>>,
}

/// What the encoder asks for.
pub(super) struct Wanted {
    content_id: String,
    pub(super) scheme: Scheme,
    pub(super) keys: Vec<WantedKey>,
    pub(super) systems: Vec<ProtectionSystem>,
    pub(super) recipient: Option<Recipient>,
}

/// A key that is asked for.
pub(super) struct WantedKey {
    pub(super) kid: Kid,
    /// `intendedTrackType`.
    pub(super) track: String,
}

/// Whom the keys are encrypted for.
pub(super) struct Recipient {
    pub(super) key: StoredKey,
    /// In DER.
    pub(super) certificate: Vec<u8>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// It may hold keys.
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Wanted {
    /// With random KIDs, one for each type of track.
    pub(super) fn new(
        content_id: &str,
        scheme: Scheme,
        tracks: Vec<String>,
        systems: Vec<ProtectionSystem>,
        is_encrypted: bool,
    ) -> Result<Self> {
        let keys = tracks.into_iter().map(|track| WantedKey {
            kid: new_kid(),
            track,
        });
        let recipient = match is_encrypted {
            true => Some(while_waiting(
                "making a key and a certificate",
                Recipient::new,
            )?),
            false => None,
        };
        Ok(Self {
            content_id: content_id.to_owned(),
            scheme,
            keys: keys.collect(),
            systems,
            recipient,
        })
    }

    fn document(&self, version: Version) -> Result<String> {
        self.document_for(version, self.scheme, &self.systems)
    }

    fn document_for(
        &self,
        version: Version,
        scheme: Scheme,
        systems: &[ProtectionSystem],
    ) -> Result<String> {
        let keys = self.keys.iter().map(|key| BlankKey {
            kid: key.kid,
            track_type: &key.track,
        });
        let keys: Vec<_> = keys.collect();
        let certificate = self.recipient.as_ref();
        let blank = BlankDocument {
            content_id: &self.content_id,
            version,
            scheme,
            keys: &keys,
            systems,
            certificate: certificate.map(|recipient| recipient.certificate.as_slice()),
        };
        let blank = blank.to_xml();
        let blank = blank
            .context("--content-id: it is empty, or holds a character that XML does not have")?;
        // Encoders of SPEKE 2.1 have kept the name that CPIX 2.4 has changed.
        Ok(blank.replace(r#"playlist="multiVariant""#, r#"playlist="master""#))
    }
}

impl Recipient {
    fn new() -> Result<Self> {
        let mut rng = random::system();
        let key = NewKey::generate(2048, &mut rng)?;
        let certificate = key.self_signed("Keylet encoder", &mut rng)?;
        let pem = key.pem(None)?;
        let unreadable = |_| anyhow!("the key that was made is not read");
        let keys = EncodedKeys::read(&pem).map_err(unreadable)?;
        let mut keys = keys.decode(None).map_err(unreadable)?.into_iter();
        let key = keys.next().context("no key was made")?;
        Ok(Self { key, certificate })
    }
}

impl Encoder {
    /// An encoder with these headers.
    ///
    /// # Errors
    /// A header that HTTP does not have, without its value.
    pub(super) fn new(
        client: Client,
        url: String,
        version: Version,
        headers: &[(String, String)],
        secrets: Vec<Zeroizing<String>>,
    ) -> Result<Self> {
        let mut map = HeaderMap::new();
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        for (name, value) in headers {
            let shown = Printable::new(name.as_str());
            let name: Option<HeaderName> = name.parse().ok();
            let name = name.with_context(|| format!("{shown} is not the name of a header"))?;
            let value: Option<HeaderValue> = value.parse().ok();
            let value = value.with_context(|| {
                format!(
                    "the value of the header {name} has a line break or another control character"
                )
            })?;
            map.insert(name, value);
        }
        Ok(Self {
            client,
            url,
            version,
            headers: map,
            secrets,
        })
    }

    /// Asks for the keys, and for what has to be refused. Returns the keys that came, in the order of those that are wanted.
    pub(super) fn check(&self, wanted: &Wanted, checks: &mut Checks) -> Vec<Option<Key128>> {
        let keys = match self.check_keys(wanted, checks) {
            Ok(keys) => keys,
            Err(reason) => {
                checks.add("the server answers", Err(reason));
                return Vec::new();
            }
        };
        if keys.is_empty() {
            eprintln!("Nothing else was checked: the other checks need a reply.");
            return keys;
        }
        self.check_refusals(wanted, checks);
        keys
    }

    fn check_keys(
        &self,
        wanted: &Wanted,
        checks: &mut Checks,
    ) -> Result<Vec<Option<Key128>>, String> {
        let request = self.request(wanted)?;
        let answer = self.send(&request, self.version.header())?;
        let is_ok = checks.add("the server answers with status 200", self.accepted(&answer));
        if !is_ok {
            return Ok(Vec::new());
        }
        checks.add(
            "the content type is application/xml",
            reply::content_type(&answer),
        );
        for (name, expected) in reply::expected_headers(self.version) {
            checks.add(
                &format!("the header {name} is there"),
                reply::header(&answer, name, expected),
            );
        }
        let document = match Document::read(&answer.body) {
            Ok(document) => document,
            Err(error) => {
                checks.add("the reply is a CPIX document", Err(error.to_string()));
                return Ok(Vec::new());
            }
        };
        checks.add("the reply is a CPIX document", Ok(()));
        let request = Document::read(request.as_bytes()).map_err(|error| error.to_string())?;
        checks.add(
            "everything of the request is in the reply",
            match document.missing_of(&request) {
                None => Ok(()),
                Some(missing) => Err(format!("this is missing or was changed: <{missing}>")),
            },
        );
        let keys = reply::check_keys(&document, wanted, checks);
        for system in &wanted.systems {
            reply::check_system(&document, *system, wanted, self.version, checks);
        }
        checks.add(
            "the same request again gives the same keys",
            self.same_again(wanted, &keys),
        );
        Ok(keys)
    }

    fn same_again(&self, wanted: &Wanted, keys: &[Option<Key128>]) -> Result<(), String> {
        let answer = self.send(&self.request(wanted)?, self.version.header())?;
        self.accepted(&answer)?;
        let document = Document::read(&answer.body).map_err(|error| error.to_string())?;
        let again = reply::keys(&document, wanted);
        for ((key, first), second) in wanted.keys.iter().zip(keys).zip(again) {
            let second = second?;
            if first
                .as_ref()
                .is_some_and(|first| first.expose() != second.expose())
            {
                return Err(format!(
                    "the key of {} is another one, so encoders that work side by side have different keys",
                    key.track
                ));
            }
        }
        Ok(())
    }

    /// What a server has to refuse, with the sentences of SPEKE 2.0.
    fn check_refusals(&self, wanted: &Wanted, checks: &mut Checks) {
        let refused = |document: Result<String, String>, version: Option<&str>, sentence: &str| {
            let answer = self.send(&document?, version)?;
            let said = self.said(&answer);
            match answer.status == StatusCode::UNPROCESSABLE_ENTITY && said.as_str() == sentence {
                true => Ok(()),
                false => Err(format!(
                    "the answer is {}, not 422 {sentence}",
                    told(answer.status, &said)
                )),
            }
        };
        checks.add(
            &format!("a request of version {NO_VERSION} is refused"),
            refused(
                self.request(wanted),
                Some(NO_VERSION),
                "Unsupported SPEKE version",
            ),
        );
        if self.version == Version::V1_0 {
            return;
        }
        let without_contract = self.request(wanted).map(|document| {
            let [start, end] = CONTRACT;
            let (before, rest) = document.split_once(start).unwrap_or((&document, ""));
            let (_, after) = rest.split_once(end).unwrap_or_default();
            format!("{before}{after}")
        });
        checks.add(
            "a request without an encryption contract is refused",
            refused(
                without_contract,
                self.version.header(),
                "Missing CPIX encryption contract",
            ),
        );
        let fairplay = ProtectionSystem::FairPlay;
        if wanted.systems.contains(&fairplay) {
            let document = wanted.document_for(self.version, Scheme::Cenc, &[fairplay]);
            let sentence = format!(
                "ContentKey@commonEncryptionScheme non compatible with DRMSystem {}",
                fairplay.system_id()
            );
            checks.add(
                "a request of cenc for FairPlay is refused",
                refused(
                    document.map_err(|error| error.to_string()),
                    self.version.header(),
                    &sentence,
                ),
            );
        }
    }

    fn request(&self, wanted: &Wanted) -> Result<String, String> {
        let document = wanted.document(self.version);
        document.map_err(|error| error.to_string())
    }

    fn send(&self, document: &str, version: Option<&str>) -> Result<Answer, String> {
        let mut request = Request::post(self.url.as_str());
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        if let Some(version) = version {
            request = request.header(SPEKE_VERSION, version);
        }
        let request = request.body(document.as_bytes().to_vec());
        // The URL was checked before.
        let request = request.map_err(|_| "the request cannot be sent".to_owned())?;
        let answer = self.client.exchange(request);
        let answer = answer.map_err(|error| self.redacted(&error.to_string()).to_string())?;
        let (parts, body) = answer.into_parts();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: Zeroizing::new(body),
        })
    }

    fn accepted(&self, answer: &Answer) -> Result<(), String> {
        if answer.status == StatusCode::OK {
            return Ok(());
        }
        let told = told(answer.status, &self.said(answer));
        let told = told.trim_end_matches('.');
        Err(match answer.status.as_u16() {
            401 | 403 => format!(
                "it is {told}. Give the packager's token in KEYLET_SPEKE_TOKEN or --token-file, or name and password in --user-file"
            ),
            300..=399 => format!(
                "it is {told}, a redirect, which encoders do not follow. Give the URL that it leads to"
            ),
            404 | 405 => format!("it is {told}. Check the path of the URL"),
            _ => format!("it is {told}"),
        })
    }

    /// What a refusal says, in one line and without secrets: its text, or that of a problem document (RFC 9457).
    fn said(&self, answer: &Answer) -> Printable {
        let problem: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let member = |name| problem.as_ref()?.get(name)?.as_str();
        let text = match member("detail").or_else(|| member("title")) {
            Some(text) => text.into(),
            None => String::from_utf8_lossy(&answer.body),
        };
        let text = self.redacted(&text).words();
        Printable::new(text.as_str().chars().take(SHOWN).collect::<String>())
    }

    fn redacted(&self, text: &str) -> Printable {
        let mut text = Printable::new(text);
        for secret in &self.secrets {
            text = without(text.as_str(), Some(secret));
        }
        text
    }
}

/// A status and what is said with it.
fn told(status: StatusCode, said: &Printable) -> String {
    match said.as_str() {
        "" => status.as_u16().to_string(),
        _ => format!("{} {said}", status.as_u16()),
    }
}

/// A random KID in the form of a random UUID (RFC 9562 section 5.4).
fn new_kid() -> Kid {
    let number = u128::from_be_bytes(random::bytes());
    let form = 0x4000_8000_0000_0000_0000;
    Kid::from_u128(number & !0xf000_c000_0000_0000_0000 | form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kids_are_random_uuids() {
        let kid = new_kid();
        let text = kid.to_string();
        let (version, variant) = (text.chars().nth(14), text.chars().nth(19));
        assert_eq!(version, Some('4'), "{text}");
        assert!(variant.is_some_and(|c| "89ab".contains(c)), "{text}");
        assert_ne!(kid, new_kid());
    }
}
