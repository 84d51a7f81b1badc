//! The dashboard's files, inside the executable. The page holds no data: it asks the API, with the token of who looks.
//!
//! A request is a look-up by the exact name, so nothing outside the folder can be asked for.

use std::collections::HashMap;

use axum::{
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, HeaderValue},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use runtime::{
    asset::{Asset, kind},
    http::RESOURCE_POLICY,
};
use rust_embed::RustEmbed;

use super::{State, problem::ApiError};

#[derive(RustEmbed)]
#[folder = "../../dashboard"]
#[exclude = "test/*"]
#[exclude = "node_modules/*"]
#[exclude = "package*.json"]
#[exclude = "tsconfig*.json"]
#[exclude = "*.d.ts"]
#[exclude = "*.md"]
#[exclude = ".*"]
struct Folder;

const PAGE: &str = "index.html";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
                      data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// See the module.
pub(super) struct Dashboard(HashMap<String, Asset>);

impl Dashboard {
    pub(super) fn new() -> Self {
        let files = Folder::iter().filter_map(|name| {
            let content = Folder::get(&name)?.data;
            let asset = match &*name {
                PAGE => Asset::page(&content, POLICY),
                name => Asset::new(Bytes::from(content.into_owned()), kind(name), None),
            };
            Some((name.into_owned(), asset))
        });
        Self(files.collect())
    }

    fn answer(&self, name: &str, headers: &HeaderMap) -> Response {
        let Some(asset) = self.0.get(name) else { return ApiError::NotFound.into_response() };
        let mut response = asset.answer(headers, false);
        // The widget's files are for the pages of shops; these are for nobody else's.
        response.headers_mut().insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        response
    }
}

/// `/`.
pub(super) async fn page(state: State, headers: HeaderMap) -> Response {
    state.dashboard.answer(PAGE, &headers)
}

/// `/dashboard/<path>`.
pub(super) async fn file(state: State, path: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    match path {
        // The page finds its files by its own address, so it has one.
        Ok(Path(path)) if path != PAGE => state.dashboard.answer(&path, &headers),
        _ => ApiError::NotFound.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_type_and_nothing_else_is_there() {
        let dashboard = Dashboard::new();
        assert!(dashboard.0.contains_key(PAGE));
        for name in dashboard.0.keys() {
            assert!(!name.contains("test/") && !name.ends_with(".md") && !name.starts_with('.'), "{name}");
            assert!(kind(name) != "application/octet-stream" || name.starts_with("vendor/"), "{name} needs a type");
        }
        for path in ["", "/", "..", "../Cargo.toml", "test/", "/index.html", "INDEX.HTML", "js", "index.html\0"] {
            assert_eq!(dashboard.answer(path, &HeaderMap::new()).status(), 404, "{path}");
        }
    }

    #[test]
    fn the_page_runs_its_own_files_alone_and_is_framed_by_nobody() {
        let page = Dashboard::new().answer(PAGE, &HeaderMap::new());
        assert_eq!(page.status(), 200);
        let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("content-security-policy"), POLICY);
        assert_eq!(header("cache-control"), "no-cache");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        let mut again = HeaderMap::new();
        again.insert("if-none-match", page.headers()["etag"].clone());
        assert_eq!(Dashboard::new().answer(PAGE, &again).status(), 304);
    }
}
