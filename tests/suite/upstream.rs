//! Deployments that ask servers, issuers and back ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use keylet::platform::Error;
use keylet::service::Service;
use keylet_cli::built_in;
use keylet_cli::device::{Licence, SpcOptions};
use keylet_cli::jwt::Signer;
use keylet_host::{Options, Provided, Server, StoreChoice, World};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

pub use keylet_e2e::upstream::{Reply, Upstream};

use crate::support::{Answer, Native, get, run, send, spc, variables_with};

/// The worlds that have a store, and a list of where requests may go.
pub const SPINS: [World; 2] = [World::Wasip2, World::Wasip3];

/// KID of the key `movie`.
pub const KID: &str = "339C45B5-FB6D-4BD9-994C-EABD9D41C95B";

/// Starts a server on the component for a world, which may send requests to these origins.
pub fn serve_beside(world: World, variables: &Provided, origins: &[String]) -> Server {
    serve_on(world, variables, StoreChoice::Memory, origins)
}

/// The same on a store.
pub fn serve_on(
    world: World,
    variables: &Provided,
    store: StoreChoice,
    origins: &[String],
) -> Server {
    let mut application = built_in(world, variables.clone()).unwrap();
    application.manifest.component.allowed_outbound_hosts = origins.to_vec();
    let options = Options {
        store,
        ..keylet_e2e::quiet()
    };
    Server::start(application, &options).unwrap()
}

/// The fixture variables with these keys, `movie`, `other`, and `hd` of that track, and with changes.
pub fn variables(changes: &[(&str, &str)]) -> Provided {
    let key = "00112233445566778899aabbccddeeff";
    let records = json!([
        {"id": "movie", "kid": KID, "aliases": ["film"], "stream": "stream", "title": "title",
         "key": key, "iv": key},
        {"id": "other", "kid": "0F0E0D0C-0B0A-0908-0706-050403020100", "key": key, "iv": key},
        {"id": "hd", "track": "hd", "key": key, "iv": key},
    ]);
    let mut variables = variables_with(&[("content_keys", &records.to_string())]);
    let changes = changes.iter();
    variables.extend(changes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

/// Those with one variable: policies.
pub fn policies(options: &Value) -> Provided {
    variables(&[("policies", &options.to_string())])
}

/// Claims of the fixture issuer for the fixture audience, with some changed, and those that are null
/// left out.
pub fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.example",
        "aud": "keylet",
        "sub": "viewer-1",
        "exp": 4_000_000_000_u64,
    });
    let members = claims.as_object_mut().unwrap();
    let Value::Object(changes) = changes else {
        panic!("changes are an object")
    };
    members.extend(changes);
    members.retain(|_, value| !value.is_null());
    claims
}

/// Claims that entitle to every key.
pub fn entitled() -> Value {
    claims(json!({"entitlements": [{"keys": "*"}]}))
}

pub fn signed(signer: &Signer, kid: Option<&str>, claims: &Value) -> String {
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    signer.token(kid, claims, &mut rng).unwrap()
}

/// A JWKS of signers by key id.
pub fn jwks(signers: &[(&str, &Signer)]) -> Value {
    let keys: Vec<Value> = signers
        .iter()
        .map(|(kid, signer)| signer.jwk(kid).unwrap())
        .collect();
    json!({"keys": keys})
}

/// Why there is no licence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub detail: Option<String>,
}

impl Refusal {
    fn from_answer(status: u16, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(problem["status"], status);
        Self {
            status,
            code: problem["code"].as_str().unwrap().to_owned(),
            detail: problem["detail"].as_str().map(ToOwned::to_owned),
        }
    }
}

/// `ok`, or the code of a refusal.
pub fn code<T>(result: Result<T, Refusal>) -> String {
    result.map_or_else(|refusal| refusal.code, |_| "ok".to_owned())
}

/// Asks a server for a licence.
pub fn licence(
    server: &Server,
    token: Option<&str>,
    options: &SpcOptions,
) -> Result<Licence, Refusal> {
    let (spc, secrets) = spc(options);
    let answer = post(server, "/fairplay", token, &spc);
    match answer.status {
        200 => Ok(Licence::open(&answer.body, &secrets).unwrap()),
        status => Err(Refusal::from_answer(status, &answer.body)),
    }
}

pub fn post(server: &Server, path: &str, token: Option<&str>, body: &[u8]) -> Answer {
    let mut request = Request::post("/");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    send(server, request, path, body)
}

/// Asks a server for a token.
pub fn minted(server: &Server, bearer: Option<&str>, wanted: &Value) -> Result<String, Refusal> {
    let answer = post(server, "/tokens", bearer, wanted.to_string().as_bytes());
    match answer.status {
        200 => Ok(answer.json()["token"].as_str().unwrap().to_owned()),
        status => Err(Refusal::from_answer(status, &answer.body)),
    }
}

/// A deployment in this process, for what needs its clock, its log or its store.
pub struct Deployment {
    pub platform: Native,
    service: Service<Native>,
    sent: Rc<RefCell<Vec<Request<Vec<u8>>>>>,
}

impl Deployment {
    /// One that may send no request.
    pub fn new(variables: Provided) -> Self {
        Self::on(Native::new(variables))
    }

    pub fn on(platform: Native) -> Self {
        Self {
            service: Service::new(platform.clone()),
            platform,
            sent: Rc::default(),
        }
    }

