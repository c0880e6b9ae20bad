//! `keylet policies import`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use keylet::drm::DrmSystem;
use keylet::encoding;
use keylet::policy::azure::{self, Members};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::validate;
use crate::file::{self, read};

/// What is taken over, and where to.
#[derive(Args)]
pub struct Import {
    /// The document; `-` for standard input
    #[arg(value_name = "FILE|-")]
    document: PathBuf,
    /// File for the policies, for its owner only, since they hold secrets; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Of a list, this policy only; may be repeated
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<String>,
    /// Options that cannot be taken are no failure
    #[arg(long)]
    partial: bool,
}

pub fn run(arguments: &Import) -> Result<ExitCode> {
    let document = Zeroizing::new(read(&arguments.document)?);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let imported = runtime.block_on(import(&document, &arguments.policies))?;
    for line in &imported.report {
        eprintln!("{line}");
    }
    if !imported.options.is_empty() {
        let json = Zeroizing::new(format!("{:#}\n", json!(imported.options)));
        file::replace(&arguments.out, &json)?;
        arguments.tell_next(has_fairplay_credentials(&document));
    }
    let is_whole = imported.left_out == 0 || arguments.partial;
    Ok(match is_whole && !imported.options.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    })
}

impl Import {
    /// How the policies reach the server.
    fn tell_next(&self, has_credentials: bool) {
        let (out, document) = (self.out.display(), self.document.display());
        if self.out.as_os_str() != "-" {
            eprintln!("\nNext: give the server these policies as its variable `policies`, such as");
            eprintln!("  keylet serve --variable policies=@{out}");
        }
        if has_credentials && self.document.as_os_str() != "-" {
            eprintln!(
                "The FairPlay certificate, key and ASk of this document are not policies. For these:"
            );
            eprintln!("  keylet credentials import {document} --out .env");
        }
    }
}

/// Whether a document has a certificate beside the policies.
fn has_fairplay_credentials(document: &[u8]) -> bool {
    let text = encoding::text(document).map(|text| text.to_ascii_lowercase());
    text.is_some_and(|text| text.contains("\"fairplaypfx\""))
}

/// The result of an import.
pub struct Imported {
    /// The options, as `policies` has them.
    pub options: Vec<Value>,
    /// What was taken and what was not, without any secret.
    report: Vec<String>,
    /// How many options, or pages of them, are not among them.
    left_out: usize,
}

/// Takes over a document, or of its policies those that are named.
///
/// # Errors
/// A document that is invalid, or has no such policy.
pub async fn import(document: &[u8], named: &[String]) -> Result<Imported> {
    let document = encoding::text(document).context("the document is not text")?;
    let document = encoding::json(document.as_bytes());
    let document = document.map_err(|reason| anyhow!("the document: {reason}"))?;
    let exported = Exported::parse(&document)?;
    for name in named {
        let is_there = exported.policies.iter().any(|policy| policy.name == *name);
        ensure!(is_there, "the document has no policy {name:?}");
    }
    let is_wanted = |policy: &&Policy<'_>| named.is_empty() || named.contains(&policy.name);
    let policies: Vec<&Policy<'_>> = exported.policies.iter().filter(is_wanted).collect();

    let mut imported = Imported {
        options: Vec::new(),
        report: Vec::new(),
        left_out: 0,
    };
    if exported.goes_on && named.is_empty() {
        imported.left_out += 1;
        imported.report.push(
            "left out: the policies of the following pages, of which the document has only the link"
                .to_owned(),
        );
    }
    let mut names: Vec<String> = Vec::new();
    for policy in &policies {
        for (index, option) in policy.options.iter().enumerate() {
            let label = format!("policy {:?}, option {}", policy.name, index + 1);
            let mut say = |line: String| imported.report.push(format!("{label}: {line}"));
            let taken = match Taken::parse(option, policies.len() > 1) {
                Ok(taken) => taken,
                Err(reason) => {
                    say(format!("left out: {reason}"));
                    imported.left_out += 1;
                    continue;
                }
            };
            let own = Members::parse(option).ok().and_then(|o| o.text("name"));
            let name = free_name(own, &policy.name, index, &names);
            let option = taken.option(&name);
            if let Err(reason) = validate(std::slice::from_ref(&option)).await {
                say(format!("left out: {reason}"));
                imported.left_out += 1;
                continue;
            }
            if own != Some(name.as_str()) {
                say(format!("it is called {name:?} from now on"));
            }
            say(format!("taken: {}", taken.summary.join("; ")));
            for line in &taken.mapped {
                say(format!("mapped: {line}"));
            }
            for line in &taken.not_taken {
                say(format!("not taken: {line}"));
            }
            for line in &taken.notes {
                say(format!("note: {line}"));
            }
            names.push(name);
            imported.options.push(option);
        }
    }
    if policies.len() > 1 && !imported.options.is_empty() {
        imported.report.push(
            "note: there a policy holds for the keys of its locators; here each option holds for every key, \
             so that a token which does not name its key opens those of the other policies too"
                .to_owned(),
        );
    }
    if !imported.options.is_empty() {
        validate(&imported.options)
            .await
            .map_err(|reason| anyhow!("the policies together: {reason}"))?;
    }
    Ok(imported)
}

