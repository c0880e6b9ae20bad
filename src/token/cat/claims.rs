//! The claims of a Common Access Token (CTA-5007, RFC 8392 section 3.1).

use std::net::IpAddr;

use base64::Engine;
use serde_json::{Map, Number, Value as Json};

use super::cbor::Value;
use super::place::Asked;
use super::uri::{Match, UriRule};
use crate::encoding::BASE64_URL;
use crate::entitlement::{AllOf, Country, Network, Terms};
use crate::id::Id;
use crate::token::{Error, dialect};

/// What becomes of a claim.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// As the claim of a JWT.
    Registered,
    /// It restricts the licence or the request.
    Restricts,
    /// It says how a delivery network refuses or renews, which a licence is not about.
    Informs,
    /// It restricts by what a licence server does not know.
    Refuses,
}

use Treatment::{Informs, Refuses, Registered, Restricts};

/// Every claim that there is: its label, its name, and what becomes of it. That of a JWT with another name is `jti`
/// (RFC 8392 section 3.1.7).
const CLAIMS: [(i128, &str, Treatment); 26] = [
    (1, "iss", Registered),
    (2, "sub", Registered),
    (3, "aud", Registered),
    (4, "exp", Registered),
    (5, "nbf", Registered),
    (6, "iat", Registered),
    (7, "jti", Registered),
    (8, "cnf", Refuses),
    (282, "geohash", Refuses),
    (308, "catreplay", Restricts),
    (309, "catpor", Refuses),
    (310, "catv", Restricts),
    (311, "catnip", Restricts),
    (312, "catu", Restricts),
    (313, "catm", Restricts),
    (314, "catalpn", Refuses),
    (315, "cath", Restricts),
    (316, "catgeoiso3166", Restricts),
    (317, "catgeocoord", Refuses),
    (318, "catgeoalt", Refuses),
    (319, "cattpk", Refuses),
    (320, "catifdata", Informs),
    (321, "catdpop", Refuses),
    (322, "catif", Informs),
    (323, "catr", Informs),
    (324, "cattprint", Refuses),
];

/// The label of a claim by its name.
pub fn label_of(name: &str) -> Option<i128> {
    let claim = CLAIMS.iter().find(|(_, known, _)| *known == name);
    claim.map(|(label, ..)| *label)
}

/// The name of a claim by its label.
fn name_of(label: i128) -> Option<&'static str> {
    let claim = CLAIMS.iter().find(|(known, ..)| *known == label);
    claim.map(|(_, name, _)| *name)
}

/// What verified claims say.
pub(crate) struct Claims {
    /// All of them, as a JWT would have them. A private claim has its own name, or its label in decimal.
    pub(crate) members: Map<String, Json>,
    /// What they restrict.
    pub(crate) terms: Terms,
    /// The one content that they are for.
    pub(crate) content: Option<Id>,
}

impl Claims {
    /// Reads verified claims for a request.
    ///
    /// # Errors
    /// [`Error::Claims`] for what is not of its type, and [`Error::Dialect`] for what cannot be honoured or is for
    /// another request.
    pub(crate) fn read(
        claims: &[(Value<'_>, Value<'_>)],
        rule: &UriRule,
        asked: Option<&Asked>,
    ) -> Result<Self, Error> {
        let members = members(claims)?;
        let mut this = Self {
            members,
            terms: Terms::default(),
            content: None,
        };
        for (key, value) in claims {
            // Some writers name claims as JSON does: what restricts by its label restricts by its name, too.
            let label = key.as_int().or_else(|| label_of(key.as_text()?));
            let Some(label) = label.filter(|label| *label >= 0) else {
                continue;
            };
            let known = CLAIMS.iter().find(|(known, ..)| *known == label);
            match known {
                Some((_, _, Registered | Informs)) => {}
                Some((_, name, Restricts)) => this.restrict(name, value, rule, asked)?,
                Some((_, name, Refuses)) => return Err(unsupported(name).into()),
                None => return Err(unsupported(&label.to_string()).into()),
            }
        }
        Ok(this)
    }

    fn restrict(
        &mut self,
        name: &'static str,
        value: &Value<'_>,
        rule: &UriRule,
        asked: Option<&Asked>,
    ) -> Result<(), dialect::Error> {
        let malformed = || dialect::Error::Malformed(name);
        let for_another = dialect::Error::Request(name);
        let limits = &mut self.terms.limits;
        match name {
            "catv" if value.as_int() == Some(1) => {}
            "catreplay" => match value.as_int() {
                Some(0) => {}
                Some(1) => limits.max_uses = Some(1),
                // It is counted, and the audit tells a use that is not the first one.
                Some(2) => limits.max_uses = Some(u32::MAX),
                _ => return Err(malformed()),
            },
            "catnip" => {
                let networks = value.as_array().ok_or_else(malformed)?;
                let networks = networks.iter().map(network).collect::<Result<_, _>>()?;
                limits.ip_allow = AllOf::one_of(networks);
            }
            "catgeoiso3166" => {
                let places = value.as_array().ok_or_else(malformed)?;
                let country = |place: &Value<'_>| {
                    let text = place.as_text().ok_or_else(malformed)?;
                    // What is longer is a part of a country, which no proxy states.
                    text.parse::<Country>().map_err(|()| unsupported(name))
                };
                let countries = places.iter().map(country).collect::<Result<_, _>>()?;
                limits.countries = AllOf::one_of(countries);
            }
            "catm" => {
                let methods = value.as_array().ok_or_else(malformed)?;
                let asked = asked.ok_or_else(|| for_another.clone())?.method.as_str();
                if !methods.iter().any(|method| method.as_text() == Some(asked)) {
                    return Err(for_another);
                }
            }
            "cath" => {
                let asked = asked.ok_or_else(|| for_another.clone())?;
                for (header, matches) in value.as_map().ok_or_else(malformed)? {
                    let header = header.as_text().ok_or_else(malformed)?;
                    let lines = asked.headers.get_all(header).iter();
                    let lines: Result<Vec<&str>, _> = lines.map(|line| line.to_str()).collect();
                    let value = lines
                        .map(|lines| lines.join(", "))
                        .map_err(|_| for_another.clone())?;
                    let is_there = asked.headers.contains_key(header);
                    let matches = Match::read_all(matches, name)?;
                    if !is_there || !matches.iter().all(|one| one.holds(&value)) {
                        return Err(for_another);
                    }
                }
            }
            "catu" => self.content = rule.check(value, asked)?,
            _ => return Err(unsupported(name)),
        }
        Ok(())
    }
}

