//! What a packager types: from a film to what a device plays.

use std::process::Command;

use keylet_e2e::skip;
use serde_json::Value;

use crate::page::{Page, repository};
use crate::stage::Stage;

/// The folder of the packager's npm package.
const PACKAGER: &str = "tests/packager/node_modules/shaka-packager/bin/packager-linux-x64";

/// The fields of a box `tenc` (ISO/IEC 23001-7 section 8.2) that a licence must agree with.
struct TrackEncryption {
    /// The key id.
    kid: String,
    /// The IV of every sample.
    iv: String,
}

impl TrackEncryption {
    /// Reads the first one of an initialisation segment.
    fn read(segment: &[u8]) -> Self {
        let name = segment
            .windows(4)
            .position(|window| window == b"tenc")
            .expect("the track is encrypted");
        // [4] name, [1] version, [3] flags, [1] reserved, [1] pattern, [1] is protected, [1] size of the IV in samples,
        // [16] key id, [1] size of the constant IV, and that.
        let fields = &segment[name + 4..];
        assert_eq!(
            (fields[0], fields[6], fields[7], fields[24]),
            (1, 1, 0, 16),
            "cbcs with a constant IV"
        );
        Self {
            kid: hex::encode(&fields[8..24]),
            iv: hex::encode(&fields[25..41]),
        }
    }
}

pub fn packaging(test: &'static str) {
    let mut stage = Stage::new(test);
    if !repository().join(PACKAGER).exists() {
        skip("packager", test, "`npm ci` in tests/packager is needed");
        return;
    }
    let ffmpeg = Command::new("ffmpeg").arg("-version").output();
    if !ffmpeg.is_ok_and(|ffmpeg| ffmpeg.status.success()) {
        skip("ffmpeg", test, "there is no ffmpeg");
        return;
    }
    stage.bring(PACKAGER, "bin/packager");
    stage.bring("fixtures/credentials/sdk4.cer", "fairplay.cer");
    stage.bring("fixtures/credentials/sdk4.pem", "privatekey.pem");
    stage.set(
        "KEYLET_ASK",
        &keylet_cli::fixtures::variables()["fairplay_ask"],
    );
    // Where the README ends, and the page begins.
    stage.succeed(
        "keylet credentials import fairplay.cer privatekey.pem --trial movie-42 --out .env",
    );

    let said = stage.type_blocks().stdout;
    assert!(said.contains("the same frames"), "{said}");

    // The licence holds what the film was encrypted with: the server checked the key by the page's own command.
    let records: Value = serde_json::from_str(&stage.read("content-keys.json")).unwrap();
    let record = &records[0];
    for stream in ["video", "audio"] {
        let segment = std::fs::read(stage.file(&format!("hls/{stream}/init.mp4"))).unwrap();
        let track = TrackEncryption::read(&segment);
        assert_eq!(record["kid"], track.kid, "{stream}");
        assert_eq!(record["iv"], track.iv, "{stream}");
    }

    // Each media playlist has the line that the page shows.
    let page = Page::read("docs/from-licence-to-picture.md");
    let shown = page
        .text
        .lines()
        .find(|line| line.starts_with("#EXT-X-KEY"))
        .unwrap();
    for playlist in ["hls/video.m3u8", "hls/audio.m3u8"] {
        let text = stage.read(playlist);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("#EXT-X-KEY"))
            .collect();
        assert_eq!(lines, [shown], "{playlist}");
    }

    // By the key's id too, as a device asks through Media Source, and not by another name.
    let url = format!("http://{}/fairplay", stage.listen);
    let kid = record["kid"].as_str().unwrap();
    stage.set("KEYLET_EXPECT_KEY", record["key"].as_str().unwrap());
    stage.succeed(&format!(
        "keylet license {url} --asset-id {kid} --configured"
    ));
    assert!(
        !stage
            .run(&format!(
                "keylet license {url} --asset-id skd://another --configured"
            ))
            .is_success
    );

    // What the page says of an IV that is left out: the film has another one.
    let script = stage.script();
    let typed = script.split("cat hls/").next().unwrap();
    let again = |from: &str, to: &str| {
        assert!(typed.contains(from), "the page has no `{from}`");
        stage.succeed(&format!("rm -r movie.mp4 hls\n{}", typed.replace(from, to)));
    };
    again(":iv=$iv", "");
    let records: Value = serde_json::from_str(&stage.read("content-keys.json")).unwrap();
    let segment = std::fs::read(stage.file("hls/video/init.mp4")).unwrap();
    assert_ne!(records[0]["iv"], TrackEncryption::read(&segment).iv);

    // Of the clear lead: the first segments have no key.
    again("--clear_lead 0", "");
    let playlist = stage.read("hls/video.m3u8");
    let segment = playlist.find("#EXTINF").unwrap();
    let key = playlist.find("#EXT-X-KEY");
    assert!(key.is_none_or(|key| key > segment), "{playlist}");

    // And of the line for the session.
    again("--clear_lead 0", "--clear_lead 0 --create_session_keys");
    let line = "#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI=\"skd://movie-42\"";
    assert!(stage.read("hls/main.m3u8").contains(line));
}
