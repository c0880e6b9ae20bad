//! `keylet keys make --format`: what packagers take is the keys that the same command prints in JSON.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use keylet::cpix::{Document, ProtectionSystem, Scheme, Signal, pssh_boxes, widevine_kids};
use keylet::encoding::BASE64;
use keylet::id::Kid;
use serde_json::Value;

use crate::first_hour::{run, said, typed};
use crate::support::Directory;

/// The variables that say where players find keys.
const VARIABLES: &str = "SPIN_VARIABLE_SKD_TEMPLATE='skd://{content_id}/{kid}'
SPIN_VARIABLE_PUBLIC_URL=https://drm.example/base
";

fn with_seed(name: &str, variables: &str) -> Directory {
    let directory = Directory::new(name);
    std::fs::write(directory.0.join(".env"), variables).unwrap();
    typed(&directory.0, "keylet keys seed");
    directory
}

/// KID, key and IV of each key, in digits.
fn made(here: &Path, arguments: &str) -> Vec<[String; 3]> {
    let printed = typed(here, &format!("keylet keys make {arguments}"));
    let lines = printed.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        ["kid", "key", "iv"].map(|member| line[member].as_str().unwrap().replace('-', ""))
    });
    lines.collect()
}

fn refused(here: &Path, arguments: &str, expected: &str) {
    let output = run(here, &format!("keylet keys make {arguments}"));
    assert!(!output.status.success(), "{arguments}");
    assert!(
        said(&output).contains(expected),
        "{arguments}: {}",
        said(&output)
    );
}

