//! Why a problem matters, and what to do about it.

use keylet::configuration::SettingErrorKind;
use keylet::fairplay::credentials;

/// Why, and what to do.
pub type Advice = (&'static str, &'static str);

/// What a problem of the configuration is about: the check, and advice. `kind` is `None` for a kind that
/// this version does not know.
pub fn of_setting(
    kind: Option<SettingErrorKind>,
    variable: &str,
    member: Option<&str>,
) -> (&'static str, Advice) {
    // In a list of credentials the member is what a variable is for a single one.
    let about = |single: &str| match variable {
        credentials::CREDENTIALS => member == single.strip_prefix("fairplay_"),
        variable => variable == single,
    };
    let is_credential = variable.starts_with("fairplay_");
    match kind {
        Some(SettingErrorKind::Refused) if is_credential => (
            "test_credentials",
            (
                "The SDK's private key is published: anyone who has it can open every SPC, and so every licence.",
                "Use the credentials that Apple issued to you. For a test server set `fairplay_test_credentials` to `true`.",
            ),
        ),
        Some(SettingErrorKind::Mismatch) if about(credentials::PRIVATE_KEY_PASSWORD) => (
            "private_key_password",
            (
                "The private key stays closed, so no SPC can be opened.",
                "Set the password that the key was made with, or store the key decrypted: `keylet credentials import --decrypt`. \
                 A lost password cannot be recovered: make a new key and request, and have the certificate issued anew.",
            ),
        ),
        // A private key is not missing: it is encrypted, and its password is.
        Some(SettingErrorKind::Missing) if about(credentials::PRIVATE_KEY) => (
            "private_key_password",
            (
                "The private key stays closed, so no SPC can be opened.",
                "Set `fairplay_private_key_password`, or store the key decrypted: `keylet credentials import --decrypt`.",
            ),
        ),
        Some(SettingErrorKind::Mismatch) if is_credential => (
            "private_key",
            (
                "Players encrypt to the key in the certificate: no other key opens their SPCs. To them it is a black screen.",
                "Find the key of which the signing request was made: `openssl rsa -in KEY -noout -modulus` and \
                 `openssl x509 -inform der -in CERTIFICATE -noout -modulus` must print the same. A bundle needs both keys.",
            ),
        ),
        Some(SettingErrorKind::Collision) if is_credential => (
            "certificate",
            (
                "An SPC names its certificate by hash, so that each may be there once.",
                "Remove one of the two, from `fairplay_certificate` or from `fairplay_credentials`.",
            ),
        ),
        _ if about(credentials::PRIVATE_KEY_PASSWORD) => (
            "private_key_password",
            (
                "The private key stays closed, so no SPC can be opened.",
                "Set `fairplay_private_key_password`, or store the key decrypted: `keylet credentials import --decrypt`.",
            ),
        ),
        _ if about(credentials::PRIVATE_KEY) || about("fairplay_private_key_2048") => (
            "private_key",
            (
                "Without its private key a certificate is of no use: no SPC can be opened.",
                "`keylet credentials import` reads every form of key and writes one that the server reads.",
            ),
        ),
        _ if about(credentials::ASK) => (
            "ask",
            (
                "The ASk opens what a device has sealed in its SPC; without the right one no CKC can be made.",
                "Apple's portal shows the ASk once, as 32 hexadecimal digits, when the certificate is made. Look for where it \
                 was noted; if it is lost, have a new certificate issued.",
            ),
        ),
        _ if variable == "fairplay_rules" => (
            "rules",
            (
                "FairPlay licences are refused as long as their rules are not understood.",
                "Correct `fairplay_rules`; the README has its members.",
            ),
        ),
        _ if is_credential => (
            "certificate",
            (
                "Without the certificate that Apple issued FairPlay is off, and players have nothing to begin with.",
                "Give the file that Apple's portal answered with, fairplay.cer or fps_certificate.bin: `keylet credentials import` \
                 reads it with its key and ASk, and writes the variables.",
            ),
        ),
        _ if variable == "content_keys" => (
            "content_keys",
            (
                "A licence carries a content key: one that is missing, or has another size, plays nothing.",
                "Each record has `id`, `key` and `iv`, both of 16 bytes, as the packager used them.",
            ),
        ),
        _ if variable == "key_seed" => (
            "key_seed",
            (
                "Keys are derived from the seed: without it, or with a wrong one, they are refused or play nothing.",
                "`keylet keys seed` makes a seed; docs/derived-keys.md has the members.",
            ),
        ),
        _ if variable == "cors_origins" => (
            "cors_origins",
            (
                "No page may read an answer, so no player in a browser gets a licence.",
                "List the origins of your pages, each a scheme and a host, or say `*`.",
            ),
        ),
        _ if [
            "token_keys",
            "token_issuer",
            "token_audience",
            "policies",
            "dialects",
        ]
        .contains(&variable) =>
        {
            (
                match variable {
                    "policies" => "policies",
                    "dialects" => "dialects",
                    _ => "token_keys",
                },
                (
                    "Every licence needs a token, and every token a key that verifies it: every token is refused.",
                    "Correct the variable; docs/tokens.md has its shape. `keylet token mint` and `keylet token explain` try it out.",
                ),
            )
        }
        _ => (
            "configuration",
            (
                "The server answers 503 until this is corrected.",
                "Correct the variable; the README has its form.",
            ),
        ),
    }
}

