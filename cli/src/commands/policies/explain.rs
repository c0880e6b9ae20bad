//! `keylet policies explain`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use http::HeaderMap;
use keylet::content_key::{ContentKey, Found, KeyQuery, KeyRecord};
use keylet::drm::DrmSystem;
use keylet::encoding;
use keylet::entitlement::{self, Granted, Terms};
use keylet::fairplay::client::{Capabilities, Client, MediaPlaybackState, PlaybackState};
use keylet::fairplay::duration::{Duration, key_type};
use keylet::id::Id;
use keylet::licence::{self, LicenceServer, Principal};
use keylet::platform::Platform;
use keylet::playready;
use keylet::policy::{Admission, PolicyOption, azure};
use keylet::token::{self, POLICIES};
use keylet::track::Track;
use keylet::widevine;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::commands::device::explain_settings;
use crate::commands::token::explain::{depends_on, refusal, terms_of};
use crate::file::secret;
use crate::settings::Settings;
use crate::terminal;
use keylet_host::{Assignment, provided};

/// The option, and for whom it is explained.
#[derive(Args)]
pub struct Explain {
    /// Name of the policy option
    #[arg(value_name = "POLICY")]
    policy: String,
    /// A token that the option lets in, or `-` for standard input: its terms are met together with the option's
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// One DRM system only: fairplay, widevine, playready, clearkey or aes128
    #[arg(long, value_name = "SYSTEM", value_parser = system)]
    system: Option<DrmSystem>,
    /// Id or KID of a content key, whose record has a track and terms
    #[arg(long, value_name = "ID")]
    content_key: Option<String>,
    /// An application variable: name=value, or name=@file
    #[arg(long = "variable", value_name = "NAME=VALUE|NAME=@FILE")]
    variables: Vec<Assignment>,
    /// The answer as JSON, on a terminal too
    #[arg(long)]
    json: bool,
}

fn system(name: &str) -> Result<DrmSystem, String> {
    DrmSystem::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = DrmSystem::all().map(DrmSystem::name).collect();
        format!("it is not a DRM system: use one of {}", names.join(", "))
    })
}

