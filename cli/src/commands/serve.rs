//! `keylet serve`

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::FutureExt;
use http::Uri;
use keylet::fairplay::credentials::CERTIFICATE;
use keylet::licence::LicenceServer;
use keylet::platform;
use keylet::service::Service;

use crate::built_in;
use crate::log::{self, LogFormat};
use crate::progress::while_waiting;
use crate::settings::Settings;
use keylet_host::{
    AllowedHosts, Application, Assignment, AuditTo, Options, Provided, Resolved, Reuse, Server,
    StoreChoice, TelemetrySettings, TlsFiles, World, most_of_a_network, provided,
};

/// The default path of the key-value store, below the state directory.
const STORE: &str = "key_value.redb";

/// The manifest that Spin reads where none is named.
const MANIFEST: &str = "spin.toml";

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet serve
  keylet serve --listen 0.0.0.0:3000 --variable token_keys=@jwks.json --runtime-config-file runtime.toml
  keylet serve --listen :443 --tls-cert fullchain.pem --tls-key privkey.pem
  keylet serve --world wasi --env SPIN_VARIABLE_TOKEN_ISSUER=https://login.example.com
";

/// Serve an application in the embedded host.
#[derive(Args)]
pub struct Arguments {
    /// Address to listen at: `127.0.0.1:3000`, `localhost:3000`, `3000` (on loopback), `:3000` (on every interface).
    /// Several may be given
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Certificate for TLS in PEM, followed by those between it and its authority. It is read again at SIGHUP
    #[arg(long, value_name = "FILE", env = "SPIN_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate for TLS in PEM, not encrypted
    #[arg(long, value_name = "FILE", env = "SPIN_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How long to go on answering after SIGTERM, such as 500ms or 10s, while /healthz answers 503 so that balancers
    /// send no more. Ctrl-C stops at once
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    drain_time: Duration,
    /// What the host provides to the component
    #[arg(long, value_enum, default_value_t)]
    world: World,
    /// A `spin.toml` whose component is built; without it, the application built into this program
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// An application variable: name=value, or name=@file. The environment has them too, as
    /// `SPIN_VARIABLE_NAME`, which keeps secrets out of the argument list. Files are read again at
    /// SIGHUP
    #[arg(long = "variable", value_name = "NAME=VALUE|NAME=@FILE")]
    variables: Vec<Assignment>,
    /// An environment variable of the component, in the world `wasi`: NAME takes it over from this
    /// process, which keeps secrets out of the argument list
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = environment)]
    environment: Vec<(String, String)>,
    /// A runtime configuration file of Spin: `[key_value_store.default]` chooses the store,
    /// `[[variables_provider]]` of type `static` or `env` provides variables
    #[arg(long, value_name = "FILE")]
    runtime_config_file: Option<PathBuf>,
    /// Directory of the key-value store when no file says where it is
    #[arg(long, value_name = "DIRECTORY", default_value = ".keylet")]
    state_dir: PathBuf,
    /// Keep the key-value store in memory, and forget it at the end
    #[arg(long, conflicts_with_all = ["runtime_config_file", "state_dir"])]
    in_memory: bool,
    /// Address of the metrics for Prometheus, at /metrics. No password is asked for there
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    metrics: Option<SocketAddr>,
    /// How the log on standard error is written [default: text on a terminal, else json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Requests that an instance answers in all [default: 128 on WASI 0.3, else 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_instance_reuse_count: Option<u32>,
    /// Requests that an instance answers at a moment [default: 16 on WASI 0.3, else 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_instance_concurrent_reuse_count: Option<u32>,
    /// How long an instance waits for another request, such as 500ms or 1s [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    idle_instance_timeout: Option<Duration>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    log::to_stderr(arguments.log_format);
    if !arguments.environment.is_empty() && arguments.world != World::Wasi {
        bail!("Spin gives a component no environment: use --variable");
    }
    let mut application = match &arguments.from {
        Some(path) => Application::from_manifest(path, arguments.world, arguments.provided()?)?,
        None => built_in(arguments.world, arguments.provided()?)?,
    };
    application.environment.clone_from(&arguments.environment);
    let readiness = Readiness::of(&application)?;
    readiness.log();
    if arguments.from.is_none() && Path::new(MANIFEST).is_file() {
        tracing::warn!(
            "{MANIFEST} in this directory is not read, nor its `allowed_outbound_hosts`: the application is the one in \
             this program. --from {MANIFEST} serves that one"
        );
    }
    let options = Options {
        listen: arguments.listen.clone(),
        tls: arguments.tls(),
        takes_signals: true,
        audit: AuditTo::StandardOutput,
        metrics: arguments.metrics,
        telemetry: TelemetrySettings::from_environment(|name| std::env::var(name).ok())?,
        store: arguments.store()?,
        reuse: Some(arguments.reuse()?),
        most_connections: most_of_a_network(),
        ..Options::quiet()
    };
    let start = || Server::start(application, &options);
    let server = while_waiting("compiling the component", start);
    let server = server.map_err(|error| arguments.explain(error))?;
    match readiness.problems.len() {
        0 => tracing::info!("ready"),
        1 => tracing::error!("not ready: every licence will be refused until this is mended"),
        problems => tracing::error!(
            problems,
            "not ready: every licence will be refused until these are mended"
        ),
    }
    server.run_until_interrupted(
        arguments.drain_time,
        || arguments.provided(),
        |old, new| match problems(new) {
            problems if !problems.is_empty() && self::problems(old).is_empty() => {
                bail!("{}", problems.join("; "))
            }
            _ => Ok(()),
        },
    )
}

