//! `keylet token explain`
//!
//! Every verdict is the library's own, so that it is the server's. What is added here is which claim or
//! key it is about, and by how much.

mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use http::{HeaderMap, Request};
use keylet::configuration::SettingsError;
use keylet::content_key::KeyQuery;
use keylet::drm::DrmSystem;
use keylet::encoding;
use keylet::entitlement::{self, Entitlement, Granted, Hdcp, MinOs, SecurityLevel, Use};
use keylet::error::Code;
use keylet::id::Id;
use keylet::licence::{self, LicenceServer, Principal};
use keylet::platform::Platform;
use keylet::policy::{Policies, PolicyOption, Signer};
use keylet::token::cat::{self, UntrustedCat};
use keylet::token::{
    self, Accepted, CONTENT_KEY_IDENTIFIER, Claims, Expected, Found, LEEWAY, UntrustedToken, own,
};
use keylet::token::{Dialects, Signed};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::commands::device::{explain_settings, print};
use crate::file::secret;
use crate::settings::Settings;
use crate::terminal;
use crate::wire::percent_encoded;
use keylet_host::{Assignment, Provided, provided};

/// The DRM system that a token is explained for.
const SYSTEM: DrmSystem = DrmSystem::FairPlay;

/// The token, and what to ask of it.
#[derive(Args)]
pub struct Arguments {
    /// The token, or `-` for standard input; the environment variable and files keep it out of the
    /// argument list
    #[arg(value_name = "TOKEN|-", env = "KEYLET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the token, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The query parameter `signature`, which goes with Kaltura's `custom_data`
    #[arg(long, value_name = "TEXT")]
    signature: Option<String>,
    /// An asset id, or the id of a key, that a player would ask for; may be repeated
    #[arg(long = "asset-id", value_name = "ID")]
    asset_ids: Vec<String>,
    /// An application variable: name=value, or name=@file
    #[arg(long = "variable", value_name = "NAME=VALUE|NAME=@FILE")]
    variables: Vec<Assignment>,
    /// The answer as JSON, on a terminal too
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let token = match (&arguments.token_file, arguments.token.as_deref()) {
        (Some(path), _) => secret(path)?,
        (None, Some("-")) => secret(Path::new("-"))?,
        (None, Some(token)) => Zeroizing::new(token.to_owned()),
        (None, None) => {
            bail!("the token is given as argument, with --token-file or in KEYLET_TOKEN")
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let licences = LicenceServer::new(Settings(provided(&arguments.variables, None)?));
    let question = Question {
        token: token.trim(),
        signature: arguments.signature.as_deref(),
        asset_ids: &arguments.asset_ids,
    };
    let explained = runtime.block_on(explain(&licences, &question))?;
    match terminal::is_for_people(arguments.json) {
        true => text::show(&explained.document),
        false => print(&explained.document)?,
    }
    Ok(match explained.is_good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// What is asked.
pub struct Question<'a> {
    token: &'a str,
    signature: Option<&'a str>,
    asset_ids: &'a [String],
}

/// What is answered.
pub struct Explained {
    /// Everything, as `keylet token explain` prints it.
    pub document: Value,
    /// Whether everything that is asked for would be given.
    pub is_good: bool,
}

/// Explains a token with settings.
///
/// # Errors
/// Settings that do not load.
pub async fn explain_with(
    settings: Provided,
    token: &str,
    asset_ids: &[String],
) -> Result<Explained> {
    let question = Question {
        token,
        signature: None,
        asset_ids,
    };
    explain(&LicenceServer::new(Settings(settings)), &question).await
}

/// Explains a token to who runs the deployment.
///
/// # Errors
/// Settings that do not load.
async fn explain(licences: &LicenceServer<Settings>, question: &Question<'_>) -> Result<Explained> {
    let platform = licences.platform();
    let now = platform.now();
    let settings = |error: SettingsError| explain_settings(&error);
    check(licences).await?;
    let policies = licences.policies().await.map_err(settings)?;
    let has_secret = licences.server_secret().await.map_err(settings)?.is_some();

    let query = question
        .signature
        .map(|s| format!("signature={}", percent_encoded(s)));
    let found = token::locate(&HeaderMap::new(), query.as_deref(), Some(question.token));
    // As a player would ask: a Common Access Token may say how.
    let asked = Request::post("/fairplay").body(())?;
    let found = found.asked_by(&asked);
    let text = found
        .one(policies.dialects(), platform)
        .await
        .map_err(settings)??;
    let message = Message::parse(text, policies, has_secret);
    let admitted = licences.admit(SYSTEM, &found, now).await;

    let signed_by = message.signed_by(policies, &admitted, platform, now).await;
    let (is_accepted, policy) = match &admitted {
        Ok(viewer) => match viewer.check() {
            Ok(()) => (true, applies(viewer)),
            Err(error) => (false, refusal(&error)),
        },
        Err(error) => {
            let refused = refused_by(policies, &found, platform, now).await;
            let mut policy = refusal(error);
            policy["refused_by"] = refused.map_err(settings)?;
            (false, policy)
        }
    };
    let concerned = match &admitted {
        Ok(viewer) => viewer.admissions().first().and_then(|access| access.option),
        Err(_) => signed_by.option.or_else(|| {
            let mut options = policies.options().iter();
            options.find(|option| option.is_for(SYSTEM) && option.expected().is_some())
        }),
    };
    let mut document = json!({
        "header": message.header,
        "claims": message.shown(),
        "dialect": message.dialect,
        "signed_by": signed_by.document,
        "valid": message.valid(concerned, now),
        "policy": policy,
    });
    if let Some(refused) = refused_for(&document) {
        document["refused"] = refused;
    }
    let mut hints = message.hints(policies.dialects());
    let is_asked = |document: &Value| document["code"] == Code::TOKEN_KEYS_UNAVAILABLE.name;
    if is_asked(&document["signed_by"]) || is_asked(&document["policy"]) {
        hints.push(
            "keys by URL were asked for from this machine; the server has its own way there, and \
             `allowed_outbound_hosts`"
                .to_owned(),
        );
    }
    if !hints.is_empty() {
        document["hints"] = json!(hints);
    }
    let passed_over = passed_over(policies, platform, now).await;
    if !passed_over.is_empty() {
        document["passed_over"] = json!(passed_over);
    }
    let warnings = warnings(question.token, now);
    if !warnings.is_empty() {
        document["warnings"] = json!(warnings);
    }

    let mut is_good = is_accepted;
    if !question.asset_ids.is_empty() {
        let mut allows = Vec::new();
        for asset_id in question.asset_ids {
            let answer = match &admitted {
                Ok(viewer) => match viewer.check() {
                    Ok(()) => allowed(licences, viewer, asset_id, now).await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error.clone()),
            };
            let answer = answer.unwrap_or_else(|error| {
                is_good = false;
                refusal(&error)
            });
            let mut entry = json!({"asset_id": asset_id});
            if let (Some(entry), Value::Object(answer)) = (entry.as_object_mut(), answer) {
                entry.extend(answer);
            }
            allows.push(entry);
        }
        document["allows"] = json!(allows);
    }
    Ok(Explained { document, is_good })
}

/// The keys of every option that verify nothing, and why.
async fn passed_over(policies: &Policies, platform: &impl Platform, now: u64) -> Vec<Value> {
    let mut found = Vec::new();
    for option in policies.options() {
        let published = match option.remote_keys() {
            Some(remote) => remote.passed_over(platform, now).await,
            None => Vec::new(),
        };
        let configured = option.passed_over().iter().map(|key| (key, false));
        let keys = configured.chain(published.iter().map(|key| (key, true)));
        found.extend(keys.map(|(key, is_published)| {
            json!({
                "option": option.name,
                "place": key.index,
                "kty": key.kty,
                "alg": key.alg,
                "kid": key.kid,
                "published": is_published,
                "reason": key.reason,
                "message": key.to_string(),
            })
        }));
    }
    found
}

/// A JSON object in base64, as parts of tokens are.
fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = encoding::base64(part)?;
    encoding::json_object(&bytes).ok()
}

/// Whether an option finds entitlements in the claims of a token, sound or not.
fn has_entitlements(policies: &Policies, claims: &Map<String, Value>) -> bool {
    let mut expected = policies.options().iter().filter_map(PolicyOption::expected);
    expected.any(|expected| {
        let claim = expected.entitlements.find(claims);
        claim.is_some_and(|claim| !matches!(Entitlement::from_token(claim), Ok(Err(_))))
    })
}

/// Years for which no token should be good.
const YEARS: u64 = 10;
const SECONDS_OF_A_YEAR: u64 = 31_557_600;

/// What is allowed in a JWT and hardly meant: a time in milliseconds, and a token that is good for very long.
pub fn warnings(token: &str, now: u64) -> Vec<String> {
    let mut parts = token.trim().split('.');
    let claims = parts.nth(1).and_then(object).unwrap_or_default();
    let mut warnings = Vec::new();
    let far = |time: u64| time > now.saturating_add(YEARS * SECONDS_OF_A_YEAR);
    for name in ["exp", "nbf", "iat"] {
        let time = claims.get(name).and_then(encoding::numeric_date);
        let Some(time) = time.filter(|time| far(*time)) else {
            continue;
        };
        let is_milliseconds = time / 1000 > SECONDS_OF_A_YEAR * YEARS && !far(time / 1000);
        let years = time.saturating_sub(now) / SECONDS_OF_A_YEAR;
        match (name, is_milliseconds) {
            ("exp", true) => warnings.push(format!(
                "`exp` is in milliseconds, and a JWT has seconds there: the token is good for {years} years. Have the issuer divide it by 1000"
            )),
            ("exp", false) => warnings.push(format!(
                "the token is good for {years} years: whoever gets hold of it plays that long. Have the issuer set an earlier `exp`; `max_token_life` of a policy option refuses such tokens"
            )),
            (name, true) => warnings.push(format!(
                "`{name}` is in milliseconds, and a JWT has seconds there. Have the issuer divide it by 1000"
            )),
            (_, false) => {}
        }
    }
    warnings
}

/// The one reason for which the server refuses a token: the code of its answer, and the claim that it is about.
fn refused_for(document: &Value) -> Option<Value> {
    let policy = &document["policy"];
    let code = policy["code"].as_str()?;
    let claims: &[&str] = match code {
        _ if code == Code::TOKEN_EXPIRED.name => &["exp"],
        _ if code == Code::TOKEN_NOT_YET_VALID.name => &["nbf", "iat"],
        _ if code == Code::TOKEN_ISSUER.name => &["iss"],
        _ if code == Code::TOKEN_AUDIENCE.name => &["aud"],
        _ if code == Code::TOKEN_CLAIMS.name => &["exp", "nbf", "iat", "iss", "aud"],
        _ => &[],
    };
    let valid = &document["valid"];
    let wrong = claims
        .iter()
        .find_map(|claim| Some((*claim, valid[*claim]["wrong"].as_str()?)));
    let mut refused = json!({"code": code, "status": policy["status"], "reason": policy["reason"]});
    if let Some((claim, reason)) = wrong {
        refused["claim"] = json!(claim);
        // How far off a time is; of what is missing the server's sentence says more.
        if valid[claim].get("value").is_some() {
            refused["reason"] = json!(reason);
        }
    }
    Some(refused)
}

/// The settings that decide on a token.
const SETTINGS: [&str; 10] = [
    token::POLICIES,
    token::KEYS,
    token::ISSUER,
    token::AUDIENCE,
    token::ENTITLEMENT_CLAIM,
    "dialects",
    cat::VARIABLE,
    "query_tokens",
    keylet::server_secret::VARIABLE,
    keylet::public_url::VARIABLE,
];

/// Checks the settings that decide on a token. A key that is not sound refuses its own tokens alone, so
/// it counts only together with a setting that does not load.
///
/// # Errors
/// Everything that is wrong with them.
async fn check(licences: &LicenceServer<Settings>) -> Result<()> {
    let loaded = [
        licences.policies().await.map(drop),
        licences.server_secret().await.map(drop),
        token::query_tokens_allowed(licences.platform())
            .await
            .map(drop),
    ];
    if loaded.iter().all(Result::is_ok) {
        return Ok(());
    }
    let mut problems = keylet::service::check(licences).await;
    problems
        .settings
        .retain(|problem| SETTINGS.contains(&problem.variable));
    let lines: Vec<String> = problems.messages().collect();
    bail!(lines.join("\n"))
}

/// Which option's key signed a token.
async fn signer_of<'p>(
    token: &impl Signed,
    policies: &'p Policies,
    platform: &impl Platform,
    now: u64,
) -> SignedBy<'p> {
    let mut refused: Option<token::Error> = None;
    for option in policies.options().iter().filter(|o| o.is_for(SYSTEM)) {
        match option.signer(token, platform, now).await {
            Ok(Some(signer)) => return SignedBy::key(option, &signer),
            Ok(None) => {}
            // Another refusal is known already; that this option has no such key adds nothing.
            Err(token::Error::KeyUnknown) if refused.is_some() => {}
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) => SignedBy::refused(&error),
        None => SignedBy {
            option: None,
            document: json!({"reason": "no policy asks who signed a token"}),
        },
    }
}

