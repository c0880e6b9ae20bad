//! A content key policy of an Azure account, from the export on: the commands import it, and the server gives licences of
//! each DRM system by it.

use std::path::Path;

use base64::Engine;
use http::{Request, Response};
use keylet::encoding::{BASE64, BASE64_URL};
use keylet_cli::built_in;
use keylet_cli::client::Client;
use keylet_cli::device::{ApplicationKey, Licence, SpcOptions, Wrapping, read_certificate};
use keylet_cli::jwt::Signer;
use keylet_cli::random;
use keylet_e2e::upstream::{Reply, Upstream};
use keylet_host::{Provided, Server, World};
use serde_json::{Value, json};

use crate::credentials::{dotenv, keylet, make_development, openssl, to_pem};
use crate::support::Directory;

/// A KID, in the order of a GUID in memory too, and its key.
const KID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
const KID_IN_HEADER: &str = "tUWcM2372UuZTOq9nUHJWw==";
const KEY: &str = "a537cdc0ca65841406d525e7bf22d754";

/// Those of content whose key leaves in the clear.
const CLEAR_KID: &str = "09e36702-8f33-436c-a5dd-60ffe6671e70";
const CLEAR_KEY: &str = "b42ca3172ee4e69bf51848a59db9cd13";

/// One policy with an option for each system, as three tools export it.
const EXPORTED: [(&str, &str); 3] = [
    (
        "REST",
        include_str!("../../../fixtures/policies/azure-rest.json"),
    ),
    (
        ".NET",
        include_str!("../../../fixtures/policies/azure-dotnet.json"),
    ),
    (
        "Azure CLI",
        include_str!("../../../fixtures/policies/azure-cli.json"),
    ),
];

/// What stands in the exports for FairPlay's credentials.
const ASK: &str = "bWFkZS11cCBhc2sgMTYgYg==";
const PFX: &str = "dGhpcyB3b3VsZCBiZSBhIFBGWCBjb250YWluZXIsIG1hZGUgdXAgZm9yIGEgdGVzdA==";
const PFX_PASSWORD: &str = "made-up password";

/// What the licence services answer.
const WIDEVINE_LICENSE: &[u8] = b"\x08\x02\x12\x07licence";
const PLAYREADY_LICENSE: &str = r#"<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><AcquireLicenseResponse xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><AcquireLicenseResult><Response><LicenseResponse><Licenses><License>WE1SAA==</License></Licenses></LicenseResponse></Response></AcquireLicenseResult></AcquireLicenseResponse></soap:Body></soap:Envelope>"#;

/// FairPlay's credentials in a folder, as an account has them: the certificate in DER, `account.pfx`, and the ASk.
fn credentials(here: &Path) -> (Vec<u8>, [u8; 16]) {
    make_development(here, "4", "apple", &[]);
    let apple = here.join("apple");
    to_pem(&apple, "fairplay.cer", "fairplay.pem");
    let password = format!("pass:{PFX_PASSWORD}");
    openssl(
        &apple,
        &[
            "pkcs12",
            "-export",
            "-inkey",
            "privatekey.pem",
            "-in",
            "fairplay.pem",
            "-passin",
            "env:PASSWORD",
            "-passout",
            &password,
            "-out",
            "account.pfx",
        ],
    );
    let certificate = std::fs::read(apple.join("fairplay.cer")).unwrap();
    let ask = std::fs::read_to_string(apple.join("ask.txt")).unwrap();
    let ask = keylet::encoding::fixed::<16>(ask.trim()).unwrap();
    (read_certificate(&certificate).unwrap().der, ask)
}

