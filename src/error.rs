//! The error vocabulary: every refusal that a client can receive, in one table.

/// One kind of refusal: a stable name, the HTTP status that it is sent with, and a sentence.
///
/// The name is a contract: clients and operators match on it, so it is never changed or reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Stable identifier, sent as `code` and in the header `x-keylet-code`.
    pub name: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened, in a sentence that holds no data of the request.
    pub title: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $status:literal $name:literal $title:literal;)*) => {
        impl Code {
            $(#[doc = $title] pub const $constant: Code = Code { name: $name, status: $status, title: $title };)*
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$constant),*];
        }
    };
}

codes! {
    BODY_EMPTY = 400 "body_empty" "The request has no body.";
    BODY_MALFORMED = 400 "body_malformed" "The request body holds no SPC in a form that this server reads.";
    BODY_TOO_LARGE = 413 "body_too_large" "The request body is larger than this server accepts.";
    REQUEST_MALFORMED = 400 "request_malformed" "The request is not of the documented shape.";
    ROUTE_NOT_FOUND = 404 "route_not_found" "There is nothing at this path.";
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" "This path does not serve this method.";

    FORMAT_UNSUPPORTED = 400 "format_unsupported" "The query asks for a form of reply that there is not.";
    KEY_SYSTEM_MISSING = 400 "key_system_missing" "The request does not say for which key system it is.";
    KEY_SYSTEM_UNSUPPORTED = 400 "key_system_unsupported" "This server does not serve this key system.";

    OPERATOR_TOKEN = 401 "operator_token" "This path is the operator's, and the operator's token did not come with the request.";
    PACKAGER_TOKEN = 401 "packager_token" "This path is for packagers, and no token of a packager came with the request.";
    CONTENT_NOT_ALLOWED = 403 "content_not_allowed" "The packager may not ask for this content.";
    CERTIFICATE_NOT_ALLOWED = 403 "certificate_not_allowed" "The packager gets keys only encrypted for a certificate of its own.";
    CPIX_REFUSED = 422 "cpix_refused" "The CPIX document is not one that this server answers.";
    PACKAGING_REFUSED = 422 "packaging_refused" "The packager's request is refused; the status in the reply says why.";
    TOKEN_MISSING = 401 "token_missing" "No token came with the request.";
    TOKEN_UNDEFINED = 401 "token_undefined" "In place of a token came nothing, or a word such as `undefined`.";
    TOKEN_AMBIGUOUS = 400 "token_ambiguous" "Two different tokens came with the request.";
    TOKEN_IN_QUERY = 401 "token_in_query" "The token came in the query, and this server takes none there.";
    TOKEN_TOO_LARGE = 401 "token_too_large" "The token is larger than 8 KiB.";
    TOKEN_MALFORMED = 401 "token_malformed" "The token is not well-formed.";
    TOKEN_CRITICAL = 401 "token_critical_header" "The token's header has critical extensions, and this server supports none.";
    TOKEN_ALGORITHM = 401 "token_algorithm" "The token's algorithm is none that this server verifies.";
    TOKEN_KEY_UNKNOWN = 401 "token_key_unknown" "No configured key fits the token's algorithm and key id.";
    TOKEN_SIGNATURE = 401 "token_signature" "The token's signature does not verify.";
    TOKEN_CLAIMS = 401 "token_claims" "A registered claim of the token is missing or of the wrong type.";
    TOKEN_EXPIRED = 401 "token_expired" "The token has expired.";
    TOKEN_NOT_YET_VALID = 401 "token_not_yet_valid" "The token is not valid yet.";
    TOKEN_LIFE = 401 "token_life" "The token is good for longer than this server accepts.";
    TOKEN_ISSUER = 401 "token_issuer" "The token's issuer is not accepted.";
    TOKEN_AUDIENCE = 401 "token_audience" "The token is not meant for this server.";
    TOKEN_REQUEST = 401 "token_request" "The token is for another request than this one.";

    TOKEN_REQUIRED_CLAIM = 401 "token_required_claim" "The token has not the claims that the policy requires.";
    TOKEN_KEYS_UNAVAILABLE = 503 "token_keys_unavailable" "The keys of the token's issuer are not available at present.";

    RENEWAL_TICKET = 401 "renewal_ticket" "The renewal's URL is not one of this server's, has expired, or is not for this licence.";

    CALLBACK_REFUSED = 403 "callback_refused" "The operator's back end does not allow this.";
    CALLBACK_FAILED = 502 "callback_failed" "The operator's back end did not answer as it should.";
    LICENSE_DATA_OFF = 503 "license_data_off" "This server makes no licence data for Kaltura's players: something that it needs is not configured.";
    TOKENS_OFF = 503 "tokens_off" "This server makes no tokens: it has no `server_secret`.";

    ENTITLEMENT_MISSING = 403 "entitlement_missing" "The token entitles its bearer to nothing.";
    ENTITLEMENT_INVALID = 403 "entitlement_invalid" "The token's entitlements are not of the documented shape.";
    TERM_UNSUPPORTED = 403 "term_unsupported" "The entitlement has a term that this server cannot honour.";
    TERMS_INVALID = 403 "terms_invalid" "The terms contradict each other or hold a value that is not allowed.";
    NOT_ENTITLED = 403 "not_entitled" "No entitlement of the token reaches the requested key.";
    ENTITLEMENT_NOT_YET_VALID = 403 "entitlement_not_yet_valid" "The entitlement starts later.";
    ENTITLEMENT_ENDED = 403 "entitlement_ended" "The entitlement has ended.";
    DURATION_UNSUPPORTED = 403 "duration_unsupported" "The device did not say what it is playing, so it cannot keep to a duration.";
    DEVICE_OFFLINE_UNSUPPORTED = 403 "device_offline_unsupported" "The device cannot keep to a playback duration offline.";
    DEVICE_HDCP_UNSUPPORTED = 403 "device_hdcp_unsupported" "The device cannot enforce HDCP type 1.";
    DEVICE_SECURITY_LEVEL = 403 "device_security_level" "The device does not reach the security level that is required.";
    DEVICE_KDL_TOO_OLD = 403 "device_kdl_too_old" "The device's Key Delivery Library is too old.";
    DEVICE_OS_TOO_OLD = 403 "device_os_too_old" "The device's operating system is too old, or was not reported.";
    DEVICE_CLASS_NOT_ALLOWED = 403 "device_class_not_allowed" "Devices of this kind are not allowed.";
    DEVICE_NOT_ALLOWED = 403 "device_not_allowed" "This device is not one of those that are allowed.";
    DEVICE_VIRTUAL = 403 "device_virtual" "Virtual machines are not allowed.";
    OUTPUT_NOT_ALLOWED = 403 "output_not_allowed" "Playback to this output is not allowed.";
    TRACK_NOT_ALLOWED = 403 "track_not_allowed" "The token does not entitle to this track.";
    PLACE_UNKNOWN = 403 "place_unknown" "The terms look at where the request comes from, and that is not known.";
    PLACE_NOT_ALLOWED = 403 "place_not_allowed" "The request comes from where the terms do not allow it.";
    KEY_NOT_FOUND = 404 "key_not_found" "This server has no key for the requested asset.";

    KEY_SERVER_DENIED = 503 "key_server_denied" "The host does not let this server ask the key server.";
    KEY_SERVER_UNAVAILABLE = 504 "key_server_unavailable" "The key server did not answer.";
    KEY_SERVER_ANSWER = 502 "key_server_answer" "The key server's answer is not one that this server can use.";

    LICENSE_SERVICE_DENIED = 503 "license_service_denied" "The host does not let this server ask the licence service.";
    LICENSE_SERVICE_UNAVAILABLE = 504 "license_service_unavailable" "The licence service did not answer.";
    LICENSE_SERVICE_ANSWER = 502 "license_service_answer" "The licence service's answer is not one that this server can use.";
    LICENSE_SERVICE_CREDENTIALS = 502 "license_service_credentials" "The licence service does not accept this server's credentials.";
    LICENSE_SERVICE_REFUSED = 502 "license_service_refused" "The licence service refuses the request of this server.";
    LICENSE_SERVICE_KEY_MISSING = 404 "license_service_key_missing" "The licence service has no key for the content.";
    LICENSE_CHALLENGE_INVALID = 400 "license_challenge_invalid" "The licence service cannot read the player's request.";
    DEVICE_REFUSED = 403 "device_refused" "The licence service refuses the device.";
    OFFLINE_NOT_ALLOWED = 403 "offline_not_allowed" "The terms do not allow the licence to be stored.";
    KEY_CHECKSUM = 409 "key_checksum" "The content was encrypted with another key than the one that this server has for its KID.";

    SPC_IS_CERTIFICATE = 400 "spc_is_certificate" "The player sent a certificate in place of an SPC.";
    SPC_IS_FORM = 400 "spc_is_form" "The SPC is the text of a form: it was wrapped twice.";
    SPC_IS_JSON = 400 "spc_is_json" "The SPC is a JSON document: it was wrapped twice.";
    SPC_IS_BASE64 = 400 "spc_is_base64" "The SPC is in base64 twice.";
    SPC_IS_CKC = 400 "spc_is_ckc" "The player sent a CKC, the answer to an SPC.";
    SPC_IS_URI = 400 "spc_is_uri" "The player sent the key's URI in place of an SPC.";
    SPC_IS_DESCRIPTION = 400 "spc_is_description" "The player sent the text that a program makes of an object in place of the SPC's bytes.";
    SPC_IS_LOSSY_TEXT = 400 "spc_is_lossy_text" "The SPC was decoded as text on its way, and bytes of it are lost.";
    SPC_IS_COMPRESSED = 400 "spc_is_compressed" "The SPC is compressed, and this server decompresses nothing.";
    SPC_IS_MULTIPART = 400 "spc_is_multipart" "No part of the multipart form is an SPC.";
    SPC_TRUNCATED = 400 "spc_truncated" "The SPC ends before its fields do.";
    SPC_VERSION = 400 "spc_version" "The SPC container version is none of 1, 2 and 3.";
    SPC_LENGTH = 400 "spc_length" "The SPC payload length does not fit the message.";
    SPC_TRANSPORT = 400 "spc_transport" "The transport of the version 3 SPC is not known.";
    SPC_CERTIFICATE_UNKNOWN = 400 "spc_certificate_unknown" "The SPC was made for a certificate that this server does not hold.";
    SPC_UNDECRYPTABLE = 400 "spc_undecryptable" "The SPC key does not decrypt with the private key of its certificate.";
    SPC_INTEGRITY = 400 "spc_integrity" "The integrity of the SPC could not be confirmed.";
    SPC_TLLV = 400 "spc_tllv" "The SPC payload is not a sequence of TLLV blocks.";
    SPC_DUPLICATE_TAG = 400 "spc_duplicate_tag" "A tag occurs twice in the SPC.";
    SPC_MISSING_TAG = 400 "spc_missing_tag" "A required or requested tag is missing from the SPC.";
    SPC_TAG_VALUE = 400 "spc_tag_value" "A tag of the SPC has a value of the wrong size or content.";
    SPC_PROTOCOL_VERSION = 400 "spc_protocol_version" "The protocol version used is not 1.";
    SYNC_MISSING = 400 "sync_missing" "The SPC reports nothing: it is no sync SPC.";
    KEY_SYSTEM_NOT_ALLOWED = 403 "key_system_not_allowed" "The key record does not allow this DRM system.";
    CHALLENGE_INVALID = 403 "challenge_invalid" "The challenge was not given out here, has expired, or has been used.";
    SPC_KEY_FORMAT = 501 "spc_key_format" "The device takes no key format that is public.";
    KID_MISSING = 503 "kid_missing" "The key record has no KID, which Widevine and PlayReady need.";
    IV_MISSING = 503 "iv_missing" "The key record has no IV, which FairPlay needs.";
    ASK_MISSING = 501 "ask_missing" "The credential has no application secret key, so no CKC can be made for it.";

    ABUSE_LIMIT = 429 "abuse_limit" "More licences, devices, addresses or countries than one token or viewer may have.";
    USES_SPENT = 403 "uses_spent" "The token has been used as often as it allows.";
    STREAMS_EXCEEDED = 409 "streams_exceeded" "As many streams of this viewer are playing as are allowed.";
    SESSION_MISSING = 401 "session_missing" "No session token came with the request.";
    SESSION_TOKEN = 401 "session_token" "The session token is not one of this server's, or not for this session.";
    SESSION_LAPSED = 403 "session_lapsed" "The session has lapsed: it was not renewed in time.";
    SESSION_ENDED = 403 "session_ended" "The session was ended.";
    SESSION_DEVICE = 403 "session_device" "The session is another device's.";
    SESSIONS_OFF = 503 "sessions_off" "This server keeps no sessions: it has no `server_secret`.";
    KEYS_OFF = 503 "keys_off" "This server stores no keys: it has no `key_encryption_keys`.";
    KEY_RECORD_INVALID = 400 "key_record_invalid" "The key record is not of the documented shape.";
    KEY_DIFFERS = 409 "key_differs" "There is a key record with this id and another key.";
    KEY_NAME_TAKEN = 409 "key_name_taken" "Another key record has one of these names.";
    KEY_RECORD_ALTERED = 503 "key_record_altered" "A stored key record is not as this server wrote it.";
    KEY_ENCRYPTION_KEY_UNKNOWN = 503 "key_encryption_key_unknown" "A stored key record is encrypted by a key that is not configured.";
    STORE_UNSUPPORTED = 503 "store_unsupported" "The terms need a key-value store, and this host has none.";
    STORE_UNAVAILABLE = 503 "store_unavailable" "The terms need the key-value store, and it did not answer.";

    CONFIGURATION_INVALID = 503 "configuration_invalid" "The server's configuration does not load; its health page names what is wrong.";
    WIDEVINE_OFF = 503 "widevine_off" "Widevine is not configured on this server.";
    PLAYREADY_OFF = 503 "playready_off" "PlayReady is not configured on this server.";
    FAIRPLAY_OFF = 503 "fairplay_off" "FairPlay is not configured on this server.";
    PLATFORM_UNAVAILABLE = 503 "platform_unavailable" "The host did not answer.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert!(
                Code::ALL[..i].iter().all(|other| other.name != code.name),
                "{}",
                code.name
            );
        }
    }
}