/// Why the keys that an issuer publishes are not there, by the name of the reason.
pub fn of_keys_by_url(reason: &str) -> Advice {
    (
        "Tokens of this issuer cannot be verified: they are refused with token_keys_unavailable (503).",
        match reason {
            "not_allowed" => {
                "Add it to `allowed_outbound_hosts` of the manifest that is served: `keylet serve --from spin.toml` takes one."
            }
            "no_answer" | "asked_often" | "failed" => {
                "Open the URL on the machine of the server: a firewall, a proxy or DNS may stand in the way."
            }
            _ => {
                "Give the URL that answers with the JWKS itself, or that of OpenID discovery: docs/tokens.md, \"Keys by URL\"."
            }
        },
    )
}

/// Why Widevine's licence service does not give its certificate, by the code of the refusal.
pub fn of_license_service(code: &str) -> Advice {
    (
        "Browsers ask for it first. Licences fail in the same way.",
        match code {
            "license_service_denied" => {
                "Add its host to `allowed_outbound_hosts` of the manifest that is served."
            }
            "license_service_credentials" => {
                "Compare `provider`, `key` and `iv` of the variable `widevine` with those of the account."
            }
            "license_service_unavailable" => {
                "Open the URL on the machine of the server: a firewall, a proxy or DNS may stand in the way."
            }
            _ => {
                "Compare `url` of the variable `widevine` with that of the account: docs/widevine.md."
            }
        },
    )
}

