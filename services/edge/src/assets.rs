//! The widget's files, inside the executable.
//!
//! Everything is made once at the start: hashes, compressed forms, the widget page's policies. A request is a look-up by
//! the exact name, so nothing outside the folder can be asked for.
//!
//! Plain names (`/widget/embed.js`) are asked for again each time and mostly answered 304. The widget page names its
//! own files by `/widget/v/<hash of all files>/…`, which browsers keep for a year.

use std::collections::HashMap;

use axum::{
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use runtime::asset::{Asset, EMBEDDER_POLICY, hex, kind};
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use crate::{
    problem::ApiError,
    site::{DEFAULT, Sites},
    state::State,
};

#[derive(RustEmbed)]
#[folder = "../../widget"]
#[exclude = "test/*"]
#[exclude = "node_modules/*"]
#[exclude = "package*.json"]
#[exclude = "tsconfig*.json"]
#[exclude = "*.md"]
#[exclude = ".*"]
struct Folder;

const PAGE: &str = "modern-widget.html";
const DEMO: &str = "demo.html";
const DEMO_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                           font-src 'self'; connect-src 'self'; frame-src 'self'; base-uri 'none'; \
                           form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; \
                           frame-ancestors 'none'";

/// A captcha's page: the only one with scripts that are not ours, and it loads them only when the chat asks for it.
const CAPTCHA: &str = "captcha.html";
const CAPTCHA_POLICY: &str = "default-src 'none'; script-src 'self' https://challenges.cloudflare.com \
                              https://js.hcaptcha.com https://*.hcaptcha.com; style-src https://hcaptcha.com \
                              https://*.hcaptcha.com; connect-src https://challenges.cloudflare.com \
                              https://hcaptcha.com https://*.hcaptcha.com; frame-src \
                              https://challenges.cloudflare.com https://hcaptcha.com https://*.hcaptcha.com; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// See the module.
pub(crate) struct Assets {
    files: HashMap<String, Asset>,
    /// Of the chat's page, by site: who may frame it.
    policies: HashMap<String, HeaderValue>,
    /// `v/<hash>/`.
    hashed: String,
    /// Whether pages hold only what agrees to be held. The frame of a captcha's provider doesn't.
    isolated: bool,
}

impl Assets {
    pub(crate) fn new(sites: &Sites, isolated: bool) -> Self {
        let mut names: Vec<String> = Folder::iter().map(|name| name.into_owned()).collect();
        names.sort_unstable();
        let contents: Vec<Bytes> =
            names.iter().filter_map(|name| Folder::get(name)).map(|file| Bytes::from(file.data.into_owned())).collect();
        let mut all = Sha256::new();
        for (name, content) in names.iter().zip(&contents) {
            all.update(name);
            all.update([0]);
            all.update(Sha256::digest(content));
        }
        let hashed = format!("v/{}/", hex(&all.finalize()));
        let files = names.iter().zip(contents).map(|(name, content)| {
            let asset = match name.as_str() {
                PAGE => Asset::page(&point(&content, &names, &hashed), &page_policy("'self'")),
                DEMO => Asset::page(&content, DEMO_POLICY),
                CAPTCHA => Asset::page(&content, CAPTCHA_POLICY),
                name => Asset::new(content, kind(name), None),
            };
            (name.clone(), asset)
        });
        let policies = sites.iter().map(|site| {
            let policy = page_policy(&site.frame_ancestors()).parse();
            (site.id.to_string(), policy.expect("policies are of words and checked origins"))
        });
        Self { files: files.collect(), policies: policies.collect(), hashed, isolated }
    }

    /// Lets a page hold a captcha's frame, where there may be one.
    fn open(&self, mut response: Response) -> Response {
        if !self.isolated {
            response.headers_mut().remove(EMBEDDER_POLICY);
        }
        response
    }

    /// Answers for `/widget/<path>`. The chat's page names its site in the query; for one that is unknown only our own
    /// pages may frame it.
    fn answer(&self, path: &str, query: &str, headers: &HeaderMap) -> Response {
        let hashed = path.strip_prefix(self.hashed.as_str());
        let asset = self.files.get(hashed.unwrap_or(path));
        match asset {
            // Pages find their neighbours and the API by their own address, so they have one address only.
            Some(asset) if path != DEMO && (hashed.is_none() || !asset.is_page()) => {
                let mut response = self.open(asset.answer(headers, hashed.is_some()));
                let site = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "site");
                let site = site.map_or(DEFAULT.into(), |(_, site)| site);
                if let (PAGE, Some(policy)) = (path, self.policies.get(site.as_ref())) {
                    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy.clone());
                }
                response
            }
            _ => ApiError::NotFound.into_response(),
        }
    }
}

