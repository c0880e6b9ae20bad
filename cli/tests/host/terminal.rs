//! What reaches a terminal of what others wrote: servers, tokens, files.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use keylet_cli::fixtures::variables;
use serde_json::{Value, json};

use crate::credentials::openssl;
use crate::faults::fault;
use crate::support::{Directory, free_port, wait_for};

/// The window's title, a screen that is cleared, a colour, C1, DEL, bidirectional text, and a line that is not this program's.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31mred\u{9b}1m\u{7f}\u{8}\u{202e}txet\u{2066}\u{2029}\u{85}\r\nkeylet: everything is fine\n";

/// Runs a command whose standard input, output and error are a terminal: that of `script`, which util-linux has.
/// Returns what the terminal got.
pub fn on_terminal(command: Command) -> (ExitStatus, String) {
    let program = command.get_program().to_str().unwrap().to_owned();
    let arguments = command
        .get_args()
        .map(|argument| argument.to_str().unwrap());
    let words = [program.as_str()].into_iter().chain(arguments);
    let line = shlex::try_join(words).unwrap();
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]);
    script.stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        script.current_dir(directory);
    }
    let output = script.env("TERM", "xterm-256color").output().unwrap();
    // The line discipline makes CR LF of each LF.
    let shown = String::from_utf8(output.stdout).unwrap();
    (output.status, shown.replace("\r\n", "\n"))
}

/// What a terminal obeys, except for line breaks and the colours of this program: Unicode's control characters, and
/// those of bidirectional text.
fn obeyed(shown: &str) -> String {
    let mut shown = shown.to_owned();
    for code in [0, 1, 2, 31, 32, 33, 36, 39] {
        shown = shown.replace(&format!("\u{1b}[{code}m"), "");
    }
    let is_obeyed = |character: &char| {
        (character.is_control() && *character != '\n')
            || ('\u{2028}'..='\u{202e}').contains(character)
            || ('\u{2066}'..='\u{2069}').contains(character)
    };
    shown.chars().filter(is_obeyed).collect()
}

