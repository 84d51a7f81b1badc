//! The widget's files, inside the executable.
//!
//! Everything is made once at the start: hashes, compressed forms, the widget page's policies. A request is a look-up by
//! the exact name, so nothing outside the folder can be asked for. Scripts and styles come without their comments
//! (`lean`), and modules that are needed together as one (`joined`).
//!
//! Plain names (`/widget/embed.js`) are asked for again each time and mostly answered 304. The widget page has the
//! sentences of the visitor's language in it, as far as that can be guessed, and names its own files by
//! `/widget/v/<hash of all files>/…`, which browsers keep for a year. So they do with
//! `/widget/v/<SHA-256 of embed.js>/embed.js`, for shops that write this hash into their pages (`integrity`).

#[cfg(test)]
mod budget;
mod joined;
mod lean;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use axum::{
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use protocol::SiteId;
use runtime::asset::{Asset, EMBEDDER_POLICY, hex, kind};
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use crate::{
    problem::ApiError,
    site::{DEFAULT, Sites},
    state::State,
    widget::{self, Configs},
};

#[derive(RustEmbed)]
#[folder = "../../widget"]
#[exclude = "test/*"]
#[exclude = "node_modules/*"]
#[exclude = "package*.json"]
#[exclude = "tsconfig*.json"]
#[exclude = "*.d.ts"]
#[exclude = "*.md"]
#[exclude = ".*"]
pub(crate) struct Folder;

/// All files of the widget by their names, as browsers get them.
fn files() -> BTreeMap<String, Bytes> {
    let all = Folder::iter().filter_map(|name| Some((name.to_string(), lean::lean(&name)?)));
    joined::join(all.collect())
}

/// The launcher's script, as browsers get it.
pub(crate) fn embed() -> Bytes {
    lean::lean(EMBED).expect("the widget has an embed.js")
}

pub(crate) const EMBED: &str = "embed.js";
const PAGE: &str = "modern-widget.html";
const LOCALES: &str = "locales/";
pub(crate) const DEMO: &str = "demo.html";
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

/// Where a shop tries out how its chat could look, in the all-in-one development mode. Its preview is the chat's page
/// with another script, and shows pictures of any host.
const STUDIO: &str = "studio.html";
const PREVIEW: &str = "studio-preview.html";
const STUDIO_FILES: [&str; 2] = ["studio", "js/studio"];
const SCRIPTS: [&str; 2] = [r#"src="js/main.js""#, r#"src="js/studio-preview.js""#];

/// Shows pictures of hosts that don't say whether they may be held.
const CREDENTIALLESS: HeaderValue = HeaderValue::from_static("credentialless");

/// So many languages of a visitor are looked at. Nobody counts who asks for files.
const ACCEPTED: usize = 8;

/// How the chat is on a site.
struct Shown {
    config: Asset,
    /// Of the chat's page: who may frame it, and whose pictures it shows.
    policy: HeaderValue,
    has_pictures: bool,
    /// What the chat's script will ask for first, so that the browser need not wait for the script to do so.
    link: HeaderValue,
    /// The chat's language, where it is not the visitor's.
    locale: Option<String>,
}

/// See the module.
pub(crate) struct Assets {
    /// All but the chat's page.
    files: HashMap<String, Asset>,
    /// The chat's page, by the language of the sentences in it.
    pages: BTreeMap<String, Asset>,
    sites: HashMap<String, Shown>,
    /// `v/<hash>/`.
    hashed: String,
    /// `v/<SHA-256 of embed.js>/embed.js`.
    pinned: String,
    /// Whether pages hold only what agrees to be held. The frame of a captcha's provider doesn't.
    isolated: bool,
}

impl Assets {
    /// `isolated`: there is no captcha. `demo`: this is the development mode.
    pub(crate) fn new(sites: &Sites, configs: &Configs, isolated: bool, demo: bool) -> Self {
        let contents = self::files();
        let names: Vec<String> = contents.keys().cloned().collect();
        let mut all = Sha256::new();
        for (name, content) in &contents {
            all.update(name);
            all.update([0]);
            all.update(Sha256::digest(content));
        }
        let hashed = format!("v/{}/", hex(&all.finalize()));
        let pinned = format!("v/{}/{EMBED}", hex(&Sha256::digest(embed())));
        let page = point(&contents[PAGE], &names, &hashed);
        let policy = page_policy("'self'", "");
        let page_in = |(name, sentences): (&String, &Bytes)| {
            let language = name.strip_prefix(LOCALES)?.strip_suffix(".json")?;
            Some((language.to_owned(), Asset::page(&with_sentences(&page, language, sentences), &policy)))
        };
        let pages = contents.iter().filter_map(page_in).collect();
        let mut files = HashMap::new();
        if demo {
            let preview = String::from_utf8_lossy(&contents[PAGE]).replace(SCRIPTS[0], SCRIPTS[1]);
            files.insert(PREVIEW.to_owned(), Asset::page(preview.as_bytes(), &page_policy("'self'", "https:")));
        }
        for (name, content) in contents {
            let asset = match name.as_str() {
                // The one is each site's own, and under no hash; the other is in `pages`.
                widget::NAME | PAGE => continue,
                name if !demo && STUDIO_FILES.iter().any(|start| name.starts_with(start)) => continue,
                DEMO | STUDIO => Asset::page(&content, DEMO_POLICY),
                CAPTCHA => Asset::page(&content, CAPTCHA_POLICY),
                name => Asset::new(content, kind(name), None),
            };
            files.insert(name, asset);
        }
        let shown = |(id, config): (&SiteId, &widget::Config)| {
            let ancestors = sites.get(id).map_or("'self'".to_owned(), |site| site.frame_ancestors());
            let hosts: Vec<String> = config.image_hosts().map(|host| format!("https://{host}")).collect();
            let policy = page_policy(&ancestors, &hosts.join(" ")).parse();
            let of_site = if id.as_str() == DEFAULT { String::new() } else { format!("?site={id}") };
            let link = format!("<{}{of_site}>; rel=preload; as=fetch; crossorigin", widget::NAME).parse();
            let shown = Shown {
                config: Asset::new(config.json().into(), kind(widget::NAME), None),
                policy: policy.expect("policies are of words, checked origins and checked hosts"),
                has_pictures: !hosts.is_empty(),
                link: link.expect("ids are of few characters"),
                locale: config.locale().map(str::to_owned),
            };
            (id.to_string(), shown)
        };
        Self { files, pages, sites: configs.iter().map(shown).collect(), hashed, pinned, isolated }
    }

    /// Lets a page hold a captcha's frame, where there may be one.
    fn open(&self, mut response: Response) -> Response {
        if !self.isolated {
            response.headers_mut().remove(EMBEDDER_POLICY);
        }
        response
    }

    /// The chat's page, in the language that is most likely wanted. It is a guess: what the shop's page says of the
    /// language, nobody knows here.
    fn page(&self, shown: Option<&Shown>, query: &str, headers: &HeaderMap) -> Option<&Asset> {
        let asked = parameter(query, "locale");
        let of_site = shown.and_then(|shown| shown.locale.as_deref());
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Browsers name the dearest first.
        let wanted = asked.as_deref().into_iter().chain(of_site).chain(accepted.split(',').take(ACCEPTED));
        let mut known = wanted.chain(["en"]).filter_map(|name| {
            let language = name.split([';', '-', '_']).next()?.trim().to_ascii_lowercase();
            self.pages.get(&language)
        });
        known.next()
    }

    /// Answers for `/widget/<path>`. The chat's page and its configuration name their site in the query; for one that is
    /// unknown only our own pages may frame the page.
    fn answer(&self, path: &str, query: &str, headers: &HeaderMap) -> Response {
        let site = parameter(query, "site").unwrap_or(DEFAULT.into());
        let shown = self.sites.get(site.as_ref());
        if path == widget::NAME {
            let shown = shown.or_else(|| self.sites.get(DEFAULT));
            return shown
                .map_or_else(|| ApiError::NotFound.into_response(), |shown| shown.config.answer(headers, false));
        }
        let pinned = path == self.pinned;
        let hashed = if pinned { Some(EMBED) } else { path.strip_prefix(self.hashed.as_str()) };
        let asset =
            if path == PAGE { self.page(shown, query, headers) } else { self.files.get(hashed.unwrap_or(path)) };
        match asset {
            // Pages find their neighbours and the API by their own address, so they have one address only.
            Some(asset) if path != DEMO && (hashed.is_none() || !asset.is_page()) => {
                let mut response = asset.answer(headers, hashed.is_some());
                if pinned {
                    // A browser compares hashes only of what it may read, and every shop's may.
                    let anybody = HeaderValue::from_static("*");
                    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anybody);
                }
                if path == PAGE {
                    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Language"));
                }
                if let (PAGE, Some(shown)) = (path, shown) {
                    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, shown.policy.clone());
                    response.headers_mut().insert(header::LINK, shown.link.clone());
                }
                if path == PREVIEW || (path == PAGE && shown.is_some_and(|shown| shown.has_pictures)) {
                    response.headers_mut().insert(EMBEDDER_POLICY, CREDENTIALLESS);
                }
                self.open(response)
            }
            _ => ApiError::NotFound.into_response(),
        }
    }
}

