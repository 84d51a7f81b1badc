//! Whether NATS is there with all that a role needs, asked every second, and told where it is not: when that begins,
//! seldom while it lasts, and when it is over.

use std::{
    error::Error as _,
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, ErrorCode, context::RequestErrorKind};
use tokio::time::MissedTickBehavior;

use super::{Nats, connect::Heard, unavailable};
use crate::Missing;

/// How often it is asked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is told at once, and then seldom.
#[derive(Default)]
pub(super) struct Seldom(Option<Instant>);

impl Seldom {
    /// Between two of the same.
    const PAUSE: Duration = Duration::from_secs(30);

    /// Whether to tell it now.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|told| told.elapsed() >= Self::PAUSE);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// One time without NATS.
struct Outage {
    began: Instant,
    lacks: Missing,
    telling: Seldom,
}

/// Never ends.
pub(super) async fn watch(bus: Nats, heard: Heard) {
    let mut every = tokio::time::interval(LOOK_AGAIN);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut outage: Option<Outage> = None;
    loop {
        every.tick().await;
        let Err((lacks, reason)) = look(&bus, &heard).await else {
            bus.0.missing.send_replace(None);
            if let Some(over) = outage.take() {
                let outage_ms = u64::try_from(over.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(outage_ms, "NATS is there");
            }
            continue;
        };
        bus.0.missing.send_replace(Some(lacks));
        let outage = outage.get_or_insert_with(|| Outage { began: Instant::now(), lacks, telling: Seldom::default() });
        // It answers no more, and then is given up: one outage, told of once.
        if outage.lacks != lacks && lacks == Missing::Streams {
            outage.telling = Seldom::default();
        }
        outage.lacks = lacks;
        if outage.telling.is_due() {
            tracing::warn!(waited_s = outage.began.elapsed().as_secs(), reason, "waiting for NATS: {lacks}");
        }
    }
}

async fn look(bus: &Nats, heard: &Heard) -> Result<(), (Missing, String)> {
    if !bus.connected() {
        return Err((Missing::Nats, heard.trouble()));
    }
    let error = match bus.ask_for_snap().await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let said = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let lacks = match said {
        Some(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => Missing::Streams,
        _ if error.kind() == RequestErrorKind::NoResponders => Missing::JetStream,
        _ => Missing::Answer,
    };
    Err((lacks, unavailable(&error).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_seldom() {
        let mut telling = Seldom::default();
        assert!(telling.is_due() && !telling.is_due());
        telling.0 = Instant::now().checked_sub(Seldom::PAUSE);
        assert!(telling.is_due() && !telling.is_due());
    }
}
