//! What kind of device a browser runs on, as far as it tells by itself: for analytics, which learns the kind alone.
//!
//! By words in the `User-Agent`, because their absence means as little as their presence: nothing is decided by it. An
//! iPad that asks for pages as a desk computer does (Safari's default) says nothing else than a Mac, and counts as one;
//! other browsers on it give themselves away.

use axum::http::{HeaderMap, header};
use protocol::Device;

use crate::{bots, request::text};

/// Screens that nobody carries, and consoles.
const SCREENS: [&str; 9] =
    ["smart-tv", "smarttv", "android tv", "appletv", "googletv", "bravia", "xbox", "playstation", "nintendo"];
/// Browsers of iOS: with the name of a Mac they run on an iPad.
const OF_IOS: [&str; 4] = ["crios/", "fxios/", "edgios/", "mobile/"];

/// `None`: it does not say what it is.
pub(crate) fn of(headers: &HeaderMap) -> Option<Device> {
    let agent = text(headers, header::USER_AGENT.as_str()).unwrap_or_default().to_ascii_lowercase();
    if agent.trim().is_empty() {
        return None;
    }
    let has = |words: &[&str]| words.iter().any(|word| agent.contains(word));
    Some(if bots::is_program(&agent) || has(&SCREENS) {
        Device::Other
    } else if has(&["ipad"]) || (has(&["macintosh"]) && has(&OF_IOS)) {
        Device::Tablet
    } else if text(headers, "sec-ch-ua-mobile") == Some("?1") || has(&["iphone", "ipod", "windows phone"]) {
        Device::Phone
    } else if has(&["android"]) {
        // Both on telephones only, by the makers' own rule.
        if has(&["mobile", "opera mini"]) { Device::Phone } else { Device::Tablet }
    } else if has(&["windows nt", "macintosh"]) {
        Device::Desktop
    } else if has(&["mobile"]) {
        Device::Phone
    } else if has(&["tablet"]) {
        Device::Tablet
    } else if has(&["x11", "linux", "cros "]) {
        Device::Desktop
    } else {
        Device::Other
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn browsers_say_what_they_run_on() {
        let check = |agent: &'static str, mobile: Option<&'static str>, expected: Option<Device>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
            if let Some(mobile) = mobile {
                headers.insert("sec-ch-ua-mobile", HeaderValue::from_static(mobile));
            }
            assert_eq!(of(&headers), expected, "{agent:?} {mobile:?}");
        };
        let (phone, tablet, desktop, other) =
            (Some(Device::Phone), Some(Device::Tablet), Some(Device::Desktop), Some(Device::Other));
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/17.5 Mobile/15E148 Safari/604.1";
        check(safari, None, phone);
        let chrome = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 \
                      Mobile Safari/537.36";
        check(chrome, Some("?1"), phone);
        check(chrome, None, phone);
        check("Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", None, phone);
        let in_app = "Mozilla/5.0 (Linux; Android 13; SM-G991B; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 \
                      Chrome/125.0.6422.53 Mobile Safari/537.36 Instagram/334.0";
        check(in_app, None, phone);
        check("Opera/9.80 (Android; Opera Mini/36.2.2254/191.256; U; en) Presto/2.12.423 Version/12.16", None, phone);
        check("Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5", None, phone);
        check("Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 ArkWeb/4.1 Mobile", None, phone);
        // The reduced agent of a telephone that asks for the page of a desk computer.
        check("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36", Some("?1"), phone);

        let ipad = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                    Version/16.6 Mobile/15E148 Safari/604.1";
        check(ipad, None, tablet);
        let chrome_of_ipad = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                              CriOS/126 Version/11.1.1 Safari/605.1.15";
        check(chrome_of_ipad, None, tablet);
        let android_tablet = "Mozilla/5.0 (Linux; Android 13; SM-X906B) AppleWebKit/537.36 (KHTML, like Gecko) \
                              Chrome/126.0.0.0 Safari/537.36";
        check(android_tablet, Some("?0"), tablet);
        check("Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0", None, tablet);
        check("Mozilla/5.0 (Tablet; OpenHarmony 5.0) AppleWebKit/537.36 ArkWeb/4.1", None, tablet);

        // Safari of a Mac, and of an iPad that asks for the same pages.
        let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                   Version/17.5 Safari/605.1.15";
        check(mac, None, desktop);
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0";
        check(windows, Some("?0"), desktop);
        check("Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.1; Trident/6.0; Tablet PC 2.0)", None, desktop);
        check("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", None, desktop);
        let chromebook = "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) \
                          Chrome/126.0.0.0 Safari/537.36";
        check(chromebook, Some("?0"), desktop);

        check("Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 Version/6.0 TV Safari/537.36", None, other);
        check("Mozilla/5.0 (PlayStation; PlayStation 5/8.20) AppleWebKit/605.1.15 Version/16.0 Safari", None, other);
        let crawler = "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like \
                       Gecko) Chrome/126.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; \
                       +http://www.google.com/bot.html)";
        check(crawler, None, other);
        check("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/126.0.0.0", Some("?0"), other);
        check("curl/8.5.0", None, other);
        check("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", None, other);
        check("", Some("?1"), None);
        check("  ", None, None);
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
