//! Content key policies: which tokens are accepted, and on what terms, as Azure Media Services had
//! them (REST API 2022-08-01, `ContentKeyPolicies`).

pub mod azure;
pub mod callback;
mod config;
mod required;

use std::borrow::Cow;
use std::sync::LazyLock;

use futures_util::future::{join, join4};
use required::{Required, RequiredClaim};
use serde_json::{Map, Value};

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::content_key::KeyRecord;
use crate::drm::DrmSystem;
use crate::entitlement::{self, Entitlement, Limits, Terms};
use crate::id::Id;
use crate::platform::Platform;
use crate::server_secret::ServerSecret;
use crate::token::cat::{self, Asked, UntrustedCat, UriRule};
use crate::token::{
    AUDIENCE, Accepted, Claims, Dialects, EntitlementClaim, Error, Expected, Found, ISSUER, KEYS,
    KeyError, LEEWAY, Location, POLICIES, PassedOver, RemoteKeys, Signed, UntrustedToken,
    VerificationKeys, VerifiedToken, own,
};

/// The policies of a deployment, in their order.
pub struct Policies {
    options: Vec<PolicyOption>,
    /// The variable with their keys.
    variable: &'static str,
    dialects: Dialects,
    /// What `catu` is held against, where Common Access Tokens are accepted.
    cat_uri: Option<UriRule>,
}

/// One option: which tokens it accepts, and on what terms.
pub struct PolicyOption {
    /// Its name, for the audit.
    pub name: String,
    restriction: Restriction,
    /// Terms that are combined with those of every token. They apply alone when the token has no
    /// entitlement of its own.
    pub terms: Option<Terms>,
    /// The DRM systems that it is for, each with the terms for that system alone; `None`: all.
    systems: Option<Vec<(DrmSystem, Option<Terms>)>>,
    /// The back end that has to agree.
    pub callback: Option<callback::Callback>,
}

enum Restriction {
    Open,
    Token(Box<TokenRestriction>),
}

struct TokenRestriction {
    expected: Expected,
    keys: VerificationKeys,
    remote: Option<RemoteKeys>,
    required: Vec<RequiredClaim>,
}

/// Which key of an option verifies a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Its index among the option's keys, or among those that its issuer publishes, counted from 0.
    pub index: usize,
    /// Its key id.
    pub kid: Option<String>,
    /// Whether its issuer publishes it.
    pub is_published: bool,
}

/// An option that accepts a request, as far as this can be decided without the requested key.
pub struct Admission<'p> {
    /// The option; `None` for a token that this server has made for an operator.
    pub option: Option<&'p PolicyOption>,
    /// The token; `None` when no token is needed.
    pub token: Option<VerifiedToken>,
    /// The DRM system that it is for.
    system: DrmSystem,
    /// Whether this server made the token itself, after the option had accepted its bearer.
    is_own: bool,
}

