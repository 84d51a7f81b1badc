//! A JSON request body, read within limits.

use std::time::Duration;

use axum::{
    body::Body as Stream,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use crate::{problem::ApiError, state::State};

/// The body, as `T`.
pub(crate) struct Body<T>(pub(crate) T);

/// What is read and thrown away of a body that is too large, so that the client, still sending, can read our answer
/// instead of finding the connection reset.
const DISCARD_BYTES: usize = 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_millis(500);

impl<T: DeserializeOwned> FromRequest<State> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        must_be_json(request.headers())?;
        parse(&raw(request, state).await?).map(Self)
    }
}

/// Refuses what does not say that it is JSON.
pub(crate) fn must_be_json(headers: &HeaderMap) -> Result<(), ApiError> {
    if is_json(headers) { Ok(()) } else { Err(ApiError::UnsupportedMediaType) }
}

/// The body as it came, within the limits.
pub(crate) async fn raw(request: Request, state: &State) -> Result<Bytes, ApiError> {
    let (max, patience) = (state.config.body_max_bytes, state.config.body_timeout);
    tokio::time::timeout(patience, read(request, max)).await.map_err(|_| {
        let detail = format!("The body had not arrived after {} seconds.", patience.as_secs_f32());
        ApiError::InvalidRequest { field: None, detail: detail.into() }
    })?
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|mime| mime.eq_ignore_ascii_case("application/json"));
    // A charset is not a parameter of JSON, but many send this one.
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    })
}

async fn read(request: Request, max: usize) -> Result<Bytes, ApiError> {
    let said = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let waits = request.headers().contains_key(header::EXPECT);
    let mut body = request.into_body();
    if said.is_some_and(|said: usize| said > max) {
        // A client that expects a 100 has sent nothing yet.
        if !waits {
            discard(body).await;
        }
        return Err(ApiError::PayloadTooLarge { max_bytes: max });
    }
    let mut bytes = BytesMut::with_capacity(said.unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let cut = |_| ApiError::InvalidRequest { field: None, detail: "The body was cut off.".into() };
        let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
        if bytes.len() + data.len() > max {
            discard(body).await;
            return Err(ApiError::PayloadTooLarge { max_bytes: max });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn discard(mut body: Stream) {
    let mut left = DISCARD_BYTES;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(size) else { break };
            left = rest;
        }
    };
    // However it ends, the answer is the same.
    tokio::time::timeout(DISCARD_TIME, all).await.ok();
}

/// serde_json goes 128 levels deep at most where it builds something, and skips what is not asked for without
/// recursion, so nesting can't exhaust the stack.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde would take an array for the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::InvalidRequest { field: None, detail: "The body must be a JSON object.".into() });
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let sentence = inner.to_string();
        let field = if inner.is_data() { field(&path, &sentence) } else { None };
        let detail = if inner.is_data() { without_values(&sentence) } else { sentence };
        ApiError::InvalidRequest { field, detail: detail.into() }
    })?;
    let trailing = |_| ApiError::InvalidRequest { field: None, detail: "The body goes on after its JSON.".into() };
    json.end().map_err(trailing)?;
    Ok(value)
}

/// The path of the field that is wrong. A missing field's own name stands only in serde's sentence.
fn field(path: &str, sentence: &str) -> Option<String> {
    let missing = sentence.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
    match (path, missing) {
        (".", None) => None,
        (".", Some(name)) => Some(name.to_owned()),
        (path, Some(name)) => Some(format!("{path}.{name}")),
        (path, None) => Some(path.to_owned()),
    }
}

/// What serde says of a value that is of the wrong kind, without the value, which it quotes: it may be a visitor's text,
/// and answers get logged by who receives them. What was expected comes last and is in our own words.
fn without_values(sentence: &str) -> String {
    let quotes = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant ", "unknown field "];
    if !quotes.iter().any(|start| sentence.starts_with(start)) {
        return sentence.to_owned();
    }
    match sentence.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => "not of the right form".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Sample {
        name: String,
        page: Option<Page>,
        turns: Option<Vec<Page>>,
        raw: Option<Box<serde_json::value::RawValue>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Page {
        url: String,
    }

    #[test]
    fn a_bad_field_is_named() {
        let check = |json: &str, expected: Option<&str>| match parse::<Sample>(json.as_bytes()) {
            Err(ApiError::InvalidRequest { field, detail }) => {
                assert_eq!(field.as_deref(), expected, "{json}");
                assert!(!detail.is_empty() && detail.len() < 200, "{detail}");
                assert!(!detail.contains("secret"), "{detail}");
            }
            other => panic!("{json}: {other:?}"),
        };
        check("{}", Some("name"));
        check(r#"{"name":5}"#, Some("name"));
        check(r#"{"name":null}"#, Some("name"));
        check(r#"{"name":"x","page":{}}"#, Some("page.url"));
        check(r#"{"name":"x","page":{"url":[]}}"#, Some("page.url"));
        check(r#"{"name":"x","page":"secret"}"#, Some("page"));
        check(r#"{"name":"x","page":"a, expected secret`, expected secret\", expected b"}"#, Some("page"));
        check(r#"{"name":"x","page":{"url":5,"secret":1}}"#, Some("page.url"));
        check(r#"{"name":"x","secret":}"#, None);
        check(r#"{"name":"x\qsecret"}"#, None);
        check(r#"{"name":"x","turns":[{"url":"a"},{"url":false}]}"#, Some("turns[1].url"));
        check(&format!(r#"{{"name":"x","page":"{}"}}"#, "y".repeat(9999)), Some("page"));
        check("", None);
        check("[", None);
        check("null", None);
        check(r#"{"name":"x"} {"#, None);
        check(r#"{"name":"x""#, None);
        check("{\"name\":\"\u{1}\"}", None);
    }

    #[test]
    fn nesting_and_unknown_fields_do_no_harm() {
        let deep = |field: &str| format!(r#"{{"name":"x","{field}":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(parse::<Sample>(deep("unknown").as_bytes()).is_ok());
        assert!(parse::<Sample>(deep("raw").as_bytes()).is_ok());
        assert!(parse::<Sample>(deep("page").as_bytes()).is_err());
        assert!(parse::<serde_json::Value>(deep("any").as_bytes()).is_err());
        assert!(parse::<Sample>(b"{\"name\":\"\xff\"}").is_err());
    }

    #[test]
    fn only_json_is_json() {
        let check = |value: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (header::CONTENT_TYPE, value.parse().unwrap())));
            assert_eq!(is_json(&headers), expected, "{value:?}");
        };
        check(Some("application/json"), true);
        check(Some("Application/JSON; charset=UTF-8"), true);
        check(Some("application/json;charset=\"utf-8\""), true);
        check(Some("application/json; charset=latin1"), false);
        check(Some("text/plain"), false);
        check(Some("text/json"), false);
        check(Some("application/jsonp"), false);
        check(Some("application/x-www-form-urlencoded"), false);
        check(Some(""), false);
        check(None, false);
    }
}
