//! A tag of HLS with attributes (RFC 8216 section 4.2).

/// The attributes of the first line of this tag in a text, sorted by their names; quoted values without their quotes.
///
/// # Errors
/// What is not such a line.
pub(super) fn attributes<'a>(text: &'a str, tag: &str) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut lines = text.lines();
    let list = lines.find_map(|line| line.trim_end().strip_prefix(tag));
    let mut rest = list.ok_or_else(|| format!("there is no line that begins with {tag}"))?;
    let mut attributes = Vec::new();
    while !rest.is_empty() {
        let (name, value) = rest
            .split_once('=')
            .ok_or_else(|| format!("an attribute of {tag} has no value"))?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or_else(|| format!("{name} of {tag} has no second quotation mark"))?,
            None => match value.find(',') {
                Some(comma) => value.split_at(comma),
                None => (value, ""),
            },
        };
        attributes.push((name, value));
        rest = match after.strip_prefix(',') {
            Some(next) => next,
            None if after.is_empty() => after,
            None => return Err(format!("behind {name} of {tag} is no comma")),
        };
    }
    attributes.sort_unstable();
    Ok(attributes)
}

/// The value of an attribute.
pub(super) fn value<'a>(attributes: &[(&'a str, &'a str)], name: &str) -> Option<&'a str> {
    let mut attributes = attributes.iter();
    attributes
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_with_and_without_quotes() {
        let line = "#EXT-X-KEY:URI=\"skd://a=b,c\",METHOD=SAMPLE-AES,KEYFORMATVERSIONS=\"1\"\r\n";
        let read = attributes(line, "#EXT-X-KEY:").unwrap();
        assert_eq!(
            read,
            [
                ("KEYFORMATVERSIONS", "1"),
                ("METHOD", "SAMPLE-AES"),
                ("URI", "skd://a=b,c")
            ]
        );
        assert_eq!(value(&read, "METHOD"), Some("SAMPLE-AES"));
        for (line, reason) in [
            ("#EXT-X-SESSION-KEY:METHOD=NONE", "no line that begins"),
            ("#EXT-X-KEY:METHOD", "no value"),
            ("#EXT-X-KEY:URI=\"skd", "second quotation mark"),
            ("#EXT-X-KEY:URI=\"a\"b=c", "no comma"),
        ] {
            let error = attributes(line, "#EXT-X-KEY:").unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
