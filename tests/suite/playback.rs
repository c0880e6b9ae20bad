//! From a content id to a picture: the real packagers, the real players, and the decryption of a real browser.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use keylet::cpix::{ContentProtection, HlsKey, Scheme};
use keylet::id::Kid;
use keylet_e2e::processes::Directory;
use keylet_host::{Server, StoreChoice, World};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::packager::{encryption_of_track, ffmpeg, frames_with, package, tools};
use crate::packaging::{ISSUER, by_operator, keys_of, serve, stored, viewer};
use crate::players::run;
use crate::support::send;
use crate::upstream::{claims, jwks, signed};

/// The title whose records have its keys, and one whose records have others.
const TITLE: &str = "movie-42";
const OTHER_KEYS: &str = "movie-43";

/// What the site replaces with the URL of a case's server.
const SERVER: &str = "{server}";

/// The number of frames that is a picture.
const PICTURE: usize = 8;
/// More frames than the first segment has, which alone has the first of two keys.
const PAST_THE_FIRST_KEY: usize = 35;
const FIRST_SEGMENT: u128 = 7;

/// Every way to play a title: the player, and what it plays of the title's folder.
const WAYS: [(&str, &str); 14] = [
    ("shaka", "cenc/manifest.mpd"),
    ("shaka", "cbcs/manifest.mpd"),
    ("shaka", "cenc/identity.m3u8"),
    ("shaka", "cbcs/identity.m3u8"),
    ("dash", "cenc/manifest.mpd"),
    ("dash", "cbcs/manifest.mpd"),
    ("hls", "cenc/clearkey.m3u8"),
    ("hls", "cbcs/clearkey.m3u8"),
    ("hls", "one-key/main.m3u8"),
    ("hls", "two-keys/main.m3u8"),
    ("shaka", "one-key/main.m3u8"),
    ("shaka", "two-keys/main.m3u8"),
    ("videoJs", "one-key/main.m3u8"),
    ("videoJs", "two-keys/main.m3u8"),
];

/// What became of a case.
#[derive(Debug, Deserialize)]
struct Played {
    case: String,
    frames: usize,
    error: Option<String>,
    shown: Option<String>,
}

/// A server with stored keys whose one policy opens these systems.
fn server_with(drm: &Value) -> Server {
    let policies = json!([{
        "name": "viewers", "drm": drm,
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("issuer", &ISSUER)])},
    }]);
    let policies = policies.to_string();
    let changes = [&stored()[..], &[("policies", &policies)]].concat();
    serve(World::Wasip2, StoreChoice::Memory, &changes)
}

