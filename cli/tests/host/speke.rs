//! `keylet speke` against key servers that are right, and wrong in one way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use keylet::cpix::speke::{Filled, Output as Outputs, Request, Urls, Version};
use keylet::id::Kid;
use keylet::secret::Key128;

use crate::terminal::on_terminal;

const TOKEN: &str = "packager-token-0123456789abcdef";

/// What an encoder sent.
struct Asked {
    headers: BTreeMap<String, String>,
    body: String,
}

/// What it gets.
struct Answer {
    status: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
}

impl Asked {
    fn read(connection: &TcpStream) -> Self {
        let mut reader = BufReader::new(connection);
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) => {
                    headers.insert(name.to_ascii_lowercase(), value.to_owned());
                }
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let length: usize = headers["content-length"].parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        Self { headers, body }
    }

    fn version(&self) -> Option<&str> {
        self.headers.get("x-speke-version").map(String::as_str)
    }
}

/// The key of a KID, as bytes that the test knows.
fn key_of(kid: Kid) -> [u8; 16] {
    kid.as_bytes().map(|byte| byte ^ 0x5a)
}

/// A server that is right.
fn right(asked: &Asked) -> Answer {
    with_keys(asked, key_of)
}

fn with_keys(asked: &Asked, key_of: impl Fn(Kid) -> [u8; 16]) -> Answer {
    let answered = Version::from_header(asked.version()).and_then(|version| {
        let request = Request::read(asked.body.as_bytes(), version)?;
        let filled: Vec<_> = request
            .keys()
            .iter()
            .map(|key| Filled {
                key: Key128::from(key_of(key.kid)),
                iv: Some(*key.kid.as_bytes()),
                fairplay_uri: format!("skd://{}", key.kid),
                aes128_url: Some(format!("https://drm.example/aes128/{}", key.kid)),
                output: Outputs::default(),
            })
            .collect();
        let mut rng = keylet_cli::random::system();
        request.answer(&filled, Urls::default(), &mut rng)
    });
    let mut headers = BTreeMap::from([("content-type", "application/xml".to_owned())]);
    let (status, body) = match answered {
        Ok(body) => (200, body.to_string()),
        Err(refusal) => (422, refusal.to_string()),
    };
    headers.insert("speke-user-agent", "test".to_owned());
    headers.insert("x-speke-user-agent", "test".to_owned());
    if let Some(version) = asked.version() {
        headers.insert("x-speke-version", version.to_owned());
    }
    Answer {
        status,
        headers,
        body,
    }
}

/// Serves, and returns the URL.
fn serve(answer: impl Fn(&Asked) -> Answer + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/speke", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let answer = answer(&Asked::read(&connection));
            let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
            for (name, value) in &answer.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let length = answer.body.len();
            head.push_str(&format!(
                "content-length: {length}\r\nconnection: close\r\n\r\n"
            ));
            let _ = connection.write_all(&[head.as_bytes(), answer.body.as_bytes()].concat());
        }
    });
    url
}

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylet"));
    command
        .args(["speke", url, "--content-id", "movie & 42"])
        .args(arguments)
        .env_remove("KEYLET_SPEKE_TOKEN");
    command
}

fn run(url: &str, arguments: &[&str]) -> (Output, String) {
    let output = command(url, arguments).output().unwrap();
    let printed = [output.stdout.clone(), output.stderr.clone()].concat();
    (output, String::from_utf8(printed).unwrap())
}

