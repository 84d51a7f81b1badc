//! Refused calls, counted for analytics.
//!
//! A flood of them must not become a flood of facts: each site has one number for each reason, and what was counted is
//! told as one fact of each, every [`EVERY`] at most. A call costs a look into a map that never changes and an addition;
//! an edge that refuses nothing wakes for nothing. An edge that is killed has not told the last [`EVERY`].
//!
//! Not counted: what happens to everybody (a token that expired, a session that is over), wrong paths, faults of ours,
//! what workflows send late, and what is refused before it is a request of the API.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bus::Bus;
use protocol::{Fact, FactId, FactKind, SiteId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    limits::{Over, Refusal, Scope},
    problem::{ApiError, Rejection},
    site::{self, Sites},
};

/// How long refusals are gathered.
const EVERY: Duration = Duration::from_secs(3);

/// All reasons: what [`reason`] says. nats/subjects.md has the list with what each means.
const REASONS: [&str; 19] = [
    "limit_ip_minute",
    "limit_session_minute",
    "limit_site_minute",
    "limit_create_minute",
    "limit_ip_day",
    "limit_session_day",
    "limit_site_day",
    "limit_ip_streams",
    "limit_session_streams",
    "bot_challenge",
    "bot_refuse",
    "bot_reject",
    "origin",
    "token",
    "proof",
    "identity",
    "busy",
    "overloaded",
    "invalid",
];

/// Why a call was refused, in few words: limits by scope and window, bot rules by verdict. `None`: see the module.
fn reason(error: &ApiError) -> Option<&'static str> {
    use ApiError as E;
    Some(match error {
        E::RateLimited(Refusal { scope, over, .. }) => match (scope, over) {
            (Scope::Ip, Over::Minute) => "limit_ip_minute",
            (Scope::Session, Over::Minute) => "limit_session_minute",
            (Scope::Site, Over::Minute) => "limit_site_minute",
            (Scope::Create, _) => "limit_create_minute",
            (Scope::Ip, Over::Day) => "limit_ip_day",
            (Scope::Session, Over::Day) => "limit_session_day",
            (Scope::Site, _) => "limit_site_day",
            (Scope::Ip, Over::Streams) => "limit_ip_streams",
            (Scope::Session, Over::Streams) => "limit_session_streams",
        },
        E::ChallengeRequired { .. } => "bot_challenge",
        E::BotDetected => "bot_refuse",
        E::MessageRejected(Rejection::Content) => "bot_reject",
        E::OriginNotAllowed => "origin",
        E::Unauthorized | E::TokenInvalid | E::FingerprintMismatch | E::SessionMismatch => "token",
        E::ProofRequired | E::ProofInvalid { .. } | E::ProofReplayed => "proof",
        E::IdentityRequired | E::IdentityRefused(_) => "identity",
        E::SessionBusy { .. } => "busy",
        E::Overloaded { .. } => "overloaded",
        E::InvalidRequest { .. }
        | E::MessageRejected(_)
        | E::PayloadTooLarge { .. }
        | E::ReplyTooLarge
        | E::UnsupportedMediaType
        | E::MessageConflict => "invalid",
        E::TokenExpired | E::SessionEnded | E::Forbidden { .. } | E::NotFound | E::MethodNotAllowed | E::Internal => {
            return None;
        }
    })
}

/// See the module.
pub(crate) struct Refusals {
    counts: BTreeMap<SiteId, BTreeMap<&'static str, AtomicU64>>,
    /// The site of calls that don't tell theirs.
    default: SiteId,
    counted: Notify,
    /// Tells the facts of this process from all others'.
    edge: String,
    told: AtomicU64,
}

impl Refusals {
    pub(crate) fn new(sites: &Sites) -> Self {
        let counts = || REASONS.into_iter().map(|reason| (reason, AtomicU64::default())).collect();
        Self {
            counts: sites.iter().map(|site| (site.id.clone(), counts())).collect(),
            default: SiteId::new(site::DEFAULT).expect("the word is of the form"),
            counted: Notify::new(),
            edge: format!("{:016x}", rand::random::<u64>()),
            told: AtomicU64::default(),
        }
    }

    /// Counts a refused call to a site, or to the site `default` where it is not known.
    pub(crate) fn count(&self, site: Option<&SiteId>, error: &ApiError) {
        let Some(reason) = reason(error) else { return };
        let site = site.unwrap_or(&self.default);
        if let Some(count) = self.counts.get(site).and_then(|counts| counts.get(reason)) {
            count.fetch_add(1, Ordering::Relaxed);
            self.counted.notify_one();
        }
    }

