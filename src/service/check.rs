//! The check of a configuration: every room reads its settings, and everything that is wrong is collected.

use super::cors::Cors;
use super::origin::TrustedHeaders;
use crate::configuration::{Problems, SettingError, SettingErrorKind};
use crate::content_key::none_configured;
use crate::drm::{DrmSystem, KeyHolder, Module};
use crate::fairplay::credentials;
use crate::licence::LicenceServer;
use crate::operator::Operator;
use crate::packaging::Packaging;
use crate::platform::{Platform, Random};
use crate::policy::Policies;
use crate::public_url::PublicUrl;
use crate::session::StoreFailure;
use crate::token;

/// Everything that keeps the configuration of a server from loading. Nothing is asked of the key-value
/// store, or of another server.
pub async fn check<P: Platform>(licences: &LicenceServer<P>) -> Problems {
    let platform = licences.platform();
    let mut problems = Problems::default();
    let credentials = licences.credentials();
    let services = licences.modules().services(platform).await;
    let is_held = |by: KeyHolder| {
        let mut services = services.iter();
        services.any(|(_, holder)| *holder == Ok(Some(by)))
    };
    let (is_held_here, is_held_there) = (is_held(KeyHolder::Here), is_held(KeyHolder::Service));
    let mut needs_keys = true;
    match credentials.check(platform, &mut Random(platform)).await {
        Ok(credentials) if !credentials.is_empty() => {}
        Ok(_) if opens_clear_system(licences).await || is_held_here => {}
        Ok(_) if is_held_there => needs_keys = false,
        Ok(_) => {
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
    for (_, holder) in services {
        problems.add(holder.map(drop));
    }
    let test_credentials = credentials::test_credentials_allowed(platform).await;
    problems.add(test_credentials.map(drop));
    let keys = licences.keys().check(platform).await;
    problems.add(
        keys.or_else(|error| match error == none_configured() && !needs_keys {
            true => Ok(()),
            false => Err(error),
        }),
    );
    problems.add(licences.skd_rules().await.map(drop));
    for checked in Packaging::default().check(platform).await {
        problems.add(checked);
    }
    problems.add(licences.policies().await.and_then(Policies::check));
    let fairplay_terms = licences.modules().fairplay.terms(platform);
    problems.add(fairplay_terms.await.map(drop));
    problems.add(licences.server_secret().await.map(drop));
    problems.add(Operator::load(platform).await.map(drop));
    problems.add(PublicUrl::load(platform).await.map(drop));
    problems.add(TrustedHeaders::load(platform).await.map(drop));
    problems.add(token::query_tokens_allowed(platform).await.map(drop));
    problems.add(token::token_cookies(platform).await.map(drop));
    problems.add(token::cat::UriRule::load(platform).await.map(drop));
    problems.add(StoreFailure::load(platform).await.map(drop));
    problems.add(Cors::read(platform).await.map(drop));
    problems.add(licences.session_period().await.map(drop));
    problems.add(licences.stream_handovers().await.map(drop));
    problems.add(licences.abuse().await.map(drop));
    problems
}

/// Whether a policy opens a system that hands out keys in the clear, which needs no credential.
async fn opens_clear_system<P: Platform>(licences: &LicenceServer<P>) -> bool {
    let policies = licences.policies().await;
    policies.is_ok_and(|policies| DrmSystem::all().any(|system| policies.open(system)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::configuration::{VARIABLES, Variable};
    use crate::platform::test_host::TestHost;

    fn host(values: &[(&'static str, &str)]) -> TestHost {
        TestHost::new(
            values
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        )
    }

    fn checked(host: TestHost) -> (Problems, BTreeSet<String>) {
        use futures_util::FutureExt;
        let licences = LicenceServer::new(host);
        let problems = check(&licences).now_or_never().unwrap();
        (problems, licences.platform().host().asked.borrow().clone())
    }

    #[test]
    fn every_variable_is_read_and_has_a_row() {
        const BAD_CERTIFICATE: &[(&str, &str)] = &[("fairplay_certificate", "%")];
        const ENCRYPTED: &[(&str, &str)] = &[
            ("fairplay_certificate", "%"),
            (
                "fairplay_private_key",
                include_str!("../../fixtures/credentials/sdk4-encrypted.pem"),
            ),
        ];
        const POLICIES: &[(&str, &str)] = &[("policies", "[]")];
        let mut asked = BTreeSet::new();
        for values in [BAD_CERTIFICATE, ENCRYPTED, POLICIES] {
            asked.extend(checked(host(values)).1);
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
        let (problems, _) = checked(host(VALUES));
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
        // Where the one that may hold all does not answer, none does.
        for &Variable { name, .. } in &VARIABLES[1..] {
            let mut host = TestHost::default();
            host.failing = name;
            let (problems, asked) = checked(host);
            assert_eq!(
                !problems.platform.is_empty(),
                asked.contains(name),
                "{name}"
            );
            assert!(!problems.settings.is_empty(), "{name}");
        }
    }
}