/// The name of an option: its own where no other has it, else one of its policy's.
fn free_name(own: Option<&str>, policy: &str, index: usize, names: &[String]) -> String {
    let numbered = format!("{policy}-{}", index + 1);
    let name = match own {
        Some(own) if names.iter().all(|name| name != own) => own.to_owned(),
        Some(own) => format!("{policy}-{own}"),
        None => numbered.clone(),
    };
    // The last resort is still free: of one policy there is one option at a place.
    [name, numbered]
        .into_iter()
        .find(|name| !names.contains(name))
        .unwrap_or_else(|| format!("{policy}-{}-{}", index + 1, names.len()))
}

/// What a document has.
struct Exported<'a> {
    policies: Vec<Policy<'a>>,
    /// Whether there are more, elsewhere.
    goes_on: bool,
}

struct Policy<'a> {
    name: String,
    options: &'a [Value],
}

impl<'a> Exported<'a> {
    /// A policy, its properties alone, or a list of them, bare or in `value`.
    fn parse(document: &'a Value) -> Result<Self> {
        let members = Members::parse(document);
        let list = members.as_ref().ok().and_then(|m| m.get("value"));
        let policies = match list.unwrap_or(document) {
            Value::Array(list) => list.iter().collect(),
            one => vec![one],
        };
        ensure!(!policies.is_empty(), "the document has no policy");
        let goes_on = members.is_ok_and(|m| m.get("@odata.nextLink").is_some());
        let policies = policies
            .into_iter()
            .enumerate()
            .map(|(index, policy)| {
                Policy::parse(policy, index)
                    .with_context(|| format!("policy {} of the document", index + 1))
            })
            .collect::<Result<_>>()?;
        Ok(Self { policies, goes_on })
    }
}

impl<'a> Policy<'a> {
    fn parse(policy: &'a Value, index: usize) -> Result<Self> {
        let policy = Members::parse(policy).map_err(|reason| anyhow!(reason))?;
        let properties = match policy.get("properties") {
            Some(properties) => Members::parse(properties).map_err(|reason| anyhow!(reason))?,
            None => policy.clone(),
        };
        let Some(Value::Array(options)) = properties.get("options") else {
            bail!("it has no list `options`, so it is no content key policy");
        };
        let name = policy.text("name").map(ToOwned::to_owned);
        Ok(Self {
            name: name.unwrap_or_else(|| format!("policy-{}", index + 1)),
            options,
        })
    }
}

/// What is taken of an option.
#[derive(Default)]
struct Taken {
    restriction: Value,
    drm: Map<String, Value>,
    /// Where the option lets its viewers have keys without a word of their tokens.
    terms: Option<Value>,
    summary: Vec<String>,
    /// Members of the configuration that are terms here.
    mapped: Vec<String>,
    not_taken: Vec<String>,
    notes: Vec<String>,
}

