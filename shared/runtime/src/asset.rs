//! Files that are part of the executable, as browsers ask for them.
//!
//! Hashes and compressed forms are made once, when an [`Asset`] is.

use std::{fmt::Write as _, io::Write as _};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use crate::http::RESOURCE_POLICY;

const CROSS_ORIGIN: HeaderValue = HeaderValue::from_static("cross-origin");

/// Whether a page holds only what agrees to be held.
pub const EMBEDDER_POLICY: HeaderName = HeaderName::from_static("cross-origin-embedder-policy");
const REQUIRE_CORP: HeaderValue = HeaderValue::from_static("require-corp");

/// What every page has beside its policy. A shop that isolates itself (`Cross-Origin-Embedder-Policy`) can only frame a
/// page that does the same and lets itself be framed. A page at the top shares its window with nobody who opened it.
const PAGE_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (EMBEDDER_POLICY, REQUIRE_CORP),
    (RESOURCE_POLICY, CROSS_ORIGIN),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS)),
];
/// The chat copies answers to the clipboard, and needs nothing else of a browser.
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), \
                           magnetometer=(), microphone=(), midi=(), payment=(), publickey-credentials-get=(), \
                           screen-wake-lock=(), serial=(), usb=(), clipboard-read=(), clipboard-write=(self)";

/// One file.
pub struct Asset {
    plain: Form,
    gzip: Option<Form>,
    kind: &'static str,
    policy: Option<HeaderValue>,
}

struct Form {
    bytes: Bytes,
    tag: HeaderValue,
}

impl Asset {
    /// A file of a `kind`, for browsers on any page unless it has a policy.
    pub fn new(content: Bytes, kind: &'static str, policy: Option<&str>) -> Self {
        let text = !kind.starts_with("image/") || kind.starts_with("image/svg");
        let small = text.then(|| gzip(&content)).filter(|small| small.len() < content.len());
        let hash = hex(&Sha256::digest(&content)[..16]);
        let form = |bytes, mark| {
            let tag = HeaderValue::from_maybe_shared(format!("\"{hash}{mark}\"")).expect("hex makes a header");
            Form { bytes, tag }
        };
        Self {
            gzip: small.map(|small| form(small, "-gz")),
            plain: form(content, ""),
            kind,
            policy: policy.map(|policy| policy.parse().expect("policies are of words and checked origins")),
        }
    }

    /// An HTML page with its policy.
    pub fn page(content: &[u8], policy: &str) -> Self {
        Self::new(Bytes::copy_from_slice(content), "text/html; charset=utf-8", Some(policy))
    }

    /// Whether it has a policy of its own.
    pub fn is_page(&self) -> bool {
        self.policy.is_some()
    }

    /// The answer to who asks with these headers. `forever`: its address has the hash of its content.
    pub fn answer(&self, asked: &HeaderMap, forever: bool) -> Response {
        let zipped = self.gzip.as_ref().filter(|_| takes_gzip(asked));
        let form = zipped.unwrap_or(&self.plain);
        let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let known = known.flat_map(|value| value.split(',')).any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == form.tag
        });
        let mut response = Response::new(if known { Body::empty() } else { Body::from(form.bytes.clone()) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        let keep = if forever { "public, max-age=31536000, immutable" } else { "no-cache" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
        headers.insert(header::ETAG, form.tag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        match &self.policy {
            Some(policy) => {
                headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
                headers.extend(PAGE_HEADERS);
            }
            None => {
                headers.insert(RESOURCE_POLICY, CROSS_ORIGIN);
                // An isolated page takes only a worker that says the same of itself.
                headers.insert(EMBEDDER_POLICY, REQUIRE_CORP);
            }
        }
        if !known {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
            if zipped.is_some() {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        response
    }
}

/// The media type of a file, by its name.
pub fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn gzip(content: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(content).and_then(|()| encoder.finish());
    written.expect("memory takes what is written").into()
}

/// Whether `Accept-Encoding` names gzip (or anything) without forbidding it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<(&str, bool)> = values
        .flat_map(|value| value.split(','))
        .map(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = parameters.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok());
            (name.trim(), weight != Some(0.0))
        })
        .collect();
    let of = |wanted: &str| codings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, taken)| *taken);
    of("gzip").or_else(|| of("*")).unwrap_or(false)
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