    /// What was counted since the last time.
    fn drain(&self) -> impl Iterator<Item = Fact> {
        self.counts
            .iter()
            .flat_map(|(site, counts)| counts.iter().map(move |(reason, count)| (site, reason, count)))
            .filter_map(|(site, reason, count)| {
                let count = count.swap(0, Ordering::Relaxed);
                let seq = self.told.fetch_add(u64::from(count > 0), Ordering::Relaxed);
                let id =
                    FactId::new(&format!("refused-{}-{seq}", self.edge)).expect("a word, hex and digits are an id");
                let kind = FactKind::CallsRefused { reason: (*reason).to_owned(), count };
                (count > 0).then(|| Fact::of_site(site, id, kind))
            })
    }
}

/// Tells what was counted, until `stop`, and then the rest.
pub(crate) async fn tell(refusals: Arc<Refusals>, bus: Bus, stop: CancellationToken) {
    let tell = || refusals.drain().for_each(|fact| bus.tell(fact));
    while stop.run_until_cancelled(refusals.counted.notified()).await.is_some() {
        stop.run_until_cancelled(tokio::time::sleep(EVERY)).await;
        tell();
    }
    tell();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not in the list would be counted nowhere.
    #[test]
    fn every_reason_is_in_the_list() {
        let limit = |scope, over| ApiError::RateLimited(Refusal { scope, over, retry_after: 1, standing: None });
        let scopes = [Scope::Ip, Scope::Session, Scope::Site, Scope::Create];
        let overs = [Over::Minute, Over::Day, Over::Streams];
        let limits = scopes.into_iter().flat_map(|scope| overs.map(|over| limit(scope, over)));
        let others = [
            ApiError::field("field", "detail"),
            ApiError::MessageRejected(Rejection::Content),
            ApiError::MessageRejected(Rejection::Empty),
            ApiError::PayloadTooLarge { max_bytes: 1 },
            ApiError::UnsupportedMediaType,
            ApiError::Unauthorized,
            ApiError::TokenInvalid,
            ApiError::FingerprintMismatch,
            ApiError::IdentityRequired,
            ApiError::IdentityRefused(crate::identity::Refused::Invalid),
            ApiError::ProofRequired,
            ApiError::ProofReplayed,
            ApiError::OriginNotAllowed,
            ApiError::BotDetected,
            ApiError::ChallengeRequired { challenge: serde_json::Value::Null },
            ApiError::SessionMismatch,
            ApiError::MessageConflict,
            ApiError::SessionBusy { running: protocol::MessageId::mint(1) },
            ApiError::Overloaded { retry_after: 1, detail: "" },
        ];
        let mut seen: Vec<&str> = limits.chain(others).filter_map(|error| reason(&error)).collect();
        seen.sort_unstable();
        seen.dedup();
        let mut listed = REASONS.to_vec();
        listed.sort_unstable();
        assert_eq!(seen, listed);
    }

    /// Told a while after the first one, all at once; the rest at the stop.
    #[tokio::test(start_paused = true)]
    async fn what_is_counted_is_told_now_and_then() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            config: crate::Config,
        }
        let config = <Cli as clap::Parser>::parse_from(["edge"]).config;
        let refusals = Arc::new(Refusals::new(&Sites::new(&config).unwrap()));
        let (bus, stop) = (Bus::local(&bus::Config::default()), CancellationToken::new());
        let mut facts = bus.facts();
        let counts = |facts: &[Fact]| -> Vec<u64> {
            let count = |fact: &Fact| match fact.kind {
                FactKind::CallsRefused { count, .. } => count,
                _ => panic!("another fact"),
            };
            facts.iter().map(count).collect()
        };
        let story = async {
            let began = tokio::time::Instant::now();
            refusals.count(None, &ApiError::OriginNotAllowed);
            tokio::time::sleep(EVERY / 2).await;
            refusals.count(None, &ApiError::OriginNotAllowed);
            let batch = facts.next_batch(10).await;
            assert_eq!((counts(&batch.facts), began.elapsed() >= EVERY), (vec![2], true));
            batch.ack().await;
            refusals.count(None, &ApiError::OriginNotAllowed);
            stop.cancel();
        };
        tokio::join!(tell(Arc::clone(&refusals), bus.clone(), stop.clone()), story);
        assert_eq!(counts(&facts.next_batch(10).await.facts), [1]);
    }
}
