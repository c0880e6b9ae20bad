//! Keys for packagers: SPEKE, CPIX by GET, Widevine's key request, PlayReady's packaging data.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::context::Context;
use super::problem::Problem;
use super::response::{Reply, reply};
use crate::cpix::Scheme;
use crate::encoding;
use crate::error::Code;
use crate::packaging::{
    self, CPIX, Caller, DocumentRequest, PACKAGING_DATA, PackagingServer, SPEKE,
};
use crate::platform::Platform;
use crate::token;

/// The version of SPEKE, in requests and replies. Version 1.0 has none.
const SPEKE_VERSION: HeaderName = HeaderName::from_static("x-speke-version");

/// Who answers, as SPEKE 1.0 and 2.0 name the header.
const USER_AGENTS: [HeaderName; 2] = [
    HeaderName::from_static("speke-user-agent"),
    HeaderName::from_static("x-speke-user-agent"),
];

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("Keylet/", env!("CARGO_PKG_VERSION")));

const XML: &str = "application/xml";

/// The headers for a secret that are not `authorization`.
const API_KEYS: [&str; 2] = ["x-api-key", "api-key"];

/// The parameters for a secret.
const PARAMETERS: [&str; 2] = ["token", "k"];

/// `POST /speke/copyProtection` and `POST /speke/{version}/copyProtection`: the version is that of the header, and the one in
/// the path is a name.
pub async fn speke<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let is_known = |name| matches!(name, "v1.0" | "v2" | "v2.0" | "v2.1");
    if !context.name.is_none_or(is_known) {
        return Err(Code::ROUTE_NOT_FOUND.into());
    }
    let version = header(context.headers(), &SPEKE_VERSION);
    let server = server(&context);
    let answered = async {
        let caller = caller(&context, &server, SPEKE).await?;
        let body = context.request.body();
        server.speke(caller, version, body).await
    };
    let mut reply = match answered.await {
        Ok(answer) => {
            let mut reply = reply(StatusCode::OK, XML, answer.document.as_bytes());
            let version = answer.version.header().map(HeaderValue::from_static);
            reply
                .headers_mut()
                .extend(version.map(|version| (SPEKE_VERSION, version)));
            reply
        }
        Err(packaging::Error::Off) => return Err(Code::ROUTE_NOT_FOUND.into()),
        Err(error) => text_of(&error, context.id),
    };
    let headers = reply.headers_mut();
    headers.extend(USER_AGENTS.map(|name| (name, USER_AGENT)));
    Ok(reply)
}

/// `GET /speke/v1.0/heartbeat`: SPEKE 1.0 asks so whether there is a key server.
pub async fn heartbeat<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let server = server(&context);
    match server.caller(&[]).await {
        Err(packaging::Error::Off) => Err(Code::ROUTE_NOT_FOUND.into()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(reply(StatusCode::OK, "text/plain; charset=utf-8", "ok")),
    }
}

/// `GET /cpix/{contentId}`.
pub async fn cpix<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let server = server(&context);
    let caller = caller(&context, &server, CPIX).await?;
    let name = context.name.unwrap_or_default();
    let content_id = encoding::percent_decoded(name.as_bytes())
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .map_or(Cow::Borrowed(name), Cow::Owned);
    let parameter = |name| context.parameter(name).filter(|value| !value.is_empty());
    let period = parameter("period").map(|period| period.parse());
    let period = period.transpose().map_err(|_| {
        Problem::new(
            Code::REQUEST_MALFORMED,
            "the parameter `period` is not a number",
        )
    })?;
    let (scheme, tracks, systems) = (
        parameter("scheme"),
        parameter("tracks"),
        parameter("systems"),
    );
    let wanted = DocumentRequest {
        content_id: &content_id,
        scheme: scheme.as_deref(),
        tracks: tracks.as_deref(),
        systems: systems.as_deref(),
        period,
    };
    let document = server.document(caller, &wanted).await?;
    Ok(reply(StatusCode::OK, XML, document.as_bytes()))
}

/// `POST /cenc/getcontentkey/{signer}`.
pub async fn common_encryption<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let server = server(&context);
    let secrets = secrets(&context).await?;
    let signer = context.name.unwrap_or_default();
    let body = context.request.body();
    let answer = server.common_encryption(&secrets, signer, body).await?;
    Ok(reply(StatusCode::OK, "application/json", answer.to_vec()))
}

/// `POST /playready/packaging`.
pub async fn packaging_data<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let server = server(&context);
    let caller = caller(&context, &server, PACKAGING_DATA).await?;
    let scheme = context.parameter("scheme");
    let scheme = Scheme::from_name(scheme.as_deref().unwrap_or(Scheme::Cenc.name()));
    let scheme = scheme.ok_or_else(|| {
        Problem::new(
            Code::REQUEST_MALFORMED,
            "the parameter `scheme` is neither cenc nor cbcs",
        )
    })?;
    let body = context.request.body();
    let envelope = server.packaging_data(caller, scheme, body).await?;
    Ok(reply(
        StatusCode::OK,
        "text/xml; charset=utf-8",
        envelope.as_bytes(),
    ))
}

fn server<'a, P: Platform>(context: &Context<'a, P>) -> PackagingServer<'a, P> {
    let licences = context.licences;
    PackagingServer::new(
        context.packaging,
        licences.platform(),
        licences.keys(),
        context.id,
    )
}

async fn caller<'s, P: Platform>(
    context: &Context<'_, P>,
    server: &PackagingServer<'s, P>,
    interface: &'static str,
) -> Result<Caller<'s>, packaging::Error> {
    let secrets = secrets(context).await?;
    server.authenticate(interface, &secrets).await
}

/// The secrets of a request: in `authorization` as Bearer or as the password of Basic (RFC 7617), in `x-api-key` and
/// `api-key`, and in the query where `query_tokens` allows it.
async fn secrets<P: Platform>(context: &Context<'_, P>) -> Result<Vec<String>, packaging::Error> {
    let headers = context.headers();
    let mut secrets: Vec<String> = token::bearer(headers).collect();
    secrets.extend(headers.get_all(AUTHORIZATION).iter().filter_map(password));
    let api_keys = API_KEYS.iter().flat_map(|name| headers.get_all(*name));
    secrets.extend(api_keys.filter_map(|value| Some(value.to_str().ok()?.trim().to_owned())));
    let mut parameters = PARAMETERS
        .iter()
        .filter_map(|name| context.parameter(name))
        .peekable();
    if parameters.peek().is_some()
        && token::query_tokens_allowed(context.licences.platform()).await?
    {
        secrets.extend(parameters.map(Cow::into_owned));
    }
    Ok(secrets)
}

/// The password of Basic authentication. The name of the user is ignored.
fn password(header: &HeaderValue) -> Option<String> {
    let (scheme, credentials) = header.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = encoding::base64(credentials)?;
    let (_, password) = std::str::from_utf8(&credentials).ok()?.split_once(':')?;
    Some(password.to_owned())
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or_default())
}

/// A refusal as the text that clients of SPEKE show to their operator.
fn text_of(error: &packaging::Error, request_id: &str) -> Reply {
    let problem = Problem::from(error.clone());
    let text = problem.detail.clone();
    let text = text.unwrap_or_else(|| problem.code.title.to_owned());
    let mut reply = problem.into_reply(request_id);
    *reply.body_mut() = text.into_bytes();
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}