/// What was read before a server starts, and what is wrong with it.
struct Readiness {
    /// The variables that are set, by name.
    read: Vec<String>,
    /// Variables that the application does not know, each with a known one of nearly the same name.
    unknown: Vec<(String, Option<String>)>,
    /// What is wrong, each problem by its variable.
    problems: Vec<String>,
    /// Issuers that the component may not ask for their keys, each in a sentence.
    denied: Vec<String>,
}

impl Readiness {
    fn of(application: &Application) -> Result<Self> {
        let known = &application.manifest.variables;
        let mut unknown: Vec<(String, Option<String>)> = application
            .provided
            .keys()
            .filter(|name| !known.contains_key(*name))
            .map(|name| (name.clone(), nearest(name, known.keys()).cloned()))
            .collect();
        unknown.sort();
        let resolved = application.resolved()?;
        let mut read: Vec<String> = resolved
            .iter()
            .filter(|(name, value)| !value.is_empty() && application.provided.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        read.sort();
        // Another component has variables of its own, or none.
        let is_keylet = known.contains_key(CERTIFICATE);
        let (problems, denied) = match is_keylet && application.environment.is_empty() {
            true => (
                problems(&resolved),
                denied(&resolved, &application.allowed_hosts()?),
            ),
            false => (Vec::new(), Vec::new()),
        };
        Ok(Self {
            read,
            unknown,
            problems,
            denied,
        })
    }

    fn log(&self) {
        match self.read.as_slice() {
            [] => tracing::warn!(
                "no variable is set: neither by --variable, nor in the environment, nor in .env"
            ),
            read => tracing::info!(variables = read.join(", "), "read"),
        }
        for (name, nearest) in &self.unknown {
            match nearest {
                Some(nearest) => {
                    tracing::warn!("there is no variable {name}; perhaps {nearest} is meant");
                }
                None => tracing::warn!("there is no variable {name}"),
            }
        }
        for problem in &self.problems {
            tracing::error!("{problem}");
        }
        for denied in &self.denied {
            tracing::warn!("{denied}");
        }
    }
}

/// The known name that is most like another one.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let like = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let nearest = like.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    Some(nearest.1).filter(|_| nearest.0 > 0.6)
}

/// What keeps Keylet from serving with these variables, each problem in a sentence.
fn problems(variables: &Resolved) -> Vec<String> {
    let service = Service::new(Settings(variables.clone()));
    // The check does not wait: variables are at hand, and no other server is asked.
    let problems = service.check().now_or_never();
    problems.map_or(Vec::new(), |problems| problems.messages().collect())
}

