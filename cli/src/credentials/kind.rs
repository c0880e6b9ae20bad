//! What a file is, as its octets say.

/// What a file is that people take for a certificate or a key and that is neither, and what to do with it.
pub fn other_kind(content: &[u8]) -> Option<&'static str> {
    match content {
        [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => Some(
            "it is a Java keystore (JKS or JCEKS). Turn it into PKCS#12 with \
             `keytool -importkeystore -srckeystore FILE -destkeystore fairplay.p12 -deststoretype pkcs12`",
        ),
        [b'P', b'K', 3, 4, ..] => Some("it is a ZIP archive. Unpack it, and name the directory"),
        _ if content.get(..64).is_some_and(has_signed_data) => Some(
            "it is PKCS#7; take the certificate out with `openssl pkcs7 -inform der -print_certs`",
        ),
        _ => None,
    }
}

/// Whether this begins with the content type `signedData` (RFC 2315 section 14).
fn has_signed_data(start: &[u8]) -> bool {
    const SIGNED_DATA: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    let place = start
        .windows(SIGNED_DATA.len())
        .position(|window| window == SIGNED_DATA);
    place.is_some_and(|place| place <= 6)
}
