//! The pages: their commands are typed, their links lead somewhere, and what they name is there.
//!
//! A block of commands has a marker on the line before it, `<!-- run: NAME -->` or `<!-- not run: REASON -->`. The test
//! of that name reads the block from the page and types it. A block without a marker fails the tests, and so does a
//! name that is no test.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation does")]

mod first_hour;
mod hosts;
mod image;
mod kubernetes;
mod monitoring;
mod operators;
mod packaging;
mod page;
mod pipeline;
mod rules;
mod runbook;
mod scale;
mod stage;
mod store;
mod supply_chain;

/// Tests that type blocks: the name that the pages have, and the function.
macro_rules! typed {
    ($($name:literal => $module:ident::$function:ident),* $(,)?) => {
        /// The names that a marker may have.
        const TESTS: &[&str] = &[$($name),*];

        /// The functions of these tests.
        const TYPED: &[&str] = &[$(stringify!($function)),*];

        mod typed {
            $(
                #[test]
                fn $function() {
                    crate::$module::$function($name);
                }
            )*
        }
    };
}

typed! {
    "gate" => first_hour::gate,
    "first-licence" => first_hour::first_licence,
    "first-keys" => first_hour::first_keys,
    "keys" => first_hour::keys,
    "stored-keys" => store::stored_keys,
    "own-keys" => first_hour::own_keys,
    "subcommands" => first_hour::subcommands,
    "smoke" => first_hour::smoke,
    "signing-request" => first_hour::signing_request,
    "signing-request-by-openssl" => first_hour::signing_request_by_openssl,
    "import" => first_hour::import,
    "kubernetes-secret" => first_hour::kubernetes_secret,
    "doctor" => first_hour::doctor,
    "development" => first_hour::development,
    "policies" => first_hour::policies,
    "licence" => pipeline::licence,
    "licence-of-another-server" => pipeline::licence_of_another_server,
    "github-actions" => pipeline::github_actions,
    "gitlab" => pipeline::gitlab,
    "packaging" => packaging::packaging,
    "operator" => operators::operator,
    "sweep" => store::sweep,
    "outbound-hosts" => hosts::outbound_hosts,
    "runtime-config" => hosts::runtime_config,
    "embedded" => hosts::embedded,
    "tls" => hosts::tls,
    "unit" => hosts::unit,
    "wasmtime" => hosts::wasmtime_serve,
    "unit-wasmtime" => hosts::unit_wasmtime,
    "proxy" => hosts::proxy,
    "rate-limits" => hosts::rate_limits,
    "spinapp" => hosts::spinapp,
    "beside-spinapp" => kubernetes::beside_spinapp,
    "kubernetes-secrets" => kubernetes::secrets,
    "monitoring" => monitoring::monitoring,
    "compose-variables" => image::compose_variables,
    "cat" => operators::cat,
    "report" => operators::report,
    "stop" => operators::stop,
    "upgrade" => operators::upgrade,
    "backup" => store::backup,
    "backup-of-redis" => store::backup_of_redis,
    "content-key-known" => runbook::content_key,
    "token-key-known" => runbook::token_key,
    "operator-token-known" => runbook::operator_token,
    "encryption-key-known" => runbook::encryption_key,
    "certificate-ends" => runbook::certificate,
    "ask-known" => runbook::ask_known,
    "ask-lost" => runbook::ask,
    "issuer-rotated" => runbook::issuer,
    "store-gone" => runbook::store,
    "clock-wrong" => runbook::clock,
    "refusals" => runbook::flood,
}