/// The issuers whose keys are at a URL that the component may not ask, each in a sentence. Nobody is asked.
fn denied(variables: &Resolved, allowed: &AllowedHosts) -> Vec<String> {
    let licences = LicenceServer::new(Settings(variables.clone()));
    let policies = licences.policies().now_or_never();
    let Some(Ok(policies)) = policies else {
        return Vec::new();
    };
    let urls = policies.options().iter().filter_map(|option| {
        let url: Uri = option.remote_keys()?.location().url().parse().ok()?;
        Some(url)
    });
    let denied = urls.filter(|url| !allowed.allow(url)).map(|url| {
        format!(
            "{}: {} is not in `allowed_outbound_hosts` of the application, so the keys there cannot be fetched and \
             their tokens are refused: give a manifest that has it with --from",
            policies.variable(),
            platform::origin(&url)
        )
    });
    denied.collect()
}

impl Arguments {
    /// An error at the start, with the flag that it is about.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let kind = error.root_cause().downcast_ref::<std::io::Error>();
        let is_listening = format!("{error}").starts_with("listening on");
        let Some(kind) = kind.map(std::io::Error::kind).filter(|_| is_listening) else {
            return error;
        };
        let is_metrics = |address: SocketAddr| format!("{error}").contains(&address.to_string());
        let flag = match self.metrics {
            Some(address) if !self.listen.contains(&address) && is_metrics(address) => "--metrics",
            _ => "--listen",
        };
        match kind {
            ErrorKind::AddrInUse => error.context(format!(
                "another program listens there already: stop it, or give another port with {flag}"
            )),
            ErrorKind::AddrNotAvailable => error.context(format!(
                "this machine has no such address: give another one with {flag}"
            )),
            ErrorKind::PermissionDenied => error.context(format!(
                "this user may not listen there: give a port from 1024 on with {flag}"
            )),
            _ => error,
        }
    }

    fn provided(&self) -> Result<Provided> {
        provided(&self.variables, self.runtime_config_file.as_deref())
    }

    fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { certificate, key })
    }

    fn store(&self) -> Result<StoreChoice> {
        if self.in_memory {
            return Ok(StoreChoice::Memory);
        }
        let configured = match &self.runtime_config_file {
            Some(path) => StoreChoice::from_runtime_config(path)?,
            None => None,
        };
        Ok(configured.unwrap_or_else(|| StoreChoice::File(self.state_dir.join(STORE))))
    }

    fn reuse(&self) -> Result<Reuse> {
        let default = self.world.default_reuse();
        let number = |given: Option<u32>, default| given.map_or(Ok(default), usize::try_from);
        let reuse = Reuse {
            total: number(self.max_instance_reuse_count, default.total)?,
            concurrent: number(self.max_instance_concurrent_reuse_count, default.concurrent)?,
            idle: self.idle_instance_timeout.unwrap_or(default.idle),
        };
        if self.world != World::Wasip3 && (reuse.total, reuse.concurrent) != (1, 1) {
            bail!("instances of WASI 0.2 are made for one request each");
        }
        Ok(reuse)
    }
}

/// Reads an address to listen at. A port alone is on loopback, a colon and a port on every interface.
fn address(text: &str) -> Result<SocketAddr> {
    let address = match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("127.0.0.1:{text}"),
        None => text.to_owned(),
    };
    let mut addresses = address
        .to_socket_addrs()
        .context("an address is a host and a port, such as 127.0.0.1:3000")?;
    addresses.next().context("the name has no address")
}

/// Reads the argument of `--env`.
fn environment(argument: &str) -> Result<(String, String)> {
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => (
            argument,
            std::env::var(argument).with_context(|| format!("{argument} is not set"))?,
        ),
    };
    Ok((name.to_owned(), value))
}

/// Reads a duration in seconds or milliseconds.
pub fn duration(text: &str) -> Result<Duration> {
    let (number, unit): (&str, fn(u64) -> Duration) =
        match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(number), _) => (number, Duration::from_millis),
            (None, Some(number)) => (number, Duration::from_secs),
            (None, None) => (text, Duration::from_secs),
        };
    number
        .parse()
        .map(unit)
        .context("a duration is a whole number and `s` or `ms`")
}
