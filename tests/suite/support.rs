//! A server on the built component, a client for it, and a platform without a host.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use keylet::fairplay::spc::Version;
use keylet::platform::{Error, Platform};
use keylet::sweep::Key;
use keylet_cli::built_in;
use keylet_cli::device::{Secrets, SpcOptions, Wrapping};
use keylet_cli::fixtures::{self, Case, Manifest};
use keylet_host::{Provided, Server, World};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, UnwrapErr};
use zeroize::Zeroizing;

/// Every world. Failures print its name.
pub const WORLDS: [World; 3] = [World::Wasip2, World::Wasip3, World::Wasi];

/// The servers with the fixture variables, one for each world, shared by every test.
static FIXTURE_SERVERS: LazyLock<[Server; 3]> =
    LazyLock::new(|| WORLDS.map(|world| serve_in(world, &fixtures::variables())));

/// The fixture server of the world that every Spin has.
pub static FIXTURE_SERVER: LazyLock<&'static Server> = LazyLock::new(|| &FIXTURE_SERVERS[0]);

/// Holds a promise against the fixture server of every world.
pub fn in_every_world(promise: impl Fn(&Server)) {
    for (world, server) in WORLDS.iter().zip(FIXTURE_SERVERS.iter()) {
        // Shown only when the promise does not hold.
        println!("in the world {world:?}:");
        promise(server);
    }
}

/// Starts a server on the component of WASI 0.2 that was built with this workspace.
pub fn serve(variables: &Provided) -> Server {
    serve_in(World::Wasip2, variables)
}

/// Starts a server on the component for a world.
pub fn serve_in(world: World, variables: &Provided) -> Server {
    let application = built_in(world, variables.clone()).unwrap();
    Server::start(application, &keylet_e2e::quiet()).unwrap()
}

/// The fixture variables with some of them changed.
pub fn variables_with(changes: &[(&str, &str)]) -> Provided {
    let mut variables = fixtures::variables();
    variables.extend(
        changes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    variables
}

pub fn fixture_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
}

pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixture_path(name)).unwrap()
}

/// The folder with the inputs of public bug reports, beside the vectors; without it the test says that it does
/// nothing.
pub fn faults(test: &str) -> Option<PathBuf> {
    let vectors = std::env::var_os("FPS_SDK_VECTORS").map(PathBuf::from);
    let folder = vectors.map(|vectors| vectors.join("../faults"));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        keylet_e2e::skip("vectors", test, "there is no folder of faults");
    }
    folder
}

pub fn manifest() -> Manifest {
    serde_json::from_slice(&fixture("manifest.json")).unwrap()
}

/// A fixture token by name.
pub fn token(name: &str) -> String {
    let tokens: serde_json::Value = serde_json::from_slice(&fixture("tokens.json")).unwrap();
    tokens[name].as_str().unwrap().to_owned()
}

/// The request of a case: method and headers, path, body.
pub fn request(case: &Case) -> (http::request::Builder, String, Vec<u8>) {
    let token = case.token.as_deref().map(token).unwrap_or_default();
    let filled = |text: &str| text.replace("{token}", &token);
    let mut request = http::Request::builder()
        .method(case.method.as_deref().unwrap_or("POST"))
        .header("content-type", &case.content_type);
    match &case.headers {
        Some(headers) => {
            for (name, value) in headers {
                request = request.header(name, filled(value));
            }
        }
        None if !token.is_empty() => {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        None => {}
    }
    let body = case.body.as_deref().map(fixture).unwrap_or_default();
    let body = String::from_utf8(body)
        .map_or_else(std::string::FromUtf8Error::into_bytes, |text| {
            filled(&text).into_bytes()
        });
    (request, filled(&case.path), body)
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends a request; no status is an error.
pub fn send(server: &Server, request: http::request::Builder, path: &str, body: &[u8]) -> Answer {
    send_to(&server.url(), request, path, body)
}

/// The same to a server by its base URL.
pub fn send_to(url: &str, request: http::request::Builder, path: &str, body: &[u8]) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .build()
        .into();
    let request = request
        .uri(format!("{url}{path}"))
        .body(body.to_vec())
        .unwrap();
    let (parts, mut body) = agent.run(request).unwrap().into_parts();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.read_to_vec().unwrap(),
    }
}

pub fn get(server: &Server, path: &str) -> Answer {
    send(server, http::Request::get("/"), path, &[])
}

/// An SPC of version 1 for the fixture certificate, and what opens its CKC.
pub fn spc(options: &SpcOptions) -> (Vec<u8>, Secrets) {
    let mut rng = ChaCha20Rng::try_from_rng(&mut UnwrapErr(getrandom::SysRng)).unwrap();
    let version = Wrapping::Version(Version::V1);
    let device = fixtures::sdk4().unwrap();
    device.spc(version, options, &mut rng).unwrap()
}