/// A server that answers each path as it is told to: the head without `HTTP/1.1 `, and the body.
pub fn answering(answer: impl Fn(&str) -> (String, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let path = request_path(&mut connection);
            let (head, body) = answer(&path);
            let length = body.len();
            let head =
                format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = connection.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    url
}

fn request_path(connection: &mut TcpStream) -> String {
    let wait = Some(Duration::from_millis(100));
    connection.set_read_timeout(wait).unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The whole request, which is over when nothing more comes.
    while let Ok(read @ 1..) = connection.read(&mut buffer) {
        request.extend(&buffer[..read]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    path.split('?').next().unwrap_or_default().to_owned()
}

fn keylet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylet"));
    command
        .args(arguments)
        .env("KEYLET_ASK", &variables()["fairplay_ask"])
        .env("KEYLET_TOKEN", "a.b.c")
        .env_remove("KEYLET_EXPECT_KEY")
        .env_remove("NO_COLOR");
    command
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    path.join(name).to_str().unwrap().to_owned()
}

/// Runs it on a terminal and into pipes: nothing is obeyed, and the text is there.
fn assert_harmless(case: &str, make: impl Fn() -> Command) {
    let (_, shown) = on_terminal(make());
    let piped = make().output().unwrap();
    let piped = String::from_utf8([piped.stdout, piped.stderr].concat()).unwrap();
    for (place, shown) in [("terminal", &shown), ("pipe", &piped)] {
        assert_eq!(obeyed(shown), "", "{case}, {place}: {shown:?}");
        let is_forged = |line: &str| line.starts_with("keylet: everything is fine");
        assert!(!shown.lines().any(is_forged), "{case}, {place}: {shown}");
        assert!(shown.contains("owned"), "{case}, {place}: {shown}");
        let is_there = shown.contains("u001b") || shown.contains("u{1b}");
        assert!(is_there, "{case}, {place}: {shown}");
    }
    assert!(
        !piped.contains('\u{1b}'),
        "{case}: colours are a terminal's"
    );
}

#[test]
fn a_server_gives_no_orders_to_the_terminal_of_keylet_license() {
    let certificate = fixture("credentials/sdk4.cer");
    let test = "a_server_gives_no_orders_to_the_terminal_of_keylet_license";
    let file = fault("13-terminal-escapes", test).map(|folder| folder.join("body.bin"));
    let problem = json!({"code": HOSTILE, "detail": HOSTILE}).to_string();
    let refused = json!([{"keyID": "a", "error": -1, "code": HOSTILE, "detail": HOSTILE}]);
    let mut cases: Vec<(&str, String, Vec<u8>)> = vec![
        ("a body", "403 Forbidden".into(), HOSTILE.into()),
        ("a problem document", "403 Forbidden".into(), problem.into()),
        (
            "a key's refusal",
            "200 OK".into(),
            refused.to_string().into(),
        ),
        (
            "headers",
            "403 Forbidden\r\nx-keylet-code: owned\u{9b}31m\u{202e}\\u001b\r\nx-request-id: owned\u{9b}31m".into(),
            Vec::new(),
        ),
        (
            "a redirect",
            "302 Found\r\nlocation: http://owned/\u{9b}31m\u{202e}\\u001b".into(),
            Vec::new(),
        ),
    ];
    if let Some(file) = file {
        let body = std::fs::read(file).unwrap();
        cases.push(("the reported body", "403 Forbidden".into(), body));
    }
    for (case, head, body) in cases {
        let url = answering(move |_| (head.clone(), body.clone()));
        assert_harmless(case, || {
            keylet(&[
                "license",
                &url,
                "--asset-id",
                "a",
                "--certificate",
                &certificate,
            ])
        });
    }
    // The certificate is asked for first.
    let url = answering(|_| ("404 Not Found".to_owned(), HOSTILE.into()));
    assert_harmless("the certificate's route", || {
        keylet(&["license", &url, "--asset-id", "a"])
    });
    assert_harmless("a certificate by URL", || {
        keylet(&[
            "device",
            "spc",
            "--certificate",
            &url,
            "--asset-id",
            "a",
            "--out",
            "-",
            "--secrets",
            "-",
        ])
    });
}

#[test]
fn a_server_gives_no_orders_to_the_terminal_of_the_doctor() {
    // It is ill, in its own words.
    let health = json!({"status": "misconfigured", "problems": [
        {"code": HOSTILE, "variable": HOSTILE, "member": HOSTILE, "message": HOSTILE}]});
    let url = answering(move |_| ("503 Service Unavailable".into(), health.to_string().into()));
    assert_harmless("problems of /healthz", || {
        keylet(&["doctor", "--url", &url])
    });

    // Its certificate has names, and its refusals have words.
    let directory = Directory::new("terminal-certificate");
    let subject = "/CN=\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}";
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "rsa:1024",
        "-nodes",
        "-keyout",
        "key.pem",
        "-utf8",
        "-subj",
        subject,
        "-outform",
        "der",
        "-out",
        "certificate.der",
    ];
    openssl(&directory.0, &arguments);
    let certificate = std::fs::read(directory.file("certificate.der")).unwrap();
    let url = answering(move |path| match path {
        "/healthz" => {
            let health = json!({"status": "ok", "store": HOSTILE, "fairplay": [{"name": HOSTILE, "licences": true}]});
            ("200 OK".into(), health.to_string().into())
        }
        path if path.starts_with("/fairplay/certificate") => {
            let head = "200 OK\r\ncache-control: owned\u{9b}31m\u{202e}";
            (head.into(), certificate.clone())
        }
        _ => {
            let head = "403 Forbidden\r\nx-keylet-code: owned\u{9b}31m";
            (head.into(), json!({"detail": HOSTILE}).to_string().into())
        }
    });
    for more in [&[][..], &["--json"], &["--asset-id", "a"]] {
        assert_harmless("a certificate and refusals", || {
            keylet(&[&["doctor", "--url", &url], more].concat())
        });
    }
}

#[test]
fn tokens_and_files_give_no_orders_to_a_terminal() {
    let encoded = |value: &Value| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
    };
    let header = encoded(&json!({"alg": "HS256", "kid": HOSTILE}));
    let claims = encoded(
        &json!({"iss": HOSTILE, "aud": HOSTILE, "exp": 9_999_999_999_u64, HOSTILE: HOSTILE}),
    );
    let token = format!("{header}.{claims}.AAAA");
    for more in [&[][..], &["--json"]] {
        assert_harmless("a token", || {
            let mut command =
                keylet(&[&["token", "explain", "--asset-id", HOSTILE], more].concat());
            for (name, value) in variables() {
                command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
            }
            command.env("KEYLET_TOKEN", &token);
            command
        });
    }

    let directory = Directory::new("terminal-policies");
    let policies = json!([{"name": HOSTILE, "properties": {"options": [{"name": HOSTILE, "configuration": {"@odata.type": HOSTILE}, "restriction": {"@odata.type": HOSTILE}}]}}]);
    let file = directory.file("policies.json");
    std::fs::write(&file, policies.to_string()).unwrap();
    let out = directory.file("out.json");
    assert_harmless("policies", || {
        keylet(&[
            "policies",
            "import",
            file.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ])
    });
}

