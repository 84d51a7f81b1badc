//! `frontdesk nats-setup`: makes the streams and consumers, so that no serving process needs the right to.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind},
    stream::{self, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType},
};
use bytesize::ByteSize;

use super::{
    connect::{Heard, connect},
    is_connected,
    outage::Seldom,
    unavailable,
};
use crate::{ACK_WAIT, Config, ConnectError, DUPLICATE_WINDOW, LONGEST_RUN, Missing, NatsConfig, PROOF_WINDOW};

/// Making a stream writes to the server's disk, which may be slow; nobody waits for it as visitors do.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that has just started may read its disk for so long before it knows its streams.
const READS_DISK_WITHIN: Duration = Duration::from_secs(20);
/// Between looks at a server that is away.
const PAUSE: Duration = Duration::from_millis(100);

const PROOF: &str = "PROOF";

/// What the streams are to be like.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Setup {
    /// Copies of each stream in a NATS cluster: 1, 3 or 5.
    #[arg(long, env = "NATS_REPLICAS", default_value_t = 1)]
    pub nats_replicas: usize,
    /// Keep reply snapshots on disk; in memory they are gone after a restart of NATS.
    #[arg(long, env = "SNAPSHOTS_ON_DISK", default_value_t = true, action = clap::ArgAction::Set)]
    pub snapshots_on_disk: bool,
    /// Bytes of facts that wait for analytics at most; the oldest go first.
    #[arg(long, env = "FACTS_MAX_BYTES", default_value = "1GiB")]
    pub facts_max_bytes: ByteSize,
}

/// Makes what is missing, brings what differs in line, and says what it did, a line each. A stream that can't be kept
/// otherwise than it is stops none of the rest: the error that tells of it comes last.
pub async fn setup(config: &Config, nats: &NatsConfig, setup: &Setup) -> Result<Vec<String>, ConnectError> {
    let js = there(nats).await?;
    let (mut said, mut stuck) = (Vec::new(), None);
    for wanted in streams(config, setup) {
        let (name, storage) = (wanted.name.clone(), wanted.storage);
        match ensure_stream(&js, wanted).await? {
            Some(line) => said.push(line),
            None => stuck = Some((name, storage)),
        }
    }
    for (stream, wanted) in consumers(config, setup) {
        let name = wanted.durable_name.clone().unwrap_or_default();
        // Creating a durable that is there updates it.
        js.create_consumer_on_stream(wanted, stream).await.map_err(|e| match e.kind() {
            ConsumerErrorKind::JetStream(why) => refused("consumer", &name, &why),
            _ => unavailable(&e).into(),
        })?;
        said.push(format!("consumer {name} on {stream} is in place"));
    }
    let Some((name, storage)) = stuck else { return Ok(said) };
    let (is, wanted) = match storage {
        StorageType::File => ("in memory", "on disk"),
        StorageType::Memory => ("on disk", "in memory"),
    };
    Err(ConnectError::Refused(format!(
        "keeps the stream {name} {is} and will not move it, though it is to be {wanted}. All else is in place. Stop edges and workers, \
         remove it with what is in it (`nats stream rm {name}`), and run nats-setup again"
    )))
}

