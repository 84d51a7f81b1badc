//! Edges tell each other what they counted, so that n of them let through what one would.
//!
//! Nobody waits for it: an edge decides by what it knows, and tells in batches. What all edges let through in the same
//! [`BATCH`] is over the limit by that much, once. Without NATS each edge limits by itself: charges that could not be
//! told are dropped and counted, because told late they would be wrong.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bus::Bus;
use protocol::{Charges, Key, Tier};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Limits;

/// How long charges are gathered.
const BATCH: Duration = Duration::from_millis(25);
/// Keys in one message: 28 KB.
const PART: usize = 1000;
/// Keys that are gathered; more in one [`BATCH`] than an edge can answer. Further ones are counted here alone.
const GATHERED: usize = 10_000;

/// Charges that the other edges don't know of yet.
#[derive(Default)]
pub(crate) struct Outbox {
    gathered: Mutex<HashMap<(Tier, u64), u32>>,
    filled: Notify,
}

impl Outbox {
    /// Adds one charge; `false` when there is no room.
    pub(crate) fn note(&self, tier: Tier, key: u64) -> bool {
        let mut gathered = self.gathered.lock().expect("nothing panics while holding it");
        if gathered.len() >= GATHERED && !gathered.contains_key(&(tier, key)) {
            return false;
        }
        *gathered.entry((tier, key)).or_default() += 1;
        let first = gathered.len() == 1;
        drop(gathered);
        if first {
            self.filled.notify_one();
        }
        true
    }

    /// Empties it into messages.
    pub(super) fn drain(&self, edge: &str) -> Vec<Charges> {
        let gathered = std::mem::take(&mut *self.gathered.lock().expect("nothing panics while holding it"));
        let mut messages: Vec<Charges> = Vec::new();
        let mut open: HashMap<Tier, usize> = HashMap::new();
        for ((tier, key), units) in gathered {
            let at = open.get(&tier).copied().filter(|at| messages[*at].charges.len() < PART).unwrap_or_else(|| {
                messages.push(Charges { v: 1, edge: edge.to_owned(), tier, charges: Vec::new() });
                open.insert(tier, messages.len() - 1);
                messages.len() - 1
            });
            messages[at].charges.push((Key(key), units));
        }
        messages
    }
}

/// Tells what was counted and counts what is told, until `stop`. Runs for as long as the edge does; an edge without
/// visitors wakes for nothing.
pub(crate) async fn share(limits: Arc<Limits>, bus: Bus, stop: CancellationToken) {
    let edge = format!("{:016x}", rand::random::<u64>());
    let tell = || {
        for message in limits.outbox.drain(&edge) {
            let what = if bus.charge(&message) { "told" } else { "dropped" };
            limits.shared(what, message.units());
        }
    };
    let telling = async {
        loop {
            limits.outbox.filled.notified().await;
            tokio::time::sleep(BATCH).await;
            tell();
        }
    };
    let hearing = async {
        let mut heard = match bus.charges().await {
            Ok(heard) => heard,
            Err(error) => {
                tracing::error!(%error, "can't listen to the other edges' limits");
                return std::future::pending().await;
            }
        };
        loop {
            let charges = heard.next().await;
            if charges.edge != edge {
                limits.hear(&charges);
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = hearing => {}
        () = stop.cancelled() => {}
    }
    tell();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_of_a_key_are_one_and_messages_have_a_size() {
        let outbox = Outbox::default();
        for n in 0..2500 {
            assert!(outbox.note(Tier::Ip, n) && outbox.note(Tier::Ip, n) && outbox.note(Tier::IpDay, 7));
        }
        let messages = outbox.drain("e");
        let of = |tier| messages.iter().filter(move |message| message.tier == tier);
        assert_eq!(of(Tier::IpDay).map(|message| message.charges.clone()).collect::<Vec<_>>(), [[(Key(7), 2500)]]);
        assert_eq!((of(Tier::Ip).count(), messages.len()), (3, 4));
        let charges: Vec<_> = of(Tier::Ip).flat_map(|message| &message.charges).collect();
        assert!(charges.len() == 2500 && charges.iter().all(|(_, units)| *units == 2));
        assert!(messages.iter().all(|m| m.charges.len() <= PART && serde_json::to_vec(m).unwrap().len() < 100_000));
        assert!(outbox.drain("e").is_empty());
    }

    #[test]
    fn what_is_gathered_is_bounded() {
        let outbox = Outbox::default();
        for n in 0..GATHERED as u64 {
            assert!(outbox.note(Tier::Ip, n));
        }
        assert!(!outbox.note(Tier::Ip, u64::MAX) && !outbox.note(Tier::Session, 1));
        assert!(outbox.note(Tier::Ip, 1), "who is known costs nothing");
    }
}
