//! A licence for a player that sends the message of its DRM system and nothing around it.

use super::context::Context;
use super::origin::TrustedHeaders;
use super::problem::Problem;
use crate::content_key::KeyQuery;
use crate::drm::{Module, Purpose};
use crate::error::Code;
use crate::id::Kid;
use crate::licence::{Issued, License, LicenseRequest, RENEWAL, Renewal, SessionRequest};
use crate::platform::Platform;
use crate::token;

/// The parameter with the KID, as Azure Media Services' players ask. There may be several.
pub const KID: &str = "kid";

/// Asks for a licence with this message. The token may stand in `body` too, where the body has a place for one.
///
/// # Errors
/// The refusal.
pub async fn issue<P: Platform, M: Module>(
    context: &Context<'_, P>,
    module: &M,
    message: &[u8],
    in_body: Option<&str>,
) -> Result<License, Problem> {
    let (licences, headers) = (context.licences, context.headers());
    let ticket = match context.parameter(RENEWAL).filter(|_| M::HAS_RENEWAL_URL) {
        Some(text) => Some(licences.renewal_ticket(&text).await?),
        None => None,
    };
    let (tokens, time, keys) = match &ticket {
        // What else the player sends has expired.
        Some(ticket) => (
            ticket.tokens().asked_by(&context.request),
            ticket.verified_at,
            ticket.keys(),
        ),
        None => {
            let tokens = context.tokens(in_body);
            (tokens, licences.platform().now(), kids(context)?)
        }
    };
    let principal = licences
        .authenticate_at(time, M::SYSTEM, context.id, &tokens)
        .await?;
    let origin = async || {
        let trusted = TrustedHeaders::load(licences.platform()).await?;
        Ok(trusted.origin(headers))
    };
    let request = LicenseRequest {
        purpose: Purpose::License,
        id: context.id,
        message,
        keys: &keys,
        session: SessionRequest {
            token: token::session(headers),
            is_renewal: None,
        },
        renewal: match &ticket {
            Some(ticket) => Renewal::Ticket(ticket),
            None => Renewal::ByUrl(&tokens),
        },
    };
    match licences.issue(module, &principal, request, origin).await? {
        Issued::License(licence) => Ok(licence),
        // Players of these systems neither stop nor report.
        Issued::Stopped | Issued::CheckedIn(_) => Err(Code::REQUEST_MALFORMED.into()),
    }
}

/// The keys that the query names.
fn kids<P: Platform>(context: &Context<'_, P>) -> Result<Vec<KeyQuery>, Problem> {
    let query = context.query().unwrap_or_default();
    let parameters = form_urlencoded::parse(query.as_bytes());
    let kids = parameters.filter(|(name, value)| name == KID && !value.is_empty());
    let kids = kids.map(|(_, value)| Kid::from_text(&value).map(KeyQuery::from_kid));
    let kids: Option<Vec<KeyQuery>> = kids.collect();
    kids.ok_or_else(|| {
        let reason = "`kid` in the query is not a KID: a GUID or 32 hexadecimal digits";
        Problem::new(Code::REQUEST_MALFORMED, reason)
    })
}
