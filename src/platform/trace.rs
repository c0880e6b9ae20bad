//! The trace that a request belongs to (W3C Trace Context, level 1): it goes from the request into the audit, and to the servers
//! that are asked on its account.

use std::cell::RefCell;
use std::future::Future;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::local::run_with;

/// The header that names a trace and the span that a request came from (section 3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with what tracing systems add (section 3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Characters of a `traceparent` of version `00`.
const LENGTH: usize = 55;

/// The flag of a trace whose spans are recorded.
const SAMPLED: u8 = 0x01;

/// The longest `tracestate` that is passed on, in bytes (section 3.3.1.5).
const LONGEST_STATE: usize = 512;

thread_local! {
    static CURRENT: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// A trace, and the span of this server in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// The span of the request here: 16 hexadecimal digits.
    span_id: String,
    /// The span that the request came from; none where the trace begins here.
    #[serde(rename = "parent_span_id", skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    #[serde(skip)]
    flags: String,
    #[serde(skip)]
    state: Option<HeaderValue>,
}

impl Trace {
    /// A trace that begins here, with random ids.
    pub fn begin(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self {
            trace_id: id(trace_id),
            span_id: id(span_id),
            parent_id: None,
            flags: "00".to_owned(),
            state: None,
        }
    }

    /// The trace that headers name. `None` without a `traceparent`, and with one that is none (section 3.2.2.3). `random` is the
    /// id of this server's span.
    pub fn of(headers: &HeaderMap, random: impl FnOnce() -> [u8; 8]) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let text = value.to_str().ok()?.trim();
        let (known, more) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let (version, trace_id, parent_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may have more after these parts.
        let is_read = match version {
            "00" => more.is_empty(),
            "ff" => false,
            _ => more.is_empty() || more.starts_with('-'),
        };
        let is_well_formed = parts.next().is_none()
            && is_hex(version, 2)
            && is_id(trace_id, 32)
            && is_id(parent_id, 16)
            && is_hex(flags, 2);
        if !(is_read && is_well_formed) {
            return None;
        }
        let states: Vec<&[u8]> = { headers.get_all(TRACESTATE).iter() }
            .map(HeaderValue::as_bytes)
            .collect();
        let state = HeaderValue::from_bytes(&states.join(&b','));
        Some(Self {
            trace_id: trace_id.to_owned(),
            span_id: id(random()),
            parent_id: Some(parent_id.to_owned()),
            flags: flags.to_owned(),
            state: state
                .ok()
                .filter(|state| (1..=LONGEST_STATE).contains(&state.len())),
        })
    }

    /// The trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The span of this server: 16 hexadecimal digits.
    pub fn span_id(&self) -> &str {
        &self.span_id
    }

    /// The span that it came from, where it did not begin here.
    pub fn parent_id(&self) -> Option<&str> {
        self.parent_id.as_deref()
    }

    /// Whether its spans are recorded (section 3.2.2.5.1).
    pub fn is_sampled(&self) -> bool {
        self.flag_bits() & SAMPLED != 0
    }

    /// The same trace, whose spans are recorded from here on, or are not.
    #[must_use]
    pub fn sampled(mut self, is_sampled: bool) -> Self {
        let others = self.flag_bits() & !SAMPLED;
        let bits = others | if is_sampled { SAMPLED } else { 0 };
        self.flags = format!("{bits:02x}");
        self
    }

    fn flag_bits(&self) -> u8 {
        // They were read as two hexadecimal digits.
        u8::from_str_radix(&self.flags, 16).unwrap_or_default()
    }

    /// The `traceparent` that names the span of this server.
    pub fn traceparent(&self) -> String {
        let Self {
            trace_id,
            span_id,
            flags,
            ..
        } = self;
        format!("00-{trace_id}-{span_id}-{flags}")
    }

    /// Runs a future as a part of this trace.
    pub async fn run<F: Future>(trace: Option<Self>, future: F) -> F::Output {
        run_with(&CURRENT, trace, future).await
    }

    /// The trace of the request that is answered just now.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Names the trace of the request that is answered just now to another server.
    pub fn pass_on(headers: &mut HeaderMap) {
        let Some(trace) = Self::current() else {
            return;
        };
        if let Ok(value) = HeaderValue::try_from(trace.traceparent()) {
            headers.insert(TRACEPARENT, value);
            headers.extend(trace.state.map(|state| (TRACESTATE, state)));
        }
    }
}