/// The keys of a title by KID, as the server gives them to packagers.
fn keys(server: &Server, title: &str, tracks: &str) -> BTreeMap<String, String> {
    let path = format!("/cpix/{title}?tracks={tracks}");
    let answer = send(server, by_operator("GET"), &path, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    keys_of(&answer.body)
}

/// Stores the record that lets these systems have a key.
fn store(server: &Server, kid: &str, key: &str, systems: &[&str]) {
    let record = json!({"id": kid, "kid": kid, "key": key, "systems": systems});
    let path = format!("/keys/{kid}");
    let answer = send(
        server,
        by_operator("PUT"),
        &path,
        record.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Another key.
fn inverted(key: &str) -> String {
    let bytes = hex::decode(key).unwrap();
    hex::encode(bytes.iter().map(|byte| !byte).collect::<Vec<_>>())
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// A clip of four seconds, a key frame in each.
fn clip(file: &Path) {
    let picture = "testsrc=size=320x180:rate=25:duration=4";
    let sound = "sine=frequency=440:duration=4";
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        picture,
        "-f",
        "lavfi",
        "-i",
        sound,
        "-c:v",
        "libx264",
        "-profile:v",
        "baseline",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-shortest",
        file.to_str().unwrap(),
    ]);
}

/// A manifest in which Clear Key is the one system, as dash.js and Shaka both play it: with a URL and without a box.
fn with_clear_key(manifest: &str) -> String {
    let url = format!("{SERVER}/clearkey");
    let element = ContentProtection::ClearKey {
        license_url: Some(&url),
        pssh: &[],
    };
    let element = element.element().unwrap();
    let mut parts = manifest.split(r#"<ContentProtection schemeIdUri="urn:uuid:"#);
    let mut changed = parts.next().unwrap().to_owned();
    for part in parts {
        let (_, rest) = part.split_once("</ContentProtection>").unwrap();
        changed.push_str(&element);
        changed.push_str(rest);
    }
    assert!(changed.contains(&element) && !changed.contains("pssh>"));
    changed
}

/// A playlist with another tag in the place of its key's.
fn with_tag(playlist: &str, tag: &str) -> String {
    let is_key = |line: &&str| line.starts_with("#EXT-X-KEY:");
    assert_eq!(playlist.lines().filter(is_key).count(), 1, "{playlist}");
    let lines = playlist
        .lines()
        .map(|line| if is_key(&line) { tag } else { line });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Packages a title under Common Encryption with keys that the packager gets from the server.
fn package_fragments(
    program: &Path,
    folder: &Path,
    server: &Server,
    title: &str,
    scheme: Scheme,
    clip: &Path,
) {
    let tracks = ["video", "audio"];
    std::fs::create_dir_all(folder).unwrap();
    let [video, audio] = [("video", "SD"), ("audio", "AUDIO")].map(|(track, label)| {
        let clip = clip.to_str().unwrap();
        format!(
            "in={clip},stream={track},init_segment={track}-init.mp4,segment_template={track}-$Number$.m4s,drm_label={label},playlist_name={track}.m3u8"
        )
    });
    let content_id = hex::encode(title);
    let manifest = package(
        program,
        folder,
        server,
        &[
            &video,
            &audio,
            "--content_id",
            &content_id,
            "--protection_scheme",
            scheme.name(),
            "--protection_systems",
            "CommonSystem",
            // A manifest of type "static". Players would go to the end of a live one.
            "--generate_static_live_mpd",
            "--hls_master_playlist_output",
            "main.m3u8",
        ],
    );
    std::fs::write(folder.join("manifest.mpd"), with_clear_key(&manifest)).unwrap();

    let method = match scheme {
        Scheme::Cenc => "SAMPLE-AES-CTR",
        _ => "SAMPLE-AES",
    };
    // hls.js plays the one, and Shaka the other.
    for format in ["clearkey", "identity"] {
        let mut main = text(&folder.join("main.m3u8"));
        for track in tracks {
            let kid = encryption_of_track(&folder.join(format!("{track}-init.mp4"))).0;
            let digits = hex::encode(kid.as_bytes());
            let tag = match format {
                "clearkey" => format!(
                    r#"#EXT-X-KEY:METHOD={method},URI="data:text/plain;base64,{}",KEYFORMAT="org.w3.clearkey",KEYFORMATVERSIONS="1",KEYID=0x{digits}"#,
                    BASE64.encode(kid.as_bytes())
                ),
                _ => format!(
                    r#"#EXT-X-KEY:METHOD={method},URI="{SERVER}/aes128/{digits}",KEYFORMAT="identity""#
                ),
            };
            let (from, to) = (format!("{track}.m3u8"), format!("{format}-{track}.m3u8"));
            let playlist = text(&folder.join(&from));
            std::fs::write(folder.join(&to), with_tag(&playlist, &tag)).unwrap();
            main = main.replace(&from, &to);
        }
        std::fs::write(folder.join(format!("{format}.m3u8")), main).unwrap();
    }
}

/// Encrypts whole segments with one key and an explicit IV.
fn package_one_key(folder: &Path, clip: &Path, kid: &str, key: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let (file, information) = (folder.join("key"), folder.join("information"));
    std::fs::write(&file, hex::decode(key).unwrap()).unwrap();
    let iv: [u8; 16] = std::array::from_fn(|index| u8::try_from(15 - index).unwrap());
    let lines = format!(
        "{SERVER}/aes128/{kid}\n{}\n{}\n",
        file.display(),
        hex::encode(iv)
    );
    std::fs::write(&information, lines).unwrap();
    segment(
        folder,
        clip,
        &["-hls_key_info_file", information.to_str().unwrap()],
    );
    let playlist = text(&folder.join("main.m3u8"));
    assert!(playlist.contains(&format!("IV=0x{}\n", hex::encode(iv))));
}

/// Encrypts the first segment with one key and the others with a second one, each with its sequence number as IV
/// (RFC 8216 section 5.2).
fn package_two_keys(folder: &Path, clip: &Path, keys: [(&str, &str); 2]) {
    std::fs::create_dir_all(folder).unwrap();
    segment(folder, clip, &[]);
    let playlist = text(&folder.join("main.m3u8"));
    let segments = playlist.lines().filter(|line| line.ends_with(".ts"));
    for (number, segment) in (FIRST_SEGMENT..).zip(segments) {
        let (_, key) = keys[usize::from(number > FIRST_SEGMENT)];
        let (clear, segment) = (folder.join("clear"), folder.join(segment));
        std::fs::rename(&segment, &clear).unwrap();
        // Octets in, octets out: what ffmpeg does here is AES-CBC with PKCS#7.
        let (octets, copied) = (["-f", "data"], ["-map", "0", "-c", "copy"]);
        let iv = format!("{number:032x}");
        let output = format!("crypto:{}", segment.display());
        let arguments = [
            &octets[..],
            &["-i", clear.to_str().unwrap()],
            &copied,
            &octets,
            &["-encryption_key", key, "-encryption_iv", &iv, &output],
        ];
        ffmpeg(&arguments.concat());
    }
    let [first, second] = keys.map(|(kid, _)| {
        let uri = format!("{SERVER}/aes128/{kid}");
        let key = HlsKey::Aes128 {
            uri: &uri,
            iv: None,
        };
        key.media_tag().unwrap()
    });
    // The version that has KEYFORMAT (section 7).
    let playlist = playlist.replace("#EXT-X-VERSION:3", "#EXT-X-VERSION:5");
    let name = format!("{FIRST_SEGMENT}.ts\n");
    let (start, rest) = playlist.split_once(&name).unwrap();
    let (head, duration) = start.split_once("#EXTINF").unwrap();
    let playlist = format!("{head}{first}\n#EXTINF{duration}{name}{second}\n{rest}");
    std::fs::write(folder.join("main.m3u8"), playlist).unwrap();
}

/// Cuts a clip into segments of a second.
fn segment(folder: &Path, clip: &Path, options: &[&str]) {
    let number = FIRST_SEGMENT.to_string();
    let (names, playlist) = (folder.join("%d.ts"), folder.join("main.m3u8"));
    let arguments = [
        &["-i", clip.to_str().unwrap(), "-c", "copy", "-f", "hls"],
        &["-hls_time", "1", "-hls_playlist_type", "vod"][..],
        &["-start_number", &number],
        &["-hls_segment_filename", names.to_str().unwrap()],
        options,
        &[playlist.to_str().unwrap()],
    ];
    ffmpeg(&arguments.concat());
}

/// Packages a title in every way, and stores the records of its keys, or those of others.
fn publish(program: &Path, folder: &Path, server: &Server, title: &str, clip: &Path) {
    for scheme in [Scheme::Cenc, Scheme::Cbcs] {
        let folder = folder.join(scheme.name());
        package_fragments(program, &folder, server, title, scheme, clip);
    }
    let samples = keys(server, title, "SD,AUDIO");
    let segments = keys(server, title, "HD,UHD1");
    let pairs: Vec<(&str, &str)> = segments
        .iter()
        .map(|(kid, key)| (kid.as_str(), key.as_str()))
        .collect();
    let pairs: [(&str, &str); 2] = pairs.try_into().unwrap();
    package_one_key(&folder.join("one-key"), clip, pairs[0].0, pairs[0].1);
    package_two_keys(&folder.join("two-keys"), clip, pairs);

    for (keys, systems) in [
        (&samples, &["clearkey", "aes128"][..]),
        (&segments, &["aes128"]),
    ] {
        assert_eq!(keys.len(), 2);
        for (kid, key) in keys {
            let key = match title {
                OTHER_KEYS => inverted(key),
                _ => key.clone(),
            };
            store(server, kid, &key, systems);
        }
    }
}

/// The frames of a playlist as ffmpeg plays it, with the token in the URI of each key.
fn frames_by_ffmpeg(folder: &Path, server: &Server, token: &str, stream: &str) -> Vec<String> {
    let playlist = text(&folder.join("main.m3u8")).replace(SERVER, &server.url());
    let lines = playlist.lines().map(|line| {
        let Some((start, rest)) = line.split_once("/aes128/") else {
            return format!("{line}\n");
        };
        let (kid, rest) = rest.split_once('"').unwrap();
        assert!(Kid::from_text(kid).is_some(), "{line}");
        format!("{start}/aes128/{kid}?token={token}\"{rest}\n")
    });
    let file = folder.join("with-token.m3u8");
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let options = [
        "-allowed_extensions",
        "ALL",
        "-protocol_whitelist",
        "file,http,tcp,crypto",
    ];
    frames_with(&options, file.to_str().unwrap(), stream)
}

#[test]
fn players_decode_what_packagers_encrypted_and_nothing_without_the_right_token_and_key() {
    let test = "playback";
    let Some(programs) = tools(test) else {
        return;
    };
    let Some(program) = programs.first() else {
        return;
    };
    let folder = Directory::new("playback");
    let source = folder.file("in.mp4");
    clip(&source);
    let open = server_with(&json!({"clearkey": {}, "aes128": {}}));
    let closed = server_with(&Value::Null);
    for title in [TITLE, OTHER_KEYS] {
        publish(program, &folder.file(title), &open, title, &source);
    }

    let token = viewer(json!({"keys": "*"}));
    let of_ffmpeg = folder.file(TITLE);
    for stream in ["0:v", "0:a"] {
        let whole = frames_with(&[], source.to_str().unwrap(), stream);
        for packaged in ["one-key", "two-keys"] {
            let played = frames_by_ffmpeg(&of_ffmpeg.join(packaged), &open, &token, stream);
            assert!(whole.len() >= 100);
            // Of sound, one frame more may stand in front: the edit list of the source takes it out.
            let more = usize::from(stream == "0:a");
            let is_whole = played.ends_with(&whole) && played.len() <= whole.len() + more;
            assert!(is_whole, "{packaged} {stream}: {played:?} {whole:?}");
        }
    }

    let (start, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{start}.{}", "A".repeat(86));
    let expired = claims(json!({"entitlements": [{"keys": "*"}], "exp": 1_700_000_000_u64}));
    let expired = signed(&ISSUER, Some("issuer"), &expired);
    let mut expected = BTreeMap::new();
    let mut cases = Vec::new();
    for (player, path) in WAYS {
        for (kind, server, token, title, code) in [
            ("plays", &open, &token, TITLE, None),
            (
                "a forged token",
                &open,
                &forged,
                TITLE,
                Some("token_signature"),
            ),
            (
                "an expired token",
                &open,
                &expired,
                TITLE,
                Some("token_expired"),
            ),
            ("no policy", &closed, &token, TITLE, Some("not_entitled")),
            ("another key", &open, &token, OTHER_KEYS, None),
        ] {
            // Refusals are the same for every scheme and number of keys.
            if code.is_some() && (path.starts_with("cbcs") || path.starts_with("two-keys")) {
                continue;
            }
            let name = format!("{player}, {path}: {kind}");
            let enough = match path.starts_with("two-keys") {
                true => PAST_THE_FIRST_KEY,
                false => PICTURE,
            };
            cases.push(json!({
                "case": name, "player": player, "path": format!("{title}/{path}"),
                "server": server.url(), "token": token, "enough": enough,
            }));
            let frames = (kind == "plays").then_some(enough);
            expected.insert(name, (frames, code));
        }
    }
    let request = json!({"folder": folder.0, "cases": cases});
    let Some(results) = run::<Vec<Played>>("play.mjs", &request) else {
        return;
    };
    assert_eq!(results.len(), expected.len());
    for played in results {
        let (frames, code) = expected[&played.case];
        match frames {
            Some(enough) => assert!(played.frames >= enough, "{played:?}"),
            None => assert_eq!(played.frames, 0, "{played:?}"),
        }
        assert_eq!(played.shown.as_deref(), code, "{played:?}");
        // hls.js and Video.js go on asking for a key of AES-128 that is refused.
        let is_told = played.error.is_some() || code.is_some();
        assert_eq!(is_told, frames.is_none(), "{played:?}");
    }
    open.stop();
    closed.stop();
}
