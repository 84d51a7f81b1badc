//! Limits by address, session, site and creation, in the memory of this edge.
//!
//! Each is a bucket of one minute's worth that refills evenly (GCRA): a quiet visitor may send a burst, a loud one
//! gets the average. Memory is bounded: buckets that are full again are dropped every [`SWEEP`], and past [`MAX_KEYS`]
//! of one kind all newcomers share one bucket until the sweep makes room. A flood from a great many addresses so
//! limits strangers together, and never those who were here before it.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    net::IpAddr,
    num::NonZeroU32,
    sync::Mutex,
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock, Reference},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::{
        InMemoryState, NotKeyed, StateStore,
        keyed::{DashMapStateStore, ShrinkableKeyedStateStore},
    },
};
use protocol::{SessionId, SiteId};

use crate::config::Config;

/// Buckets of one kind at most: about 5 MB.
const MAX_KEYS: usize = 100_000;
/// How often full buckets are dropped.
const SWEEP: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// What a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// All API calls of an address.
    Ip,
    /// Messages of a session.
    Session,
    /// Messages of a site.
    Site,
    /// Sessions created by an address.
    Create,
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

/// How a caller stands with one limit after being counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) scope: Scope,
    quota: u32,
    remaining: u32,
    /// Seconds until all of the quota is there again; for a refused caller, until one more is.
    pub(crate) reset: u32,
}

impl Standing {
    /// Whether less of this one's quota is left than of the other's.
    pub(crate) fn is_tighter_than(&self, other: &Self) -> bool {
        let share = |a: &Self, b: &Self| u64::from(a.remaining) * u64::from(b.quota);
        share(self, other) <= share(other, self)
    }

    /// The two headers of the IETF draft.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Self { scope, quota, remaining, reset } = self;
        let scope = scope.as_str();
        let value = |text: String| HeaderValue::from_maybe_shared(text).expect("words and numbers make a header");
        headers.insert("ratelimit-policy", value(format!(r#""{scope}";q={quota};w={}"#, MINUTE.as_secs())));
        headers.insert("ratelimit", value(format!(r#""{scope}";r={remaining};t={reset}"#)));
    }
}

/// Counted and within the limit (`None`: the limit is off), or refused.
pub(crate) type Counted = Result<Option<Standing>, Standing>;

/// All limits of this edge.
pub(crate) struct Limits<C: Clock = MonotonicClock> {
    ip: Option<Tier<C>>,
    session: Option<Tier<C>>,
    site: Option<Tier<C>>,
    create: Option<Tier<C>>,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self::with_clock(config, &MonotonicClock)
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn with_clock(config: &Config, clock: &C) -> Self {
        let tier = |scope, quota| Tier::new(scope, quota, MAX_KEYS, clock.clone());
        Self {
            ip: tier(Scope::Ip, config.rate_limit_per_minute),
            session: tier(Scope::Session, config.rate_limit_session_per_minute),
            site: tier(Scope::Site, config.rate_limit_site_per_minute),
            create: tier(Scope::Create, config.rate_limit_create_per_minute),
        }
    }
}

impl<C: Clock> Limits<C> {
    /// Counts an API call.
    pub(crate) fn call(&self, ip: IpAddr) -> Counted {
        count(self.ip.as_ref(), &neighbourhood(ip))
    }

    /// Counts the creation of a session.
    pub(crate) fn create(&self, ip: IpAddr) -> Counted {
        count(self.create.as_ref(), &neighbourhood(ip))
    }

    /// Counts a message with its session.
    pub(crate) fn session(&self, session: &SessionId) -> Counted {
        count(self.session.as_ref(), session)
    }

    /// Counts a message with its site.
    pub(crate) fn site(&self, site: &SiteId) -> Counted {
        count(self.site.as_ref(), site)
    }
}

fn count<C: Clock>(tier: Option<&Tier<C>>, key: &impl Hash) -> Counted {
    tier.map(|tier| tier.count(key)).transpose()
}

/// Who counts as one caller: an IPv4 address, or the /64 that one IPv6 subscriber has.
pub(crate) fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// One limit.
struct Tier<C: Clock> {
    scope: Scope,
    quota: NonZeroU32,
    /// Keys are kept as a keyed hash: 8 bytes whatever they are, and nobody can aim for a collision.
    hasher: RandomState,
    limiter: RateLimiter<u64, Buckets, C, StateInformationMiddleware>,
    swept: Mutex<C::Instant>,
}

impl<C: Clock> Tier<C> {
    fn new(scope: Scope, per_minute: u32, max_keys: usize, clock: C) -> Option<Self> {
        let quota = NonZeroU32::new(per_minute)?;
        let pace = Quota::with_period(MINUTE / per_minute)?.allow_burst(quota);
        let swept = Mutex::new(clock.now());
        let buckets = Buckets { known: DashMapStateStore::default(), shared: InMemoryState::default(), max_keys };
        Some(Self { scope, quota, hasher: RandomState::new(), limiter: RateLimiter::new(pace, buckets, clock), swept })
    }

    fn count(&self, key: &impl Hash) -> Result<Standing, Standing> {
        self.sweep();
        let standing = |remaining, reset: Duration| {
            let reset = u32::try_from(reset.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
            Standing { scope: self.scope, quota: self.quota.get(), remaining, reset }
        };
        match self.limiter.check_key(&self.hasher.hash_one(key)) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                Ok(standing(remaining, MINUTE / self.quota.get() * (self.quota.get() - remaining)))
            }
            Err(until) => {
                let wait = until.wait_time_from(self.limiter.clock().now());
                // Never "after 0 seconds": that would be refused again.
                Err(standing(0, wait.max(Duration::from_millis(1))))
            }
        }
    }

    /// Here and not in a task: an edge without visitors wakes for nothing.
    fn sweep(&self) {
        let now = self.limiter.clock().now();
        let Ok(mut swept) = self.swept.try_lock() else { return };
        if Duration::from(now.duration_since(*swept)) >= SWEEP {
            *swept = now;
            drop(swept);
            self.limiter.retain_recent();
        }
    }
}

/// The buckets of one limit.
struct Buckets {
    known: DashMapStateStore<u64>,
    shared: InMemoryState,
    max_keys: usize,
}

impl StateStore for Buckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if !self.known.contains_key(key) && self.known.len() >= self.max_keys {
            return self.shared.measure_and_replace(&NotKeyed::NonKey, f);
        }
        self.known.measure_and_replace(key, f)
    }
}

impl ShrinkableKeyedStateStore<u64> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        self.known.retain_recent(drop_below);
    }

