use std::collections::BTreeSet;

use super::*;
use crate::platform::test_host::TestHost;

/// Noon of a day.
const NOW: u64 = 20_000 * DAY + 12 * 3_600;

fn key(text: &str) -> Key<'_> {
    Key::of(text).unwrap_or_else(|| panic!("{text} is of no family"))
}

fn is_over(now: u64, text: &str) -> bool {
    Survey::new(now).is_over(&key(text), None)
}

/// A record of a session that was opened and renewed last at these times, by periods of a minute.
fn record(opened: u64, renewed: u64) -> Vec<u8> {
    let (day, renewed) = (opened / DAY, renewed / 60);
    let record = serde_json::json!({
        "id": "id", "serial": 1, "owner": "owner", "seat": ["id", day], "token": "token",
        "opened": opened, "seen": opened, "heard": renewed, "period": 60,
    });
    record.to_string().into_bytes()
}

#[test]
fn a_key_with_a_period_is_over_two_hours_after_its_end() {
    let day = NOW / DAY;
    for (text, end) in [
        (format!("use-last/{day}/t/l"), (day + 1) * DAY),
        (format!("use-repeat/{day}/t/l/1"), (day + 1) * DAY),
        (format!("slot/{NOW}/v/0"), NOW + 1_200),
        (format!("handover/{NOW}/v"), NOW + 2_400),
        (format!("challenge/{}/aa", NOW / 600), (NOW / 600 + 2) * 600),
        (
            format!("challenge-used/{}/aa", NOW / 600),
            (NOW / 600 + 2) * 600,
        ),
        (
            format!("jwks-attempt/url/{}", NOW / 60),
            (NOW / 60 + 1) * 60,
        ),
        (
            format!("widevine-certificate-attempt/url/{}", NOW / 60),
            (NOW / 60 + 1) * 60,
        ),
        (format!("key-missing/key/{}", NOW / 30), (NOW / 30 + 1) * 30),
        (format!("session-end/{day}/id"), (day + 8) * DAY),
        (format!("session-next/{day}/id"), (day + 8) * DAY),
        (format!("session-device/{day}/id"), (day + 8) * DAY),
        (format!("session-second/{day}/id"), (day + 8) * DAY),
    ] {
        for (now, expected) in [
            (NOW, false),
            (end, false),
            (end + MARGIN - 1, false),
            (end + MARGIN, true),
            (end + 365 * DAY, true),
        ] {
            assert_eq!(is_over(now, &text), expected, "{text} at {now}");
        }
        let of_store = key(&text).expires_at();
        let names_all = matches!(key(&text).family.end, End::Period(_));
        assert_eq!(of_store, names_all.then_some(end + MARGIN), "{text}");
        assert!(
            key(&text).began().is_some_and(|began| began <= NOW),
            "{text}"
        );
    }
}

#[test]
fn a_key_without_a_period_is_never_over() {
    for text in [
        "key/movie-42",
        "key/a/b",
        "key-name/digest",
        "key-fetched/key",
        "key-server/server",
        "jwks/url",
        "widevine-certificate/url",
        "use/token",
        "session/viewer/0",
    ] {
        assert!(!is_over(u64::MAX, text), "{text}");
        assert_eq!(key(text).expires_at(), None, "{text}");
    }
    // A token without an end.
    assert!(!is_over(NOW, &format!("use-last/{}/t/l", u64::MAX / DAY)));
}

#[test]
fn the_counter_of_a_token_is_over_with_the_last_of_its_days() {
    let day = NOW / DAY;
    let mut survey = Survey::new(NOW);
    for text in [
        format!("use-last/{}/old/l", day - 2),
        format!("use-last/{}/both/l", day - 2),
        format!("use-last/{day}/both/m"),
        format!("use-last/{}/both/n", day - 9),
    ] {
        survey.see(&key(&text), None);
    }
    assert!(survey.is_over(&key("use/old"), None));
    assert!(!survey.is_over(&key("use/both"), None));
    assert!(survey.is_over(&key(&format!("use-last/{}/both/l", day - 2)), None));
    assert!(!survey.is_over(&key("use/never-seen"), None));
}

#[test]
fn the_counters_of_sessions_stay_while_one_is_alive_that_is_as_old() {
    let day = NOW / DAY;
    let counter = |day: u64| format!("session-device/{day}/id");
    let mut survey = Survey::new(NOW);
    assert!(survey.is_over(&key(&counter(day - 30)), None));
    // One that was renewed within its time, and one that was not.
    survey.see(&key("session/v/0"), Some(&record(NOW - 20 * DAY, NOW - 60)));
    survey.see(
        &key("session/w/0"),
        Some(&record(NOW - 40 * DAY, NOW - DAY)),
    );
    for (days, expected) in [(9, false), (19, false), (20, false), (21, true), (30, true)] {
        let text = counter(day - days);
        assert_eq!(survey.is_over(&key(&text), None), expected, "{days}");
    }
}

#[test]
fn the_record_of_a_slot_is_over_a_week_after_its_last_session() {
    let survey = Survey::new(NOW);
    let is_over = |value: &[u8]| survey.is_over(&key("session/v/0"), Some(value));
    let opened = NOW - 60 * DAY;
    assert!(!is_over(&record(opened, NOW)));
    assert!(!is_over(&record(opened, NOW - 7 * DAY)));
    assert!(!is_over(&record(opened, NOW - 7 * DAY - MARGIN)));
    assert!(is_over(&record(opened, NOW - 7 * DAY - MARGIN - 120)));
    assert!(!is_over(b"another program's"));
    let mut survey = Survey::new(NOW);
    survey.see(&key("session/v/0"), Some(b"another program's"));
    assert_eq!(survey.first_day, NOW / DAY - 1);
}

