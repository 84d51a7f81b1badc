//! What a request tells about who sent it: its headers, and what the widget says of its browser.
//!
//! All of it can be made up, so it only ever adds to a score. What is looked at are contradictions and things that
//! browsers always send; the order of headers is not, because the HTTP stack does not keep it across names.
//! `Sec-CH-UA` and `Sec-Fetch-*` are sent to secure addresses only (https, and loopback), so elsewhere nobody misses
//! them.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use serde::Deserialize;
use url::{Host, Url};
use utoipa::ToSchema;

use super::score::{Case, Reason};

/// What a client may tell of how a message came about. Everything is optional; the widget tells all of it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub(crate) struct Signals {
    /// `navigator.webdriver`.
    webdriver: Option<bool>,
    /// Milliseconds from the first key to sending; absent when nothing was typed.
    form_ms: Option<u64>,
    /// What stands in a field that people don't see: nothing.
    honeypot: Option<String>,
}

impl Signals {
    /// Adds what they say against the request.
    pub(super) fn judge(&self, min_fill: Duration, case: &mut Case) {
        if self.webdriver == Some(true) {
            case.add(Reason::Webdriver);
        }
        if self.form_ms.is_some_and(|ms| Duration::from_millis(ms) < min_fill) {
            case.add(Reason::TooFast);
        }
        if self.honeypot.as_ref().is_some_and(|text| !text.is_empty()) {
            case.add(Reason::Honeypot);
        }
    }
}

/// Driven browsers and crawlers, as they call themselves.
const AUTOMATION: [&str; 12] = [
    "headlesschrome",
    "phantomjs",
    "slimerjs",
    "htmlunit",
    "selenium",
    "webdriver",
    "puppeteer",
    "playwright",
    // Not "bot" alone: that is a brand of telephones, too.
    "bot/",
    "crawler",
    "spider",
    "scrapy",
];

/// Libraries and tools, as they call themselves.
const TOOLS: [&str; 18] = [
    "curl/",
    "wget/",
    "python",
    "aiohttp",
    "httpx",
    "go-http-client",
    "okhttp",
    "java/",
    "apache-httpclient",
    "libwww",
    "axios/",
    "node",
    "undici",
    "guzzle",
    "ruby",
    "reqwest",
    "postman",
    "httpie",
];

/// Whether an agent, in small letters, calls itself a program and no person's browser.
pub(crate) fn is_program(agent: &str) -> bool {
    AUTOMATION.iter().chain(&TOOLS).any(|word| agent.contains(word))
}

/// Adds what the headers say against the request. `secure`: the address is one to which browsers send everything.
pub(super) fn judge(headers: &HeaderMap, secure: bool, case: &mut Case) {
    let agent = text(headers, header::USER_AGENT.as_str()).to_ascii_lowercase();
    let brands = text(headers, "sec-ch-ua").to_ascii_lowercase();
    if agent.trim().is_empty() {
        case.add(Reason::NoAgent);
        return;
    }
    if AUTOMATION.iter().any(|word| agent.contains(word) || brands.contains(word)) {
        case.add(Reason::Automation);
    } else if TOOLS.iter().any(|word| agent.contains(word)) {
        case.add(Reason::Tool);
    }
    if !agent.starts_with("mozilla/5.0") {
        return;
    }
    if text(headers, header::ACCEPT_LANGUAGE.as_str()).is_empty() {
        case.add(Reason::NoLanguage);
    }
    let chromium = version(&agent, "chrome/");
    let told = brand_version(&brands);
    if !brands.is_empty() && (chromium.is_none() || (told.is_some() && told != chromium)) {
        case.add(Reason::Contradiction);
    }
    let firefox = version(&agent, "firefox/");
    let safari = version(&agent, "version/").filter(|_| agent.contains("safari/") && chromium.is_none());
    // In-app browsers of Android got client hints late, and differ.
    let hints = chromium.is_some_and(|v| v >= 90) && !agent.contains("; wv)") && brands.is_empty();
    let fetches =
        chromium.is_some_and(|v| v >= 80) || firefox.is_some_and(|v| v >= 90) || safari.is_some_and(|v| v >= 17);
    if secure && (hints || (fetches && text(headers, "sec-fetch-mode").is_empty())) {
        case.add(Reason::MissingHeaders);
    }
}

/// Whether browsers take this for an address to which they may tell about themselves.
pub(super) fn is_secure(base: &str) -> bool {
    let Ok(base) = Url::parse(base) else { return false };
    base.scheme() == "https"
        || match base.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
}

/// A list header may come in several lines; none of these does from a browser.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    crate::request::text(headers, name).unwrap_or_default()
}

