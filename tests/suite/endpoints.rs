//! The HTTP surface beside licences themselves.

use http::Request;
use keylet::fairplay::tag::Tag;
use keylet_cli::device::{Licence, SpcOptions};
use keylet_cli::fixtures::variables;

use crate::support::{
    fixture, get, in_every_world, post_spc, send, serve, spc, token, variables_with,
};

#[test]
fn the_service_document_names_version_and_systems() {
    in_every_world(|server| {
        let answer = get(server, "/");
        assert_eq!(answer.status, 200);
        let document = answer.json();
        assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["drm"], serde_json::json!(["fairplay"]));
        assert_eq!(document["links"]["fairplay"], "/fairplay");
    });
}

#[test]
fn the_health_page_says_which_certificates_players_may_use() {
    in_every_world(|server| {
        let answer = get(server, "/healthz");
        assert_eq!(answer.status, 200);
        let health = answer.json();
        assert_eq!(health["status"], "ok");
        assert_eq!(health["test_credentials"], false);
        let names: Vec<_> = health["fairplay"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["name"])
            .collect();
        assert_eq!(names, ["default", "sdk26", "no-ask"]);
        assert_eq!(health["fairplay"][1]["certificates"][1]["bits"], 2048);
        assert_eq!(health["fairplay"][2]["licences"], false);
    });
}

#[test]
fn the_health_page_says_when_test_credentials_are_allowed() {
    let server = serve(&variables_with(&[("fairplay_test_credentials", "true")]));
    let health = get(&server, "/healthz");
    assert_eq!(
        (health.status, &health.json()["test_credentials"]),
        (200, &true.into())
    );
    server.stop();
}

#[test]
fn certificates_are_handed_out_as_the_provider_got_them() {
    in_every_world(|server| {
        for (path, file) in [
            ("/fairplay/certificate", "credentials/sdk4.cer"),
            ("/fairplay/certificate/default", "credentials/sdk4.cer"),
            (
                "/fairplay/certificate/sdk26",
                "credentials/fps_certificate.bin",
            ),
        ] {
            let answer = get(server, path);
            assert_eq!(
                (answer.status, &answer.body),
                (200, &fixture(file)),
                "{path}"
            );
            assert_eq!(answer.header("content-type"), Some("application/pkix-cert"));
            assert!(answer.header("cache-control").unwrap().contains("max-age"));
        }
        let answer = get(server, "/fairplay/certificate/nobody");
        assert_eq!(
            (answer.status, answer.header("x-keylet-code")),
            (404, Some("route_not_found"))
        );
    });
}