/// A message, as far as it can be read without a key.
struct Message<'a> {
    text: &'a str,
    jwt: Result<UntrustedToken<'a>, token::Error>,
    /// The same for a Common Access Token.
    cat: Option<Result<UntrustedCat, token::Error>>,
    header: Option<Map<String, Value>>,
    claims: Map<String, Value>,
    /// Whose words it speaks.
    dialect: Option<&'static str>,
    /// Whether it says that this deployment made it.
    is_own: bool,
}

impl<'a> Message<'a> {
    fn parse(text: &'a str, policies: &Policies, has_secret: bool) -> Self {
        let dialects = policies.dialects();
        let is_cat = dialects.has_cat() && cat::is_shaped(text);
        let cat = is_cat.then(|| UntrustedCat::parse(text));
        let mut parts = text.split('.');
        let (header, claims) = match (parts.next(), parts.next()) {
            (Some(header), Some(claims)) => (object(header), object(claims)),
            // What is no JWT is base64 of a JSON document.
            _ => (None, object(text)),
        };
        let (header, claims) = match &cat {
            Some(Ok(cat)) => (
                json!({"alg": cat.algorithm(), "kid": cat.key_id()})
                    .as_object()
                    .cloned(),
                cat.registered().ok().map(|claims| claims.0),
            ),
            _ => (header, claims),
        };
        let claims = claims.unwrap_or_default();
        let jwt = UntrustedToken::parse(text);
        let is_own = has_secret && jwt.as_ref().is_ok_and(own::is_own);
        let dialect = match &jwt {
            Ok(_) if is_own => Some("keylet"),
            Ok(_) => dialects.name_of_claims(&claims).or_else(|| {
                if has_entitlements(policies, &claims) {
                    Some("native")
                } else {
                    claims
                        .contains_key(CONTENT_KEY_IDENTIFIER)
                        .then_some("azure")
                }
            }),
            Err(_) => dialects.name_of_text(text),
        };
        Self {
            text,
            jwt,
            cat,
            header,
            claims,
            dialect,
            is_own,
        }
    }

