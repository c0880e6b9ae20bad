//! The routes: one row each.

use http::Method;

use super::context::Context;
use super::problem::Problem;
use super::response::Reply;
use super::{
    clearkey, fairplay, health, keys, license, license_data, openapi, packaging, playready, root,
    sessions, store, tokens, widevine,
};
use crate::error::Code;
use crate::platform::Platform;

/// A path and its methods.
pub struct Route {
    /// The path. One segment of it may be a name in braces, which stands for any text.
    pub pattern: &'static str,
    /// The methods, beside `OPTIONS`, and `HEAD` where there is `GET`.
    pub methods: &'static [Method],
}

/// Makes the table, and the function that calls the handler of a row.
macro_rules! routes {
    ($($pattern:literal [$($method:ident),*] => $handler:path;)*) => {
        const ROUTES: &[Route] = &[
            $(Route { pattern: $pattern, methods: &[$(Method::$method),*] },)*
        ];

        /// Calls the handler of a route.
        pub async fn dispatch<P: Platform>(
            route: &Route,
            context: Context<'_, P>,
        ) -> Result<Reply, Problem> {
            match route.pattern {
                $($pattern => $handler(context).await,)*
                _ => Err(Code::ROUTE_NOT_FOUND.into()),
            }
        }
    };
}

routes! {
    "/" [GET] => root::get;
    "/healthz" [GET] => health::get;
    "/openapi.json" [GET] => openapi::get;
    "/license" [POST] => license::post;
    "/license-data" [GET] => license_data::get;
    "/clearkey" [POST] => clearkey::post;
    "/aes128" [GET] => clearkey::aes128;
    "/aes128/{kid}" [GET] => clearkey::aes128;
    "/fairplay" [POST] => fairplay::post;
    "/fairplay/check-in" [POST] => fairplay::check_in::post;
    "/fairplay/check-in/challenge" [POST] => fairplay::check_in::challenge;
    "/fairplay/inspect" [POST] => fairplay::inspect::post;
    "/fairplay/certificate" [GET] => fairplay::certificate::get;
    "/fairplay/certificate/{name}" [GET] => fairplay::certificate::get;
    "/widevine" [POST] => widevine::post;
    "/playready" [POST] => playready::post;
    "/tokens" [POST] => tokens::post;
    "/keys" [GET, POST] => keys::any;
    "/keys/{id}" [GET, PUT, DELETE] => keys::one;
    "/keys/{id}/restore" [POST] => keys::restore;
    "/key-rotation" [POST] => keys::rotate;
    "/store/sweep" [POST] => store::sweep;
    "/speke/copyProtection" [POST] => packaging::speke;
    "/speke/{version}/copyProtection" [POST] => packaging::speke;
    "/speke/v1.0/heartbeat" [GET] => packaging::heartbeat;
    "/cpix/{contentId}" [GET] => packaging::cpix;
    "/cenc/getcontentkey/{signer}" [POST] => packaging::common_encryption;
    "/playready/packaging" [POST] => packaging::packaging_data;
    "/sessions" [POST, GET, DELETE] => sessions::any;
    "/sessions/{id}" [DELETE] => sessions::delete;
    "/sessions/{id}/heartbeat" [POST] => sessions::heartbeat;
    "/{tenant}/ssm/v1/sessions/setup" [POST] => sessions::ssm::setup;
    "/{tenant}/ssm/v1/sessions/heartbeat" [POST] => sessions::ssm::heartbeat;
    "/{tenant}/ssm/v1/sessions/teardown" [POST] => sessions::ssm::teardown;
    "/{tenant}/ssm/v1/sessions/killAccountSessions" [POST] => sessions::ssm::kill_account_sessions;
}

/// The paths of Azure Media Services' key delivery, and those of the same here.
const AZURE: [(&str, &str); 3] = [
    ("FairPlay", "/fairplay"),
    ("Widevine", "/widevine"),
    ("PlayReady", "/playready"),
];

impl Route {
    /// The route of a path, and the text that its pattern has a name for. A slash at the end, or one more between two
    /// segments, makes no difference: base URLs are configured with one and without.
    pub fn find(path: &str) -> Option<(&'static Self, Option<&str>)> {
        if !path.starts_with('/') {
            return None;
        }
        let of_azure = AZURE.iter().find(|(name, _)| segments(path).eq([*name]));
        let path = of_azure.map_or(path, |(_, path)| path);
        ROUTES
            .iter()
            .find_map(|route| Some((route, matched(route.pattern, path)?)))
    }
}

/// Matches a path with a pattern. Returns the text that stands for the name in braces.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<Option<&'p str>> {
    let mut found = segments(path);
    let mut name = None;
    for expected in segments(pattern) {
        let segment = found.next()?;
        if expected.starts_with('{') {
            name = Some(segment);
        } else if expected != segment {
            return None;
        }
    }
    found.next().is_none().then_some(name)
}

/// What stands between the slashes.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// The pattern of the route that a path takes, such as `/fairplay/certificate/{name}`; `other` for
/// a path that has none. There are few patterns, whatever clients ask for.
pub fn route_name(path: &str) -> &'static str {
    Route::find(path).map_or("other", |(route, _)| route.pattern)
}

/// Every route: its pattern and each of its methods.
pub fn routes() -> impl Iterator<Item = (&'static str, Method)> {
    let methods = |route: &'static Route| {
        let methods = route.methods.iter().cloned();
        methods.map(|method| (route.pattern, method))
    };
    ROUTES.iter().flat_map(methods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_the_route_whose_pattern_it_matches() {
        for (path, pattern, name) in [
            ("/", "/", None),
            ("//", "/", None),
            ("/FairPlay/", "/fairplay", None),
            ("/fairplay/", "/fairplay", None),
            ("//fairplay", "/fairplay", None),
            ("/fairplay/certificate/", "/fairplay/certificate", None),
            ("/sessions/", "/sessions", None),
            ("/sessions//x/", "/sessions/{id}", Some("x")),
            ("/fairplay/certificate", "/fairplay/certificate", None),
            (
                "/fairplay/certificate/a.b",
                "/fairplay/certificate/{name}",
                Some("a.b"),
            ),
            ("/sessions/12", "/sessions/{id}", Some("12")),
            (
                "/sessions/12/heartbeat",
                "/sessions/{id}/heartbeat",
                Some("12"),
            ),
            (
                "/T1/ssm/v1/sessions/setup",
                "/{tenant}/ssm/v1/sessions/setup",
                Some("T1"),
            ),
        ] {
            let (route, found) = Route::find(path).unwrap();
            assert_eq!((route.pattern, found), (pattern, name), "{path}");
        }
        for path in [
            "",
            "fairplay",
            "/fairplay/certificate/a/b",
            "/FAIRPLAY",
            "/ssm/v1/sessions/setup",
            "//ssm/v1/sessions/setup",
        ] {
            assert!(Route::find(path).is_none(), "{path}");
        }
    }
}
