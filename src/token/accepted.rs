//! Issuers and audiences that are accepted.

use crate::configuration::SettingErrorKind;
use crate::encoding;

/// Stands for the claim `tid` in an issuer that has many tenants, as Microsoft writes it in its discovery document.
const TENANT: &str = "{tenantid}";

/// The values of a claim that are accepted.
pub enum Accepted {
    /// Any value, or no value.
    Any,
    /// These.
    OneOf(Vec<String>),
}

impl Accepted {
    /// `*`, a value, or a JSON list of values.
    ///
    /// # Errors
    /// What kind of problem, and a sentence about it.
    pub fn from_setting(value: Option<&str>) -> Result<Self, (SettingErrorKind, &'static str)> {
        match value {
            None => Err((
                SettingErrorKind::Missing,
                "it is not set; to accept any value, say `*`",
            )),
            Some("*") => Ok(Self::Any),
            Some(list) if list.trim_start().starts_with('[') => {
                match encoding::from_json::<Vec<String>>(list.as_bytes()) {
                    Ok(list) if !list.is_empty() && list.iter().all(|value| value != "*") => {
                        Ok(Self::OneOf(list))
                    }
                    Ok(_) => Err((
                        SettingErrorKind::Malformed,
                        "the list is empty or has `*` in it; to accept any value, say `*` alone",
                    )),
                    Err(_) => Err((
                        SettingErrorKind::Malformed,
                        "it starts like a JSON list and is no list of strings",
                    )),
                }
            }
            Some(one) => Ok(Self::OneOf(vec![one.to_owned()])),
        }
    }

    /// Whether one of the values of a claim is accepted.
    pub fn accepts(&self, values: &[&str]) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(accepted) => accepted.iter().any(|one| values.contains(&one.as_str())),
        }
    }

    /// Whether an issuer is accepted; `tenant` is the token's `tid`.
    pub fn accepts_issuer(&self, issuer: Option<&str>, tenant: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(_) => issuer.is_some_and(|issuer| self.issuer(issuer, tenant).is_some()),
        }
    }

    /// The accepted value that an issuer has, or whose `{tenantid}` stands for its tenant.
    pub fn issuer(&self, issuer: &str, tenant: Option<&str>) -> Option<&str> {
        let Self::OneOf(accepted) = self else {
            return None;
        };
        let is_of_tenant = |before: &str, after: &str| {
            let tenant = tenant.filter(|tenant| is_tenant(tenant))?;
            let found = issuer.strip_prefix(before)?.strip_suffix(after)?;
            Some(found == tenant)
        };
        let mut accepted = accepted.iter().map(String::as_str);
        accepted.find(|one| match one.split_once(TENANT) {
            None => *one == issuer,
            Some((before, after)) => is_of_tenant(before, after) == Some(true),
        })
    }
}

/// Whether a tenant's id has the characters of one: those of a GUID or a name, and none that is part of a URL's form.
fn is_tenant(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_in_an_issuer_is_the_one_that_the_token_names() {
        let template = "https://login.example/{tenantid}/v2.0";
        let accepted = Accepted::OneOf(vec!["other".to_owned(), template.to_owned()]);
        let tenant = "9188040d-6c67-4c5b-b112-36a304b66dad";
        let of = |tenant: &str| format!("https://login.example/{tenant}/v2.0");
        assert_eq!(accepted.issuer(&of(tenant), Some(tenant)), Some(template));
        assert_eq!(accepted.issuer("other", None), Some("other"));
        for (issuer, tid) in [
            (of(tenant), None),
            (of(tenant), Some("another")),
            (of(tenant), Some("")),
            (of(""), Some("")),
            (of("{tenantid}"), Some("{tenantid}")),
            (of("{tenantid}"), None),
            (of("a/b"), Some("a/b")),
            (of("a"), Some("A")),
            (format!("{}/", of(tenant)), Some(tenant)),
            (of(tenant).replace("https", "http"), Some(tenant)),
        ] {
            assert_eq!(accepted.issuer(&issuer, tid), None, "{issuer} {tid:?}");
        }
        assert!(!accepted.accepts_issuer(None, Some(tenant)));
        assert!(Accepted::Any.accepts_issuer(None, None));
    }
}
