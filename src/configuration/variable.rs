//! The variables of a deployment, one row each.

/// A variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name, the same on every host.
    pub name: &'static str,
    /// Whether its value is a secret.
    pub is_secret: bool,
    /// What applies when it is not set; `None` where the server then goes without it.
    pub default: Option<&'static str>,
    /// What it holds, in a sentence.
    pub holds: &'static str,
}

/// Every variable that the server reads, in the order of the manifests.
pub const VARIABLES: [Variable; 36] = [
    secret(
        "settings",
        "All other variables in one JSON object, for a host that fetches each from another server. When it is set, no other one is read.",
    ),
    public(
        "fairplay_certificate",
        None,
        "The FairPlay application certificate: PEM, or base64 of DER or of the bundle `fps_certificate.bin`.",
    ),
    secret(
        "fairplay_private_key",
        "The private keys of the certificate: PEM blocks, or base64 of DER.",
    ),
    secret(
        "fairplay_private_key_password",
        "The password of encrypted private keys.",
    ),
    secret(
        "fairplay_ask",
        "The application secret key: 16 bytes in hex or base64.",
    ),
    secret(
        "fairplay_credentials",
        "A JSON list of further FairPlay credentials.",
    ),
    public(
        "fairplay_test_credentials",
        Some("false"),
        "`true` accepts the development certificate of the FairPlay SDK, whose private key is public.",
    ),
    public(
        "fairplay_rules",
        None,
        "Terms for every FairPlay licence: `apple-defaults`, or a JSON object.",
    ),
    secret(
        "widevine",
        "The Widevine licence service: a JSON object with `provider`, `key`, `iv` and `url`.",
    ),
    secret(
        "playready",
        "The PlayReady licence service that licences come from: a JSON object with `kind` and `url`.",
    ),
    secret("content_keys", "A JSON list of key records."),
    public(
        "skd_rules",
        None,
        "Rules for asset ids that no key has: a JSON list of templates such as `https://host/license/{id}`.",
    ),
    secret(
        "key_encryption_keys",
        "The keys that key records are stored under: a JWKS of `oct` keys of 32 bytes, each with a `kid`. The first encrypts, and each decrypts.",
    ),
    secret(
        "key_server",
        "A key server that is asked for the keys that are not here: a JSON object with `protocol` and `url`.",
    ),
    secret(
        "key_seed",
        "The seed that keys are derived from by their KIDs: a JSON object, or a list of them.",
    ),
    secret(
        "token_keys",
        "The keys that verify tokens: a JWKS, or the URL of one or of an OpenID discovery document.",
    ),
    public(
        "token_issuer",
        None,
        "The accepted issuers of tokens: one, a JSON list, or `*` for any.",
    ),
    public(
        "token_audience",
        None,
        "The accepted audiences of tokens: one, a JSON list, or `*` for any.",
    ),
    secret(
        "policies",
        "A JSON list of content key policies, in place of `token_keys`, `token_issuer` and `token_audience`.",
    ),
    secret(
        "packagers",
        "Who may ask for keys beside the operator: a JSON list of objects with `name`, `token` or `signer`, and `content_ids`.",
    ),
    public(
        "skd_template",
        Some("skd://{kid}"),
        "The URI in FairPlay's tags, for packagers: text with `{kid}`, `{content_id}`, `{iv}` or `{json}`.",
    ),
    public(
        "entitlement_claim",
        Some("entitlements"),
        "The claim of a token that holds its entitlements: a name, which may be a URL, or a path with full stops.",
    ),
    public(
        "dialects",
        Some("native"),
        "The token dialects to accept: a list of names.",
    ),
    public(
        "cat_uri",
        Some("content"),
        "What `catu` of a Common Access Token is held against: `content`, with templates of its paths such as `/vod/{content_id}/`, or `request`.",
    ),
    public(
        "query_tokens",
        Some("allow"),
        "Whether a token may be in the query: `allow` or `deny`.",
    ),
    public(
        "token_cookies",
        None,
        "The names of cookies that hold a token: a list.",
    ),
    public(
        "cors_origins",
        Some("*"),
        "The origins of pages that may read replies: a list, or `*` for any.",
    ),
    secret(
        "operator_token",
        "The bearer secret of the operator's endpoints: 32 characters or more, or a JSON list of such secrets.",
    ),
    secret(
        "server_secret",
        "The secret that pseudonyms and the server's own tokens are derived from: 32 bytes or more, or a JSON list of such secrets.",
    ),
    public(
        "public_url",
        None,
        "The base URL of this server as players see it, such as `https://drm.example`.",
    ),
    public(
        "client_ip_header",
        None,
        "The header in which a trusted proxy sends the client's address.",
    ),
    public(
        "client_country_header",
        None,
        "The header in which a trusted proxy sends the client's country.",
    ),
    public(
        "store_failure",
        Some("deny"),
        "What happens to a licence that must be counted when the store fails: `deny` or `allow`.",
    ),
    public(
        "session_period",
        Some("60"),
        "The length of a session's period in seconds: 4 to 600.",
    ),
    public(
        "stream_handovers",
        Some("1"),
        "How often in five minutes a viewer goes on with another device at once, before the lease of the last one is over: 0 to 10.",
    ),
    public(
        "abuse",
        None,
        "Limits on what one token and one viewer ask for, and what becomes of more: a JSON object.",
    ),
];