    /// The claims without what authenticates a message that is no JWT.
    fn shown(&self) -> Map<String, Value> {
        let mut claims = self.claims.clone();
        if self.header.is_none() {
            claims.retain(|name, _| !["hash", "signature"].contains(&name.as_str()));
        }
        claims
    }

    /// Whether issuer, audience and `exp` are asked of it.
    fn is_checked(&self) -> bool {
        matches!(
            self.dialect,
            None | Some("keylet" | "native" | "azure" | cat::NAME)
        )
    }

    /// Who signed it.
    async fn signed_by<'p>(
        &self,
        policies: &'p Policies,
        admitted: &Result<Principal<'_>, licence::Error>,
        platform: &impl Platform,
        now: u64,
    ) -> SignedBy<'p> {
        match &self.cat {
            Some(Ok(cat)) => return signer_of(cat, policies, platform, now).await,
            Some(Err(error)) => return SignedBy::refused(error),
            None => {}
        }
        let jwt = match &self.jwt {
            // What is wrong with such a message, its dialect says together with the rest.
            Err(error) if self.dialect.is_none() => return SignedBy::refused(error),
            Ok(jwt) if !self.is_own => jwt,
            _ => {
                let document = match admitted {
                    Ok(_) => {
                        json!({"key": if self.is_own { "server_secret" } else { "token_keys" }})
                    }
                    Err(error) => refusal(error),
                };
                return SignedBy {
                    option: None,
                    document,
                };
            }
        };
        signer_of(jwt, policies, platform, now).await
    }

    /// What is wrong with its times, and with issuer and audience for an option.
    fn valid(&self, option: Option<&PolicyOption>, now: u64) -> Value {
        let mut valid = json!({"now": now});
        for name in ["exp", "nbf", "iat"] {
            if let Some(time) = self.time(name, now) {
                valid[name] = time;
            }
        }
        let own = || Accepted::OneOf(vec!["keylet".to_owned()]);
        let own = Expected::new(own(), own());
        let expected = match option.and_then(PolicyOption::expected) {
            _ if self.is_own => Some(&own),
            _ if !self.is_checked() => None,
            expected => expected,
        };
        for (name, value) in [
            ("iss", self.issuer(expected)),
            ("aud", self.audience(expected)),
        ] {
            if let Some(value) = value {
                valid[name] = value;
            }
        }
        valid
    }

    fn time(&self, name: &'static str, now: u64) -> Option<Value> {
        let Some(value) = self.claims.get(name) else {
            let is_missing = name == "exp" && self.is_checked();
            return is_missing.then(|| json!({"wrong": "it is missing"}));
        };
        let mut time = json!({"value": value});
        let date = encoding::numeric_date(value).map(i64::try_from);
        if let Some(Ok(date)) = date {
            time["in_seconds"] = json!(date.saturating_sub_unsigned(now));
        }
        let alone = Claims(Map::from_iter([(name.to_owned(), value.clone())]));
        let wrong = match alone.check_times(now) {
            Ok(_) => return Some(time),
            Err(token::Error::Expired(at)) => {
                let ago = now.saturating_sub(at);
                format!("the token expired {ago} seconds ago, and {LEEWAY} are passed over")
            }
            Err(token::Error::NotYetValid(at)) => {
                let ahead = at.saturating_sub(now);
                format!("the token is valid in {ahead} seconds only, and {LEEWAY} are passed over")
            }
            Err(error) => error.to_string(),
        };
        time["wrong"] = json!(wrong);
        Some(time)
    }

    fn issuer(&self, expected: Option<&Expected>) -> Option<Value> {
        let value = self.claims.get("iss");
        let Some(expected) = expected else {
            return value.map(|value| json!({"value": value}));
        };
        let claims = Claims(self.claims.clone());
        let values = claims.strings("iss");
        let accepts = |values: &[&str]| {
            let tenant = claims.text("tid");
            let issuer = values.first().copied();
            expected.issuer.accepts_issuer(issuer, tenant)
        };
        Some(party(
            value,
            values,
            &expected.issuer,
            accepts,
            &token::Error::Issuer,
        ))
    }

    fn audience(&self, expected: Option<&Expected>) -> Option<Value> {
        let named = expected.and_then(|expected| expected.audience_claim.as_deref());
        let other = || token::claim::find(&self.claims, named?);
        let value = self.claims.get("aud").or_else(other);
        let Some(expected) = expected else {
            return value.map(|value| json!({"value": value}));
        };
        let claims = Claims(self.claims.clone());
        let values = expected.audiences(&claims);
        let accepts = |values: &[&str]| expected.audience.accepts(values);
        Some(party(
            value,
            values,
            &expected.audience,
            accepts,
            &token::Error::Audience,
        ))
    }

    /// What to change in the deployment so that such a token is understood.
    fn hints(&self, dialects: &Dialects) -> Vec<String> {
        let all = Dialects::all();
        let shape = match &self.jwt {
            Ok(_) => all.name_of_claims(&self.claims),
            Err(_) => all.name_of_text(self.text),
        };
        let mut hints = Vec::new();
        if let Some(name) = shape.filter(|name| self.dialect != Some(*name)) {
            hints.push(format!(
                "it has the shape of the dialect {name:?}, which `dialects` does not name"
            ));
        }
        if self.dialect == Some("native") && !dialects.has_native() {
            hints.push(
                "`dialects` does not name \"native\", so a token with `entitlements` is refused"
                    .to_owned(),
            );
        }
        if self.dialect == Some("azure") && !dialects.has_azure() {
            hints.push(
                "`dialects` does not name \"azure\", so it entitles to its key only by the terms of a policy"
                    .to_owned(),
            );
        }
        hints
    }
}

