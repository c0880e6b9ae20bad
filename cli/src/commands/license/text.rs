//! What came of a question, for people.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use super::judged::{Judged, Outcome};
use crate::client::{Failure, Played, Refusal};
use crate::device::{Duration, Licence};
use crate::doctor::{UNCHECKED, advice};
use crate::terminal::{self, Printable, Screen, local_time, span};

/// What was asked, and what of the answer is to be shown.
pub(super) struct Asked<'a> {
    pub(super) asset_id: &'a str,
    pub(super) url: &'a str,
    /// What it was about, where that is not the licence.
    pub(super) about: &'a str,
    pub(super) show_key: bool,
    /// Whether it renews a licence.
    pub(super) is_renewal: bool,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// Writes a licence and an expected refusal to standard output, and everything else to standard error.
pub(super) fn show(judged: &Judged<'_>, asked: &Asked<'_>) {
    let is_good = judged.outcome == Outcome::AsExpected;
    let mut out = match is_good {
        true => terminal::stdout(),
        false => terminal::stderr(),
    };
    let asset = Printable::new(asked.asset_id);
    let licence_for = match asked.is_renewal {
        true => "A renewed licence for",
        false => "A licence for",
    };
    let (colour, heading) = match (judged.played, judged.outcome) {
        (Ok(_), Outcome::AsExpected) => (AnsiColor::Green, format!("{licence_for} {asset}")),
        (Ok(_), _) => (
            AnsiColor::Red,
            format!("{licence_for} {asset}, and not the expected one"),
        ),
        (Err(_), Outcome::AsExpected) => (
            AnsiColor::Green,
            format!("No licence for {asset}, as expected"),
        ),
        (Err(_), Outcome::Mismatch) => (
            AnsiColor::Red,
            format!("No licence for {asset}, and not the expected refusal"),
        ),
        (Err(_), _) => (AnsiColor::Red, format!("No licence for {asset}")),
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    out.styled(style, heading);
    let _ = writeln!(out, "\n");
    for mismatch in &judged.mismatches {
        out.row("expected", mismatch);
    }
    match judged.played {
        Ok(played) => licence(&mut out, played, judged, asked),
        Err(Failure::Refused(refusal)) => refused(&mut out, refusal, asked),
        Err(failure) => {
            out.row("reason", format_args!("{}{failure}", asked.about));
            out.row("server", Printable::new(asked.url));
        }
    }
    let _ = writeln!(out);
}

/// Says what a licence for an emulated device does not show.
pub(super) fn show_unchecked() {
    let [(_, ask), (_, trust)] = UNCHECKED;
    terminal::stdout().paragraph(format_args!("Not checked: {ask}; and {trust}."));
}

fn licence(out: &mut Screen, played: &Played, judged: &Judged<'_>, asked: &Asked<'_>) {
    let Licence {
        key,
        iv,
        duration,
        hdcp,
        security_level,
        ..
    } = &played.licence;
    match (
        asked.show_key,
        judged.has_expected_key && judged.mismatches.is_empty(),
    ) {
        (true, _) => out.row("key", hex::encode(key)),
        (false, true) => out.row("key", "the expected one"),
        (false, false) => out.row("key", "received; --show-key prints it"),
    }
    out.row("IV", hex::encode(iv));
    out.row("granted", granted(duration.as_ref(), asked.now));
    let answer = &played.answer;
    // A lease says it already.
    if let (Some(at), None) = (answer.expires_at, duration) {
        out.row("ends", local_time(at));
    }
    if let Some(after) = answer.renew_after {
        out.row(
            "renewal",
            format_args!("the player asks again after {}", span(after)),
        );
    }
    out.row(
        "outputs",
        match hdcp {
            None => "HDCP type 0, which holds where a licence names none",
            Some("none") => "no HDCP required",
            Some("type1") => "HDCP type 1 required",
            Some(_) => "HDCP type 0 required",
        },
    );
    if let Some(level) = security_level {
        out.row(
            "security",
            format_args!("level {level} required of the device"),
        );
    }
    out.row(
        "exchange",
        format_args!(
            "status {} after {} ms; the SPC had {} bytes, the answer {}",
            answer.status, answer.milliseconds, answer.spc_bytes, answer.answer_bytes
        ),
    );
    if let Some(id) = &answer.request_id {
        out.row("request", id);
    }
}

fn refused(out: &mut Screen, refusal: &Refusal, asked: &Asked<'_>) {
    let status = refusal.answer.status;
    let about = asked.about;
    match &refusal.code {
        Some(code) => out.row("refused", format_args!("{about}{code} (status {status})")),
        None => out.row("refused", format_args!("{about}status {status}")),
    }
    if let Some(number) = refusal.number {
        out.row("number", number);
    }
    let detail = refusal.detail.as_ref().map(Printable::words);
    if let Some(meaning) = refusal.meaning {
        out.row("reason", meaning);
    }
    if let Some(detail) = detail.filter(|detail| !detail.as_str().is_empty()) {
        let label = if refusal.meaning.is_some() {
            ""
        } else {
            "reason"
        };
        out.row(label, detail);
    }
    if let Some(location) = &refusal.location {
        out.row(
            "redirect",
            format_args!("to {location}, which is not followed"),
        );
        out.row("to do", "Give the URL of the licence server itself.");
    } else if let (Some(code), Some(_)) = (&refusal.code, refusal.meaning) {
        let (_, remedy) = advice::of_refusal(code.as_str());
        out.row("to do", remedy);
    }
    if let Some(id) = &refusal.answer.request_id {
        out.row("request", id);
    }
}

/// What the duration of a licence allows, and until when.
fn granted(duration: Option<&Duration>, now: u64) -> String {
    let within = |seconds: u32| {
        let until = now.saturating_add(seconds.into());
        format!("{}, until {}", span(seconds), local_time(until))
    };
    let lease = |seconds| format!("playback for {}, if it is not renewed", within(seconds));
    let rental = |seconds| {
        format!(
            "playback may begin within {}; what plays then goes on",
            within(seconds)
        )
    };
    match duration {
        None => "playback, without a limit of time".to_owned(),
        Some(Duration::Lease { lease_seconds }) => lease(*lease_seconds),
        Some(Duration::Rental { rental_seconds }) => rental(*rental_seconds),
        Some(Duration::LeaseAndRental {
            lease_seconds,
            rental_seconds,
        }) => format!("{}; {}", lease(*lease_seconds), rental(*rental_seconds)),
        Some(Duration::Persistence) => "playback and storage, without a limit of time".to_owned(),
        Some(Duration::PersistenceLimited { seconds }) => {
            format!("playback and storage for {}", within(*seconds))
        }
        Some(Duration::OfflineKey {
            storage_seconds,
            playback_seconds,
            ..
        }) => {
            let storage = match storage_seconds {
                0 => "storage without a limit of time".to_owned(),
                seconds => format!("storage, and a first playback within {}", within(*seconds)),
            };
            match playback_seconds {
                0 => storage,
                seconds => format!(
                    "{storage}; playback for {} from the first on",
                    span(*seconds)
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_told_with_its_end() {
        let lease = Duration::Lease { lease_seconds: 300 };
        let text = granted(Some(&lease), 0);
        assert!(text.starts_with("playback for 5 minutes, until "), "{text}");
        let offline = |storage_seconds, playback_seconds| {
            let key = Duration::OfflineKey {
                version: 1,
                stream: String::new(),
                storage_seconds,
                playback_seconds,
                title: None,
            };
            granted(Some(&key), 0)
        };
        assert_eq!(offline(0, 0), "storage without a limit of time");
        assert!(offline(0, 60).contains("1 minute from the first"));
        assert!(offline(86_400, 0).contains("within 1 day, until "));
    }
}
