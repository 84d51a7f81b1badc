//! `frontdesk doctor`: how a site's n8n is, with a message of its own in the place of a visitor's.
//!
//! [`Client::knock`] runs nothing. [`Client::try_out`] really runs the workflow, as a message would, and looks closer
//! than [`Answer`](super::Answer) has to: at n8n's words for what is wrong, and at when each line came.

mod flow;

use std::time::Duration;

use protocol::{FailureCode, Message, MessageId, Millis, SessionId, SiteId};
use reqwest::{Method, Response, StatusCode, header};
use runtime::Secret;
use serde::Deserialize;
use tokio::time::Instant;

pub use flow::Flow;

use super::{Client, PAGE_BYTES, body};
use crate::{
    lines::{Decoder, Media, Outcome, Piece, looks_like_page},
    token::Signer,
};

/// What the workflow is asked. It should make a model say some words, and have no tool called.
pub const TEST_MESSAGE: &str = "This is a test by `frontdesk doctor`, not a customer. Please answer with three short \
     sentences about this shop; look nothing up, and do nothing else.";

/// What stands in `metadata.context` of such a message, for workflows that want to know.
const CONTEXT: &str = r#"{"frontdesk_doctor":true}"#;

/// A question that runs nothing is answered soon.
const KNOCK_WITHIN: Duration = Duration::from_secs(10);

/// A page of another site: n8n tells which methods a webhook has only to such a one.
const ORIGIN: &str = "https://doctor.invalid";

/// How somebody else's clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// How far it is ahead of ours, in milliseconds. An HTTP date has whole seconds: half of one may be rounding.
    pub ahead_ms: i64,
}

/// Whether the webhook is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// It takes POST.
    Open,
    /// There is a webhook with this path, for other methods.
    OtherMethod(String),
    /// n8n knows no such webhook.
    Missing,
    /// n8n is there, and not yet ready.
    Starting,
    /// Nobody answers; why.
    Unreachable(String),
    /// Somebody answers, with this status, and not as n8n would: a proxy, or another program.
    Unclear(u16),
}

/// What [`Client::knock`] found.
#[derive(Clone, Debug)]
pub struct Knocked {
    /// Whether the webhook is there.
    pub door: Door,
    /// By the answer's date.
    pub clock: Option<Clock>,
}

/// How [`Client::try_out`] asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// As the worker does.
    AsConfigured,
    /// With a `jwt_token` that another secret signed.
    Forged,
    /// The same, and without the key.
    ForgedWithoutKey,
}

/// What came back of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A reply.
    Text,
    /// n8n only said that it has started the workflow.
    Started,
    /// n8n's own authentication refused it.
    Unauthorized,
    /// No such webhook, or it is not active.
    Missing,
    /// The webhook wants this method.
    OtherMethod(String),
    /// A Chat Trigger that is not public.
    NotPublic,
    /// n8n is not yet ready.
    Starting,
    /// An error of the workflow: an error line, or a 500 of n8n's.
    Failed,
    /// An empty answer; whether n8n meant to stream one.
    Empty {
        /// The Webhook's response mode is Streaming.
        streaming: bool,
    },
    /// A page, or another thing that is no reply.
    Unreadable,
    /// Nobody answers; why.
    Unreachable(String),
    /// Another status.
    Status(u16),
    /// It broke off.
    Cut,
    /// It did not end in time.
    Silent,
    /// It is larger than a reply may be.
    TooLarge,
}

/// What a trial showed.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What came back.
    pub said: Said,
    /// Whether it was lines, as n8n streams.
    pub lines: bool,
    /// How the lines came.
    pub flow: Flow,
    /// From the request to the first text.
    pub first_text: Option<Duration>,
    /// To the end.
    pub took: Duration,
    /// Signs of life that n8n sent.
    pub keepalives: u32,
    /// Nodes that told of an error.
    pub errors: u32,
}

impl Tried {
    fn of(said: Said, took: Duration) -> Self {
        Self { said, lines: false, flow: Flow::Unknown, first_text: None, took, keepalives: 0, errors: 0 }
    }
}

/// n8n's public API, with the token that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// Executions may be listed and stopped.
    Good,
    /// The token is not known.
    Unauthorized,
    /// It lacks this scope.
    Lacks(&'static str),
    /// There is something else at that address; the status.
    Status(u16),
    /// Nobody answers.
    Unreachable(String),
}

/// n8n's error, in JSON.
#[derive(Default, Deserialize)]
struct Told {
    #[serde(default)]
    message: String,
}

