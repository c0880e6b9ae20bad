//! `GET /fairplay/certificate[/{name}]`: the application certificate, DER.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::Reply;
use super::problem::Problem;
use crate::error::Code;
use crate::licence::{Error, Licensing};
use crate::platform::Platform;

pub async fn reply<P: Platform>(
    licensing: &Licensing<P>,
    name: Option<&str>,
) -> Result<Reply, Problem> {
    let credentials = licensing
        .credentials()
        .await
        .map_err(Error::from)?
        .ok_or(Error::FairplayOff)?;
    let credential = credentials
        .named(name)
        .ok_or_else(|| Problem::new(Code::ROUTE_NOT_FOUND, "no credential has this name"))?;
    let mut reply = super::reply(
        StatusCode::OK,
        "application/pkix-cert",
        credential.certificate.der.clone(),
    );
    reply.headers_mut().insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    Ok(reply)
}
