//! Stops n8n's executions whose visitors cancelled, in the background: the visitor's reply is over without it.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::{counter::Counter, family::Family};
use protocol::{Message, MessageId, SessionId, SiteId};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    metrics::Stop,
    n8n::executions::{Error, Executions},
};

/// Executions that are looked for at once: each may hold a page of them.
const AT_ONCE: usize = 4;
/// Those that wait for that as well; one more runs to its end.
const AT_MOST: usize = 64;
/// One that is not stopped after this long runs to its end.
const WITHIN: Duration = Duration::from_secs(30);
/// One that has just begun may not be in n8n's database yet: it is looked for again after these.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// See the module.
pub(crate) struct Stopper {
    tasks: TaskTracker,
    at_most: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
    stops: Family<Stop, Counter>,
}

impl Stopper {
    pub(crate) fn new(stops: Family<Stop, Counter>) -> Self {
        let (at_most, at_once) = (Arc::new(Semaphore::new(AT_MOST)), Arc::new(Semaphore::new(AT_ONCE)));
        Self { tasks: TaskTracker::new(), at_most, at_once, stops }
    }

    /// Stops the execution of a message whose connection was closed.
    pub(crate) fn stop(&self, executions: &Executions, message: &Message) {
        let Ok(place) = Arc::clone(&self.at_most).try_acquire_owned() else {
            count(&self.stops, "dropped");
            tracing::warn!(
                message.id = %message.message_id, site = %message.site,
                "too many executions are to be stopped; this one runs on"
            );
            return;
        };
        let task = Task {
            executions: executions.clone(),
            site: message.site.clone(),
            session: message.session.clone(),
            message: message.message_id.clone(),
        };
        let (at_once, stops) = (Arc::clone(&self.at_once), self.stops.clone());
        self.tasks.spawn(async move {
            let _place = place;
            let result = tokio::time::timeout(WITHIN, task.run(&at_once)).await;
            count(&stops, task.told(result.unwrap_or(Err(Error::Unreachable))));
        });
    }

    /// Waits for those that are under way.
    pub(crate) async fn close(&self, limit: Duration) {
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(executions = self.tasks.len(), "some of n8n's executions were not stopped in time");
        }
    }
}

struct Task {
    executions: Executions,
    site: SiteId,
    session: SessionId,
    message: MessageId,
}

impl Task {
    /// Whether it was found and stopped.
    async fn run(&self, at_once: &Semaphore) -> Result<bool, Error> {
        let mut waits = AGAIN.into_iter();
        loop {
            let found = {
                let Ok(_turn) = at_once.acquire().await else { return Ok(false) };
                self.executions.find(&self.session, &self.message).await?
            };
            if let Some(id) = found {
                self.executions.stop_execution(&id).await?;
                return Ok(true);
            }
            let Some(wait) = waits.next() else { return Ok(false) };
            tokio::time::sleep(wait).await;
        }
    }

    fn told(&self, result: Result<bool, Error>) -> &'static str {
        let (message, site) = (&self.message, &self.site);
        match result {
            Ok(true) => {
                tracing::info!(message.id = %message, %site, "stopped n8n's execution");
                "stopped"
            }
            Ok(false) => {
                tracing::info!(message.id = %message, %site, "n8n runs no execution that shows this message");
                "not_found"
            }
            Err(error) => {
                tracing::warn!(%error, message.id = %message, %site, "can't stop n8n's execution");
                "failed"
            }
        }
    }
}

fn count(stops: &Family<Stop, Counter>, result: &'static str) {
    stops.get_or_create(&Stop { result }).inc();
}

#[cfg(test)]
mod tests {
    use protocol::Millis;
    use runtime::Secret;
    use tokio::{net::TcpListener, time::Instant};

    use super::*;
    use crate::n8n::executions::client;

    /// An API that takes connections and never answers: only so many wait for it, and the process does not.
    #[tokio::test]
    async fn a_silent_api_holds_up_nobody() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api/v1", silent.local_addr().unwrap()).parse().unwrap();
        let executions = Executions::new(client().unwrap(), base, &Secret::any("token")).unwrap();
        let message: Message = serde_json::from_value(serde_json::json!({"v":1,"site":"default","text":"hi",
            "session":"sess_1767168909_9f86d081884c7d65","message_id":"message-1","digest":"d",
            "accepted_at":Millis::now()}))
        .unwrap();
        let stopper = Stopper::new(Family::default());
        for _ in 0..AT_MOST + 6 {
            stopper.stop(&executions, &message);
        }
        let dropped = stopper.stops.get_or_create(&Stop { result: "dropped" }).get();
        assert_eq!((stopper.tasks.len(), dropped), (AT_MOST, 6));
        let began = Instant::now();
        stopper.close(Duration::from_millis(10)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
