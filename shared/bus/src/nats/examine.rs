//! `frontdesk doctor`: how NATS is for one role, with that role's own user.
//!
//! Nothing that is there is changed. What is tried is `needs`; one record is written, upon a session that nobody has,
//! and goes by its age.

mod differences;
mod needs;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_nats::{
    Client, HeaderMap, ServerAddr,
    client::RequestErrorKind,
    header,
    jetstream::{ErrorCode, consumer, response::Response, stream},
};
use futures_util::future::join_all;
use protocol::Millis;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::mpsc;

pub use differences::Difference;
use needs::Need;

use super::{
    connect::{Heard, connect_once},
    setup::{Setup, consumers, streams},
};
use crate::{Config, ConnectError, NatsConfig};

/// The oldest nats-server that this is tested with.
pub const OLDEST_SERVER: [u32; 3] = [2, 9, 10];
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Refusals come before the answer to a later question; the client passes them on by a task of its own.
const SETTLES: Duration = Duration::from_millis(100);
/// More than there are needs.
const REFUSALS: usize = 128;
/// Of so many the median is taken.
const ROUND_TRIPS: usize = 5;
/// Where the one record is written. No session's id is of this form.
const RECORD: &str = "chat.snap.doctor";

/// How NATS is.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// The server's version.
    pub version: String,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// Whether all servers of `NATS_URL` are on this machine.
    pub loopback: bool,
    /// The largest message that it takes, in bytes.
    pub max_payload: usize,
    /// Whether JetStream is there.
    pub jetstream: bool,
    /// What it lacks: streams and consumers.
    pub missing: Vec<String>,
    /// What is otherwise than the settings want it.
    pub differences: Vec<Difference>,
    /// Streams whose settings this user may not see.
    pub unseen: Vec<String>,
    /// Rights that the role lacks.
    pub denied: Vec<String>,
    /// From a question to its answer; the median of some.
    pub round_trip: Option<Duration>,
    /// From a write to its confirmation, or why it was not taken; nothing where the role writes no records.
    pub write: Option<Result<Duration, String>>,
    /// How far the server's clock is ahead of ours, in milliseconds.
    pub ahead_ms: Option<i64>,
}

/// What came back.
enum Answer {
    Here(bytes::Bytes),
    /// Nobody answers on this subject: no stream, or no JetStream.
    Nobody,
    /// Nothing within [`PATIENCE`]: refused, or slow.
    Nothing,
}

/// Looks at NATS as `role` (edge, worker, analytics or admin) meets it.
pub async fn examine(
    config: &Config,
    nats: &NatsConfig,
    setup: &Setup,
    role: &'static str,
) -> Result<Examined, ConnectError> {
    let (refused, mut refusals) = mpsc::channel(REFUSALS);
    let heard = Heard { refused: Some(refused), ..Heard::default() };
    let client = Box::pin(connect_once(nats, role, "doctor", PATIENCE, &heard)).await?;
    let info = client.server_info();
    let addresses = || nats.nats_url.split(',').map(|url| url.trim().parse::<ServerAddr>());
    let mut found = Examined {
        version: info.version,
        encrypted: info.tls_required || nats.nats_tls_ca.is_some() || addresses().flatten().any(|at| at.tls_required()),
        loopback: addresses().all(|at| at.is_ok_and(|at| is_loopback(at.host()))),
        max_payload: info.max_payload,
        jetstream: info.jetstream,
        ..Examined::default()
    };
    let needs = needs::of(role);
    let mut listening = Vec::new();
    for need in needs {
        match need {
            Need::Say(_) | Need::Tell(_) => {
                client.publish(need.subject(), "doctor".into()).await.ok();
            }
            Need::Listen(_) => listening.extend(client.subscribe(need.subject()).await),
            Need::Write(..) | Need::Ask(..) => {}
        }
    }
    let missing: BTreeSet<String> =
        join_all(needs.iter().map(|need| lacks(&client, *need))).await.into_iter().flatten().collect();
    drop(listening);
    // On a server without users everything may be seen; else each question would be one more line in its log.
    let guarded = nats.nats_user.is_some() || nats.nats_nkey.is_some();
    let sees_all = !guarded || role == "admin";
    compare(&client, config, setup, role, sees_all, &mut found).await;
    found.missing.extend(missing.into_iter().filter(|name| !found.missing.contains(name)).collect::<Vec<_>>());
    found.round_trip = round_trip(&client).await;
    if needs.iter().any(|need| need.right() == "chat.snap.*") && !found.missing.iter().any(|name| name == "stream SNAP")
    {
        let (write, ahead_ms) = write(&client).await;
        (found.write, found.ahead_ms) = (Some(write), ahead_ms);
    }
    tokio::time::sleep(SETTLES).await;
    while let Ok(refusal) = refusals.try_recv() {
        found.denied.push(told(needs, &refusal));
    }
    found.denied.sort();
    found.denied.dedup();
    Ok(found)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A right in the words of the configuration; one that is none of the needs in the server's.
fn told(needs: &[Need], refusal: &str) -> String {
    let refusal = refusal.to_ascii_lowercase();
    let subscription = refusal.contains("subscription");
    let of = |need: &&Need| {
        matches!(need, Need::Listen(_)) == subscription
            && refusal.contains(&format!("\"{}\"", need.subject().to_ascii_lowercase()))
    };
    match needs.iter().find(of) {
        Some(need) => need.told(),
        None if refusal.contains("\"_inbox.") => "subscribe to its own _INBOX".to_owned(),
        None => refusal.trim_start_matches("nats: ").trim_start_matches("unknown error: ").to_owned(),
    }
}

async fn ask(client: &Client, subject: String, body: &str, headers: Option<HeaderMap>) -> Answer {
    let mut request = async_nats::Request::new().payload(body.to_owned().into()).timeout(Some(PATIENCE));
    if let Some(headers) = headers {
        request = request.headers(headers);
    }
    match client.send_request(subject, request).await {
        Ok(answer) if answer.status == Some(async_nats::StatusCode::NO_RESPONDERS) => Answer::Nobody,
        Ok(answer) => Answer::Here(answer.payload),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Answer::Nobody,
        Err(_) => Answer::Nothing,
    }
}

/// Tries what is answered, and says what is not there.
async fn lacks(client: &Client, need: Need) -> Option<String> {
    let (answer, stream) = match need {
        Need::Write(_, stream) => {
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_EXPECTED_STREAM, "frontdesk-doctor");
            (ask(client, need.subject(), "", Some(headers)).await, stream)
        }
        Need::Ask(right, body) if !right.ends_with("INFO.*") => {
            let subject = right.split('.').find(|part| ["SNAP", "REQ", "ENDED", "FACTS"].contains(part));
            (ask(client, need.subject(), body, None).await, subject?)
        }
        _ => return None,
    };
    match answer {
        Answer::Here(payload) => {
            let error = serde_json::from_slice::<Refusal>(&payload).ok()?.error?.err_code;
            if error == ErrorCode::STREAM_NOT_FOUND.0 {
                Some(format!("stream {stream}"))
            } else if error == ErrorCode::CONSUMER_NOT_FOUND.0 {
                need.right().rsplit('.').next().map(|consumer| format!("consumer {consumer}"))
            } else {
                None
            }
        }
        // The API answers for a stream that is not there; a subject that no stream has is nobody's.
        Answer::Nobody => Some(format!("stream {stream}")),
        Answer::Nothing => None,
    }
}

