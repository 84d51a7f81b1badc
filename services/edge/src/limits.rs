//! Limits in tiers: by address, session, site and creation; by minute, by day, and of streams at once.
//!
//! - A **minute's** limit refills evenly: a quiet visitor may send a burst, a loud one gets the average.
//! - A **day's** budget counts messages that were accepted as new, because each may run a workflow that costs money. It
//!   comes back all at once, 24 hours after its first message.
//! - **Streams** count while they are open.
//!
//! A refused call uses up nothing. Memory is bounded and floods don't free attackers (`table`); the time is one that
//! can't be set (`quota`); edges share what they count without waiting for each other (`share`), and with analytics go on
//! from what was counted before they started (`restore`); nobody is kept by name (`keys`). `LIMITS_MODE=shadow` decides in the same way, and refuses nobody.

mod keys;
mod quota;
mod restore;
mod share;
mod streams;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderValue};
use protocol::{Charges, Count, Counts, SessionId, SiteId, Tier};
use runtime::Secret;
use tokio::{sync::watch, time::Instant};

use self::{
    keys::Keys,
    quota::{Nanos, Quota},
    share::Outbox,
    streams::Streams,
    table::Table,
};
use crate::{
    config::{LimitSettings, LimitsMode},
    metrics::{Limited, Metrics, Shared, Snapshot},
    site::Sites,
};

pub(crate) use share::share;

/// After so long a stream may have ended.
const STREAM_RETRY: u32 = 5;

/// Whom a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// All API calls of an address, its messages, its streams.
    Ip,
    /// Messages and streams of a session.
    Session,
    /// Messages of a site.
    Site,
    /// Sessions created by an address.
    Create,
}

/// What a limit counts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Over {
    Minute,
    Day,
    /// Not over time: what is open now.
    Streams,
}

impl Scope {
    /// The public name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Session => "session",
            Self::Site => "site",
            Self::Create => "create",
        }
    }
}

impl Over {
    /// The public name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Streams => "streams",
        }
    }
}

fn scope(tier: Tier) -> Scope {
    match tier {
        Tier::Ip | Tier::IpDay => Scope::Ip,
        Tier::Session | Tier::SessionDay | Tier::Late => Scope::Session,
        Tier::Site | Tier::SiteDay => Scope::Site,
        Tier::Create => Scope::Create,
    }
}

fn over(tier: Tier) -> Over {
    match tier {
        Tier::Ip | Tier::Session | Tier::Site | Tier::Create | Tier::Late => Over::Minute,
        Tier::IpDay | Tier::SessionDay | Tier::SiteDay => Over::Day,
    }
}

/// How a caller stands with one limit after being counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    tier: Tier,
    quota: u32,
    /// Seconds.
    window: u64,
    remaining: u32,
    /// Seconds until all of the quota is there again; for a refused caller, until one more is.
    reset: u32,
}

impl Standing {
    fn new(tier: Tier, quota: &Quota, remaining: u32, reset: Duration) -> Self {
        // Never "after 0 seconds": that would be refused again.
        let reset = u32::try_from(reset.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1);
        Self { tier, quota: quota.size(), window: quota.window().as_secs(), remaining, reset }
    }

    /// Whether less of this one's quota is left than of the other's.
    pub(crate) fn is_tighter_than(&self, other: &Self) -> bool {
        let share = |a: &Self, b: &Self| u64::from(a.remaining) * u64::from(b.quota);
        share(self, other) <= share(other, self)
    }

