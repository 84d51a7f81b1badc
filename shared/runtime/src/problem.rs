//! Problem documents (RFC 9457): how every HTTP answer of ours tells what went wrong, always with the same members.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use serde_json::{Map, Value};

/// What a caller sees of an error. In two parts, because only the outermost layer knows the request's id.
#[derive(Clone, Debug)]
pub struct Face<'a> {
    status: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
    document: Document<'a>,
}

/// The members in the order in which a person reads them.
#[derive(Clone, Debug, Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    request_id: &'a str,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl<'a> Face<'a> {
    /// `code` is stable and for programs, `detail` a sentence for a developer.
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: &'a str) -> Self {
        let members = Map::new();
        let document =
            Document { r#type: "about:blank", title, status: status.as_u16(), code, detail, request_id: "", members };
        Self { status, header: None, document }
    }

    /// With a further member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.document.members.insert(member.to_owned(), value.into());
        self
    }

    /// With the header that says how to sign in.
    #[must_use]
    pub fn challenge(mut self, scheme: &'static str) -> Self {
        self.header = Some((header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme)));
        self
    }

    /// With the seconds after which it is worth another try, as header and member.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.header = Some((header::RETRY_AFTER, seconds.into()));
        self.with("retry_after", seconds)
    }

    /// The answer with its headers and still without the document.
    pub fn head(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.extend(self.header);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// The document.
    pub fn body(&self, request_id: &str) -> Body {
        let document = Document { request_id, ..self.document.clone() };
        Body::from(serde_json::to_vec(&document).expect("strings and numbers serialize"))
    }
}
