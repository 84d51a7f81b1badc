//! Headers that every response has, whatever it is.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::HSTS;

/// Who may load a response as part of another page, without CORS.
pub const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// No page of ours is needed on an API response.
const API_CSP: &str = "default-src 'none'; frame-ancestors 'none'";

/// Headers that keep a browser from doing more with a response than it is meant for. A page and a widget's file bring
/// their own policies, and what may be cached says so.
pub fn guard(headers: &mut HeaderMap, secure: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(API_CSP));
    // Browsers that know `frame-ancestors` go by it; `DENY` would only keep old ones from showing the chat.
    if policy.to_str().is_ok_and(|policy| policy.contains("frame-ancestors 'none'")) {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    // Allowed pages read by CORS, which this does not touch. It keeps all others from loading an answer as an image or
    // a script.
    headers.entry(RESOURCE_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
}
