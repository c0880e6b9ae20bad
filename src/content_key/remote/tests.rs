use std::cell::Cell;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Method, Request, Response};
use zeroize::Zeroizing;

use super::*;
use crate::configuration::SettingErrorKind;
use crate::id::Id;
use crate::platform::test_host::TestHost;
use crate::platform::{self, Error};

const KID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
const KEY: &str = "a537cdc0ca65841406d525e7bf22d754";
const ENCRYPTION_KEYS: &str =
    r#"{"kty":"oct","kid":"k1","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;

/// A host with a clock, and servers whose requests are kept.
struct Host {
    inner: TestHost,
    now: Cell<u64>,
    sent: std::cell::RefCell<Vec<Request<Vec<u8>>>>,
}

impl Host {
    fn new(setting: &str) -> Self {
        Self {
            inner: TestHost::new([(VARIABLE, setting.to_owned())]),
            now: Cell::new(1_800_000_000),
            sent: Default::default(),
        }
    }

    fn with_encryption_keys(mut self) -> Self {
        let keys = ("key_encryption_keys", ENCRYPTION_KEYS.to_owned());
        self.inner.variables.extend([keys]);
        self
    }

    fn answer(&self, status: u16, body: impl Into<Vec<u8>>) {
        let answer = Response::builder().status(status).body(body.into());
        self.inner
            .answers
            .borrow_mut()
            .push_back(Ok(answer.unwrap()));
    }

    fn fail(&self) {
        let error = Error::Outbound {
            authority: "https://keys.example".to_owned(),
            reason: "reset".to_owned(),
        };
        self.inner.answers.borrow_mut().push_back(Err(error));
    }

    fn wait(&self, seconds: u64) {
        self.now.set(self.now.get() + seconds);
    }

    /// What was sent so far, which is forgotten.
    fn take(&self) -> Vec<Request<Vec<u8>>> {
        assert!(self.inner.answers.borrow().is_empty(), "answers are left");
        self.sent.take()
    }
}

impl Platform for Host {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        self.inner.variable(name).await
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        self.inner.fill_random(buffer);
    }

    fn log(&self, line: &str) {
        self.inner.log(line);
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.inner.get(key).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.inner.set(key, value).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.inner.delete(key).await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.inner.keys().await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.inner.increment(key, delta).await
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        self.sent.borrow_mut().push(request.clone());
        self.inner.send(request).await
    }
}

fn query(id: &str) -> KeyQuery {
    KeyQuery::from_id(Id::from_bytes(id.as_bytes()))
}

/// What a query finds: the key in hexadecimal, or why there is none.
fn find(server: &KeyServer, host: &Host, id: &str) -> Result<String, String> {
    match server.find(&query(id), host).now_or_never().unwrap() {
        Ok(Found::Key(key)) => Ok(hex::encode(key.key.expose())),
        Ok(Found::NotHere) => Err("not here".to_owned()),
        Ok(Found::Off) => Err("off".to_owned()),
        Ok(Found::Deleted) => Err("deleted".to_owned()),
        Err(error) => Err(format!("{} {error}", error.code().name)),
    }
}

fn found(server: &KeyServer, host: &Host, id: &str) -> Rc<ContentKey> {
    match server.find(&query(id), host).now_or_never().unwrap() {
        Ok(Found::Key(key)) => key,
        _ => panic!("{id}"),
    }
}

/// The code of why there is no key.
fn code(result: Result<String, String>) -> String {
    let error = result.unwrap_err();
    error.split(' ').next().unwrap().to_owned()
}

