//! `POST /fairplay`: SPC in, CKC out.

use http::{Request, Response, StatusCode};

use super::Reply;
use super::body::SpcBody;
use super::place::TrustedHeaders;
use super::problem::Problem;
use crate::licence::{FairplayLicence, FairplayRequest, Licensing};
use crate::platform::Platform;
use crate::token;

pub async fn reply<P: Platform>(
    licensing: &Licensing<P>,
    request: Request<Vec<u8>>,
    id: &str,
) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let SpcBody { spc, form } = SpcBody::read(&parts.headers, body)?;
    let token = token::locate(&parts.headers, parts.uri.query());
    let token = token.as_deref().map_err(Clone::clone);
    let request = FairplayRequest {
        id,
        token,
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
    }
}
