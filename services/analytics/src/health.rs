//! Whether analytics can do its work now.

use std::sync::{Arc, Mutex, MutexGuard};

use bus::Bus;
use runtime::ops::Ready;

use crate::Store;

/// How analytics is, and its store while that is open. Made by who starts [`run`](crate::run()), so that it can be asked
/// before, beside and after. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    state: Arc<Mutex<Result<(), &'static str>>>,
    store: Arc<Mutex<Option<Arc<Store>>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(Err("analytics is starting"))), store: Arc::default() }
    }
}

impl Health {
    /// What is missing, in words for the operator. No detail: that is in the log, and this may be read by others.
    pub fn check(&self) -> Result<(), String> {
        self.state().map_err(str::to_owned)
    }

    /// The same for a process with no other role, which also needs its bus.
    pub fn ready(&self, bus: &Bus) -> Ready {
        let (health, bus) = (self.clone(), bus.clone());
        Arc::new(move || {
            health.check()?;
            bus.missing().map_or(Ok(()), |lacks| Err(format!("waiting for NATS: {lacks}")))
        })
    }

    /// The store; none before it is open and after the stop.
    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        self.store.lock().expect("nothing panics while holding it").clone()
    }

    pub(crate) fn set_store(&self, store: Option<Arc<Store>>) {
        *self.store.lock().expect("nothing panics while holding it") = store;
    }

    pub(crate) fn set(&self, state: Result<(), &'static str>) {
        *self.state() = state;
    }

    fn state(&self) -> MutexGuard<'_, Result<(), &'static str>> {
        self.state.lock().expect("nothing panics while holding it")
    }
}
