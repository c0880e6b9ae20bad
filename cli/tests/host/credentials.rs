//! `keylet credentials`, with the OpenSSL of this machine on the other side.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use keylet_host::Provided;

use crate::faults::copy_of;
use crate::support::{Directory, Process, free_port, wait_for};

const ASK: &str = "000102030405060708090a0b0c0d0e0f";
const PASSWORD: &str = "it's a \"pass$phrase\"";

/// Runs OpenSSL, which is everywhere where this is tested, and returns what it prints.
pub fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .env("PASSWORD", PASSWORD)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &error
}

/// Turns a certificate in DER into PEM.
pub fn to_pem(here: &Path, der: &str, pem: &str) {
    openssl(here, &["x509", "-inform", "der", "-in", der, "-out", pem]);
}

/// Runs a command in a directory, with nothing of this process's environment that concerns it.
pub fn keylet(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    configured(directory, arguments, &Provided::new(), environment)
}

/// The same, with variables of a deployment in the environment.
pub fn configured(
    directory: &Path,
    arguments: &[&str],
    variables: &Provided,
    environment: &[(&str, &str)],
) -> Output {
    let name = |name: &str| format!("SPIN_VARIABLE_{}", name.to_uppercase());
    Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(variables.iter().map(|(own, value)| (name(own), value)))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// Makes a development set in a directory.
pub fn make_development(here: &Path, sdk: &str, out: &str, environment: &[(&str, &str)]) {
    let arguments = [
        "credentials",
        "new",
        "--development",
        "--sdk",
        sdk,
        "--common-name",
        "test",
        "--out-dir",
        out,
    ];
    assert!(keylet(here, &arguments, environment).status.success());
}

fn import(directory: &Path, arguments: &[&str], password: &str) -> Output {
    let arguments = [&["credentials", "import"], arguments].concat();
    keylet(
        directory,
        &arguments,
        &[("KEYLET_PASSWORD", password), ("KEYLET_ASK", ASK)],
    )
}

/// The variables of a `.env` file, read as Spin reads it.
pub fn dotenv(path: &Path) -> Provided {
    let lines = dotenvy::from_path_iter(path).unwrap();
    lines
        .map(|line| {
            let (name, value) = line.unwrap();
            let name = name
                .strip_prefix("SPIN_VARIABLE_")
                .unwrap()
                .to_ascii_lowercase();
            (name, value)
        })
        .collect()
}

/// The password of the private keys in the `.env` of a directory, read as a shell reads it.
fn sourced_password(directory: &Path) -> String {
    let sourced = Command::new("sh")
        .args([
            "-c",
            "set -a; . ./.env; printf %s \"$SPIN_VARIABLE_FAIRPLAY_PRIVATE_KEY_PASSWORD\"",
        ])
        .current_dir(directory)
        .output()
        .unwrap();
    String::from_utf8(sourced.stdout).unwrap()
}

/// Runs a script with a program that stands in for Vault's: it keeps what comes over standard input, and its arguments.
fn run_with_vault(here: &Path, script: &str) {
    let bin = here.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let program = "#!/bin/sh\ncat >\"kept-$4\"\necho \"$@\" >>arguments\n";
    std::fs::write(bin.join("vault"), program).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("vault"), executable).unwrap();
    std::fs::write(here.join("vault.sh"), script).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let ran = Command::new("sh")
        .arg("vault.sh")
        .env("PATH", path)
        .current_dir(here)
        .status();
    assert!(ran.unwrap().success());
}

