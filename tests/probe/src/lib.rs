//! A component that answers each request with one call of [`Platform`], so that tests can hold a
//! host to its promises over HTTP. Each crate below `hosts/` makes one of its own platform, as an
//! example; [`application`] builds it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /variable?name=…` | the value; 404 when it is not set |
//! | `GET /get?key=…` | the value; 404 when there is none |
//! | `POST /set?key=…` | sets the key to the body |
//! | `POST /delete?key=…` | |
//! | `GET /keys` | a JSON list |
//! | `POST /increment?key=…&delta=…` | the sum |
//! | `POST /send?method=…&uri=…` | what the other server answers to the body |
//!
//! What the host does not provide is a 503 with the reason.

#![forbid(unsafe_code)]

#[cfg(not(target_family = "wasm"))]
mod application;

#[cfg(not(target_family = "wasm"))]
pub use application::{MANIFEST, application, component};

use http::{Request, Response, StatusCode};
use keylet::platform::{Error, Platform};

type Answer = Result<Option<Vec<u8>>, Error>;

/// Answers a request.
pub async fn handle(platform: &impl Platform, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let argument = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let key = argument("key");
    let answer: Answer = match parts.uri.path() {
        "/variable" => platform
            .variable(&argument("name"))
            .await
            .map(|value| value.map(|value| value.as_bytes().to_vec())),
        "/get" => platform.get(&key).await,
        "/set" => platform.set(&key, &body).await.map(|()| Some(Vec::new())),
        "/delete" => platform.delete(&key).await.map(|()| Some(Vec::new())),
        "/keys" => platform
            .keys()
            .await
            .map(|keys| Some(serde_json::json!(keys).to_string().into_bytes())),
        "/increment" => platform
            .increment(&key, argument("delta").parse().unwrap_or(1))
            .await
            .map(|sum| Some(sum.to_string().into_bytes())),
        "/send" => {
            let request = Request::builder()
                .method(argument("method").as_str())
                .uri(argument("uri"))
                .body(body);
            return match request {
                Ok(request) => match platform.send(request).await {
                    Ok(response) => response,
                    Err(error) => refusal(&error),
                },
                Err(_) => whole(StatusCode::BAD_REQUEST, Vec::new()),
            };
        }
        _ => Ok(None),
    };
    match answer {
        Ok(Some(value)) => whole(StatusCode::OK, value),
        Ok(None) => whole(StatusCode::NOT_FOUND, Vec::new()),
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &Error) -> Response<Vec<u8>> {
    whole(StatusCode::SERVICE_UNAVAILABLE, error.to_string().into())
}

fn whole(status: StatusCode, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
