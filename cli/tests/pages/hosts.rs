//! What an operator types on each host, and the proxy before it.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use keylet_e2e::processes::{Process, free_port, wait_for};
use keylet_e2e::skip;
use keylet_host::{Manifest, StoreChoice, World};
use serde_json::{Value, json};

use crate::page::{Block, repository};
use crate::stage::{Stage, curl, licence, token};

pub fn outbound_hosts(test: &'static str) {
    let stage = Stage::new(test);
    let empty = "allowed_outbound_hosts = []\n";
    assert!(keylet_cli::MANIFEST.contains(empty));
    let manifest = keylet_cli::MANIFEST.replace(empty, &stage.script());
    let manifest = Manifest::parse(&manifest).unwrap();
    assert_eq!(
        manifest.variables.len(),
        Manifest::parse(keylet_cli::MANIFEST)
            .unwrap()
            .variables
            .len()
    );
}

pub fn runtime_config(test: &'static str) {
    let stage = Stage::new(test);
    stage.write("runtime-config.toml", &stage.script());
    let path = stage.file("runtime-config.toml");
    let store = StoreChoice::from_runtime_config(&path).unwrap();
    assert!(
        matches!(store, Some(StoreChoice::Redis(url)) if url == "redis://redis.example.com:6379")
    );
    assert!(
        keylet_host::fetches_variables(&path).unwrap(),
        "variables come from the Vault"
    );
}

pub fn embedded(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.configure_fixtures();
    let metrics = format!("127.0.0.1:{}", free_port());
    stage.replace("127.0.0.1:9100", &metrics);
    stage.type_blocks();
    assert_licence(&stage);
    let (status, figures) = curl(&stage, &format!("http://{metrics}/metrics"));
    assert_eq!(status, "200");
    assert!(figures.contains("keylet_requests_total"), "{figures}");
}

pub fn tls(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.configure_fixtures();
    stage.replace("0.0.0.0:3443", &stage.listen.clone());
    stage.succeed(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout privkey.pem -out fullchain.pem -subj /CN=localhost \
         -addext subjectAltName=IP:127.0.0.1 -days 2 2>/dev/null",
    );
    stage.type_blocks();
    let url = format!("--cacert fullchain.pem https://{}/fairplay", stage.listen);
    assert_eq!(licence(&stage, &url, "hs256"), "200");
}

/// The server that listens where the page says answers a device.
fn assert_licence(stage: &Stage) {
    let url = format!("http://{}/fairplay", stage.listen);
    assert_eq!(licence(stage, &url, "hs256"), "200");
}

