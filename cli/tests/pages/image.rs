//! The image and Compose's file. There is no Docker here: what they say is read, and done without it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use keylet_e2e::processes::{Process, free_port, wait_for};
use keylet_e2e::skip;
use serde_json::Value;

use crate::page::repository;
use crate::stage::{Stage, curl, licence};
use crate::store::redis;

fn file(path: &str) -> String {
    std::fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The instructions of the `Dockerfile`, with lines that go on in the next one joined.
fn instructions() -> Vec<(String, String)> {
    let text = file("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// The values of one instruction.
fn values(name: &str) -> Vec<String> {
    let own = instructions()
        .into_iter()
        .filter(|(found, _)| found == name);
    own.map(|(_, value)| value).collect()
}

/// The words of an instruction in its form of a list.
fn list(value: &str) -> Vec<String> {
    serde_json::from_str(value).unwrap_or_else(|error| panic!("{value}: {error}"))
}

#[test]
fn the_image_is_built_as_the_gate_builds_and_runs_as_nobody() {
    let [build, last] = values("FROM").try_into().expect("two stages");
    let toolchain = file("rust-toolchain.toml");
    let version = build
        .strip_prefix("rust:")
        .unwrap()
        .split('-')
        .next()
        .unwrap();
    assert!(
        toolchain.contains(&format!("channel = \"{version}\"")),
        "{build}"
    );
    assert!(last.starts_with("gcr.io/distroless/"), "{last}");

    // What is copied from the folder is there, and what is copied from the first stage was put there.
    let run = values("RUN").join("\n");
    for copy in values("COPY") {
        let words: Vec<_> = copy.split_whitespace().collect();
        let (_, sources) = words.split_last().unwrap();
        match sources {
            ["--from=build", source] => assert!(run.contains(&format!(" {source}")), "{copy}"),
            sources => {
                for source in sources {
                    assert!(repository().join(source).exists(), "{copy}");
                }
            }
        }
    }
    let command = "cargo build --release --locked";
    assert!(
        run.contains(command) && file(".ci/run").contains(command),
        "{run}"
    );
    assert!(run.contains("target/release/keylet "), "{run}");
    assert_eq!(values("USER"), ["65534:65534"]);
    assert!(
        values("ENV").is_empty() && values("ARG").is_empty(),
        "a secret could be there"
    );
}

#[test]
fn no_secret_gets_into_the_context_of_a_build() {
    let ignored = file(".dockerignore");
    for line in file(".gitignore").lines() {
        let Some(pattern) = line
            .split('#')
            .next()
            .filter(|line| !line.is_empty() && !line.starts_with('!'))
        else {
            continue;
        };
        let pattern = format!("**/{}", pattern.trim_matches('/'));
        assert!(
            ignored.lines().any(|line| line == pattern),
            ".dockerignore has no {pattern}"
        );
    }
}

/// What the last stage of the image has, without Docker: nobody, in a root that it cannot write to, with the program
/// and its libraries.
#[test]
fn the_program_runs_as_nobody_in_a_root_that_it_cannot_write_to() {
    let test = "a root without anything";
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        skip("root", test, "only root may change the root of a process");
        return;
    }
    let directory = keylet_e2e::processes::Directory::new("image");
    let program = env!("CARGO_BIN_EXE_keylet");
    let needed = Command::new("ldd").arg(program).output().unwrap();
    let needed = String::from_utf8(needed.stdout).unwrap();
    let libraries = needed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let place = |from: &str, to: &str| {
        let to = directory.file(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, &to).unwrap();
    };
    for library in libraries {
        place(library, library);
        // What distroless/cc has: a C library, its mathematics, and the compiler's own.
        let name = Path::new(library).file_name().unwrap().to_str().unwrap();
        let known = [
            "libgcc_s.so.1",
            "libm.so.6",
            "libc.so.6",
            "ld-linux-x86-64.so.2",
            "ld-linux-aarch64.so.1",
        ];
        assert!(known.contains(&name), "the image has no {name}");
    }
    let entrypoint = list(&values("ENTRYPOINT")[0]);
    place(program, &entrypoint[0]);
    std::fs::set_permissions(&directory.0, std::fs::Permissions::from_mode(0o755)).unwrap();

    let [port, metrics] = [free_port(), free_port()];
    let arguments = list(&values("CMD")[0]);
    let arguments = arguments.iter().map(|argument| {
        let argument = argument.replace("0.0.0.0:3000", &format!("127.0.0.1:{port}"));
        argument.replace("0.0.0.0:9100", &format!("127.0.0.1:{metrics}"))
    });
    let in_root = |command: &[String]| {
        let mut chroot = Command::new("chroot");
        chroot
            .arg("--userspec=65534:65534")
            .arg(&directory.0)
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin");
        chroot
    };
    let mut serve = in_root(&entrypoint);
    for (name, value) in keylet_cli::fixtures::variables() {
        serve.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
    }
    let log = directory.0.with_extension("log");
    let output = std::fs::File::create(&log).unwrap();
    serve
        .args(arguments)
        .stdout(output.try_clone().unwrap())
        .stderr(output);
    let _server = Process(serve.spawn().unwrap());
    let healthy = list(values("HEALTHCHECK")[0].split_once("CMD ").unwrap().1);
    let ask = |url: &str| in_root(&healthy).arg(url).output().unwrap();
    wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let said = ask(&format!("http://127.0.0.1:{port}"));
    let log_text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    assert!(said.status.success(), "{said:?}\n{log_text}");
    // A port where nobody is.
    let said = ask(&format!("http://127.0.0.1:{}", free_port()));
    assert!(!said.status.success(), "{said:?}");
}

/// The variables of Compose's page, and the service as `compose.yaml` has it, with its store in a Redis of the test.
pub fn compose_variables(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.bring("fixtures/credentials/sdk4.cer", "fairplay.cer");
    stage.bring("fixtures/credentials/sdk4.pem", "privatekey.pem");
    stage.set(
        "KEYLET_ASK",
        &keylet_cli::fixtures::variables()["fairplay_ask"],
    );
    stage.type_blocks();
    let compose: Value = serde_yaml_ng::from_str(&file("compose.yaml")).unwrap();
    let service = &compose["services"]["keylet"];
    assert_eq!(service["env_file"], ".env");
    // Compose reads values in quotes as they are: a shell does the same.
    let sourced = stage
        .succeed("set -a; . ./.env; printf %s \"$SPIN_VARIABLE_TOKEN_KEYS\"")
        .stdout;
    assert!(serde_json::from_str::<Value>(&sourced).is_ok());

    assert_eq!(service["build"], ".");
    assert_eq!(service["user"], "65534:65534");
    assert_eq!(service["read_only"], true);
    for volume in service["volumes"].as_array().unwrap() {
        let source = volume.as_str().unwrap().split(':').next().unwrap();
        assert!(repository().join(source).exists(), "{source}");
    }
    let services = compose["services"].as_object().unwrap();
    for name in service["depends_on"].as_object().unwrap().keys() {
        assert!(services[name]["healthcheck"]["test"].is_array(), "{name}");
    }
    let ports = service["ports"][0].as_str().unwrap();
    assert!(
        ports.starts_with("127.0.0.1:"),
        "without TLS it is for this machine alone: {ports}"
    );

    let Some((_redis, port)) = redis(&stage) else {
        return;
    };
    let configuration = file("examples/compose/runtime-config.toml");
    let at = "redis://valkey:6379";
    assert!(configuration.contains(at) && services.contains_key("valkey"));
    stage.write(
        "runtime-config.toml",
        &configuration.replace(at, &format!("redis://127.0.0.1:{port}")),
    );
    let command: Vec<_> = service["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    let command = command
        .join(" ")
        .replace("0.0.0.0:3000", &stage.listen)
        .replace("0.0.0.0:9100", &format!("127.0.0.1:{}", free_port()))
        .replace("/etc/keylet/", "./");
    stage.configure_fixtures();
    stage.succeed(&format!("keylet {command}"));
    let url = format!("http://{}", stage.listen);
    let (_, health) = curl(&stage, &format!("'{url}/healthz?store'"));
    assert!(health.contains(r#""store":"available""#), "{health}");
    assert_eq!(
        licence(&stage, &format!("{url}/fairplay"), "million-uses"),
        "200"
    );
    assert!(stage.succeed("redis-cli --scan").stdout.contains("use/"));
    stage.succeed(&format!("keylet health {url}"));

    // What does not load is named, and the check fails.
    let mut broken = Stage::new(test);
    broken.configure("token_keys", "{");
    broken.succeed("keylet serve --in-memory");
    let said = broken.run(&format!("keylet health http://{}", broken.listen));
    assert!(
        !said.is_success && said.stdout.contains("token_keys: "),
        "{}",
        said.stdout
    );
}

#[test]
fn the_command_line_is_installed_under_its_name() {
    let manifest: toml::Table = toml::from_str(&file("cli/Cargo.toml")).unwrap();
    let binary = manifest["bin"][0].as_table().unwrap();
    assert_eq!(binary["name"].as_str(), Some("keylet"));
    let binstall = &manifest["package"]["metadata"]["binstall"];
    let url = binstall["pkg-url"].as_str().unwrap();
    assert!(
        url.contains("{ version }") && url.contains("{ target }"),
        "{url}"
    );
    let inside = binstall["bin-dir"].as_str().unwrap();
    assert!(inside.ends_with("{ bin }{ binary-ext }"), "{inside}");
}