impl Taken {
    /// Reads an option, of one policy or of several.
    ///
    /// # Errors
    /// Why it is left out.
    fn parse(option: &Value, of_several: bool) -> Result<Self, String> {
        let option = Members::parse(option)?;
        option.only(&["policyOptionId", "name", "configuration", "restriction"])?;
        let part = |name: &str| {
            let part = option.get(name).ok_or(format!("it has no `{name}`"))?;
            Members::parse(part).map_err(|reason| format!("`{name}`: {reason}"))
        };
        let mut taken = Self::default();
        taken
            .restrict(&part("restriction")?, of_several)
            .map_err(|reason| format!("its restriction: {reason}"))?;
        taken
            .configure(&part("configuration")?)
            .map_err(|reason| format!("its configuration: {reason}"))?;
        Ok(taken)
    }

    fn option(&self, name: &str) -> Value {
        let mut option = json!({"name": name, "restriction": self.restriction});
        if let Some(terms) = &self.terms {
            option["terms"] = terms.clone();
        }
        option["drm"] = Value::Object(self.drm.clone());
        option
    }

    fn restrict(&mut self, restriction: &Members<'_>, of_several: bool) -> Result<(), String> {
        match restriction.kind()? {
            "ContentKeyPolicyOpenRestriction" if of_several => Err(
                "it is open, and of several policies: there it holds for the keys of its policy, here it \
                 would open those of the others too. Import it alone, with --policy"
                    .to_owned(),
            ),
            "ContentKeyPolicyOpenRestriction" => {
                restriction.only(&["@odata.type"])?;
                self.restriction = json!("open");
                self.summary.push("open: no token is needed".to_owned());
                self.notes
                    .push("anyone gets every key of `content_keys` by it".to_owned());
                Ok(())
            }
            "ContentKeyPolicyTokenRestriction" => self.restrict_to_tokens(restriction),
            "ContentKeyPolicyUnknownRestriction" => Err(
                "the version of the API that exported it does not know what it is".to_owned(),
            ),
            other => Err(format!("there is no {other:?} here")),
        }
    }

    fn restrict_to_tokens(&mut self, restriction: &Members<'_>) -> Result<(), String> {
        restriction.only(&[
            "@odata.type",
            "issuer",
            "audience",
            "primaryVerificationKey",
            "alternateVerificationKeys",
            "requiredClaims",
            "restrictionTokenType",
            "openIdConnectDiscoveryDocument",
        ])?;
        match restriction.optional_text("restrictionTokenType")? {
            None => {}
            Some(kind) if kind.eq_ignore_ascii_case("jwt") => {}
            Some(kind) if kind.eq_ignore_ascii_case("swt") => {
                return Err(
                    "Simple Web Tokens (SWT) are not read; have the issuer make JWTs".to_owned(),
                );
            }
            Some(_) => return Err("its tokens are no JWTs".to_owned()),
        }
        let mut converted = Map::new();
        for name in ["issuer", "audience"] {
            let text = restriction
                .text(name)
                .ok_or(format!("it has no `{name}`"))?;
            // Here `*` and lists mean more than text.
            let value = match text == "*" || text.starts_with('[') {
                true => json!([text]),
                false => json!(text),
            };
            self.summary.push(format!("{name} {text:?}"));
            converted.insert(name.to_owned(), value);
        }

        let mut kinds = Vec::new();
        if let Some(key) = restriction.get("primaryVerificationKey") {
            let key = verification_key(key, &mut kinds)
                .map_err(|reason| format!("`primaryVerificationKey`: {reason}"))?;
            converted.insert("primaryVerificationKey".to_owned(), key);
        }
        if let Some(keys) = restriction.get("alternateVerificationKeys") {
            let keys = keys.as_array().map(|keys| {
                let keys = keys.iter().map(|key| verification_key(key, &mut kinds));
                keys.collect::<Result<Vec<_>, _>>()
            });
            let keys = keys
                .unwrap_or_else(|| Err("it is not a list".to_owned()))
                .map_err(|reason| format!("`alternateVerificationKeys`: {reason}"))?;
            if !keys.is_empty() {
                converted.insert("alternateVerificationKeys".to_owned(), json!(keys));
            }
        }
        if !kinds.is_empty() {
            self.summary.push(format!("keys: {}", kinds.join(", ")));
        }

        if let Some(claims) = restriction.get("requiredClaims") {
            let claims = claims.as_array().ok_or("`requiredClaims` is not a list")?;
            let claims = claims.iter().map(required_claim);
            let claims = claims.collect::<Result<Vec<_>, String>>()?;
            let names: Vec<String> = claims.iter().map(|c| c["claimType"].to_string()).collect();
            if !names.is_empty() {
                self.summary.push(format!("required: {}", names.join(", ")));
                converted.insert("requiredClaims".to_owned(), json!(claims));
            }
        }
        if let Some(url) = restriction.optional_text("openIdConnectDiscoveryDocument")? {
            self.summary.push("keys by OpenID discovery".to_owned());
            self.notes.push(
                "the host of `openIdConnectDiscoveryDocument`, and that of its `jwks_uri`, must be in \
                 `allowed_outbound_hosts`"
                    .to_owned(),
            );
            converted.insert("openIdConnectDiscoveryDocument".to_owned(), json!(url));
        }
        self.restriction = Value::Object(converted);
        Ok(())
    }