/// What is wrong with an issuer or an audience.
fn party(
    value: Option<&Value>,
    values: Result<Vec<&str>, token::Error>,
    accepted: &Accepted,
    accepts: impl Fn(&[&str]) -> bool,
    error: &token::Error,
) -> Value {
    let mut party = json!({"value": value});
    let wrong = match values {
        Ok(values) if accepts(&values) => None,
        Ok(values) if values.is_empty() => Some("it is missing".to_owned()),
        Ok(_) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(wrong) = wrong {
        party["wrong"] = json!(wrong);
        if let Accepted::OneOf(values) = accepted {
            party["accepted"] = json!(values);
        }
    }
    party
}

/// The key that verifies a message, or why none does.
struct SignedBy<'p> {
    option: Option<&'p PolicyOption>,
    document: Value,
}

impl<'p> SignedBy<'p> {
    fn key(option: &'p PolicyOption, signer: &Signer) -> Self {
        let mut key = json!({"place": signer.index});
        if let Some(kid) = &signer.kid {
            key["kid"] = json!(kid);
        }
        if signer.is_published {
            key["published"] = json!(true);
        }
        Self {
            option: Some(option),
            document: json!({"option": option.name, "key": key}),
        }
    }

    fn refused(error: &token::Error) -> Self {
        Self {
            option: None,
            document: refused(error.code(), error.for_operator()),
        }
    }
}

