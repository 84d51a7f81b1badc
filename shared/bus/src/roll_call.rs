//! Who is there: workers and analytics say so every second, edges remember for three.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::Status;

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
