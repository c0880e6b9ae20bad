//! What is known of a token, for people.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use keylet::encoding;
use keylet::token::LEEWAY;
use serde_json::Value;

use crate::doctor::advice;
use crate::terminal::{self, Printable, Screen, counted, local_time, span};

/// The claims of times and parties, with their labels.
const CLAIMS: [(&str, &str); 5] = [
    ("iss", "issuer"),
    ("aud", "audience"),
    ("exp", "expires"),
    ("nbf", "not before"),
    ("iat", "issued"),
];

/// Writes the document that programs get, in sentences.
pub(super) fn show(document: &Value) {
    let out = &mut terminal::stdout();
    let refused = &document["refused"];
    match refused["code"].as_str() {
        None => heading(out, AnsiColor::Green, "The token is accepted"),
        Some(code) => heading(
            out,
            AnsiColor::Red,
            &format!("The token is refused: {}", Printable::new(code)),
        ),
    }
    if let Some(code) = refused["code"].as_str() {
        out.row("reason", reason(refused, &document["valid"]));
        out.row("to do", remedy(code));
    }
    for hint in texts(&document["hints"]) {
        out.row("hint", Printable::new(hint));
    }
    for warning in texts(&document["warnings"]) {
        out.row("warning", Printable::new(warning));
    }
    signed_by(out, document);
    // Of a token that is accepted, no key was missed.
    if !refused.is_null() {
        for key in document["passed_over"].as_array().into_iter().flatten() {
            out.row("not used", text_of(&key["message"]));
        }
    }
    if let Some(dialect) = document["dialect"].as_str() {
        out.row("dialect", dialect);
    }
    // Of what cannot be read nothing is missing.
    let has_claims = document["claims"]
        .as_object()
        .is_some_and(|claims| !claims.is_empty());
    for (name, label) in CLAIMS.into_iter().filter(|_| has_claims) {
        let claim = &document["valid"][name];
        if let Some(text) = about(name, claim) {
            out.row(label, text);
        }
    }
    options(out, &document["policy"]);
    // What refuses the token refuses it for each key.
    if refused.is_null() {
        for allowed in document["allows"].as_array().into_iter().flatten() {
            asset(out, allowed);
        }
    }
    let _ = writeln!(out);
}

fn heading(out: &mut Screen, colour: AnsiColor, text: &str) {
    out.styled(Style::new().bold().fg_color(Some(colour.into())), text);
    let _ = writeln!(out, "\n");
}

/// What to do about a refusal. What the doctor says of most of these is to ask here.
fn remedy(code: &str) -> &'static str {
    match code {
        "token_expired" => "Get a fresh token from its issuer.",
        "token_not_yet_valid" => "Compare the clocks of the issuer and of the server.",
        "token_issuer" => {
            "Have the issuer send an accepted `iss`, or add its own to `token_issuer` or to `issuer` of the policy option."
        }
        "token_audience" => {
            "Have the issuer send an accepted `aud`, or add its own to `token_audience` or to `audience` of the policy option."
        }
        "token_request" => {
            "Compare `catm`, `catu` and `cath` with the request of the player. Where `catu` is the URI of the content, `cat_uri` is `content` with a template."
        }
        "token_signature" => {
            "Compare the keys: the issuer signed with another one than `token_keys` or the policy option has under this name."
        }
        "token_key_unknown" => {
            "Add the issuer's key to `token_keys` or to the policy option. The `kid` and the `alg` of both must fit."
        }
        "token_malformed" => {
            "Give the token alone, as its issuer sent it: a JWT has three parts of base64url with points between them, a Common Access Token has one."
        }
        "token_life" => {
            "Have the issuer set an earlier `exp`, or raise `max_token_life` of the policy option."
        }
        "token_claims" => "Have the issuer send the claim as docs/tokens.md describes it.",
        "token_algorithm" => {
            "Have the issuer sign with an algorithm that docs/tokens.md lists, and that fits the key."
        }
        other => advice::of_refusal(other).1,
    }
}

/// The one reason, with the values that were compared.
fn reason(refused: &Value, valid: &Value) -> String {
    let claim = refused["claim"].as_str().unwrap_or_default();
    let about = &valid[claim];
    let sentence = text_of(&refused["reason"]);
    let accepted = texts(&about["accepted"]);
    match claim {
        "exp" | "nbf" | "iat" => match (moment(&about["value"]), about["in_seconds"].as_i64()) {
            (Some(moment), Some(seconds)) => {
                let distance = span(seconds.unsigned_abs());
                let what = match claim {
                    "exp" => format!("it expired {distance} ago, at {moment}"),
                    "nbf" => format!("it is not valid before {moment}, in {distance}"),
                    _ => format!("it is issued in the future, at {moment}, in {distance}"),
                };
                format!(
                    "{what}; the server tolerates {LEEWAY} seconds between its clock and the issuer's"
                )
            }
            _ => format!("{sentence} ({claim})"),
        },
        _ if !accepted.is_empty() => {
            let accepted: Vec<_> = accepted.into_iter().map(quoted).collect();
            let sent = match &about["value"] {
                Value::Null => "none".to_owned(),
                value => shown(value),
            };
            format!(
                "{sentence}: it is {sent}, and accepted is {}",
                accepted.join(" or ")
            )
        }
        "" => sentence,
        claim => format!("{sentence} ({claim})"),
    }
}