    fn configure(&mut self, configuration: &Members<'_>) -> Result<(), String> {
        match configuration.kind()? {
            "ContentKeyPolicyFairPlayConfiguration" => self.configure_fairplay(configuration),
            "ContentKeyPolicyWidevineConfiguration" => {
                configuration.only(&["@odata.type", "widevineTemplate"])?;
                self.configure_service(DrmSystem::Widevine, configuration, &["widevineTemplate"])
            }
            "ContentKeyPolicyPlayReadyConfiguration" => {
                configuration.only(&["@odata.type", "licenses", "responseCustomData"])?;
                let names = ["licenses", "responseCustomData"];
                self.configure_service(DrmSystem::PlayReady, configuration, &names)
            }
            "ContentKeyPolicyClearKeyConfiguration" => {
                configuration.only(&["@odata.type"])?;
                for system in ["clearkey", "aes128"] {
                    self.drm.insert(system.to_owned(), json!({}));
                }
                self.terms = Some(json!({}));
                self.summary
                    .push("keys in the clear: ClearKey and AES-128".to_owned());
                Ok(())
            }
            "ContentKeyPolicyUnknownConfiguration" => {
                Err("the version of the API that exported it does not know what it is".to_owned())
            }
            other => Err(format!("there is no {other:?} here")),
        }
    }

