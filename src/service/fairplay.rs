//! `POST /fairplay`: SPC in, CKC out. `POST /fairplay/check-in`: a sync SPC in, its report out.

use base64::Engine;
use http::{Request, Response, StatusCode};
use serde_json::json;

use super::body::SpcBody;
use super::place::TrustedHeaders;
use super::problem::Problem;
use super::{Reply, json};
use crate::encoding::BASE64;
use crate::licence::{FairplayLicence, FairplayRequest, Licensing, Purpose};
use crate::platform::Platform;
use crate::token;

/// Answers an SPC.
pub async fn reply<P: Platform>(
    licensing: &Licensing<P>,
    request: Request<Vec<u8>>,
    id: &str,
    purpose: Purpose,
) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let SpcBody { spc, form } = SpcBody::read(&parts.headers, body)?;
    let token = token::locate(&parts.headers, parts.uri.query());
    let request = FairplayRequest {
        purpose,
        id,
        token: token.as_deref().map_err(Clone::clone),
        spc: &spc,
    };
    let place = async || {
        let trusted = TrustedHeaders::load(licensing.platform()).await?;
        Ok(trusted.place(&parts.headers))
    };
    match licensing.fairplay(request, place).await? {
        FairplayLicence::Ckc(ckc) => Ok(form.reply(ckc)),
        FairplayLicence::Stopped => {
            let mut reply = Response::new(Vec::new());
            *reply.status_mut() = StatusCode::NO_CONTENT;
            Ok(reply)
        }
        FairplayLicence::CheckedIn(check_in) => Ok(json(StatusCode::OK, &json!(check_in))),
    }
}

/// `POST /fairplay/check-in/challenge`: 8 bytes that a device is to answer, in both encodings that
/// apps ask for, and when they are waited for no more.
pub async fn challenge<P: Platform>(
    licensing: &Licensing<P>,
    request: &Request<Vec<u8>>,
) -> Result<Reply, Problem> {
    let token = token::locate(request.headers(), request.uri().query());
    let token = token.as_deref().map_err(Clone::clone);
    let challenge = licensing.challenge(token).await?;
    Ok(json(
        StatusCode::OK,
        &json!({
            "challenge": hex::encode(challenge.bytes),
            "challenge_base64": BASE64.encode(challenge.bytes),
            "expires_at": challenge.expires_at,
        }),
    ))
}
