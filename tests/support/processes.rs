//! Directories, ports and processes of a test's own, a Redis among them.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keylet_host::StoreChoice;

/// A directory that is removed at the end.
pub struct Directory(pub PathBuf);

impl Directory {
    /// An empty directory below the system's temporary one: another one for each call, also under one name.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("keylet-{name}-{process}-{number}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a text into a file, which is there as a whole at any moment.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn replace(&self, name: &str, text: &str) {
        let next = self.file(&format!("{name}.next"));
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, self.file(name)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that does not outlive its test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
///
/// # Panics
/// When the system has none.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits until something holds.
///
/// # Panics
/// After two minutes.
pub fn wait_for(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come to hold");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A Redis server, where there is one on this machine.
pub fn redis(test: &str) -> Option<(Process, StoreChoice)> {
    let port = free_port();
    let Some(server) = redis_at(port) else {
        crate::skip("redis", test, "there is no redis-server");
        return None;
    };
    Some((server, at(port)))
}

/// A Redis server at a port; `None` when there is no `redis-server` to start.
pub fn redis_at(port: u16) -> Option<Process> {
    redis_with(port, &["--appendonly", "no"])
}

/// The same with arguments of its own, which may give the port another meaning.
pub fn redis_with(port: u16, arguments: &[&str]) -> Option<Process> {
    let server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", ""])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn();
    let server = Process(server.ok()?);
    wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(server)
}

/// The store on the Redis server at a port.
pub fn at(port: u16) -> StoreChoice {
    StoreChoice::Redis(format!("redis://127.0.0.1:{port}"))
}
