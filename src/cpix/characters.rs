//! The characters that text may have in the formats that are written here.

/// Whether XML can hold it (XML 1.0 section 2.2), without the control characters that XML would take too.
pub(super) fn are_xml(text: &str) -> bool {
    let is_character = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().all(is_character)
}

/// Whether a quoted string of an HLS playlist can hold it (RFC 8216 section 4.2).
pub(super) fn are_quotable(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || c == '"')
}