/// A file of the widget.
#[utoipa::path(get, path = "/widget/{path}", tag = "Widget",
    params(("path" = String, Path, description = "`embed.js`, `modern-widget.html`, `widget-config.json` and their files"),
        ("site" = Option<String>, Query, description = "Of `modern-widget.html` and `widget-config.json`: whose; default \
            `default`"),
        ("locale" = Option<String>, Query, description = "Of `modern-widget.html`: its language; default the site's, \
            else what `Accept-Language` wants")),
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

/// Of a query; the first of its name.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(query.as_bytes()).find_map(|(known, value)| (known == name).then_some(value))
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

/// The page with the chat's sentences in a language, so that its script need not ask for them.
fn with_sentences(page: &[u8], language: &str, sentences: &[u8]) -> Vec<u8> {
    let sentences: serde_json::Value = serde_json::from_slice(sentences).expect("languages are JSON");
    // In a script nothing else could end it.
    let sentences = sentences.to_string().replace('<', "\\u003c");
    let script = format!(r#"<script type="application/json" id="sentences" lang="{language}">{sentences}</script>"#);
    String::from_utf8_lossy(page).replacen("</body>", &format!("{script}\n</body>"), 1).into_bytes()
}

/// `pictures`: further sources of them.
fn page_policy(ancestors: &str, pictures: &str) -> String {
    let pictures = format!("'self' data: {pictures}");
    let pictures = pictures.trim_end();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src {pictures}; \
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
        Assets::new(&sites, &Configs::read(None, &sites).unwrap(), true, false)
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
            let configs = Configs::read(None, &sites).unwrap();
            let answer = Assets::new(&sites, &configs, isolated, false).answer(PAGE, "", &HeaderMap::new());
            assert_eq!(answer.headers().contains_key(EMBEDDER_POLICY), isolated);
        };
        check(true);
        check(false);
    }

    #[test]
    fn every_file_of_the_widget_is_there_and_nothing_else() {
        for name in ["embed.js", PAGE, "widget-config.json", "widget-config.schema.json", "widget.css", "js/main.js"] {
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
            STUDIO,
            PREVIEW,
            "studio.css",
            "js/studio.js",
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
            &format!("{hashed}{}", widget::NAME),
            &format!("{hashed}{hashed}embed.js"),
        ] {
            assert_eq!(ask(path, &[]).status(), 404, "{path}");
        }
    }

    /// An address with the hash that a shop writes on its tag: the same bytes for ever, readable by any page.
    #[tokio::test]
    async fn embed_js_can_be_pinned_by_its_own_hash() {
        let content = embed();
        let pinned = format!("v/{}/embed.js", hex(&Sha256::digest(&content)));
        let script = ask(&pinned, &[]);
        let header = |name: &str| script.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(script.status(), 200);
        assert_eq!(header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(header("access-control-allow-origin"), "*");
        assert_eq!(header("cross-origin-resource-policy"), "cross-origin");
        assert_eq!(header("content-type"), "text/javascript; charset=utf-8");
        assert_eq!(axum::body::to_bytes(script.into_body(), 1 << 20).await.unwrap(), content);

        assert!(!ask("embed.js", &[]).headers().contains_key("access-control-allow-origin"));
        for other in [pinned.replace("embed.js", PAGE), pinned.replace("embed.js", "js/main.js"), pinned.to_uppercase()]
        {
            assert_eq!(ask(&other, &[]).status(), 404, "{other}");
        }
    }

    /// What every page of a shop loads, whether or not anybody chats.
    #[test]
    fn embed_js_is_small() {
        let script = ask("embed.js", &[("accept-encoding", "gzip")]);
        let bytes = axum::body::HttpBody::size_hint(script.body()).exact().unwrap();
        assert!(bytes <= 3584, "embed.js has {bytes} bytes with gzip");
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
        assert_eq!(text.as_bytes(), embed());
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

    /// Two shops of which one has pictures from elsewhere, in the development mode or not.
    fn shops(demo: bool) -> Assets {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let site = |id: &str| format!(r#"{{"id":"{id}","allowed_origins":["https://{id}.example"]}}"#);
        write("sites.json", &format!("[{},{}]", site("lamps"), site("poles")));
        let sites = folder.path().join("sites.json").display().to_string();
        let sites = Sites::new(&config(&["--sites-file", &sites])).unwrap();
        std::fs::remove_file(folder.path().join("sites.json")).unwrap();
        write("lamps.json", r#"{"name":"Lamps","image_hosts":["cdn.lamps.example","img.example"]}"#);
        write("poles.json", r#"{"name":"Lampy","locale":"pl"}"#);
        let configs = Configs::read(Some(folder.path()), &sites).unwrap();
        Assets::new(&sites, &configs, true, demo)
    }

    #[tokio::test]
    async fn the_page_has_the_sentences_and_says_where_the_settings_are() {
        let assets = shops(false);
        let of = |language| HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language))]);
        let check = async |query: &str, accepted: Option<&'static str>, config: &str, language: &str| {
            let answer = assets.answer(PAGE, query, &accepted.map(of).unwrap_or_default());
            assert_eq!(answer.headers()["link"], format!("<{config}>; rel=preload; as=fetch; crossorigin"));
            assert!(answer.headers().get_all("vary").iter().any(|value| value == "Accept-Language"));
            let page = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            let page = std::str::from_utf8(&page).unwrap();
            let start = format!(r#"<script type="application/json" id="sentences" lang="{language}">"#);
            let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("{query} {accepted:?}: {page}"));
            let read = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
            let locale = Folder::get(&format!("{LOCALES}{language}.json")).unwrap().data;
            assert_eq!(read(rest.split_once("</script>").unwrap().0.as_bytes()), read(&locale));
            let (config, query) = config.split_once('?').unwrap_or((config, ""));
            assert_eq!(assets.answer(config, query, &HeaderMap::new()).status(), 200);
        };
        check("", None, "widget-config.json", "en").await;
        check("site=default", Some("fr-CH, fr;q=0.9, en;q=0.8"), "widget-config.json", "fr").await;
        check("site=lamps", Some("xx,../../x;q=0.9,,DE_at;q=0.3"), "widget-config.json?site=lamps", "de").await;
        check("site=poles", Some("de"), "widget-config.json?site=poles", "pl").await;
        check("site=poles&locale=fr-CH", Some("de"), "widget-config.json?site=poles", "fr").await;
        check("locale=xx", Some("x,x,x,x,x,x,x,de,fr"), "widget-config.json", "de").await;
        check("", Some("x,x,x,x,x,x,x,x,de"), "widget-config.json", "en").await;
        // It is of no site, and what it says goes nowhere.
        let unknown = assets.answer(PAGE, "site=%0d%0ax", &HeaderMap::new());
        assert!(unknown.status() == 200 && !unknown.headers().contains_key("link"), "{unknown:?}");
        assert!(unknown.headers().get_all("vary").iter().any(|value| value == "Accept-Language"), "{unknown:?}");
        // Each language is another page to whoever keeps it.
        let mut asked = of("de");
        asked.insert(header::IF_NONE_MATCH, assets.answer(PAGE, "", &of("de")).headers()["etag"].clone());
        assert_eq!(assets.answer(PAGE, "", &asked).status(), StatusCode::NOT_MODIFIED);
        asked.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("fr"));
        assert_eq!(assets.answer(PAGE, "", &asked).status(), StatusCode::OK);
    }

    #[test]
    fn no_sentence_ends_the_script_that_it_is_in() {
        let page = with_sentences(b"<body></body>", "en", br#"{"a":"</script><b>"}"#);
        let script =
            r#"<script type="application/json" id="sentences" lang="en">{"a":"\u003c/script>\u003cb>"}</script>"#;
        assert_eq!(std::str::from_utf8(&page).unwrap(), format!("<body>{script}\n</body>"));
    }

    #[tokio::test]
    async fn each_site_gets_its_own_configuration() {
        let assets = shops(false);
        let name = async |query: &str| {
            let answer = assets.answer(widget::NAME, query, &HeaderMap::new());
            assert_eq!(
                (answer.status(), &answer.headers()["content-type"]),
                (StatusCode::OK, &HeaderValue::from_static("application/json"))
            );
            let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()["name"].as_str().unwrap().to_owned()
        };
        assert_eq!(name("site=lamps").await, "Lamps");
        for query in ["", "site=default", "site=nobody", "site=", "site=LAMPS"] {
            assert_eq!(name(query).await, "Maren & Oak", "{query}");
        }
        let tag = assets.answer(widget::NAME, "site=lamps", &HeaderMap::new()).headers()["etag"].clone();
        let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        assert_eq!(assets.answer(widget::NAME, "site=lamps", &asked).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(assets.answer(widget::NAME, "", &asked).status(), StatusCode::OK);
    }

    /// Pictures are of the hosts that a shop named. They say nothing of being held, so a page that shows them must not
    /// ask for that.
    #[test]
    fn a_page_shows_pictures_of_its_sites_hosts_alone() {
        let assets = shops(false);
        let check = |query: &str, pictures: &str, embedder: &str| {
            let answer = assets.answer(PAGE, query, &HeaderMap::new());
            let policy = answer.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains(&format!("; img-src {pictures}; ")), "{query}: {policy}");
            assert_eq!(answer.headers()[EMBEDDER_POLICY], embedder, "{query}");
        };
        check("site=lamps", "'self' data: https://cdn.lamps.example https://img.example", "credentialless");
        check("", "'self' data:", "require-corp");
        check("site=nobody", "'self' data:", "require-corp");
    }

    #[tokio::test]
    async fn the_studio_is_there_in_development_alone() {
        for demo in [true, false] {
            for path in [STUDIO, PREVIEW, "studio.css", "js/studio.js", "js/studio-preview.js"] {
                let status = shops(demo).answer(path, "", &HeaderMap::new()).status();
                assert_eq!(status.is_success(), demo, "{path}");
            }
        }
        let preview = shops(true).answer(PREVIEW, "", &HeaderMap::new());
        let policy = preview.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.ends_with("frame-ancestors 'self'") && !policy.contains("unsafe"), "{policy}");
        let preview = axum::body::to_bytes(preview.into_body(), 1 << 20).await.unwrap();
        let preview = std::str::from_utf8(&preview).unwrap();
        assert!(preview.contains(SCRIPTS[1]) && !preview.contains("js/main.js"), "{preview}");
    }
}
