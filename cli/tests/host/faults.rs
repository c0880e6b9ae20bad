//! Inputs that broke something once, tried with the real program; and others of their kind.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::credentials::{dotenv, keylet, make_development, openssl, to_pem};
use crate::support::Directory;

const ASK: &str = "00112233445566778899aabbccddeeff";

/// A folder of inputs beside the published vectors.
pub fn fault(name: &str, test: &str) -> Option<PathBuf> {
    let vectors = std::env::var_os("FPS_SDK_VECTORS").map(PathBuf::from);
    let folder = vectors.map(|vectors| vectors.join("../faults").join(name));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        keylet_e2e::skip("vectors", test, "there is no folder of faults");
    }
    folder
}

/// A copy of such a folder, to write into.
pub fn copy_of(name: &str, test: &str) -> Option<Directory> {
    let folder = fault(name, test)?;
    let directory = Directory::new(name);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, directory.0.join(path.file_name().unwrap())).unwrap();
    }
    Some(directory)
}

fn import(here: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    keylet(
        here,
        &[&["credentials", "import"], arguments, &["--out", ".env"]].concat(),
        environment,
    )
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The problems that a refused import tells.
fn problems(output: &Output) -> Vec<String> {
    assert!(!output.status.success(), "{}", said(output));
    let said = said(output);
    let problems: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("problem: ").map(ToOwned::to_owned))
        .collect();
    assert!(!problems.is_empty(), "{said}");
    problems
}

/// Whether there is one problem, which says this.
fn assert_one(problems: &[String], expected: &str) {
    let [problem] = problems else {
        panic!("{problems:?}");
    };
    assert!(problem.contains(expected), "{problem}");
}

/// Whether an import made a credential with this ASk.
fn assert_imported(here: &Path, output: &Output) {
    assert!(output.status.success(), "{}", said(output));
    assert_eq!(dotenv(&here.join(".env"))["fairplay_ask"], ASK);
}

/// UTF-16, little endian with its mark, as PowerShell writes it.
fn utf16(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    [0xff, 0xfe].into_iter().chain(units).collect()
}

#[test]
fn the_cause_is_told_once() {
    let directory = Directory::new("the-cause");
    let here = directory.0.as_path();
    make_development(here, "4", "dev", &[]);
    make_development(here, "4", "other", &[]);
    let path = |name: &str| here.join(name);
    let copy = |from: &str, to: &str| std::fs::copy(path(from), path(to)).unwrap();
    copy("dev/fairplay.cer", "c.cer");
    copy("dev/privatekey.pem", "k.pem");
    copy("other/privatekey.pem", "other.pem");
    std::fs::write(path("ask.txt"), ASK).unwrap();
    std::fs::write(path("cut.pem"), "-----BEGIN CERTIFICATE-----\nMIIC\n").unwrap();
    std::fs::write(path("store.jks"), [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2]).unwrap();
    std::fs::write(path("files.zip"), b"PK\x03\x04junk").unwrap();
    to_pem(here, "c.cer", "c.pem");
    openssl(
        here,
        &[
            "crl2pkcs7",
            "-nocrl",
            "-certfile",
            "c.pem",
            "-outform",
            "der",
            "-out",
            "c.p7b",
        ],
    );
    openssl(
        here,
        &[
            "crl2pkcs7",
            "-nocrl",
            "-certfile",
            "c.pem",
            "-out",
            "c.p7.pem",
        ],
    );
    openssl(
        here,
        &[
            "genrsa",
            "-aes256",
            "-passout",
            "pass:right",
            "-out",
            "locked.pem",
            "1024",
        ],
    );
    openssl(
        here,
        &[
            "pkcs12",
            "-export",
            "-inkey",
            "k.pem",
            "-in",
            "c.pem",
            "-passout",
            "pass:right",
            "-out",
            "locked.pfx",
        ],
    );
    let azure = r#"{"configuration": {"fairPlayPfx": null, "ask": null}}"#;
    std::fs::write(path("azure.json"), azure).unwrap();
    for (files, expected) in [
        (&["locked.pfx"][..], "no password was given"),
        (&["c.cer", "locked.pem"], "no password was given"),
        (&["c.cer", "other.pem"], "their moduli differ"),
        (&["c.cer"], "there is no private key"),
        (&["k.pem"], "there is no certificate"),
        (&["cut.pem", "k.pem"], "cut off"),
        (&["store.jks"], "Java keystore"),
        (&["files.zip"], "ZIP archive"),
        (&["c.p7b", "k.pem"], "PKCS#7"),
        (&["c.p7.pem", "k.pem"], "PKCS#7"),
        (&["azure.json"], "without its secrets"),
    ] {
        for ask in [&["--ask-file", "ask.txt"][..], &[]] {
            let output = import(here, &[files, ask].concat(), &[]);
            let problems = problems(&output);
            assert_eq!(problems.len(), 1, "{files:?} {ask:?}: {problems:?}");
            assert!(problems[0].contains(expected), "{files:?}: {problems:?}");
            assert!(!said(&output).contains(ASK));
        }
        let output = import(here, files, &[("KEYLET_PASSWORD", "wrong")]);
        let problems = problems(&output);
        assert_eq!(
            problems.len(),
            1,
            "{files:?} with a wrong password: {problems:?}"
        );
    }
    let names = ["03-askfile-hides-cause", "07-azure-export-without-secrets"];
    let files = [&["pfx.pfx", "--ask-file", "ask.txt"][..], &["policy.json"]];
    for ((name, files), expected) in names
        .into_iter()
        .zip(files)
        .zip(["no password", "--with-secrets"])
    {
        let Some(directory) = copy_of(name, "the_cause_is_told_once") else {
            return;
        };
        let problems = problems(&import(&directory.0, files, &[]));
        assert_one(&problems, expected);
    }
}

