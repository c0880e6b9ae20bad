//! What a person at a terminal sees while something takes long.

use std::io::{IsTerminal, Stderr, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::terminal;

/// What is over before this needs no word.
const SOON: Duration = Duration::from_secs(1);

/// Does something, and says on standard error what is waited for once it has taken a second, if that is
/// a terminal.
pub fn while_waiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let mut terminal = terminal::control();
    if !terminal.is_terminal() {
        return work();
    }
    let (done, waits) = mpsc::channel::<()>();
    let what = what.to_owned();
    let shown = std::thread::spawn(move || {
        if waits.recv_timeout(SOON) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let _ = write!(terminal, "{what} …");
        let _ = terminal.flush();
        let _ = waits.recv();
        // The line is taken away again.
        let _ = write!(terminal, "\r\x1b[K");
        let _ = terminal.flush();
    });
    let result = work();
    drop(done);
    let _ = shown.join();
    result
}

/// How often a counter is drawn.
const DRAWN: Duration = Duration::from_millis(200);

/// How far something is that is counted: a line on standard error once it has taken a second, if that is a terminal.
pub struct Counter {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    started: Instant,
    drawn: Option<Instant>,
    /// `None` where nobody looks.
    terminal: Option<Stderr>,
}

impl Counter {
    /// Nothing is done yet of so many, where their number is known.
    pub fn new(what: &'static str, total: Option<u64>) -> Self {
        let terminal = terminal::control();
        Self {
            what,
            total,
            done: 0,
            started: Instant::now(),
            drawn: None,
            terminal: terminal.is_terminal().then_some(terminal),
        }
    }

    /// So many more are done.
    pub fn add(&mut self, more: u64) {
        self.done = self.done.saturating_add(more);
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        let now = Instant::now();
        let is_due = match self.drawn {
            Some(drawn) => now.duration_since(drawn) >= DRAWN,
            None => now.duration_since(self.started) >= SOON,
        };
        if !is_due {
            return;
        }
        self.drawn = Some(now);
        let elapsed = now.duration_since(self.started).as_millis().max(1);
        let rate = u128::from(self.done) * 1000 / elapsed;
        let of = self.total.map(|total| format!(" of {total}"));
        let (what, done, of) = (self.what, self.done, of.unwrap_or_default());
        let _ = write!(terminal, "\r\x1b[K{what}: {done}{of}, {rate} a second");
        let _ = terminal.flush();
    }
}

/// The line is taken away again.
impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(terminal) = self.terminal.as_mut().filter(|_| self.drawn.is_some()) {
            let _ = write!(terminal, "\r\x1b[K");
            let _ = terminal.flush();
        }
    }
}
