//! The WASI 0.2 component: a host request becomes [`http::Request`], Spin's variables become
//! [`Platform`]. Nothing else knows the Spin SDK.

use std::time::SystemTime;

use http::{Request, Response};
use spin_sdk::http::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};
use spin_sdk::variables;
use zeroize::Zeroizing;

use crate::platform::{Error, Platform};
use crate::service::{MAX_BODY, Service};

struct Spin;

impl Platform for Spin {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        match variables::get(name) {
            Ok(value) => Ok((!value.is_empty()).then(|| Zeroizing::new(value))),
            Err(variables::Error::Undefined(_)) => Ok(None),
            Err(_) => Err(Error::Variables {
                variable: name.to_owned(),
            }),
        }
    }

    fn now(&self) -> u64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "WASI's random source cannot fail; without one no licence may be made"
        )]
        getrandom::fill(buffer).expect("the host has a random source");
    }

    fn log(&self, line: &str) {
        println!("{line}");
    }
}

#[spin_sdk::http_component]
async fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
    let service = Service::new(Spin);
    let response = service.handle(read(request).await).await;
    send(response, outparam).await;
}

/// Reads the request, and of its body one byte more than the service takes at most.
async fn read(request: IncomingRequest) -> Request<Vec<u8>> {
    use futures::TryStreamExt;

    let mut builder = Request::builder()
        .method(request.method().to_string().as_str())
        .uri(request.path_with_query().unwrap_or_else(|| "/".to_owned()));
    for (name, value) in request.headers().entries() {
        builder = builder.header(name, value);
    }
    let mut body = Vec::new();
    let mut stream = std::pin::pin!(request.into_body_stream());
    while let Ok(Some(chunk)) = stream.try_next().await {
        body.extend(chunk);
        if body.len() > MAX_BODY {
            body.truncate(MAX_BODY + 1);
            break;
        }
    }
    // A host hands over only what HTTP allows, which is what the builder takes.
    builder.body(body).unwrap_or_default()
}

async fn send(response: Response<Vec<u8>>, outparam: ResponseOutparam) {
    let (parts, body) = response.into_parts();
    let headers = Fields::new();
    for (name, value) in &parts.headers {
        let _ = headers.append(name.as_str(), value.as_bytes());
    }
    let reply = OutgoingResponse::new(headers);
    let _ = reply.set_status_code(parts.status.as_u16());
    // A client that has gone away needs no answer.
    let _ = outparam.set_with_body(reply, body).await;
}