/// A file of the widget.
#[utoipa::path(get, path = "/widget/{path}", tag = "Widget",
    params(("path" = String, Path, description = "`embed.js`, `modern-widget.html`, `widget-config.json` and their files")),
    responses((status = 200, description = "The file"), (status = 304, description = "It has not changed"),
        (status = 404, description = "There is no such file", body = crate::openapi::Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn widget(
    state: State,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match path {
        Ok(Path(path)) => state.assets.answer(&path, uri.query().unwrap_or_default(), &headers),
        Err(_) => ApiError::NotFound.into_response(),
    }
}

/// The demo shop, in the all-in-one development mode.
pub(crate) async fn demo(state: State, headers: HeaderMap) -> Response {
    match state.assets.files.get(DEMO) {
        Some(page) if state.config.demo => state.assets.open(page.answer(&headers, false)),
        _ => ApiError::NotFound.into_response(),
    }
}

/// Lets the page's `src` and `href` of our files lead to their hashed names.
fn point(page: &[u8], names: &[String], hashed: &str) -> Vec<u8> {
    let mut page = String::from_utf8_lossy(page).into_owned();
    for name in names.iter().filter(|name| !name.ends_with(".html")) {
        for attribute in ["src", "href"] {
            page = page.replace(&format!(r#"{attribute}="{name}""#), &format!(r#"{attribute}="{hashed}{name}""#));
        }
    }
    page.into_bytes()
}

fn page_policy(ancestors: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         worker-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; \
         trusted-types frontdesk-worker; frame-ancestors {ancestors}"
    )
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::tests::config;

    fn assets() -> Assets {
        let sites = Sites::new(&config(&["--allowed-origins", "https://shop.example,https://*.shop.example"])).unwrap();
        Assets::new(&sites, true)
    }

    fn ask(path: &str, pairs: &[(&'static str, &str)]) -> Response {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        assets().answer(path, "", &headers)
    }

    /// Where a captcha is set up, pages can't be isolated: its frame has no say in that.
    #[test]
    fn pages_are_isolated_unless_a_captcha_must_be_held() {
        let sites = Sites::new(&config(&[])).unwrap();
        let check = |isolated: bool| {
            let answer = Assets::new(&sites, isolated).answer(PAGE, "", &HeaderMap::new());
            assert_eq!(answer.headers().contains_key(EMBEDDER_POLICY), isolated);
        };
        check(true);
        check(false);
    }

    #[test]
    fn every_file_of_the_widget_is_there_and_nothing_else() {
        for name in ["embed.js", PAGE, "widget-config.json", "widget.css", "js/main.js", "js/sse.js"] {
            assert_eq!(ask(name, &[]).status(), 200, "{name}");
        }
        for name in assets().files.keys() {
            assert!(!name.contains("test/") && !name.ends_with(".md") && name != "package.json", "{name}");
            assert_ne!(kind(name), "application/octet-stream", "{name} needs a type");
        }
        let hashed = assets().hashed;
        for path in [
            "",
            "/",
            ".",
            "js",
            "js/",
            "demo.html",
            "package.json",
            "test/sse.test.js",
            "README.md",
            "../Cargo.toml",
            "../widget/embed.js",
            "js/../embed.js",
            "./embed.js",
            "/embed.js",
            "//embed.js",
            "embed.js/",
            "embed.js\0",
            "EMBED.JS",
            "..\\Cargo.toml",
            "%2e%2e/Cargo.toml",
            "..%2fCargo.toml",
            "....//Cargo.toml",
            "/etc/passwd",
            "../../../../etc/passwd",
            "file:///etc/passwd",
            "v/",
            "v/0000/embed.js",
            &format!("{hashed}../embed.js"),
            &format!("{hashed}{PAGE}"),
            &format!("{hashed}{hashed}embed.js"),
        ] {
            assert_eq!(ask(path, &[]).status(), 404, "{path}");
        }
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let first = ask("embed.js", &[]);
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        let check = |value: &str, status: u16| {
            let response = ask("embed.js", &[("if-none-match", value)]);
            assert_eq!(response.status(), status, "{value}");
            assert_eq!(response.headers()["etag"], tag.as_str());
            assert_eq!(response.headers()["cache-control"], "no-cache");
        };
        check(&tag, 304);
        check(&format!("\"x\", W/{tag}"), 304);
        check("*", 304);
        check("\"x\"", 200);
        let zipped = [("if-none-match", tag.as_str()), ("accept-encoding", "gzip")];
        assert_eq!(ask("embed.js", &zipped).status(), 200, "each form has its own tag");
    }

    #[tokio::test]
    async fn text_is_compressed_for_who_takes_it() {
        use std::io::Read as _;
        let check = |value: &str, expected: bool| {
            let response = ask("embed.js", &[("accept-encoding", value)]);
            assert_eq!(response.headers().contains_key("content-encoding"), expected, "{value}");
            assert_eq!(response.headers()["vary"], "Accept-Encoding");
            assert_eq!(response.headers()["content-type"], "text/javascript; charset=utf-8");
        };
        check("gzip, deflate, br", true);
        check("br, GZIP;q=0.5", true);
        check("*", true);
        check("gzip;q=0", false);
        check("gzip;q=0, *", false);
        check("identity", false);
        check("", false);
        let body = ask("embed.js", &[("accept-encoding", "gzip")]).into_body();
        let small = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&small[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.as_bytes(), Folder::get("embed.js").unwrap().data.as_ref());
    }

    #[tokio::test]
    async fn the_widget_page_says_who_may_frame_it_and_names_hashed_files() {
        let page = ask(PAGE, &[]);
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.ends_with("frame-ancestors 'self' https://shop.example https://*.shop.example"), "{policy}");
        assert!(policy.contains("require-trusted-types-for 'script'") && !policy.contains("unsafe"), "{policy}");
        let page = axum::body::to_bytes(page.into_body(), 1 << 20).await.unwrap();
        let page = std::str::from_utf8(&page).unwrap();
        let hashed = assets().hashed;
        assert!(page.contains(&format!(r#"src="{hashed}js/main.js""#)), "{page}");
        assert!(!page.contains(r#"="js/"#) && !page.contains(r#"="widget.css"#), "{page}");
        let script = ask(&format!("{hashed}js/main.js"), &[]);
        assert_eq!(
            (script.status(), &script.headers()["cache-control"]),
            (StatusCode::OK, &HeaderValue::from_static("public, max-age=31536000, immutable"))
        );
        assert_eq!(script.headers()["cross-origin-resource-policy"], "cross-origin");
    }
}
