//! How long a request waits for its host: what the audit calls `stages`.
//!
//! The calls are measured where every one of them passes, in [`Configured`](crate::configuration::Configured). Of calls at
//! the same time, the clock is read for the first that begins and the last that ends.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Platform;
use super::local::run_with;

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Variables.
    Variables,
    /// The key-value store.
    Store,
    /// Other servers.
    Requests,
}

/// How long a decision took, in microseconds, and how much of it was waiting. A stage that did not happen is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stages {
    /// While variables were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<u64>,
    /// While the key-value store was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<u64>,
    /// While another server was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    /// All of it.
    total: u64,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Watch>>> = const { RefCell::new(None) };
}

/// The stages of a request that is being answered.
struct Watch {
    /// When it began, or when its last decision was told.
    since: Cell<Instant>,
    variables: Calls,
    store: Calls,
    requests: Calls,
}

/// The calls of a stage.
#[derive(Default)]
struct Calls {
    under_way: Cell<u32>,
    /// Since when one is, if one is.
    since: Cell<Option<Instant>>,
    /// How long there was one before that.
    took: Cell<Option<Duration>>,
}

impl Stages {
    /// Runs a future as the answer to a request.
    pub async fn run<F: Future>(platform: &impl Platform, future: F) -> F::Output {
        let watch = Watch {
            since: Cell::new(platform.instant()),
            variables: Calls::default(),
            store: Calls::default(),
            requests: Calls::default(),
        };
        run_with(&CURRENT, Some(Rc::new(watch)), future).await
    }

    /// The stages of the request that is answered just now, since it began or since this was last asked. `None` outside of
    /// requests.
    pub fn take(platform: &impl Platform) -> Option<Self> {
        let watch = CURRENT.with_borrow(Clone::clone)?;
        let now = platform.instant();
        Some(Self {
            variables: watch.variables.take(now),
            store: watch.store.take(now),
            requests: watch.requests.take(now),
            total: microseconds(now.saturating_duration_since(watch.since.replace(now))),
        })
    }
}

impl Watch {
    fn calls(&self, stage: Stage) -> &Calls {
        match stage {
            Stage::Variables => &self.variables,
            Stage::Store => &self.store,
            Stage::Requests => &self.requests,
        }
    }
}

impl Calls {
    fn take(&self, now: Instant) -> Option<u64> {
        if self.under_way.get() > 0 {
            self.end(now);
            self.since.set(Some(now));
        }
        self.took.take().map(microseconds)
    }

