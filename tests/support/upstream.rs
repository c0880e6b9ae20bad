//! Servers that a deployment under test asks.

#![expect(
    clippy::missing_panics_doc,
    reason = "a test ends where its expectation does"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use serde_json::Value;

/// How a request is answered.
pub enum Reply {
    /// With this.
    Whole(Response<Vec<u8>>),
    /// With these bytes, whether or not they are HTTP, and the end of the connection.
    Bytes(Vec<u8>),
    /// With the beginning of an answer, and a byte every half second.
    Trickle,
    /// Not at all.
    Silence,
}

impl Reply {
    /// 200 with a JSON document.
    pub fn json(document: &Value) -> Self {
        Self::text(&document.to_string())
    }

    /// 200 with any text.
    pub fn text(body: &str) -> Self {
        Self::Whole(Response::new(body.as_bytes().to_vec()))
    }

    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        let reply = Response::builder().status(status);
        Self::Whole(reply.body(Vec::new()).unwrap())
    }

    /// The same with another header.
    pub fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Whole(mut reply) => {
                reply.headers_mut().append(name, value.parse().unwrap());
                Self::Whole(reply)
            }
            other => other,
        }
    }

    fn write(self, stream: &mut TcpStream) -> std::io::Result<()> {
        match self {
            Self::Whole(reply) => {
                let mut head = format!("HTTP/1.1 {} \r\n", reply.status().as_u16());
                for (name, value) in reply.headers() {
                    head += &format!("{name}: {}\r\n", value.to_str().unwrap());
                }
                head += &format!("content-length: {}\r\n", reply.body().len());
                stream.write_all((head + "connection: close\r\n\r\n").as_bytes())?;
                stream.write_all(reply.body())
            }
            Self::Bytes(bytes) => stream.write_all(&bytes),
            Self::Trickle => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
                loop {
                    std::thread::sleep(Duration::from_millis(500));
                    stream.write_all(b" ")?;
                    stream.flush()?;
                }
            }
            Self::Silence => {
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                // Until the other side has had enough.
                stream.read(&mut [0]).map(drop)
            }
        }
    }
}

type Answering = Arc<dyn Fn(&Request<Vec<u8>>) -> Reply + Send + Sync>;

/// A server on loopback that gives the answers that are set, and keeps the requests.
pub struct Upstream {
    address: SocketAddr,
    answering: Arc<Mutex<Answering>>,
    requests: Arc<Mutex<Vec<Request<Vec<u8>>>>>,
}

impl Upstream {
    /// Starts one.
    pub fn start(answer: impl Fn(&Request<Vec<u8>>) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            answering: Arc::new(Mutex::new(Arc::new(answer))),
            requests: Arc::default(),
        };
        let (answering, requests) = (Arc::clone(&this.answering), Arc::clone(&this.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (answering, requests) = (Arc::clone(&answering), Arc::clone(&requests));
                std::thread::spawn(move || {
                    let Some(request) = read(&mut stream) else {
                        return;
                    };
                    requests.lock().unwrap().push(request.clone());
                    let answer = Arc::clone(&*answering.lock().unwrap());
                    // The other side may close whenever it has had enough.
                    let _ = answer(&request).write(&mut stream);
                });
            }
        });
        this
    }

    /// Answers in another way from now on.
    pub fn answer(&self, answer: impl Fn(&Request<Vec<u8>>) -> Reply + Send + Sync + 'static) {
        *self.answering.lock().unwrap() = Arc::new(answer);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a path there.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it was sent so far, which is forgotten.
    pub fn take(&self) -> Vec<Request<Vec<u8>>> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// How many requests it was sent.
    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

/// Reads a request with a length; `None` when it ends before that.
fn read(stream: &mut TcpStream) -> Option<Request<Vec<u8>>> {
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    let mut more = |received: &mut Vec<u8>| match stream.read(&mut piece) {
        Ok(read) if read > 0 => {
            received.extend_from_slice(&piece[..read]);
            Some(())
        }
        _ => None,
    };
    let end = loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        more(&mut received)?;
    };
    let head = std::str::from_utf8(&received[..end]).unwrap().to_owned();
    let mut lines = head.split("\r\n");
    let mut line = lines.next().unwrap().split(' ');
    let mut request = Request::builder()
        .method(line.next().unwrap())
        .uri(line.next().unwrap());
    for (name, value) in lines.map(|line| line.split_once(':').unwrap()) {
        request = request.header(name, value.trim());
    }
    let mut request = request.body(Vec::new()).unwrap();
    let length = request.headers().get("content-length");
    let length = length.map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    while received.len() < end + 4 + length {
        more(&mut received)?;
    }
    *request.body_mut() = received.split_off(end + 4);
    Some(request)
}
