//! `keylet token mint`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use keylet::encoding;
use keylet::entitlement::Entitlement;
use keylet::id::Kid;
use keylet::platform;
use keylet::token::claim::ENTITLEMENTS;
use keylet::token::{CONTENT_KEY_IDENTIFIER, MAX_TOKEN, MAX_USES};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::configured;
use crate::file::{self, read};
use crate::random;
use crate::settings::expanded;
use crate::signing_key::{Secret, SigningKey};
use keylet_host::provided;

/// The environment variable with the key, where no file is named.
const KEY: &str = "KEYLET_TOKEN_KEY";

/// What a token is to contain, and the key that signs it.
#[derive(Args)]
pub struct Arguments {
    /// File with the key that signs: a private or symmetric JWK, PEM (RSA, P-256, P-384, Ed25519), or with
    /// --hmac a secret; `-` is standard input. Without it, the key itself is in the environment, `KEYLET_TOKEN_KEY`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Sign with a symmetric key of the deployment, its `token_keys` or a policy, for its issuer and audience: the
    /// variables of the environment, `SPIN_VARIABLE_…`, and of `.env`
    #[arg(long, conflicts_with_all = ["key", "hmac", "alg"])]
    configured: bool,
    /// The key is a secret, in this form
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "raw"
    )]
    hmac: Option<Secret>,
    /// Make a Common Access Token (CTA-5007) in place of a JWT, for a deployment whose `dialects` names `cat`. The key is
    /// for HS256, ES256 or PS256; `--claim` takes CTA's claims by their names, `catu` and others that have maps as JSON
    #[arg(long, conflicts_with = "azure")]
    cat: bool,
    /// The algorithm, where the key is good for several [default: HS256, RS256]
    #[arg(long, value_name = "NAME")]
    alg: Option<String>,
    #[command(flatten)]
    options: ClaimsOptions,
}

/// What the token says.
#[derive(Args, Default)]
struct ClaimsOptions {
    /// The key id, in place of that of the JWK
    #[arg(long)]
    kid: Option<String>,
    /// `iss`
    #[arg(long)]
    issuer: Option<String>,
    /// `aud`; several make a list
    #[arg(long)]
    audience: Vec<String>,
    /// `sub`
    #[arg(long)]
    subject: Option<String>,
    /// When it expires, from now: seconds, or a number and s, m, h or d [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    expires_in: Option<u64>,
    /// Keys that it entitles to: ids, or *
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    keys: Vec<String>,
    /// The terms for these keys, as a JSON object, such as `{"lease_seconds":300}`
    #[arg(long, value_name = "JSON", requires = "keys")]
    terms: Option<String>,
    /// The whole list of entitlements, or a file with it
    #[arg(long, value_name = "FILE|JSON", conflicts_with = "keys")]
    entitlements: Option<String>,
    /// As Azure Media Services took them
    #[arg(long, conflicts_with_all = ["keys", "entitlements"])]
    azure: bool,
    /// The key that it is for
    #[arg(long, value_name = "GUID", requires = "azure")]
    content_key_id: Option<String>,
    /// How many licences it is good for
    #[arg(long, value_name = "NUMBER|unlimited", requires = "azure", value_parser = max_uses)]
    max_uses: Option<String>,
    /// A further claim, or another value for one that is there: name=text, or name:=JSON
    #[arg(long = "claim", value_name = "NAME=TEXT|NAME:=JSON", value_parser = claim)]
    claims: Vec<(String, Value)>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let options = &arguments.options;
    let now = platform::system_time();
    let token = match arguments.configured {
        true => {
            let settings = expanded(provided(&[], None)?).map_err(|error| anyhow!("{error}"))?;
            let configured = configured::issuer(&settings)?;
            let mut claims = options.claims(now)?;
            for (name, value) in [("iss", &configured.issuer), ("aud", &configured.audience)] {
                if claims.get(name).is_none() {
                    claims[name] = json!(value);
                }
            }
            // A claim that has a whole path for its name comes before what is at the path.
            if let Some(members) = claims.as_object_mut()
                && let Some(entitlements) = members.remove(ENTITLEMENTS)
            {
                let name = configured.claim.context(
                    "the policy option takes no entitlements from tokens (`entitlement_claim`): leave --keys and --entitlements away",
                )?;
                members.insert(name, entitlements);
            }
            arguments.mint(&configured.key, &claims)?
        }
        false => {
            let key = arguments.signing_key()?;
            arguments.mint(&key, &options.claims(now)?)?
        }
    };
    if !options.entitles() {
        eprintln!(
            "warning: this token entitles to no key. `--keys ID,…` names keys, `--keys '*'` is for all of them"
        );
    }
    // Whoever reads may stop reading.
    let _ = writeln!(crate::terminal::product(), "{token}");
    Ok(())
}