/// The variables that the commands make of an export.
fn imported(here: &Path, document: &str) -> Provided {
    std::fs::write(here.join("policy.json"), document).unwrap();
    for file in ["keylet.env", "policies.json"] {
        let _ = std::fs::remove_file(here.join(file));
    }
    for (part, out) in [("credentials", "keylet.env"), ("policies", "policies.json")] {
        let output = keylet(here, &[part, "import", "policy.json", "--out", out], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{part}: {said}");
    }
    let mut variables = dotenv(&here.join("keylet.env"));
    let policies = std::fs::read_to_string(here.join("policies.json")).unwrap();
    variables.insert("policies".to_owned(), policies);
    variables
}

fn serve(mut variables: Provided, services: &Upstream) -> Server {
    let records = json!([
        {"id": KID, "kid": KID, "key": KEY, "iv": KEY, "track": "hd"},
        {"id": CLEAR_KID, "kid": CLEAR_KID, "key": CLEAR_KEY, "systems": ["clearkey", "aes128"]},
    ]);
    let widevine = json!({
        "provider": "widevine_test",
        "key": "1ae8ccd0e7985cc0b6203a55855a1034afc252980e970ca90e5202689f947ab9",
        "iv": "d58ce954203b7c9a9a9d467f59839249",
        "url": services.url("/widevine"),
    });
    let playready = json!({"kind": "playready_test", "url": services.url("/playready")});
    variables.extend([
        ("content_keys".to_owned(), records.to_string()),
        ("widevine".to_owned(), widevine.to_string()),
        ("playready".to_owned(), playready.to_string()),
    ]);
    let mut application = built_in(World::Wasip2, variables).unwrap();
    application.manifest.component.allowed_outbound_hosts = vec![services.origin()];
    Server::start(application, &keylet_e2e::quiet()).unwrap()
}

fn services() -> Upstream {
    Upstream::start(|request| match request.uri().path() {
        "/widevine" => {
            Reply::json(&json!({"status": "OK", "license": BASE64.encode(WIDEVINE_LICENSE)}))
        }
        _ => Reply::text(PLAYREADY_LICENSE).with("content-type", "text/xml; charset=utf-8"),
    })
}

/// A token of the account's issuer for a key.
fn token(secret: &[u8], kid: &str) -> String {
    let now = keylet::platform::system_time();
    let claims = json!({
        "iss": "https://login.example.com/", "aud": "urn:example:player", "exp": now + 300,
        "urn:microsoft:azure:mediaservices:contentkeyidentifier": kid,
    });
    let signer = Signer::Hs256(secret.to_vec());
    signer.token(None, &claims, &mut random::system()).unwrap()
}

fn send(server: &Server, method: &str, path: &str, token: &str, body: &[u8]) -> Response<Vec<u8>> {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", server.url()))
        .header("authorization", format!("Bearer {token}"));
    let client = Client::new(std::time::Duration::from_secs(60), None).unwrap();
    client
        .exchange(request.body(body.to_vec()).unwrap())
        .unwrap()
}

/// The answer, which is a licence.
fn licence(server: &Server, path: &str, token: &str, body: &[u8]) -> Vec<u8> {
    let response = send(server, "POST", path, token, body);
    let text = String::from_utf8_lossy(response.body()).into_owned();
    assert_eq!(response.status(), 200, "{path}: {text}");
    response.into_body()
}

/// A challenge of a Widevine device for the key, to be stored.
fn widevine_challenge() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    };
    let kid = keylet::id::Kid::from_text(KID).unwrap();
    let data = field(2, kid.as_bytes());
    let cenc = [field(1, &data), vec![0x10, 2], field(3, b"request-1")].concat();
    let request = [
        field(1, b"client"),
        field(2, &field(1, &cenc)),
        vec![0x18, 1],
    ]
    .concat();
    [vec![0x08, 1], field(2, &request), field(3, &[9; 64])].concat()
}

fn playready_challenge() -> String {
    format!(
        r#"<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><AcquireLicense xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><challenge><Challenge xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols/messages"><LA xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols" Id="SignedData" xml:space="preserve"><Version>1</Version><ContentHeader><WRMHEADER xmlns="http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader" version="4.2.0.0"><DATA><PROTECTINFO><KIDS><KID ALGID="AESCTR" VALUE="{KID_IN_HEADER}"></KID></KIDS></PROTECTINFO></DATA></WRMHEADER></ContentHeader></LA></Challenge></challenge></AcquireLicense></soap:Body></soap:Envelope>"#
    )
}