fn signed_by(out: &mut Screen, document: &Value) {
    let signed_by = &document["signed_by"];
    let key = &signed_by["key"];
    let text = match (key.as_str(), key["place"].as_u64()) {
        (Some(variable), _) => format!("a key of `{variable}`"),
        (None, Some(place)) => {
            let mut text = format!("key {}", place + 1);
            if let Some(option) = signed_by["option"].as_str() {
                text.push_str(&format!(" of the option {}", quoted(option)));
            }
            if let Some(kid) = key["kid"].as_str() {
                text.push_str(&format!(", with the kid {}", quoted(kid)));
            }
            if key["published"] == true {
                text.push_str(", which its issuer publishes");
            }
            text
        }
        // The reason is told already, unless it is another one.
        (None, None) if signed_by["code"] == document["refused"]["code"] => return,
        (None, None) => format!("no known key: {}", text_of(&signed_by["reason"])),
    };
    out.row("signed by", text);
}

/// A claim and how it stands.
fn about(name: &str, claim: &Value) -> Option<String> {
    if claim.is_null() {
        return None;
    }
    let wrong = claim["wrong"].as_str();
    let value = match (&claim["value"], moment(&claim["value"])) {
        (Value::Null, _) => return wrong.map(|_| "missing".to_owned()),
        (_, Some(moment)) if ["exp", "nbf", "iat"].contains(&name) => {
            let seconds = claim["in_seconds"].as_i64().unwrap_or_default();
            let distance = span(seconds.unsigned_abs());
            match seconds < 0 {
                true => format!("{moment}, {distance} ago"),
                false => format!("{moment}, in {distance}"),
            }
        }
        (value, _) => shown(value),
    };
    Some(match wrong {
        Some(_) => format!("{value}: not accepted"),
        None => value,
    })
}

/// The options that apply, or what each of several says.
fn options(out: &mut Screen, policy: &Value) {
    if let Some(option) = policy["option"].as_str() {
        out.row("option", quoted(option));
    }
    let names = texts(&policy["options"]);
    if !names.is_empty() {
        let names: Vec<_> = names.into_iter().map(quoted).collect();
        out.row(
            "options",
            format_args!("{}, by the key that is asked for", names.join(", ")),
        );
    }
    let refused_by = policy["refused_by"].as_array();
    let refused_by = refused_by.filter(|refused_by| refused_by.len() > 1);
    for (number, refused) in (1..).zip(refused_by.into_iter().flatten()) {
        out.row(
            &format!("option {number}"),
            format_args!(
                "{} refuses it: {} ({})",
                quoted(&text_of(&refused["option"])),
                text_of(&refused["reason"]),
                text_of(&refused["code"]),
            ),
        );
    }
}

fn asset(out: &mut Screen, allowed: &Value) {
    let asset = Printable::new(allowed["asset_id"].as_str().unwrap_or_default());
    let _ = writeln!(out);
    if let Some(code) = allowed["code"].as_str() {
        heading(out, AnsiColor::Red, &format!("No key for {asset}: {code}"));
        out.row("reason", text_of(&allowed["reason"]));
        let (_, remedy) = advice::of_refusal(code);
        out.row("to do", remedy);
        return;
    }
    heading(out, AnsiColor::Green, &format!("A key for {asset}"));
    out.row("key id", text_of(&allowed["key"]));
    out.row("granted", terms(&allowed["terms"]));
    let depends = texts(&allowed["depends_on"]);
    if !depends.is_empty() {
        out.row(
            "depends on",
            format_args!("what a request brings: {}", depends.join(", ")),
        );
    }
}

/// Terms in words, each as the token, the key record or the deployment has it.
fn terms(terms: &Value) -> String {
    let seconds = |name: &str| terms[name].as_u64().map(span);
    let number = |name: &str| terms[name].as_u64();
    let mut words = Vec::new();
    match terms["persist"] == true {
        false => words.push(match seconds("lease_seconds") {
            Some(lease) => format!("playback, renewed every {lease}"),
            None => "playback".to_owned(),
        }),
        true => words.push(match seconds("storage_seconds") {
            Some(storage) => format!("storage, and a first playback within {storage}"),
            None => "storage without a limit of time".to_owned(),
        }),
    }
    if let Some(rental) = seconds("rental_seconds") {
        words.push(format!("which begins within {rental}"));
    }
    if let Some(playback) = seconds("playback_seconds") {
        words.push(format!("playback for {playback} from the first on"));
    }
    if let Some(uses) = number("max_uses") {
        words.push(format!("at most {}", counted(uses, "use")));
    }
    if let Some(streams) = number("max_streams") {
        words.push(format!("at most {} at once", counted(streams, "stream")));
    }
    if let Some(hdcp) = terms["hdcp"].as_str() {
        words.push(format!("HDCP {hdcp}"));
    }
    if let Some(level) = terms["min_security_level"].as_str() {
        words.push(format!("security level {level} or higher"));
    }
    if let Some(kdl) = number("min_kdl") {
        words.push(format!("KDL {kdl} or newer"));
    }
    for (name, what) in [
        ("airplay", "no AirPlay"),
        ("av_adapter", "no AV adapter"),
        ("virtual_machines", "no virtual machines"),
    ] {
        if terms[name] == false {
            words.push(what.to_owned());
        }
    }
    words.join(", ")
}

fn moment(value: &Value) -> Option<String> {
    encoding::numeric_date(value).map(local_time)
}

fn texts(value: &Value) -> Vec<&str> {
    let values = value.as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}

fn text_of(value: &Value) -> String {
    Printable::new(value.as_str().unwrap_or_default()).to_string()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", Printable::new(text))
}

/// A value of JSON: text as it is, all else as JSON.
fn shown(value: &Value) -> String {
    match value.as_str() {
        Some(text) => Printable::new(text).to_string(),
        None => Printable::new(value.to_string()).to_string(),
    }
}