    fn configure_fairplay(&mut self, configuration: &Members<'_>) -> Result<(), String> {
        configuration.only(&[
            "@odata.type",
            "ask",
            "fairPlayPfx",
            "fairPlayPfxPassword",
            "rentalAndLeaseKeyType",
            "rentalDuration",
            "offlineRentalConfiguration",
        ])?;
        let kind = configuration.text("rentalAndLeaseKeyType");
        let kind = kind.ok_or("it has no `rentalAndLeaseKeyType`")?;
        let mut converted = Map::from_iter([("rentalAndLeaseKeyType".to_owned(), json!(kind))]);
        let mut unused = Vec::new();
        if let Some(duration) = configuration.get("rentalDuration") {
            if kind != "PersistentLimited" && *duration != 0 {
                unused.push("`rentalDuration`");
            }
            converted.insert("rentalDuration".to_owned(), duration.clone());
        }
        if let Some(offline) = configuration.get("offlineRentalConfiguration") {
            let names = ["playbackDurationSeconds", "storageDurationSeconds"];
            let offline = Members::parse(offline)?;
            offline.only(&names)?;
            let durations: Map<String, Value> = names
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), offline.get(name)?.clone())))
                .collect();
            if kind != "DualExpiry" && durations.values().any(|duration| *duration != 0) {
                unused.push("`offlineRentalConfiguration`");
            }
            converted.insert("offlineRentalConfiguration".to_owned(), json!(durations));
        }
        self.drm.insert("fairplay".to_owned(), json!(converted));
        self.summary.push(format!("FairPlay, {kind}"));
        if !unused.is_empty() {
            self.notes.push(format!(
                "{} means nothing with {kind}, there as here",
                unused.join(" and ")
            ));
        }
        let from = |name: &str| match configuration.text(name) {
            Some(_) => "",
            None => " (not in this document either)",
        };
        self.not_taken.push(format!(
            "`ask`{}: `keylet credentials import` of this document takes it, to `fairplay_ask`",
            from("ask")
        ));
        self.not_taken.push(format!(
            "`fairPlayPfx` and `fairPlayPfxPassword`{}: `keylet credentials import` of this document takes certificate \
             and private key, to `fairplay_certificate` and `fairplay_private_key`",
            from("fairPlayPfx")
        ));
        Ok(())
    }

    /// A system whose licences a licence service makes: the library reads its configuration as it was exported. One that
    /// says nothing grants everything, there as here.
    fn configure_service(
        &mut self,
        system: DrmSystem,
        configuration: &Members<'_>,
        names: &[&str],
    ) -> Result<(), String> {
        let members = names.iter().filter_map(|name| {
            let value = configuration.get(name).filter(|value| *value != "")?;
            Some(((*name).to_owned(), typed(value)))
        });
        let converted = Value::Object(members.collect());
        let read = azure::read(system, &converted)?;
        self.summary.push(system.title().to_owned());
        for note in read.mapped {
            self.mapped
                .push(format!("`{}` is {}", note.field, note.what));
        }
        for note in read.not_taken {
            self.not_taken
                .push(format!("`{}`: {}", note.field, note.what));
        }
        if read.terms.is_none() {
            self.terms = Some(json!({}));
        }
        self.drm.insert(system.name().to_owned(), converted);
        Ok(())
    }
}

/// The same value, where the name of each type stands in `@odata.type`.
fn typed(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(typed).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let is_type = ["odatatype", "odata.type"]
                    .iter()
                    .any(|other| name.eq_ignore_ascii_case(other));
                let name = if is_type { "@odata.type" } else { name };
                (name.to_owned(), typed(value))
            });
            Value::Object(members.collect())
        }
        value => value.clone(),
    }
}

/// A key; its kind is added to `kinds`.
fn verification_key(key: &Value, kinds: &mut Vec<&'static str>) -> Result<Value, String> {
    let key = Members::parse(key)?;
    key.only(&["@odata.type", "keyValue", "exponent", "modulus", "rawBody"])?;
    let part = |name: &str| key.optional_text(name);
    let parts = (
        part("keyValue")?,
        part("modulus")?,
        part("exponent")?,
        part("rawBody")?,
    );
    let (kind, value) = match parts {
        (Some(key), None, None, None) => ("symmetric", json!({"keyValue": key})),
        (None, Some(modulus), Some(exponent), None) => {
            ("RSA", json!({"modulus": modulus, "exponent": exponent}))
        }
        (None, None, None, Some(body)) => ("X.509", json!({"rawBody": body})),
        (None, None, None, None) => {
            return Err(
                "it is empty, since the document was exported without its secrets: export it with \
                 getPolicyPropertiesWithSecrets (`az ams content-key-policy show --with-secrets`)"
                    .to_owned(),
            );
        }
        _ => {
            let reason = "it is none of `keyValue`, `modulus` with `exponent`, and `rawBody`";
            return Err(reason.to_owned());
        }
    };
    kinds.push(kind);
    Ok(value)
}