#[test]
fn viewers_give_no_orders_to_the_terminal_of_a_host() {
    let directory = Directory::new("terminal-serve");
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut command = keylet(&["serve", "--in-memory", "--listen", &listen]);
    for (name, value) in variables() {
        command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
    }
    let (output, error) = (directory.file("output"), directory.file("error"));
    let child = command
        .current_dir(&directory.0)
        .stdout(File::create(&output).unwrap())
        .stderr(File::create(&error).unwrap())
        .spawn()
        .unwrap();
    let _serving = crate::support::Process(child);
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());

    // An asset id of text that turns the reading direction.
    let asset = "skd://owned\u{202e}\u{2066}\u{2028}";
    let url = format!("http://{listen}/fairplay");
    let asked = keylet(&["license", &url, "--asset-id", asset])
        .env("KEYLET_TOKEN", token())
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(3), "{asked:?}");
    // A path that the host's own line has.
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = "GET /forged\u{9b}31m\u{202e}\u{2066}\u{2028} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let written = || {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        read(&output) + &read(&error)
    };
    wait_for(|| written().contains("key_not_found"));
    wait_for(|| written().contains("forged"));
    let written = written();
    assert!(written.contains("owned"), "{written}");
    assert_eq!(obeyed(&written), "", "{written:?}");
    for line in written.lines().filter(|line| line.starts_with('{')) {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}

/// A token of the fixtures that entitles to every key.
pub fn token() -> String {
    let tokens: Value = serde_json::from_str(keylet_cli::fixtures::TOKENS).unwrap();
    tokens["hs256"].as_str().unwrap().to_owned()
}

/// `keylet` with the variables of the fixtures and a token of theirs.
fn configured(name: &str, arguments: &[&str]) -> Command {
    let tokens: Value = serde_json::from_str(keylet_cli::fixtures::TOKENS).unwrap();
    let mut command = keylet(arguments);
    for (name, value) in variables() {
        command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
    }
    command
        .env("KEYLET_TOKEN", tokens[name].as_str().unwrap())
        // A zone of its own, which needs no files of the system.
        .env("TZ", "ABC-5:30");
    command
}

/// What a person reads: without colours, and with each line's words in a row.
fn read(command: Command) -> (Option<i32>, String) {
    let (status, shown) = on_terminal(command);
    assert!(shown.contains("\u{1b}["), "a terminal has colours: {shown}");
    assert!(!shown.contains('{'), "no JSON: {shown}");
    assert!(
        shown.lines().all(|line| plain(line).chars().count() <= 80),
        "{shown}"
    );
    let plain = plain(&shown);
    let words: Vec<_> = plain.split_whitespace().collect();
    (status.code(), words.join(" "))
}

fn plain(shown: &str) -> String {
    let mut plain = String::new();
    for (index, part) in shown.split('\u{1b}').enumerate() {
        match index {
            0 => plain.push_str(part),
            _ => plain.push_str(part.split_once('m').unwrap().1),
        }
    }
    plain
}

