//! The check of a configuration: every room reads its settings, and everything that is wrong is collected.

use super::cors::Cors;
use super::origin::TrustedHeaders;
use crate::configuration::{Problems, SettingError, SettingErrorKind};
use crate::drm::Module;
use crate::fairplay::credentials;
use crate::licence::LicenceServer;
use crate::operator::Operator;
use crate::platform::Platform;
use crate::policy::Policies;
use crate::session::StoreFailure;
use crate::token;

/// Everything that keeps the configuration of a server from loading. Nothing is asked of the key-value
/// store, or of another server.
pub async fn check<P: Platform>(licences: &LicenceServer<P>) -> Problems {
    let platform = licences.platform();
    let mut problems = Problems::default();
    match licences.credentials().await {
        Ok(Some(credentials)) => problems.add(credentials.check()),
        Ok(None) => {
            let reason = "no DRM system is configured, so there is nothing to serve";
            problems.add(Err(SettingError::new(
                credentials::CERTIFICATE,
                SettingErrorKind::Missing,
                reason,
            )
            .into()));
        }
        Err(error) => problems.add(Err(error)),
    }
    problems.add(licences.keys().check(platform).await);
    problems.add(licences.policies().await.and_then(Policies::check));
    let fairplay_terms = licences.modules().fairplay.terms(platform);
    problems.add(fairplay_terms.await.map(drop));
    problems.add(licences.server_secret().await.map(drop));
    problems.add(Operator::load(platform).await.map(drop));
    problems.add(TrustedHeaders::load(platform).await.map(drop));
    problems.add(token::query_tokens_allowed(platform).await.map(drop));
    problems.add(StoreFailure::load(platform).await.map(drop));
    problems.add(Cors::read(platform).await.map(drop));
    problems.add(licences.session_period().await.map(drop));
    problems
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::time::Duration;

    use http::{Request, Response};
    use zeroize::Zeroizing;

    use super::*;
    use crate::configuration::{VARIABLES, Variable};
    use crate::platform::Error;

    /// A host that remembers which variables were asked for, and answers for none or for all but one.
    struct Host {
        failing: &'static str,
        values: &'static [(&'static str, &'static str)],
        asked: RefCell<BTreeSet<String>>,
    }

    impl Host {
        fn new(values: &'static [(&'static str, &'static str)]) -> Self {
            Self {
                failing: "",
                values,
                asked: RefCell::default(),
            }
        }
    }

    impl Platform for Host {
        async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
            self.asked.borrow_mut().insert(name.to_owned());
            if name == self.failing {
                let variable = name.to_owned();
                return Err(Error::Variables { variable });
            }
            let value = self.values.iter().find(|(known, _)| *known == name);
            Ok(value.map(|(_, value)| Zeroizing::new((*value).to_owned())))
        }

        fn now(&self) -> u64 {
            0
        }

        fn fill_random(&self, _: &mut [u8]) {}

        fn log(&self, _: &str) {}

        async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Error> {
            Err(Error::StoreUnsupported)
        }

        async fn set(&self, _: &str, _: &[u8]) -> Result<(), Error> {
            Err(Error::StoreUnsupported)
        }

        async fn delete(&self, _: &str) -> Result<(), Error> {
            Err(Error::StoreUnsupported)
        }

        async fn keys(&self) -> Result<Vec<String>, Error> {
            Err(Error::StoreUnsupported)
        }

        async fn increment(&self, _: &str, _: i64) -> Result<i64, Error> {
            Err(Error::StoreUnsupported)
        }

        async fn send(&self, _: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
            Err(Error::OutboundDenied(String::new()))
        }

        async fn sleep(&self, _: Duration) {}
    }

    fn checked(host: Host) -> (Problems, BTreeSet<String>) {
        use futures_util::FutureExt;
        let licences = LicenceServer::new(host);
        let problems = check(&licences).now_or_never().unwrap();
        (problems, licences.platform().asked.borrow().clone())
    }

    #[test]
    fn every_variable_is_read_and_has_a_row() {
        const BAD_CERTIFICATE: &[(&str, &str)] = &[("fairplay_certificate", "%")];
        const POLICIES: &[(&str, &str)] = &[("policies", "[]")];
        let mut asked = BTreeSet::new();
        for values in [BAD_CERTIFICATE, POLICIES] {
            asked.extend(checked(Host::new(values)).1);
        }
        let rows: BTreeSet<String> = VARIABLES.iter().map(|row| row.name.to_owned()).collect();
        assert_eq!(asked, rows);
    }

    #[test]
    fn a_problem_is_data() {
        const VALUES: &[(&str, &str)] = &[
            (
                "fairplay_credentials",
                r#"[{"name":"a","certificate":"%"}]"#,
            ),
            (
                "content_keys",
                r#"[{"id":"a","key":"00"},{"id":"b","key":5}]"#,
            ),
            ("token_keys", r#"{"keys":[{"kty":"oct","k":5}]}"#),
            ("fairplay_rules", r#"{"profile":"other"}"#),
        ];
        let (problems, _) = checked(Host::new(VALUES));
        let found: Vec<_> = problems
            .settings
            .iter()
            .map(|error| {
                (
                    error.variable,
                    error.index,
                    error.member.as_deref(),
                    error.kind,
                )
            })
            .collect();
        use SettingErrorKind::*;
        assert_eq!(
            found,
            [
                (
                    "fairplay_credentials",
                    Some(0),
                    Some("certificate"),
                    Malformed
                ),
                ("content_keys", Some(0), Some("key"), Malformed),
                ("content_keys", Some(1), Some("key"), Malformed),
                ("token_keys", Some(0), None, Malformed),
                ("token_issuer", None, None, Missing),
                ("token_audience", None, None, Missing),
                ("fairplay_rules", None, Some("profile"), Malformed),
            ]
        );
    }

    #[test]
    fn a_host_that_does_not_answer_hides_nothing_else() {
        for Variable { name, .. } in VARIABLES {
            let (problems, asked) = checked(Host {
                failing: name,
                ..Host::new(&[])
            });
            assert_eq!(
                !problems.platform.is_empty(),
                asked.contains(name),
                "{name}"
            );
            assert!(!problems.settings.is_empty(), "{name}");
        }
    }
}