    /// The two headers of draft-ietf-httpapi-ratelimit-headers: exactly `r` more would pass now.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Self { tier, quota, window, remaining, reset } = self;
        let name = tier.name();
        let value = |text: String| HeaderValue::from_maybe_shared(text).expect("words and numbers make a header");
        headers.insert("ratelimit-policy", value(format!(r#""{name}";q={quota};w={window}"#)));
        headers.insert("ratelimit", value(format!(r#""{name}";r={remaining};t={reset}"#)));
    }
}

/// A call over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) scope: Scope,
    pub(crate) over: Over,
    /// Seconds.
    pub(crate) retry_after: u32,
    /// Of a limit that counts over time.
    pub(crate) standing: Option<Standing>,
}

impl Refusal {
    /// `wait`: until one more would pass.
    fn of(tier: Tier, quota: &Quota, wait: Duration) -> Self {
        let standing = Standing::new(tier, quota, 0, wait);
        Self { scope: scope(tier), over: over(tier), retry_after: standing.reset, standing: Some(standing) }
    }
}

/// Counted and within the limits, with the tightest of them (`None`: nothing is to be told), or refused.
pub(crate) type Counted = Result<Option<Standing>, Refusal>;

/// Quotas of sessions by site, each different one with its table; `None` is off.
#[derive(Default)]
struct Sessions {
    quotas: Vec<(u32, Option<Table>)>,
    by_site: HashMap<SiteId, usize>,
}

/// All limits of this edge.
pub(crate) struct Limits {
    shadow: bool,
    keys: Keys,
    /// By `Tier`; `None` is off.
    tables: [Option<Table>; Tier::ALL.len()],
    /// Of sites whose sessions have another quota than `Tier::Session`.
    sessions: Sessions,
    streams: Streams,
    outbox: Outbox,
    metrics: Arc<Metrics>,
    began: Instant,
    /// Whether it is known what was counted before, or that it won't be soon.
    settled: watch::Sender<bool>,
}

impl Limits {
    pub(crate) fn new(settings: &LimitSettings, secret: &Secret, metrics: Arc<Metrics>) -> Self {
        let max_keys = usize::try_from(settings.limits_max_keys).unwrap_or(usize::MAX);
        let quota = |tier| match tier {
            Tier::Ip => Quota::per_minute(settings.rate_limit_per_minute),
            Tier::Create => Quota::per_minute(settings.rate_limit_create_per_minute),
            Tier::Session => Quota::per_minute(settings.rate_limit_session_per_minute),
            Tier::Site => Quota::per_minute(settings.rate_limit_site_per_minute),
            Tier::IpDay => Quota::per_day(settings.messages_per_day_ip()),
            Tier::SessionDay => Quota::per_day(settings.messages_per_day_session()),
            Tier::SiteDay => Quota::per_day(settings.messages_per_day_site),
            Tier::Late => Quota::per_minute(settings.rate_limit_late_per_minute),
        };
        Self {
            shadow: settings.limits_mode == LimitsMode::Shadow,
            keys: Keys::new(secret),
            tables: Tier::ALL.map(|tier| quota(tier).map(|quota| Table::new(quota, max_keys))),
            sessions: Sessions::default(),
            streams: Streams::new(settings.streams_per_ip(), settings.streams_per_session()),
            outbox: Outbox::default(),
            metrics,
            began: Instant::now(),
            settled: watch::Sender::new(false),
        }
    }

    /// Counts the sessions of sites with quotas of their own by those.
    pub(crate) fn with_sites(mut self, sites: &Sites, settings: &LimitSettings) -> Self {
        let max_keys = usize::try_from(settings.limits_max_keys).unwrap_or(usize::MAX);
        let others = sites.iter().filter(|site| site.messages_per_minute != settings.rate_limit_session_per_minute);
        for site in others {
            let known = self.sessions.quotas.iter().position(|(size, _)| *size == site.messages_per_minute);
            let at = known.unwrap_or_else(|| {
                let quota = Quota::per_minute(site.messages_per_minute);
                let table = quota.map(|quota| Table::new(quota, max_keys));
                self.sessions.quotas.push((site.messages_per_minute, table));
                self.sessions.quotas.len() - 1
            });
            self.sessions.by_site.insert(site.id.clone(), at);
        }
        self
    }

    /// Counts an API call.
    pub(crate) fn call(&self, ip: IpAddr) -> Counted {
        self.count(&[(Tier::Ip, self.keys.address(ip))])
    }

    /// Counts the creation of a session.
    pub(crate) fn create(&self, ip: IpAddr) -> Counted {
        self.count(&[(Tier::Create, self.keys.address(ip))])
    }

    /// Refuses whose sessions are used up, and counts nobody: [`create`](Self::create) does, once it is known what for. In
    /// the shadow that one tells of it as well.
    pub(crate) fn may_create(&self, ip: IpAddr) -> Result<(), Refusal> {
        let Some(table) = self.table(Tier::Create, None).filter(|_| !self.shadow) else { return Ok(()) };
        let wait = table.exhausted(self.keys.address(ip), self.now());
        wait.map_or(Ok(()), |wait| self.refuse(Refusal::of(Tier::Create, table.quota(), wait)))
    }

    /// Counts what a workflow sends late to a session.
    pub(crate) fn late(&self, session: &SessionId) -> Counted {
        self.count(&[(Tier::Late, self.keys.session(session))])
    }

    /// Counts a rating, which is one more thing that a session says.
    pub(crate) fn rating(&self, session: &SessionId, site: &SiteId) -> Counted {
        self.count_at(&[(Tier::Session, self.keys.session(session))], Some(site))
    }

    /// Counts a message with all that limit it. What it takes of the day's budgets comes back unless it is accepted.
    pub(crate) fn message(
        self: &Arc<Self>,
        ip: IpAddr,
        session: &SessionId,
        site: &SiteId,
    ) -> Result<(Option<Standing>, Reserved), Refusal> {
        let of = Some(site);
        let (ip, session, site) = (self.keys.address(ip), self.keys.session(session), self.keys.site(site));
        let minutes = [(Tier::Session, session), (Tier::Site, site)];
        let days = [(Tier::SessionDay, session), (Tier::IpDay, ip), (Tier::SiteDay, site)];
        let [a, b] = minutes;
        let [c, d, e] = days;
        // From the narrow to the wide: who has had too much is told so, and not that the shop has.
        match self.take(&[a, c, d, b, e], of) {
            Ok(standing) => {
                self.note(&minutes, of);
                Ok((self.told(standing), Reserved { limits: Arc::clone(self), days: Some(days) }))
            }
            Err(refusal) => {
                self.refuse(refusal)?;
                Ok((None, Reserved { limits: Arc::clone(self), days: None }))
            }
        }
    }

    /// Takes a place for a stream.
    pub(crate) fn stream(self: &Arc<Self>, ip: IpAddr, session: &SessionId) -> Result<Slot, Refusal> {
        let (address, session) = (self.keys.address(ip), self.keys.session(session));
        if let Err(scope) = self.streams.take(address, session, self.shadow) {
            self.refuse(Refusal { scope, over: Over::Streams, retry_after: STREAM_RETRY, standing: None })?;
        }
        Ok(Slot { limits: Arc::clone(self), address, session })
    }

    /// Of each limit by minute and day, how many callers it remembers who used something.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = (Tier, usize)> {
        let now = self.now();
        Tier::ALL.into_iter().filter_map(move |tier| {
            let in_use = self.tables(tier).into_iter().map(|table| table.in_use(now));
            in_use.reduce(usize::saturating_add).map(|keys| (tier, keys))
        })
    }

    /// How many callers were forgotten too early, for want of room.
    pub(crate) fn forgotten(&self) -> u64 {
        let own = self.sessions.quotas.iter().filter_map(|(_, table)| table.as_ref());
        self.tables.iter().flatten().chain(own).map(Table::forgotten).sum()
    }

    fn count(&self, whom: &[(Tier, u64)]) -> Counted {
        self.count_at(whom, None)
    }

    fn count_at(&self, whom: &[(Tier, u64)], site: Option<&SiteId>) -> Counted {
        match self.take(whom, site) {
            Ok(standing) => {
                self.note(whom, site);
                Ok(self.told(standing))
            }
            Err(refusal) => self.refuse(refusal).map(|()| None),
        }
    }

    /// Takes one of each, or nothing.
    fn take(&self, whom: &[(Tier, u64)], site: Option<&SiteId>) -> Counted {
        let now = self.now();
        let mut tightest: Option<Standing> = None;
        for (at, &(tier, key)) in whom.iter().enumerate() {
            let Some(table) = self.table(tier, site) else { continue };
            match table.take(key, now) {
                Ok(left) => {
                    let standing = Standing::new(tier, table.quota(), left.units, left.reset);
                    if tightest.is_none_or(|known| standing.is_tighter_than(&known)) {
                        tightest = Some(standing);
                    }
                }
                Err(wait) => {
                    self.give_back(&whom[..at], site);
                    return Err(Refusal::of(tier, table.quota(), wait));
                }
            }
        }
        Ok(tightest)
    }

    fn give_back(&self, whom: &[(Tier, u64)], site: Option<&SiteId>) {
        let now = self.now();
        for &(tier, key) in whom {
            if let Some(table) = self.table(tier, site) {
                table.give_back(key, now);
            }
        }
    }

    /// Lets the other edges know, in time.
    fn note(&self, whom: &[(Tier, u64)], site: Option<&SiteId>) {
        let now = self.now();
        for &(tier, key) in whom {
            let Some(table) = self.table(tier, site) else { continue };
            let reset = nanos(table.reset(key, now));
            let back = if reset == 0 { 0 } else { now + reset };
            if !self.outbox.note(tier, key, back) {
                self.shared("dropped", 1);
            }
        }
    }

    /// Counts what another edge let through.
    fn hear(&self, charges: &Charges) {
        let tables = self.tables(charges.tier);
        if tables.is_empty() {
            return;
        }
        let now = self.now();
        for &(key, units) in &charges.charges {
            tables.iter().for_each(|table| table.add(key.0, units, now));
        }
        self.shared("heard", charges.units());
    }

    /// Counts what was used before this edge began, or while it didn't hear; how many callers that were.
    fn restore(&self, counts: &Counts) -> u64 {
        let (tables, now) = (self.tables(counts.tier), self.now());
        for &Count(key, used, reset_ms) in &counts.counts {
            let reset = Duration::from_millis(reset_ms.into());
            tables.iter().for_each(|table| table.restore(key.0, used, reset, now));
        }
        let callers = u64::try_from(counts.counts.len()).unwrap_or(u64::MAX);
        self.metrics.limit_callers_restored.inc_by(callers);
        callers
    }

    /// Whether a limit is on, for any site.
    fn counts(&self, tier: Tier) -> bool {
        !self.tables(tier).is_empty()
    }

    /// All tables of a tier. Of which site a session is does not show in its key: it is counted by all quotas, and asked
    /// for by its own.
    fn tables(&self, tier: Tier) -> Vec<&Table> {
        let own = self.sessions.quotas.iter().filter(|_| tier == Tier::Session).filter_map(|(_, table)| table.as_ref());
        self.table(tier, None).into_iter().chain(own).collect()
    }

    /// Waits until it is known what was counted before, or that it won't be soon: no longer than a question does.
    pub(crate) async fn settled(&self) {
        let mut settled = self.settled.subscribe();
        tokio::time::timeout(restore::WITHIN, settled.wait_for(|settled| *settled)).await.ok();
    }

    /// Whether it is.
    pub(crate) fn is_settled(&self) -> bool {
        *self.settled.borrow()
    }

    /// Says that it is; `true` the first time.
    fn settle(&self) -> bool {
        !self.settled.send_replace(true)
    }

    /// Counts how it went.
    fn snapshot(&self, outcome: &Snapshot) {
        self.metrics.limit_snapshots.get_or_create(outcome).inc();
    }

    /// Counts what became of charges that edges share.
    fn shared(&self, what: &'static str, units: u64) {
        self.metrics.limit_charges.get_or_create(&Shared { what }).inc_by(units);
    }

    /// In the shadow a client is told nothing that it would heed.
    fn told(&self, standing: Option<Standing>) -> Option<Standing> {
        standing.filter(|_| !self.shadow)
    }

    fn refuse(&self, refusal: Refusal) -> Result<(), Refusal> {
        let (scope, limit) = (refusal.scope.as_str(), refusal.over.as_str());
        let mode = if self.shadow { "shadow" } else { "enforce" };
        self.metrics.rate_limited.get_or_create(&Limited { scope, limit, mode }).inc();
        if self.shadow {
            tracing::info!(scope, limit, "a limit would have refused a call");
            Ok(())
        } else {
            Err(refusal)
        }
    }

    fn table(&self, tier: Tier, site: Option<&SiteId>) -> Option<&Table> {
        match site.and_then(|site| self.sessions.by_site.get(site)) {
            Some(&own) if tier == Tier::Session => self.sessions.quotas[own].1.as_ref(),
            _ => self.tables[tier as usize].as_ref(),
        }
    }

    fn now(&self) -> Nanos {
        nanos(self.began.elapsed())
    }
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a message takes of the day's budgets. Dropped, it gives that back: only messages that may run a workflow count.
#[must_use]
pub(crate) struct Reserved {
    limits: Arc<Limits>,
    days: Option<[(Tier, u64); 3]>,
}

impl Reserved {
    /// The message was accepted as new.
    pub(crate) fn spend(mut self) {
        if let Some(days) = self.days.take() {
            self.limits.note(&days, None);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(days) = self.days.take() {
            self.limits.give_back(&days, None);
        }
    }
}

/// The place of an open stream; free again when it is dropped.
#[must_use]
pub(crate) struct Slot {
    limits: Arc<Limits>,
    address: u64,
    session: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.limits.streams.free(self.address, self.session);
    }
}
