//! What a pipeline runs: `docs/license.md`.

use serde_json::Value;

use crate::page::Block;
use crate::stage::{Stage, key_record};

/// The variables of a server for the pages' pipelines, and what it expects of who asks.
fn configure(stage: &mut Stage) {
    stage.configure_fixtures();
    stage.configure("token_issuer", "*");
    stage.set(
        "KEYLET_ASK",
        &keylet_cli::fixtures::variables()["fairplay_ask"],
    );
    stage.set("KEYLET_EXPECT_KEY", key_record("")["key"].as_str().unwrap());
}

/// Makes a token with a lease, as the pages have it in `KEYLET_TOKEN`.
fn lease(stage: &mut Stage, key: &str) {
    let mint = format!(
        "keylet token mint --keys {key} --issuer a --audience keylet --terms '{{\"lease_seconds\": 300}}'"
    );
    let token = stage.succeed(&mint).stdout.trim().to_owned();
    stage.set("KEYLET_TOKEN", &token);
}

pub fn licence(test: &'static str) {
    let mut stage = Stage::new(test);
    configure(&mut stage);
    lease(&mut stage, "movie-42");
    // Both are in the environment already, and this keeps them there.
    stage.replace("KEYLET_ASK=… KEYLET_TOKEN=…", "KEYLET_ASK KEYLET_TOKEN");
    stage.replace("https://drm.example", &format!("http://{}", stage.listen));
    stage.succeed("keylet serve --in-memory");
    stage.type_blocks();
    // A lease of another length is none that the page expects.
    let other = stage
        .script()
        .replace("--expect-lease 300", "--expect-lease 299");
    assert!(!stage.run(&other).is_success);
}

pub fn licence_of_another_server(test: &'static str) {
    let mut stage = Stage::new(test);
    configure(&mut stage);
    lease(&mut stage, "movie-42");
    // A header of Keylet's in place of the other server's; its certificate and licences are at Keylet's addresses.
    stage.replace("--token-header x-token", "--token-header x-vudrm-token");
    stage.replace(
        "https://drm.example/fps?",
        &format!("http://{}/fairplay?", stage.listen),
    );
    stage.replace(
        "https://drm.example/cert",
        &format!("http://{}/fairplay/certificate", stage.listen),
    );
    stage.succeed("keylet serve --in-memory");
    stage.type_blocks();
}

/// A block of YAML as JSON.
pub fn yaml(block: &Block) -> Value {
    serde_yaml_ng::from_str(&block.text).unwrap_or_else(|error| panic!("{block}: {error}"))
}

/// The steps of a job, one script.
fn steps<'a>(steps: impl Iterator<Item = &'a Value>) -> String {
    steps
        .map(|step| format!("{}\n", step.as_str().unwrap().trim_end()))
        .collect()
}

pub fn github_actions(test: &'static str) {
    let mut stage = Stage::without_keylet(test);
    configure(&mut stage);
    stage.program("other-keylet", &stage.read("installed-keylet"));
    stage.succeed("other-keylet serve --in-memory");
    let workflow = yaml(&stage.blocks[0]);
    let job = &workflow["jobs"]["licence"];
    for step in job["steps"].as_array().unwrap() {
        match step["uses"].as_str() {
            Some("actions/checkout@v4") => stage.bring("", step["with"]["path"].as_str().unwrap()),
            Some(other) => panic!("{other}"),
            None => {}
        }
        for (name, secret) in step["env"].as_object().into_iter().flatten() {
            assert!(
                secret.as_str().unwrap().starts_with("${{ secrets."),
                "{name}"
            );
        }
    }
    stage.replace(
        "https://staging.example",
        &format!("http://{}", stage.listen),
    );
    let run = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["run"])
        .filter(|run| run.is_string());
    stage.succeed(&stage.replaced(&steps(run)));
}

pub fn gitlab(test: &'static str) {
    let mut stage = Stage::without_keylet(test);
    configure(&mut stage);
    stage.program("other-keylet", &stage.read("installed-keylet"));
    stage.succeed("other-keylet serve --in-memory");
    stage.set("LICENCE_URL", &format!("http://{}/fairplay", stage.listen));
    stage.set(
        "KEYLET_REPOSITORY",
        crate::page::repository().to_str().unwrap(),
    );
    stage.program("keylet", &stage.read("installed-keylet"));
    lease(&mut stage, "smoke-test");
    std::fs::remove_file(stage.file("bin/keylet")).unwrap();

    let job = &yaml(&stage.blocks[0])["licence"];
    let scripts = ["before_script", "script"].map(|name| job[name].as_array().unwrap());
    stage.succeed(&steps(scripts.into_iter().flatten()));
    for path in job["artifacts"]["paths"].as_array().unwrap() {
        assert!(!stage.read(path.as_str().unwrap()).is_empty());
    }
    let image = job["image"].as_str().unwrap();
    let toolchain =
        std::fs::read_to_string(crate::page::repository().join("rust-toolchain.toml")).unwrap();
    let version = image
        .strip_prefix("rust:")
        .unwrap()
        .split('-')
        .next()
        .unwrap();
    assert!(
        toolchain.contains(&format!("channel = \"{version}")),
        "{image}"
    );
}
