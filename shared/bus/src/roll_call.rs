//! Who is there: workers and analytics say so every second, edges and workers remember for three.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use protocol::SiteId;
use tokio::time::Instant;

use crate::{Circuit, Status};

/// Three missed calls.
const REMEMBERED: Duration = Duration::from_millis(3_500);
/// More than any deployment has; a flood of made-up names stops here.
const MAX: usize = 1_000;

/// Who has been heard lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// The workers.
    pub workers: Vec<Status>,
    /// Whether analytics is there.
    pub analytics: bool,
}

#[derive(Clone, Default)]
pub(crate) struct RollCall(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    workers: HashMap<String, (Instant, Status)>,
    analytics: Option<Instant>,
}

impl RollCall {
    pub(crate) fn worker(&self, status: Status) {
        let mut heard = self.0.lock().expect("nothing panics while holding it");
        heard.workers.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        if heard.workers.len() < MAX || heard.workers.contains_key(&status.id) {
            heard.workers.insert(status.id.clone(), (Instant::now(), status));
        }
    }

    pub(crate) fn analytics(&self) {
        self.0.lock().expect("nothing panics while holding it").analytics = Some(Instant::now());
    }

    /// Once for every message: nothing is copied.
    pub(crate) fn circuit_is_open(&self, site: &SiteId) -> bool {
        let heard = self.0.lock().expect("nothing panics while holding it");
        let mut live = heard.workers.values().filter(|(at, _)| at.elapsed() < REMEMBERED).peekable();
        live.peek().is_some() && live.all(|(_, status)| status.sites.get(site) == Some(&Circuit::Open))
    }

    pub(crate) fn presence(&self) -> Presence {
        let heard = self.0.lock().expect("nothing panics while holding it");
        let mut workers: Vec<Status> = heard
            .workers
            .values()
            .filter(|(at, _)| at.elapsed() < REMEMBERED)
            .map(|(_, status)| status.clone())
            .collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        Presence { workers, analytics: heard.analytics.is_some_and(|at| at.elapsed() < REMEMBERED) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a worker says, as it goes over the bus.
    fn status(id: &str, sites: &str) -> Status {
        serde_json::from_str(&format!(r#"{{"id":"{id}","capacity":1,"running":0,"n8n":"ok"{sites}}}"#)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_circuit_is_open_when_every_worker_says_so() {
        let site = SiteId::new("default").unwrap();
        let check = |workers: &[&str], expected: bool| {
            let roll_call = RollCall::default();
            workers.iter().enumerate().for_each(|(n, sites)| roll_call.worker(status(&n.to_string(), sites)));
            assert_eq!(roll_call.circuit_is_open(&site), expected, "{workers:?}");
        };
        let open = r#","sites":{"default":"open"}"#;
        check(&[], false);
        check(&[open], true);
        check(&[open, open], true);
        check(&[open, r#","sites":{"default":"closed"}"#], false);
        check(&[open, r#","sites":{"default":"half_open"}"#], false);
        // From an older worker, or a newer one, or about another shop.
        check(&[open, ""], false);
        check(&[open, r#","sites":{"default":"ajar"}"#], false);
        check(&[open, r#","sites":{"other":"open"}"#], false);
        check(&[r#","sites":{"default":"open","other":"closed"}"#], true);

        let roll_call = RollCall::default();
        roll_call.worker(status("gone", ""));
        tokio::time::advance(REMEMBERED).await;
        roll_call.worker(status("here", open));
        assert!(roll_call.circuit_is_open(&site), "who is gone has no say");
    }

    /// The frozen forms of a status: with and without circuits.
    #[test]
    fn a_status_is_written_as_it_is_read() {
        for line in include_str!("../../protocol/fixtures/status.jsonl").lines() {
            let status: Status = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&status).unwrap(), line);
        }
    }
}
