//! W3C Clear Key: a JSON document with KIDs in, a JWK set out (Encrypted Media Extensions sections 9.1.3 and 9.1.4).

use base64::Engine;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::{NO_DEVICE, REPEATS, enforce};
use crate::configuration::SettingsError;
use crate::content_key::KeyQuery;
use crate::drm::{
    self, AuditDetails, Details, DrmSystem, GrantedKey, Intent, KeyHolder, Module, Purpose,
    Repeats, Request, Sealed,
};
use crate::encoding::{self, BASE64_URL};
use crate::entitlement::{Terms, Use};
use crate::error::Code;
use crate::id::Kid;
use crate::platform::Platform;

/// The largest request, in bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// How many KIDs a request has at most.
const MAX_KIDS: usize = 32;

/// W3C Clear Key.
#[derive(Default)]
pub struct ClearKey(Terms);

/// A licence request.
pub struct LicenseRequest {
    /// The KIDs, each once.
    kids: Vec<Kid>,
    /// Whether the player wants to store the keys.
    is_persistent: bool,
}

/// A request of W3C Clear Key (Encrypted Media Extensions section 9.1.3).
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ClearKeyRequest"))]
pub struct RequestDocument {
    /// KIDs, each 16 bytes in base64url.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 32)))]
    kids: Vec<String>,
    /// `temporary`, which is the default, or `persistent-license`.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// A licence of W3C Clear Key (Encrypted Media Extensions section 9.1.4): a JWK set (RFC 7517).
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ClearKeyLicense"))]
pub struct LicenseDocument<'a> {
    keys: Vec<Jwk>,
    /// `temporary` or `persistent-license`.
    #[serde(rename = "type")]
    kind: &'a str,
}

/// A key of the set.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ClearKeyJwk"))]
struct Jwk {
    /// `oct`
    kty: &'static str,
    /// The KID, 16 bytes in base64url.
    kid: String,
    /// The key, 16 bytes in base64url.
    #[serde(serialize_with = "exposed")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    k: Zeroizing<String>,
}

fn exposed<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

const TEMPORARY: &str = "temporary";
const PERSISTENT: &str = "persistent-license";

impl LicenseRequest {
    /// Reads a request. KIDs are in base64 of either alphabet, padded or not: platforms differ.
    fn read(message: &[u8]) -> Result<Self, String> {
        if message.len() > MAX_REQUEST {
            return Err(format!("it has more than {MAX_REQUEST} bytes"));
        }
        let other = match message {
            [0x08, ..] => Some("a Widevine challenge: send it to /widevine"),
            [0x00, ..] => Some("an SPC: send it to /fairplay"),
            [b'<', ..] => Some("a SOAP envelope: send it to /playready"),
            _ => None,
        };
        if let Some(other) = other {
            return Err(format!("it is not a request of Clear Key but {other}"));
        }
        let message = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
        let document: RequestDocument =
            encoding::from_json(message).map_err(|error| error.to_string())?;
        let is_persistent = match document.kind.as_deref() {
            None | Some(TEMPORARY) => false,
            Some(PERSISTENT) => true,
            Some(_) => {
                return Err(format!(
                    "`type` is neither `{TEMPORARY}` nor `{PERSISTENT}`"
                ));
            }
        };
        if document.kids.is_empty() || document.kids.len() > MAX_KIDS {
            return Err(format!("`kids` does not have 1 to {MAX_KIDS} entries"));
        }
        let mut kids = Vec::with_capacity(document.kids.len());
        for text in &document.kids {
            let bytes = encoding::base64(text);
            let kid = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes.as_slice()).ok());
            let kid = kid.ok_or("an entry of `kids` is not 16 bytes in base64")?;
            let kid = Kid::from_bytes(kid);
            if !kids.contains(&kid) {
                kids.push(kid);
            }
        }
        Ok(Self {
            kids,
            is_persistent,
        })
    }
}

impl Module for ClearKey {
    const SYSTEM: DrmSystem = DrmSystem::ClearKey;

    const REPEATS: Repeats = REPEATS;

    type Opened<'m> = LicenseRequest;

    type Report = ();

    async fn terms(&self, _: &impl Platform) -> Result<&Terms, SettingsError> {
        Ok(&self.0)
    }

    async fn open(&self, message: &[u8], _: &impl Platform) -> Result<LicenseRequest, drm::Error> {
        LicenseRequest::read(message).map_err(|reason| drm::Error::Refused {
            code: Code::REQUEST_MALFORMED,
            reason,
            is_public: true,
            details: Details::new(),
        })
    }

    fn audit_details(&self, _: &LicenseRequest) -> AuditDetails {
        AuditDetails::default()
    }

    fn request<'o>(
        &self,
        opened: &'o LicenseRequest,
        _: Purpose,
    ) -> Result<Request<'o>, drm::Error> {
        let kids = opened.kids.iter();
        Ok(Request {
            keys: kids.map(|kid| KeyQuery::from_kid(*kid)).collect(),
            holder: KeyHolder::Here,
            intent: Intent::License,
            device: NO_DEVICE,
            license_session: None,
        })
    }

    fn report(&self, _: &LicenseRequest) -> Option<()> {
        None
    }

    fn enforce(
        &self,
        key: &GrantedKey<'_>,
        opened: &LicenseRequest,
        _: Option<&str>,
    ) -> Result<(), drm::Error> {
        enforce::enforce(key)?;
        let may_store = matches!(key.granted.use_, Use::Persistent { ends_in: None, .. });
        match opened.is_persistent && !may_store {
            false => Ok(()),
            true => Err(drm::Error::Refused {
                code: Code::DEVICE_OFFLINE_UNSUPPORTED,
                reason: "the terms do not allow the key to be stored without an end".to_owned(),
                is_public: true,
                details: Details::new(),
            }),
        }
    }

    async fn seal(
        &self,
        opened: &Self::Opened<'_>,
        keys: &[GrantedKey<'_>],
        _: Option<&str>,
        _: &impl Platform,
    ) -> Result<Sealed, drm::Error> {
        let mut set = Vec::with_capacity(keys.len());
        // By the KIDs that were asked for: a record may be found by another order of its bytes.
        for kid in &opened.kids {
            let query = KeyQuery::from_kid(*kid);
            let mut found = keys.iter().filter_map(|granted| granted.key);
            if let Some(key) = found.find(|key| key.is_named(query.id())) {
                set.push(Jwk {
                    kty: "oct",
                    kid: BASE64_URL.encode(kid.as_bytes()),
                    k: Zeroizing::new(BASE64_URL.encode(key.key.expose())),
                });
            }
        }
        let kind = match opened.is_persistent {
            true => PERSISTENT,
            false => TEMPORARY,
        };
        let document = LicenseDocument { keys: set, kind };
        Ok(Sealed::new(
            serde_json::to_vec(&document).unwrap_or_default(),
        ))
    }
}
