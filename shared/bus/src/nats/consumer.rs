//! What the server knows of the two consumers, from which all workers and analytics read.

use async_nats::Client;

use super::unavailable;
use crate::{Error, Queue};

pub(super) const WORKERS: &str = "$JS.API.CONSUMER.INFO.REQ.workers";
const RECORDER: &str = "$JS.API.CONSUMER.INFO.FACTS.recorder";

/// Of its answer what is needed here.
#[derive(serde::Deserialize)]
pub(super) struct Info {
    /// Not handed out yet.
    num_pending: u64,
    /// Handed out and not acknowledged.
    num_ack_pending: u64,
    /// Pulls that lie at the server.
    pub(super) num_waiting: u64,
}

pub(super) async fn info(client: &Client, subject: &'static str) -> Result<Info, Error> {
    let answer = client.request(subject, "".into()).await.map_err(|e| unavailable(&e))?;
    serde_json::from_slice(&answer.payload).map_err(|e| Error::unreadable(&e))
}

pub(super) async fn waiting(client: &Client, queue: Queue) -> Result<u64, Error> {
    match queue {
        // What a worker has taken and waits there is counted in that worker, by site.
        Queue::Messages => Ok(info(client, WORKERS).await?.num_pending),
        Queue::Facts => {
            let info = info(client, RECORDER).await?;
            Ok(info.num_pending.saturating_add(info.num_ack_pending))
        }
    }
}
