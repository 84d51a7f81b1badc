//! The worker's pull on `REQ`: outstanding requests for no more messages than the worker has room for.
//!
//! The client library's continuous `messages()` prefetches a fixed number whatever room there is, and what waits in it
//! ages against `ack_wait`; its `fetch(1)` makes an inbox for every message, seven times slower. So the pull requests
//! are our own. Each has an id in its reply subject, on which the server tells its end; a message comes under its own
//! subject and is taken to be of the oldest pull, since the server serves pulls in the order of their coming.
//!
//! A worker with room leaves its pulls lying at the server, which hands out messages to all such workers in turn. One
//! without room asks by `no_wait`, again and again: of what lies in the stream, and an idle worker leaves nothing there.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{
    StatusCode, Subscriber,
    connection::State as Connection,
    jetstream::{self, AckKind},
};
use futures_util::StreamExt as _;
use protocol::Millis;
use tokio::{sync::watch, time::Instant};

use super::{ack, at_once, consumer, outage::Seldom, unavailable};
use crate::{Delivery, Error, Handle};

const NEXT: &str = "$JS.API.CONSUMER.MSG.NEXT.REQ.workers";
/// A pull request lives this long on the server. Shorter than `ACK_WAIT`: a worker that stands still would be given its
/// message again, and not another one.
const EXPIRES: Duration = Duration::from_secs(5);
/// After this it is taken for lost with the connection that carried it.
const LOST: Duration = Duration::from_secs(7);
/// A server that is there confirms the end of a subscription in a fraction of this.
const DRAIN: Duration = Duration::from_secs(1);
/// Between tries while the stream is not there or NATS is away.
const PAUSE: Duration = Duration::from_millis(200);
/// Messages that a worker with room asks for ahead, at most: enough to keep busy while the next pull is on its way, and
/// few to lie in one that fills up while another is idle.
const AHEAD: usize = 16;
/// Between a pull that found nothing to spare and the next one.
const SPARE_PAUSE: Duration = Duration::from_millis(10);
/// Such a pull is answered at once, or was lost.
const SPARE_LOST: Duration = Duration::from_secs(1);

/// Whether a pull lies at the server, which a worker with room has left there.
pub(crate) async fn has_idle_worker(client: &async_nats::Client) -> bool {
    consumer::info(client, consumer::WORKERS).await.is_ok_and(|info| info.num_waiting > 0)
}

pub(crate) struct Messages {
    js: jetstream::Context,
    epoch: watch::Receiver<u64>,
    inbox: String,
    from: Subscriber,
    pulls: BTreeMap<u64, Pull>,
    last: u64,
    not_before: Instant,
    telling: Seldom,
}

struct Pull {
    left: usize,
    until: Instant,
    /// Asked by `no_wait`.
    spare: bool,
}

impl Messages {
    pub(crate) async fn new(js: jetstream::Context, mut epoch: watch::Receiver<u64>) -> Result<Self, Error> {
        let client = js.client();
        let inbox = client.new_inbox();
        let from = client.subscribe(format!("{inbox}.*")).await.map_err(|e| unavailable(&e))?;
        epoch.mark_unchanged();
        Ok(Self {
            js,
            epoch,
            inbox,
            from,
            pulls: BTreeMap::new(),
            last: 0,
            not_before: Instant::now(),
            telling: Seldom::default(),
        })
    }

    pub(crate) async fn next(&mut self, free: usize) -> Delivery {
        self.take(free.min(AHEAD), false).await
    }

    pub(crate) async fn next_spare(&mut self, most: usize) -> Delivery {
        self.take(most, true).await
    }

    pub(crate) fn has_asked(&self) -> bool {
        let now = Instant::now();
        self.pulls.values().any(|pull| pull.left > 0 && pull.until > now)
    }