    /// Sets the answers to its requests; an incomplete answer is an error.
    pub fn answer(&self, answer: impl Fn(&Request<Vec<u8>>) -> Reply + 'static) {
        let sent = Rc::clone(&self.sent);
        *self.platform.peer.borrow_mut() = Box::new(move |request| {
            let authority = request.uri().authority().unwrap().to_string();
            let reply = answer(&request);
            sent.borrow_mut().push(request);
            match reply {
                Reply::Whole(reply) => Ok(reply),
                _ => Err(Error::Outbound {
                    authority,
                    reason: "as the test wants it".to_owned(),
                }),
            }
        });
    }

    /// What it sent so far, which is forgotten.
    pub fn take(&self) -> Vec<Request<Vec<u8>>> {
        self.sent.take()
    }

    /// How many requests it sent.
    pub fn count(&self) -> usize {
        self.sent.borrow().len()
    }

    /// Goes on with a fresh instance on the same host.
    pub fn next_instance(&mut self) {
        self.service = Service::new(self.platform.clone());
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: u64) {
        self.platform.now.set(self.platform.now.get() + seconds);
    }

    pub fn handle(&self, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
        run(self.service.handle(request))
    }

    /// The answer to a request with a token.
    pub fn post(&self, path: &str, token: Option<&str>, body: &[u8]) -> Response<Vec<u8>> {
        let mut request = Request::post(path).header("x-request-id", "request-1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.handle(request.body(body.to_vec()).unwrap())
    }

    /// Asks for a licence.
    pub fn licence(&self, token: Option<&str>, options: &SpcOptions) -> Result<Licence, Refusal> {
        let (spc, secrets) = spc(options);
        let reply = self.post("/fairplay", token, &spc);
        match reply.status().as_u16() {
            200 => Ok(Licence::open(reply.body(), &secrets).unwrap()),
            status => Err(Refusal::from_answer(status, reply.body())),
        }
    }

    /// Asks for a token.
    pub fn minted(&self, bearer: Option<&str>, wanted: &Value) -> Result<String, Refusal> {
        let reply = self.post("/tokens", bearer, wanted.to_string().as_bytes());
        let status = reply.status().as_u16();
        if status != 200 {
            return Err(Refusal::from_answer(status, reply.body()));
        }
        let minted: Value = serde_json::from_slice(reply.body()).unwrap();
        Ok(minted["token"].as_str().unwrap().to_owned())
    }

    /// The last record of the audit.
    pub fn audit(&self) -> Value {
        serde_json::from_str(self.platform.log.borrow().last().unwrap()).unwrap()
    }
}

/// What any licence service may do wrong, as a path of its URL, and what the player is told.
pub const SERVICE_FAILURES: [(&str, u16, &str); 8] = [
    ("/hangs", 504, "license_service_unavailable"),
    ("/trickles", 504, "license_service_unavailable"),
    ("/dies", 504, "license_service_unavailable"),
    ("/broken-off", 504, "license_service_unavailable"),
    ("/large", 502, "license_service_answer"),
    ("/gzip", 502, "license_service_answer"),
    ("/moved", 502, "license_service_answer"),
    ("/html", 502, "license_service_answer"),
];

/// A licence service that fails as the path of its URL says: in each way of [`SERVICE_FAILURES`], `large` being an answer of
/// its own with these many bytes of padding, and in those that `more` has.
pub fn failing_service(large: fn(&str) -> Reply, more: fn(&str) -> Option<Reply>) -> Upstream {
    let elsewhere = Upstream::start(|_| panic!("a redirect was followed"));
    let target = elsewhere.url("/");
    Upstream::start(move |request| match request.uri().path() {
        "/hangs" => Reply::Silence,
        "/trickles" => Reply::Trickle,
        "/dies" => Reply::Bytes(Vec::new()),
        "/broken-off" => Reply::Bytes(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: 9999\r\n\r\n<".to_vec(),
        ),
        "/large" => large(&"x".repeat(1 << 20)),
        "/gzip" => {
            let empty = [
                0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ];
            let reply = Response::builder()
                .header("content-type", "text/xml")
                .header("content-encoding", "gzip");
            Reply::Whole(reply.body(empty.to_vec()).unwrap())
        }
        "/moved" => Reply::status(307).with("location", &target),
        "/html" => Reply::text("<html>private</html>"),
        path => more(path).unwrap_or_else(|| panic!("{path}")),
    })
}

/// Asks servers, each before a licence service that fails in one way, for a licence: at once, since some hang. No player
/// waits long, whatever is refused can be read across origins, and nothing of the service is shown.
pub fn expect_failures(
    service: &Upstream,
    cases: &[(&str, u16, &str)],
    variables: impl Fn(&str) -> Provided + Sync,
    ask: impl Fn(&Server) -> Answer + Sync,
    origin: &str,
) {
    for world in SPINS {
        std::thread::scope(|scope| {
            for (path, status, expected) in cases {
                let (variables, ask) = (&variables, &ask);
                scope.spawn(move || {
                    let variables = variables(&service.url(path));
                    let origins = [service.origin()];
                    let server = serve_on(world, &variables, StoreChoice::Memory, &origins);
                    assert_eq!(get(&server, "/healthz").status, 200);
                    let started = Instant::now();
                    let answer = ask(&server);
                    let took = started.elapsed();
                    assert!(took < Duration::from_secs(8), "{world:?} {path} {took:?}");
                    let code = answer.header("x-keylet-code").unwrap_or("ok");
                    assert_eq!(
                        (answer.status, code),
                        (*status, *expected),
                        "{world:?} {path}"
                    );
                    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    assert!(!body.contains("private"), "{path} {body}");
                    server.stop();
                });
            }
        });
    }
}
