//! n8n's public API: finds the execution that runs for a message, and stops it.
//!
//! Nothing in n8n's answer tells which execution makes it. But while it runs, its data holds what its trigger was given,
//! and that is our request: [`Executions::find`] looks for the one that was given this very message. What is not found
//! beyond doubt is not stopped. Seen at n8n 2.38: the data is there from the start of a run, for a Webhook node under
//! `body`, for a Chat Trigger as it is; an API key with the scopes `execution:list` and `execution:stop` is enough.

use std::time::Duration;

use protocol::{MessageId, SessionId};
use reqwest::{
    Client, Method, Response, StatusCode,
    header::{HeaderName, HeaderValue},
};
use runtime::Secret;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use url::Url;

const TOKEN: HeaderName = HeaderName::from_static("x-n8n-api-key");
/// For one call, its answer included.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Executions that are asked for at once.
const PAGE: usize = 20;
/// Pages that are looked at, newest executions first.
const PAGES: usize = 10;
/// Bytes of a page: twenty times a full request with its workflow, and room.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of an execution's data that are looked into; more is taken for no match.
const DATA_BYTES: usize = 1024 * 1024;
/// An id is a number today; a longer one is none.
const ID_BYTES: usize = 64;

/// The public API of one n8n. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Executions {
    http: Client,
    base: Url,
    token: HeaderValue,
}

/// Why an execution was not stopped. Never says what n8n said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or not to its end.
    #[error("n8n's API can't be reached")]
    Unreachable,
    /// It refused.
    #[error("n8n's API answered {0}")]
    Refused(StatusCode),
    /// Its answer is larger than it may be.
    #[error("n8n's API answered with more than {PAGE_BYTES} bytes")]
    TooLarge,
    /// Its answer has another form.
    #[error("n8n's API answered in a form that is not understood")]
    Unreadable,
}

/// A page of `GET /executions`, as far as it is looked at.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<Running<'a>>,
    #[serde(rename = "nextCursor")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Running<'a> {
    /// A text, or a number in older versions.
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(default)]
    mode: Option<String>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The HTTP client of all sites' APIs. Follows no redirect, since the token would follow, and goes through no proxy.
pub fn client() -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("frontdesk/", env!("CARGO_PKG_VERSION")))
        .timeout(CALL_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()
}

impl Executions {
    /// The API at `base`, such as `https://n8n.example/api/v1`. `None` where no header can carry the token.
    pub fn new(http: Client, base: Url, token: &Secret) -> Option<Self> {
        let mut token = HeaderValue::from_str(token.expose()).ok()?;
        token.set_sensitive(true);
        Some(Self { http, base, token })
    }

    /// The execution that was given this message and has not ended, by its id.
    pub async fn find(&self, session: &SessionId, message: &MessageId) -> Result<Option<String>, Error> {
        // One that n8n lets wait for its own concurrency limit is `new`.
        for status in ["running", "new"] {
            let mut cursor = None;
            for _ in 0..PAGES {
                let page = self.page(status, cursor.as_deref()).await?;
                let page: Page<'_> = serde_json::from_slice(&page).map_err(|_| Error::Unreadable)?;
                let mut ours = page.data.iter().filter(|running| running.is_of(session, message));
                if let Some(running) = ours.next() {
                    // A message is given to n8n once. If it looks otherwise, this is not what it looks like.
                    return Ok(ours.next().is_none().then(|| running.id()).flatten());
                }
                cursor = page.next;
                if cursor.is_none() || page.data.len() < PAGE {
                    break;
                }
            }
        }
        Ok(None)
    }

    /// Stops an execution by its id.
    pub async fn stop_execution(&self, id: &str) -> Result<(), Error> {
        if !is_id(id) {
            return Err(Error::Unreadable);
        }
        let answer = self.call(Method::POST, &format!("executions/{id}/stop"), &[]).await?;
        if answer.status().is_success() { Ok(()) } else { Err(Error::Refused(answer.status())) }
    }

    async fn page(&self, status: &str, cursor: Option<&str>) -> Result<Vec<u8>, Error> {
        let limit = PAGE.to_string();
        let mut query = vec![("status", status), ("includeData", "true"), ("limit", limit.as_str())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let mut answer = self.call(Method::GET, "executions", &query).await?;
        if answer.status() != StatusCode::OK {
            return Err(Error::Refused(answer.status()));
        }
        let mut page = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|_| Error::Unreachable)? {
            if page.len() + chunk.len() > PAGE_BYTES {
                return Err(Error::TooLarge);
            }
            page.extend_from_slice(&chunk);
        }
        Ok(page)
    }

    async fn call(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<Response, Error> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url).header(TOKEN, self.token.clone());
        request.send().await.map_err(|_| Error::Unreachable)
    }
}

impl Running<'_> {
    fn id(&self) -> Option<String> {
        let id = self.id.get().trim_matches('"');
        is_id(id).then(|| id.to_owned())
    }

    /// Whether its trigger was given this message. Most are told apart without reading their data as JSON.
    fn is_of(&self, session: &SessionId, message: &MessageId) -> bool {
        let Some(data) = self.data.map(RawValue::get) else { return false };
        // Of a workflow that calls another one only the caller is ours to stop.
        self.mode.as_deref() == Some("webhook")
            // As a tree it takes ten times as much.
            && data.len() <= DATA_BYTES
            && memchr::memmem::find(data.as_bytes(), message.as_str().as_bytes()).is_some()
            && serde_json::from_str::<Value>(data).is_ok_and(|data| was_given(&data, session, message))
    }
}

/// Whether an item of a node that is still to run, or that has run, is our request: itself or its `body`, and nothing
/// deeper, where a visitor's own words could look like one.
fn was_given(data: &Value, session: &SessionId, message: &MessageId) -> bool {
    let stack = data.pointer("/executionData/nodeExecutionStack").and_then(Value::as_array);
    let ran = data.pointer("/resultData/runData").and_then(Value::as_object);
    let nodes = stack.into_iter().flatten();
    let nodes = nodes.chain(ran.into_iter().flat_map(|ran| ran.values()).filter_map(Value::as_array).flatten());
    let outputs = nodes.filter_map(|node| node.pointer("/data/main")?.as_array()).flatten();
    let mut items = outputs.filter_map(Value::as_array).flatten().filter_map(|item| item.get("json"));
    let is_ours = |said: &Value| {
        said.get("message_id").and_then(Value::as_str) == Some(message.as_str())
            && said.get("sessionId").and_then(Value::as_str) == Some(session.as_str())
    };
    items.any(|json| is_ours(json) || json.get("body").is_some_and(is_ours))
}

fn is_id(text: &str) -> bool {
    (1..=ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