pub fn run(arguments: &Explain) -> Result<ExitCode> {
    let token = match arguments.token.as_deref() {
        None => None,
        Some("-") => Some(secret(Path::new("-"))?),
        Some(token) => Some(Zeroizing::new(token.to_owned())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let question = Question {
        licences: LicenceServer::new(Settings(provided(&arguments.variables, None)?)),
        policy: &arguments.policy,
        token: token.as_deref().map(|token| token.trim()),
        system: arguments.system,
        content_key: arguments.content_key.as_deref(),
    };
    let document = runtime.block_on(question.explain())?;
    match terminal::is_for_people(arguments.json) {
        true => show(&document),
        false => terminal::print_json(&document)?,
    }
    Ok(match is_good(&document) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Whether each system has a key that would be given.
fn is_good(document: &Value) -> bool {
    let systems = document["systems"].as_array();
    systems.into_iter().flatten().all(|system| {
        let mut keys = system["keys"].as_array().into_iter().flatten();
        keys.any(|key| key.get("terms").is_some())
    })
}

/// What is asked.
struct Question<'a> {
    licences: LicenceServer<Settings>,
    policy: &'a str,
    token: Option<&'a str>,
    system: Option<DrmSystem>,
    content_key: Option<&'a str>,
}

impl Question<'_> {
    /// The terms of each system of the option, and what each system makes of them.
    ///
    /// # Errors
    /// Settings that do not load, an option or a key that there is not, and an option that is not for the system.
    async fn explain(&self) -> Result<Value> {
        let policies = self.licences.policies().await;
        let policies = policies.map_err(|error| explain_settings(&error))?;
        let mut options = policies.options().iter();
        let option = options
            .find(|option| option.name == self.policy)
            .with_context(|| {
                let names = policies.options().iter().map(|o| format!("{:?}", o.name));
                let names: Vec<String> = names.collect();
                format!(
                    "there is no policy option {:?}; there are {}",
                    self.policy,
                    names.join(", ")
                )
            })?;
        if let Some(system) = self.system {
            let title = system.title();
            ensure!(
                option.is_for(system),
                "the policy option is not for {title}"
            );
        }
        let key = self.key().await?;
        let configurations = self.configurations().await?;
        let systems = DrmSystem::all().filter(|system| {
            option.is_for(*system) && self.system.is_none_or(|asked| asked == *system)
        });
        let mut explained = Vec::new();
        for system in systems {
            let mut entry = json!({"system": system.name()});
            entry["keys"] = json!(self.explain_system(system, option, key.as_deref()).await?);
            let configuration = configurations.get(system.name());
            let notes = configuration.map(|members| azure::report(system, members));
            let notes: Vec<Value> = { notes.into_iter().flatten() }
                .map(|note| json!({"member": note.field, "why": note.what}))
                .collect();
            if !notes.is_empty() {
                entry["not_taken"] = json!(notes);
            }
            explained.push(entry);
        }
        Ok(json!({"policy": option.name, "systems": explained}))
    }

    /// The record of the key that is asked about.
    async fn key(&self) -> Result<Option<Rc<ContentKey>>> {
        let Some(text) = self.content_key else {
            return Ok(None);
        };
        let id = Id::from_text(text).context("--content-key is empty")?;
        let query = KeyQuery::from_id(id);
        let platform = self.licences.platform();
        match self.licences.keys().find(&query, platform).await {
            Ok(Found::Key(key)) => Ok(Some(key)),
            Ok(Found::Deleted | Found::NotHere | Found::Off) => {
                bail!("there is no content key {text:?} in the variables of this machine")
            }
            Err(error) => Err(anyhow!("{}", licence::Error::from(error).for_operator())),
        }
    }

    /// What the option has in `drm`, as it is written.
    async fn configurations(&self) -> Result<Map<String, Value>> {
        let text = self.licences.platform().variable(POLICIES).await?;
        let options = match &text {
            None => Vec::new(),
            Some(text) => encoding::json_list(text.as_bytes()).map_err(|e| anyhow!("{e}"))?,
        };
        let mut options = options.into_iter();
        let mut option = options.find(|option| option["name"] == self.policy);
        let drm = option.as_mut().and_then(|option| option.get_mut("drm"));
        Ok(match drm.map(Value::take) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        })
    }

    /// An entry for the key that is asked about; else one for keys without a track, and one for each kind of track that
    /// has other terms.
    async fn explain_system(
        &self,
        system: DrmSystem,
        option: &PolicyOption,
        key: Option<&ContentKey>,
    ) -> Result<Vec<Value>> {
        let now = self.licences.platform().now();
        let viewer = match self.token {
            None => None,
            Some(token) => {
                let found = token::locate(&HeaderMap::new(), None, Some(token));
                match self.licences.admit(system, &found, now).await {
                    Ok(viewer) => Some(viewer),
                    Err(error) => return Ok(vec![refused(&error)]),
                }
            }
        };
        let admission = match &viewer {
            None => None,
            Some(viewer) => match admission_of(viewer, option) {
                Ok(admission) => Some(admission),
                Err(entry) => return Ok(vec![entry]),
            },
        };
        if let Some(key) = key {
            let mut entry = self.entry(system, option, admission, key, now).await;
            if let Some(track) = key.track {
                entry["track"] = json!(track.name());
            }
            return Ok(vec![entry]);
        }
        let mut entries = Vec::new();
        let id = Id::from_text("*").context("an id")?;
        for track in [None].into_iter().chain(Track::ALL.map(Some)) {
            let record = KeyRecord {
                track,
                ..KeyRecord::new(id.clone())
            };
            let mut entry = self.entry(system, option, admission, &record, now).await;
            // The first one stands for every track that has the same.
            if entries.first() == Some(&entry) {
                continue;
            }
            if let Some(track) = track {
                entry["track"] = json!(track.name());
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The terms for a key, and what the system makes of them; or why there are none.
    async fn entry(
        &self,
        system: DrmSystem,
        option: &PolicyOption,
        admission: Option<&Admission<'_>>,
        key: &KeyRecord,
        now: u64,
    ) -> Value {
        let granted = match self.terms(system, option, admission, key).await {
            Ok(terms) => terms.granted_at(now).map_err(licence::Error::from),
            Err(error) => Err(error),
        };
        let granted = match granted {
            Ok(granted) => granted,
            Err(error) => return refused(&error),
        };
        let mut entry = json!({"terms": terms_of(&granted)});
        let depends = depends_on(&granted, option.callback.is_some());
        if !depends.is_empty() {
            entry["depends_on"] = json!(depends);
        }
        let fields = system_fields(system, &granted, key, now);
        if !fields.is_empty() {
            let fields = fields.into_iter().map(|(name, text)| (name, json!(text)));
            entry["fields"] = Value::Object(fields.collect());
        }
        entry
    }

    /// Without a token: what the option, the key record and the deployment say.
    async fn terms(
        &self,
        system: DrmSystem,
        option: &PolicyOption,
        admission: Option<&Admission<'_>>,
        key: &KeyRecord,
    ) -> Result<Terms, licence::Error> {
        if let Some(admission) = admission {
            if !admission.is_for(key) {
                return Err(entitlement::Error::NotEntitled.into());
            }
            return self.licences.terms_for(system, admission, key).await;
        }
        let mut terms = key.terms.for_track(key.track)?.clone();
        for more in option.terms_for(system) {
            terms = terms.and(more.for_track(key.track)?);
        }
        let platform = self.licences.platform();
        match self.licences.modules().terms(system, platform).await? {
            Some(own) => Ok(terms.and(own.for_track(key.track)?)),
            None => Ok(terms),
        }
    }
}

/// The admission of a viewer by an option, or the entry that says why there is none.
fn admission_of<'v>(
    viewer: &'v Principal<'_>,
    option: &PolicyOption,
) -> Result<&'v Admission<'v>, Value> {
    let is_it = |admission: &&Admission<'_>| {
        let by = admission.option.map(|by| by.name.as_str());
        by == Some(option.name.as_str())
    };
    viewer.admissions().iter().find(is_it).ok_or_else(|| {
        let by = viewer.admissions().first().and_then(|access| access.option);
        let by = by.map_or("this deployment", |by| &by.name);
        json!({"refused": {"reason": format!("the token is let in by another option: {by:?}")}})
    })
}

fn refused(error: &licence::Error) -> Value {
    json!({"refused": refusal(error)})
}

/// What a system makes of terms: members of its licence, and their values. Those of PlayReady are the ones that Microsoft's
/// test server is told.
fn system_fields(
    system: DrmSystem,
    granted: &Granted,
    key: &KeyRecord,
    now: u64,
) -> Vec<(String, String)> {
    let fields = match system {
        DrmSystem::FairPlay => vec![("duration", fairplay_duration(granted, key))],
        DrmSystem::Widevine => return flattened(&widevine::license_fields(key, granted)),
        DrmSystem::PlayReady => playready::license_fields(&playready::Rights::new(granted, now)),
        DrmSystem::ClearKey | DrmSystem::Aes128 => {
            let kept = "nothing: the key leaves in the clear, and terms that a device would keep refuse it";
            vec![("kept by the device", kept.to_owned())]
        }
    };
    let fields = fields.into_iter();
    fields.map(|(name, text)| (name.to_owned(), text)).collect()
}

/// The members of a document by their paths, such as `policy_overrides.can_play`.
fn flattened(document: &Value) -> Vec<(String, String)> {
    let children: Vec<(String, &Value)> = match document {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(values) => values.iter().map(|value| (String::new(), value)).collect(),
        Value::String(text) => return vec![(String::new(), text.clone())],
        value => return vec![(String::new(), value.to_string())],
    };
    let children = children.into_iter().flat_map(|(name, value)| {
        flattened(value).into_iter().map(move |(rest, text)| {
            let dot = if name.is_empty() || rest.is_empty() {
                ""
            } else {
                "."
            };
            (format!("{name}{dot}{rest}"), text)
        })
    });
    children.collect()
}

/// The duration TLLV of a first licence for a device that has every capability.
fn fairplay_duration(granted: &Granted, key: &KeyRecord) -> String {
    let device = Client {
        playback: Some(MediaPlaybackState {
            date: 0,
            state: PlaybackState::First,
            session_id: 0,
        }),
        capabilities: Some(Capabilities(u64::MAX)),
        ..Client::default()
    };
    let seconds = |number: u32| match number {
        0 => "no limit".to_owned(),
        number => format!("{number} seconds"),
    };
    match Duration::choose(&granted.use_, &device, key) {
        Ok(None) => "none: it plays while the player has the key".to_owned(),
        Ok(Some(Duration::Key {
            lease,
            rental,
            key_type,
        })) => match key_type {
            key_type::LEASE => format!("lease, {}", seconds(lease)),
            key_type::RENTAL => format!("rental, {}", seconds(rental)),
            key_type::LEASE_AND_RENTAL => {
                format!("lease, {}; rental, {}", seconds(lease), seconds(rental))
            }
            key_type::PERSISTENCE_LIMITED => format!("persistence limited, {}", seconds(rental)),
            key_type::PERSISTENCE => "persistence".to_owned(),
            other => format!("key type {other:#010x}"),
        },
        Ok(Some(Duration::Offline {
            storage, playback, ..
        })) => {
            format!(
                "offline key, storage {}, playback {}",
                seconds(storage),
                seconds(playback)
            )
        }
        Err(error) => format!("refused: {error}"),
    }
}

/// A table for each system: the native terms, and the members of the system.
fn show(document: &Value) {
    let out = &mut terminal::stdout();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let _ = writeln!(
        out,
        "Policy option {}",
        terminal::Printable::new(text(&document["policy"]))
    );
    for system in list(&document["systems"]) {
        let named = system["system"].as_str().and_then(DrmSystem::from_name);
        let title = named.map_or("", DrmSystem::title);
        let _ = writeln!(out, "\n{title}");
        for key in list(&system["keys"]) {
            out.row(
                "track",
                key["track"].as_str().unwrap_or("every other, or none"),
            );
            if let Some(reason) = key["refused"]["reason"].as_str() {
                out.row("refused", terminal::Printable::new(reason));
            }
            for (part, title) in [("terms", "terms"), ("fields", "licence")] {
                let members = key[part].as_object();
                if part == "terms" && members.is_some_and(Map::is_empty) {
                    out.row(title, "streaming without a limit");
                }
                let names = members.into_iter().flat_map(Map::keys);
                let width = names.map(String::len).max().unwrap_or_default();
                for (index, (name, value)) in members.into_iter().flatten().enumerate() {
                    let title = if index == 0 { title } else { "" };
                    out.row(title, format!("{name:<width$}  {}", text(value)));
                }
            }
            for name in list(&key["depends_on"]) {
                out.row("", format!("{} of each request", text(&name)));
            }
        }
        for note in list(&system["not_taken"]) {
            let note = format!("{}: {}", text(&note["member"]), text(&note["why"]));
            out.row("not taken", terminal::Printable::new(note));
        }
    }
    let _ = writeln!(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::policies::import::import;
    use keylet_host::Provided;

    const EXPORTED: &[u8] = include_bytes!("../../../../fixtures/policies/azure-rest.json");

    async fn licences(more: &[(&str, Value)]) -> LicenceServer<Settings> {
        let policies = import(EXPORTED, &[]).await.unwrap().options;
        let key = json!([{"id": "movie-1", "key": "000102030405060708090a0b0c0d0e0f", "track": "hd",
            "terms": {"playback_seconds": 60}}]);
        let mut variables = Provided::from(
            [("policies", json!(policies)), ("content_keys", key)]
                .map(|(name, value)| (name.to_owned(), value.to_string())),
        );
        let more = more.iter().map(|(n, v)| ((*n).to_owned(), v.to_string()));
        variables.extend(more);
        LicenceServer::new(Settings(variables))
    }

    async fn question(policy: &str) -> Question<'_> {
        Question {
            licences: licences(&[]).await,
            policy,
            token: None,
            system: None,
            content_key: None,
        }
    }

    #[tokio::test]
    async fn each_system_has_the_terms_of_its_configuration() {
        let widevine = question("widevine").await.explain().await.unwrap();
        let durations =
            json!({"persist": true, "storage_seconds": 2_592_000, "playback_seconds": 172_800});
        let with = |more: Value| {
            let mut terms = durations.clone();
            let more = more.as_object().unwrap().clone();
            terms.as_object_mut().unwrap().extend(more);
            terms
        };
        let keys = &widevine["systems"][0]["keys"];
        let strictest = with(json!({"hdcp": "type1", "min_security_level": "baseline"}));
        assert_eq!(keys[0]["terms"], strictest);
        let fields = &keys[0]["fields"];
        for (name, value) in [
            ("policy_overrides.can_persist", "true"),
            ("policy_overrides.rental_duration_seconds", "2592000"),
            ("policy_overrides.playback_duration_seconds", "172800"),
            ("content_key_specs.security_level", "3"),
            (
                "content_key_specs.required_output_protection.hdcp",
                "HDCP_V2_2",
            ),
        ] {
            assert_eq!(fields[name], value, "{fields}");
        }
        let sd = with(json!({"hdcp": "none", "min_security_level": "audio"}));
        assert_eq!((&keys[1]["track"], &keys[1]["terms"]), (&json!("sd"), &sd));
        assert_eq!(keys[2]["track"], "uhd");
        assert_eq!(keys[2]["refused"]["code"], "track_not_allowed");
        assert_eq!(keys.as_array().unwrap().len(), 3);
        assert_eq!(widevine["systems"][0]["not_taken"][0]["member"], "provider");
        assert!(is_good(&widevine));

        let fairplay = question("fairplay").await.explain().await.unwrap();
        let key = &fairplay["systems"][0]["keys"][0];
        assert_eq!(key["terms"], durations);
        assert_eq!(
            key["fields"],
            json!({"duration": "offline key, storage 2592000 seconds, playback 172800 seconds"})
        );

        let playready = question("playready").await.explain().await.unwrap();
        let fields = &playready["systems"][0]["keys"][0]["fields"];
        for (name, value) in [
            ("persist", "true"),
            ("sl", "2000"),
            ("firstexp", "172800"),
            ("ucvopl", "270"),
            ("avopl", "150"),
            ("playenablers", "(B621D91F-EDCC-4035-8D4B-DC71760D43E9)"),
        ] {
            assert_eq!(fields[name], value, "{fields}");
        }

        let clear = question("clearkey").await.explain().await.unwrap();
        let systems: Vec<&str> = { clear["systems"].as_array().unwrap().iter() }
            .map(|system| system["system"].as_str().unwrap())
            .collect();
        assert_eq!(systems, ["clearkey", "aes128"]);
    }

    #[tokio::test]
    async fn a_key_record_narrows_them_and_says_which_track_it_is() {
        let mut question = question("widevine").await;
        question.content_key = Some("movie-1");
        let document = question.explain().await.unwrap();
        let keys = document["systems"][0]["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0]["terms"]["playback_seconds"], 60);
        assert_eq!(keys[0]["terms"]["hdcp"], "type1");
        question.content_key = Some("movie-2");
        assert!(question.explain().await.is_err());
    }

    #[tokio::test]
    async fn a_token_narrows_them_and_one_that_is_not_let_in_is_told_why() {
        let exported: Value = serde_json::from_slice(EXPORTED).unwrap();
        let secret = &exported["properties"]["options"][0]["restriction"]["primaryVerificationKey"]
            ["keyValue"];
        let secret = encoding::base64(secret.as_str().unwrap()).unwrap();
        let now = keylet::platform::system_time();
        let claims = json!({
            "iss": "https://login.example.com/", "aud": "urn:example:player", "exp": now + 300,
            "urn:microsoft:azure:mediaservices:contentkeyidentifier": "movie-1",
            "entitlements": [{"keys": "*", "lease_seconds": 30}],
        });
        let signer = crate::jwt::Signer::Hs256(secret.to_vec());
        let token = signer
            .token(None, &claims, &mut crate::random::system())
            .unwrap();
        let mut question = question("playready").await;
        question.token = Some(&token);
        question.content_key = Some("movie-1");
        let document = question.explain().await.unwrap();
        let terms = &document["systems"][0]["keys"][0]["terms"];
        assert_eq!(terms["lease_seconds"], 30, "{document}");
        assert!(terms.get("persist").is_none());
        assert_eq!(terms["min_security_level"], "baseline");

        question.content_key = None;
        let document = question.explain().await.unwrap();
        let refused = &document["systems"][0]["keys"][0]["refused"];
        assert_eq!(refused["code"], "not_entitled", "{document}");
        assert!(!is_good(&document));
        question.token = Some("no token");
        let document = question.explain().await.unwrap();
        assert!(!is_good(&document), "{document}");
    }

    #[tokio::test]
    async fn what_there_is_not_is_an_error() {
        let error = question("premium").await.explain().await.unwrap_err();
        assert!(error.to_string().contains("\"fairplay\", \"playready\""));
        let mut question = question("fairplay").await;
        question.system = Some(DrmSystem::Widevine);
        assert!(question.explain().await.is_err());
        assert!(system("fps").is_err());
    }
}
