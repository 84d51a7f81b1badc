//! Who may ask, and how often one may guess.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use protocol::SiteId;
use runtime::http::neighbourhood;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::{State, peer, problem::ApiError};
use crate::Config;

/// Different wrong tokens of an address (IPv6: a /64) in a minute that are answered 401; further wrong ones are
/// answered 429. The same one again does not count: a page that was left open guesses nothing.
const ATTEMPTS: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Addresses that are remembered in a minute. Wrong tokens of further ones are answered 429 at once.
const ADDRESSES: usize = 10_000;

/// Who calls. An argument of this type proves that a token was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Has `ADMIN_TOKEN`.
    Admin,
    /// Has a token of this site.
    Site(SiteId),
}

/// An argument of this type proves that it was `ADMIN_TOKEN`.
pub(super) struct Admin;

/// The tokens, as hashes: all have one length, so the time of a comparison tells nothing.
pub(super) struct Tokens(Vec<(Hash, Caller)>);

type Hash = [u8; 32];

impl Tokens {
    pub(super) fn new(config: &Config) -> Self {
        let admin = config.admin_token.iter().map(|token| (hash(token.expose()), Caller::Admin));
        let sites = config.site_tokens().map(|(site, token)| (hash(token.expose()), Caller::Site(site.clone())));
        Self(admin.chain(sites).collect())
    }

    /// Whether nobody can sign in.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with each of them, also after one fitted.
    fn find(&self, given: &Hash) -> Option<&Caller> {
        let mut found = u32::MAX;
        for (at, (known, _)) in (0_u32..).zip(&self.0) {
            let fits: Choice = known.ct_eq(given);
            found.conditional_assign(&at, fits);
        }
        let (_, caller) = self.0.get(usize::try_from(found).unwrap_or(usize::MAX))?;
        Some(caller)
    }
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

/// Wrong tokens of this minute.
#[derive(Default)]
pub(super) struct Attempts(Mutex<Option<Minute>>);

struct Minute {
    began: Instant,
    /// How many different ones, and the last one.
    wrong: HashMap<IpAddr, (u32, Hash)>,
}

impl Attempts {
    /// Whether this address may try.
    fn check(&self, peer: IpAddr, now: Instant) -> Result<(), ApiError> {
        let mut held = self.0.lock().expect("nothing panics while holding it");
        let minute = Minute::at(&mut held, now);
        match minute.wrong.get(&neighbourhood(peer)) {
            Some((count, _)) if *count >= ATTEMPTS => Err(minute.over(now)),
            _ => Ok(()),
        }
    }

    /// Notes that its token was wrong, and says how that is answered.
    fn wrong(&self, peer: IpAddr, given: Hash, now: Instant) -> ApiError {
        let mut held = self.0.lock().expect("nothing panics while holding it");
        let minute = Minute::at(&mut held, now);
        let address = neighbourhood(peer);
        let full = minute.wrong.len() >= ADDRESSES;
        match minute.wrong.get_mut(&address) {
            None if full => return minute.over(now),
            None => drop(minute.wrong.insert(address, (1, given))),
            Some((_, last)) if *last == given => {}
            Some(known) => *known = (known.0 + 1, given),
        }
        ApiError::TokenInvalid
    }
}

impl Minute {
    fn at(held: &mut Option<Self>, now: Instant) -> &mut Self {
        let over = held.as_ref().is_none_or(|minute| now.duration_since(minute.began) >= MINUTE);
        if over {
            *held = None;
        }
        held.get_or_insert_with(|| Self { began: now, wrong: HashMap::new() })
    }

    fn over(&self, now: Instant) -> ApiError {
        let left = MINUTE.saturating_sub(now.duration_since(self.began));
        ApiError::TooManyAttempts { retry_after: u32::try_from(left.as_secs()).unwrap_or(u32::MAX).saturating_add(1) }
    }
}

/// The bearer of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let given = hash(bearer(&parts.headers).ok_or(ApiError::Unauthorized)?);
        let (peer, now) = (peer(parts), Instant::now());
        let limited = |error: ApiError| {
            let result = if matches!(error, ApiError::TooManyAttempts { .. }) { "limited" } else { "wrong" };
            state.metrics.refused_sign_in(result);
            error
        };
        // Whoever has a token gets in, also from an address that guesses: that may be a proxy's.
        if let Some(caller) = state.tokens.find(&given) {
            return Ok(caller.clone());
        }
        state.attempts.check(peer, now).map_err(limited)?;
        Err(limited(state.attempts.wrong(peer, given, now)))
    }
}

impl FromRequestParts<State> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        match Caller::from_request_parts(parts, state).await? {
            Caller::Admin => Ok(Self),
            Caller::Site(_) => Err(ApiError::AdminOnly),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_guesser_is_stopped_for_the_rest_of_the_minute() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let guess = |from: &str, token: u32, after: u64| {
            let now = start + Duration::from_secs(after);
            let answer = match attempts.check(ip(from), now) {
                Err(error) => error,
                Ok(()) => attempts.wrong(ip(from), hash(&token.to_string()), now),
            };
            match answer {
                ApiError::TokenInvalid => None,
                ApiError::TooManyAttempts { retry_after } => Some(retry_after),
                other => panic!("{other:?}"),
            }
        };
        for token in 0..ATTEMPTS {
            assert_eq!(guess("192.0.2.1", token, 5), None, "{token}");
        }
        assert_eq!(guess("192.0.2.1", 99, 25), Some(41));
        assert_eq!(guess("192.0.2.2", 99, 25), None, "another address");
        assert_eq!(guess("192.0.2.1", 99, 65), None, "another minute");
        for _ in 0..100 {
            assert_eq!(guess("192.0.2.3", 7, 66), None, "the same one again is no guess");
        }
        for token in 0..ATTEMPTS {
            assert_eq!(guess(&format!("2001:db8::{token}"), token, 67), None);
        }
        assert!(guess("2001:db8::ffff", 99, 67).is_some(), "a subscriber has many addresses");
        assert_eq!(guess("2001:db8:0:1::1", 99, 67), None);
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_locks_nobody_out() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..2 * u32::try_from(ADDRESSES).unwrap() {
            attempts.wrong(Ipv4Addr::from_bits(n).into(), hash("x"), now);
        }
        assert_eq!(attempts.0.lock().unwrap().as_ref().unwrap().wrong.len(), ADDRESSES);
        let late = ip("198.51.100.1");
        assert!(attempts.check(late, now).is_ok(), "who has a token may come");
        assert!(matches!(attempts.wrong(late, hash("x"), now), ApiError::TooManyAttempts { .. }));
    }

    use std::net::Ipv4Addr;

    #[test]
    fn a_bearer_has_one_form() {
        let check = |values: &[&str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        };
        check(&["Bearer abc"], Some("abc"));
        check(&["bearer  abc "], Some("abc"));
        check(&["Bearer"], None);
        check(&["Bearer "], None);
        check(&["Basic abc"], None);
        check(&["Bearer abc", "Bearer abc"], None);
        check(&[], None);
    }
}
