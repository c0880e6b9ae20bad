//! What a newcomer types: the README, and the credentials.

use serde_json::Value;

use crate::page::repository;
use crate::stage::Stage;

/// Commands that the gate runs itself.
pub fn gate(test: &'static str) {
    let gate = std::fs::read_to_string(repository().join(".ci/run")).unwrap();
    for line in Stage::new(test).script().lines() {
        let command = line.split(" #").next().unwrap().trim();
        let is_run = gate.lines().any(|line| {
            line.trim_start()
                .split(" # ")
                .next()
                .unwrap()
                .contains(command)
        });
        assert!(is_run, "the gate does not run `{command}`");
    }
}

/// A stage with files as Apple gives them: the pair and the ASk are those of the fixtures.
pub fn with_files(test: &'static str) -> Stage {
    let mut stage = Stage::new(test);
    stage.bring("fixtures/credentials/sdk4.cer", "fairplay.cer");
    stage.bring("fixtures/credentials/sdk4.pem", "privatekey.pem");
    let ask = std::fs::read_to_string(repository().join("fixtures/credentials/sdk4.ask")).unwrap();
    // Without a terminal the ASk comes from the environment.
    stage.set("KEYLET_ASK", ask.trim());
    stage
}

pub fn first_licence(test: &'static str) {
    let stage = with_files(test);
    stage.type_blocks();
    assert_eq!(stage.servers().len(), 1, "`keylet serve` was not typed");
}

/// Keys, a policy, a token and a recipe: what the token is for, a device gets.
pub fn first_keys(test: &'static str) {
    let mut stage = with_files(test);
    let printed = stage.type_blocks().stdout;
    assert_licence(&mut stage, &printed);
}

pub fn keys(test: &'static str) {
    let mut stage = with_files(test);
    stage.succeed("keylet credentials import fairplay.cer privatekey.pem --out .env");
    stage.succeed(
        "openssl genrsa -out login.key 2048\nopenssl rsa -in login.key -pubout -out login.pem",
    );
    let printed = stage.type_blocks().stdout;
    assert_licence(&mut stage, &printed);
}

/// The token among what was printed is good for the key that it names.
fn assert_licence(stage: &mut Stage, printed: &str) {
    let token = printed
        .lines()
        .find(|line| line.starts_with("eyJ"))
        .unwrap();
    assert!(printed.contains("com.apple.fps"), "{printed}");
    stage.set("KEYLET_TOKEN", token);
    let url = format!("http://{}/fairplay", stage.listen);
    let line = format!("keylet serve\nkeylet license {url} --asset-id skd://movie-42");
    stage.succeed(&line);
}

pub fn own_keys(test: &'static str) {
    let mut stage = with_files(test);
    stage.replace("<32 hex digits>", "00112233445566778899aabbccddeeff");
    stage.replace(
        "<base64url of 32 bytes or more>",
        "sZlNSYHNdDz1-RmEWGQx2Qa6ONqpn7NUEL_u6fNLJgc",
    );
    stage.succeed("keylet credentials import fairplay.cer privatekey.pem --out .env");
    // They are lines of that file.
    let lines = format!("{}{}", stage.read(".env"), stage.script());
    stage.write(".env", &lines);
    stage.set("KEYLET_EXPECT_KEY", "00112233445566778899aabbccddeeff");
    let url = format!("http://{}/fairplay", stage.listen);
    stage.succeed(&format!(
        "keylet serve\nkeylet license {url} --asset-id skd://movie-42 --configured"
    ));
}

/// The list of commands: each is one, by each of its names.
pub fn subcommands(test: &'static str) {
    let stage = Stage::new(test);
    let mut seen = 0;
    for line in stage
        .script()
        .lines()
        .filter(|line| line.starts_with("keylet"))
    {
        let command = line.split('#').next().unwrap();
        let words: Vec<Vec<&str>> = command
            .split_whitespace()
            .map(|word| word.split('|').collect())
            .collect();
        let most = words.iter().map(Vec::len).max().unwrap();
        for choice in 0..most {
            let words: Vec<_> = words
                .iter()
                .map(|word| *word.get(choice).unwrap_or(&word[0]))
                .collect();
            stage.succeed(&format!("{} --help", words.join(" ")));
            seen += 1;
        }
    }
    assert!(seen > 12, "only {seen} commands found");
    let help = stage.succeed("keylet --help").stdout;
    let listed = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1);
    for line in listed.take_while(|line| line.starts_with("  ")) {
        let name = line.split_whitespace().next().unwrap();
        let is_shown = stage.script().contains(&format!("keylet {name}"));
        assert!(
            is_shown || ["help", "demo"].contains(&name),
            "the README does not list `keylet {name}`"
        );
    }
}