fn unsupported(name: &str) -> dialect::Error {
    dialect::Error::Unsupported(name.to_owned())
}

/// An address or a network (RFC 9164). A number of an autonomous system is neither.
fn network(value: &Value<'_>) -> Result<Network, dialect::Error> {
    const NAME: &str = "catnip";
    let Value::Tag(tag, content) = value else {
        return Err(unsupported(NAME));
    };
    let malformed = || dialect::Error::Malformed(NAME);
    let (bytes, length) = match content.as_ref() {
        Value::Bytes(address) => (*address, None),
        Value::Array(parts) => match parts.as_slice() {
            [Value::Int(length), Value::Bytes(prefix)] => (*prefix, Some(*length)),
            _ => return Err(malformed()),
        },
        _ => return Err(malformed()),
    };
    let address = match tag {
        52 => padded::<4>(bytes, length.is_some()).map(IpAddr::from),
        54 => padded::<16>(bytes, length.is_some()).map(IpAddr::from),
        _ => return Err(unsupported(NAME)),
    };
    let length = length.map(|length| u8::try_from(length).map_err(|_| malformed()));
    let network = address.and_then(|address| Network::new(address, length.transpose().ok()?));
    network.ok_or_else(malformed)
}

/// An address; a prefix leaves zeros at its end away.
fn padded<const N: usize>(bytes: &[u8], is_prefix: bool) -> Option<[u8; N]> {
    let mut address = [0; N];
    address.get_mut(..bytes.len())?.copy_from_slice(bytes);
    (is_prefix || bytes.len() == N).then_some(address)
}

/// The claims as a JSON object.
///
/// # Errors
/// [`Error::Claims`] where two claims have one name, and for a number that JSON does not have.
pub(super) fn members(claims: &[(Value<'_>, Value<'_>)]) -> Result<Map<String, Json>, Error> {
    let mut members = Map::new();
    for (key, value) in claims {
        let name = key_name(key);
        let is_id = name == "jti";
        let value = match value {
            Value::Bytes(id) if is_id => Some(Json::String(hex::encode(id))),
            _ if is_id => return Err(Error::Claim("cti")),
            value => json(value),
        };
        let value = value.ok_or_else(|| Error::Claims("a number has no value".to_owned()))?;
        if members.insert(name, value).is_some() {
            return Err(Error::Claims("two claims have the same name".to_owned()));
        }
    }
    Ok(members)
}

fn key_name(key: &Value<'_>) -> String {
    match (key.as_int(), key.as_text()) {
        (Some(label), _) => name_of(label).map_or_else(|| label.to_string(), ToOwned::to_owned),
        (_, Some(text)) => text.to_owned(),
        _ => String::new(),
    }
}

/// A value as JSON (RFC 8949 section 6.1): byte strings in base64url, and no tags.
fn json(value: &Value<'_>) -> Option<Json> {
    Some(match value {
        Value::Int(number) => Json::Number(Number::from_i128(*number)?),
        Value::Bytes(bytes) => Json::String(BASE64_URL.encode(bytes)),
        Value::Text(text) => Json::String((*text).to_owned()),
        Value::Array(items) => Json::Array(items.iter().map(json).collect::<Option<_>>()?),
        Value::Map(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| {
                let key = match (key.as_int(), key.as_text()) {
                    (Some(number), _) => number.to_string(),
                    (None, text) => text?.to_owned(),
                };
                Some((key, json(value)?))
            });
            Json::Object(entries.collect::<Option<_>>()?)
        }
        Value::Tag(_, content) => json(content)?,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Null => Json::Null,
        Value::Float(number) => Json::Number(Number::from_f64(*number)?),
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_claim_that_is_named_as_json_names_it_restricts_all_the_same() {
        let asked = Asked::from(&Request::post("https://k.example/").body(()).unwrap());
        let read = |key: Value<'_>| {
            let methods = Value::Array(vec![Value::Text("GET")]);
            Claims::read(&[(key, methods)], &UriRule::Request(None), Some(&asked))
        };
        for key in [Value::Int(313), Value::Text("catm")] {
            let refused = read(key).map(|_| ()).unwrap_err();
            assert_eq!(refused.code().name, "token_request");
        }
        let refused = read(Value::Text("catdpop")).map(|_| ()).unwrap_err();
        assert_eq!(refused.code().name, "term_unsupported");
        assert!(read(Value::Text("plan")).is_ok());
    }
}