/// The option that lets a viewer in, or the options, where the key decides which one holds.
fn applies(viewer: &Principal<'_>) -> Value {
    let names: Vec<_> = viewer
        .admissions()
        .iter()
        .map(|access| access.option.map(|option| option.name.as_str()))
        .collect();
    match names.as_slice() {
        [Some(name)] => json!({"option": name}),
        [None] => json!({"option": null, "made_by": "this deployment"}),
        names => json!({"options": names, "by": "the key that is asked for"}),
    }
}

/// What each option says of a message that none accepts.
async fn refused_by(
    policies: &Policies,
    found: &Found,
    platform: &impl Platform,
    now: u64,
) -> Result<Value, SettingsError> {
    let verdicts = policies.judge(found, SYSTEM, platform, now).await?;
    let verdicts = verdicts.into_iter().filter_map(|(option, error)| {
        let error = error?;
        let mut verdict = refused(error.code(), error.for_operator());
        verdict["option"] = json!(option.name);
        Some(verdict)
    });
    Ok(verdicts.collect())
}

/// The terms for an asset as the server would find them, except for what depends on device, place and
/// back end.
async fn allowed(
    licences: &LicenceServer<Settings>,
    viewer: &Principal<'_>,
    asset_id: &str,
    now: u64,
) -> Result<Value, licence::Error> {
    let id = Id::from_text(asset_id).ok_or(licence::Error::KeyNotFound)?;
    let query = KeyQuery::from_id(id);
    let key = &licences.key_for(viewer, &query, SYSTEM).await?;
    let access = viewer.admission_to(key)?;
    let terms = licences.terms_for(SYSTEM, access, key).await?;
    let granted = terms.granted_at(now)?;
    let needs = |term, what| Err(entitlement::Error::Needs(term, what).into());
    if !granted.limits.device_ids.is_empty() && licences.server_secret().await?.is_none() {
        return needs("device_ids", "`server_secret`");
    }
    if granted.limits.max_uses.is_some() && access.token.is_none() {
        return needs("max_uses", "a token");
    }
    if granted.limits.max_streams.is_some() {
        viewer.subject_to_count()?;
    }
    let mut allowed = json!({"key": key.id.to_string()});
    if let Some(option) = access.option {
        allowed["policy"] = json!(option.name);
    }
    allowed["terms"] = terms_of(&granted);
    let depends = depends_on(&granted, access.callback().is_some());
    if !depends.is_empty() {
        allowed["depends_on"] = json!(depends);
    }
    Ok(allowed)
}

/// Native terms, as a token states them.
pub fn terms_of(granted: &Granted) -> Value {
    let limits = &granted.limits;
    let mut terms = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            terms.insert(name.to_owned(), value);
        }
    };
    let number = |seconds: Option<u32>| seconds.map(Value::from);
    match granted.use_ {
        Use::Streaming {
            lease_seconds,
            rental_seconds,
        } => {
            say("lease_seconds", number(lease_seconds));
            say("rental_seconds", number(rental_seconds));
        }
        Use::Persistent {
            storage_seconds,
            playback_seconds,
            ends_in,
        } => {
            say("persist", Some(json!(true)));
            say("storage_seconds", number(storage_seconds.or(ends_in)));
            say("playback_seconds", number(playback_seconds));
        }
    }
    say("hdcp", limits.hdcp.map(Hdcp::name).map(Value::from));
    let level = limits.security_level().map(SecurityLevel::name);
    say("min_security_level", level.map(Value::from));
    for (name, is_forbidden) in [
        ("airplay", limits.no_airplay),
        ("av_adapter", limits.no_av_adapter),
        ("virtual_machines", limits.no_virtual_machines),
    ] {
        say(name, is_forbidden.then(|| json!(false)));
    }
    say("min_kdl", number(limits.kdl()));
    say("max_uses", number(limits.max_uses));
    say("max_streams", number(limits.max_streams));
    say("streams_full", limits.streams_full.map(|full| json!(full)));
    Value::Object(terms)
}

