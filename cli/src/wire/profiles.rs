//! The forms themselves, and what the players of this field send.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;

use super::{FORM, JSON, Message, OCTETS, PATH, Profile, TEXT, percent_encoded};

/// The bytes themselves.
pub fn raw(message: &Message<'_>) -> Vec<u8> {
    message.spc.to_vec()
}

/// Base64 alone.
pub fn base64(message: &Message<'_>) -> Vec<u8> {
    STANDARD.encode(message.spc).into()
}

/// A form with a percent-encoded `spc=`.
pub fn form(message: &Message<'_>) -> Vec<u8> {
    format!("spc={}", percent_encoded(&STANDARD.encode(message.spc))).into()
}

fn form_unescaped(message: &Message<'_>) -> Vec<u8> {
    format!(
        "spc={}&assetId={}",
        STANDARD.encode(message.spc),
        percent_encoded(message.asset_id)
    )
    .into()
}

fn form_with_content_id(message: &Message<'_>) -> Vec<u8> {
    format!(
        "spc={}&assetId={}&variantId=1{}",
        percent_encoded(&STANDARD.encode(message.spc)),
        percent_encoded(message.asset_id),
        if message.is_offline {
            "&offline=true"
        } else {
            ""
        },
    )
    .into()
}

/// A JSON object with `spc`.
pub fn json_spc(message: &Message<'_>) -> Vec<u8> {
    json!({ "spc": STANDARD.encode(message.spc) })
        .to_string()
        .into()
}

fn json_url_safe(message: &Message<'_>) -> Vec<u8> {
    json!({ "spc": URL_SAFE.encode(message.spc) })
        .to_string()
        .into()
}

fn envelope(message: &Message<'_>) -> Vec<u8> {
    json!({"fairplay-streaming-request": {"version": 1, "streaming-keys": [
        {"id": 1, "uri": message.uri, "spc": STANDARD.encode(message.spc), "lease-action": "start"},
    ]}})
    .to_string()
    .into()
}

/// The list of a content decryption module.
pub fn array(message: &Message<'_>) -> Vec<u8> {
    json!([{"keyID": STANDARD.encode(message.key_id), "payload": STANDARD.encode(message.spc)}])
        .to_string()
        .into()
}

/// A member of a JSON document.
macro_rules! member {
    ($name:literal) => {
        |message| json!({ $name: STANDARD.encode(message.spc) }).to_string().into()
    };
}

/// The bytes themselves, which every case of the fixtures without a form of its own is in.
const RAW: Profile = Profile::new("raw", "bytes", OCTETS, raw, "raw");

