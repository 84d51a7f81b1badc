//! What an edge that starts learns of what was counted before it: from analytics, where there is one.
//!
//! It asks before it serves, and goes on without after [`WITHIN`]; where nobody keeps counts that is at once. Analytics
//! may be there later, as when a whole machine starts: then it is asked then. An answer at any time is right, because
//! what is known better here stays ([`Quota::restore`](super::quota::Quota::restore)). It misses what other edges let
//! through in the moment in which an answer is on its way, and what they did while analytics was away: they tell what they
//! count as they count it, and not again. So much more of a day's budget an edge lets through that starts after that.

use std::{pin::pin, time::Duration};

use bus::{Bus, Error};
use protocol::{CountsAsk, Tier};
use tokio::time::{sleep, timeout};

use super::Limits;
use crate::metrics::Snapshot;

/// An edge waits for so long before it serves, and for so long for each part of an answer.
pub(super) const WITHIN: Duration = Duration::from_secs(1);
/// Between looks whether NATS, or analytics, is there.
const LOOK: Duration = Duration::from_secs(1);
/// Between questions to an analytics that does not answer them, at last.
const SELDOM: Duration = Duration::from_secs(60);
/// Parts of one limit's answer that are read: more callers than anybody counts, and an end of an answer without one.
const PARTS: u32 = 10_000;

/// The budgets first: what a minute's limit misses is past in a minute.
const ORDER: [Tier; Tier::ALL.len()] =
    [Tier::SiteDay, Tier::IpDay, Tier::SessionDay, Tier::Site, Tier::Create, Tier::Ip, Tier::Session, Tier::Late];

/// Asks until there was an answer.
pub(super) async fn restore(limits: &Limits, bus: &Bus) {
    let mut pause = LOOK;
    loop {
        let mut asking = pin!(ask(limits, bus));
        let answered = match timeout(WITHIN, &mut asking).await {
            Ok(answered) => answered,
            Err(_) => {
                limits.settle();
                tracing::warn!("the counts of limits take long to come: serving without those that are not here yet");
                asking.await
            }
        };
        match answered {
            Ok(Some(callers)) => {
                limits.snapshot(&Snapshot::RESTORED);
                limits.settle();
                tracing::info!(callers, "limits go on from what was counted before");
                return;
            }
            Ok(None) => {
                limits.snapshot(&Snapshot::ABSENT);
                if limits.settle() {
                    tracing::debug!("nobody keeps the counts of limits: they begin at zero");
                }
            }
            // Not ready anyhow, and asked once it is there.
            Err(_) if !bus.connected() => {}
            Err(error) => {
                limits.snapshot(&Snapshot::FAILED);
                limits.settle();
                tracing::warn!(%error, "the counts of limits are not known: they begin at zero, and are asked for again");
            }
        }
        // An analytics that is there and doesn't tell will hardly do so the next moment.
        let was_there = bus.presence().analytics;
        sleep(if bus.connected() { pause } else { LOOK / 10 }).await;
        while bus.connected() && !bus.presence().analytics {
            sleep(LOOK).await;
        }
        pause = if was_there { (pause * 2).min(SELDOM) } else { LOOK };
    }
}

/// Asks for all limits that are on; how many callers it was told of, or `None` when nobody keeps counts.
async fn ask(limits: &Limits, bus: &Bus) -> Result<Option<u64>, Error> {
    let mut callers = 0;
    for tier in ORDER.into_iter().filter(|tier| limits.counts(*tier)) {
        let mut from = 0;
        for _ in 0..PARTS {
            let ask = CountsAsk { v: 1, tier, from };
            let Some(part) = bus.counts(&ask, WITHIN).await? else { return Ok(None) };
            if part.v != 1 || part.tier != tier {
                return Err(Error::Invalid("counts of another limit or form".to_owned()));
            }
            callers += limits.restore(&part);
            match part.next {
                Some(next) if next > from => from = next,
                Some(_) => return Err(Error::Invalid("counts that don't get on".to_owned())),
                None => break,
            }
        }
    }
    Ok(Some(callers))
}