#[test]
fn an_exported_policy_serves_all_four_systems() {
    let directory = Directory::new("azure-policies");
    let here = directory.0.as_path();
    let (certificate, ask) = credentials(here);
    let pfx = BASE64.encode(std::fs::read(here.join("apple/account.pfx")).unwrap());
    for (tool, document) in EXPORTED {
        let exported: Value = serde_json::from_str(document).unwrap();
        let secret = exported.to_string();
        let secret = secret
            .split('"')
            .find(|text| text.starts_with("YSBtYWRl"))
            .unwrap();
        let secret = keylet::encoding::base64(secret).unwrap();
        let document = document
            .replace(ASK, &BASE64.encode(ask))
            .replace(PFX, &pfx);
        let services = services();
        let server = serve(imported(here, &document), &services);
        let token = token(&secret, KID);

        let device = ApplicationKey {
            certificate: certificate.clone(),
            ask: ask.into(),
            is_dask: false,
        };
        let options = SpcOptions::new(format!("skd://{KID}")).playing(0xf4de_e5a2);
        let version = Wrapping::Version(keylet::fairplay::spc::Version::V1);
        let (spc, secrets) = device
            .spc(version, &options, &mut random::system())
            .unwrap();
        let ckc = licence(&server, &format!("/FairPlay/?kid={KID}"), &token, &spc);
        let ckc = Licence::open(&ckc, &secrets).unwrap();
        assert_eq!(ckc.key.as_slice(), hex::decode(KEY).unwrap(), "{tool}");

        let message = widevine_challenge();
        let answer = licence(&server, &format!("/Widevine/?kid={KID}"), &token, &message);
        assert_eq!(answer, WIDEVINE_LICENSE, "{tool}");
        let [asked] = services.take().try_into().unwrap();
        let envelope: Value = serde_json::from_slice(asked.body()).unwrap();
        let told = BASE64
            .decode(envelope["request"].as_str().unwrap())
            .unwrap();
        let told: Value = serde_json::from_slice(&told).unwrap();
        let policy = &told["policy_overrides"];
        assert_eq!(policy["can_persist"], true, "{tool}: {told}");
        assert_eq!(
            policy["rental_duration_seconds"], 2_592_000,
            "{tool}: {told}"
        );
        assert_eq!(
            policy["playback_duration_seconds"], 172_800,
            "{tool}: {told}"
        );
        let spec = &told["content_key_specs"][0];
        assert_eq!(spec["track_type"], "HD", "{tool}: {told}");
        assert_eq!(
            spec["required_output_protection"]["hdcp"], "HDCP_V2_2",
            "{tool}: {told}"
        );

        let message = playready_challenge();
        let answer = licence(&server, "/PlayReady/", &token, message.as_bytes());
        assert_eq!(answer, PLAYREADY_LICENSE.as_bytes(), "{tool}");
        let [asked] = services.take().try_into().unwrap();
        assert_eq!(asked.body(), message.as_bytes());
        let told = asked.uri().query().unwrap();
        for member in [
            "contentkey:pTfNwMplhBQG1SXnvyLXVA==",
            "sl:2000",
            "persist:true",
            "firstexp:172800",
            "ucvopl:270",
            "avopl:150",
            "daop:(guid:6D5CFA59-C250-4426-930E-FAC72C8FCFA6,data:AAAAAg==)",
            "playenablers:(B621D91F-EDCC-4035-8D4B-DC71760D43E9)",
        ] {
            assert!(told.contains(member), "{tool}: {member}: {told}");
        }

        let token = self::token(&secret, CLEAR_KID);
        let kid = keylet::id::Kid::from_text(CLEAR_KID).unwrap();
        let kids = json!({"kids": [BASE64_URL.encode(kid.as_bytes())], "type": "temporary"});
        let kids = kids.to_string();
        let answer = licence(&server, "/clearkey", &token, kids.as_bytes());
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let key = answer["keys"][0]["k"].as_str().unwrap();
        assert_eq!(
            hex::encode(BASE64_URL.decode(key).unwrap()),
            CLEAR_KEY,
            "{tool}"
        );
        let of_segments = format!("/?kid={CLEAR_KID}");
        let answer = send(&server, "GET", &of_segments, &token, &[]);
        assert_eq!(hex::encode(answer.body()), CLEAR_KEY, "{tool}");

        // The options let in a token for its own key alone.
        let other = self::token(&secret, "00000000-0000-4000-8000-000000000001");
        for (method, path, body) in [
            ("POST", "/FairPlay/", spc.as_slice()),
            ("POST", "/Widevine/", &widevine_challenge()),
            ("POST", "/PlayReady/", message.as_bytes()),
            ("POST", "/clearkey", kids.as_bytes()),
            ("GET", &of_segments, &[]),
        ] {
            let response = send(&server, method, path, &other, body);
            assert_eq!(response.status(), 403, "{tool} {path}");
        }
        assert_eq!(services.count(), 0);
    }
}
