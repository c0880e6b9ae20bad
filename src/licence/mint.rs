//! The token service: playback tokens that this server makes itself.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::audit::Audit;
use super::{Error, LicenceServer};
use crate::content_key::KeyQuery;
use crate::drm::DrmSystem;
use crate::encoding;
use crate::entitlement::{self, Entitlement, Terms, min_some};
use crate::id::Id;
use crate::platform::Platform;
use crate::policy::callback;
use crate::policy::callback::Question;
use crate::server_secret::ServerSecret;
use crate::token::{self, own};

/// What the audit calls the token service.
pub(super) const TOKEN: &str = "token";

/// How long a token is accepted by default, and at most, in seconds.
const USUAL_LIFE: u64 = 300;
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// A playback token.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Minted {
    /// The token: a signed JWT.
    pub token: String,
    /// How long it is accepted, in seconds.
    pub expires_in: u64,
}

/// An operator's request for a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "MintForOperator"))]
pub struct OperatorTokenRequest {
    /// The entitlements of the token.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Map<String, Value>>"))]
    entitlements: Value,
    /// The viewer.
    sub: Option<String>,
    /// How long the token is accepted, in seconds.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86400)))]
    expires_in: Option<u64>,
}

/// A viewer's request for a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "MintForViewer"))]
pub struct ViewerTokenRequest {
    /// The ids of the keys to play.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    keys: Vec<String>,
    #[serde(default, rename = "use")]
    use_: TokenUse,
}

/// Whether the keys are streamed or stored.
#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
enum TokenUse {
    #[default]
    Streaming,
    Offline,
}

impl<P: Platform> LicenceServer<P> {
    /// A token with the entitlements that the operator gives. The decision is written to the audit.
    ///
    /// # Errors
    /// [`Error::TokensOff`]; [`Error::Request`] and [`Error::Entitlement`] for an invalid request.
    pub async fn mint_for_operator(
        &self,
        request_id: &str,
        wanted: &Value,
    ) -> Result<Minted, Error> {
        let audit = Audit::new(TOKEN, self.platform.now(), request_id);
        let result = self.decide_for_operator(wanted).await;
        self.audited(audit, result)
    }

    async fn decide_for_operator(&self, wanted: &Value) -> Result<Minted, Error> {
        let wanted: OperatorTokenRequest = read(wanted)?;
        check(&wanted.entitlements)?;
        let expires_in = wanted.expires_in.unwrap_or(USUAL_LIFE);
        if !(1..=LONGEST_LIFE).contains(&expires_in) {
            return Err(Error::Request("`expires_in` is not 1 to 86400 seconds"));
        }
        let secret = self.server_secret().await?.ok_or(Error::TokensOff)?;
        let mut claims = Map::new();
        claims.extend(wanted.sub.map(|sub| ("sub".to_owned(), sub.into())));
        Ok(self.mint(claims, wanted.entitlements, expires_in, secret))
    }

    /// A token for a viewer whose own token is accepted, with the terms of the back end that his
    /// policy names. The decision is written to the audit.
    ///
    /// # Errors
    /// [`Error::Token`]; [`Error::Entitlement`] when no policy lets him have one; [`Error::Request`];
    /// [`Error::Callback`].
    pub async fn mint_for_viewer(
        &self,
        system: DrmSystem,
        request_id: &str,
        tokens: &token::Found,
        wanted: &Value,
    ) -> Result<Minted, Error> {
        let mut audit = Audit::new(TOKEN, self.platform.now(), request_id);
        let result = self
            .decide_for_viewer(system, request_id, tokens, wanted, &mut audit)
            .await;
        self.audited(audit, result)
    }

