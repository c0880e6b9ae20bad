//! `GET /fairplay/certificate[/{name}]`: the application certificate.

use base64::Engine;
use der::pem::{self, LineEnding};
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::encoding::BASE64;
use crate::error::Code;
use crate::fairplay::certificate::ApplicationCertificate;
use crate::licence::Error;
use crate::platform::Platform;
use crate::service::context::Context;
use crate::service::format;
use crate::service::problem::Problem;
use crate::service::response::{Reply, empty, reply};

/// The certificate as players load it: DER, or what `?format=` asks for.
pub async fn get<P: Platform>(context: Context<'_, P>) -> Result<Reply, Problem> {
    let licences = context.licences;
    let fairplay = &licences.modules().fairplay;
    let credential = fairplay
        .credentials()
        .named(context.name, licences.platform());
    let credential = credential.await.map_err(Error::from)?;
    let credential = credential
        .ok_or_else(|| Problem::new(Code::ROUTE_NOT_FOUND, "no credential has this name"))?;
    let format = context.parameter(format::PARAMETER);
    let (content_type, body) = write(&credential.certificate, format.as_deref())?;

    let tag = hex::encode(Sha256::digest(&body));
    let mut reply = if is_known(context.headers(), &tag) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        reply(StatusCode::OK, content_type, body)
    };
    let headers = reply.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    headers.extend(HeaderValue::from_str(&format!("\"{tag}\"")).map(|tag| (ETAG, tag)));
    Ok(reply)
}

/// The certificate in JSON, in base64.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Certificate"))]
pub(in crate::service) struct CertificateDocument<'a> {
    certificate: &'a str,
    /// The same, under the name that an open KSM's sample reads.
    #[serde(rename = "Certificate")]
    ksm_certificate: &'a str,
}

fn write(
    certificate: &ApplicationCertificate,
    format: Option<&str>,
) -> Result<(&'static str, Vec<u8>), Problem> {
    let base64 = || BASE64.encode(&certificate.der);
    match format {
        None | Some("der") => Ok(("application/pkix-cert", certificate.der.clone())),
        Some("base64") => Ok(("text/plain", base64().into_bytes())),
        Some("json") => {
            let text = base64();
            let document = CertificateDocument {
                certificate: &text,
                ksm_certificate: &text,
            };
            let document = serde_json::to_vec(&document).unwrap_or_default();
            Ok(("application/json", document))
        }
        Some("pem") => {
            let blocks = certificate.certificates.iter().map(|one| {
                pem::encode_string("CERTIFICATE", LineEnding::LF, &one.der).unwrap_or_default()
            });
            let text: String = blocks.collect();
            Ok(("application/pem-certificate-chain", text.into_bytes()))
        }
        Some(_) => Err(Problem::new(
            Code::FORMAT_UNSUPPORTED,
            "`format` is none of der, base64, json, pem",
        )),
    }
}

/// Whether the client has the representation with this tag (RFC 9110 section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|known| known == tag || known == "*")
}