/// The lines of a unit of systemd under a name, with lines that go on in the next one joined.
fn settings(unit: &Block, name: &str) -> Vec<String> {
    let text = unit.text.replace("\\\n", " ");
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

/// `systemd-analyze verify`, where there is systemd.
fn verify(stage: &Stage, unit: &Block) {
    stage.write("keylet.service", &unit.text);
    let there = Command::new("systemd-analyze").arg("--version").output();
    if !there.is_ok_and(|there| there.status.success()) {
        skip("systemd", stage.test, "there is no systemd-analyze");
        return;
    }
    let said = stage
        .run("systemd-analyze verify --man=no ./keylet.service 2>&1 || true")
        .stdout;
    // The program is not where the unit has it, and this machine has units of its own.
    let own = said
        .lines()
        .filter(|line| line.contains("keylet.service") && !line.contains("is not executable"));
    assert_eq!(own.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// What systemd does for the unit of the embedded host, without systemd.
pub fn unit(test: &'static str) {
    let mut stage = Stage::new(test);
    let unit = stage.blocks[0].clone();
    verify(&stage, &unit);
    let variables = keylet_cli::fixtures::variables();
    std::fs::create_dir_all(stage.file("etc")).unwrap();
    std::fs::create_dir_all(stage.file("credentials")).unwrap();
    let pem = std::fs::read_to_string(repository().join("fixtures/credentials/sdk4.pem")).unwrap();
    let files = [
        ("private-key.pem", pem.as_str()),
        ("ask", &variables["fairplay_ask"]),
        ("content-keys.json", &variables["content_keys"]),
        ("token-keys.json", &variables["token_keys"]),
    ];
    for (name, text) in files {
        stage.write(&format!("etc/{name}"), text);
    }
    // The page says how a certificate in DER becomes the PEM that the unit names.
    stage.bring("fixtures/credentials/sdk4.cer", "fairplay.cer");
    stage.succeed("openssl x509 -inform der -in fairplay.cer -out etc/fairplay.pem");
    for credential in settings(&unit, "LoadCredential") {
        let (name, path) = credential.split_once(':').unwrap();
        let from = path.strip_prefix("/etc/keylet/").unwrap();
        std::fs::copy(
            stage.file("etc").join(from),
            stage.file("credentials").join(name),
        )
        .unwrap();
    }
    for variable in settings(&unit, "Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        let value = if name.ends_with("ISSUER") {
            "https://issuer.example"
        } else {
            value
        };
        stage.set(name, value);
    }
    let directory = stage.file("").display().to_string();
    stage.set("STATE_DIRECTORY", &format!("{directory}/state"));
    stage.set("CREDENTIALS_DIRECTORY", &format!("{directory}/credentials"));
    let command = settings(&unit, "ExecStart").remove(0);
    let metrics = format!("127.0.0.1:{}", free_port());
    let command = stage.replaced(&command).replace("127.0.0.1:9100", &metrics);
    stage.succeed(
        &command
            .replace("/usr/local/bin/keylet", "keylet")
            .replace("/etc/keylet", &format!("{directory}/etc")),
    );
    assert_licence(&stage);
    assert!(stage.file("state/key_value.redb").exists());
}

/// `wasmtime` under the name that the pages have; `false` where there is none.
fn wasmtime(stage: &Stage) -> bool {
    let program =
        std::env::var("KEYLET_WASMTIME").unwrap_or_else(|_| "/usr/local/bin/wasmtime".to_owned());
    let there = Command::new(&program).arg("--version").output();
    if !there.is_ok_and(|there| there.status.success()) {
        skip("wasmtime", stage.test, "there is no wasmtime");
        return false;
    }
    stage.server("wasmtime", &program, "--addr");
    // What the page builds.
    let folder = stage.file("target/wasm32-wasip2/component");
    std::fs::create_dir_all(&folder).unwrap();
    let component = keylet_cli::component(World::Wasi).unwrap();
    std::fs::write(folder.join("keylet_wasi.wasm"), component).unwrap();
    true
}

pub fn wasmtime_serve(test: &'static str) {
    // The README and the page of the host, each for itself.
    for block in Stage::new(test).blocks.clone() {
        let mut stage = Stage::new(test);
        if !wasmtime(&stage) {
            return;
        }
        stage.blocks = vec![block];
        stage.configure_fixtures();
        stage.type_blocks();
        assert_eq!(stage.servers().len(), 1, "{}", stage.blocks[0]);
        assert_licence(&stage);
    }
}

pub fn unit_wasmtime(test: &'static str) {
    let stage = Stage::new(test);
    let unit = stage.blocks[0].clone();
    verify(&stage, &unit);
    if !wasmtime(&stage) {
        return;
    }
    std::fs::copy(
        repository().join("fixtures/variables.env"),
        stage.file("variables.env"),
    )
    .unwrap();
    let file = settings(&unit, "EnvironmentFile").remove(0);
    assert_eq!(file, "/etc/keylet/variables.env");
    let command = stage.replaced(&settings(&unit, "ExecStart").remove(0));
    let component = stage
        .file("target/wasm32-wasip2/component")
        .display()
        .to_string();
    let command = command
        .replace("/usr/local/bin/wasmtime", "wasmtime")
        .replace("/srv/keylet", &component);
    stage.succeed(&format!("set -a; . ./variables.env; set +a\n{command}"));
    assert_licence(&stage);
}

/// An nginx before a server with the fixtures.
struct Proxy {
    _nginx: Process,
    /// What curl needs to reach it under the name of its certificate.
    options: String,
    /// Its URL.
    url: String,
}

/// An nginx with a block of a page in its `http`; `None` where there is none.
fn nginx(stage: &mut Stage) -> Option<Proxy> {
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(program) = program else {
        skip("nginx", stage.test, "there is no nginx");
        return None;
    };
    stage.configure_fixtures();
    stage.succeed("keylet serve --in-memory");
    let directory = stage.file("").display().to_string();
    let port = free_port();
    stage.replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"));
    stage.replace("/etc/ssl/", &directory);
    stage.replace("/var/log/nginx/", &directory);
    stage.succeed(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout drm.example.com.key -out drm.example.com.pem \
         -subj /CN=drm.example.com -addext subjectAltName=DNS:drm.example.com -days 2 2>/dev/null",
    );
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {directory}{name};\n"))
        .concat();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {directory}nginx.pid;\nerror_log {directory}error.log;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{}\n}}\n",
        stage.script()
    );
    stage.write("nginx.conf", &configuration);
    let nginx = Command::new(program)
        .args(["-p", &directory, "-c"])
        .arg(stage.file("nginx.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let nginx = Process(nginx.unwrap());
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(Proxy {
        _nginx: nginx,
        options: format!("--cacert drm.example.com.pem --resolve drm.example.com:{port}:127.0.0.1"),
        url: format!("https://drm.example.com:{port}"),
    })
}

pub fn proxy(test: &'static str) {
    let mut stage = Stage::new(test);
    let Some(Proxy { options, url, .. }) = &nginx(&mut stage) else {
        return;
    };
    assert_eq!(
        licence(&stage, &format!("{options} {url}/fairplay"), "hs256"),
        "200"
    );
    // A token in the query works, and is in no log.
    let secret = token("rs256");
    let spc = repository().join("fixtures/spc/v1.bin");
    let in_query = format!(
        "{options} --data-binary @{} '{url}/fairplay?token={secret}'",
        spc.display()
    );
    assert_eq!(curl(&stage, &in_query).0, "200");
    // A refusal has its code in the log.
    assert_eq!(
        licence(&stage, &format!("{options} {url}/fairplay"), "expired"),
        "401"
    );
    let log = stage.read("keylet.log");
    assert!(
        log.contains("token_expired") && log.contains("POST /fairplay"),
        "{log}"
    );
    assert!(!log.contains(&secret) && !log.contains("token="), "{log}");
}

pub fn rate_limits(test: &'static str) {
    let mut stage = Stage::new(test);
    let Some(Proxy { options, url, .. }) = &nginx(&mut stage) else {
        return;
    };
    // 100 requests at once: how many are answered with each status.
    let at_once = |path: &str| {
        let parallel =
            "curl -sS -Z --parallel-immediate --parallel-max 100 -o /dev/null -w '%{http_code}\\n'";
        let answers = stage
            .succeed(&format!("{parallel} {options} '{url}{path}?[1-100]'"))
            .stdout;
        let count = |status: &str| answers.lines().filter(|line| *line == status).count();
        (count("200"), count("429"))
    };
    let (answered, refused) = at_once("/openapi.json");
    assert!(
        answered >= 40 && refused > 0 && answered + refused == 100,
        "{answered} and {refused}"
    );
    // What every player asks for first is not counted, and an operator's address is let in.
    assert_eq!(at_once("/fairplay/certificate"), (100, 0));
    assert_eq!(curl(&stage, &format!("{options} {url}/healthz")).0, "200");
    // Without an `operator_token` it is not there.
    assert_eq!(
        curl(&stage, &format!("{options} -X POST {url}/fairplay/inspect")).0,
        "404"
    );
}

/// The manifest of `SpinKube` names variables that are declared, and keys of the Secret that `credentials import` writes.
pub fn spinapp(test: &'static str) {
    let stage = Stage::new(test);
    let documents: Vec<Value> = stage.blocks[0]
        .text
        .split("---\n")
        .map(|text| serde_yaml_ng::from_str(text).unwrap())
        .collect();
    let [secret, app] = documents.as_slice() else {
        panic!("a Secret and a SpinApp");
    };
    assert_eq!(
        (secret["kind"].as_str(), app["kind"].as_str()),
        (Some("Secret"), Some("SpinApp"))
    );
    stage.succeed(
        "keylet credentials new --development --common-name test --out-dir fairplay\n\
         keylet credentials import fairplay --format kubernetes --out fairplay.yaml",
    );
    let imported: Value =
        serde_yaml_ng::from_str(stage.read("fairplay.yaml").split("---").next().unwrap()).unwrap();
    let keys_of = |name: &str| {
        let secret = if name == "keylet" { secret } else { &imported };
        assert_eq!(secret["metadata"]["name"], name);
        let data = [&secret["stringData"], &secret["data"]];
        data.iter()
            .filter_map(|data| data.as_object())
            .flat_map(|data| data.keys().cloned())
            .collect::<BTreeSet<_>>()
    };
    let manifest = Manifest::parse(keylet_cli::MANIFEST).unwrap();
    let variables = app["spec"]["variables"].as_array().unwrap();
    assert!(variables.len() > 5);
    for variable in variables {
        let name = variable["name"].as_str().unwrap();
        assert!(manifest.variables.contains_key(name), "{name}");
        if let Some(reference) = variable["valueFrom"]["secretKeyRef"].as_object() {
            let keys = keys_of(reference["name"].as_str().unwrap());
            assert!(
                keys.contains(reference["key"].as_str().unwrap()),
                "{name}: {keys:?}"
            );
        }
    }
    assert_eq!(
        app["spec"]["checks"]["readiness"]["httpGet"],
        json!({"path": "/healthz"})
    );
}