    async fn take(&mut self, wanted: usize, spare: bool) -> Delivery {
        loop {
            let look_again = self.top_up(wanted, spare);
            tokio::select! {
                Some(message) = self.from.next() => {
                    if let Some(delivery) = self.received(message).await {
                        return delivery;
                    }
                }
                // The server forgot the pulls of the connection that is gone.
                Ok(()) = self.epoch.changed() => self.pulls.clear(),
                () = tokio::time::sleep_until(look_again) => {}
            }
        }
    }

    /// Asks for what is wanted; returns when to look again if nothing comes.
    fn top_up(&mut self, wanted: usize, spare: bool) -> Instant {
        let now = Instant::now();
        self.pulls.retain(|_, pull| pull.left > 0 && pull.until > now);
        let asked: usize = self.pulls.values().map(|pull| pull.left).sum();
        // Not a pull for each message that came.
        if asked <= wanted / 2 && asked < wanted {
            if now < self.not_before {
                return self.not_before;
            }
            let batch = wanted - asked;
            let client = self.js.client();
            let id = self.last + 1;
            let pull = if spare {
                format!(r#"{{"batch":{batch},"no_wait":true}}"#)
            } else {
                format!(r#"{{"batch":{batch},"expires":{}}}"#, EXPIRES.as_nanos())
            };
            let sent = client.connection_state() == Connection::Connected
                && at_once(client.publish_with_reply(NEXT, format!("{}.{id}", self.inbox), pull.into())).is_some();
            if !sent {
                return now + PAUSE;
            }
            self.last = id;
            let until = now + if spare { SPARE_LOST } else { LOST };
            self.pulls.insert(id, Pull { left: batch, until, spare });
        }
        self.pulls.values().map(|pull| pull.until).min().unwrap_or(now + EXPIRES)
    }

    /// A message, or the server's word that a pull is over.
    async fn received(&mut self, message: async_nats::Message) -> Option<Delivery> {
        if let Some(status) = message.status {
            let id = message.subject.rsplit('.').next().and_then(|id| id.parse::<u64>().ok());
            if id.and_then(|id| self.pulls.remove(&id)).is_some_and(|pull| pull.spare) {
                self.not_before = Instant::now() + SPARE_PAUSE;
            }
            // 404 and 408 are a pull that ran out. Anything else (no responders, consumer deleted) is trouble.
            if status != StatusCode::NOT_FOUND && status != StatusCode::TIMEOUT {
                if self.telling.is_due() {
                    tracing::warn!(status = status.as_u16(), "can't pull messages; was `frontdesk nats-setup` run?");
                }
                self.not_before = Instant::now() + PAUSE;
            }
            return None;
        }
        if let Some(pull) = self.pulls.values_mut().find(|pull| pull.left > 0) {
            pull.left -= 1;
        }
        let message = jetstream::Message { message, context: self.js.clone() };
        let Ok((attempt, queued_at)) = message.info().map(|info| {
            let queued_at = info.published.unix_timestamp_nanos() / 1_000_000;
            (u32::try_from(info.delivered).unwrap_or(u32::MAX), Millis(i64::try_from(queued_at).unwrap_or(0)))
        }) else {
            tracing::warn!("dropped something that is no delivery");
            return None;
        };
        match serde_json::from_slice(&message.payload) {
            Ok(parsed) => {
                Some(Delivery { message: parsed, attempt, queued_at, handle: Handle::Nats(Box::new(message)) })
            }
            Err(_) => {
                tracing::error!("dropped a message that can't be read");
                ack(&message, AckKind::Term).await;
                None
            }
        }
    }

    /// The server drops pulls whose inbox has no subscriber; what is here, or on its way, goes back at once. What would
    /// be lost on its way waits for `ACK_WAIT` instead.
    pub(crate) async fn close(mut self) {
        self.from.drain().await.ok();
        let until = Instant::now() + DRAIN;
        // It ends once the server has confirmed that nothing more comes.
        while let Ok(Some(message)) = tokio::time::timeout_at(until, self.from.next()).await {
            if message.status.is_none() {
                let message = jetstream::Message { message, context: self.js.clone() };
                ack(&message, AckKind::Nak(None)).await;
            }
        }
    }
}