#[test]
fn a_server_that_is_right_passes_every_check_of_every_version() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let url = serve({
        let seen = Arc::clone(&seen);
        move |asked| {
            seen.lock().unwrap().push(asked.body.clone());
            right(asked)
        }
    });
    for (arguments, checks) in [
        (&[][..], 23),
        (&["--speke-version", "2.1"], 23),
        (&["--speke-version", "1.0", "--tracks", "ALL"], 15),
        (&["--encrypted"], 23),
        (&["--scheme", "cenc"], 20),
        (
            &[
                "--scheme",
                "cbc1",
                "--systems",
                "aes128",
                "--tracks",
                "VIDEO",
            ],
            12,
        ),
        (
            &["--systems", "clearkey", "--tracks", "SD,HD,UHD1,UHD2,AUDIO"],
            17,
        ),
    ] {
        let (output, printed) = run(&url, arguments);
        assert!(output.status.success(), "{arguments:?}: {printed}");
        let expected = format!("{checks} checks, all ok");
        assert!(printed.contains(&expected), "{arguments:?}: {printed}");
        assert!(!printed.contains("FAILED"), "{printed}");
    }
    // Encoders of 2.1 name the playlist as those of 2.0.
    let seen = seen.lock().unwrap();
    assert!(seen.iter().any(|body| body.contains(r#"version="2.4""#)));
    assert!(seen.iter().all(|body| !body.contains("multiVariant")));
}

#[test]
fn each_fault_of_a_server_is_told_by_the_check_that_finds_it() {
    type Fault = fn(&Asked, Answer) -> Answer;
    let cases: [(&str, &[&str], Fault, &[&str]); 12] = [
        (
            "a content type of JSON",
            &[],
            |_, mut answer| {
                answer
                    .headers
                    .insert("content-type", "application/json".to_owned());
                answer
            },
            &["content type is application/xml: it is application/json"],
        ),
        (
            "no version",
            &[],
            |_, mut answer| {
                answer.headers.remove("x-speke-version");
                answer
            },
            &["header x-speke-version is there: it is missing"],
        ),
        (
            "another type of track",
            &[],
            |_, mut answer| {
                answer.body = answer.body.replace("\"HD\"", "\"VIDEO\"");
                answer
            },
            &["everything of the request is in the reply: this is missing"],
        ),
        (
            "no keys",
            &[],
            |asked, mut answer| {
                if answer.status == 200 {
                    answer.body = asked.body.clone();
                }
                answer
            },
            &[
                "the key of SD",
                "neither `PlainValue`",
                "PSSH is missing or empty",
            ],
        ),
        (
            "one key for all",
            &[],
            |asked, _| with_keys(asked, |_| [7; 16]),
            &["a key of its own: SD and HD have the same"],
        ),
        (
            "random keys",
            &[],
            |asked, _| with_keys(asked, |_| keylet_cli::random::bytes()),
            &["gives the same keys: the key of SD is another one"],
        ),
        (
            "a box that is none",
            &[],
            |_, mut answer| {
                answer.body = answer.body.replace("<cpix:PSSH>AAAA", "<cpix:PSSH>AAAB");
                answer
            },
            &[
                "Widevine: the PSSH box is for the KID: SD: PSSH",
                "is not the text of PSSH",
            ],
        ),
        (
            "tags that differ",
            &[],
            |_, mut answer| {
                // The first letter of METHOD in base64, of the tags for multivariant playlists alone.
                let tag = "playlist=\"master\">I0VYVC1YLVNFU1NJT04tS0VZOk1FVEhPRD1TQU1QTEUt";
                let other = "playlist=\"master\">I0VYVC1YLVNFU1NJT04tS0VZOk1FVEhPRD1TQU1QTEUu";
                assert!(answer.status != 200 || answer.body.contains(tag));
                answer.body = answer.body.replace(tag, other);
                answer
            },
            &[
                "FairPlay: the tags of both playlists have the same attributes: SD: the attributes differ",
            ],
        ),
        (
            "keys in the clear",
            &["--encrypted"],
            |asked, _| {
                let (before, rest) = asked.body.split_once("<cpix:DeliveryDataList>").unwrap();
                let (_, after) = rest.split_once("</cpix:DeliveryDataList>").unwrap();
                let body = format!("{before}{after}");
                let headers = asked.headers.clone();
                right(&Asked { headers, body })
            },
            &["it is not encrypted"],
        ),
        (
            "a MAC of something else",
            &["--encrypted"],
            |_, mut answer| {
                // That of the last key.
                if let Some((before, mac)) = answer.body.rsplit_once("<pskc:ValueMAC>") {
                    let (_, after) = mac.split_once('<').unwrap();
                    answer.body = format!("{before}<pskc:ValueMAC>AAAA<{after}");
                }
                answer
            },
            &[
                "the key of AUDIO",
                "the MAC of the encrypted key does not verify",
            ],
        ),
        (
            "nothing is refused",
            &[],
            |_, mut answer| {
                answer.status = 200;
                answer
            },
            &[
                "version 9.9 is refused: the answer is 200 Unsupported SPEKE version, not 422",
                "without an encryption contract is refused: the answer is 200",
                "cenc for FairPlay is refused: the answer is 200",
            ],
        ),
        (
            "other sentences",
            &[],
            |_, mut answer| {
                if answer.status == 422 {
                    answer.body = "no".to_owned();
                }
                answer
            },
            &["the answer is 422 no, not 422 Missing CPIX encryption contract"],
        ),
    ];
    for (name, arguments, fault, expected) in cases {
        let url = serve(move |asked| fault(asked, right(asked)));
        let (output, printed) = run(&url, arguments);
        assert_eq!(output.status.code(), Some(1), "{name}: {printed}");
        for expected in expected {
            let mut failed = printed.lines().filter(|line| line.contains("FAILED"));
            let is_told = failed.any(|line| line.contains(expected));
            assert!(is_told, "{name}: {expected}: {printed}");
        }
        assert!(
            !printed.contains("all ok") && printed.ends_with(" failed\n"),
            "{name}: {printed}"
        );
    }
}

#[test]
fn a_packager_says_who_he_is_and_no_secret_of_his_is_shown() {
    // Only who is right gets keys; the refusal repeats what was sent.
    let url = serve(|asked| {
        let sent = asked
            .headers
            .get("authorization")
            .cloned()
            .unwrap_or_default();
        let tenant = asked.headers.get("x-tenant").cloned().unwrap_or_default();
        let known = [
            format!("Bearer {TOKEN}"),
            // "packager:secret-word" in base64.
            "Basic cGFja2FnZXI6c2VjcmV0LXdvcmQ=".to_owned(),
        ];
        match known.contains(&sent) && tenant == "a" {
            true => right(asked),
            false => Answer {
                status: 401,
                headers: BTreeMap::new(),
                body: format!("who is {sent}?"),
            },
        }
    });
    let tenant = ["--header", "x-tenant: a"];
    let output = command(&url, &tenant)
        .env("KEYLET_SPEKE_TOKEN", TOKEN)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    for user in [&["--token", TOKEN][..], &["--user", "packager:secret-word"]] {
        let (output, printed) = run(&url, &[&tenant[..], user].concat());
        assert!(output.status.success(), "{printed}");
        // Without the header of the tenant.
        let (output, printed) = run(&url, user);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(printed.contains("it is 401 who is"), "{printed}");
        for secret in [TOKEN, "secret-word", "cGFja2FnZXI6c2VjcmV0LXdvcmQ"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
    let (_, printed) = run(&url, &[]);
    assert!(printed.contains("KEYLET_SPEKE_TOKEN"), "{printed}");
    assert!(printed.contains("1 check, 1 failed"), "{printed}");
    let problem = serve(|_| Answer {
        status: 404,
        headers: BTreeMap::new(),
        body: r#"{"title":"There is nothing at this path.","status":404}"#.to_owned(),
    });
    let (_, printed) = run(&problem, &[]);
    let expected = "it is 404 There is nothing at this path. Check the path of the URL";
    assert!(printed.contains(expected), "{printed}");
    let (output, printed) = run(&url, &["--user", "nobody"]);
    assert!(
        !output.status.success() && printed.contains("a colon"),
        "{printed}"
    );
}

#[test]
fn keys_are_printed_only_when_they_are_asked_for() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let url = serve({
        let keys = Arc::clone(&keys);
        move |asked| {
            with_keys(asked, |kid| {
                let key = key_of(kid);
                keys.lock().unwrap().push(hex::encode(key));
                key
            })
        }
    });
    let (_, printed) = run(&url, &[]);
    let shown = |printed: &str| {
        let keys = keys.lock().unwrap();
        keys.iter().filter(|key| printed.contains(*key)).count()
    };
    assert!(!keys.lock().unwrap().is_empty());
    assert_eq!(shown(&printed), 0, "{printed}");
    keys.lock().unwrap().clear();
    let (_, printed) = run(&url, &["--show-keys"]);
    // Each of three keys was asked for twice.
    assert_eq!(shown(&printed), 6, "{printed}");
}

#[test]
fn what_cannot_be_asked_is_told_before_anything_is_sent() {
    for (arguments, expected) in [
        (&["speke", "drm.example"][..], "is not a URL of HTTP"),
        (
            &["speke", "http://a/", "--speke-version", "3.0"],
            "1.0, 2.0 and 2.1",
        ),
        (
            &["speke", "http://a/", "--systems", "none"],
            "the systems are widevine",
        ),
        (
            &["speke", "http://a/", "--scheme", "aes"],
            "the schemes are cenc",
        ),
        (
            &["speke", "http://a/", "--tracks", "SD,sd"],
            "SD is there twice",
        ),
        (&["speke", "http://a/", "--header", "x"], "NAME: VALUE"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keylet"));
        let output = command.args(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
    // Nothing listens there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let (output, printed) = run(&url, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("refused the connection"), "{printed}");
}

#[test]
fn a_server_gives_no_orders_to_a_terminal() {
    let url = serve(|_| Answer {
        status: 422,
        headers: BTreeMap::new(),
        body: "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n  ok        everything is fine".to_owned(),
    });
    let (status, shown) = on_terminal(command(&url, &[]));
    assert!(!status.success());
    assert!(
        shown.contains("FAILED") && shown.contains("owned"),
        "{shown:?}"
    );
    assert!(
        !shown.contains("\u{1b}]0") && !shown.contains("\u{1b}[2J"),
        "{shown:?}"
    );
    let is_forged = |line: &str| line.trim_start().starts_with("ok  ");
    assert!(!shown.lines().any(is_forged), "{shown}");
}