impl Arguments {
    fn mint(&self, key: &SigningKey, claims: &Value) -> Result<String> {
        let kid = self.options.kid.as_deref();
        match self.cat {
            true => crate::cat::token(&key.signer, kid.or(key.kid.as_deref()), claims),
            false => mint(key, kid, claims),
        }
    }

    fn signing_key(&self) -> Result<SigningKey> {
        let key = match &self.key {
            Some(path) => Zeroizing::new(read(path)?),
            None => {
                let key = file::environment(KEY);
                let key = key.with_context(|| {
                    format!("no signing key: give --key FILE or --configured, or set {KEY}")
                })?;
                Zeroizing::new(key.as_bytes().to_vec())
            }
        };
        let alg = self.alg.as_deref();
        SigningKey::read(&key, self.hmac, alg, self.options.kid.as_deref())
    }
}

/// Makes a token.
fn mint(key: &SigningKey, kid: Option<&str>, claims: &Value) -> Result<String> {
    let kid = kid.or(key.kid.as_deref());
    let token = key.signer.token(kid, claims, &mut random::system())?;
    ensure!(
        token.len() <= MAX_TOKEN,
        "the token has {} bytes, and servers take {MAX_TOKEN}",
        token.len()
    );
    Ok(token)
}

impl ClaimsOptions {
    /// Whether it names keys, or a claim by which another dialect than the native one may.
    fn entitles(&self) -> bool {
        self.azure
            || !self.keys.is_empty()
            || self.entitlements.is_some()
            || !self.claims.is_empty()
    }

    fn claims(&self, now: u64) -> Result<Value> {
        let mut claims = Map::new();
        let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        if let Some(issuer) = &self.issuer {
            say("iss", json!(issuer));
        }
        match self.audience.as_slice() {
            [] => {}
            [one] => {
                say("aud", json!(one));
            }
            several => {
                say("aud", json!(several));
            }
        }
        if let Some(subject) = &self.subject {
            say("sub", json!(subject));
        }
        say("iat", json!(now));
        let life = self.expires_in.unwrap_or(300);
        say("exp", json!(now.saturating_add(life)));
        // Uses are counted by it: two tokens of a second are two.
        say("jti", json!(hex::encode(random::bytes::<16>())));
        if let Some(entitlements) = self.entitlements()? {
            say(ENTITLEMENTS, entitlements);
        }
        if let Some(id) = &self.content_key_id {
            Kid::from_text(id).context("--content-key-id is not a GUID")?;
            say(CONTENT_KEY_IDENTIFIER, json!(id));
        }
        if let Some(uses) = &self.max_uses {
            say(MAX_USES, json!(uses));
        }
        for (name, value) in &self.claims {
            say(name, value.clone());
        }
        Ok(Value::Object(claims))
    }

    /// The claim `entitlements`, as servers take it.
    fn entitlements(&self) -> Result<Option<Value>> {
        let entitlements = match &self.entitlements {
            Some(given) => {
                let given = match given.trim_start().starts_with('[') {
                    true => given.clone().into_bytes(),
                    false => read(given.as_ref())?,
                };
                let given = encoding::json(&given);
                given.map_err(|reason| anyhow!("--entitlements: {reason}"))?
            }
            None if self.keys.is_empty() => return Ok(None),
            None => {
                let keys = match self.keys.as_slice() {
                    [all] if all == "*" => json!("*"),
                    keys => json!(keys),
                };
                let mut entry = Map::from_iter([("keys".to_owned(), keys)]);
                if let Some(terms) = &self.terms {
                    entry.extend(crate::commands::terms(terms)?);
                }
                json!([entry])
            }
        };
        Entitlement::from_claim(&entitlements)
            .context("servers would refuse these entitlements")?;
        Ok(Some(entitlements))
    }
}

/// Reads a duration, to seconds.
fn seconds(text: &str) -> Result<u64> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 60 * 60),
        Some((at, 'd')) => (&text[..at], 24 * 60 * 60),
        _ => (text, 1),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .context("a duration is a whole number, and s, m, h or d")
}

fn max_uses(text: &str) -> Result<String> {
    let is_number = text.parse::<u32>().is_ok_and(|number| number > 0);
    ensure!(
        is_number || text == "unlimited",
        "it is a number from 1 on, or `unlimited`"
    );
    Ok(text.to_owned())
}