#[test]
fn options_of_packagers_have_the_keys_of_the_seed() {
    let directory = with_seed("packager-options", "");
    let here = directory.0.as_path();
    let two = "--content-id movie-42 --tracks audio,uhd";
    let [[audio, audio_key, audio_iv], [uhd, uhd_key, uhd_iv]] = &made(here, two)[..] else {
        panic!("two keys");
    };
    let one = "--content-id movie-42";
    let [[kid, key, iv]] = &made(here, one)[..] else {
        panic!("one key");
    };
    let guid = Kid::from_text(kid).unwrap();
    let raw = "--enable_raw_key_encryption --keys";
    for (arguments, expected) in [
        (
            format!("{two} --format shaka"),
            format!(
                "{raw} label=AUDIO:key_id={audio}:key={audio_key}:iv={audio_iv},label=UHD1:key_id={uhd}:key={uhd_key}:iv={uhd_iv},label=UHD2:key_id={uhd}:key={uhd_key}:iv={uhd_iv} --protection_scheme cbcs --protection_systems Widevine,PlayReady,FairPlay,CommonSystem --clear_lead 0\n"
            ),
        ),
        (
            format!("{one} --format shaka"),
            format!(
                "{raw} label=:key_id={kid}:key={key}:iv={iv} --protection_scheme cbcs --protection_systems Widevine,PlayReady,FairPlay,CommonSystem --hls_key_uri skd://{guid} --clear_lead 0\n"
            ),
        ),
        (
            format!("{one} --format shaka --scheme cenc"),
            format!(
                "{raw} label=:key_id={kid}:key={key} --protection_scheme cenc --protection_systems Widevine,PlayReady,CommonSystem --clear_lead 0\n"
            ),
        ),
        (
            format!("{one} --format ffmpeg"),
            format!(
                "-encryption_scheme cenc-aes-ctr -encryption_key {key} -encryption_kid {kid}\n"
            ),
        ),
        (
            format!("{two} --format ffmpeg"),
            format!(
                "# AUDIO\n-encryption_scheme cenc-aes-ctr -encryption_key {audio_key} -encryption_kid {audio}\n# UHD\n-encryption_scheme cenc-aes-ctr -encryption_key {uhd_key} -encryption_kid {uhd}\n"
            ),
        ),
        (
            format!("{one} --format bento4"),
            format!("--encryption-cenc-scheme=cbcs --encryption-key={kid}:{key}:{iv}\n"),
        ),
        (
            format!("{one} --format bento4 --scheme cenc"),
            format!("--encryption-cenc-scheme=cenc --encryption-key={kid}:{key}\n"),
        ),
        (
            format!("--kid {kid} --format bento4"),
            format!("--encryption-cenc-scheme=cbcs --encryption-key={kid}:{key}:{iv}\n"),
        ),
    ] {
        let printed = typed(here, &format!("keylet keys make {arguments}"));
        assert_eq!(printed, expected, "{arguments}");
    }
    let printed = typed(here, &format!("keylet keys make {two} --format gpac"));
    assert!(printed.contains(r#"<GPACDRM type="cbcs">"#), "{printed}");
    assert!(
        printed.contains(&format!(
            "<!-- UHD -->\n  <CrypTrack trackID=\"2\" IsEncrypted=\"1\" constant_IV_size=\"16\" constant_IV=\"0x{uhd_iv}\" saiSavedBox=\"senc\">\n    <key KID=\"0x{uhd}\" value=\"0x{uhd_key}\"/>"
        )),
        "{printed}"
    );
    // With AES-CTR no two tracks of one key may begin with the same IV.
    let cenc = || {
        typed(
            here,
            &format!("keylet keys make {one} --format gpac --scheme cenc"),
        )
    };
    assert_ne!(cenc(), cenc());
    assert!(cenc().contains("first_IV=") && !cenc().contains("constant_IV"));
}

#[test]
fn playlists_manifests_and_documents_say_where_the_keys_are() {
    let directory = with_seed("packager-manifests", VARIABLES);
    let here = directory.0.as_path();
    let two = "--content-id 'movie 42' --tracks audio,hd";
    let kids: Vec<Kid> = made(here, two)
        .iter()
        .map(|[kid, ..]| Kid::from_text(kid).unwrap())
        .collect();
    let uri = |kid: &Kid| format!("skd://movie%2042/{kid}");

    let hls = typed(here, &format!("keylet keys make {two} --format hls"));
    let (media, multivariant) = hls.split_once("# multivariant playlist\n").unwrap();
    for kid in &kids {
        let attributes = format!("METHOD=SAMPLE-AES,URI=\"{}\",KEYFORMAT", uri(kid));
        assert!(media.contains(&format!("#EXT-X-KEY:{attributes}")), "{hls}");
        assert!(
            multivariant.contains(&format!("#EXT-X-SESSION-KEY:{attributes}")),
            "{hls}"
        );
    }
    let count = |text: &str, word: &str| text.matches(word).count();
    assert_eq!(count(media, "#EXT-X-KEY:"), 6, "{hls}");
    // One tag of PlayReady has all keys.
    assert_eq!(count(multivariant, "#EXT-X-SESSION-KEY:"), 5, "{hls}");
    let object = multivariant.split("UTF-16;base64,").nth(1).unwrap();
    let object = BASE64.decode(object.split('"').next().unwrap()).unwrap();
    for kid in &kids {
        let kid = BASE64.encode(kid.in_guid_order().as_bytes());
        let kid: Vec<u8> = kid.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(object.windows(kid.len()).any(|part| part == kid));
    }

    let dash = typed(
        here,
        &format!("keylet keys make {two} --format dash --scheme cenc"),
    );
    for kid in &kids {
        let expected = format!(r#"value="cenc" cenc:default_KID="{kid}"/>"#);
        assert!(dash.contains(&expected), "{dash}");
    }
    assert_eq!(count(&dash, "<ContentProtection "), 6, "{dash}");
    let fairplay = ProtectionSystem::FairPlay.system_id().to_string();
    assert!(!dash.contains(&fairplay), "{dash}");

    let document = typed(here, &format!("keylet keys make {two} --format cpix"));
    let document = Document::read(document.as_bytes()).unwrap();
    assert_eq!(document.content_id(), Some("movie 42"));
    let keys = document.keys().unwrap();
    for (key, [kid, value, iv]) in keys.iter().zip(made(here, two)) {
        assert_eq!(key.kid, Kid::from_text(&kid).unwrap());
        assert_eq!(hex::encode(key.value(None).unwrap().expose()), value);
        assert_eq!(key.iv().unwrap().map(hex::encode), Some(iv));
    }
    assert_eq!(keys.len(), 2);
    let mut systems = 0;
    for signals in document.signals() {
        systems += 1;
        let kid = signals.kid().unwrap();
        match signals.system().unwrap() {
            ProtectionSystem::FairPlay => {
                let tag = signals.value(Signal::MediaTag).unwrap().unwrap();
                let tag = String::from_utf8(tag).unwrap();
                assert!(tag.contains(&uri(&kid)), "{tag}");
            }
            ProtectionSystem::Widevine => {
                let pssh = signals.value(Signal::Pssh).unwrap().unwrap();
                let data = pssh_boxes(&pssh).unwrap()[0].data;
                assert_eq!(widevine_kids(data).unwrap(), [kid]);
            }
            _ => {}
        }
    }
    assert_eq!(systems, 2 * ProtectionSystem::usual(Scheme::Cbcs).len());
}

#[test]
fn the_key_file_of_hls_is_for_its_owner_and_written_over_no_other() {
    let directory = with_seed("packager-keyinfo", VARIABLES);
    let here = directory.0.as_path();
    let one = "--content-id movie-42";
    let [[kid, key, iv]] = &made(here, one)[..] else {
        panic!("one key");
    };
    let guid = Kid::from_text(kid).unwrap();
    let line = format!("keylet keys make {one} --format ffmpeg-keyinfo");
    let url = format!("https://drm.example/base/aes128/{guid}");
    assert_eq!(typed(here, &line), format!("{url}\n{guid}.key\n{iv}\n"));
    assert!(!here.join(format!("{guid}.key")).exists());

    let line = format!("{line} --key-file movie.key --url https://k.example/a");
    assert_eq!(
        typed(here, &line),
        format!("https://k.example/a\nmovie.key\n{iv}\n")
    );
    let path = here.join("movie.key");
    assert_eq!(hex::encode(std::fs::read(&path).unwrap()), *key);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    std::fs::write(&path, "other").unwrap();
    let output = run(here, &line);
    assert!(said(&output).contains("--force"), "{}", said(&output));
    assert!(!output.status.success() && output.stdout.is_empty());
    assert_eq!(std::fs::read(&path).unwrap(), b"other");
    typed(here, &format!("{line} --force"));
    assert_eq!(hex::encode(std::fs::read(&path).unwrap()), *key);
}

#[test]
fn what_a_packager_cannot_take_is_refused() {
    let directory = with_seed("packager-refused", "");
    let here = directory.0.as_path();
    for (arguments, expected) in [
        (
            "--format ffmpeg --scheme cbcs",
            "ffmpeg encrypts with `cenc` only",
        ),
        ("--format shaka --scheme cbc1", "neither cbcs nor cenc"),
        ("--format shaka --periods 2", "cannot be used"),
        (
            "--format shaka --url https://a/",
            "--url is for --format ffmpeg-keyinfo",
        ),
        ("--format ffmpeg-keyinfo", "set public_url"),
        (
            "--format ffmpeg-keyinfo --scheme cenc --url https://a/",
            "has no scheme",
        ),
        (
            "--format ffmpeg-keyinfo --tracks sd,hd --url https://a/",
            "one key",
        ),
        ("--scheme cbcs", "--format"),
    ] {
        refused(
            here,
            &format!("--content-id movie-42 {arguments}"),
            expected,
        );
    }
    let kid = "--kid 339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
    refused(here, &format!("{kid} --format cpix"), "--content-id");
    let hls = typed(here, &format!("keylet keys make {kid} --format hls"));
    assert!(
        hls.contains("skd://339c45b5-fb6d-4bd9-994c-eabd9d41c95b"),
        "{hls}"
    );

    std::fs::write(
        here.join("wrong.env"),
        "SPIN_VARIABLE_SKD_TEMPLATE=https://a/{kid}\n",
    )
    .unwrap();
    typed(here, "keylet keys seed --file wrong.env");
    refused(here, "--content-id movie-42 --file wrong.env", "skd://");
}