    fn len(&self) -> usize {
        self.known.len()
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn tier(quota: u32, max_keys: usize) -> (Tier<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        // At the clock's very zero a bucket looks unused.
        clock.advance(Duration::from_secs(1));
        (Tier::new(Scope::Session, quota, max_keys, clock.clone()).unwrap(), clock)
    }

    #[test]
    fn a_minutes_worth_then_the_average() {
        let (tier, clock) = tier(20, 10);
        for n in 1..=20 {
            let standing = tier.count(&"a").unwrap();
            assert_eq!((standing.remaining, standing.reset), (20 - n, 3 * n));
        }
        let refused = tier.count(&"a").unwrap_err();
        assert_eq!((refused.remaining, refused.reset), (0, 3));
        assert!(tier.count(&"b").is_ok(), "others have their own bucket");
        clock.advance(Duration::from_secs(2));
        assert_eq!(tier.count(&"a").unwrap_err().reset, 1);
        clock.advance(Duration::from_secs(1));
        assert_eq!(tier.count(&"a").unwrap().remaining, 0);
        clock.advance(MINUTE);
        assert_eq!(tier.count(&"a").unwrap().remaining, 19);
    }

    #[test]
    fn zero_is_off() {
        assert!(Tier::new(Scope::Ip, 0, 10, FakeRelativeClock::default()).is_none());
        assert_eq!(count::<FakeRelativeClock>(None, &1), Ok(None));
    }

    #[test]
    fn newcomers_past_the_cap_share_a_bucket_until_the_sweep() {
        let (tier, clock) = tier(2, 3);
        for known in 0..3 {
            assert!(tier.count(&known).is_ok());
        }
        assert!(tier.count(&100).is_ok() && tier.count(&101).is_ok());
        assert!(tier.count(&102).is_err(), "the shared bucket is empty");
        assert!(tier.count(&0).is_ok(), "those who were here before are not touched");
        assert_eq!(tier.limiter.len(), 3);
        clock.advance(Duration::from_secs(120));
        assert!(tier.count(&200).is_ok());
        assert_eq!(tier.limiter.len(), 1);
    }

    #[test]
    fn a_subscriber_is_one_caller() {
        let check = |a: &str, b: &str, same: bool| {
            let of = |ip: &str| neighbourhood(ip.parse().unwrap());
            assert_eq!(of(a) == of(b), same, "{a} {b}");
        };
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("::ffff:10.0.0.1", "10.0.0.1", true);
        check("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
    }

    #[test]
    fn the_tightest_has_the_smallest_share_left() {
        let of = |scope, quota, remaining| Standing { scope, quota, remaining, reset: 0 };
        let (ip, session) = (of(Scope::Ip, 60, 30), of(Scope::Session, 20, 12));
        assert!(ip.is_tighter_than(&session) && !session.is_tighter_than(&ip));
        let mut headers = HeaderMap::new();
        Standing { reset: 20, ..session }.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], r#""session";q=20;w=60"#);
        assert_eq!(headers["ratelimit"], r#""session";r=12;t=20"#);
    }
}
