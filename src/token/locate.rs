//! Where a token is found in a request.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::token::Error;

/// The token of a request: `Authorization: Bearer` (RFC 6750 section 2.1) or the query parameter
/// `token`.
///
/// # Errors
/// [`Error::Missing`]; [`Error::Ambiguous`] when there are two that differ.
pub fn locate(headers: &HeaderMap, query: Option<&str>) -> Result<String, Error> {
    let in_headers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().to_owned())
    });
    let in_query = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter_map(|(name, value)| (name == "token").then(|| value.into_owned()));

    let mut found = in_headers.chain(in_query).filter(|token| !token.is_empty());
    let token = found.next().ok_or(Error::Missing)?;
    if found.any(|other| other != token) {
        return Err(Error::Ambiguous);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(authorization: &[&str], query: Option<&str>) -> Result<String, Error> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        locate(&headers, query)
    }

    #[test]
    fn a_token_is_found_in_the_header_or_the_query() {
        assert_eq!(found(&["Bearer a.b.c"], None), Ok("a.b.c".to_owned()));
        assert_eq!(found(&["bearer  a.b.c "], None), Ok("a.b.c".to_owned()));
        assert_eq!(
            found(&[], Some("x=1&token=a.b%2Ec")),
            Ok("a.b.c".to_owned())
        );
        assert_eq!(
            found(&["Bearer a.b.c"], Some("token=a.b.c")),
            Ok("a.b.c".to_owned())
        );
        assert_eq!(
            found(&["Basic dXNlcg=="], Some("token=")),
            Err(Error::Missing)
        );
        assert_eq!(found(&[], None), Err(Error::Missing));
        assert_eq!(
            found(&["Bearer a.b.c"], Some("token=d.e.f")),
            Err(Error::Ambiguous)
        );
        assert_eq!(
            found(&["Bearer a.b.c", "Bearer d.e.f"], None),
            Err(Error::Ambiguous)
        );
    }
}