#[test]
fn a_person_reads_sentences_of_a_licence_and_a_program_json() {
    let application = keylet_cli::built_in(keylet_host::World::Wasip2, variables()).unwrap();
    let server = keylet_host::Server::start(application, &keylet_e2e::quiet()).unwrap();
    let url = format!("{}/fairplay", server.url());
    let license = |name: &str, arguments: &[&str]| {
        let asked = ["license", &url, "--asset-id", "skd://movie-1"];
        configured(name, &[&asked, arguments].concat())
    };

    let (code, text) = read(license("lease", &["--renew"]));
    assert_eq!(code, Some(0), "{text}");
    for words in [
        "A licence for skd://movie-1",
        "A renewed licence for skd://movie-1",
        "playback for 2 minutes, until 20",
        "ABC (+05:30)",
        "Not checked: whether the ASk is the one that Apple issued",
        "whether Apple's devices trust the certificate",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(text.matches("Not checked").count(), 1, "{text}");
    let key = "00112233445566778899aabbccddeeff";
    assert!(!text.contains(key), "{text}");
    assert!(read(license("lease", &["--show-key"])).1.contains(key));

    let (code, text) = read(license("expired", &[]));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("token_expired (status 401)"), "{text}");
    let (code, text) = read(license("hs256", &["--expect-lease", "9"]));
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("the lease is none, not 9 seconds"), "{text}");
    let (code, text) = read(license("expired", &["--expect-status", "401"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("No licence for skd://movie-1, as expected"),
        "{text}"
    );

    // JSON where it is asked for, and where nobody reads; no colours where they are not wanted.
    let (_, shown) = on_terminal(license("lease", &["--json"]));
    let document: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(document["unchecked"], json!(["ask", "certificate_trust"]));
    let piped = license("lease", &[]).output().unwrap();
    let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(piped["licence"]["duration"]["lease_seconds"], 120);
    let mut plain = license("lease", &[]);
    plain.env("NO_COLOR", "1");
    let (_, shown) = on_terminal(plain);
    assert!(
        !shown.contains('\u{1b}') && shown.contains("A licence"),
        "{shown}"
    );
    server.stop();
}

#[test]
fn a_person_reads_the_one_reason_for_which_a_token_is_refused() {
    let explain = |name: &str| {
        let arguments = ["token", "explain", "--asset-id", "skd://movie-1"];
        configured(name, &arguments)
    };
    for (name, code, reason) in [
        ("expired", "token_expired", "it expired 3 years"),
        ("nbf-far", "token_not_yet_valid", "it is not valid before"),
        ("iat-far", "token_not_yet_valid", "in the future"),
        ("no-exp", "token_claims", "exp"),
        ("other-issuer", "token_issuer", "and accepted is"),
        ("other-audience", "token_audience", "and accepted is"),
        ("unknown-signer", "token_signature", ""),
        ("unknown-kid", "token_key_unknown", ""),
        ("two-parts", "token_malformed", ""),
    ] {
        let (status, text) = read(explain(name));
        assert_eq!(status, Some(1), "{name}: {text}");
        let heading = format!("The token is refused: {code} reason");
        assert!(text.starts_with(&heading), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
        assert_eq!(text.matches(" reason ").count(), 1, "{name}: {text}");
        assert_eq!(text.matches(" to do ").count(), 1, "{name}: {text}");
        assert!(!text.contains("keylet token explain"), "{name}: {text}");

        let piped = explain(name).output().unwrap();
        let document: Value = serde_json::from_slice(&piped.stdout).unwrap();
        assert_eq!(document["refused"]["code"], code, "{name}");
    }
    let (status, text) = read(explain("lease"));
    assert_eq!(status, Some(0), "{text}");
    for words in [
        "The token is accepted",
        "signed by key 1 of the option \"default\"",
        "ABC (+05:30)",
        "A key for skd://movie-1 key id movie-1 granted playback, renewed every 2 minutes",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