impl Client {
    /// Asks the webhook's methods, as a browser of another origin would. Nothing runs.
    pub async fn knock(&self) -> Knocked {
        let sent = (Millis::now(), Instant::now());
        let request = self.0.http.request(Method::OPTIONS, self.0.url.clone()).timeout(KNOCK_WITHIN);
        let asked = request.header(header::ORIGIN, ORIGIN).header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST");
        let response = match asked.send().await {
            Ok(response) => response,
            Err(error) => return Knocked { door: Door::Unreachable(trouble(&error)), clock: None },
        };
        let clock = clock(&response, sent);
        let status = response.status();
        let methods = response.headers().get(header::ACCESS_CONTROL_ALLOW_METHODS).and_then(|list| list.to_str().ok());
        let methods: Vec<String> =
            methods.unwrap_or_default().split(',').map(|word| word.trim().to_ascii_uppercase()).collect();
        let others: Vec<&str> =
            methods.iter().map(String::as_str).filter(|word| !["OPTIONS", ""].contains(word)).collect();
        let door = if others.contains(&"POST") {
            Door::Open
        } else if !others.is_empty() {
            Door::OtherMethod(others.join(", "))
        // For a path that it doesn't know n8n allows OPTIONS alone, and fails.
        } else if status.is_server_error() && methods == ["OPTIONS"] {
            Door::Missing
        } else if status == StatusCode::SERVICE_UNAVAILABLE || says_starting(response).await {
            Door::Starting
        } else {
            Door::Unclear(status.as_u16())
        };
        Knocked { door, clock }
    }

    /// Runs the workflow with a test message of `site`, and reads all that it says, for so long at most.
    pub async fn try_out(&self, site: &SiteId, trial: Trial, patience: Duration) -> Tried {
        let (began, message) = (Instant::now(), test_message(site));
        let mut headers = self.headers(&message);
        let forger = Signer::new(&Secret::generate(), self.0.config.token_ttl);
        let signer = if trial == Trial::AsConfigured { &self.0.signer } else { &forger };
        if trial == Trial::ForgedWithoutKey {
            headers.remove(&self.0.config.api_key_header);
        }
        let Ok(body) = body(&message, signer) else { return Tried::of(Said::Unreadable, began.elapsed()) };
        let request = self.0.http.post(self.0.url.clone()).headers(headers).body(body);
        let until = began + patience;
        let Ok(response) = tokio::time::timeout_at(until, request.send()).await else {
            return Tried::of(Said::Silent, began.elapsed());
        };
        match response {
            Ok(response) if response.status().is_success() => self.read(response, began, until).await,
            Ok(response) => {
                let said = tokio::time::timeout_at(until, refusal(response)).await;
                Tried::of(said.unwrap_or(Said::Silent), began.elapsed())
            }
            Err(error) if error.is_connect() => Tried::of(Said::Unreachable(trouble(&error)), began.elapsed()),
            Err(_) => Tried::of(Said::Cut, began.elapsed()),
        }
    }

    async fn read(&self, mut response: Response, began: Instant, until: Instant) -> Tried {
        let text_of = |name: header::HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        // As n8n sends it with a stream, and with no other answer.
        let streaming = text_of(header::CACHE_CONTROL).is_some_and(|value| value.contains("no-cache"));
        let media = Media::of(text_of(header::CONTENT_TYPE));
        let mut decoder = Decoder::new(self.0.limits, media);
        let mut tried = Tried::of(Said::Silent, Duration::ZERO);
        let mut lines = flow::Lines::default();
        loop {
            // A run over its time limit tells of an error, and then leaves the connection open for ever.
            let patience = if tried.errors > 0 { self.0.config.error_idle_timeout } else { Duration::MAX };
            let limit = Instant::now().checked_add(patience).map_or(until, |limit| limit.min(until));
            let Ok(chunk) = tokio::time::timeout_at(limit, response.chunk()).await else {
                tried.said = if tried.errors > 0 { Said::Failed } else { Said::Silent };
                break;
            };
            let mut sink = |piece: Piece<'_>| match piece {
                Piece::Text(_) => _ = tried.first_text.get_or_insert_with(|| began.elapsed()),
                Piece::Alive => tried.keepalives += 1,
                Piece::ErrorSeen => tried.errors += 1,
                Piece::Begun => {}
            };
            let outcome = match chunk {
                Ok(Some(bytes)) => {
                    lines.feed(&bytes, began.elapsed());
                    match decoder.feed(&bytes, &mut sink) {
                        Ok(()) => continue,
                        Err(too_large) => Err(too_large),
                    }
                }
                Ok(None) => decoder.finish(&mut sink),
                Err(_) => {
                    tried.said = Said::Cut;
                    break;
                }
            };
            tried.said = match outcome {
                Ok(Outcome::Complete) => Said::Text,
                Ok(Outcome::Started) => Said::Started,
                Ok(Outcome::Starting) => Said::Starting,
                Ok(Outcome::Failed(FailureCode::UpstreamEmpty)) => Said::Empty { streaming },
                Ok(Outcome::Failed(FailureCode::UpstreamError)) => Said::Failed,
                Ok(Outcome::Failed(_)) => Said::Unreadable,
                Err(_) => Said::TooLarge,
            };
            break;
        }
        tried.took = began.elapsed();
        (tried.lines, tried.flow) = (lines.any(), lines.flow());
        tried
    }

    /// Whether executions can be listed and stopped; `None` where there is no API in the settings. Stops nothing.
    pub async fn api(&self) -> Option<Api> {
        let (url, token) = (self.0.config.api_url.as_ref()?, self.0.config.api_token.as_ref()?);
        let base = url.as_str().trim_end_matches('/');
        let ask = |method: Method, path: &str| {
            let request = self.0.http.request(method, format!("{base}/{path}")).timeout(KNOCK_WITHIN);
            request.header("x-n8n-api-key", token.expose()).send()
        };
        // No execution has this number: n8n looks at the scope first.
        let asked = [
            (Method::GET, "executions?limit=1", "execution:list"),
            (Method::POST, "executions/0/stop", "execution:stop"),
        ];
        for (method, path, scope) in asked {
            let listing = method == Method::GET;
            match ask(method, path).await.map(|response| response.status().as_u16()) {
                Ok(401) => return Some(Api::Unauthorized),
                Ok(403) => return Some(Api::Lacks(scope)),
                Ok(200) => {}
                Ok(404) if !listing => {}
                Ok(status) => return Some(Api::Status(status)),
                Err(error) => return Some(Api::Unreachable(trouble(&error))),
            }
        }
        Some(Api::Good)
    }
}