/// Waits for the server, and for its JetStream, which reads its disk before it answers.
async fn there(nats: &NatsConfig) -> Result<jetstream::Context, ConnectError> {
    let (heard, mut telling) = (Heard::default(), Seldom::default());
    let client = connect(nats, "admin", "setup", PATIENCE, &heard).await?;
    while !is_connected(&client) {
        if heard.denied.load(Ordering::Relaxed) {
            return Err(ConnectError::Refused("it does not let admin in: the log says why".to_owned()));
        }
        if telling.is_due() {
            tracing::warn!(reason = heard.trouble(), "waiting for NATS: {}", Missing::Nats);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let js = jetstream::new(client);
    let until = Instant::now() + READS_DISK_WITHIN;
    loop {
        match js.get_stream(PROOF).await.map_err(|error| error.kind()) {
            Ok(_) | Err(GetStreamErrorKind::JetStream(_)) => return Ok(js),
            Err(_) if heard.denied.load(Ordering::Relaxed) || Instant::now() > until => return Ok(js),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Says what it did; `None` where the stream is there, is kept in another place, and is not ours to remove.
async fn ensure_stream(js: &jetstream::Context, wanted: stream::Config) -> Result<Option<String>, ConnectError> {
    let name = wanted.name.clone();
    let line = match js.get_stream(&name).await {
        Ok(there) if there.cached_info().config.storage != wanted.storage => {
            // What the others hold is worth more than a minute or two.
            if name != PROOF {
                return Ok(None);
            }
            js.delete_stream(&name).await.map_err(|e| unavailable(&e))?;
            js.create_stream(wanted).await.map_err(|e| not_made(&name, &e))?;
            format!(
                "stream {name} was removed and created anew, in another storage: proofs of the last {} s are forgotten",
                PROOF_WINDOW.as_secs()
            )
        }
        Ok(there) => {
            let before = there.cached_info().config.clone();
            let after = js.update_stream(&wanted).await.map_err(|e| not_made(&name, &e))?.config;
            if before == after { format!("stream {name} is in place") } else { format!("stream {name} was changed") }
        }
        Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => {
            js.create_stream(wanted).await.map_err(|e| not_made(&name, &e))?;
            format!("stream {name} was created")
        }
        Err(error) => return Err(unavailable(&error).into()),
    };
    Ok(Some(line))
}

fn not_made(name: &str, error: &CreateStreamError) -> ConnectError {
    match error.kind() {
        CreateStreamErrorKind::JetStream(why) => refused("stream", name, &why),
        _ => unavailable(error).into(),
    }
}

fn refused(what: &str, name: &str, why: &jetstream::Error) -> ConnectError {
    ConnectError::Refused(format!("will not have the {what} {name} like this: {why}"))
}

pub(super) fn streams(config: &Config, setup: &Setup) -> [stream::Config; 5] {
    let base = |name: &str, subject: &str| stream::Config {
        name: name.into(),
        subjects: vec![subject.into()],
        num_replicas: setup.nats_replicas,
        ..Default::default()
    };
    let snapshots = if setup.snapshots_on_disk { StorageType::File } else { StorageType::Memory };
    let req_age = config.queue_timeout + LONGEST_RUN;
    [
        stream::Config {
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages_per_subject: 1,
            max_messages: i64::try_from(config.queue_max_messages).unwrap_or(i64::MAX),
            // Not QUEUE_TIMEOUT: age counts for messages that a worker holds as well (see the contract test), and one
            // that is dropped in mid-run frees the session and is never given to another worker. The edge takes an
            // unclaimed message out in time; this is for what even the edges forgot.
            max_age: req_age,
            duplicate_window: DUPLICATE_WINDOW,
            ..base("REQ", "chat.req.*")
        },
        stream::Config {
            max_messages_per_subject: 1,
            max_age: config.resume_window,
            storage: snapshots,
            allow_direct: true,
            ..base("SNAP", "chat.snap.*")
        },
        // Nothing goes before its time: a session would be back.
        stream::Config {
            max_messages_per_subject: 1,
            max_messages: i64::try_from(config.ended_max).unwrap_or(i64::MAX),
            discard: DiscardPolicy::New,
            max_age: config.ended_max_age,
            ..base("ENDED", "chat.end.*")
        },
        // On disk: a stream in memory is gone after a restart of the server, and signed calls would be refused until
        // the next `nats-setup`.
        stream::Config {
            max_messages: i64::try_from(config.proofs_max).unwrap_or(i64::MAX),
            discard: DiscardPolicy::New,
            max_age: PROOF_WINDOW,
            duplicate_window: PROOF_WINDOW,
            ..base(PROOF, "proof.*")
        },
        stream::Config {
            max_bytes: i64::try_from(setup.facts_max_bytes.as_u64()).unwrap_or(i64::MAX),
            discard: DiscardPolicy::Old,
            duplicate_window: DUPLICATE_WINDOW,
            ..base("FACTS", "fact.*.*")
        },
    ]
}

pub(super) fn consumers(config: &Config, setup: &Setup) -> [(&'static str, pull::Config); 2] {
    [
        (
            "REQ",
            pull::Config {
                durable_name: Some("workers".into()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: ACK_WAIT,
                // The worker itself ends a message that comes too often: a limit here would leave it in the queue,
                // and its session busy.
                max_deliver: -1,
                max_ack_pending: i64::try_from(config.queue_max_messages).unwrap_or(i64::MAX),
                max_waiting: 16_384,
                num_replicas: setup.nats_replicas,
                ..Default::default()
            },
        ),
        (
            "FACTS",
            pull::Config {
                durable_name: Some("recorder".into()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: Duration::from_secs(30),
                max_ack_pending: 20_000,
                num_replicas: setup.nats_replicas,
                ..Default::default()
            },
        ),
    ]
}