/// An answer of JetStream that is a refusal.
#[derive(Deserialize)]
struct Refusal {
    error: Option<Code>,
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    err_code: u64,
}

async fn info<T: DeserializeOwned>(client: &Client, subject: String) -> Option<Result<T, u64>> {
    let Answer::Here(payload) = ask(client, subject, "", None).await else { return None };
    match serde_json::from_slice::<Response<T>>(&payload).ok()? {
        Response::Ok(info) => Some(Ok(info)),
        Response::Err { error } => Some(Err(error.error_code().0)),
    }
}

async fn compare(client: &Client, config: &Config, setup: &Setup, role: &str, sees_all: bool, found: &mut Examined) {
    for wanted in streams(config, setup) {
        if !sees_all && wanted.name != "SNAP" {
            found.unseen.push(format!("stream {}", wanted.name));
            continue;
        }
        match info::<stream::Info>(client, format!("$JS.API.STREAM.INFO.{}", wanted.name)).await {
            Some(Ok(info)) => found.differences.extend(differences::of_stream(&info.config, &wanted)),
            Some(Err(code)) if code == ErrorCode::STREAM_NOT_FOUND.0 => {
                found.missing.push(format!("stream {}", wanted.name));
            }
            Some(Err(code)) if code == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT.0 => {
                found.jetstream = false;
                return;
            }
            _ => found.unseen.push(format!("stream {}", wanted.name)),
        }
    }
    for (stream, wanted) in consumers(config, setup) {
        let name = wanted.durable_name.as_deref().unwrap_or_default();
        let sees = matches!((role, name), ("worker", "workers") | ("analytics", "recorder"));
        // `admin` makes consumers, and may not look at them.
        if !sees && (!sees_all || role == "admin") {
            continue;
        }
        match info::<consumer::Info>(client, format!("$JS.API.CONSUMER.INFO.{stream}.{name}")).await {
            Some(Ok(info)) => found.differences.extend(differences::of_consumer(name, &info.config, &wanted)),
            Some(Err(code)) if code == ErrorCode::CONSUMER_NOT_FOUND.0 => {
                found.missing.push(format!("consumer {name}"));
            }
            _ => {}
        }
    }
}

/// The median of some questions that all roles may ask.
async fn round_trip(client: &Client) -> Option<Duration> {
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        let Answer::Here(_) = ask(client, "$JS.API.STREAM.INFO.SNAP".to_owned(), "", None).await else { return None };
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took.get(ROUND_TRIPS / 2).copied()
}

/// Writes the record and reads when the server took it.
async fn write(client: &Client) -> (Result<Duration, String>, Option<i64>) {
    let (before, began) = (Millis::now().0, Instant::now());
    let payload = match ask(client, RECORD.to_owned(), "{}", None).await {
        Answer::Here(payload) => payload,
        Answer::Nobody => return (Err("no stream takes it".to_owned()), None),
        Answer::Nothing => return (Err("it did not answer".to_owned()), None),
    };
    let took = began.elapsed();
    match serde_json::from_slice::<Response<async_nats::jetstream::publish::PublishAck>>(&payload) {
        Ok(Response::Ok(_)) => {}
        Ok(Response::Err { error }) => return (Err(error.to_string()), None),
        Err(_) => return (Err("it answered in a form that is not understood".to_owned()), None),
    }
    let middle = before.saturating_add(i64::try_from(took.as_millis() / 2).unwrap_or(0));
    let js = async_nats::jetstream::new(client.clone());
    let read = async { js.get_stream_no_info("SNAP").await.ok()?.direct_get_last_for_subject(RECORD).await.ok() };
    let time = tokio::time::timeout(PATIENCE, read).await.ok().flatten().map(|message| message.time);
    let ahead = time.and_then(|time| i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
    (Ok(took), ahead.map(|at| at.saturating_sub(middle)))
}
