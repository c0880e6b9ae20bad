//! What an operator of Kubernetes applies. There is no cluster here: it is checked against the published schemas, and what a
//! pod would do is done without one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use keylet_e2e::processes::{Process, free_port, wait_for};
use keylet_e2e::skip;
use serde_json::Value;

use crate::page::{Page, repository};
use crate::stage::{Stage, curl};

/// The folder that the page applies.
const FOLDER: &str = "docs/deploy/kubernetes";

/// The oldest version that the page promises, and the newest whose schemas there are.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// Where the Deployment has its secrets.
const SECRETS: &str = "/run/secrets/keylet";

fn parse(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The documents of a YAML file, as they are written.
fn documents(text: &str) -> Vec<String> {
    text.split("---\n")
        .filter(|text| !text.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

fn file(name: &str) -> String {
    std::fs::read_to_string(repository().join(FOLDER).join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Holds documents against the schemas of Kubernetes: what is wrong, or nothing. `None` where the schemas are not installed.
fn problems(stage: &Stage, documents: &[String]) -> Option<String> {
    let there = Command::new("kubernetes-validate")
        .arg("--version")
        .output();
    if !there.is_ok_and(|there| there.status.success()) {
        skip("python", stage.test, "there is no kubernetes-validate");
        return None;
    }
    stage.write("documents.yaml", &documents.join("---\n"));
    let mut problems = String::new();
    for version in VERSIONS {
        let said = stage.run(&format!(
            "kubernetes-validate --strict -k {version} documents.yaml 2>&1"
        ));
        let lines = said.stdout.lines();
        // A kind without a schema is a warning there.
        let passed = lines
            .filter(|line| line.contains(" passed for resource "))
            .count();
        if !said.is_success || passed != documents.len() {
            problems += &said.stdout;
        }
    }
    Some(problems)
}

#[test]
fn every_document_of_the_folder_and_the_pages_keeps_its_schema() {
    let stage = Stage::new("kubernetes-secrets");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository().join(FOLDER)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // It is read by kubectl alone, which has a test of its own.
        if name.ends_with(".yaml") && name != "kustomization.yaml" {
            found.extend(documents(&file(&name)));
        }
    }
    for page in ["docs/deploy/kubernetes.md", "docs/deploy/spinkube.md"] {
        let blocks = Page::read(page).blocks();
        let of_yaml = blocks.iter().filter(|block| block.language == "yaml");
        found.extend(of_yaml.flat_map(|block| documents(&block.text)));
    }
    let all = found.len();
    // The operator's own kind has its schema in no registry.
    found.retain(|text| parse(text)["kind"] != "SpinApp");
    assert!(found.len() == all - 1 && all > 14, "{all} documents");
    let Some(said) = problems(&stage, &found) else {
        return;
    };
    assert_eq!(said, "");

    // What is misspelt, and what has no schema, is found.
    for (from, to) in [
        ("maxUnavailable: 1", "maxUnavailabel: 1"),
        ("policy/v1", "policy/v9"),
    ] {
        let wrong = file("disruption.yaml").replace(from, to);
        assert_ne!(problems(&stage, &[wrong]).unwrap(), "", "{to}");
    }
}

/// The labels of each pod that documents make.
fn pods(documents: &[Value]) -> Vec<BTreeMap<String, Value>> {
    let labels = |document: &Value| {
        let labels = &document["spec"]["template"]["metadata"]["labels"];
        Some(labels.as_object()?.clone().into_iter().collect())
    };
    documents.iter().filter_map(labels).collect()
}

/// What a document selects pods by, wherever it does.
fn selectors(value: &Value) -> Vec<&serde_json::Map<String, Value>> {
    match value {
        Value::Object(members) => {
            let own = members.get("matchLabels").and_then(Value::as_object);
            // Namespaces are not of these documents.
            let below = members
                .iter()
                .filter(|(name, _)| *name != "namespaceSelector");
            own.into_iter()
                .chain(below.flat_map(|(_, value)| selectors(value)))
                .collect()
        }
        Value::Array(values) => values.iter().flat_map(selectors).collect(),
        _ => Vec::new(),
    }
}

/// Every selector selects a pod, of these or of `others`.
fn assert_selected(documents: &[Value], others: &[(&str, &str)]) {
    let pods = pods(documents);
    let is_other = |(name, value): (&String, &Value)| {
        others
            .iter()
            .any(|other| (name.as_str(), value.as_str()) == (other.0, Some(other.1)))
    };
    let mut seen = 0;
    for document in documents {
        for selector in selectors(document) {
            let is_of = |pod: &BTreeMap<String, Value>| {
                selector
                    .iter()
                    .all(|(name, value)| pod.get(name) == Some(value))
            };
            let is_there = selector.iter().all(is_other) || pods.iter().any(is_of);
            assert!(
                is_there,
                "nothing has {selector:?}: {}",
                document["metadata"]
            );
            seen += 1;
        }
    }
    assert!(seen > 2, "only {seen} selectors");
}

/// The first document of a kind and a name.
fn one<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it =
        |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents
        .iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// What stands beside a `SpinApp` is for the pods that the operator makes of it.
pub fn beside_spinapp(test: &'static str) {
    let stage = Stage::new(test);
    let found: Vec<_> = documents(&stage.blocks[0].text)
        .iter()
        .map(|text| parse(text))
        .collect();
    let page = Page::read("docs/deploy/spinkube.md");
    let app = page
        .blocks()
        .iter()
        .flat_map(|block| documents(&block.text))
        .find_map(|text| {
            let document: Value = serde_yaml_ng::from_str(&text).ok()?;
            (document["kind"] == "SpinApp").then_some(document)
        });
    let name = app.unwrap()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let label = ("core.spinkube.dev/app-name", name.as_str());
    assert_selected(&found, &[label, ("k8s-app", "kube-dns"), ("app", "redis")]);
    let scaled = &one(&found, "HorizontalPodAutoscaler", "keylet")["spec"]["scaleTargetRef"];
    assert_eq!(
        (scaled["kind"].as_str(), scaled["name"].as_str()),
        (Some("Deployment"), Some(label.1))
    );
}

/// The page's commands make the secrets, kubectl makes the documents of them, and the server runs as its pod has it.
pub fn secrets(test: &'static str) {
    let mut stage = Stage::new(test);
    std::fs::create_dir_all(stage.file("docs/deploy")).unwrap();
    let copy = format!(
        "cp -r '{}' docs/deploy/",
        repository().join(FOLDER).display()
    );
    stage.succeed(&format!(
        "{copy}\nrm -rf {FOLDER}/secrets\n\
         keylet credentials new --development --common-name test --out-dir fairplay\n\
         openssl genrsa -out login.key 2048 2>/dev/null\n\
         openssl rsa -in login.key -pubout -out login.pem 2>/dev/null"
    ));
    let home = stage.file("").display().to_string();
    stage.set("HOME", home.trim_end_matches('/'));
    stage.type_blocks();
    let secrets = format!("{FOLDER}/secrets");
    let settings: Value =
        serde_json::from_str(&stage.read(&format!("{secrets}/settings.json"))).unwrap();
    for name in ["server_secret", "fairplay_ask", "content_keys", "policies"] {
        assert!(!settings[name].is_null(), "{name} is not there");
    }

    // What the folder names is there, and nothing else was made.
    let kustomization = parse(&file("kustomization.yaml"));
    let named = &kustomization["secretGenerator"];
    let named: BTreeSet<String> = [&named[0]["files"], &named[1]["envs"]]
        .iter()
        .flat_map(|files| files.as_array().unwrap())
        .map(|path| path.as_str().unwrap().to_owned())
        .collect();
    let made: BTreeSet<String> = std::fs::read_dir(stage.file(&secrets))
        .unwrap()
        .map(|entry| format!("secrets/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    assert_eq!(named, made);

    built(&stage);
    pod(&mut stage, &secrets);
}

/// What kubectl makes of the folder: it refers to what is in it, and keeps the schemas.
fn built(stage: &Stage) {
    let there = Command::new("kubectl")
        .args(["version", "--client"])
        .output();
    if !there.is_ok_and(|there| there.status.success()) {
        skip("kubectl", stage.test, "there is no kubectl");
        return;
    }
    let text = stage.succeed(&format!("kubectl kustomize {FOLDER}")).stdout;
    let texts = documents(&text);
    assert_eq!(problems(stage, &texts).unwrap_or_default(), "");
    let found: Vec<_> = texts.iter().map(|text| parse(text)).collect();
    assert_selected(&found, &[("k8s-app", "kube-dns")]);
    for document in &found {
        let namespace = match document["kind"].as_str() {
            Some("Namespace") => &document["metadata"]["name"],
            _ => &document["metadata"]["namespace"],
        };
        assert_eq!(namespace, "keylet");
    }
    let scaled = &one(&found, "HorizontalPodAutoscaler", "keylet")["spec"]["scaleTargetRef"];
    let deployment = one(
        &found,
        scaled["kind"].as_str().unwrap(),
        scaled["name"].as_str().unwrap(),
    );
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let image = container["image"].as_str().unwrap();
    assert!(image.starts_with("registry.example.com/keylet:"), "{image}");
    // The name with the hash of what is in it.
    let secret = pod["volumes"][0]["secret"]["secretName"].as_str().unwrap();
    assert!(secret.len() > "keylet-".len(), "{secret}");
    let secret = one(&found, "Secret", secret)["data"].as_object().unwrap();
    for argument in container["args"].as_array().unwrap() {
        if let Some((_, name)) = argument
            .as_str()
            .unwrap()
            .split_once(&format!("{SECRETS}/"))
        {
            assert!(secret.contains_key(name), "the Secret has no {name}");
        }
    }
    let ports: BTreeSet<_> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["name"].as_str().unwrap())
        .collect();
    for rule in one(&found, "NetworkPolicy", "keylet")["spec"]["ingress"]
        .as_array()
        .unwrap()
    {
        assert!(
            ports.contains(rule["ports"][0]["port"].as_str().unwrap()),
            "{rule}"
        );
    }
    let valkey = &one(&found, "StatefulSet", "valkey")["spec"]["template"]["spec"];
    let map = valkey["volumes"][0]["configMap"]["name"].as_str().unwrap();
    assert!(one(&found, "ConfigMap", map)["data"]["valkey.conf"].is_string());
    let password = &valkey["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"];
    let held = &one(&found, "Secret", password["name"].as_str().unwrap())["data"];
    assert!(held[password["key"].as_str().unwrap()].is_string());
}

/// The server with the arguments of the Deployment, and a Redis with the configuration of the folder.
fn pod(stage: &mut Stage, secrets: &str) {
    let port = free_port();
    let password = stage.read(&format!("{secrets}/valkey.env"));
    let password = password
        .trim()
        .strip_prefix("password=")
        .unwrap()
        .to_owned();
    std::fs::create_dir(stage.file("data")).unwrap();
    let data = stage.file("data").display().to_string();
    let configuration = file("valkey.conf").replace("dir /data", &format!("dir {data}"));
    stage.write("valkey.conf", &configuration);
    let redis = Command::new("redis-server")
        .arg(stage.file("valkey.conf"))
        .args([
            "--requirepass",
            &password,
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ])
        .stdout(Stdio::null())
        .spawn();
    let Ok(redis) = redis else {
        skip("redis", stage.test, "there is no redis-server");
        return;
    };
    let _redis = Process(redis);
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let at = format!("{secrets}/runtime-config.toml");
    let store = stage.read(&at);
    assert!(store.contains("@valkey:6379"), "{store}");
    stage.write(
        &at,
        &store.replace("valkey:6379", &format!("127.0.0.1:{port}")),
    );

    let deployment = parse(&file("deployment.yaml"));
    let container = deployment["spec"]["template"]["spec"]["containers"][0].clone();
    let arguments: Vec<_> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .collect();
    let command = arguments
        .join(" ")
        .replace(
            "--listen=0.0.0.0:3000",
            &format!("--listen {}", stage.listen),
        )
        .replace("0.0.0.0:9100", &format!("127.0.0.1:{}", free_port()))
        .replace(SECRETS, secrets);
    stage.succeed(&format!("keylet {command}"));

    let url = format!("http://{}", stage.listen);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(curl(stage, &format!("{url}{path}")).0, "200", "{probe}");
    }
    let (_, health) = curl(stage, &format!("'{url}/healthz?store'"));
    assert!(health.contains(r#""store":"available""#), "{health}");
    let token = stage.succeed(
        "keylet token mint --key login.key --issuer https://login.example.com --audience keylet \
         --keys movie-42 --terms '{\"max_uses\": 5}'",
    );
    stage.set("KEYLET_TOKEN", token.stdout.trim());
    // The emulated device answers as the one that the credential is for.
    let settings: Value =
        serde_json::from_str(&stage.read(&format!("{secrets}/settings.json"))).unwrap();
    stage.set("KEYLET_ASK", settings["fairplay_ask"].as_str().unwrap());
    stage.succeed(&format!(
        "keylet license {url}/fairplay --asset-id skd://movie-42"
    ));
    stage.set("REDISCLI_AUTH", &password);
    let kept = stage.succeed(&format!("redis-cli -p {port} --scan")).stdout;
    assert!(kept.contains("use/"), "{kept}");
}