/// An id in hexadecimal digits. One of zeros is none (section 3.2.2.3).
fn id<const N: usize>(bytes: [u8; N]) -> String {
    hex::encode(match bytes == [0; N] {
        true => [1; N],
        false => bytes,
    })
}

fn is_hex(text: &str, length: usize) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == length && text.bytes().all(is_digit)
}

fn is_id(text: &str, length: usize) -> bool {
    is_hex(text, length) && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use futures_util::FutureExt;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        let values = values.iter();
        let values = values.map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        headers
    }

    fn read(value: &str) -> Option<Trace> {
        Trace::of(&headers(&[("traceparent", value)]), || [0xab; 8])
    }

    fn passed_on() -> HeaderMap {
        let mut headers = HeaderMap::new();
        Trace::pass_on(&mut headers);
        headers
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_this_server() {
        let state = [("tracestate", "rojo=1"), ("tracestate", "congo=2")];
        let given = [&[("traceparent", GOOD)], &state[..]].concat();
        let trace = Trace::of(&headers(&given), || [0xab; 8]);
        let passed = Trace::run(trace, async { passed_on() })
            .now_or_never()
            .unwrap();
        assert_eq!(
            passed["traceparent"],
            "00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-01"
        );
        assert_eq!(passed["tracestate"], "rojo=1,congo=2");
        assert_eq!(Trace::current(), None);
        assert!(passed_on().is_empty());
        // An id of zeros is none.
        let trace = Trace::of(&headers(&[("traceparent", GOOD)]), || [0; 8]).unwrap();
        assert_eq!(trace.span_id, "0101010101010101");
        let long = "a=".to_owned() + &"b".repeat(511);
        let given = [("traceparent", GOOD), ("tracestate", long.as_str())];
        assert_eq!(Trace::of(&headers(&given), || [1; 8]).unwrap().state, None);
    }

    #[test]
    fn a_trace_may_begin_here_and_says_whether_it_is_recorded() {
        let trace = Trace::begin([0; 16], [0xab; 8]);
        assert_eq!(trace.parent_id(), None);
        assert!(!trace.is_sampled());
        let trace = trace.sampled(true);
        let first = trace.trace_id().to_owned();
        assert_eq!(first, "01".repeat(16));
        assert_eq!(
            trace.traceparent(),
            format!("00-{first}-abababababababab-01")
        );
        // The other flags stay (level 2 has one for random ids).
        let trace = read(&GOOD.replace("-01", "-03")).unwrap();
        assert!(trace.is_sampled());
        let trace = trace.sampled(false);
        assert!(!trace.is_sampled() && trace.traceparent().ends_with("-02"));
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        assert!(read(GOOD).is_some());
        let later = GOOD.replacen("00", "01", 1);
        assert!(read(&later).is_some());
        assert!(read(&format!("{later}-more")).is_some());
        for value in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{later}more"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.to_uppercase(),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace("7-01", "-017"),
        ] {
            assert_eq!(read(value), None, "{value}");
        }
        let two = headers(&[("traceparent", GOOD), ("traceparent", GOOD)]);
        assert_eq!(Trace::of(&two, || [1; 8]), None);
    }

    #[test]
    fn two_requests_in_turns_keep_their_traces() {
        let answer = |value: &str| {
            Trace::run(read(value), async {
                let before = Trace::current();
                let mut is_second = false;
                let once = poll_fn(|_| match std::mem::replace(&mut is_second, true) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                });
                once.await;
                assert_eq!(before, Trace::current());
                before
            })
        };
        let other = GOOD.replace("4bf9", "5bf9");
        let (mut one, mut two) = (Box::pin(answer(GOOD)), Box::pin(answer(&other)));
        let mut without = Box::pin(answer(""));
        assert!((&mut one).now_or_never().is_none());
        assert!((&mut two).now_or_never().is_none());
        assert!((&mut without).now_or_never().is_none());
        assert_eq!(two.now_or_never().unwrap(), read(&other));
        assert_eq!(one.now_or_never().unwrap(), read(GOOD));
        assert_eq!(without.now_or_never().unwrap(), None);
    }
}
