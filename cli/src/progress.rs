//! What a person at a terminal sees while something takes long.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

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
