//! A visitor's browser, as far as HTTP goes.

use std::sync::Once;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use reqwest::{
    Client, ClientBuilder, RequestBuilder, Response,
    header::{HeaderValue, ORIGIN},
};
use serde_json::{Value, json};

use crate::desk::LIMIT;

pub(crate) const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef";

/// The one TLS provider, as in `main`.
pub(crate) fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

/// One visitor with a session.
#[derive(Clone)]
pub(crate) struct Visitor {
    http: Client,
    edge: String,
    pub(crate) session: String,
    pub(crate) token: String,
}

impl Visitor {
    pub(crate) async fn begin(edge: &str) -> Self {
        Self::begin_as(edge, None).await.0
    }

    /// On a page of that origin.
    pub(crate) async fn begin_on(edge: &str, origin: &'static str) -> Self {
        let origin = [(ORIGIN, HeaderValue::from_static(origin))].into_iter().collect();
        let body = json!({"fingerprint": FINGERPRINT});
        Self::begin_by(Client::builder().default_headers(origin), edge, &body).await.0
    }

    /// Begins with an identity token; the whole answer as well.
    pub(crate) async fn begin_as(edge: &str, identity_token: Option<&str>) -> (Self, Value) {
        let body = json!({"fingerprint": FINGERPRINT, "identity_token": identity_token});
        Self::begin_by(Client::builder(), edge, &body).await
    }

    /// Begins on a site.
    pub(crate) async fn begin_at(edge: &str, site: &str) -> Self {
        Self::begin_by(Client::builder(), edge, &json!({"fingerprint": FINGERPRINT, "site": site})).await.0
    }

    async fn begin_by(http: ClientBuilder, edge: &str, body: &Value) -> (Self, Value) {
        use_ring();
        let http = http.no_proxy().timeout(LIMIT).build().expect("a client");
        let created = http.post(format!("{edge}/api/v1/session/create")).json(body);
        let created: Value = created.send().await.expect("the edge answers").json().await.expect("JSON");
        let text = |name: &str| created[name].as_str().unwrap_or_else(|| panic!("{name} in {created}")).to_owned();
        let visitor = Self { http, edge: edge.to_owned(), session: text("session_id"), token: text("token") };
        (visitor, created)
    }

    /// The same visitor at another edge.
    pub(crate) fn at(&self, edge: &str) -> Self {
        Self { edge: edge.to_owned(), ..self.clone() }
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(&self.token).header("x-fingerprint", FINGERPRINT)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.signed(self.http.post(format!("{}{path}", self.edge))).json(body)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.signed(self.http.get(format!("{}{path}", self.edge)))
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.signed(self.http.delete(format!("{}{path}", self.edge)))
    }

    /// Without any credentials.
    pub(crate) fn get_plain(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.edge))
    }

    /// Says something; the reply as a stream.
    pub(crate) async fn say(&self, message_id: &str, text: &str) -> Stream {
        let said = self.post("/api/v1/chat/message", &json!({"message": text, "message_id": message_id}));
        Stream::of(said.send().await.expect("the edge answers"))
    }

    /// Says something and waits for the whole reply.
    pub(crate) async fn hear(&self, message_id: &str, text: &str) -> Vec<Event> {
        self.say(message_id, text).await.rest().await
    }

    /// Listens to the session, with what stands in `query`.
    pub(crate) async fn listen(&self, query: &str, last_event_id: Option<&str>) -> Stream {
        let mut request = self.get(&format!("/api/v1/chat/stream/{}{query}", self.session));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        Stream::of(request.send().await.expect("the edge answers"))
    }

    pub(crate) async fn cancel(&self, message_id: &str) {
        let answer = self.post("/api/v1/chat/cancel", &json!({"message_id": message_id})).send().await;
        assert_eq!(answer.expect("the edge answers").status(), 202);
    }
}

/// An event stream as it comes.
pub(crate) struct Stream {
    pub(crate) response: Option<Response>,
    body: Option<futures_util::stream::BoxStream<'static, reqwest::Result<Bytes>>>,
    buffer: BytesMut,
    pub(crate) status: u16,
}

impl Stream {
    pub(crate) fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let event_stream =
            response.headers().get("content-type").is_some_and(|kind| kind.as_bytes() == b"text/event-stream");
        let mut stream = Self { response: None, body: None, buffer: BytesMut::new(), status };
        if event_stream {
            stream.body = Some(response.bytes_stream().boxed());
        } else {
            stream.response = Some(response);
        }
        stream
    }

    /// The problem document of a refused request.
    pub(crate) async fn problem(self) -> Value {
        self.response.expect("it was refused").json().await.expect("JSON")
    }

    /// The next event; `None` at the end of the stream, however it ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block = self.buffer.split_to(at + 2);
                match parse(std::str::from_utf8(&block).expect("UTF-8")) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let body = self.body.as_mut().expect("it is a stream");
            let next = tokio::time::timeout(LIMIT, body.next()).await.expect("the stream goes on or ends");
            self.buffer.extend_from_slice(&next?.ok()?);
        }
    }

    /// Reads until an event of that name, and returns all that came, it included.
    pub(crate) async fn until(&mut self, name: &str) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            let found = event.name == name;
            events.push(event);
            if found {
                return events;
            }
        }
        panic!("no {name} in {events:?}");
    }

    /// Reads so many chunks.
    pub(crate) async fn chunks(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.iter().filter(|event: &&Event| event.name == "chunk").count() < count {
            let ended =
                || panic!("ended after {} events: {:?}", events.len(), &events[events.len().saturating_sub(3)..]);
            events.push(self.next().await.unwrap_or_else(ended));
        }
        events
    }

    /// Everything to the end of the stream.
    pub(crate) async fn rest(mut self) -> Vec<Event> {
        let problem = self.problem_text().await;
        assert_eq!(self.status, 200, "{problem:?}");
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    async fn problem_text(&mut self) -> Option<String> {
        self.response.take()?.text().await.ok()
    }
}

/// One block of an event stream; none when it is no event.
pub(crate) fn parse(block: &str) -> Option<Event> {
    let (mut name, mut id, mut data) = (None, None, None);
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("event", value)) => name = Some(value.to_owned()),
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("data", value)) => data = serde_json::from_str(value).ok(),
            _ => {}
        }
    }
    Some(Event { name: name?, id, data: data? })
}

/// The text of all chunks together.
pub(crate) fn text(events: &[Event]) -> String {
    events.iter().filter(|event| event.name == "chunk").filter_map(|event| event.data["content"].as_str()).collect()
}

/// The names in order, runs of chunks as one.
pub(crate) fn names(events: &[Event]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    names.dedup_by(|a, b| a == b && *a == "chunk");
    names
}

/// Checks what holds of every reply: indexes without gaps or repeats, and exactly one end at the end.
pub(crate) fn check_reply(events: &[Event], first_index: u64) {
    let indexes: Vec<u64> =
        events.iter().filter(|e| e.name == "chunk").filter_map(|event| event.data["index"].as_u64()).collect();
    let expected: Vec<u64> = (first_index..first_index + indexes.len() as u64).collect();
    assert_eq!(indexes, expected, "in order, once, without gaps");
    let ends = events.iter().filter(|event| event.name == "end" || event.name == "failed").count();
    assert_eq!(ends, 1, "exactly one end: {:?}", names(events));
    let last = events.last().expect("there is an end");
    assert!(last.name == "end" || last.name == "failed", "the end comes last: {:?}", names(events));
}
