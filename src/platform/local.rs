//! What belongs to the request that is answered just now.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::thread::LocalKey;

/// Where the value of the request is that is answered just now; `None` outside of requests.
pub(super) type Current<T> = LocalKey<RefCell<Option<T>>>;

/// Runs a future, which finds this value there.
///
/// An instance may answer several requests in turns, so the value is set for each turn alone.
pub(super) async fn run_with<T, F: Future>(
    current: &'static Current<T>,
    value: Option<T>,
    future: F,
) -> F::Output {
    let mut value = value;
    let mut future = pin!(future);
    poll_fn(move |context| {
        let outer = current.replace(value.take());
        let polled = future.as_mut().poll(context);
        value = current.replace(outer);
        polled
    })
    .await
}