impl Policies {
    /// Reads [`POLICIES`]. When it is not set, reads one option from the variables of a single issuer.
    ///
    /// # Errors
    /// Every setting that is wrong or missing, by variable.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let (dialects, policies) =
            join(Dialects::load(platform), platform.variable(POLICIES)).await;
        let (options, variable) = match policies? {
            Some(json) => {
                let options = config::read(&json).map_err(SettingsError::Invalid);
                (PolicyOption::with_claim(options, platform).await, POLICIES)
            }
            None => {
                let option = PolicyOption::of_variables(platform).await;
                (option.map(|option| vec![option]), KEYS)
            }
        };
        let dialects = match dialects {
            Ok(dialects) if dialects.has_cat() => {
                let rule = UriRule::load(platform).await;
                rule.map(|rule| (dialects, Some(rule)))
            }
            dialects => dialects.map(|dialects| (dialects, None)),
        };
        match (dialects, options) {
            (Ok((dialects, cat_uri)), Ok(options)) => Ok(Self {
                options,
                variable,
                dialects,
                cat_uri,
            }),
            (Err(SettingsError::Invalid(one)), Err(SettingsError::Invalid(another))) => {
                Err(SettingsError::Invalid([one, another].concat()))
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Prepares every key, which otherwise happens on its first use.
    ///
    /// # Errors
    /// Every key that is invalid.
    pub fn check(&self) -> Result<(), SettingsError> {
        let problems: Vec<SettingError> = self
            .options
            .iter()
            .flat_map(|option| option.problems(self.variable))
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(SettingsError::Invalid(problems))
        }
    }

    /// The variable with their keys: [`POLICIES`], or [`KEYS`].
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// The options, in their order.
    pub fn options(&self) -> &[PolicyOption] {
        &self.options
    }

    /// Whether several issuers are accepted. One of them may then give its viewers the names that another one gives.
    fn has_several_issuers(&self) -> bool {
        let mut scopes = self.options.iter().flat_map(PolicyOption::scopes);
        let first = scopes.next();
        scopes.any(|scope| Some(scope) != first)
    }

    /// The scope of the subject of an admission's token: empty where one issuer alone is accepted.
    pub fn scope_of<'a>(&self, admission: &'a Admission<'_>) -> &'a str {
        match self.has_several_issuers() {
            true => admission.scope(),
            false => "",
        }
    }

    /// Every scope that subjects may have: one issuer, or one option that accepts any. The empty scope is that of
    /// tokens that this server made for the operator, and of all where one issuer alone is accepted.
    pub fn scopes(&self) -> Vec<&str> {
        let mut scopes = vec![""];
        if !self.has_several_issuers() {
            return scopes;
        }
        for option in &self.options {
            for scope in option.scopes().chain([option.name.as_str()]) {
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
        scopes
    }

    /// Whether an option opens a system that hands out keys in the clear.
    pub fn open(&self, system: DrmSystem) -> bool {
        system.is_clear() && self.options.iter().any(|option| option.is_for(system))
    }

    /// Whether an option has terms for one kind of track.
    pub fn name_tracks(&self) -> bool {
        let own = |option: &PolicyOption| {
            let systems = option.systems.iter().flatten();
            let own = systems.filter_map(|(_, terms)| terms.as_ref());
            { option.terms.iter().chain(own) }.any(Terms::name_tracks)
        };
        self.options.iter().any(own)
    }

    /// The dialects that are accepted.
    pub fn dialects(&self) -> &Dialects {
        &self.dialects
    }

    /// The verdict of each option for a DRM system on a token, taken alone: `None` when it accepts it.
    ///
    /// # Errors
    /// A setting that is wrong.
    pub async fn judge(
        &self,
        found: &Found,
        system: DrmSystem,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Vec<(&PolicyOption, Option<Error>)>, SettingsError> {
        let presented = self.presented(found, platform).await?;
        let mut verdicts = Vec::new();
        for option in self.options.iter().filter(|option| option.is_for(system)) {
            let verdict = option.accept(&presented, self, platform, now);
            verdicts.push((option, verdict.await.err()));
        }
        Ok(verdicts)
    }

    async fn presented<'a>(
        &self,
        found: &'a Found,
        platform: &impl Platform,
    ) -> Result<Result<Presented<'a>, Error>, SettingsError> {
        Ok(match found.one(&self.dialects, platform).await? {
            Ok(text) => Presented::parse(text, found, &self.dialects),
            Err(error) => Err(error),
        })
    }

    /// The options that accept a request, in their order. The list ends with the first one that does not
    /// depend on the requested key.
    ///
    /// # Errors
    /// What is wrong with the token. With several options, the error of the one that got furthest.
    pub async fn accept(
        &self,
        found: &Found,
        system: DrmSystem,
        secret: Option<&ServerSecret>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Vec<Admission<'_>>, Error> {
        let presented = self.presented(found, platform).await?;
        if let (Ok(Presented::Jwt(jwt)), Some(secret)) = (&presented, secret)
            && own::is_own(jwt)
        {
            let token = own::verify(jwt, secret, now)?;
            let option = match token.claims.get(own::POLICY) {
                None if system.is_clear() && !self.open(system) => return Err(Error::NoPolicy),
                None => None,
                Some(name) => {
                    let mut options = self.options.iter().filter(|option| option.is_for(system));
                    let option = options.find(|option| *name == *option.name);
                    Some(option.ok_or(Error::NoPolicy)?)
                }
            };
            return Ok(vec![Admission {
                option,
                token: Some(token),
                system,
                is_own: true,
            }]);
        }

        let mut admissions = Vec::new();
        let mut refusal = None;
        for option in &self.options {
            if !option.is_for(system) {
                continue;
            }
            match option.accept(&presented, self, platform, now).await {
                Ok(token) => {
                    let access = Admission {
                        option: Some(option),
                        token,
                        system,
                        is_own: false,
                    };
                    let depends = access.depends_on_key();
                    admissions.push(access);
                    if !depends {
                        break;
                    }
                }
                Err(error) => {
                    let so_far = refusal.as_ref().map_or(0, Error::progress);
                    if refusal.is_none() || error.progress() > so_far {
                        refusal = Some(error);
                    }
                }
            }
        }
        match refusal {
            Some(error) if admissions.is_empty() => Err(error),
            None if admissions.is_empty() => Err(Error::NoPolicy),
            _ => Ok(admissions),
        }
    }
}

/// What a request presents as its token.
enum Presented<'a> {
    Jwt(Box<UntrustedToken<'a>>),
    /// A Common Access Token, and the request that it came with.
    Cat(Box<UntrustedCat>, Option<&'a Asked>),
    /// A message of a dialect, which is not a JWT, and its signature.
    Other(&'a str, Option<&'a str>),
}

impl<'a> Presented<'a> {
    fn parse(text: &'a str, found: &'a Found, dialects: &Dialects) -> Result<Self, Error> {
        if dialects.has_cat() && cat::is_shaped(text) {
            let token = UntrustedCat::parse(text)?;
            return Ok(Self::Cat(Box::new(token), found.asked()));
        }
        match UntrustedToken::parse(text) {
            Ok(jwt) => Ok(Self::Jwt(Box::new(jwt))),
            Err(Error::Malformed(_)) if dialects.has_others() => {
                Ok(Self::Other(text, found.signature()))
            }
            Err(error) => Err(error),
        }
    }
}

impl PolicyOption {
    /// Reads which claim has the entitlements, for the options that do not say it themselves.
    async fn with_claim(
        options: Result<Vec<Self>, SettingsError>,
        platform: &impl Platform,
    ) -> Result<Vec<Self>, SettingsError> {
        let mut options = options?;
        let unsaid = options.iter_mut().filter_map(Self::unsaid_claim);
        let mut unsaid = unsaid.peekable();
        if unsaid.peek().is_some() {
            let claim = EntitlementClaim::load(platform).await?;
            unsaid.for_each(|own| own.clone_from(&claim));
        }
        Ok(options)
    }

    fn unsaid_claim(&mut self) -> Option<&mut EntitlementClaim> {
        let Restriction::Token(restriction) = &mut self.restriction else {
            return None;
        };
        let claim = &mut restriction.expected.entitlements;
        (*claim == EntitlementClaim::Usual).then_some(claim)
    }

    /// The one option of a deployment without policies.
    async fn of_variables(platform: &impl Platform) -> Result<Self, SettingsError> {
        let (keys, issuer, audience, claim) = join4(
            platform.variable(KEYS),
            platform.variable(ISSUER),
            platform.variable(AUDIENCE),
            EntitlementClaim::load(platform),
        )
        .await;
        let (keys, issuer, audience) = (keys?, issuer?, audience?);
        let mut problems = Vec::new();
        let keys = match keys.as_deref().map(|keys| keys.trim()) {
            None => {
                problems.push(SettingError::new(
                    KEYS,
                    SettingErrorKind::Missing,
                    "it is not set, so no token can be verified",
                ));
                None
            }
            Some(url) if url.starts_with("http") => {
                let location = Location::from_url(url);
                if location.is_none() {
                    let reason =
                        "it is no URL whose keys can be trusted: https, or http on this machine";
                    problems.push(SettingError::new(KEYS, SettingErrorKind::Malformed, reason));
                }
                location.map(|location| (VerificationKeys::default(), Some(location)))
            }
            Some(json) => match VerificationKeys::from_json(json) {
                Ok(keys) => Some((keys, None)),
                Err(errors) => {
                    problems.extend(errors.into_iter().map(|error| key_problem(KEYS, error)));
                    None
                }
            },
        };
        let mut accepted = |variable, value: Option<&str>| {
            Accepted::from_setting(value)
                .map_err(|(problem, reason)| {
                    problems.push(SettingError::new(variable, problem, reason));
                })
                .ok()
        };
        let issuer = accepted(ISSUER, issuer.as_deref().map(String::as_str));
        let audience = accepted(AUDIENCE, audience.as_deref().map(String::as_str));
        let claim = match claim {
            Err(SettingsError::Invalid(more)) => {
                problems.extend(more);
                None
            }
            claim => Some(claim?),
        };
        match (keys, issuer, audience, claim) {
            (Some((keys, location)), Some(issuer), Some(audience), Some(claim)) => Ok(Self {
                name: "default".to_owned(),
                restriction: Restriction::Token(Box::new(TokenRestriction {
                    expected: Expected {
                        entitlements: claim,
                        ..Expected::new(issuer, audience)
                    },
                    keys,
                    remote: location.map(RemoteKeys::new),
                    required: Vec::new(),
                })),
                terms: None,
                systems: None,
                callback: None,
            }),
            _ => Err(SettingsError::Invalid(problems)),
        }
    }

    /// Which of its keys verifies a token; `None` when no token is needed.
    ///
    /// # Errors
    /// Why no key does.
    pub async fn signer(
        &self,
        token: &impl Signed,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Option<Signer>, Error> {
        let Restriction::Token(restriction) = &self.restriction else {
            return Ok(None);
        };
        match (restriction.keys.signer(token), &restriction.remote) {
            (Err(Error::KeyUnknown | Error::Signature), Some(remote)) => {
                let (index, kid) = remote.signer(token, platform, now).await?;
                Ok(Some(Signer {
                    index,
                    kid,
                    is_published: true,
                }))
            }
            (found, _) => {
                let (index, kid) = found?;
                Ok(Some(Signer {
                    index,
                    kid: kid.map(ToOwned::to_owned),
                    is_published: false,
                }))
            }
        }
    }

    /// The keys that its issuer publishes; `None` when it has none by URL.
    pub fn remote_keys(&self) -> Option<&RemoteKeys> {
        match &self.restriction {
            Restriction::Open => None,
            Restriction::Token(restriction) => restriction.remote.as_ref(),
        }
    }

    /// The keys that are configured for its tokens; `None` when no token is needed.
    pub(crate) fn keys(&self) -> Option<&VerificationKeys> {
        match &self.restriction {
            Restriction::Open => None,
            Restriction::Token(restriction) => Some(&restriction.keys),
        }
    }

    /// The keys that are configured for its tokens and verify nothing here.
    pub fn passed_over(&self) -> &[PassedOver] {
        self.keys().map_or(&[], VerificationKeys::passed_over)
    }

    /// What it expects of the registered claims; `None` when no token is needed.
    pub fn expected(&self) -> Option<&Expected> {
        match &self.restriction {
            Restriction::Open => None,
            Restriction::Token(restriction) => Some(&restriction.expected),
        }
    }

    /// The scopes of the subjects that its tokens have: their issuers, or its name where it accepts any.
    fn scopes(&self) -> impl Iterator<Item = &str> {
        let scopes: Vec<&str> = match self.expected().map(|expected| &expected.issuer) {
            None => Vec::new(),
            Some(Accepted::Any) => vec![&self.name],
            Some(Accepted::OneOf(issuers)) => issuers.iter().map(String::as_str).collect(),
        };
        scopes.into_iter()
    }

    /// Whether it is for a DRM system. One that hands out keys in the clear must be named.
    pub fn is_for(&self, system: DrmSystem) -> bool {
        match &self.systems {
            Some(systems) => systems.iter().any(|(named, _)| *named == system),
            None => !system.is_clear(),
        }
    }

    /// Its terms for a DRM system: those for every system, and those for this one.
    pub fn terms_for(&self, system: DrmSystem) -> impl Iterator<Item = &Terms> {
        let systems = self.systems.iter().flatten();
        let own = systems.filter(move |(named, _)| *named == system);
        self.terms
            .iter()
            .chain(own.filter_map(|(_, terms)| terms.as_ref()))
    }

    fn problems(&self, variable: &'static str) -> Vec<SettingError> {
        let Restriction::Token(restriction) = &self.restriction else {
            return Vec::new();
        };
        let errors = restriction.keys.check().err().unwrap_or_default();
        errors
            .into_iter()
            .map(|error| key_problem(variable, error))
            .collect()
    }

    async fn accept(
        &self,
        presented: &Result<Presented<'_>, Error>,
        policies: &Policies,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Option<VerifiedToken>, Error> {
        let Restriction::Token(restriction) = &self.restriction else {
            return Ok(None);
        };
        let presented = presented.as_ref().map_err(Clone::clone)?;
        let dialects = &policies.dialects;
        let token = match presented {
            Presented::Jwt(jwt) => {
                let unverified = || jwt.claims();
                restriction
                    .verify(jwt.as_ref(), unverified, platform, now)
                    .await?;
                let (keys, expected) = (&restriction.keys, &restriction.expected);
                VerifiedToken::of_jwt(jwt, &self.name, dialects, keys, expected, now)?
            }
            Presented::Cat(cat, asked) => {
                let rule = policies.cat_uri.as_ref().ok_or(Error::NoPolicy)?;
                let unverified = || cat.registered();
                restriction
                    .verify(cat.as_ref(), unverified, platform, now)
                    .await?;
                VerifiedToken::of_cat(cat, rule, *asked, &restriction.expected, now)?
            }
            Presented::Other(text, signature) => {
                let grant = dialects
                    .of_text(text, *signature, &restriction.keys, now)
                    .ok_or_else(|| {
                        Error::Malformed(
                            "it is neither a JWT nor of a dialect that is accepted".to_owned(),
                        )
                    })??;
                let scope = self.name.as_bytes();
                VerifiedToken::of_grant(grant, None, scope, text.as_bytes().to_vec())?
            }
        };
        if token.is_message {
            // A message that does not say when it ends is good for ever.
            let from = now.saturating_add(LEEWAY);
            let until = Some(token.accepted_until).filter(|until| *until != u64::MAX);
            restriction.expected.check_life(from, until)?;
        }
        for claim in &restriction.required {
            claim.check(&token.claims)?;
        }
        if token.needs_callback && self.callback.is_none() {
            return Err(Error::NoCallback);
        }
        Ok(Some(token))
    }

    /// Claims that must name the requested key.
    fn key_claims(&self) -> impl Iterator<Item = &str> {
        let required = match &self.restriction {
            Restriction::Open => &[][..],
            Restriction::Token(restriction) => &restriction.required,
        };
        required
            .iter()
            .filter(|claim| claim.value == Required::RequestedKey)
            .map(|claim| claim.name.as_str())
    }
}

impl TokenRestriction {
    /// Verifies a signature. `claims` are read, unverified, before an issuer is asked for its keys.
    async fn verify(
        &self,
        token: &impl Signed,
        claims: impl Fn() -> Result<Claims, Error>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<(), Error> {
        match (self.keys.verify(token), &self.remote) {
            // A secret is not published.
            (Err(Error::KeyUnknown | Error::Signature), Some(remote)) if !token.has_mac() => {
                self.expected.check_unverified(&claims()?, now)?;
                remote.verify(token, platform, now).await
            }
            (result, _) => result,
        }
    }
}

impl Admission<'_> {
    fn depends_on_key(&self) -> bool {
        let is_named = self.token.as_ref().is_some_and(VerifiedToken::names_a_key);
        is_named
            || self
                .option
                .is_some_and(|option| option.key_claims().next().is_some())
    }

    /// Whether the option applies to a key: each claim that must name the key does so.
    pub fn is_for(&self, key: &KeyRecord) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let names = |claim: &str| {
            let id = token.claims.get(claim).and_then(Value::as_str);
            id.and_then(Id::from_text)
                .is_some_and(|id| key.is_named(&id))
        };
        token.is_for(key)
            && self
                .option
                .filter(|_| !self.is_own)
                .is_none_or(|option| option.key_claims().all(names))
    }

    /// Whether the token's subject is certain for a key.
    pub fn is_subject_certain(&self, key: &KeyRecord) -> bool {
        let token = self.token.as_ref();
        token.is_none_or(|token| token.is_subject_certain(key))
    }

    /// The back end that has to agree, and the option that names it. For a token that this server made,
    /// it has already agreed.
    pub fn callback(&self) -> Option<(&PolicyOption, &callback::Callback)> {
        let option = self.option.filter(|_| !self.is_own)?;
        Some((option, option.callback.as_ref()?))
    }

    /// Whether the token itself limits its keys, or how often it is used.
    pub fn is_limited(&self) -> bool {
        let token = self.token.as_ref();
        let is_limited =
            |token: &VerifiedToken| token.entitlement.is_some() || token.terms != Terms::default();
        self.depends_on_key() || token.is_some_and(is_limited)
    }

    /// Whose the token's subject is: its issuer's, or of the option where that accepts any issuer, or the token
    /// is a message of another service.
    pub fn scope(&self) -> &str {
        let claim = |name: &str| self.claims().get(name).and_then(Value::as_str);
        if self.is_own {
            return claim(own::SCOPE).unwrap_or_default();
        }
        let is_message = self.token.as_ref().is_some_and(|token| token.is_message);
        let restricted = self
            .option
            .and_then(|option| Some((option, option.expected()?)));
        let Some((option, expected)) = restricted else {
            return "";
        };
        match &expected.issuer {
            accepted @ Accepted::OneOf(_) if !is_message => claim("iss")
                .and_then(|issuer| accepted.issuer(issuer, claim("tid")))
                .unwrap_or_default(),
            Accepted::Any | Accepted::OneOf(_) => &option.name,
        }
    }

    /// The claims of the token; empty when no token is needed.
    pub fn claims(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.token.as_ref().map_or(&NONE, |token| &token.claims)
    }

    /// The token's own entitlement. When it has none, every key, which the option's terms or its back
    /// end limit.
    ///
    /// # Errors
    /// [`entitlement::Error::Missing`] and its like when neither states anything.
    pub fn entitlement(&self) -> Result<Cow<'_, Entitlement>, entitlement::Error> {
        let own = self.token.as_ref().and_then(|t| t.entitlement.as_ref());
        let stands_alone = self.option.is_some_and(|option| {
            option.callback.is_some() || option.terms_for(self.system).next().is_some()
        });
        match own {
            Some(entitlement) => Ok(Cow::Borrowed(entitlement)),
            None if stands_alone => Ok(Cow::Owned(Entitlement::all_keys())),
            None => {
                let token = self.token.as_ref();
                let why = token.and_then(|token| token.unstated.clone());
                Err(why.unwrap_or(entitlement::Error::Missing))
            }
        }
    }

    /// The limits of the token and the option for any key: those of all their entries and terms,
    /// combined.
    ///
    /// # Errors
    /// As [`Self::entitlement`].
    pub fn limits(&self) -> Result<Limits, entitlement::Error> {
        let entitlement = self.entitlement()?;
        let token = self.token.as_ref().map(|token| &token.terms);
        let option = self.option.into_iter();
        let option = option.flat_map(|option| option.terms_for(self.system));
        let stated = entitlement.each_terms().chain(token).chain(option);
        Ok(stated.fold(Limits::default(), |limits, terms| limits.and(&terms.limits)))
    }

    /// The terms for a key: those of the token's entitlement, of the token itself, and of the option.
    ///
    /// # Errors
    /// Why the key gets no terms.
    pub fn terms_for(&self, key: &KeyRecord) -> Result<Terms, entitlement::Error> {
        let entitlement = self.entitlement()?;
        let mut terms = entitlement
            .terms_for(key.names())?
            .for_track(key.track)?
            .clone();
        if let Some(token) = &self.token {
            terms = terms.and(&token.terms);
        }
        let option = self.option.into_iter();
        for more in option.flat_map(|option| option.terms_for(self.system)) {
            terms = terms.and(more.for_track(key.track)?);
        }
        Ok(terms)
    }
}

/// What is wrong with a key. The index is stated only when the variable holds the set itself.
fn key_problem(variable: &'static str, error: KeyError) -> SettingError {
    let malformed = |reason| SettingError::new(variable, SettingErrorKind::Malformed, reason);
    match error.index {
        Some(index) if variable == KEYS => malformed(error.reason).at(index),
        _ => malformed(error.to_string()),
    }
}