#[test]
fn paths_and_methods_that_are_not_served_say_so() {
    in_every_world(|server| {
        for path in ["/nothing", "/fairplay/certificate/a/b", "/fairplay/none/"] {
            let answer = get(server, path);
            assert_eq!(
                (answer.status, answer.header("x-keylet-code")),
                (404, Some("route_not_found")),
                "{path}"
            );
        }
        for (method, path, allow) in [
            ("GET", "/fairplay", "POST, OPTIONS"),
            ("PUT", "/fairplay", "POST, OPTIONS"),
            ("POST", "/healthz", "GET, HEAD, OPTIONS"),
            ("DELETE", "/", "GET, HEAD, OPTIONS"),
        ] {
            let answer = send(server, Request::builder().method(method), path, &[]);
            assert_eq!(
                (answer.status, answer.header("x-keylet-code")),
                (405, Some("method_not_allowed"))
            );
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
        let head = send(server, Request::head("/"), "/healthz", &[]);
        assert_eq!((head.status, head.body.len()), (200, 0));
    });
}

#[test]
fn a_slash_more_changes_no_path() {
    in_every_world(|server| {
        for path in ["/healthz/", "//", "//healthz", "/fairplay//certificate/"] {
            assert_eq!(get(server, path).status, 200, "{path}");
        }
        let token = token("hs256");
        for path in ["/fairplay/", "//fairplay", "//fairplay//?a=b"] {
            let request = Request::post("/").header("authorization", format!("Bearer {token}"));
            let answer = send(server, request, path, &fixture("spc/v1.bin"));
            assert_eq!(answer.status, 200, "{path}");
        }
    });
}

#[test]
fn answers_say_how_long_they_are_and_come_in_one_piece() {
    in_every_world(|server| {
        let licence = post_spc(server, &fixture("spc/v1.bin"));
        for answer in [licence, get(server, "/openapi.json"), get(server, "/none")] {
            let length = answer.body.len().to_string();
            assert_eq!(answer.header("content-length"), Some(length.as_str()));
            assert_eq!(answer.header("transfer-encoding"), None);
        }
        let tag = get(server, "/fairplay/certificate");
        let tag = tag.header("etag").unwrap();
        let unchanged = Request::get("/").header("if-none-match", tag);
        for (request, path, status) in [
            (Request::options("/"), "/fairplay", 204),
            (Request::head("/"), "/healthz", 200),
            (unchanged, "/fairplay/certificate", 304),
        ] {
            let answer = send(server, request, path, &[]);
            let length = answer.header("content-length");
            assert_eq!((answer.status, length), (status, None), "{path}");
        }
    });
}

#[test]
fn a_browser_may_read_answers_and_refusals() {
    in_every_world(|server| {
        let preflight = Request::options("/")
            .header("origin", "https://player.example")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type,cmcd-session",
            );
        let answer = send(server, preflight, "/fairplay", &[]);
        assert_eq!(answer.status, 204);
        let page = Some("https://player.example");
        assert_eq!(answer.header("access-control-allow-origin"), page);
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("authorization,content-type,cmcd-session")
        );

        let request = Request::post("/").header("origin", "https://player.example");
        let answer = send(server, request, "/fairplay", b"spc=");
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (400, page)
        );
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for header in ["x-keylet-code", "retry-after"] {
            assert!(exposed.contains(header), "{exposed}");
        }
        let answer = get(server, "/");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    });
}

#[test]
fn listed_origins_are_the_only_ones_that_may_read() {
    for setting in [
        "https://a.example, https://b.example/",
        "https://a.example\nhttps://b.example",
        r#"["https://a.example", "https://b.example/"]"#,
    ] {
        let server = serve(&variables_with(&[("cors_origins", setting)]));
        for (origin, allowed) in [
            ("https://a.example", true),
            ("https://b.example", true),
            ("https://c.example", false),
        ] {
            let answer = send(
                &server,
                Request::get("/").header("origin", origin),
                "/",
                &[],
            );
            assert_eq!(
                answer.header("access-control-allow-origin"),
                allowed.then_some(origin)
            );
            assert_eq!(answer.header("vary"), Some("origin"));
        }
        server.stop();
    }
}

#[test]
fn a_plain_request_id_is_kept_and_any_other_replaced() {
    in_every_world(|server| {
        let id = |sent: &str| {
            let answer = send(
                server,
                Request::get("/").header("x-request-id", sent),
                "/",
                &[],
            );
            answer.header("x-request-id").unwrap().to_owned()
        };
        assert_eq!(id("trace-1.2_3"), "trace-1.2_3");
        for sent in ["two words", "a\"b", &"x".repeat(65)] {
            let made = id(sent);
            assert!(
                made.len() == 16 && made.bytes().all(|b| b.is_ascii_hexdigit()),
                "{made}"
            );
        }
    });
}

#[test]
fn a_token_may_come_in_the_query_and_two_that_differ_are_refused() {
    in_every_world(|server| {
        let spc = fixture("spc/v1.bin");
        let in_query = format!("/fairplay?token={}", token("hs256"));
        assert_eq!(
            send(server, Request::post("/"), &in_query, &spc).status,
            200
        );
        let request =
            Request::post("/").header("authorization", format!("Bearer {}", token("lease")));
        let answer = send(server, request, &in_query, &spc);
        assert_eq!(
            (answer.status, answer.header("x-keylet-code")),
            (400, Some("token_ambiguous"))
        );
    });
}