/// Whether variables make a server that answers a device: the doctor plays one.
fn works(variables: &Provided) -> bool {
    let directory = Directory::new("works");
    let content_keys = format!(r#"[{{"id":"movie","key":"{ASK}","iv":"{ASK}"}}]"#);
    let token_keys =
        r#"{"keys":[{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;
    let mut variables = variables.clone();
    for (name, value) in [
        ("content_keys", content_keys.as_str()),
        ("token_keys", token_keys),
        ("token_issuer", "*"),
        ("token_audience", "*"),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    let output = configured(&directory.0, &["doctor", "--json"], &variables, &[]);
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    output.status.code() == Some(0)
}

#[test]
fn openssl_accepts_keys_and_requests_that_are_made() {
    let directory = Directory::new("credentials-new");
    let here = directory.0.as_path();
    let subject = [
        "--common-name",
        "Example, TV=1",
        "--organization",
        "Ex \"Inc\" Ä",
        "--organizational-unit",
        "OTT",
        "--country",
        "US",
    ];
    for (sdk, sizes) in [("4", &["1024"][..]), ("26", &["1024", "2048"])] {
        for password in [None, Some(PASSWORD)] {
            let out = format!("sdk{sdk}-{}", password.is_some());
            let arguments = [
                &["credentials", "new", "--sdk", sdk, "--out-dir", &out][..],
                &subject,
            ]
            .concat();
            let environment: Vec<(&str, &str)> = password
                .into_iter()
                .map(|password| ("KEYLET_PASSWORD", password))
                .collect();
            let made = keylet(here, &arguments, &environment);
            assert!(
                made.status.success(),
                "{}",
                String::from_utf8_lossy(&made.stderr)
            );
            for size in sizes {
                let name = |stem: &str, extension: &str| match sizes.len() {
                    1 => format!("{out}/{stem}.{extension}"),
                    _ => format!("{out}/{stem}-{size}.{extension}"),
                };
                let (key, request) = (name("privatekey", "pem"), name("certreq", "csr"));
                let checked = openssl(
                    here,
                    &[
                        "pkey",
                        "-in",
                        &key,
                        "-passin",
                        "env:PASSWORD",
                        "-check",
                        "-noout",
                        "-text",
                    ],
                );
                assert!(
                    checked.contains("Key is valid") && checked.contains(&format!("({size} bit")),
                    "{checked}"
                );
                let text = std::fs::read_to_string(here.join(&key)).unwrap();
                assert_eq!(text.contains("BEGIN ENCRYPTED"), password.is_some());

                let verified = openssl(
                    here,
                    &[
                        "req",
                        "-in",
                        &request,
                        "-verify",
                        "-noout",
                        "-text",
                        "-nameopt",
                        "RFC2253,utf8",
                    ],
                );
                assert!(verified.contains("verify OK"), "{verified}");
                assert!(
                    verified.contains(r#"CN=Example\, TV=1,OU=OTT,O=Ex \"Inc\" "#),
                    "{verified}"
                );
                let digest = if *size == "1024" {
                    "sha1With"
                } else {
                    "sha256With"
                };
                assert!(verified.contains(digest), "{verified}");
                let moduli = [("pkey", &key), ("req", &request)].map(|(kind, file)| {
                    let public = match kind {
                        "pkey" => openssl(
                            here,
                            &["pkey", "-in", file, "-passin", "env:PASSWORD", "-pubout"],
                        ),
                        _ => openssl(here, &["req", "-in", file, "-noout", "-pubkey"]),
                    };
                    public.trim().to_owned()
                });
                assert_eq!(moduli[0], moduli[1]);
            }
            let again = keylet(here, &arguments, &environment);
            assert!(!again.status.success(), "a private key was overwritten");
        }
    }
    let digest = [
        "credentials",
        "new",
        "--common-name",
        "x",
        "--digest",
        "sha256",
        "--out-dir",
        "d",
    ];
    assert!(keylet(here, &digest, &[]).status.success());
    assert!(
        openssl(here, &["req", "-in", "d/certreq.csr", "-noout", "-text"]).contains("sha256With")
    );
}

#[test]
fn a_development_set_is_accepted_by_openssl_and_plays() {
    let directory = Directory::new("credentials-development");
    let here = directory.0.as_path();
    for sdk in ["4", "26"] {
        make_development(here, sdk, sdk, &[]);
        let name = if sdk == "4" {
            "4/fairplay.cer"
        } else {
            "26/fps_certificate.bin"
        };
        to_pem(here, name, "leaf.pem");
        to_pem(here, &format!("{sdk}/authority.cer"), "authority.pem");
        assert!(openssl(here, &["verify", "-CAfile", "authority.pem", "leaf.pem"]).contains("OK"));
        let out = format!("{sdk}.env");
        let imported = keylet(here, &["credentials", "import", sdk, "--out", &out], &[]);
        assert!(
            imported.status.success(),
            "{}",
            String::from_utf8_lossy(&imported.stderr)
        );
        assert!(works(&dotenv(&here.join(&out))));
    }
}

/// Keys and containers with one key, in every form that OpenSSL writes, and a certificate for it.
fn made_by_openssl(here: &Path) -> Vec<String> {
    let pass = ["-passin", "env:PASSWORD", "-passout", "env:PASSWORD"];
    openssl(here, &["genrsa", "-out", "plain.pem", "1024"]);
    openssl(
        here,
        &[
            "req",
            "-new",
            "-x509",
            "-sha1",
            "-key",
            "plain.pem",
            "-subj",
            "/CN=provider",
            "-out",
            "c.pem",
        ],
    );
    openssl(
        here,
        &["x509", "-in", "c.pem", "-outform", "der", "-out", "c.cer"],
    );
    openssl(
        here,
        &[
            "genrsa",
            "-aes256",
            "-passout",
            "env:PASSWORD",
            "-out",
            "genrsa.pem",
            "1024",
        ],
    );
    let mut keys = vec!["plain.pem".to_owned()];
    let mut make = |name: String, arguments: &[&str], is_secret: bool| {
        let ends = ["-in", "plain.pem", "-out", &name];
        openssl(
            here,
            &[arguments, if is_secret { &pass } else { &[] }, &ends].concat(),
        );
        keys.push(name);
    };
    make("pkcs1.pem".into(), &["rsa", "-traditional"], false);
    make(
        "pkcs1.der".into(),
        &["rsa", "-traditional", "-outform", "der"],
        false,
    );
    make(
        "pkcs8.der".into(),
        &["pkcs8", "-topk8", "-nocrypt", "-outform", "der"],
        false,
    );
    let legacy = ["-provider", "legacy", "-provider", "default"];
    for cipher in ["des", "des3", "aes128", "aes192", "aes256"] {
        let flag = format!("-{cipher}");
        let arguments = [&["rsa", "-traditional", &flag][..], &legacy].concat();
        make(format!("traditional-{cipher}.pem"), &arguments, true);
    }
    for cipher in ["aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "des3"] {
        for hash in ["hmacWithSHA1", "hmacWithSHA256", "hmacWithSHA512"] {
            let name = format!("{cipher}-{hash}.pem");
            make(
                name,
                &["pkcs8", "-topk8", "-v2", cipher, "-v2prf", hash],
                true,
            );
        }
    }
    make(
        "pbes2.der".into(),
        &["pkcs8", "-topk8", "-outform", "der"],
        true,
    );
    make("scrypt.pem".into(), &["pkcs8", "-topk8", "-scrypt"], true);
    for scheme in [
        "PBE-MD5-DES",
        "PBE-SHA1-DES",
        "PBE-SHA1-3DES",
        "PBE-SHA1-2DES",
        "PBE-SHA1-RC2-128",
        "PBE-SHA1-RC2-40",
    ] {
        let arguments = [&["pkcs8", "-topk8", "-v1", scheme][..], &legacy].concat();
        make(format!("{scheme}.pem"), &arguments, true);
    }
    keys
}

fn containers_made_by_openssl(here: &Path) -> Vec<String> {
    let forms: [(&str, &[&str]); 6] = [
        ("modern.p12", &[]),
        ("legacy.pfx", &["-legacy"]),
        (
            "3des.pfx",
            &["-descert", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
        ),
        ("sha512.pfx", &["-macalg", "sha512"]),
        ("no-mac.pfx", &["-nomac"]),
        ("open.pfx", &["-keypbe", "NONE", "-certpbe", "NONE"]),
    ];
    let make = |(name, flags): (&str, &[&str])| {
        let arguments = [
            "pkcs12",
            "-export",
            "-inkey",
            "plain.pem",
            "-in",
            "c.pem",
            "-passout",
            "env:PASSWORD",
            "-out",
            name,
        ];
        openssl(here, &[&arguments, flags].concat());
        name.to_owned()
    };
    forms.map(make).to_vec()
}

#[test]
fn every_form_that_openssl_writes_is_imported_and_plays() {
    let directory = Directory::new("credentials-import");
    let here = directory.0.as_path();
    let keys = made_by_openssl(here);
    assert!(keys.len() > 25);
    let cases = keys
        .iter()
        .map(|key| vec!["c.cer", key])
        .chain([vec!["c.pem", "plain.pem"]])
        .map(|files| files.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>());
    let containers = containers_made_by_openssl(here)
        .into_iter()
        .map(|container| vec![container]);
    for files in cases.chain(containers) {
        let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
        arguments.extend(["--out", "out.env", "--force"]);
        let imported = import(here, &arguments, PASSWORD);
        let shown = String::from_utf8_lossy(&imported.stderr).into_owned();
        assert!(imported.status.success(), "{files:?}: {shown}");
        assert!(!shown.contains(ASK) && !shown.contains(PASSWORD));
        let kept = dotenv(&here.join("out.env"));
        // What a password kept, it keeps, unless that is asked for.
        let is_secret = kept.contains_key("fairplay_private_key_password");
        let is_plain = ["plain.pem", "pkcs1.pem", "pkcs1.der", "pkcs8.der"]
            .iter()
            .any(|plain| files.contains(&(*plain).to_owned()));
        assert_eq!(is_secret, !is_plain, "{files:?}");
        assert!(works(&kept), "{files:?}");

        let wrong = import(here, &arguments, "another password");
        assert_eq!(
            wrong.status.success(),
            is_plain,
            "{files:?} with a wrong password"
        );
    }
    let decrypted = import(
        here,
        &["c.cer", "PBE-MD5-DES.pem", "--decrypt", "--out", "d.env"],
        PASSWORD,
    );
    assert!(decrypted.status.success());
    let decrypted = dotenv(&here.join("d.env"));
    assert!(!decrypted.contains_key("fairplay_private_key_password") && works(&decrypted));
}

#[test]
fn a_key_of_genrsa_with_a_password_belongs_to_its_request() {
    let directory = Directory::new("credentials-genrsa");
    let here = directory.0.as_path();
    openssl(
        here,
        &[
            "genrsa",
            "-aes256",
            "-passout",
            "env:PASSWORD",
            "-out",
            "key.pem",
            "1024",
        ],
    );
    let request = [
        "req",
        "-new",
        "-sha1",
        "-x509",
        "-key",
        "key.pem",
        "-passin",
        "env:PASSWORD",
        "-subj",
        "/CN=x/OU=y/O=z/C=US",
        "-out",
        "c.pem",
    ];
    openssl(here, &request);
    let imported = import(here, &["c.pem", "key.pem", "--out", "out.env"], PASSWORD);
    assert!(imported.status.success());
    assert!(works(&dotenv(&here.join("out.env"))));
}

#[test]
fn lists_of_the_server_sdk_and_policies_of_azure_are_imported() {
    let directory = Directory::new("credentials-lists");
    let here = directory.0.as_path();
    for sdk in ["4", "26"] {
        make_development(here, sdk, sdk, &[]);
    }
    let ask = |sdk: &str| std::fs::read_to_string(here.join(sdk).join("ask.txt")).unwrap();
    let list = serde_json::json!({"certificates": [
        {"certificate": "../26/fps_certificate.bin", "1024-private-key": "../26/privatekey-1024.pem",
         "2048-private-key": "../26/privatekey-2048.pem", "provisioning-data": "AAAA", "ask": ask("26")},
        {"certificate": "../4/fairplay.cer", "1024-private-key": "../4/privatekey.pem", "ask": ask("4")},
    ]});
    std::fs::create_dir(here.join("list")).unwrap();
    std::fs::write(here.join("list/certificates.json"), list.to_string()).unwrap();
    for from in [&["list/certificates.json"][..], &["list"], &["26", "4"]] {
        let arguments = [
            &["credentials", "import"],
            from,
            &["--out", "out.env", "--force"],
        ]
        .concat();
        let imported = keylet(here, &arguments, &[]);
        assert!(
            imported.status.success(),
            "{}",
            String::from_utf8_lossy(&imported.stderr)
        );
        let variables = dotenv(&here.join("out.env"));
        let imported: serde_json::Value =
            serde_json::from_str(&variables["fairplay_credentials"]).unwrap();
        assert_eq!(imported.as_array().unwrap().len(), 2);
        assert_eq!(imported[0]["ask"], ask("26"));
        assert_eq!(imported[1]["ask"], ask("4"));
        assert!(works(&variables));
    }

    made_by_openssl(here);
    containers_made_by_openssl(here);
    for container in ["modern.p12", "legacy.pfx"] {
        use base64::Engine;
        let pfx = std::fs::read(here.join(container)).unwrap();
        let base64 = |bytes: &[u8]| keylet::encoding::BASE64.encode(bytes);
        let policy = serde_json::json!({"properties": {"options": [{"name": "fairplay", "configuration": {
            "@odata.type": "#Microsoft.Media.ContentKeyPolicyFairPlayConfiguration",
            "ask": base64(&hex::decode(ASK).unwrap()),
            "fairPlayPfx": base64(&pfx),
            "fairPlayPfxPassword": PASSWORD,
            "rentalAndLeaseKeyType": "Undefined", "rentalDuration": 0,
        }}]}});
        std::fs::write(here.join("policy.json"), policy.to_string()).unwrap();
        let imported = keylet(
            here,
            &[
                "credentials",
                "import",
                "policy.json",
                "--out",
                "azure.env",
                "--force",
            ],
            &[],
        );
        assert!(
            imported.status.success(),
            "{}",
            String::from_utf8_lossy(&imported.stderr)
        );
        let variables = dotenv(&here.join("azure.env"));
        assert_eq!(variables["fairplay_ask"], ASK);
        assert!(works(&variables));
    }
}

#[test]
fn what_is_imported_is_written_for_every_place_that_spin_reads_variables_from() {
    let directory = Directory::new("credentials-export");
    let here = directory.0.as_path();
    make_development(here, "4", "dev", &[("KEYLET_PASSWORD", PASSWORD)]);
    let import = |arguments: &[&str]| {
        let arguments = [&["credentials", "import", "dev"], arguments].concat();
        let imported = keylet(here, &arguments, &[("KEYLET_PASSWORD", PASSWORD)]);
        assert!(
            imported.status.success(),
            "{}",
            String::from_utf8_lossy(&imported.stderr)
        );
        String::from_utf8(imported.stdout).unwrap()
    };
    // A file that has other variables keeps them, and loses those that are written anew.
    std::fs::write(
        here.join(".env"),
        "# mine\nSPIN_VARIABLE_TOKEN_ISSUER=me\nSPIN_VARIABLE_FAIRPLAY_ASK=old\n",
    )
    .unwrap();
    import(&["--out", ".env"]);
    let text = std::fs::read_to_string(here.join(".env")).unwrap();
    assert!(
        text.starts_with("# mine\n") && !text.contains("old"),
        "{text}"
    );
    let variables = dotenv(&here.join(".env"));
    assert_eq!(variables["token_issuer"], "me");
    assert_eq!(variables["fairplay_private_key_password"], PASSWORD);
    assert_eq!(sourced_password(here), PASSWORD);

    let spin: toml::Value = toml::from_str(&import(&["--format", "spin"])).unwrap();
    let values = &spin["variables_provider"][0]["values"];
    // A secret store gets keys without a password, unless it is told otherwise.
    let decrypted = import(&["--format", "kubernetes"]);
    assert!(!decrypted.contains(PASSWORD) && !decrypted.contains("ENCRYPTED"));
    let kubernetes = import(&["--format", "kubernetes", "--encrypted"]);
    let vault = import(&["--format", "vault", "--encrypted"]);
    run_with_vault(here, &vault);
    assert!(
        !std::fs::read_to_string(here.join("arguments"))
            .unwrap()
            .contains(PASSWORD)
    );
    for name in [
        "fairplay_certificate",
        "fairplay_private_key",
        "fairplay_private_key_password",
        "fairplay_ask",
    ] {
        let value = &variables[name];
        assert_eq!(values[name].as_str(), Some(value.as_str()), "{name}");
        let line = kubernetes
            .lines()
            .find(|line| line.starts_with(&format!("  {}: ", name.replace('_', "-"))))
            .unwrap();
        let (_, quoted) = line.split_once(": ").unwrap();
        assert_eq!(
            serde_json::from_str::<String>(quoted).unwrap(),
            *value,
            "{name}"
        );
        let kept = std::fs::read(here.join(format!("kept-{name}"))).unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(kept["value"], *value, "{name}");
    }
    // What an import of several sets has left is gone.
    assert!(kubernetes.contains("\n  fairplay-credentials: \"\"\n"));
    let kept = std::fs::read_to_string(here.join("kept-fairplay_credentials")).unwrap();
    assert_eq!(kept, "{\"value\":\"\"}\n");
}

/// `keylet serve` with the files of a directory, once it listens, and the URL of its licences.
pub fn serve_in(here: &Path, arguments: &[&str]) -> (Process, String) {
    let listen = format!("127.0.0.1:{}", free_port());
    let serve = Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(["serve", "--listen", &listen])
        .args(arguments)
        .current_dir(here)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let server = Process(serve.unwrap());
    wait_for(|| std::net::TcpStream::connect(&listen).is_ok());
    (server, format!("http://{listen}/fairplay"))
}

/// A server that is started with some arguments gives a licence to a device that has its settings.
fn assert_served(here: &Path, arguments: &[&str], environment: &[(&str, &str)]) {
    let (_server, url) = serve_in(here, arguments);
    let license = [
        "license",
        &url,
        "--asset-id",
        "skd://movie-42",
        "--configured",
    ];
    let licence = keylet(here, &license, environment);
    let printed = String::from_utf8_lossy(&licence.stdout).into_owned();
    assert!(
        licence.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&licence.stderr)
    );
    assert!(printed.contains("as_expected"), "{printed}");
}

#[test]
fn three_commands_lead_from_files_to_a_licence() {
    let directory = Directory::new("credentials-three");
    let here = directory.0.as_path();
    make_development(here, "4", "dev", &[]);
    for file in ["fairplay.cer", "privatekey.pem"] {
        std::fs::copy(here.join("dev").join(file), here.join(file)).unwrap();
    }
    let ask = std::fs::read_to_string(here.join("dev/ask.txt")).unwrap();

    let import = [
        "credentials",
        "import",
        "fairplay.cer",
        "privatekey.pem",
        "--trial",
        "movie-42",
        "--out",
        ".env",
    ];
    assert!(
        keylet(here, &import, &[("KEYLET_ASK", &ask)])
            .status
            .success()
    );
    assert_served(here, &[], &[]);

    // The same variables as a runtime configuration.
    let import = |format: &str, out: &str| {
        let arguments = [
            "credentials",
            "import",
            "dev",
            "--trial",
            "movie-42",
            "--format",
            format,
            "--out",
            out,
        ];
        keylet(here, &arguments, &[]).status.success()
    };
    assert!(import("spin", "runtime-config.toml"));
    std::fs::remove_file(here.join(".env")).unwrap();
    let doctor = keylet(
        here,
        &["doctor", "--runtime-config-file", "runtime-config.toml"],
        &[],
    );
    assert!(
        doctor.status.success(),
        "{}",
        String::from_utf8_lossy(&doctor.stdout)
    );
    assert!(
        !keylet(here, &["doctor"], &[]).status.success(),
        "nothing is configured here"
    );

    // All in one variable. What another hand put there is kept.
    std::fs::write(
        here.join("settings.json"),
        r#"{"cors_origins": "https://tv.example.com", "fairplay_ask": "old"}"#,
    )
    .unwrap();
    assert!(import("settings", "settings.json"));
    let settings: serde_json::Value =
        serde_json::from_slice(&std::fs::read(here.join("settings.json")).unwrap()).unwrap();
    assert_eq!(settings["cors_origins"], "https://tv.example.com");
    assert!(settings["content_keys"].is_array() && settings["fairplay_ask"] != "old");
    let doctor = ["doctor", "--variable", "settings=@settings.json"];
    let doctor = keylet(here, &doctor, &[]);
    assert!(
        doctor.status.success(),
        "{}",
        String::from_utf8_lossy(&doctor.stdout)
    );
    std::fs::write(here.join("other.json"), r#"{"name": "another file"}"#).unwrap();
    assert!(!import("settings", "other.json"));
    // A server and the commands that stand in for its operator read it.
    assert_served(
        here,
        &["--in-memory", "--variable", "settings=@settings.json"],
        &[("SPIN_VARIABLE_SETTINGS", &settings.to_string())],
    );

    // A Vault is asked for each variable, and the doctor says so.
    std::fs::write(
        here.join("vault.toml"),
        "[[variables_provider]]\ntype = \"vault\"\nurl = \"https://vault.example\"\n",
    )
    .unwrap();
    let doctor = [
        "doctor",
        "--runtime-config-file",
        "vault.toml",
        "--variable",
        "settings=@settings.json",
    ];
    let doctor = keylet(here, &doctor, &[]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(
        said.contains("each variable is fetched from another server"),
        "{said}"
    );
}

/// Passwords that quoting may get wrong.
const ODD_PASSWORDS: [&str; 30] = [
    "\\",
    "a\\",
    "a\\\\",
    "\\'",
    "'\\'",
    "'",
    "''",
    "it's",
    "\"",
    "\"\"",
    "a\"b'c",
    "$HOME",
    "${A}",
    "$(id)",
    "`id`",
    "a b",
    " a",
    "a ",
    "#",
    "a #b",
    "!",
    "\\n",
    "\\$",
    "\\\"",
    "%s",
    "a=b",
    "~",
    "ü",
    "a;b",
    "&&|<>*?[]{}()",
];

#[test]
fn an_import_leaves_the_rest_of_a_file_as_it_was() {
    let directory = Directory::new("credentials-env");
    let here = directory.0.as_path();
    make_development(here, "4", "dev", &[]);
    let file = |name: &str| std::fs::read_to_string(here.join("dev").join(name)).unwrap();
    let before = format!(
        "# mine\nSPIN_VARIABLE_FAIRPLAY_PRIVATE_KEY=\"{}\"\nOTHER='two\nlines' # a remark\n\
         export SPIN_VARIABLE_TOKEN_ISSUER=me\nSPIN_VARIABLE_CONTENT_KEYS='[1]'\nSPIN_VARIABLE_SERVER_SECRET=\"s\"",
        file("privatekey.pem")
    );
    let out = here.join(".env");
    for force in [&[][..], &["--force"]] {
        std::fs::write(&out, &before).unwrap();
        let arguments = [&["dev", "--trial", "movie", "--out", ".env"], force].concat();
        let imported = import(here, &arguments, "");
        let said = String::from_utf8_lossy(&imported.stderr).into_owned();
        assert!(imported.status.success(), "{said}");
        assert!(said.contains(".env.bak"), "{said}");
        assert_eq!(
            std::fs::read_to_string(here.join(".env.bak")).unwrap(),
            before
        );
        let text = std::fs::read_to_string(&out).unwrap();
        assert!(
            text.starts_with("# mine\nOTHER='two\nlines' # a remark\nexport SPIN_"),
            "{text}"
        );
        let read: Vec<(String, String)> = dotenvy::from_path_iter(&out)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let value = |name: &str| {
            let mut found = read.iter().filter(|(known, _)| known == name);
            let (_, value) = found.next().unwrap();
            assert!(found.next().is_none(), "{name} is there twice");
            value.as_str()
        };
        assert_eq!(value("OTHER"), "two\nlines");
        assert_eq!(value("SPIN_VARIABLE_TOKEN_ISSUER"), "me");
        assert_eq!(value("SPIN_VARIABLE_CONTENT_KEYS"), "[1]");
        assert_eq!(value("SPIN_VARIABLE_SERVER_SECRET"), "s");
        assert!(!value("SPIN_VARIABLE_FAIRPLAY_PRIVATE_KEY").is_empty());
        #[cfg(unix)]
        for name in [".env", ".env.bak"] {
            let mode = std::fs::metadata(here.join(name)).unwrap().permissions();
            let mode = std::os::unix::fs::PermissionsExt::mode(&mode);
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    // What Spin does not read is not touched.
    let broken = "SPIN_VARIABLE_TOKEN_ISSUER=me\nMIICdQIBADANBgkq hkiG\n";
    std::fs::write(&out, broken).unwrap();
    let imported = import(here, &["dev", "--out", ".env", "--force"], "");
    let said = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert!(!imported.status.success());
    assert!(said.contains(".env: line 2 "), "{said}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), broken);
}

#[test]
fn odd_passwords_come_back_from_a_file_as_they_went_in() {
    let directory = Directory::new("credentials-passwords");
    let here = directory.0.as_path();
    for (index, password) in ODD_PASSWORDS.into_iter().enumerate() {
        let folder = format!("dev{index}");
        make_development(here, "4", &folder, &[("KEYLET_PASSWORD", password)]);
        let imported = import(here, &[&folder, "--out", ".env"], password);
        let said = String::from_utf8_lossy(&imported.stderr);
        assert!(imported.status.success(), "{password}: {said}");
        assert_eq!(
            dotenv(&here.join(".env"))["fairplay_private_key_password"],
            password
        );
        assert_eq!(sourced_password(here), password);

        let written = |format: &str| {
            let imported = import(
                here,
                &[&folder, "--format", format, "--encrypted"],
                password,
            );
            String::from_utf8(imported.stdout).unwrap()
        };
        let spin: toml::Value = toml::from_str(&written("spin")).unwrap();
        let values = &spin["variables_provider"][0]["values"];
        assert_eq!(
            values["fairplay_private_key_password"].as_str(),
            Some(password)
        );
        let secret: serde_yaml_ng::Value = serde_yaml_ng::from_str(&written("kubernetes")).unwrap();
        let data = &secret["stringData"];
        assert_eq!(
            data["fairplay-private-key-password"].as_str(),
            Some(password)
        );
        let settings: serde_json::Value = serde_json::from_str(&written("settings")).unwrap();
        assert_eq!(settings["fairplay_private_key_password"], password);
        run_with_vault(here, &written("vault"));
        let kept = std::fs::read(here.join("kept-fairplay_private_key_password")).unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(kept["value"], password);
    }
}

#[test]
fn files_that_an_import_once_broke_are_read_after_it() {
    let test = "files_that_an_import_once_broke_are_read_after_it";
    for (name, arguments, before) in [
        (
            "01-dotenv-overwritten-multiline",
            &["fairplay.cer", "key.pem"][..],
            Some("dotenv.before"),
        ),
        (
            "02-dotenv-password-backslash",
            &["fairplay.cer", "k.pem", "--password-file", "pw"],
            None,
        ),
    ] {
        let Some(directory) = copy_of(name, test) else {
            return;
        };
        let here = directory.0.as_path();
        if let Some(before) = before {
            std::fs::copy(here.join(before), here.join(".env")).unwrap();
        }
        let more = ["--ask-file", "ask.txt", "--out", ".env"];
        let arguments = [&["credentials", "import"], arguments, &more].concat();
        let imported = keylet(here, &arguments, &[]);
        let said = String::from_utf8_lossy(&imported.stderr);
        assert!(imported.status.success(), "{name}: {said}");
        let variables = dotenv(&here.join(".env"));
        assert_eq!(
            variables["fairplay_ask"],
            std::fs::read_to_string(here.join("ask.txt"))
                .unwrap()
                .trim()
        );
        assert!(works(&variables), "{name}");
        if before.is_some() {
            let text = std::fs::read_to_string(here.join(".env")).unwrap();
            let private = std::fs::read_to_string(here.join("key.pem")).unwrap();
            let line = private.lines().nth(2).unwrap();
            assert!(
                !text.lines().any(|kept| kept == line),
                "a stray line of the key"
            );
            assert_eq!(variables["token_issuer"], "*");
        }
    }
}
