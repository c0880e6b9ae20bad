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
        "token_missing"
        | "token_undefined"
        | "token_malformed"
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
        _ => (
            "The device gets no licence.",
            "docs/errors.md says what this code means.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