fn json_server(more: &str) -> String {
    format!(r#"{{"protocol":"json","url":"https://keys.example/key"{more}}}"#)
}

fn record(key: &str) -> String {
    format!(r#"{{"kid":"{KID}","key":"{key}"}}"#)
}

fn cpix(keys: &str) -> String {
    format!(
        r#"<CPIX xmlns="urn:dashif:org:cpix" xmlns:p="urn:ietf:params:xml:ns:keyprov:pskc" contentId="movie-42"><ContentKeyList>{keys}</ContentKeyList></CPIX>"#
    )
}

fn cpix_key(kid: &str, attributes: &str) -> String {
    format!(
        r#"<ContentKey kid="{kid}" {attributes}><Data><p:Secret><p:PlainValue>pTfNwMplhBQG1SXnvyLXVA==</p:PlainValue></p:Secret></Data></ContentKey>"#
    )
}

#[test]
fn a_setting_that_is_wrong_is_named_by_its_member_and_never_by_its_content() {
    let recipient = serde_json::json!({
        "protocol": "speke", "url": "https://a.example/speke",
        "private_key": include_str!("../../../fixtures/cpix/recipient.pem"),
        "certificate": include_str!("../../../fixtures/cpix/recipient.cer"),
    });
    let with = |name: &str, value: Option<&str>| {
        let mut recipient = recipient.clone();
        match value {
            Some(value) => recipient[name] = value.into(),
            None => drop(recipient.as_object_mut().unwrap().remove(name)),
        }
        recipient.to_string()
    };
    let stranger = include_str!("../../../fixtures/credentials/sdk4-encrypted.pem");
    let other = include_str!("../../../fixtures/credentials/sdk26-2048.pem");
    for (setting, member) in [
        ("secret".to_owned(), ""),
        ("[]".to_owned(), ""),
        ("{}".to_owned(), ""),
        (
            r#"{"protocol":"secret","url":"https://a.example"}"#.to_owned(),
            "protocol",
        ),
        (r#"{"protocol":"json"}"#.to_owned(), ""),
        (json_server(r#","secret":1"#), ""),
        (
            r#"{"protocol":"json","url":"http://secret.example/"}"#.to_owned(),
            "url",
        ),
        (r#"{"protocol":"json","url":"secret"}"#.to_owned(), "url"),
        (
            r#"{"protocol":"json","url":"https://{id}.example/"}"#.to_owned(),
            "url",
        ),
        (
            r#"{"protocol":"json","url":"https://a:secret@b.example/"}"#.to_owned(),
            "url",
        ),
        (
            r#"{"protocol":"json","url":"https://a.example/{secret}"}"#.to_owned(),
            "url",
        ),
        (
            r#"{"protocol":"json","url":"https://a.example/{kid"}"#.to_owned(),
            "url",
        ),
        (
            r#"{"protocol":"json","url":"https://a.example/{content_id}"}"#.to_owned(),
            "url",
        ),
        (
            r#"{"protocol":"cpix","url":"https://a.example/"}"#.to_owned(),
            "url",
        ),
        (
            r#"{"protocol":"speke","url":"https://a.example/{kid}"}"#.to_owned(),
            "url",
        ),
        (
            r#"{"protocol":"speke","url":"https://a.example/","content_id":" "}"#.to_owned(),
            "content_id",
        ),
        (
            r#"{"protocol":"speke","url":"https://a.example/","content_id":"{content_id}"}"#
                .to_owned(),
            "content_id",
        ),
        (json_server(r#","content_id":"secret""#), "content_id"),
        (json_server(r#","private_key":"secret""#), "private_key"),
        (json_server(r#","certificate":"secret""#), "certificate"),
        (json_server(r#","cache_seconds":604801"#), "cache_seconds"),
        (json_server(r#","cache_seconds":-1"#), "cache_seconds"),
        (json_server(r#","iv":"secret""#), "iv"),
        (json_server(r#","headers":["secret"]"#), "headers"),
        (json_server(r#","headers":{"se cret":"a"}"#), "headers"),
        (json_server(r#","headers":{"Host":"secret"}"#), "headers"),
        (json_server(r#","headers":{"a":"sec\nret"}"#), "headers"),
        (with("private_key", None), "certificate"),
        (with("certificate", None), "private_key"),
        (with("private_key", Some("secret")), "private_key"),
        (with("private_key", Some(stranger)), "private_key"),
        (with("private_key", Some(other)), "certificate"),
        (with("certificate", Some("secret")), "certificate"),
        (with("certificate", Some("MAA=")), "certificate"),
    ] {
        let error = Config::read(&setting).err();
        let error = error.unwrap_or_else(|| panic!("{setting}"));
        assert_eq!(
            error.member.as_deref().unwrap_or_default(),
            member,
            "{setting}: {error}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let mismatch = Config::read(&with("private_key", Some(other)))
        .err()
        .unwrap();
    assert_eq!(mismatch.kind, SettingErrorKind::Mismatch);
    for setting in [
        recipient.to_string(),
        json_server(r#","headers":{"authorization":"Bearer x"},"iv":"kid","cache_seconds":0"#),
        r#"{"protocol":"json","url":"http://localhost:8080/{id}?k={kid}"}"#.to_owned(),
        r#"{"protocol":"cpix","url":"https://a.example/{content_id}","content_id":"x-{kid}"}"#
            .to_owned(),
    ] {
        assert!(Config::read(&setting).is_ok(), "{setting}");
    }
}

#[test]
fn what_was_kept_for_another_server_client_or_iv_is_not_taken() {
    let server = |more: &str| Config::read(&json_server(more)).ok().unwrap().server;
    let settings = [
        "",
        r#","iv":"kid""#,
        r#","iv":"000102030405060708090a0b0c0d0e0f""#,
        r#","headers":{"x-tenant":"a"}"#,
        r#","headers":{"x-tenant":"b"}"#,
    ];
    let servers: std::collections::BTreeSet<String> = settings.into_iter().map(server).collect();
    assert_eq!(servers.len(), settings.len());
    // How long it is kept is no other server.
    assert_eq!(server(r#","cache_seconds":5"#), server(""));
}

#[test]
fn nothing_is_asked_when_the_setting_is_read_or_checked() {
    let host = Host::new(&json_server(""));
    let server = KeyServer::default();
    assert_eq!(server.check(&host).now_or_never().unwrap(), Ok(true));
    assert!(host.take().is_empty());
    let off = Host::new("");
    let server = KeyServer::default();
    assert_eq!(server.check(&off).now_or_never().unwrap(), Ok(false));
    assert_eq!(find(&server, &off, KID), Err("off".to_owned()));
}

#[test]
fn each_protocol_asks_in_its_own_way() {
    let ask = |setting: &str, id: &str, answer: &str| {
        let host = Host::new(setting);
        host.answer(200, answer);
        let result = find(&KeyServer::default(), &host, id);
        let mut sent = host.take();
        assert_eq!(sent.len(), 1, "{setting}");
        (result, sent.remove(0))
    };
    let key = Ok(KEY.to_owned());
    let skd = format!("skd://fps.ezdrm.com/;{}", KID.to_uppercase());

    let setting = json_server(r#","headers":{"authorization":"Bearer x","accept":"*/*"}"#);
    let (result, request) = ask(&setting, &skd, &record(KEY));
    assert_eq!(result, key);
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.body(), format!(r#"{{"kid":"{KID}"}}"#).as_bytes());
    assert_eq!(request.headers()["authorization"], "Bearer x");
    assert_eq!(request.headers()["accept"], "*/*");
    assert_eq!(
        request.extensions().get::<platform::Timeout>().unwrap().0,
        Duration::from_millis(1_900)
    );

    let (result, request) = ask(
        &json_server(""),
        "skd://movie-42",
        &format!(r#"{{"key":"{KEY}"}}"#),
    );
    assert_eq!(result, key);
    assert_eq!(request.body(), br#"{"id":"movie-42"}"#);

    let setting = r#"{"protocol":"json","url":"https://keys.example/a/{id}?k={kid}"}"#;
    let (result, request) = ask(setting, &skd, &record(KEY));
    assert_eq!(result, key);
    assert_eq!(request.method(), Method::GET);
    let digits = KID.replace('-', "");
    assert_eq!(
        request.uri().to_string(),
        format!("https://keys.example/a/{digits}?k={KID}")
    );

    let setting = r#"{"protocol":"json","url":"https://keys.example/a/{id}"}"#;
    let (_, request) = ask(
        setting,
        "skd://a/../b?c=d é",
        &format!(r#"{{"key":"{KEY}"}}"#),
    );
    assert_eq!(request.uri().path(), "/a/a%2F..%2Fb%3Fc%3Dd%20%C3%A9");

    let setting = r#"{"protocol":"cpix","url":"https://keys.example/{content_id}/{kid}","content_id":"tenant {kid}"}"#;
    let (result, request) = ask(setting, &skd, &cpix(&cpix_key(KID, "")));
    assert_eq!(result, key);
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri().path(), format!("/tenant%20{KID}/{KID}"));

    let setting =
        r#"{"protocol":"speke","url":"https://keys.example/speke","content_id":"movie & {kid}"}"#;
    let (result, request) = ask(setting, &skd, &cpix(&cpix_key(KID, "")));
    assert_eq!(result, key);
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.headers()["x-speke-version"], "2.0");
    assert_eq!(request.headers()["content-type"], "application/xml");
    let document = crate::cpix::Document::read(request.body()).unwrap();
    assert_eq!(
        document.content_id(),
        Some(format!("movie & {KID}").as_str())
    );
    assert_eq!(document.keys().unwrap()[0].kid.to_string(), KID);
}

#[test]
fn what_cannot_be_asked_is_not_here_and_costs_no_request() {
    for (setting, id) in [
        (
            r#"{"protocol":"speke","url":"https://keys.example/"}"#,
            "movie-42",
        ),
        (
            r#"{"protocol":"json","url":"https://keys.example/{kid}"}"#,
            "movie-42",
        ),
        (
            r#"{"protocol":"json","url":"https://keys.example/{id}"}"#,
            "..",
        ),
        (
            r#"{"protocol":"cpix","url":"https://keys.example/{kid}"}"#,
            "movie-42",
        ),
    ] {
        let host = Host::new(setting);
        assert_eq!(
            find(&KeyServer::default(), &host, id),
            Err("not here".to_owned()),
            "{setting}"
        );
        assert!(host.take().is_empty());
    }
}

#[test]
fn a_key_has_what_its_answer_says_and_the_iv_of_the_setting_where_that_says_none() {
    let host = Host::new(&json_server(""));
    host.answer(200, format!(
        r#"{{"id":"movie-42","kid":"{KID}","key":"{KEY}","iv":"{KEY}","track":"uhd","terms":{{"lease_seconds":60}},"systems":["fairplay"]}}"#
    ));
    let key = found(&KeyServer::default(), &host, KID);
    assert_eq!(
        (
            key.id.to_string().as_str(),
            key.iv.map(hex::encode).as_deref()
        ),
        ("movie-42", Some(KEY))
    );
    assert_eq!((key.terms.lease_seconds, key.systems.len()), (Some(60), 1));
    assert_eq!(key.track, Some(crate::entitlement::Track::Uhd));

    let kid_hex = KID.replace('-', "");
    for (iv, expected) in [
        (r#","iv":"kid""#, kid_hex.as_str()),
        (
            r#","iv":"000102030405060708090a0b0c0d0e0f""#,
            "000102030405060708090a0b0c0d0e0f",
        ),
    ] {
        let host = Host::new(&json_server(iv));
        host.answer(200, record(KEY));
        let key = found(&KeyServer::default(), &host, KID);
        assert_eq!(key.iv.map(hex::encode).as_deref(), Some(expected));
        assert_eq!(key.id.to_string(), kid_hex);
    }

    let setting = r#"{"protocol":"cpix","url":"https://keys.example/{kid}","iv":"kid"}"#;
    let host = Host::new(setting);
    let rules = format!(
        r#"</ContentKeyList><ContentKeyUsageRuleList><ContentKeyUsageRule kid="{KID}" intendedTrackType="HD"/></ContentKeyUsageRuleList><ContentKeyList>"#
    );
    let keys = [
        cpix_key("00000000-0000-0000-0000-000000000001", ""),
        cpix_key(KID, r#"explicitIV="AAECAwQFBgcICQoLDA0ODw==""#),
        rules,
    ];
    host.answer(200, cpix(&keys.concat()));
    let key = found(&KeyServer::default(), &host, KID);
    assert_eq!(
        key.iv.map(hex::encode).as_deref(),
        Some("000102030405060708090a0b0c0d0e0f")
    );
    assert_eq!(key.track, Some(crate::entitlement::Track::Hd));
    assert!(key.names.contains(&Id::from_bytes(b"movie-42")));
}

#[test]
fn an_encrypted_key_is_opened_with_the_private_key_of_the_setting() {
    let setting = |with_key: bool| {
        let mut setting = serde_json::json!({"protocol": "speke", "url": "https://keys.example/"});
        if with_key {
            setting["private_key"] = include_str!("../../../fixtures/cpix/recipient.pem").into();
            setting["certificate"] = include_str!("../../../fixtures/cpix/recipient.cer").into();
        }
        setting.to_string()
    };
    let answer = include_str!("../../../fixtures/cpix/encrypted-2.3.xml");
    let host = Host::new(&setting(true));
    host.answer(200, answer);
    assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
    let sent = host.take();
    let document = std::str::from_utf8(sent[0].body()).unwrap();
    assert!(document.contains("<ds:X509Certificate>MII"), "{document}");
    let server = KeyServer::default();
    assert_eq!(server.check(&host).now_or_never().unwrap(), Ok(true));

    let host = Host::new(&setting(false));
    host.answer(200, answer);
    let error = find(&KeyServer::default(), &host, KID).unwrap_err();
    assert!(
        error.starts_with("key_server_answer") && error.contains("no private key"),
        "{error}"
    );
    assert!(
        !std::str::from_utf8(host.take()[0].body())
            .unwrap()
            .contains("X509")
    );
}

#[test]
fn answers_that_cannot_be_used_have_one_code_and_each_its_reason() {
    let other = "00000000-0000-0000-0000-000000000001";
    let cpix_setting = r#"{"protocol":"cpix","url":"https://keys.example/{id}"}"#;
    let json = json_server("");
    for (setting, id, status, answer, reason) in [
        (json.as_str(), KID, 302, String::new(), "a redirect (302)"),
        (&json, KID, 401, String::new(), "its status is 401"),
        (&json, KID, 204, String::new(), "its status is 204"),
        (&json, KID, 200, String::new(), "JSON: "),
        (&json, KID, 200, "\0\u{1}".to_owned(), "JSON: "),
        (&json, KID, 200, "{}".to_owned(), "`key`"),
        (&json, KID, 200, r#"{"key":"secret"}"#.to_owned(), "`key`"),
        (
            &json,
            KID,
            200,
            format!(r#"{{"key":"{KEY}"}}"#),
            "`kid` is missing",
        ),
        (
            &json,
            KID,
            200,
            record(KEY).replace(KID, other),
            "another KID",
        ),
        (
            &json,
            KID,
            200,
            record(KEY).replace(KID, "secret"),
            "another KID",
        ),
        (
            &json,
            KID,
            200,
            record(KEY).replace('}', r#","iv":"secret"}"#),
            "`iv`",
        ),
        (
            &json,
            KID,
            200,
            record(KEY).replace('}', r#","track":"secret"}"#),
            "`track`",
        ),
        (
            &json,
            KID,
            200,
            record(KEY).replace('}', r#","secret":1}"#),
            "member",
        ),
        (
            &json,
            KID,
            200,
            record(KEY).replace('}', r#","terms":{"unknown":1}}"#),
            "`terms`",
        ),
        (
            &json,
            "movie",
            200,
            format!(r#"{{"id":"secret","key":"{KEY}"}}"#),
            "another id",
        ),
        (
            cpix_setting,
            KID,
            200,
            "<html/>".to_owned(),
            "CPIX: its root",
        ),
        (
            cpix_setting,
            KID,
            200,
            "<!doctype html>".to_owned(),
            "CPIX: ",
        ),
        (
            cpix_setting,
            KID,
            200,
            cpix(&cpix_key(other, "")),
            "another KID",
        ),
        (
            cpix_setting,
            "movie",
            200,
            cpix(&(cpix_key(other, "") + &cpix_key(KID, ""))),
            "several keys",
        ),
    ] {
        let host = Host::new(setting);
        host.answer(status, answer.clone());
        let error = find(&KeyServer::default(), &host, id).unwrap_err();
        assert!(error.starts_with("key_server_answer "), "{answer}: {error}");
        assert!(error.contains(reason), "{answer}: {error}");
        assert!(
            !error.contains("secret") && !error.contains("/key"),
            "{error}"
        );
    }
    // What the host says of an answer that is too large.
    let host = Host::new(&json);
    for _ in 0..2 {
        let error = Error::OutboundTooLarge("https://keys.example".to_owned());
        host.inner.answers.borrow_mut().push_back(Err(error));
    }
    let error = find(&KeyServer::default(), &host, KID).unwrap_err();
    assert!(
        error.starts_with("key_server_answer") && error.contains("262144"),
        "{error}"
    );
}

#[test]
fn a_server_that_cannot_is_asked_twice_and_one_that_the_host_denies_once() {
    let host = Host::new(&json_server(""));
    host.fail();
    host.answer(200, record(KEY));
    assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
    for status in [500, 503] {
        let host = Host::new(&json_server(""));
        host.answer(status, "");
        host.answer(status, "");
        let result = find(&KeyServer::default(), &host, KID);
        assert_eq!(code(result), "key_server_unavailable");
    }
    // Without an answer in the queue, the host denies.
    let host = Host::new(&json_server(""));
    let server = KeyServer::default();
    for _ in 0..2 {
        assert_eq!(code(find(&server, &host, KID)), "key_server_denied");
        assert_eq!(host.take().len(), 1);
    }
}

#[test]
fn a_fresh_key_is_not_asked_for_again_and_a_stale_one_goes_on_for_a_day() {
    let host = Host::new(&json_server(r#","cache_seconds":60"#));
    let server = KeyServer::default();
    host.answer(200, record(KEY));
    let key = Ok(KEY.to_owned());
    assert_eq!(find(&server, &host, KID), key);
    host.wait(59);
    assert_eq!(find(&server, &host, &format!("skd://a?kid={KID}")), key);
    assert_eq!(host.take().len(), 1);
    // It is asked for again, and the server is gone.
    host.wait(1);
    for _ in 0..2 {
        host.fail();
    }
    assert_eq!(find(&server, &host, KID), key);
    assert_eq!(host.take().len(), 2);
    host.wait(29);
    assert_eq!(find(&server, &host, KID), key);
    assert_eq!(host.take().len(), 0);
    // An answer that cannot be used leaves it, too.
    host.wait(1);
    host.answer(200, "garbage");
    assert_eq!(find(&server, &host, KID), key);
    assert_eq!(find(&server, &host, KID), key);
    assert_eq!(host.take().len(), 1);
    host.wait(24 * 60 * 60 - 31);
    for _ in 0..2 {
        host.fail();
    }
    assert_eq!(find(&server, &host, KID), key);
    host.wait(30);
    for _ in 0..2 {
        host.fail();
    }
    assert_eq!(code(find(&server, &host, KID)), "key_server_unavailable");
    // The server is there again, with another key.
    host.wait(5);
    host.answer(200, record("00112233445566778899aabbccddeeff"));
    assert_eq!(
        find(&server, &host, KID),
        Ok("00112233445566778899aabbccddeeff".to_owned())
    );
}

#[test]
fn a_server_that_is_away_is_left_alone_and_a_key_that_fails_holds_up_no_other() {
    let other = "00000000-0000-0000-0000-000000000001";
    let other_record = record(KEY).replace(KID, other);
    let (host, server) = (Host::new(&json_server("")), KeyServer::default());
    for _ in 0..2 {
        host.fail();
    }
    for _ in 0..10 {
        assert_eq!(code(find(&server, &host, KID)), "key_server_unavailable");
        assert_eq!(code(find(&server, &host, other)), "key_server_unavailable");
    }
    assert_eq!(host.take().len(), 2);
    host.wait(5);
    // One key that breaks the server, or whose answer is garbage, is no reason not to ask for others.
    for answer in [(500, ""), (500, ""), (200, "garbage")] {
        host.answer(answer.0, answer.1);
    }
    assert_eq!(code(find(&server, &host, KID)), "key_server_unavailable");
    assert_eq!(code(find(&server, &host, KID)), "key_server_unavailable");
    host.wait(5);
    assert_eq!(code(find(&server, &host, KID)), "key_server_answer");
    assert_eq!(code(find(&server, &host, KID)), "key_server_answer");
    assert_eq!(host.take().len(), 3);
    host.answer(200, other_record);
    assert_eq!(find(&server, &host, other), Ok(KEY.to_owned()));
}

#[test]
fn a_key_that_is_not_there_is_remembered_for_half_a_minute() {
    for (protocol, status, answer) in [
        (json_server(""), 404, String::new()),
        (json_server(""), 410, String::new()),
        (
            r#"{"protocol":"cpix","url":"https://keys.example/{kid}"}"#.to_owned(),
            200,
            cpix(""),
        ),
    ] {
        for offset in [0, 29] {
            let host = Host::new(&protocol);
            host.wait(offset);
            host.answer(status, answer.clone());
            // Each is a fresh instance: they know it from the store.
            for _ in 0..3 {
                assert_eq!(
                    find(&KeyServer::default(), &host, KID),
                    Err("not here".to_owned())
                );
            }
            host.wait(29);
            assert_eq!(
                find(&KeyServer::default(), &host, KID),
                Err("not here".to_owned())
            );
            assert_eq!(host.take().len(), 1, "{protocol}");
            host.wait(1);
            host.answer(404, "");
            assert_eq!(
                find(&KeyServer::default(), &host, KID),
                Err("not here".to_owned())
            );
            assert_eq!(host.take().len(), 1);
        }
    }
}

#[test]
fn other_instances_leave_a_server_alone_that_one_found_silent() {
    let host = Host::new(&json_server(""));
    for _ in 0..2 {
        host.fail();
    }
    for _ in 0..3 {
        assert_eq!(
            code(find(&KeyServer::default(), &host, KID)),
            "key_server_unavailable"
        );
    }
    assert_eq!(host.take().len(), 2);
    // Whoever writes the store cannot have it left alone for long.
    let marked = host
        .inner
        .values
        .borrow()
        .keys()
        .find(|key| key.starts_with("key-server/"))
        .unwrap()
        .clone();
    host.inner
        .values
        .borrow_mut()
        .insert(marked, b"9000000000 silent".to_vec());
    host.answer(200, record(KEY));
    assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
}

#[test]
fn without_encryption_keys_no_key_is_in_the_store_and_with_them_none_in_the_clear() {
    let host = Host::new(&json_server(""));
    host.answer(200, record(KEY));
    assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
    assert!(host.inner.values.borrow().is_empty());

    let host = Host::new(&json_server("")).with_encryption_keys();
    host.answer(200, record(KEY));
    for _ in 0..3 {
        assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
    }
    assert_eq!(host.take().len(), 1);
    let values = host.inner.values.borrow();
    assert_eq!(values.len(), 1);
    let (name, value) = values.first_key_value().unwrap();
    assert!(name.starts_with("key-fetched/"));
    let key = hex::decode(KEY).unwrap();
    assert!(!value.windows(16).any(|bytes| bytes == key));
    assert!(!String::from_utf8_lossy(value).contains(KEY));
}

#[test]
fn what_is_kept_in_the_store_goes_on_when_the_server_is_gone_and_ends_when_it_says_so() {
    let host = Host::new(&json_server(r#","cache_seconds":60"#)).with_encryption_keys();
    host.answer(200, record(KEY));
    let key = Ok(KEY.to_owned());
    assert_eq!(find(&KeyServer::default(), &host, KID), key);
    host.wait(60);
    for _ in 0..2 {
        host.fail();
    }
    for _ in 0..3 {
        assert_eq!(find(&KeyServer::default(), &host, KID), key);
    }
    assert_eq!(host.take().len(), 3);
    host.wait(30);
    host.answer(404, "");
    assert_eq!(
        find(&KeyServer::default(), &host, KID),
        Err("not here".to_owned())
    );
    let names: Vec<String> = host.inner.values.borrow().keys().cloned().collect();
    assert!(
        names.iter().all(|name| !name.starts_with("key-fetched/")),
        "{names:?}"
    );
}

#[test]
fn what_was_changed_in_the_store_is_fetched_again() {
    let host = Host::new(&json_server("")).with_encryption_keys();
    let other = "00000000-0000-0000-0000-000000000001";
    host.answer(200, record(KEY));
    host.answer(
        200,
        record("00112233445566778899aabbccddeeff").replace(KID, other),
    );
    assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
    assert_eq!(
        find(&KeyServer::default(), &host, other),
        Ok("00112233445566778899aabbccddeeff".to_owned())
    );
    host.take();
    let before = host.inner.values.borrow().clone();
    let [first, second]: [String; 2] = before
        .keys()
        .cloned()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    // The records of two keys change places.
    host.inner
        .values
        .borrow_mut()
        .insert(first.clone(), before[&second].clone());
    host.inner
        .values
        .borrow_mut()
        .insert(second.clone(), before[&first].clone());
    host.answer(200, record(KEY));
    assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
    assert_eq!(host.take().len(), 1);
    // Each byte of a record, and each length.
    let name = if host.inner.values.borrow()[&first] == before[&second] {
        &second
    } else {
        &first
    };
    let whole = host.inner.values.borrow()[name].clone();
    let changed = (0..whole.len()).map(|index| {
        let mut changed = whole.clone();
        changed[index] ^= 1;
        changed
    });
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    for value in changed.chain(cut) {
        host.inner.values.borrow_mut().insert(name.clone(), value);
        host.answer(200, record(KEY));
        assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
        assert_eq!(host.take().len(), 1);
    }
}

#[test]
fn a_record_of_the_operator_does_not_pass_for_a_fetched_one_nor_the_other_way_round() {
    let host = Host::new(&json_server("")).with_encryption_keys();
    host.answer(200, record(KEY));
    assert_eq!(find(&KeyServer::default(), &host, KID), Ok(KEY.to_owned()));
    let sealed = host
        .inner
        .values
        .borrow()
        .first_key_value()
        .unwrap()
        .1
        .clone();
    let stored = crate::content_key::store::StoredKeys::default();
    let digits = KID.replace('-', "");
    let name = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&digits));
    host.inner
        .values
        .borrow_mut()
        .insert(format!("key-name/{name}"), digits.clone().into_bytes());
    host.inner
        .values
        .borrow_mut()
        .insert(format!("key/{digits}"), sealed.clone());
    let mut as_record = sealed;
    for _ in 0..2 {
        let found = stored.find(&query(KID), &host).now_or_never().unwrap();
        assert_eq!(found.err().unwrap().code().name, "key_record_altered");
        // The same with the version of a record.
        as_record[0] = 1;
        host.inner
            .values
            .borrow_mut()
            .insert(format!("key/{digits}"), as_record.clone());
    }
}