fn test_message(site: &SiteId) -> Message {
    let now = Millis::now();
    Message {
        v: 1,
        site: site.clone(),
        session: SessionId::mint(u64::try_from(now.0 / 1000).unwrap_or(0), rand::random()),
        message_id: MessageId::mint(rand::random()),
        text: TEST_MESSAGE.to_owned(),
        digest: String::new(),
        history: Vec::new(),
        page: None,
        context: serde_json::value::RawValue::from_string(CONTEXT.to_owned()).ok(),
        metadata: None,
        locale: None,
        origin: None,
        user_agent: None,
        client_ip: None,
        identity: None,
        reply_url: None,
        accepted_at: now,
        traceparent: None,
    }
}

/// What a status that is no success means.
async fn refusal(mut response: Response) -> Said {
    let status = response.status();
    let starting = status == StatusCode::NOT_FOUND || status == StatusCode::SERVICE_UNAVAILABLE;
    let seen = page(&mut response).await;
    let told: Told = serde_json::from_slice(&seen).unwrap_or_default();
    let text = String::from_utf8_lossy(&seen);
    match status.as_u16() {
        401 | 403 => Said::Unauthorized,
        _ if starting && (looks_like_page(&text) || text.contains(super::NOT_READY)) => Said::Starting,
        404 if seen.is_empty() => Said::NotPublic,
        404 => match told.message.split_once("Did you mean to make a ").and_then(|(_, rest)| rest.split(' ').next()) {
            Some(method) if method.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                Said::OtherMethod(method.to_owned())
            }
            _ if told.message.contains("not registered") => Said::Missing,
            _ => Said::Status(404),
        },
        500 if !told.message.is_empty() => Said::Failed,
        status => Said::Status(status),
    }
}

async fn says_starting(mut response: Response) -> bool {
    let media = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Media::of(media) == Media::Text && String::from_utf8_lossy(&page(&mut response).await).contains("n8n is starting")
}

/// The beginning of a body.
async fn page(response: &mut Response) -> Vec<u8> {
    let mut seen = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await
        && seen.len() < PAGE_BYTES
    {
        seen.extend_from_slice(bytes.get(..(PAGE_BYTES - seen.len()).min(bytes.len())).unwrap_or_default());
    }
    seen
}

fn clock(response: &Response, (sent, began): (Millis, Instant)) -> Option<Clock> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_millisecond();
    let middle = sent.0.saturating_add(i64::try_from(began.elapsed().as_millis() / 2).unwrap_or(0));
    // A date of whole seconds is, on average, half of one behind.
    Some(Clock { ahead_ms: theirs.saturating_add(500).saturating_sub(middle) })
}

/// Why there was no answer, in words that show no address.
fn trouble(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let causes = causes.join(": ").to_ascii_lowercase();
    let what = if error.is_dns() || causes.contains("dns") {
        "its host name can't be resolved"
    } else if causes.contains("certificate") {
        "its TLS certificate is not trusted here"
    } else if causes.contains("corrupt message") || causes.contains("invalid message") {
        "it does not speak TLS"
    } else if error.is_timeout() {
        "it does not take the connection, or does not answer"
    } else if error.is_connect() {
        "it refuses the connection"
    } else {
        "it closed the connection before it answered"
    };
    what.to_owned()
}

#[cfg(test)]
mod tests;