#[test]
fn keys_of_other_programs_are_of_no_family() {
    for text in [
        "",
        "slot",
        "session",
        "use",
        "use/a/b",
        "use-last/yesterday/t/l",
        "celery-task-meta-1",
        "slot/1/v/0/more",
        "challenge//aa",
        "Session/v/0",
        "cache:slot/1/v/0",
    ] {
        assert_eq!(Key::of(text), None, "{text:?}");
    }
}

/// A page and the code name the same families.
#[test]
fn the_page_of_the_store_names_every_family() {
    let page = include_str!("../../docs/store.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.flat_map(|row| {
        let cell = row.split('|').next().unwrap_or_default();
        cell.split('`').step_by(2)
    });
    let documented: BTreeSet<&str> = cells
        .filter_map(|key| key.split_once("/{"))
        .map(|(family, _)| family)
        .collect();
    let known: Vec<&str> = families().map(|family| family.name).collect();
    assert_eq!(known.len(), documented.len(), "a family has one row");
    assert_eq!(documented, known.into_iter().collect());
}

async fn sweep(
    host: &TestHost,
    limit: usize,
    is_dry: bool,
) -> (usize, BTreeMap<&'static str, usize>, usize) {
    let (mut steps, mut deleted, mut looked_at) = (0, BTreeMap::new(), 0);
    let mut next: Option<String> = None;
    loop {
        let one = Step {
            after: next.as_deref(),
            limit,
            is_dry,
        };
        let swept = step(host, one).await.unwrap().unwrap();
        steps += 1;
        looked_at += swept.looked_at;
        for (family, number) in swept.deleted {
            *deleted.entry(family).or_default() += number;
        }
        match swept.next {
            Some(text) => next = Some(text),
            None => return (steps, deleted, looked_at),
        }
    }
}

fn filled() -> TestHost {
    let host = TestHost::default();
    host.later.set(NOW - 1_000);
    let day = NOW / DAY;
    let old = [
        "use/old".to_owned(),
        format!("use-last/{}/old/l", day - 2),
        format!("use-last/{}/kept/l", day - 2),
        format!("slot/{}/v/0", NOW - DAY),
        format!("session-end/{}/id", day - 30),
        "session/v/0".to_owned(),
    ];
    let kept = [
        "use/kept".to_owned(),
        format!("use-last/{day}/kept/m"),
        format!("slot/{NOW}/v/0"),
        format!("session-end/{}/id", day - 15),
        "session/w/0".to_owned(),
        "key/movie".to_owned(),
        "another/program".to_owned(),
    ];
    let mut values = host.values.borrow_mut();
    values.extend(old.into_iter().chain(kept).map(|key| (key, b"1".to_vec())));
    values.insert(
        "session/v/0".to_owned(),
        record(NOW - 30 * DAY, NOW - 29 * DAY),
    );
    values.insert("session/w/0".to_owned(), record(NOW - 20 * DAY, NOW - 60));
    drop(values);
    host
}

#[test]
fn a_sweep_deletes_the_same_in_steps_of_any_size() {
    for limit in [1, 2, 3, 1_000] {
        let host = filled();
        let before = host.values.borrow().clone();
        let expected = BTreeMap::from([
            ("session", 1),
            ("session-end", 1),
            ("slot", 1),
            ("use", 1),
            ("use-last", 2),
        ]);
        let (_, would_delete, looked_at) = block_on(sweep(&host, limit, true));
        assert_eq!((&would_delete, looked_at), (&expected, before.len()));
        assert_eq!(*host.values.borrow(), before, "a dry run deletes nothing");

        let (steps, deleted, looked_at) = block_on(sweep(&host, limit, false));
        assert_eq!((&deleted, looked_at), (&expected, before.len()), "{limit}");
        assert_eq!(
            steps,
            if limit == 1_000 {
                1
            } else {
                (6 + 2_usize).div_ceil(limit)
            },
            "{limit}"
        );
        let left: Vec<String> = host.values.borrow().keys().cloned().collect();
        assert_eq!(left.len(), before.len() - 6);
        let (_, again, _) = block_on(sweep(&host, limit, false));
        assert_eq!(again, BTreeMap::new(), "nothing is left to delete");
    }
}

#[test]
fn a_sweep_that_was_interrupted_leaves_nothing_that_the_next_one_does_not_find() {
    for writes in 0..6 {
        let host = filled();
        host.writes.set(Some(writes));
        let one = Step {
            after: None,
            limit: 1_000,
            is_dry: false,
        };
        assert!(block_on(step(&host, one)).is_err());
        host.writes.set(None);
        block_on(sweep(&host, 1_000, false));
        let whole = filled();
        block_on(sweep(&whole, 1_000, false));
        assert_eq!(*host.values.borrow(), *whole.values.borrow(), "{writes}");
    }
}

#[test]
fn a_step_after_something_else_is_none() {
    for after in ["", "slot/1/v/0", "x:slot/1/v/0"] {
        let one = Step {
            after: Some(after),
            limit: 1,
            is_dry: true,
        };
        assert!(block_on(step(&filled(), one)).unwrap().is_none(), "{after}");
    }
}

/// Nothing on a test host waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).unwrap()
}