/// Their names. A component has these alone, and not the sentences.
#[expect(
    clippy::indexing_slicing,
    reason = "it is calculated by the compiler, which would end with an error"
)]
pub const NAMES: [&str; VARIABLES.len()] = {
    let mut names = [""; VARIABLES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = VARIABLES[index].name;
        index += 1;
    }
    names
};

const fn public(
    name: &'static str,
    default: Option<&'static str>,
    holds: &'static str,
) -> Variable {
    Variable {
        name,
        is_secret: false,
        default,
        holds,
    }
}

/// No secret has a default.
const fn secret(name: &'static str, holds: &'static str) -> Variable {
    Variable {
        name,
        is_secret: true,
        default: None,
        holds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a section of a manifest, such as `[variables]`.
    fn section<'a>(manifest: &'a str, header: &str) -> Vec<&'a str> {
        let lines = manifest.lines().skip_while(|line| *line != header).skip(1);
        let lines = lines.take_while(|line| !line.starts_with('['));
        lines.filter(|line| !line.is_empty()).collect()
    }

    #[test]
    fn both_manifests_have_a_line_for_each_variable() {
        let declared = VARIABLES.iter().map(|variable| {
            let secret = if variable.is_secret {
                ", secret = true"
            } else {
                ""
            };
            format!(r#"{} = {{ default = ""{secret} }}"#, variable.name)
        });
        let passed = VARIABLES
            .iter()
            .map(|Variable { name, .. }| format!(r#"{name} = "{{{{ {name} }}}}""#));
        let (declared, passed): (Vec<_>, Vec<_>) = (declared.collect(), passed.collect());
        for manifest in [
            include_str!("../../spin.toml"),
            include_str!("../../spin.wasip3.toml"),
        ] {
            assert_eq!(section(manifest, "[variables]"), declared);
            assert_eq!(section(manifest, "[component.keylet.variables]"), passed);
        }
    }

    #[test]
    fn the_readme_has_a_row_for_each_variable() {
        let readme = include_str!("../../README.md");
        let rows = readme
            .split_once("\n| variable | secret | holds |\n")
            .unwrap()
            .1;
        let rows = rows
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with('|'));
        let rows = rows.flat_map(|row| {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let (names, secret) = (cells.next().unwrap(), cells.next().unwrap());
            let names = names.split(", ").map(|name| name.trim_matches('`'));
            names.map(move |name| (name, secret == "yes"))
        });
        let variables = VARIABLES
            .iter()
            .map(|variable| (variable.name, variable.is_secret));
        let by_name = |mut rows: Vec<_>| {
            rows.sort_unstable();
            rows
        };
        assert_eq!(by_name(rows.collect()), by_name(variables.collect()));
    }
}