/// Why a licence was refused, by the refusal's code.
pub fn of_refusal(code: &str) -> Advice {
    match code {
        "token_malformed"
        | "token_signature"
        | "token_key_unknown"
        | "token_expired"
        | "token_life"
        | "token_issuer"
        | "token_audience"
        | "token_claims"
        | "token_not_yet_valid"
        | "token_algorithm" => (
            "Viewers with such a token get no licence.",
            "`keylet token explain` says which claim or key it is about, with the server's own variables.",
        ),
        "not_entitled" => (
            "The token is good, and does not reach this key.",
            "Compare `keys` of the token with `id`, `aliases` and `kid` of the record in `content_keys`.",
        ),
        "key_not_found" => (
            "Players ask by the asset id that stands in the playlist.",
            "Add a record for this id to `content_keys`, or the id to the `aliases` of one. A key that is derived from \
             `key_seed` is asked for by its KID: `skd://` and the KID.",
        ),
        "ask_missing" => (
            "An SPC can be opened without the ASk, but not answered.",
            "Set `fairplay_ask`. A bundle's provisioning data is no ASk: only Apple's own library reads it.",
        ),
        "spc_certificate_unknown" => (
            "An SPC names by hash the certificate that the player was given, and this server has another one.",
            "Serve players the certificate that this server has (`/fairplay/certificate`), and look for caches and apps \
             that still hold an older one; or add the older credential to `fairplay_credentials`.",
        ),
        "spc_integrity" => (
            "What the device sealed does not open: the ASk is not that of this certificate.",
            "Compare the ASk with the one that the portal showed for this certificate.",
        ),
        "store_unavailable" | "store_unsupported" => (
            "The token's terms need the key-value store.",
            "docs/store.md says what needs it and how to give the server one.",
        ),
        "token_missing" | "token_undefined" => (
            "Without a token nobody is a viewer.",
            "Look whether the player sends the token with this request, and whether a proxy drops the header: docs/players.md.",
        ),
        "token_ambiguous" | "token_in_query" | "token_too_large" | "token_critical_header" => (
            "A token that comes in this way is not read.",
            "Change what the player sends: one token, in the header `Authorization`, of 8 KiB at most and without `crit`.",
        ),
        "token_request" => (
            "The token is for another content, path, method or network than that of the request.",
            "`keylet token explain` shows its claims; docs/cat.md says what each is held against, and how `cat_uri` names contents.",
        ),
        "token_required_claim" => (
            "The policy asks for claims that the token does not have.",
            "`keylet policies explain` shows what the policy requires, and `keylet token explain` what the token has.",
        ),
        "token_keys_unavailable" => (
            "Tokens of this issuer cannot be verified.",
            "`keylet doctor` says which URL has no keys, and why; `reason` of the audit record has it too.",
        ),
        "renewal_ticket" => (
            "The player goes on until its lease is over.",
            "Let the player ask anew with a token. Where it happens often, `server_secret` differs between servers, or `public_url` leads elsewhere.",
        ),
        "callback_refused" => (
            "Your back end has the last word, and said no.",
            "The request id of the audit record is in the question that your back end was asked: look there for the reason.",
        ),
        "callback_failed" => (
            "Without an answer of your back end there is no licence.",
            "Look at your back end: `reason` of the audit record says whether it did not answer, or with what.",
        ),
        "entitlement_missing" => (
            "The token is good, and entitles to nothing.",
            "Add `entitlements` to the token, or terms to the policy.",
        ),
        "entitlement_invalid" | "term_unsupported" | "terms_invalid" => (
            "Terms that are not understood are not loosened.",
            "`keylet token explain` names the member that is wrong: change what makes the tokens.",
        ),
        "entitlement_not_yet_valid" | "entitlement_ended" => (
            "The dates of the entitlement do not hold now.",
            "Where this is not meant, compare `not_before` and `not_after` of the token with the clocks of both servers.",
        ),
        "duration_unsupported" | "device_offline_unsupported" | "device_hdcp_unsupported" => (
            "A device that cannot keep a term gets no key.",
            "Take the term out for these devices (docs/offline.md), or leave them out on purpose.",
        ),
        "device_security_level"
        | "device_kdl_too_old"
        | "device_os_too_old"
        | "device_class_not_allowed"
        | "device_not_allowed"
        | "device_virtual"
        | "output_not_allowed"
        | "device_refused" => (
            "The terms leave this device or output out.",
            "Where that is not meant, loosen the term; `device` of the audit record shows what the device reports.",
        ),
        "track_not_allowed" => (
            "The terms leave this track out.",
            "Name the track in the token's `tracks`, or let the player choose among those that it may have.",
        ),
        "place_unknown" => (
            "The terms look at the address or the country.",
            "Set `client_ip_header` or `client_country_header` to what a proxy in front sends.",
        ),
        "place_not_allowed" => (
            "The terms leave this place out.",
            "Where that is not meant, compare `ip_allow` and `countries` with what the proxy in front sends.",
        ),
        "offline_not_allowed" => (
            "The player asked for a licence to store.",
            "Add `persist` to the terms, or let the player ask for a licence to stream: docs/offline.md.",
        ),
        "key_server_denied" | "license_service_denied" => (
            "The host lets the component send requests to listed hosts only.",
            "Add its host to `allowed_outbound_hosts` of the manifest that is served.",
        ),
        "key_server_unavailable" | "key_server_answer" => (
            "Keys that are not here come from the key server.",
            "Look at the key server: `reason` of the audit record says what it answered. docs/fetched-keys.md has more.",
        ),
        "license_service_unavailable"
        | "license_service_answer"
        | "license_service_credentials"
        | "license_service_refused"
        | "license_service_key_missing"
        | "license_challenge_invalid" => (
            "Licences of this system are made by the licence service.",
            "`service_status` of the audit record says what the service answered, and docs/widevine.md what to do about it.",
        ),
        "key_checksum" => (
            "The player would show no picture.",
            "Compare the key record with the key that the content was encrypted with, and correct the record.",
        ),
        "key_system_not_allowed" => (
            "A key is for the systems that its record names.",
            "Add the DRM system to `systems` of the key record.",
        ),
        "kid_missing" => (
            "Widevine and PlayReady find a key by its KID.",
            "Add `kid` to the key record.",
        ),
        "iv_missing" => ("FairPlay needs an IV.", "Add `iv` to the key record."),
        "abuse_limit" => (
            "One token or viewer has asked for more than `abuse` allows.",
            "`signals` of the audit record names the limit: raise it in the variable `abuse`, or look who shares the token.",
        ),
        "uses_spent" => (
            "The token has been used as often as it allows.",
            "Make a new token for each playback, or allow more in `max_uses`.",
        ),
        "streams_exceeded" => (
            "The viewer plays on as many devices as the terms allow.",
            "Tell the viewer to stop elsewhere, allow more in `max_streams`, or set `end_oldest`: docs/sessions.md.",
        ),
        "session_missing" | "session_token" | "session_lapsed" | "session_ended"
        | "session_device" => (
            "The player does not take part in its session as it should.",
            "Let the player send `keylet-session` with each request and a heartbeat in time, and open a new session after this: docs/sessions.md.",
        ),
        "spc_is_certificate"
        | "spc_is_form"
        | "spc_is_json"
        | "spc_is_base64"
        | "spc_is_ckc"
        | "spc_is_uri"
        | "spc_is_description"
        | "spc_is_lossy_text"
        | "spc_is_compressed"
        | "spc_is_multipart"
        | "body_empty"
        | "body_malformed"
        | "body_too_large"
        | "request_malformed"
        | "format_unsupported"
        | "key_system_missing"
        | "key_system_unsupported" => (
            "The player sends something else than a request for a licence.",
            "Change what the player sends: docs/players.md has the code for each player, and `detail` of the answer says what came.",
        ),
        "spc_truncated"
        | "spc_version"
        | "spc_length"
        | "spc_transport"
        | "spc_tllv"
        | "spc_duplicate_tag"
        | "spc_missing_tag"
        | "spc_tag_value"
        | "spc_protocol_version" => (
            "The SPC is not as a device makes it.",
            "Look at what changes the SPC on its way. One that a device has made is explained by `keylet doctor --spc`.",
        ),
        "spc_undecryptable" => (
            "The private key is not that of the certificate that the player has.",
            "Compare certificate and private key: `keylet doctor` does.",
        ),
        "spc_key_format" => (
            "Only Apple's own library can answer this device.",
            "Nothing can be done here; where it is one model only, leave it out in the app.",
        ),
        "challenge_invalid" | "sync_missing" => (
            "A check-in needs a fresh challenge and a report of the device.",
            "Let the app fetch a challenge for each check-in, and send the sync SPC within ten minutes: docs/offline.md.",
        ),
        "operator_token" | "packager_token" => (
            "Who asked has not proved who he is.",
            "Give the caller the right token. Where nobody of yours asks, somebody tries: limit the path in the proxy.",
        ),
        "content_not_allowed"
        | "certificate_not_allowed"
        | "cpix_refused"
        | "packaging_refused" => (
            "The packager gets no keys.",
            "`reason` of the audit record says what was wrong; docs/packagers.md has the settings of each packager.",
        ),
        "fairplay_off" | "widevine_off" | "playready_off" | "sessions_off" | "tokens_off"
        | "keys_off" | "license_data_off" => (
            "What the request needs is not configured.",
            "Set the variables that it needs, or keep players from asking: `GET /` says what this server serves.",
        ),
        "configuration_invalid" => (
            "While a variable does not load, everything that needs it is refused.",
            "Ask `GET /healthz` or `keylet doctor`, which name the variable and what is wrong.",
        ),
        "key_record_invalid" | "key_differs" | "key_name_taken" => (
            "The key record was not stored.",
            "`reason` of the audit record says what is wrong with the record, or which record is in its way: docs/keys.md.",
        ),
        "key_record_altered" | "key_encryption_key_unknown" => (
            "A stored key that cannot be authenticated is not used.",
            "Add the key that encrypted it to `key_encryption_keys`, or import the record again: docs/keys.md.",
        ),
        "platform_unavailable" => (
            "The host did not do what the server asked of it.",
            "Look into the host's log at the time of these requests.",
        ),
        "route_not_found" | "method_not_allowed" => (
            "The request is not one that this server answers.",
            "Correct the URL of the caller: `GET /` lists what there is.",
        ),
        _ => (
            "The device gets no licence.",
            "docs/errors.md says what this code means.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use keylet::error::Code;

    use super::*;

    #[test]
    fn every_code_has_advice_of_its_own() {
        let none = of_refusal("a_code_of_another_version");
        for code in Code::ALL {
            assert_ne!(of_refusal(code.name), none, "{}", code.name);
        }
    }

    #[test]
    fn a_member_of_a_list_has_the_advice_of_its_variable() {
        use SettingErrorKind::{Malformed, Mismatch, Missing};
        for (kind, name, check) in [
            (Mismatch, "private_key_password", "private_key_password"),
            (Missing, "private_key", "private_key_password"),
            (Mismatch, "private_key", "private_key"),
            (Malformed, "private_key", "private_key"),
            (Malformed, "ask", "ask"),
            (Malformed, "certificate", "certificate"),
        ] {
            let single = of_setting(Some(kind), &format!("fairplay_{name}"), None);
            let listed = of_setting(Some(kind), credentials::CREDENTIALS, Some(name));
            assert_eq!(single.0, check, "{name}");
            assert_eq!(single, listed, "{name}");
        }
    }
}
