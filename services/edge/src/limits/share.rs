//! Edges tell each other what they counted, so that n of them let through what one would.
//!
//! Nobody waits for it: an edge decides by what it knows, and tells in batches. What all edges let through in the same
//! [`BATCH`] is over the limit by that much, once. Without NATS each edge limits by itself: charges that could not be
//! told are dropped and counted, because told late they would be wrong.
//!
//! Analytics hears them as well and keeps what they come to, for edges that start ([`restore`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bus::Bus;
use protocol::{Charges, Key, Tier};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Limits, quota::Nanos, restore::restore};

/// How long charges are gathered.
const BATCH: Duration = Duration::from_millis(25);
/// Keys in one message: 37 KB.
const PART: usize = 1000;
/// Keys that are gathered; more in one [`BATCH`] than an edge can answer. Further ones are counted here alone.
const GATHERED: usize = 10_000;

/// Charges that the other edges don't know of yet.
#[derive(Default)]
pub(crate) struct Outbox {
    gathered: Mutex<HashMap<(Tier, u64), Charge>>,
    filled: Notify,
}

/// How often a key was counted, and when all of its quota will be there again; 0 where that isn't known.
#[derive(Default)]
struct Charge {
    units: u32,
    back: Nanos,
}

impl Outbox {
    /// Adds one charge; `false` when there is no room. `back`: when all of the quota will be there again.
    pub(crate) fn note(&self, tier: Tier, key: u64, back: Nanos) -> bool {
        let mut gathered = self.gathered.lock().expect("nothing panics while holding it");
        if gathered.len() >= GATHERED && !gathered.contains_key(&(tier, key)) {
            return false;
        }
        let charge = gathered.entry((tier, key)).or_default();
        charge.units += 1;
        charge.back = charge.back.max(back);
        let first = gathered.len() == 1;
        drop(gathered);
        if first {
            self.filled.notify_one();
        }
        true
    }

    /// Empties it into messages.
    pub(super) fn drain(&self, edge: &str, now: Nanos) -> Vec<Charges> {
        let gathered = std::mem::take(&mut *self.gathered.lock().expect("nothing panics while holding it"));
        let mut messages: Vec<Charges> = Vec::new();
        let mut open: HashMap<Tier, usize> = HashMap::new();
        for ((tier, key), Charge { units, back }) in gathered {
            let at = open.get(&tier).copied().filter(|at| messages[*at].charges.len() < PART).unwrap_or_else(|| {
                let (edge, charges, resets) = (edge.to_owned(), Vec::new(), Vec::new());
                messages.push(Charges { v: 1, edge, tier, charges, resets });
                open.insert(tier, messages.len() - 1);
                messages.len() - 1
            });
            messages[at].charges.push((Key(key), units));
            let reset_ms = back.saturating_sub(now).div_ceil(1_000_000);
            messages[at].resets.push(u32::try_from(reset_ms).unwrap_or(u32::MAX));
        }
        messages
    }
}

/// Tells what was counted and counts what is told, until `stop`. Runs for as long as the edge does.
pub(crate) async fn share(limits: Arc<Limits>, bus: Bus, stop: CancellationToken) {
    let edge = format!("{:016x}", rand::random::<u64>());
    let tell = || {
        for message in limits.outbox.drain(&edge, limits.now()) {
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
    // Before it is asked what was counted until now: what others count in between is heard.
    let heard = bus.charges().await;
    let hearing = async {
        let mut heard = match heard {
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
    let restoring = async {
        restore(&limits, &bus).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = telling => {}
        () = hearing => {}
        () = restoring => {}
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
            assert!(outbox.note(Tier::Ip, n, 9) && outbox.note(Tier::Ip, n, 0) && outbox.note(Tier::IpDay, 7, n));
        }
        let messages = outbox.drain("e", 0);
        let of = |tier| messages.iter().filter(move |message| message.tier == tier);
        assert_eq!(of(Tier::IpDay).map(|message| message.charges.clone()).collect::<Vec<_>>(), [[(Key(7), 2500)]]);
        assert_eq!((of(Tier::Ip).count(), messages.len()), (3, 4));
        let charges: Vec<_> = of(Tier::Ip).flat_map(|message| &message.charges).collect();
        assert!(charges.len() == 2500 && charges.iter().all(|(_, units)| *units == 2));
        assert!(messages.iter().all(|m| m.charges.len() <= PART && serde_json::to_vec(m).unwrap().len() < 100_000));
        assert!(outbox.drain("e", 0).is_empty());
    }

    #[test]
    fn a_charge_says_until_when_it_counts() {
        const MS: Nanos = 1_000_000;
        let outbox = Outbox::default();
        for (key, back) in [(1, 50_000 * MS), (1, 53_000 * MS + 1), (2, 0), (3, 19 * MS), (4, Nanos::MAX)] {
            assert!(outbox.note(Tier::Ip, key, back));
        }
        let message = outbox.drain("e", 20 * MS).remove(0);
        let told = message.charges.iter().map(|(key, _)| key.0).zip(message.resets);
        let told: std::collections::BTreeMap<u64, u32> = told.collect();
        assert_eq!(told, [(1, 52_981), (2, 0), (3, 0), (4, u32::MAX)].into());
    }

    #[test]
    fn what_is_gathered_is_bounded() {
        let outbox = Outbox::default();
        for n in 0..GATHERED as u64 {
            assert!(outbox.note(Tier::Ip, n, 0));
        }
        assert!(!outbox.note(Tier::Ip, u64::MAX, 0) && !outbox.note(Tier::Session, 1, 0));
        assert!(outbox.note(Tier::Ip, 1, 0), "who is known costs nothing");
    }
}
