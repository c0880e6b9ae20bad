//! What instances write, the audit trail. Lines are queued, and a thread of its own writes them: an output that is
//! closed or not read stalls no request.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::telemetry::Telemetry;

/// Lines that wait to be written. An audit record has some 800 bytes.
const QUEUE: usize = 8192;

/// The longest line in bytes. A longer one is written in parts.
const LONGEST_LINE: usize = 1 << 16;

enum Message {
    Line(Vec<u8>),
    /// Everything before it is written: say so.
    Flush(SyncSender<()>),
}

/// Where what instances write goes.
#[derive(Clone, Default)]
pub enum AuditTo {
    /// It is dropped.
    #[default]
    Nowhere,
    /// To the standard output of this process.
    StandardOutput,
    /// It is kept, for tests.
    Memory(Kept),
}

/// What was written, for as long as it is not taken.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// What was written so far, which is forgotten.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue of lines before an output.
#[derive(Clone)]
pub struct Output {
    messages: SyncSender<Message>,
    lost: Counter,
}

impl Output {
    /// Begins to write to an output. `lost` counts the lines that could not be written.
    pub fn start(to: impl Write + Send + 'static, lost: Counter) -> Self {
        let (messages, received) = sync_channel(QUEUE);
        let counter = lost.clone();
        std::thread::spawn(move || write(to, &received, &counter));
        Self { messages, lost }
    }

    /// Waits until what is queued is written, or for as long.
    pub fn flush(&self, longest: Duration) {
        let deadline = Instant::now() + longest;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(error) = self.messages.try_send(message) {
            // The queue is full, and is written meanwhile.
            let TrySendError::Full(unsent) = error else {
                return;
            };
            if Instant::now() >= deadline {
                return;
            }
            message = unsent;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    fn send(&self, line: Vec<u8>) {
        match self.messages.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                report(&self.lost, "the output is not read");
            }
        }
    }
}

/// Counts a lost line. It is logged for the first one, and each time that the number has doubled.
fn report(lost: &Counter, reason: &str) {
    let number = lost.inc() + 1;
    if number.is_power_of_two() {
        tracing::error!(lost = number, reason, "audit records are lost");
    }
}

fn write(mut to: impl Write, messages: &Receiver<Message>, lost: &Counter) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Line(line) => {
                if let Err(error) = to.write_all(&line).and_then(|()| to.flush()) {
                    report(lost, &error.to_string());
                }
            }
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// The standard output of instances.
#[derive(Clone)]
pub struct Stdout {
    /// Where lines are written; `None`: nowhere.
    pub output: Option<Output>,
    /// What makes spans of audit lines.
    pub telemetry: Option<Arc<Telemetry>>,
}

impl Stdout {
    fn send(&self, line: Vec<u8>) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.line(&line);
        }
        if let Some(output) = &self.output {
            output.send(line);
        }
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Lines::new(self))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Lines::new(self))
    }
}

/// The output of one instance, which is cut into lines: those of several instances do not mix.
struct Lines {
    output: Stdout,
    begun: Vec<u8>,
}

impl Lines {
    fn new(output: &Stdout) -> Self {
        Self {
            output: output.clone(),
            begun: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") || self.begun.len() > LONGEST_LINE {
                self.output.send(std::mem::take(&mut self.begun));
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            self.output.send(std::mem::take(&mut self.begun));
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LONGEST_LINE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that was closed.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(output: &Output) -> Lines {
        Lines::new(&Stdout {
            output: Some(output.clone()),
            telemetry: None,
        })
    }

    #[test]
    fn lines_of_several_instances_do_not_mix() {
        let written = Kept::default();
        let output = Output::start(written.clone(), Counter::default());
        let (mut one, mut other) = (lines(&output), lines(&output));
        one.push(b"first ");
        other.push(b"second\nthird");
        one.push(b"line\n");
        drop(other);
        output.flush(Duration::from_secs(10));
        assert_eq!(&*written.0.lock().unwrap(), b"second\nfirst line\nthird");
    }

    #[test]
    fn an_output_that_is_not_read_holds_nobody_up_and_its_loss_is_counted() {
        let written = Kept::default();
        let lost = Counter::default();
        let output = Output::start(written.clone(), lost.clone());
        let blocked = written.0.lock().unwrap();
        let mut lines = lines(&output);
        let more = 100;
        for _ in 0..QUEUE + 1 + more {
            lines.push(b"a line\n");
        }
        // One more may be with the thread that writes.
        assert!((more..=more + 1).contains(&usize::try_from(lost.get()).unwrap()));
        drop(blocked);
        output.flush(Duration::from_secs(10));
        assert!(written.0.lock().unwrap().len() >= QUEUE * b"a line\n".len());
    }

    #[test]
    fn an_output_that_was_closed_counts_every_line() {
        let lost = Counter::default();
        let output = Output::start(Closed, lost.clone());
        lines(&output).push(b"one\ntwo\n");
        output.flush(Duration::from_secs(10));
        assert_eq!(lost.get(), 2);
    }
}