pub fn smoke(test: &'static str) {
    let stage = Stage::new(test);
    stage.bring("fixtures", "fixtures");
    stage.bring("tests", "tests");
    let printed = stage.type_blocks().stdout;
    assert!(printed.contains(" passed, 0 failed"), "{printed}");
}

pub fn signing_request(test: &'static str) {
    let stage = Stage::new(test);
    stage.type_blocks();
    let subject = stage
        .succeed("openssl req -in fairplay/certreq.csr -noout -verify -subject")
        .stdout;
    assert!(
        subject.contains("Example TV") && subject.contains("US"),
        "{subject}"
    );
}

pub fn signing_request_by_openssl(test: &'static str) {
    let stage = Stage::new(test);
    // The password is typed twice for the key, and once for the request.
    let mut script = String::new();
    for (line, typed) in stage
        .script()
        .lines()
        .zip(["secret\\nsecret\\n", "secret\\n"])
    {
        script += &format!("printf '{typed}' | {line}\n");
    }
    stage.succeed(&script);
    let subject = stage
        .succeed("openssl req -in certreq.csr -noout -verify -subject")
        .stdout;
    assert!(
        subject.contains("Example TV") && subject.contains("US"),
        "{subject}"
    );
}

pub fn import(test: &'static str) {
    let stage = with_files(test);
    stage.type_blocks();
    assert!(
        stage
            .read(".env")
            .contains("SPIN_VARIABLE_FAIRPLAY_CERTIFICATE=")
    );
}

pub fn kubernetes_secret(test: &'static str) {
    let stage = Stage::new(test);
    stage.succeed("keylet credentials new --development --common-name test --out-dir fairplay");
    stage.type_blocks();
    assert!(stage.read("fairplay.yaml").contains("kind: Secret"));
}

pub fn doctor(test: &'static str) {
    let mut stage = with_files(test);
    stage.succeed(
        "keylet credentials import fairplay.cer privatekey.pem --trial movie-42 --out .env",
    );
    let variables = stage.read(".env");
    let keys = variables
        .lines()
        .find_map(|line| line.strip_prefix("SPIN_VARIABLE_TOKEN_KEYS="))
        .unwrap();
    let keys: Value = serde_json::from_str(keys.trim_matches('\'')).unwrap();
    stage.set("KEYLET_TOKEN_KEY", &keys["keys"][0].to_string());
    stage.succeed(
        "keylet token mint --keys movie-42 --issuer a --audience keylet > token.jwt\nkeylet serve",
    );
    stage.replace(
        "https://drm.example.com",
        &format!("http://{}", stage.listen),
    );
    let said = stage.type_blocks().stdout;
    assert_eq!(
        said.matches("an emulated device got a licence").count(),
        3,
        "{said}"
    );
}

pub fn development(test: &'static str) {
    let stage = Stage::new(test);
    stage.type_blocks();
    let url = format!("http://{}/fairplay", stage.listen);
    stage.succeed(&format!(
        "keylet serve\nkeylet license {url} --asset-id skd://movie-42 --configured"
    ));
}

pub fn policies(test: &'static str) {
    let stage = Stage::new(test);
    // Of the document with everything in it, the options that are taken over.
    let document =
        std::fs::read_to_string(repository().join("cli/tests/fixtures/content_key_policy.json"));
    let mut document: Value = serde_json::from_str(&document.unwrap()).unwrap();
    let options = document["properties"]["options"].as_array_mut().unwrap();
    options.truncate(3);
    stage.write("contentKeyPolicy.json", &document.to_string());
    stage.type_blocks();
    let policies: Value = serde_json::from_str(&stage.read("policies.json")).unwrap();
    assert_eq!(policies.as_array().unwrap().len(), 3);
}