    fn end(&self, now: Instant) {
        if let Some(since) = self.since.take() {
            let took = self.took.get().unwrap_or_default();
            let more = now.saturating_duration_since(since);
            self.took.set(Some(took.saturating_add(more)));
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A call of the host. It ends when this is dropped, also where nobody waits for its answer any more.
pub struct Call<'a, P: Platform> {
    watch: Option<Rc<Watch>>,
    stage: Stage,
    host: &'a P,
}

impl<'a, P: Platform> Call<'a, P> {
    /// A call on account of the request that is answered just now, if one is.
    pub fn begin(stage: Stage, host: &'a P) -> Self {
        let watch = CURRENT.with_borrow(Clone::clone);
        if let Some(watch) = &watch {
            let calls = watch.calls(stage);
            if calls.under_way.replace(calls.under_way.get() + 1) == 0 {
                calls.since.set(Some(host.instant()));
            }
        }
        Self { watch, stage, host }
    }
}

impl<P: Platform> Drop for Call<'_, P> {
    fn drop(&mut self) {
        let Some(watch) = &self.watch else { return };
        let calls = watch.calls(self.stage);
        if calls.under_way.replace(calls.under_way.get() - 1) == 1 {
            calls.end(self.host.instant());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use futures_util::FutureExt;
    use futures_util::future::join;

    use super::*;
    use crate::platform::test_host::TestHost;

    fn pass(host: &TestHost, milliseconds: u64) {
        let passed = host.passed.get() + Duration::from_millis(milliseconds);
        host.passed.set(passed);
    }

    /// Waits for so many turns.
    async fn turns(mut number: u32) {
        poll_fn(|_| match number {
            0 => Poll::Ready(()),
            _ => {
                number -= 1;
                Poll::Pending
            }
        })
        .await;
    }

    async fn call(stage: Stage, host: &TestHost, number: u32) {
        let _call = Call::begin(stage, host);
        turns(number).await;
    }

    #[test]
    fn each_stage_has_the_time_of_its_calls_and_the_total_has_all() {
        let host = TestHost::default();
        let answer = async {
            pass(&host, 1);
            {
                let _call = Call::begin(Stage::Store, &host);
                pass(&host, 20);
            }
            pass(&host, 3);
            {
                let _call = Call::begin(Stage::Requests, &host);
                pass(&host, 400);
            }
            {
                let _call = Call::begin(Stage::Store, &host);
                pass(&host, 30);
            }
            let stages = Stages::take(&host);
            // The next decision in the same request has what came after this one.
            pass(&host, 5);
            (stages, Stages::take(&host))
        };
        let (first, second) = Stages::run(&host, answer).now_or_never().unwrap();
        assert_eq!(
            serde_json::to_value(first).unwrap(),
            serde_json::json!({"store": 50_000, "requests": 400_000, "total": 454_000})
        );
        assert_eq!(
            serde_json::to_value(second).unwrap(),
            serde_json::json!({"total": 5_000})
        );
        assert_eq!(Stages::take(&host), None);
    }

    #[test]
    fn calls_at_the_same_time_count_once() {
        let host = TestHost::default();
        let answer = async {
            join(
                call(Stage::Variables, &host, 1),
                call(Stage::Variables, &host, 3),
            )
            .await;
            Stages::take(&host)
        };
        let mut answer = Box::pin(Stages::run(&host, answer));
        for _ in 0..3 {
            assert!((&mut answer).now_or_never().is_none());
            pass(&host, 10);
        }
        let stages = answer.now_or_never().unwrap().unwrap();
        assert_eq!((stages.variables, stages.total), (Some(30_000), 30_000));
        // At the beginning, around both calls, and at the end.
        assert_eq!(host.clock_reads.get(), 4);
    }

    #[test]
    fn two_requests_in_turns_keep_their_stages() {
        let host = TestHost::default();
        let answer = |stage| {
            let host = &host;
            Stages::run(host, async move {
                call(stage, host, 2).await;
                Stages::take(host)
            })
        };
        let mut one = Box::pin(answer(Stage::Store));
        assert!((&mut one).now_or_never().is_none());
        pass(&host, 10);
        let mut two = Box::pin(answer(Stage::Requests));
        assert!((&mut two).now_or_never().is_none());
        assert!((&mut one).now_or_never().is_none());
        pass(&host, 100);
        let one = one.now_or_never().unwrap().unwrap();
        assert_eq!((one.store, one.requests), (Some(110_000), None));
        assert!((&mut two).now_or_never().is_none());
        pass(&host, 1_000);
        let two = two.now_or_never().unwrap().unwrap();
        assert_eq!((two.store, two.requests), (None, Some(1_100_000)));
        assert_eq!(two.total, 1_100_000);
    }

    #[test]
    fn a_call_that_is_given_up_has_ended_and_one_under_way_counts_until_now() {
        let host = TestHost::default();
        let answer = async {
            {
                let mut given_up = Box::pin(call(Stage::Store, &host, 9));
                assert!((&mut given_up).now_or_never().is_none());
                pass(&host, 10);
            }
            pass(&host, 100);
            let _call = Call::begin(Stage::Requests, &host);
            pass(&host, 1_000);
            let first = Stages::take(&host).unwrap();
            pass(&host, 2_000);
            (first, Stages::take(&host).unwrap())
        };
        let (first, second) = Stages::run(&host, answer).now_or_never().unwrap();
        assert_eq!(
            (first.store, first.requests),
            (Some(10_000), Some(1_000_000))
        );
        assert_eq!((second.store, second.requests), (None, Some(2_000_000)));
    }
}