#[test]
fn files_are_read_as_windows_editors_and_stores_leave_them() {
    let directory = Directory::new("files-as-they-are");
    let here = directory.0.as_path();
    make_development(here, "4", "dev", &[]);
    let read = |name: &str| std::fs::read(here.join("dev").join(name)).unwrap();
    let key = String::from_utf8(read("privatekey.pem")).unwrap();
    let certificate = read("fairplay.cer");
    to_pem(here, "dev/fairplay.cer", "c.pem");
    let pem = std::fs::read_to_string(here.join("c.pem")).unwrap();
    openssl(
        here,
        &[
            "pkcs12",
            "-export",
            "-inkey",
            "dev/privatekey.pem",
            "-in",
            "c.pem",
            "-passout",
            "pass:",
            "-out",
            "c.pfx",
        ],
    );
    let container = std::fs::read(here.join("c.pfx")).unwrap();
    let with = |bytes: &[u8], end: &[u8]| [bytes, end].concat();
    let mark = "\u{feff}";
    for (index, (files, ask)) in [
        (vec![certificate.clone(), utf16(&key)], utf16(ASK)),
        (
            vec![utf16(&pem), format!("{mark}{key}").into_bytes()],
            format!("{mark}{ASK}\r\n").into_bytes(),
        ),
        (
            vec![with(&certificate, b"\r\n"), key.clone().into_bytes()],
            ASK.into(),
        ),
        (
            vec![with(&certificate, b"\n\0\0 "), utf16(&key)],
            format!("ASk: {ASK}").into_bytes(),
        ),
        (
            vec![with(&container, b"\n")],
            format!("\"{ASK}\"").into_bytes(),
        ),
        (
            vec![with(&container, b"\0\0\0")],
            b"00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF".to_vec(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = format!("case-{index}");
        std::fs::create_dir(here.join(&folder)).unwrap();
        for (number, file) in files.iter().enumerate() {
            std::fs::write(here.join(&folder).join(number.to_string()), file).unwrap();
        }
        std::fs::write(here.join(&folder).join("my-ask"), &ask).unwrap();
        assert_imported(here, &import(here, &[&folder], &[]));
        // Given apart, it is read by the same rules.
        std::fs::rename(here.join(&folder).join("my-ask"), here.join("apart")).unwrap();
        assert_imported(here, &import(here, &[&folder, "--ask-file", "apart"], &[]));
    }

    let test = "files_are_read_as_windows_editors_and_stores_leave_them";
    for (name, files) in [
        ("05-trailing-bytes", &["pfx_newline.pfx"][..]),
        ("06-utf16-files", &["c_utf16le.pem", "k_utf16le.pem"]),
        ("06-utf16-files", &["azure_utf16.json"]),
    ] {
        let Some(directory) = copy_of(name, test) else {
            return;
        };
        let environment = [("KEYLET_PASSWORD", "secret"), ("KEYLET_ASK", ASK)];
        let output = import(&directory.0, files, &environment);
        assert!(
            output.status.success(),
            "{name} {files:?}: {}",
            said(&output)
        );
        assert!(!dotenv(&directory.0.join(".env"))["fairplay_ask"].is_empty());
    }
}

#[test]
fn a_container_of_nss_is_imported() {
    let Some(directory) = copy_of("04-pkcs12-ber", "a_container_of_nss_is_imported") else {
        return;
    };
    let here = directory.0.as_path();
    let environment = |password| [("KEYLET_PASSWORD", password), ("KEYLET_ASK", ASK)];
    assert_imported(
        here,
        &import(here, &["pfx_nss.p12"], &environment("secret\n")),
    );
    let wrong = problems(&import(here, &["pfx_nss.p12"], &environment("other")));
    assert_one(&wrong, "no password that was given");
}

#[test]
fn an_ask_is_read_as_people_write_it_and_a_slip_is_named() {
    let directory = Directory::new("asks");
    let here = directory.0.as_path();
    make_development(here, "4", "dev", &[]);
    std::fs::remove_file(here.join("dev/ask.txt")).unwrap();
    let with_ask = |text: &str| import(here, &["dev"], &[("KEYLET_ASK", text)]);
    for text in [
        ASK,
        "00112233 44556677 8899aabb ccddeeff",
        "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF",
        "00112233-4455-6677-8899-aabbccddeeff",
        "'00112233445566778899aabbccddeeff'",
        "ASK = 00112233445566778899aabbccddeeff\n",
        "\u{feff}00112233445566778899aabbccddeeff",
        "0x00112233445566778899aabbccddeeff",
        "ABEiM0RVZneImaq7zN3u/w==",
    ] {
        assert_imported(here, &with_ask(text));
    }
    for (text, expected) in [
        ("00112233445566778899aabbccddeef", "and this has 31"),
        ("00112233445566778899aabbccddee", "and this has 30"),
        (
            "00112233445566778899aabbccddeefg",
            "character 32 of this is 'g'",
        ),
        (
            "0O112233445566778899aabbccddeeff",
            "character 2 of this is 'O'",
        ),
        ("ABEiM0RVZneImaq7zN3u/wAA", "base64 of 18"),
        ("the ask is in the safe", "neither"),
    ] {
        let problems = problems(&with_ask(text));
        assert!(
            problems.len() == 1 && problems[0].contains(expected),
            "{text}: {problems:?}"
        );
    }
    let Some(directory) = copy_of("08-ask-spellings", "an_ask_is_read_as_people_write_it") else {
        return;
    };
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|end| end == "txt") {
            let ask_file = ["dev", "--ask-file", file.to_str().unwrap()];
            let output = import(here, &ask_file, &[]);
            match file.ends_with("a_31_ask.txt") {
                true => assert!(problems(&output)[0].contains("this has 31")),
                false => assert_imported(here, &output),
            }
        }
    }
}