/// What only a request decides: lists that its device or place must be on, uses, streams, and the back end.
pub fn depends_on(granted: &Granted, has_callback: bool) -> Vec<&'static str> {
    let limits = &granted.limits;
    let parts = [
        ("device_ids", !limits.device_ids.is_empty()),
        ("device_classes", !limits.device_classes.is_empty()),
        ("min_os", limits.min_os != MinOs::default()),
        ("ip_allow", !limits.ip_allow.is_empty()),
        ("countries", !limits.countries.is_empty()),
        ("max_uses", limits.max_uses.is_some()),
        ("max_streams", limits.max_streams.is_some()),
        ("callback", has_callback),
    ];
    let parts = parts.into_iter().filter(|(_, depends)| *depends);
    parts.map(|(name, _)| name).collect()
}

/// The code, the status and the reason of a refusal, for who runs the deployment.
pub fn refusal(error: &licence::Error) -> Value {
    let reason = match error {
        licence::Error::Settings(error) => explain_settings(error).to_string(),
        error => error.for_operator(),
    };
    refused(error.code(), reason)
}

fn refused(code: Code, reason: String) -> Value {
    json!({"code": code.name, "status": code.status, "reason": reason})
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::commands::policies;
    use crate::jwt::Signer;
    use crate::random;
    use keylet_host::Provided;

    const KEY_ID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";

    fn now() -> u64 {
        keylet::platform::system_time()
    }

    fn signer() -> Signer {
        Signer::Hs256(vec![7; 32])
    }

    /// A deployment with one issuer and two keys.
    fn deployment(more: &[(&str, &str)]) -> LicenceServer<Settings> {
        let jwks = json!({"keys": [signer().jwk("first").unwrap()]});
        let record = |id: &str, kid: Option<&str>| json!({"id": id, "kid": kid, "key": "000102030405060708090a0b0c0d0e0f", "iv": "000102030405060708090a0b0c0d0e0f"});
        let keys = json!([record("movie-1", Some(KEY_ID)), record("movie-2", None)]);
        let mut variables = Provided::from(
            [
                ("token_keys", jwks.to_string()),
                ("token_issuer", "https://login.example".to_owned()),
                ("token_audience", "keylet".to_owned()),
                ("content_keys", keys.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let more = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        variables.extend(more);
        LicenceServer::new(Settings(variables))
    }

    fn claims(entitlements: Value) -> Value {
        json!({
            "iss": "https://login.example", "aud": "keylet", "exp": now() + 300, "iat": now(),
            "entitlements": entitlements,
        })
    }

    fn token(kid: Option<&str>, claims: &Value) -> String {
        signer().token(kid, claims, &mut random::system()).unwrap()
    }

    async fn explained(
        licences: &LicenceServer<Settings>,
        token: &str,
        asset_ids: &[&str],
    ) -> Explained {
        let asset_ids: Vec<String> = asset_ids.iter().map(|id| (*id).to_owned()).collect();
        let question = Question {
            token,
            signature: None,
            asset_ids: &asset_ids,
        };
        let explained = explain(licences, &question).await.unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert!(!explained.document.to_string().contains(signature));
        explained
    }

    #[tokio::test]
    async fn of_a_token_that_is_good_it_says_what_it_allows() {
        let claims = claims(
            json!([{"keys": ["movie-1"], "lease_seconds": 300, "countries": ["SE"], "airplay": false}]),
        );
        let token = token(Some("first"), &claims);
        let licences = deployment(&[("fairplay_rules", r#"{"min_kdl": 31}"#)]);
        let good = explained(&licences, &token, &["skd://movie-1"]).await;
        assert!(good.is_good, "{}", good.document);
        let document = &good.document;
        assert_eq!(document["header"]["kid"], "first");
        assert_eq!(document["claims"], claims);
        assert_eq!(document["dialect"], "native");
        assert_eq!(
            document["signed_by"],
            json!({"option": "default", "key": {"place": 0, "kid": "first"}})
        );
        assert_eq!(document["policy"], json!({"option": "default"}));
        assert_eq!(
            document["allows"],
            json!([{
                "asset_id": "skd://movie-1",
                "key": "movie-1",
                "policy": "default",
                "terms": {"lease_seconds": 300, "airplay": false, "min_kdl": 31},
                "depends_on": ["countries"],
            }])
        );

        let other = explained(&licences, &token, &["movie-1", "movie-2", "movie-3"]).await;
        assert!(!other.is_good);
        let codes = other.document["allows"].as_array().unwrap();
        assert_eq!(codes[1]["code"], "not_entitled");
        assert_eq!(codes[2]["code"], "key_not_found");
        assert!(explained(&licences, &token, &[]).await.is_good);
    }

    #[test]
    fn it_warns_of_times_that_are_hardly_meant() {
        let now = 1_795_777_000;
        for (claims, expected) in [
            (json!({"exp": now + 300}), &[][..]),
            (json!({"exp": now + 9 * SECONDS_OF_A_YEAR}), &[]),
            (
                json!({"exp": now + 11 * SECONDS_OF_A_YEAR}),
                &["good for 11 years"],
            ),
            (
                json!({"exp": 1_795_777_061_000_u64}),
                &["`exp` is in milliseconds"],
            ),
            (json!({"exp": 99_999_999_999_999_u64}), &["years: whoever"]),
            (
                json!({"exp": (now + 300) * 1000, "iat": now * 1000}),
                &["`exp` is in milliseconds", "`iat` is in milliseconds"],
            ),
            (json!({"exp": "soon"}), &[]),
        ] {
            let warnings = warnings(&token(None, &claims), now);
            assert_eq!(warnings.len(), expected.len(), "{claims} {warnings:?}");
            for (warning, expected) in warnings.iter().zip(expected) {
                assert!(warning.contains(expected), "{claims} {warning}");
            }
        }
        assert!(warnings("no token", now).is_empty());
    }

    #[tokio::test]
    async fn it_finds_audiences_tenants_and_entitlements_where_the_option_has_them() {
        let jwks = json!({"keys": [signer().jwk("first").unwrap()]});
        let policies = json!([{
            "name": "tenants",
            "restriction": {
                "issuer": "https://login.example/{tenantid}/v2.0",
                "audience": "app",
                "audience_claim": "client_id",
                "jwks": jwks,
            },
            "entitlement_claim": "app.drm",
        }]);
        let licences = deployment(&[("policies", &policies.to_string())]);
        let claims = |tenant: &str, client: &str| {
            json!({
                "iss": "https://login.example/t-1/v2.0", "tid": tenant, "client_id": client,
                "exp": now() + 300, "app": {"drm": [{"keys": "*"}]},
            })
        };
        let good = explained(&licences, &token(Some("first"), &claims("t-1", "app")), &[]).await;
        assert!(good.is_good, "{}", good.document);
        assert_eq!(good.document["dialect"], "native");
        assert_eq!(good.document["valid"]["aud"], json!({"value": "app"}));
        for (tenant, client, claim) in [("t-2", "app", "iss"), ("t-1", "other", "aud")] {
            let token = token(Some("first"), &claims(tenant, client));
            let refused = explained(&licences, &token, &[]).await;
            assert!(!refused.is_good);
            assert_eq!(refused.document["refused"]["claim"], claim);
        }
    }

    #[tokio::test]
    async fn it_names_what_is_wrong_and_by_how_much() {
        let licences = deployment(&[]);
        let all = || claims(json!([{"keys": "*"}]));
        for (claim, value, code, wrong) in [
            ("exp", json!(now() - 1000), "token_expired", "seconds ago"),
            ("exp", json!("soon"), "token_claims", "wrong type"),
            (
                "nbf",
                json!(now() + 1000),
                "token_not_yet_valid",
                "seconds only",
            ),
            (
                "iat",
                json!(now() + 1000),
                "token_not_yet_valid",
                "seconds only",
            ),
            (
                "iss",
                json!("https://other.example"),
                "token_issuer",
                "not accepted",
            ),
            ("aud", json!(["others"]), "token_audience", "not accepted"),
        ] {
            let mut claims = all();
            claims[claim] = value;
            let bad = explained(&licences, &token(None, &claims), &["movie-1"]).await;
            assert!(!bad.is_good);
            let document = &bad.document;
            assert_eq!(document["policy"]["code"], code, "{document}");
            let refused = &document["refused"];
            assert_eq!(
                (&refused["code"], &refused["claim"]),
                (&json!(code), &json!(claim))
            );
            assert_eq!(refused["reason"], document["valid"][claim]["wrong"]);
            assert_eq!(document["policy"]["refused_by"][0]["option"], "default");
            assert_eq!(document["allows"][0]["code"], code);
            assert_eq!(document["signed_by"]["key"]["kid"], "first");
            let named = document["valid"][claim]["wrong"].as_str();
            assert!(named.unwrap().contains(wrong), "{document}");
            let others = document["valid"].as_object().unwrap().iter();
            let others =
                others.filter(|(name, value)| *name != claim && value["wrong"].is_string());
            assert_eq!(others.count(), 0, "{document}");
        }
        let mut claims = all();
        claims["exp"] = json!(now() - 1000);
        let late = explained(&licences, &token(None, &claims), &[]).await;
        let seconds = late.document["valid"]["exp"]["in_seconds"]
            .as_i64()
            .unwrap();
        assert!((-1010..=-1000).contains(&seconds));
        claims.as_object_mut().unwrap().remove("exp");
        let never = explained(&licences, &token(None, &claims), &[]).await;
        assert_eq!(
            never.document["valid"]["exp"],
            json!({"wrong": "it is missing"})
        );
    }

    #[tokio::test]
    async fn it_says_why_no_key_verifies() {
        let licences = deployment(&[]);
        let claims = claims(json!([{"keys": "*"}]));
        let stranger = Signer::Hs256(vec![8; 32]);
        let of_stranger = |kid| stranger.token(kid, &claims, &mut random::system()).unwrap();
        let es256 = Signer::Es256([1; 32])
            .token(None, &claims, &mut random::system())
            .unwrap();
        for (token, code) in [
            (token(Some("second"), &claims), "token_key_unknown"),
            (es256, "token_key_unknown"),
            (of_stranger(Some("first")), "token_signature"),
            ("not.a.JWT_at_all".to_owned(), "token_malformed"),
        ] {
            let bad = explained(&licences, &token, &[]).await;
            assert!(!bad.is_good);
            assert_eq!(bad.document["signed_by"]["code"], code, "{}", bad.document);
            assert_eq!(bad.document["policy"]["code"], code);
        }
    }

    #[tokio::test]
    async fn keys_that_an_issuer_publishes_are_fetched() {
        use std::io::Write;

        let signer = Signer::EdDsa([5; 32]);
        let jwks = json!({"keys": [signer.jwk("published").unwrap()]}).to_string();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let issuer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            let length = jwks.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{jwks}"
            )
            .unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let claims = claims(json!([{"keys": "*"}]));
        let token = signer.token(Some("published"), &claims, &mut random::system());
        let licences = deployment(&[("token_keys", &url)]);
        let good = explained(&licences, &token.unwrap(), &["movie-1"]).await;
        assert!(good.is_good, "{}", good.document);
        assert_eq!(
            good.document["signed_by"]["key"],
            json!({"place": 0, "kid": "published", "published": true})
        );
        assert!(issuer.join().unwrap().starts_with("GET /keys HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn tokens_that_the_server_makes_are_its_own() {
        let secret = "a secret of the deployment's own, of 48 letters.";
        let licences = deployment(&[("server_secret", secret)]);
        let wanted = json!({"entitlements": [{"keys": ["movie-1"]}]});
        let minted = licences
            .mint_for_operator("request-1", &wanted)
            .await
            .unwrap();
        let own = explained(&licences, &minted.token, &["movie-1"]).await;
        assert!(own.is_good, "{}", own.document);
        assert_eq!(own.document["dialect"], "keylet");
        assert_eq!(own.document["signed_by"], json!({"key": "server_secret"}));

        let other = deployment(&[(
            "server_secret",
            "another secret of the same length as that one...",
        )]);
        let foreign = explained(&other, &minted.token, &["movie-1"]).await;
        assert_eq!(foreign.document["signed_by"]["code"], "token_signature");
    }

    #[tokio::test]
    async fn imported_policies_accept_what_the_command_line_mints() {
        let exported = include_bytes!("../../../../tests/fixtures/content_key_policy.json");
        let imported = policies::import::import(exported, &[]).await.unwrap();
        let json = json!(imported.options).to_string();
        let licences = deployment(&[("policies", &json)]);
        let secret =
            imported.options[0]["restriction"]["primaryVerificationKey"]["keyValue"].as_str();
        let minted = |arguments: &[&str]| {
            let usual = [
                "--issuer=https://login.example.com/",
                "--audience=urn:example:player",
                "--azure",
            ];
            let arguments = [&usual, arguments].concat();
            super::super::mint::tests::token_of(secret.unwrap().as_bytes(), &arguments)
        };

        let id = &format!("--content-key-id={KEY_ID}");
        let rental = minted(&[id, "--claim=plan=rental", "--max-uses=4"]);
        let good = explained(&licences, &rental, &["movie-1"]).await;
        assert!(good.is_good, "{}", good.document);
        assert_eq!(good.document["dialect"], "azure");
        assert_eq!(
            good.document["signed_by"],
            json!({"option": "rental", "key": {"place": 0}})
        );
        let allowed = &good.document["allows"][0];
        assert_eq!(allowed["policy"], "rental");
        assert_eq!(
            allowed["terms"],
            json!({"persist": true, "storage_seconds": 2_592_000, "playback_seconds": 172_800, "max_uses": 4})
        );

        // Without the plan, the next option accepts it, which does not allow storing.
        let stream = explained(&licences, &minted(&[id]), &["movie-1"]).await;
        assert!(stream.is_good);
        assert_eq!(stream.document["allows"][0]["policy"], "movies-2");
        assert_eq!(stream.document["allows"][0]["terms"], json!({}));

        let wrong_key = explained(&licences, &rental, &["movie-2"]).await;
        assert!(!wrong_key.is_good);
        assert_eq!(wrong_key.document["allows"][0]["code"], "not_entitled");
        let no_key = explained(&licences, &minted(&[]), &["movie-1"]).await;
        assert!(!no_key.is_good);
        assert_eq!(no_key.document["policy"]["code"], "token_required_claim");
        let refused_by = no_key.document["policy"]["refused_by"].as_array().unwrap();
        assert_eq!(refused_by.len(), 3, "{}", no_key.document);
    }
}