fn required_claim(claim: &Value) -> Result<Value, String> {
    let members = Members::parse(claim)?;
    members.only(&["claimType", "claimValue"])?;
    let kind = members.text("claimType");
    let mut claim = json!({"claimType": kind.ok_or("a required claim has no `claimType`")?});
    if let Some(value) = members.optional_text("claimValue")? {
        claim["claimValue"] = json!(value);
    }
    Ok(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy as the API exports it, made up, with an option for everything that is taken or not.
    const EXPORTED: &str = include_str!("../../../tests/fixtures/content_key_policy.json");

    async fn imported(document: &Value) -> Imported {
        import(document.to_string().as_bytes(), &[]).await.unwrap()
    }

    fn exported() -> Value {
        serde_json::from_str(EXPORTED).unwrap()
    }

    fn names(imported: &Imported) -> Vec<&str> {
        let options = imported.options.iter();
        options
            .map(|option| option["name"].as_str().unwrap())
            .collect()
    }

    /// The lines about an option, counted from 1.
    fn about(imported: &Imported, index: usize) -> String {
        let label = format!("option {index}: ");
        let lines = imported.report.iter().filter(|line| line.contains(&label));
        lines.map(|line| format!("{line}\n")).collect()
    }

    #[tokio::test]
    async fn an_exported_policy_becomes_options_in_their_order() {
        let imported = imported(&exported()).await;
        assert_eq!(
            names(&imported),
            [
                "rental",
                "movies-2",
                "by discovery",
                "android",
                "windows",
                "envelope"
            ]
        );
        let [rental, unnamed, discovery, android, windows, envelope] = imported.options.as_slice()
        else {
            panic!()
        };
        assert_eq!(
            rental["drm"],
            json!({"fairplay": {
                "rentalAndLeaseKeyType": "DualExpiry",
                "rentalDuration": 0,
                "offlineRentalConfiguration": {"playbackDurationSeconds": 172_800, "storageDurationSeconds": 2_592_000},
            }})
        );
        let restriction = &rental["restriction"];
        assert_eq!(restriction["issuer"], "https://login.example.com/");
        let alternates = restriction["alternateVerificationKeys"].as_array().unwrap();
        assert!(alternates[0]["modulus"].is_string() && alternates[1]["rawBody"].is_string());
        assert_eq!(
            restriction["requiredClaims"],
            json!([
                {"claimType": "urn:microsoft:azure:mediaservices:contentkeyidentifier"},
                {"claimType": "plan", "claimValue": "rental"},
            ])
        );
        assert!(
            unnamed["restriction"]
                .get("alternateVerificationKeys")
                .is_none()
        );
        assert!(discovery["restriction"]["openIdConnectDiscoveryDocument"].is_string());
        // What Widevine and PlayReady restrict is taken as it was exported, and grants what it says.
        assert!(android.get("terms").is_none() && windows.get("terms").is_none());
        assert!(android["drm"]["widevine"]["widevineTemplate"].is_string());
        assert_eq!(
            windows["drm"]["playready"]["licenses"][0]["securityLevel"],
            "SL2000"
        );
        assert_eq!(envelope["terms"], json!({}));
        assert_eq!(envelope["drm"], json!({"clearkey": {}, "aes128": {}}));
    }

    #[tokio::test]
    async fn what_is_not_taken_is_reported_and_never_with_a_secret() {
        let imported = imported(&exported()).await;
        for (index, parts) in [
            (
                1,
                &[
                    "taken: ",
                    "symmetric, RSA, X.509",
                    "`fairplay_ask`",
                    "`keylet credentials import`",
                ][..],
            ),
            (2, &["\"movies-2\"", "`rentalDuration` means nothing"]),
            (3, &["OpenID", "`allowed_outbound_hosts`"]),
            (
                4,
                &[
                    "mapped: `policy_overrides.license_duration_seconds` is `lease_seconds` 300",
                    "mapped: `content_key_specs` is track sd: `min_security_level` audio",
                    "mapped: `allowed_track_types` is track uhd: not allowed",
                ],
            ),
            (
                5,
                &[
                    "mapped: `securityLevel` is `min_security_level` baseline",
                    "mapped: `expirationDate` is `not_after` 1893456000",
                    "not taken: `allowTestDevices`: ",
                ],
            ),
            (6, &["AES-128"]),
            (7, &["left out: ", "Simple Web Tokens"]),
            (8, &["left out: ", "getPolicyPropertiesWithSecrets"]),
            (9, &["left out: ", "has 9 bytes"]),
            (10, &["left out: ", "configuration"]),
            (11, &["left out: ", "restriction"]),
            (12, &["left out: ", "`rentalAndLeaseKeyType`"]),
            (13, &["left out: ", "\"allowedCountries\" is not known"]),
        ] {
            let lines = about(&imported, index);
            for part in parts {
                assert!(lines.contains(part), "{index}: {part}: {lines}");
            }
        }
        assert_eq!(imported.left_out, 7);

        let report = imported.report.join("\n");
        let mut secrets = 0;
        let mut pending = vec![exported()];
        while let Some(value) = pending.pop() {
            match value {
                Value::Array(list) => pending.extend(list),
                Value::Object(members) => {
                    for (name, value) in members {
                        let is_secret = ["keyValue", "ask", "fairPlayPfx", "fairPlayPfxPassword"];
                        match value.as_str() {
                            Some(text) if is_secret.contains(&name.as_str()) => {
                                assert!(!report.contains(text), "{name}");
                                secrets += 1;
                            }
                            _ => pending.push(value),
                        }
                    }
                }
                _ => {}
            }
        }
        assert!(secrets > 30, "{secrets}");
    }

    #[tokio::test]
    async fn every_form_of_export_comes_to_the_same() {
        let whole = exported();
        let expected = imported(&whole).await.options;

        let list = json!({"value": [whole]});
        assert_eq!(imported(&list).await.options, expected);
        let bare = json!([whole]);
        assert_eq!(imported(&bare).await.options, expected);

        // The command line lays the properties beside the name, and has no `@` in its names.
        let mut flat = whole["properties"].clone();
        flat["name"] = whole["name"].clone();
        for spelling in ["odataType", "odatatype"] {
            let text = flat.to_string().replace("@odata.type", spelling);
            let flat = serde_json::from_str(&text).unwrap();
            assert_eq!(imported(&flat).await.options, expected, "{spelling}");
        }

        let with_secrets = imported(&whole["properties"]).await.options;
        assert_eq!(with_secrets[1]["name"], "policy-1-2");
        assert_eq!(with_secrets[0], expected[0]);

        let utf16 = EXPORTED.encode_utf16().flat_map(u16::to_le_bytes);
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16).collect();
        assert_eq!(import(&utf16, &[]).await.unwrap().options, expected);
    }

    /// One policy with an option for each system, as three tools write it.
    const SPELLINGS: [(&str, &[u8]); 3] = [
        (
            "REST",
            include_bytes!("../../../../fixtures/policies/azure-rest.json"),
        ),
        (
            ".NET",
            include_bytes!("../../../../fixtures/policies/azure-dotnet.json"),
        ),
        (
            "Azure CLI",
            include_bytes!("../../../../fixtures/policies/azure-cli.json"),
        ),
    ];

    #[tokio::test]
    async fn all_four_systems_come_to_the_same_terms_in_every_spelling() {
        let mut reports = Vec::new();
        for (tool, document) in SPELLINGS {
            let imported = import(document, &[]).await.unwrap();
            assert_eq!(imported.left_out, 0, "{tool}: {:?}", imported.report);
            assert_eq!(
                names(&imported),
                ["fairplay", "playready", "widevine", "clearkey"],
                "{tool}"
            );
            for (index, system) in [(1, DrmSystem::PlayReady), (2, DrmSystem::Widevine)] {
                let configuration = &imported.options[index]["drm"][system.name()];
                let terms = azure::read(system, configuration).unwrap().terms.unwrap();
                assert_eq!(terms.persist, Some(true), "{tool}");
                assert_eq!(terms.storage_seconds, Some(2_592_000), "{tool}");
                assert_eq!(terms.playback_seconds, Some(172_800), "{tool}");
            }
            let lines = about(&imported, 2);
            for line in [
                "taken: ",
                "PlayReady",
                "mapped: `relativeExpirationDate` is `storage_seconds` 2592000",
                "mapped: `expirationDate` is `not_after` 1893456000",
                "mapped: `analogVideoOpl` is 150, which the licence service is told",
                "not taken: `explicitAnalogTelevisionOutputRestriction`: it is kept by best effort",
            ] {
                assert!(lines.contains(line), "{tool}: {line}: {lines}");
            }
            let lines = about(&imported, 3);
            for line in [
                "mapped: `content_key_specs` is track hd: `min_security_level` baseline, `hdcp` type1",
                "mapped: `allowed_track_types` is track uhd: not allowed",
                "not taken: `provider`: ",
            ] {
                assert!(lines.contains(line), "{tool}: {line}: {lines}");
            }
            assert!(!imported.report.join("\n").contains("widevine_test"));
            reports.push(imported.report);
        }
        assert_eq!(reports[0], reports[1]);
        assert_eq!(reports[0], reports[2]);
    }

    #[tokio::test]
    async fn an_option_whose_restrictions_nothing_keeps_is_left_out_by_the_name_of_the_member() {
        let mut document: Value = serde_json::from_slice(SPELLINGS[0].1).unwrap();
        let options = &mut document["properties"]["options"];
        options[1]["configuration"]["licenses"][0]["playRight"]["digitalVideoOnlyContentRestriction"] =
            json!(true);
        options[2]["configuration"]["widevineTemplate"] =
            json!(r#"{"policy_overrides": {"can_play": false}}"#);
        let imported = imported(&document).await;
        assert_eq!(names(&imported), ["fairplay", "clearkey"]);
        assert_eq!(imported.left_out, 2);
        let lines = about(&imported, 2);
        assert!(
            lines.contains("left out: its configuration: ")
                && lines.contains("`digitalVideoOnlyContentRestriction`"),
            "{lines}"
        );
        let lines = about(&imported, 3);
        assert!(
            lines.contains("`widevineTemplate`: `policy_overrides`: `can_play` is false"),
            "{lines}"
        );
    }

    #[tokio::test]
    async fn an_open_option_is_taken_from_a_policy_that_stands_alone() {
        let mut open = exported();
        open["name"] = json!("trailers");
        open["properties"]["options"] = json!([{
            "policyOptionId": "c0ffee00-0000-4000-8000-000000000099",
            "name": null,
            "configuration": {"@odata.type": "#Microsoft.Media.ContentKeyPolicyClearKeyConfiguration"},
            "restriction": {"@odata.type": "#Microsoft.Media.ContentKeyPolicyOpenRestriction"},
        }]);
        let alone = imported(&open).await;
        assert_eq!(alone.options[0]["restriction"], "open");
        assert_eq!(alone.left_out, 0);
        assert!(about(&alone, 1).contains("anyone gets every key"));

        let both =
            json!({"value": [exported(), open], "@odata.nextLink": "https://management.example/2"});
        let imported = imported(&both).await;
        assert_eq!(imported.options.len(), 6);
        assert_eq!(imported.left_out, 7 + 1 + 1);
        assert!(about(&imported, 1).contains("Import it alone"));
        assert!(
            imported
                .report
                .iter()
                .any(|line| line.contains("following pages"))
        );

        let document = both.to_string();
        let named = |name: &str| vec![name.to_owned()];
        let one = import(document.as_bytes(), &named("trailers"))
            .await
            .unwrap();
        assert_eq!(names(&one), ["trailers-1"]);
        assert!(import(document.as_bytes(), &named("others")).await.is_err());
    }

    #[tokio::test]
    async fn options_of_one_name_are_told_apart() {
        let mut twice = exported();
        let first = twice["properties"]["options"][0].clone();
        twice["properties"]["options"] = json!([first, first, first]);
        let imported = imported(&twice).await;
        assert_eq!(names(&imported), ["rental", "movies-rental", "movies-3"]);
    }

    #[tokio::test]
    async fn documents_that_are_no_policies_are_refused() {
        for document in [
            "",
            "[]",
            "{}",
            r#"{"value": []}"#,
            r#"{"properties": {"options": 1}}"#,
            r#"{"options": [], "options": []}"#,
        ] {
            assert!(
                import(document.as_bytes(), &[]).await.is_err(),
                "{document}"
            );
        }
    }
}