fn version(agent: &str, product: &str) -> Option<u32> {
    let (_, rest) = agent.split_once(product)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The version of Chromium in `"Chromium";v="120", "Not=A?Brand";v="99"`.
fn brand_version(brands: &str) -> Option<u32> {
    version(brands, r#""chromium";v=""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str =
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36";
    const HEADLESS: &str =
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/138.0.0.0 Safari/537.36";
    const BRANDS: &str = r#""Not)A;Brand";v="8", "Chromium";v="138", "Google Chrome";v="138""#;
    const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0";
    const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                          Version/18.5 Mobile/15E148 Safari/604.1";
    const WEBVIEW: &str = "Mozilla/5.0 (Linux; Android 11; SM-A125F Build/RP1A.200720.012; wv) AppleWebKit/537.36 (KHTML, \
                           like Gecko) Version/4.0 Chrome/109.0.5414.117 Mobile Safari/537.36 [FB_IAB/FB4A]";
    const CHROME_ON_IOS: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                                 Gecko) CriOS/138.0.7204.53 Mobile/15E148 Safari/604.1";
    const LANGUAGE: (&str, &str) = ("accept-language", "en-GB,en;q=0.9");
    const FETCH: (&str, &str) = ("sec-fetch-mode", "cors");

    fn reasons(headers: &[(&'static str, &str)], secure: bool) -> String {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let mut case = Case::default();
        judge(&headers, secure, &mut case);
        case.words()
    }

    /// People's browsers, with what they send to a secure address: nothing speaks against them.
    #[test]
    fn browsers_have_nothing_against_them() {
        let check = |headers: &[(&'static str, &str)]| assert_eq!(reasons(headers, true), "", "{headers:?}");
        check(&[("user-agent", CHROME), ("sec-ch-ua", BRANDS), LANGUAGE, FETCH]);
        check(&[("user-agent", FIREFOX), LANGUAGE, FETCH]);
        check(&[("user-agent", SAFARI), LANGUAGE, FETCH]);
        check(&[("user-agent", CHROME_ON_IOS), LANGUAGE, FETCH]);
        check(&[("user-agent", WEBVIEW), LANGUAGE, FETCH]);
        let edge = format!("{CHROME} Edg/138.0.0.0");
        let brands = r#""Not)A;Brand";v="8", "Chromium";v="138", "Microsoft Edge";v="138""#;
        check(&[("user-agent", &edge), ("sec-ch-ua", brands), LANGUAGE, FETCH]);
        let opera = format!("{CHROME} OPR/121.0.0.0");
        let brands = r#""Opera";v="121", "Chromium";v="138", "Not)A;Brand";v="8""#;
        check(&[("user-agent", &opera), ("sec-ch-ua", brands), LANGUAGE, FETCH]);
        let phone = CHROME.replace("X11; Linux x86_64", "Linux; Android 9; CUBOT NOTE 20");
        check(&[("user-agent", &phone), ("sec-ch-ua", BRANDS), LANGUAGE, FETCH]);
        // Old ones that had none of it.
        check(&[("user-agent", "Mozilla/5.0 (Windows NT 6.1; rv:78.0) Gecko/20100101 Firefox/78.0"), LANGUAGE]);
        // To an address that is not secure browsers tell less.
        assert_eq!(reasons(&[("user-agent", CHROME), LANGUAGE], false), "");
    }

    #[test]
    fn programs_are_known_by_what_they_say_and_by_what_they_lack() {
        let check = |headers: &[(&'static str, &str)], expected: &str| {
            assert_eq!(reasons(headers, true), expected, "{headers:?}");
        };
        check(&[], "no_agent");
        check(&[("user-agent", " ")], "no_agent");
        for agent in ["curl/8.5.0", "python-requests/2.32.3", "Python-urllib/3.12", "Go-http-client/1.1", "node"] {
            check(&[("user-agent", agent)], "tool");
        }
        check(&[("user-agent", "ShopBackend/1.0")], "");
        check(&[("user-agent", "PhantomJS/2.1.1")], "automation");
        check(
            &[("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")],
            "no_language automation",
        );
        let brands = r#""HeadlessChrome";v="138", "Not)A;Brand";v="8", "Chromium";v="138""#;
        check(&[("user-agent", HEADLESS), ("sec-ch-ua", brands), LANGUAGE, FETCH], "automation");
        // The brand tells what a changed User-Agent hides.
        check(&[("user-agent", CHROME), ("sec-ch-ua", brands), LANGUAGE, FETCH], "automation");
        check(&[("user-agent", HEADLESS)], "missing_headers no_language automation");
        check(&[("user-agent", CHROME)], "missing_headers no_language");
        check(&[("user-agent", CHROME), LANGUAGE, FETCH], "missing_headers");
        check(&[("user-agent", CHROME), ("sec-ch-ua", BRANDS), LANGUAGE], "missing_headers");
        check(&[("user-agent", FIREFOX), LANGUAGE], "missing_headers");
        check(&[("user-agent", SAFARI), LANGUAGE], "missing_headers");
        check(&[("user-agent", FIREFOX), ("sec-ch-ua", BRANDS), LANGUAGE, FETCH], "contradiction");
        let old = CHROME.replace("138", "120");
        check(&[("user-agent", &old), ("sec-ch-ua", BRANDS), LANGUAGE, FETCH], "contradiction");
    }

    #[test]
    fn the_widget_tells_how_a_message_came_about() {
        let check = |json: &str, expected: &str| {
            let signals: Signals = serde_json::from_str(json).unwrap();
            let mut case = Case::default();
            signals.judge(Duration::from_millis(300), &mut case);
            assert_eq!(case.words(), expected, "{json}");
        };
        check("{}", "");
        check(r#"{"webdriver":false,"form_ms":300,"honeypot":"","more":1}"#, "");
        check(r#"{"webdriver":true}"#, "webdriver");
        check(r#"{"form_ms":299}"#, "too_fast");
        check(r#"{"honeypot":" "}"#, "honeypot");
        assert!(serde_json::from_str::<Signals>(r#"{"form_ms":-1}"#).is_err());
    }

    #[test]
    fn secure_addresses_are_those_of_browsers() {
        let check = |base: &str, expected: bool| assert_eq!(is_secure(base), expected, "{base}");
        check("https://chat.shop.example", true);
        check("http://127.0.0.1:8000", true);
        check("http://localhost", true);
        check("http://shop.localhost:1", true);
        check("http://[::1]:8000", true);
        check("http://[::1]", true);
        check("http://chat.shop.example", false);
        check("http://192.168.0.7:8000", false);
        check("http://localhost.evil.example", false);
    }
}