    async fn decide_for_viewer(
        &self,
        system: DrmSystem,
        request_id: &str,
        tokens: &token::Found,
        wanted: &Value,
        audit: &mut Audit<'_>,
    ) -> Result<Minted, Error> {
        let now = audit.time;
        let principal = self.admit(system, tokens, now).await?;
        audit.asked_by(&principal);
        let asked: ViewerTokenRequest = read(wanted)?;
        if asked.keys.is_empty() {
            return Err(Error::Request("`keys` is empty"));
        }
        check(&json!([{"keys": asked.keys}]))?;
        if asked.keys.iter().any(|key| key == "*") {
            return Err(Error::Request("`keys` names keys one by one"));
        }
        let secret = self.server_secret().await?.ok_or(Error::TokensOff)?;
        let admission = principal
            .admissions
            .first()
            .ok_or(entitlement::Error::Missing)?;
        let (option, callback) = admission.callback().ok_or(entitlement::Error::Missing)?;
        audit.policy = Some(option.name.clone());
        if admission.is_limited() {
            let reason = "the token says by itself what it is good for: play with it";
            return Err(entitlement::Error::Shape(reason).into());
        }
        // The back end decides about records, whatever the viewer calls them.
        let mut keys = Vec::with_capacity(asked.keys.len());
        for key in &asked.keys {
            let id =
                Id::from_text(key).ok_or(Error::Request("`keys` has what is no id of a key"))?;
            let query = KeyQuery::from_id(id);
            let key = self.key_for(&principal, &query, system).await?;
            keys.push(key.id.to_string());
        }
        let question = Question {
            purpose: "token",
            request_id,
            time: now,
            policy: &option.name,
            claims: admission.claims(),
            drm: None,
            asset: None,
            key: None,
            device_class: None,
            device_id: None,
            keys: &keys,
            wanted: Some(wanted),
        };
        let mut terms = callback.terms(&question, &self.platform).await?;
        // The viewer names the keys; terms have no member for them.
        Terms::from_json(&terms, &[]).map_err(callback::Error::Terms)?;
        if asked.use_ == TokenUse::Streaming {
            let tracks = terms.get_mut("tracks").and_then(Value::as_object_mut);
            let tracks = tracks.into_iter().flat_map(Map::values_mut);
            tracks
                .filter_map(Value::as_object_mut)
                .for_each(withhold_storing);
            withhold_storing(&mut terms);
        } else if terms.get("persist") != Some(&Value::Bool(true)) {
            return Err(callback::Error::Refused(None).into());
        }
        terms.insert("keys".to_owned(), json!(keys));
        let entitlements = json!([terms]);
        Entitlement::from_claim(&entitlements)?;
        let mut claims = encoding::members([(own::POLICY, json!(option.name))]);
        let token = admission.token.as_ref();
        for (name, value) in own::origin(token, &option.name, &keys) {
            claims.insert(name.to_owned(), value);
        }
        claims.insert(own::SCOPE.to_owned(), admission.scope().into());
        let subject = token.and_then(|token| token.subject.clone());
        claims.extend(subject.map(|subject| ("sub".to_owned(), subject.into())));
        Ok(self.mint(claims, entitlements, USUAL_LIFE, secret))
    }

    fn mint(
        &self,
        mut claims: Map<String, Value>,
        entitlements: Value,
        expires_in: u64,
        secret: &ServerSecret,
    ) -> Minted {
        let now = self.platform.now();
        let mut id = [0; 16];
        self.platform.fill_random(&mut id);
        for (name, value) in [
            ("iat", json!(now)),
            ("exp", json!(now.saturating_add(expires_in))),
            ("jti", json!(hex::encode(id))),
            ("entitlements", entitlements),
        ] {
            claims.insert(name.to_owned(), value);
        }
        Minted {
            token: own::mint(claims, secret),
            expires_in,
        }
    }
}

/// Makes a stream of what may be stored. It has the same ends: `storage_seconds` limits when it starts, and
/// `playback_seconds`, or else `storage_seconds`, when it stops. A term that is not set for a track is the same as
/// for every track.
fn withhold_storing(terms: &mut Map<String, Value>) {
    terms.remove("persist");
    let storage = terms.remove("storage_seconds");
    let playback = terms.remove("playback_seconds");
    let mut limit = |name: &str, end: Option<Value>| {
        let known = terms.get(name).and_then(Value::as_u64);
        let end = min_some(known, end.as_ref().and_then(Value::as_u64));
        terms.extend(end.map(|end| (name.to_owned(), end.into())));
    };
    limit("rental_seconds", storage.clone());
    limit("lease_seconds", playback.or(storage));
}

/// Entitlements that a request asks for.
fn check(claim: &Value) -> Result<(), Error> {
    match Entitlement::from_claim(claim) {
        Ok(_) => Ok(()),
        Err(entitlement::Error::Shape(reason)) => Err(Error::Request(reason)),
        Err(error) => Err(error.into()),
    }
}

fn read<T: DeserializeOwned>(wanted: &Value) -> Result<T, Error> {
    encoding::from_value(wanted.clone())
        .map_err(|_| Error::Request("a member is missing, unknown or of the wrong type"))
}
