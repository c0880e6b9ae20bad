//! Audit records in the lines of any host.
//!
//! A host writes something before a record, or a collector of logs puts the line, or the record, into a document of
//! its own. So a record is looked for anywhere in a line, and inside the strings of a JSON document too.

use memchr::{memchr, memmem, memrchr_iter};
use serde::Deserialize;

use crate::record::{Record, VERSION};

/// How deep strings in strings are opened: a line of Docker in a line of a collector has two.
const DEEPEST: u32 = 3;

/// How many braces before the member `audit` are tried as the beginning of its record.
const MOST_BRACES: usize = 16;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It holds records, all of this version.
    Audit,
    /// It holds a record of another version.
    OtherVersion,
    /// It begins as a record, and is not read to its end.
    Broken,
    /// It is somebody else's.
    Foreign,
}

/// Finds the records of lines.
pub struct Finder {
    member: memmem::Finder<'static>,
}

impl Default for Finder {
    fn default() -> Self {
        Self {
            member: memmem::Finder::new(b"\"audit"),
        }
    }
}

impl Finder {
    /// Hands each record of a line to `take`, and says what the line is.
    pub fn read(&self, line: &[u8], take: &mut impl FnMut(&Record<'_>)) -> Line {
        self.read_text(line, DEEPEST, take)
    }

    fn read_text(&self, text: &[u8], deepest: u32, take: &mut impl FnMut(&Record<'_>)) -> Line {
        let Some(first) = self.member.find(text) else {
            // Inside a string the quote has a backslash before it, and is found the same.
            return Line::Foreign;
        };
        // What a client sends stands in a string of the record, with its quotes escaped: such a string is not opened
        // where the text itself has a record.
        let plain = self.read_plain(text, first, take);
        if plain != Line::Foreign || deepest == 0 {
            return plain;
        }
        let mut is = Line::Foreign;
        let mut from = first;
        while let Some(found) = text.get(from..).and_then(|rest| self.member.find(rest)) {
            let at = from + found;
            from = at + 1;
            let Some((start, end)) = string_around(text, at) else {
                continue;
            };
            from = end;
            let string = text.get(start..end).unwrap_or_default();
            if let Ok(inner) = serde_json::from_slice::<String>(string) {
                is = worse(is, self.read_text(inner.as_bytes(), deepest - 1, take));
            } else if string_begins_record(string) {
                is = worse(is, Line::Broken);
            }
        }
        is
    }

    /// The records of a text that are not in a string.
    fn read_plain(&self, text: &[u8], first: usize, take: &mut impl FnMut(&Record<'_>)) -> Line {
        let mut is = Line::Foreign;
        let mut from = first;
        let mut after = 0;
        while let Some(found) = text.get(from..).and_then(|rest| self.member.find(rest)) {
            let at = from + found;
            from = at + 1;
            if !is_member(text, at) {
                continue;
            }
            let before = text.get(after..at).unwrap_or_default();
            let mut is_begun = false;
            for brace in memrchr_iter(b'{', before).take(MOST_BRACES) {
                let start = after + brace;
                if !begins(text, start) {
                    continue;
                }
                is_begun = true;
                let rest = text.get(start..).unwrap_or_default();
                let mut documents =
                    serde_json::Deserializer::from_slice(rest).into_iter::<Record<'_>>();
                match documents.next() {
                    Some(Ok(record)) if record.audit == VERSION => {
                        take(&record);
                        is = worse(is, Line::Audit);
                    }
                    Some(Ok(_)) => is = worse(is, Line::OtherVersion),
                    _ => continue,
                }
                is_begun = false;
                after = start + documents.byte_offset();
                from = after;
                break;
            }
            if is_begun {
                is = worse(is, version_of(text, at));
            }
        }
        is
    }
}

/// What a record that is not read is: one of another version may have other members.
fn version_of(text: &[u8], at: usize) -> Line {
    let value = text.get(at + b"\"audit\":".len()..).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_slice(value);
    match u32::deserialize(&mut values) {
        Ok(version) if version > VERSION => Line::OtherVersion,
        _ => Line::Broken,
    }
}

/// What a line is that holds both.
fn worse(one: Line, other: Line) -> Line {
    let rank = |line| match line {
        Line::Foreign => 0,
        Line::Audit => 1,
        Line::OtherVersion => 2,
        Line::Broken => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// Whether the quote there begins `"audit":`, outside a string.
fn is_member(text: &[u8], at: usize) -> bool {
    let is_escaped = text.get(..at).is_some_and(|before| before.ends_with(b"\\"));
    let rest = text.get(at..).unwrap_or_default();
    let behind = rest
        .strip_prefix(b"\"audit\"")
        .map(<[u8]>::trim_ascii_start);
    !is_escaped && behind.is_some_and(|behind| behind.starts_with(b":"))
}

/// Whether a record may begin at a brace: after white space, or inside a JSON document that begins so.
///
/// A client can put braces and quotes into a path, which a log may have as it is. It cannot put white space there.
fn begins(text: &[u8], brace: usize) -> bool {
    let is_free = |at: usize| match at.checked_sub(1).and_then(|before| text.get(before)) {
        None => true,
        Some(before) => before.is_ascii_whitespace(),
    };
    if is_free(brace) {
        return true;
    }
    let before = text.get(..brace).unwrap_or_default();
    let is_list = before.trim_ascii_start().starts_with(b"[");
    is_list || memchr(b'{', before).is_some_and(is_free)
}

/// The string of a JSON document around a place, with its quotes.
fn string_around(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let is_escaped = |quote: usize| {
        let before = text.get(..quote).unwrap_or_default();
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\');
        backslashes.count() % 2 == 1
    };
    let start = memrchr_iter(b'"', text.get(..at)?).find(|quote| !is_escaped(*quote))?;
    let rest = text.get(at..)?;
    let end = memchr::memchr_iter(b'"', rest).find(|quote| !is_escaped(at + quote));
    Some((start, end.map_or(text.len(), |end| at + end + 1)))
}

/// Whether a string that does not end holds the beginning of a record.
fn string_begins_record(string: &[u8]) -> bool {
    memmem::find(string, b"{\\\"audit\\\":").is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record() -> Value {
        json!({"audit": 1, "time": 1_795_863_910, "request_id": "a", "drm": "fairplay", "code": "ok", "asset": "x",
            "device": {"class": "mobile"}, "granted": {}})
    }

    fn read(line: &str) -> (Line, Vec<u64>) {
        let mut times = Vec::new();
        let is = Finder::default().read(line.as_bytes(), &mut |record| times.push(record.time));
        (is, times)
    }

    #[test]
    fn a_record_is_found_in_the_lines_of_every_host() {
        let record = record().to_string();
        let line = format!("{record}\n");
        let text = serde_json::to_string(&line).unwrap();
        let twice = serde_json::to_string(&json!({"log": line, "stream": "stdout"}).to_string());
        for (host, line) in [
            ("the embedded host", line.clone()),
            ("wasmtime", format!("stdout [0] :: {line}")),
            (
                "kubectl logs --timestamps",
                format!("2026-11-28T12:05:10.123456789Z {line}"),
            ),
            (
                "containerd",
                format!("2026-11-28T12:05:10.123456789Z stdout F {line}"),
            ),
            ("docker compose logs", format!("keylet-1  | {line}")),
            (
                "journalctl",
                format!("Nov 28 12:05:10 host keylet[417]: {line}"),
            ),
            (
                "Docker",
                format!(r#"{{"log":{text},"stream":"stdout","time":"2026-11-28T12:05:10Z"}}"#),
            ),
            (
                "CloudWatch",
                format!(r#"{{"timestamp": 1795863910000, "message": {text}, "ingestionTime": 1}}"#),
            ),
            (
                "CloudWatch, in lines",
                format!(r#"            "message": {text},"#),
            ),
            (
                "logcli --output jsonl",
                format!(r#"{{"labels":{{"app":"keylet"}},"line":{text},"timestamp":"2026"}}"#),
            ),
            (
                "journalctl -o json",
                format!(r#"{{"MESSAGE":{text},"PRIORITY":"6"}}"#),
            ),
            (
                "a collector that reads JSON",
                format!(r#"{{"kubernetes":{{"pod":"a"}},"log":{record},"x":"{{"}}"#),
            ),
            (
                "a record with spaces",
                serde_json::to_string_pretty(&json!({"log": record}))
                    .unwrap()
                    .replace('\n', " "),
            ),
            (
                "Docker in a collector",
                format!(r#"{{"message":{}}}"#, twice.unwrap()),
            ),
        ] {
            assert_eq!(
                read(&line),
                (Line::Audit, vec![1_795_863_910]),
                "{host}: {line}"
            );
        }
    }

    #[test]
    fn the_order_of_members_is_not_a_hosts_word() {
        // Collectors sort them, or add their own.
        let sorted = r#"{"asset":"x","audit":1,"code":"ok","device":{"class":"mobile"},"drm":"fairplay","time":7}"#;
        let among = r#"2026 {"pod":{"name":"a"},"stream":"stdout","code":"ok","drm":"widevine","time":7,"audit" : 1}"#;
        for line in [
            sorted.to_owned(),
            among.to_owned(),
            json!({"m": sorted}).to_string(),
        ] {
            assert_eq!(read(&line), (Line::Audit, vec![7]), "{line}");
        }
    }

    #[test]
    fn a_line_may_hold_several_records() {
        let [one, other] = [1, 2].map(|time| {
            let mut record = record();
            record["time"] = json!(time);
            record.to_string()
        });
        let loki = json!({"values": [["1", one], ["2", other]]}).to_string();
        let list = format!("[{one},{other}]");
        for line in [loki, list, format!("{one} {other}")] {
            assert_eq!(read(&line), (Line::Audit, vec![1, 2]), "{line}");
        }
    }

    #[test]
    fn what_a_client_sends_makes_no_record() {
        let forged = record().to_string();
        // In a member of a record, before and behind `audit`.
        let mut real = record();
        real["asset"] = json!(forged);
        real["time"] = json!(7);
        let sorted = format!(
            r#"{{"asset":{},"audit":1,"code":"ok","drm":"fairplay","time":7}}"#,
            real["asset"]
        );
        for line in [
            real.to_string(),
            sorted,
            json!({"log": real.to_string()}).to_string(),
        ] {
            assert_eq!(read(&line), (Line::Audit, vec![7]), "{line}");
        }
        // In a path, as hosts and proxies log it.
        for path in [
            format!("/{forged}"),
            format!("/:{forged}"),
            format!("/,{forged}"),
        ] {
            for line in [
                format!("host [main] request path={path}"),
                format!("INFO request method=GET path={path} status=404"),
                json!({"level": "INFO", "message": "request", "path": path}).to_string(),
            ] {
                assert_eq!(read(&line), (Line::Foreign, vec![]), "{line}");
            }
        }
    }

    #[test]
    fn a_broken_line_is_told_from_a_foreign_one() {
        let line = record().to_string();
        for end in [20, 40, line.len() - 1] {
            assert_eq!(read(&line[..end]).0, Line::Broken, "{}", &line[..end]);
            let escaped = json!({"log": line}).to_string();
            let cut = &escaped[..end + 10];
            assert_eq!(read(cut).0, Line::Broken, "{cut}");
        }
        for line in [
            r#"{"audit":1}"#,
            r#"{"audit":1,"time":"x","drm":"a","code":"ok"}"#,
            r#"{"audit":true}"#,
        ] {
            assert_eq!(read(line), (Line::Broken, vec![]), "{line}");
        }
        for line in [
            "",
            "ready",
            r#"{"level":"INFO","message":"ready"}"#,
            "\"audit",
            r#"the "audit": trail"#,
            "\u{0}{{{",
        ] {
            assert_eq!(read(line), (Line::Foreign, vec![]), "{line}");
        }
        assert_eq!(
            read(&line.replace(r#""audit":1"#, r#""audit":2"#)).0,
            Line::OtherVersion
        );
        assert_eq!(read(r#"{"audit":2,"at":"noon"}"#).0, Line::OtherVersion);
    }

    #[test]
    fn bytes_that_are_no_text_are_no_failure() {
        let mut line = record().to_string().into_bytes();
        let at = memmem::find(&line, b"fairplay").unwrap();
        line[at] = 0xff;
        let mut taken = 0;
        let is = Finder::default().read(&line, &mut |_| taken += 1);
        assert_eq!((is, taken), (Line::Broken, 0));
    }
}
