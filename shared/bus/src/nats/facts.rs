//! Facts: out of every process into `FACTS`, and out of `FACTS` into analytics.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Subject,
    jetstream::{self, AckKind, consumer::pull, message::PublishMessage},
};
use futures_util::{FutureExt as _, StreamExt as _};
use protocol::Fact;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{ack, is_connected, outage::Seldom, publish_acked, traced, unavailable};
use crate::{BatchAck, Error, FactBatch};

/// Facts on their way to the stream at once.
const IN_FLIGHT: usize = 64;
/// A fact that a server which is there did not store for this long is dropped and counted. For one that is away it
/// waits, as long as there is room in the queue.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Publishes what comes until the bus closes and nothing is left.
pub(super) async fn publish(
    js: jetstream::Context,
    told: mpsc::Receiver<Fact>,
    dropped: Arc<AtomicU64>,
    closing: CancellationToken,
) {
    let facts = futures_util::stream::unfold((told, closing), |(mut told, closing)| async move {
        let fact = tokio::select! {
            biased;
            fact = told.recv() => fact,
            // What is queued is still published, what comes after is not taken.
            () = closing.cancelled() => {
                told.close();
                told.recv().await
            }
        };
        Some((fact?, (told, closing)))
    });
    facts
        .for_each_concurrent(IN_FLIGHT, |fact| {
            let (js, dropped) = (js.clone(), Arc::clone(&dropped));
            async move {
                if !publish_one(&js, &fact).await {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .await;
}

async fn publish_one(js: &jetstream::Context, fact: &Fact) -> bool {
    let mut until = Instant::now() + GIVE_UP;
    let mut pause = Duration::from_millis(100);
    loop {
        let Some((subject, publish)) = publication(fact) else { return false };
        match publish_acked(js, subject, publish).await {
            Ok(_) => return true,
            Err(_) if !is_connected(&js.client()) => {
                until = Instant::now() + GIVE_UP;
                tokio::time::sleep(pause).await;
            }
            Err(error) if Instant::now() + pause > until => {
                tracing::warn!(%error, "a fact could not be stored");
                return false;
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// How a fact is published. The same id every time: the stream drops the second copy of one that was stored after all.
pub(super) fn publication(fact: &Fact) -> Option<(Subject, PublishMessage)> {
    let payload = serde_json::to_vec(fact).ok()?;
    let subject = format!("fact.{}.{}", fact.site, fact.kind.name());
    let publish = PublishMessage::build().payload(payload.into()).message_id(fact.id.as_str());
    Some((subject.into(), traced(publish, fact.traceparent.as_deref())))
}

pub(crate) struct Facts {
    js: jetstream::Context,
    from: Option<pull::Stream>,
    telling: Seldom,
    /// The last sequence that was delivered, and how many were gone before that.
    last: u64,
    missed: Arc<AtomicU64>,
}

impl Facts {
    pub(super) fn new(js: jetstream::Context, missed: Arc<AtomicU64>) -> Self {
        Self { js, from: None, telling: Seldom::default(), last: 0, missed }
    }

    async fn connect(&mut self) -> Result<pull::Stream, Error> {
        let consumer: jetstream::consumer::Consumer<pull::Config> =
            self.js.get_consumer_from_stream("recorder", "FACTS").await.map_err(|e| unavailable(&e))?;
        // Also goes back, to where a stream that was made anew begins.
        self.last = consumer.cached_info().delivered.stream_sequence;
        let messages = consumer.stream().max_messages_per_batch(1_000).heartbeat(Duration::from_secs(5));
        messages.messages().await.map_err(|e| unavailable(&e))
    }

    /// The next delivery, through whatever trouble.
    async fn next(&mut self) -> jetstream::Message {
        loop {
            let Some(from) = &mut self.from else {
                match self.connect().await {
                    Ok(from) => self.from = Some(from),
                    Err(error) => {
                        if self.telling.is_due() {
                            tracing::warn!(%error, "can't read facts; was `frontdesk nats-setup` run?");
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
                continue;
            };
            match from.next().await {
                Some(Ok(message)) => {
                    self.notice(&message);
                    return message;
                }
                Some(Err(error)) => {
                    tracing::info!(%error, "reading facts was interrupted");
                    self.from = None;
                }
                None => self.from = None,
            }
        }
    }

    /// Facts come in the order of the stream. What is skipped went from it for want of room.
    fn notice(&mut self, message: &jetstream::Message) {
        let Ok(at) = message.info().map(|info| info.stream_sequence) else { return };
        if at > self.last {
            let missed = at - self.last - 1;
            if missed > 0 {
                tracing::warn!(facts = missed, "facts were dropped before analytics came to them: FACTS_MAX_BYTES");
            }
            self.missed.fetch_add(missed, Ordering::Relaxed);
            self.last = at;
        }
    }

    pub(crate) async fn next_batch(&mut self, max: usize) -> FactBatch {
        let (mut facts, mut messages) = (Vec::new(), Vec::new());
        let mut message = self.next().await;
        loop {
            match serde_json::from_slice(&message.payload) {
                Ok(fact) => {
                    facts.push(fact);
                    messages.push(message);
                }
                Err(_) => {
                    tracing::error!("dropped a fact that can't be read");
                    ack(&message, AckKind::Term).await;
                }
            }
            // Only what is already here joins the batch; an error shows again at the next wait.
            let more = messages.len() < max;
            let here = self.from.as_mut().filter(|_| more).and_then(|from| from.next().now_or_never());
            message = match here {
                Some(Some(Ok(next))) => {
                    self.notice(&next);
                    next
                }
                _ if messages.is_empty() => self.next().await,
                _ => return FactBatch { facts, ack: BatchAck::Nats(messages) },
            };
        }
    }
}