/// Reads a claim: text after `=`, JSON after `:=`.
fn claim(argument: &str) -> Result<(String, Value)> {
    let (name, value) = argument
        .split_once('=')
        .context("a claim is given as name=text or name:=JSON")?;
    // Names of claims are URNs, too: only the last colon is of the sign.
    Ok(match name.strip_suffix(':') {
        Some(name) => {
            let value = encoding::json(value.as_bytes());
            let value = value.map_err(|reason| anyhow!("the value is no JSON: {reason}"))?;
            (name.to_owned(), value)
        }
        None => (name.to_owned(), json!(value)),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::jwt::Signer;
    use clap::Parser;
    use keylet::token::Claims;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn key() -> SigningKey {
        SigningKey {
            signer: Signer::Hs256(vec![1; 32]),
            kid: Some("of-the-jwk".to_owned()),
        }
    }

    fn token(arguments: &[&str]) -> Result<String> {
        let line = Line::try_parse_from([&["mint"], arguments].concat())?;
        let options = &line.arguments.options;
        mint(
            &key(),
            options.kid.as_deref(),
            &options.claims(1_700_000_000)?,
        )
    }

    /// A token of now, signed with a secret in base64.
    pub fn token_of(secret: &[u8], arguments: &[&str]) -> String {
        let line = Line::parse_from([&["mint"], arguments].concat());
        let key = SigningKey::read(secret, Some(Secret::Base64), None, None).unwrap();
        let claims = line.arguments.options.claims(platform::system_time());
        mint(&key, None, &claims.unwrap()).unwrap()
    }

    fn part(token: &str, index: usize) -> Value {
        let part = token.split('.').nth(index).unwrap();
        encoding::json(&encoding::base64(part).unwrap()).unwrap()
    }

    #[test]
    fn a_native_token_says_what_it_is_told() {
        let token = token(&[
            "--issuer=i",
            "--audience=a",
            "--audience=b",
            "--subject=s",
            "--expires-in=1h",
            "--keys=k1,k2",
            r#"--terms={"lease_seconds": 300}"#,
            "--claim=plan=gold",
            "--claim=urn:x:n:=[1]",
        ])
        .unwrap();
        let header = part(&token, 0);
        assert_eq!(
            header,
            json!({"typ": "JWT", "alg": "HS256", "kid": "of-the-jwk"})
        );
        let mut claims = part(&token, 1);
        let id = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 32);
        assert_eq!(
            claims,
            json!({
                "iss": "i", "aud": ["a", "b"], "sub": "s", "iat": 1_700_000_000, "exp": 1_700_003_600,
                "entitlements": [{"keys": ["k1", "k2"], "lease_seconds": 300}],
                "plan": "gold", "urn:x:n": [1],
            })
        );
    }

    #[test]
    fn an_azure_token_names_its_key() {
        let guid = "339C45B5-FB6D-4BD9-994C-EABD9D41C95B";
        let token = token(&[
            "--azure",
            "--content-key-id",
            guid,
            "--max-uses=4",
            "--kid=k",
        ])
        .unwrap();
        assert_eq!(part(&token, 0)["kid"], "k");
        let claims = part(&token, 1);
        assert_eq!(claims[CONTENT_KEY_IDENTIFIER], guid);
        assert_eq!(claims[MAX_USES], "4");
        let claims = Claims(claims.as_object().unwrap().clone());
        assert_eq!(
            claims.check_times(1_700_000_000).unwrap(),
            Some(1_700_000_300)
        );
    }

    #[test]
    fn what_a_server_would_refuse_is_not_made() {
        for arguments in [
            &["--keys=k", r#"--terms={"max_screens": 1}"#][..],
            &[
                "--keys=k",
                r#"--terms={"persist": true, "lease_seconds": 1}"#,
            ],
            &["--keys=k", "--terms=1"],
            &["--terms={}"],
            &["--entitlements=[{}]"],
            &["--entitlements=/does/not/exist"],
            &["--azure", "--keys=k"],
            &["--content-key-id=339C45B5-FB6D-4BD9-994C-EABD9D41C95B"],
            &["--azure", "--content-key-id=movie"],
            &["--azure", "--max-uses=0"],
            &["--expires-in=1y"],
            &["--expires-in=-1"],
            &["--claim=name"],
            &["--claim=name:=text"],
            &["--claim", &format!("long={}", "x".repeat(8192))],
        ] {
            assert!(token(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, expected) in [
            ("300", 300),
            ("90s", 90),
            ("5m", 300),
            ("2h", 7200),
            ("1d", 86400),
        ] {
            assert_eq!(seconds(text).unwrap(), expected, "{text}");
        }
    }
}