#[test]
fn bodies_beyond_the_limit_are_refused_at_any_size() {
    in_every_world(|server| {
        for size in [64 * 1024 + 1, 256 * 1024 + 1, 3 * 1024 * 1024] {
            let answer = post_spc(server, &vec![0; size]);
            assert_eq!(
                (answer.status, answer.header("x-keylet-code")),
                (413, Some("body_too_large")),
                "{size}"
            );
        }
    });
}

#[test]
fn every_ckc_says_that_it_used_the_generic_session_key() {
    for options in [
        SpcOptions::new("skd://movie-1"),
        SpcOptions::new("skd://movie-1")
            .with(Tag::VIDEO_SESSION_KEY_R1, [1; 128])
            .with(Tag::VIDEO_R2, [2; 32]),
    ] {
        let (spc, secrets) = spc(&options);
        in_every_world(|server| {
            let answer = post_spc(server, &spc);
            assert!(
                answer.body.starts_with(&[0, 0, 0, 1]),
                "the container version is 1"
            );
            let licence = Licence::open(&answer.body, &secrets).unwrap();
            let used = format!("{:?}", Tag::SESSION_KEY_VERSION_USED);
            let times = licence.tags.iter().filter(|tag| **tag == used).count();
            assert_eq!(times, 1, "{:?}", licence.tags);
        });
    }
}

#[test]
fn every_ckc_is_encrypted_anew() {
    in_every_world(|server| {
        let spc = fixture("spc/v1.bin");
        let ivs: std::collections::HashSet<Vec<u8>> = (0..8)
            .map(|_| post_spc(server, &spc).body[8..24].to_vec())
            .collect();
        assert_eq!(
            ivs.len(),
            8,
            "an IV came twice: the random source is not wired to the host"
        );
    });
}

#[test]
fn refusals_say_what_was_found_before_decryption_and_nothing_of_what_was_found_after() {
    in_every_world(|server| {
        let detail = |name: &str| {
            post_spc(server, &fixture(&format!("spc/{name}.bin"))).json()["detail"].clone()
        };
        let unknown = detail("bad-certificate");
        let known =
            get(server, "/healthz").json()["fairplay"][0]["certificates"][0]["sha1"].clone();
        assert!(
            unknown.as_str().unwrap().contains(known.as_str().unwrap()),
            "{unknown}"
        );
        assert!(
            detail("bad-truncated-header")
                .as_str()
                .unwrap()
                .contains("175")
        );
        for after in [
            "bad-wrapped-key",
            "bad-v3-tag",
            "twice-known",
            "value-r2",
            "missing-r2",
            "bad-ask",
        ] {
            assert_eq!(detail(after), serde_json::Value::Null, "{after}");
        }
    });
}

#[test]
fn a_wrong_spc_key_size_and_an_oaep_failure_are_one_answer() {
    in_every_world(|server| {
        use keylet_cli::device::{ApplicationKey, SpcOptions, Wrapping};
        // A version 2 container for the legacy certificate: its RSA block has the wrong size.
        let variables = variables();
        let certificate = keylet::encoding::base64(&variables["fairplay_certificate"])
            .unwrap()
            .to_vec();
        let bundle = fixture("credentials/fps_certificate.bin");
        let device = ApplicationKey {
            certificate: bundle,
            ask: [0; 16].into(),
            is_dask: false,
        };
        let mut rng = keylet_cli::random::system();
        let version = Wrapping::Version(keylet::fairplay::spc::Version::V2);
        let (mut spc, _) = device
            .spc(version, &SpcOptions::new("skd://movie-1"), &mut rng)
            .unwrap();
        spc[280..300].copy_from_slice(&<sha1::Sha1 as sha1::Digest>::digest(&certificate));

        let wrong_size = post_spc(server, &spc);
        let wrong_padding = post_spc(server, &fixture("spc/bad-wrapped-key.bin"));
        let without_id = |answer: &crate::support::Answer| {
            let mut problem = answer.json();
            problem["request_id"] = serde_json::Value::Null;
            problem
        };
        assert_eq!(
            wrong_size.header("x-keylet-code"),
            Some("spc_undecryptable")
        );
        assert_eq!(without_id(&wrong_size), without_id(&wrong_padding));
    });
}