/// Posts an SPC with the fixture token for every key.
pub fn post_spc(server: &Server, spc: &[u8]) -> Answer {
    post_spc_with(server, spc, "hs256")
}

/// Posts an SPC with a fixture token by its name.
pub fn post_spc_with(server: &Server, spc: &[u8], name: &str) -> Answer {
    let request = http::Request::post("/")
        .header("authorization", format!("Bearer {}", token(name)))
        .header("content-type", "application/octet-stream");
    send(server, request, "/fairplay", spc)
}

/// What the store has, or why it fails.
type Stored = Result<BTreeMap<String, Vec<u8>>, Error>;

/// What answers the requests that [`Native`] sends.
pub type Peer = Box<dyn FnMut(http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, Error>>;

/// A platform in this process, for what takes too many requests to go through a host, and for what
/// no host can be made to do. A clone shares all but the variables, as instances on one host do.
#[derive(Clone)]
pub struct Native {
    pub variables: Provided,
    /// Seconds since 1970.
    pub now: Rc<Cell<u64>>,
    pub store: Rc<RefCell<Stored>>,
    /// How many operations the store still does before the host dies; `None`: it lives.
    pub operations: Rc<Cell<Option<usize>>>,
    /// The lines that it logged.
    pub log: Rc<RefCell<Vec<String>>>,
    /// Nobody, unless a test says so.
    pub peer: Rc<RefCell<Peer>>,
}

impl Native {
    /// A platform with an empty store.
    pub fn new(variables: Provided) -> Self {
        Self {
            variables,
            now: Rc::new(Cell::new(1_800_000_000)),
            store: Rc::new(RefCell::new(Ok(BTreeMap::new()))),
            operations: Rc::default(),
            log: Rc::default(),
            peer: Rc::new(RefCell::new(Box::new(|request| {
                panic!("a request to {}, which nobody answers", request.uri())
            }))),
        }
    }

    /// A platform whose store fails.
    pub fn with_broken_store(variables: Provided) -> Self {
        Self {
            store: Rc::new(RefCell::new(Err(Error::Store(
                "as the test wants it".to_owned(),
            )))),
            ..Self::new(variables)
        }
    }

    fn values<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> Result<T, Error> {
        match self.operations.get() {
            None => {}
            Some(0) => return Err(Error::Store("the host has died".to_owned())),
            Some(left) => self.operations.set(Some(left - 1)),
        }
        self.store
            .borrow_mut()
            .as_mut()
            .map(act)
            .map_err(|error| error.clone())
    }
}

impl Platform for Native {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        Ok(self
            .variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
            .map(Zeroizing::new))
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        UnwrapErr(getrandom::SysRng).fill_bytes(buffer);
    }

    fn log(&self, line: &str) {
        self.log.borrow_mut().push(line.to_owned());
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.values(|values| values.get(key).cloned())
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        assert_known(key);
        self.values(|values| drop(values.insert(key.to_owned(), value.to_vec())))
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.values(|values| drop(values.remove(key)))
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.values(|values| values.keys().cloned().collect())
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        assert_known(key);
        self.values(|values| {
            let value = values.entry(key.to_owned()).or_insert_with(|| vec![0; 8]);
            let sum = i64::from_le_bytes(value.as_slice().try_into().unwrap()) + delta;
            *value = sum.to_le_bytes().to_vec();
            sum
        })
    }

    async fn sleep(&self, duration: std::time::Duration) {
        std::thread::sleep(duration);
    }

    async fn send(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, Error> {
        (self.peer.borrow_mut())(request)
    }
}

/// Whatever the server writes, a sweep knows: a family of keys without a row would never be swept.
fn assert_known(key: &str) {
    assert!(
        Key::of(key).is_some(),
        "{key} is of no family in keylet::sweep"
    );
}

/// Runs a future that never waits, as those on [`Native`] do.
pub fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future on the native platform waits"),
    }
}

/// Waits for the next turn of whoever polls.
pub async fn turn() {
    let mut has_waited = false;
    let once = |_: &mut Context<'_>| match std::mem::replace(&mut has_waited, true) {
        false => Poll::Pending,
        true => Poll::Ready(()),
    };
    poll_fn(once).await;
}

/// Numbers of a sequence that begins anew with each seed.
pub struct Chance(pub u64);

impl Chance {
    /// A number from 0 to below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// A place in a list of this length.
    pub fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length.try_into().unwrap())).unwrap()
    }
}

/// How many altered messages a test tries: `KEYLET_ROUNDS`, or what the gate has time for.
pub fn rounds() -> u64 {
    std::env::var("KEYLET_ROUNDS").map_or(20_000, |rounds| rounds.parse().unwrap())
}