/// The forms themselves, and the other content types and queries with which they may come.
pub const FORMS: &[Profile] = &[
    Profile::new("form", "percent-encoded `spc=`", FORM, form, "ckc-xml"),
    Profile::new(
        "form-raw",
        "`spc=` with base64 as it is",
        FORM,
        form_unescaped,
        "ckc-xml",
    ),
    Profile::new(
        "form-plus",
        "`spc=` whose `+` became spaces",
        FORM,
        |message| format!("a=1&spc={}", STANDARD.encode(message.spc).replace('+', " ")).into(),
        "ckc-xml",
    ),
    Profile::new(
        "form-url-safe",
        "`spc=` in the URL-safe alphabet, unpadded",
        FORM,
        |message| format!("spc={}", URL_SAFE_NO_PAD.encode(message.spc)).into(),
        "ckc-xml",
    ),
    Profile::new(
        "form-as-octets",
        "a form under the wrong content type",
        OCTETS,
        form,
        "ckc-xml",
    ),
    Profile::new(
        "raw-as-form",
        "an SPC under the content type of a form",
        FORM,
        raw,
        "raw",
    ),
    Profile::new(
        "raw-as-json",
        "an SPC under the content type of JSON",
        JSON,
        raw,
        "raw",
    ),
    Profile::new(
        "raw-as-nothing",
        "an SPC under a content type that is none",
        "arraybuffer",
        raw,
        "raw",
    ),
    Profile::new("base64", "base64", TEXT, base64, "base64"),
    Profile::new(
        "base64-as-octets",
        "base64 under the content type of bytes",
        OCTETS,
        base64,
        "base64",
    ),
    Profile::new(
        "base64-as-form",
        "base64 under the content type of a form",
        FORM,
        base64,
        "base64",
    ),
    Profile::new(
        "base64-unpadded",
        "base64 without padding",
        TEXT,
        |message| STANDARD_NO_PAD.encode(message.spc).into(),
        "base64",
    ),
    Profile::new(
        "base64-url-safe",
        "base64 in the URL-safe alphabet",
        TEXT,
        |message| URL_SAFE.encode(message.spc).into(),
        "base64",
    ),
    Profile::new(
        "base64-quoted",
        "base64 in quotes",
        TEXT,
        |message| format!("\"{}\"", STANDARD.encode(message.spc)).into(),
        "base64",
    ),
    Profile::new(
        "base64-lines",
        "base64 in lines, after a byte order mark",
        TEXT,
        |message| {
            let text = STANDARD.encode(message.spc);
            let (one, another) = text.split_at(76);
            format!("\u{feff}{one}\r\n{another}\r\n").into()
        },
        "base64",
    ),
    Profile::new("json", "JSON", JSON, json_spc, "json"),
    Profile::new(
        "json-as-form",
        "JSON under the content type of a form",
        FORM,
        json_url_safe,
        "json",
    ),
    Profile::new(
        "json-upper",
        "JSON with `SPC`",
        JSON,
        member!("SPC"),
        "json",
    ),
    Profile::new(
        "json-spc-message",
        "JSON with `spcMessage`",
        JSON,
        member!("spcMessage"),
        "json",
    ),
    Profile::new(
        "json-payload",
        "JSON with `payload`",
        JSON,
        member!("payload"),
        "json",
    ),
    Profile::new(
        "json-lines",
        "JSON whose base64 has line breaks",
        JSON,
        |message| {
            let text = STANDARD.encode(message.spc);
            let (one, another) = text.split_at(76);
            json!({ "spc": format!("{one}\r\n{another}") })
                .to_string()
                .into()
        },
        "json",
    ),
    Profile::new(
        "array",
        "the list of a content decryption module",
        JSON,
        array,
        "array",
    ),
    Profile::new(
        "license-eme",
        "any DRM system, by its EME name",
        OCTETS,
        raw,
        "raw",
    )
    .to("/license?keySystem=com.apple.fps.1_0"),
    Profile::new(
        "license-uuid",
        "any DRM system, by its system id",
        FORM,
        form,
        "ckc-xml",
    )
    .to("/license?keySystem=94CE86FB-07FF-4F43-ADB8-93D2FA968CA2"),
    Profile::new(
        "license-json",
        "any DRM system, named in JSON",
        JSON,
        |message| {
            json!({
                "keySystem": "94ce86fb-07ff-4f43-adb8-93d2fa968ca2",
                "licenseType": "license-request",
                "payload": STANDARD.encode(message.spc),
            })
            .to_string()
            .into()
        },
        "json",
    )
    .to("/license"),
    Profile::new(
        "format-raw",
        "bytes in reply to JSON",
        JSON,
        json_spc,
        "raw",
    )
    .to("/fairplay?format=raw"),
    Profile::new(
        "format-base64",
        "base64 in reply to bytes",
        OCTETS,
        raw,
        "base64",
    )
    .to("/fairplay?format=base64"),
    Profile::new(
        "format-ckc-xml",
        "`<ckc>` in reply to bytes",
        OCTETS,
        raw,
        "ckc-xml",
    )
    .to("/fairplay?format=ckc-xml"),
    Profile::new("format-json", "JSON in reply to a form", FORM, form, "json")
        .to("/fairplay?format=json"),
    Profile::new(
        "format-envelope",
        "an envelope in reply to bytes",
        OCTETS,
        raw,
        "envelope",
    )
    .to("/fairplay?format=envelope"),
    Profile::new(
        "format-array",
        "a list in reply to an envelope",
        JSON,
        envelope,
        "array",
    )
    .to("/fairplay?format=array"),
    Profile::new(
        "format-of-envelope",
        "bytes in reply to an envelope with one key",
        JSON,
        envelope,
        "raw",
    )
    .to("/fairplay?format=raw"),
];

