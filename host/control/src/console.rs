//! The console: a page on the API's listener by which people do what the API does.
//!
//! It is a few files, which the binary holds. They say nothing that is secret, so anybody may read them; what the page shows,
//! it asks the API, with the token that who uses it has typed in. No cookie says who asks, so no other site can ask in their
//! name. What scorers say is shown, and may be hostile: the page makes no markup of any text, and by the policy that goes with
//! it the browser would run no script of such markup, nor talk to any other server.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::api::Problem;

/// What the browser lets the page do: run its own files, and ask its own server. With Trusted Types, text that is taken for
/// markup is an error.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'none'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The files: name, content type, contents.
macro_rules! files {
    ($($name:literal $kind:expr),+ $(,)?) => { [$(($name, $kind, include_bytes!(concat!("console/", $name)).as_slice())),+] };
}

#[rustfmt::skip]
const FILES: &[(&str, &str, &[u8])] = &files![
    "index.html" HTML, "docs.html" HTML, "style.css" STYLE, "icon.svg" SVG,
    "main.js" SCRIPT, "api.js" SCRIPT, "dom.js" SCRIPT, "login.js" SCRIPT, "overview.js" SCRIPT, "endpoint.js" SCRIPT,
    "deployments.js" SCRIPT, "deploy.js" SCRIPT, "bundle.js" SCRIPT, "sha256.js" SCRIPT, "traffic.js" SCRIPT,
    "trial.js" SCRIPT, "logs.js" SCRIPT, "keys.js" SCRIPT, "metrics.js" SCRIPT, "charts.js" SCRIPT, "docs.js" SCRIPT,
];

/// A file as it is sent.
#[derive(Debug)]
struct Asset {
    name: &'static str,
    kind: HeaderValue,
    tag: HeaderValue,
    contents: &'static [u8],
}

/// The routes.
pub(crate) fn router() -> Router {
    let assets: Arc<[Asset]> = FILES.iter().map(|(name, kind, contents)| Asset::new(name, kind, contents)).collect();
    let page = Arc::clone(&assets);
    Router::new()
        .route("/", get(async || Redirect::to("/console/")))
        .route("/console", get(async || Redirect::to("/console/")))
        .route("/console/", get(async move |headers: HeaderMap| answer(&page, "index.html", &headers)))
        .route(
            "/console/{file}",
            get(async move |Path(file): Path<String>, headers: HeaderMap| answer(&assets, &file, &headers)),
        )
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, contents: &'static [u8]) -> Self {
        let mut tag = String::from("\"");
        for byte in &Sha256::digest(contents)[..16] {
            write!(tag, "{byte:02x}").expect("a text takes all");
        }
        tag.push('"');
        let tag = HeaderValue::try_from(tag).expect("digits fit into a header");
        Self { name, kind: HeaderValue::from_static(kind), tag, contents }
    }
}

/// Answers with a file, unless the browser has it as it is.
fn answer(assets: &[Asset], name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = assets.iter().find(|asset| asset.name == name) else {
        return Problem::new(StatusCode::NOT_FOUND, "the console has no such file; it is at /console/").into_response();
    };
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| known == asset.tag);
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { asset.contents.into_response() };
    let fixed: [(HeaderName, &str); 6] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // Kept, but not used without asking: after an update of the server its files are the new ones.
        (CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(CONTENT_TYPE, asset.kind.clone());
    headers.insert(ETAG, asset.tag.clone());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_use_its_own_files_and_ask_its_own_server_and_nothing_else() {
        let assets: Vec<_> = FILES.iter().map(|(name, kind, contents)| Asset::new(name, kind, contents)).collect();
        for asset in &assets {
            let response = answer(&assets, asset.name, &HeaderMap::new());
            let policy = response.headers().get(CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap();
            let mut parts: Vec<_> = policy.split(';').map(str::trim).collect();
            parts.sort_unstable();
            let whole = [
                "base-uri 'none'",
                "connect-src 'self'",
                "default-src 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
                "img-src 'self'",
                "require-trusted-types-for 'script'",
                "script-src 'self'",
                "style-src 'self'",
                "trusted-types 'none'",
            ];
            assert_eq!(parts, whole, "{}", asset.name);
        }
    }
}