#[test]
fn equal_certificates_are_one_and_two_asks_for_it_are_an_error() {
    let test = "equal_certificates_are_one_and_two_asks_for_it_are_an_error";
    // What Azure's instructions leave behind, with the password in a file of its own.
    let Some(directory) = copy_of("18-one-certificate-in-several-forms", test) else {
        return;
    };
    let here = directory.0.as_path();
    std::fs::create_dir(here.join("set")).unwrap();
    for entry in std::fs::read_dir(here).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("README") {
            let to = here.join("set").join(path.file_name().unwrap());
            std::fs::rename(&path, to).unwrap();
        }
    }
    let output = import(here, &["set"], &[]);
    assert_imported(here, &output);
    assert!(
        said(&output).contains("the same certificate as in"),
        "{}",
        said(&output)
    );

    let Some(azure) = copy_of("17-azure-several-policies-one-pfx", test) else {
        return;
    };
    let output = import(&azure.0, &["policies.json"], &[]);
    assert!(output.status.success(), "{}", said(&output));
    let one = dotenv(&azure.0.join(".env"));
    assert!(one.contains_key("fairplay_certificate") && one.contains_key("fairplay_ask"));

    // One ASk more, another one, is told.
    std::fs::write(here.join("other.txt"), "ff".repeat(16)).unwrap();
    let output = import(here, &["set", "--ask-file", "other.txt"], &[]);
    let told = problems(&output);
    assert_one(&told, "different ASks");
    let document = std::fs::read_to_string(azure.0.join("policies.json")).unwrap();
    let ask = &one["fairplay_ask"];
    let spelled = [ask.clone(), ask.to_uppercase()]
        .into_iter()
        .find(|ask| document.contains(ask.as_str()))
        .unwrap();
    let changed = document.replacen(&spelled, &"ff".repeat(16), 1);
    std::fs::write(azure.0.join("policies.json"), changed).unwrap();
    let told = problems(&import(&azure.0, &["policies.json"], &[]));
    assert_one(&told, "two different ASks");
}