/// What the players of this field send, service by service, each with its own place for the token.
pub const PLAYERS: &[Profile] = &[
    Profile::player(1, "contrib-eme", "videojs-contrib-eme", OCTETS, raw, "raw"),
    Profile::player(2, "shaka", "Shaka: EZDRM, Conax, ExpressPlay, Mux", OCTETS, raw, "raw"),
    Profile::player(3, "shaka-verimatrix", "Shaka: Verimatrix", FORM, |message| {
        format!("spc={}", URL_SAFE.encode(message.spc)).into()
    }, "ckc-xml"),
    Profile::player(4, "shaka-gumlet", "Shaka: Gumlet", JSON, json_url_safe, "json"),
    Profile::player(4, "shaka-gumlet-minified",
        "Shaka: Gumlet, in the released builds",
        JSON,
        member!("Yn"),
        "json",
    ),
    Profile::player(5, "shaka-tutorial", "Shaka: its tutorial", FORM, form, "ckc-xml"),
    Profile::player(5, "shaka-tutorial-older",
        "Shaka: its tutorial as it was, the whole form encoded",
        FORM,
        |message| format!("spc%3D{}", percent_encoded(&STANDARD.encode(message.spc))).into(),
        "ckc-xml",
    ),
    Profile::player(6, "hls-js", "hls.js: the example of its documentation", JSON, |message| {
        json!({"keyData": {"keyId": "1"}, "licenseChallenge": STANDARD.encode(message.spc)}).to_string().into()
    }, "envelope"),
    Profile::player(7, "envelope", "the envelope, under the content type of a form", FORM, envelope, "envelope"),
    Profile::player(8, "dash-js", "dash.js", OCTETS, raw, "raw"),
    Profile::player(9, "azure", "Azure Media Services", FORM, form_with_content_id, "ckc-xml")
        .to("/FairPlay/?kid=11111111-2222-3333-4444-555555555555"),
    Profile::player(9, "azure-equals", "Azure Media Services: `Bearer=`", FORM, form, "ckc-xml")
        .with(&[("authorization", "Bearer={token}")]),
    Profile::player(9, "azure-query", "Azure Media Services: the token in the query", FORM, form, "ckc-xml")
        .to("/fairplay?token=Bearer%3D{token}")
        .with(&[]),
    Profile::player(10, "axinom", "Axinom", OCTETS, raw, "raw").with(&[("x-axdrm-message", "{token}")]),
    Profile::player(10, "axinom-query", "Axinom: the message in the query", OCTETS, raw, "raw")
        .to("/fairplay?AxDrmMessage={token}")
        .with(&[]),
    Profile::player(11, "drmtoday", "DRMtoday", FORM, form_with_content_id, "base64")
        .to("/fairplay?offline=true")
        .with(&[("x-dt-auth-token", "{token}"), ("x-dt-custom-data", "e30=")]),
    Profile::player(11, "drmtoday-older", "DRMtoday: older web samples", FORM, form_with_content_id, "ckc-xml")
        .with(&[("authorization", "Bearer {token}"), ("dt-custom-data", "e30=")]),
    Profile::player(12, "keyos", "BuyDRM KeyOS", FORM, form_unescaped, "ckc-xml")
        .with(&[("x-keyos-authorization", "{token}")]),
    Profile::player(12, "keyos-custom-data", "BuyDRM KeyOS: `customdata`", FORM, form_unescaped, "ckc-xml")
        .with(&[("customdata", "{token}")]),
    Profile::player(13, "doverunner", "DoveRunner", FORM, form, "base64")
        .with(&[("pallycon-customdata-v2", "{token}"), ("pallycon-client-meta", "x")]),
    Profile::player(14, "ezdrm", "EZDRM", OCTETS, raw, "raw")
        .to("/fairplay?pX=A1B2C3&authorization={token}")
        .with(&[]),
    Profile::player(15, "kaltura-ios", "Kaltura for iOS", OCTETS, base64, "json")
        .to("/fairplay?custom_data={token}&signature=x&playSessionId=1&clientTag=t&referrer=r")
        .with(&[]),
    Profile::player(16, "kaltura-js", "Kaltura for browsers", JSON, base64, "json")
        .to("/fairplay?custom_data={token}&signature=x")
        .with(&[("x-kaltura-initdata", "M5xFtftNS9mZTOq9nUHJWw==")]),
    Profile::player(17, "nagra", "Nagra", OCTETS, raw, "json").with(&[
        ("nv-authorizations", "{token},x.y.z"),
        ("nv-tenant-id", "t"),
        ("accept", OCTETS),
    ]),
    Profile::player(18, "verimatrix", "Verimatrix: no `Bearer`", JSON, json_spc, "json")
        .with(&[("authorization", "{token}")]),
    Profile::player(19, "vudrm", "VUDRM", OCTETS, raw, "raw").with(&[("x-vudrm-token", "{token}")]),
    Profile::player(19, "vudrm-json", "VUDRM: JSON", JSON, |message| {
        json!({"token": "{token}", "contentId": message.asset_id, "payload": STANDARD.encode(message.spc)}).to_string().into()
    }, "raw")
    .with(&[]),
    Profile::player(20, "comcast", "Comcast", JSON, |message| {
        json!({"getFairplayLicense": {"releasePid": message.asset_id, "spcMessage": STANDARD.encode(message.spc)}})
            .to_string()
            .into()
    }, "getFairplayLicense")
    .to("/fairplay?token={token}&account=a&form=json")
    .with(&[]),
    Profile::player(21, "irdeto", "Irdeto", OCTETS, raw, "raw").to("/fairplay?contentId=movie-2&keyId=2"),
    Profile::player(22, "drm-cloud", "drm.cloud", OCTETS, raw, "raw")
        .to("/fairplay?KID=11111111-2222-3333-4444-555555555555&BrandGuid=b&UserToken={token}")
        .with(&[]),
    Profile::player(22, "drm-cloud-headers", "drm.cloud: headers", OCTETS, raw, "raw").with(&[
        ("x-drm-usertoken", "{token}"),
        ("kid", "11111111-2222-3333-4444-555555555555"),
        ("iv", "00"),
        ("brandguid", "b"),
    ]),
    Profile::player(23, "naver", "Naver Cloud", FORM, form, "ckc-xml").with(&[("x-drm-token", "{token}")]),
    Profile::player(23, "naver-raw", "Naver Cloud: bytes", OCTETS, raw, "raw").with(&[("x-drm-token", "{token}")]),
    Profile::player(24, "mux", "Mux", OCTETS, raw, "raw").to("/fairplay?token={token}").with(&[]),
    Profile::player(30, "ksm-go", "clients of the open KSM in Go", JSON, |message| {
        json!({"spc": STANDARD.encode(message.spc), "assetId": message.asset_id}).to_string().into()
    }, "json"),
    Profile::player(31, "ksm-net", "clients of the open KSM in .NET", JSON, member!("SpcMessage"), "json"),
];

/// What a client can send: each form by its name, then each player.
pub fn choices() -> impl Iterator<Item = &'static Profile> {
    let forms = FORMS.iter().filter(|profile| profile.path == PATH);
    std::iter::once(&RAW).chain(forms).chain(PLAYERS)
}
