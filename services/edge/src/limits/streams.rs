//! Streams that are open at once, by address and by session. Counted by each edge for itself: a stream is a connection
//! to this process, and frees its place when it ends, however it ends.
//!
//! Only callers with an open stream are remembered, so that there are never more of them than connections.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Mutex,
};

use super::Scope;

pub(crate) struct Streams {
    /// 0 = no limit, as below.
    per_address: u32,
    per_session: u32,
    open: Mutex<Open>,
}

/// How many streams each key has.
#[derive(Default)]
struct Open {
    addresses: HashMap<u64, u32>,
    sessions: HashMap<u64, u32>,
}

impl Streams {
    pub(crate) fn new(per_address: u32, per_session: u32) -> Self {
        Self { per_address, per_session, open: Mutex::default() }
    }

    /// Takes a place, or says who has too many. With `force` it takes the place all the same.
    pub(crate) fn take(&self, address: u64, session: u64, force: bool) -> Result<(), Scope> {
        let mut open = self.open.lock().expect("nothing panics while holding it");
        let full = |places: &HashMap<u64, u32>, key, most| most != 0 && places.get(&key).is_some_and(|n| *n >= most);
        let refusal = if full(&open.sessions, session, self.per_session) {
            Some(Scope::Session)
        } else if full(&open.addresses, address, self.per_address) {
            Some(Scope::Ip)
        } else {
            None
        };
        if refusal.is_none() || force {
            *open.addresses.entry(address).or_default() += 1;
            *open.sessions.entry(session).or_default() += 1;
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Frees a place that was taken.
    pub(crate) fn free(&self, address: u64, session: u64) {
        let mut open = self.open.lock().expect("nothing panics while holding it");
        leave(&mut open.addresses, address);
        leave(&mut open.sessions, session);
    }
}

fn leave(places: &mut HashMap<u64, u32>, key: u64) {
    if let Entry::Occupied(mut place) = places.entry(key) {
        *place.get_mut() -= 1;
        if *place.get() == 0 {
            place.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_session_and_come_back() {
        let streams = Streams::new(3, 2);
        let take = |address, session| streams.take(address, session, false);
        assert_eq!((take(1, 1), take(1, 1), take(1, 1)), (Ok(()), Ok(()), Err(Scope::Session)));
        assert_eq!((take(1, 2), take(1, 3), take(2, 3)), (Ok(()), Err(Scope::Ip), Ok(())));
        streams.free(1, 1);
        assert_eq!((take(1, 1), take(1, 1)), (Ok(()), Err(Scope::Session)), "one place, not two");
        for (address, session) in [(1, 1), (1, 1), (1, 2), (2, 3)] {
            streams.free(address, session);
        }
        let open = streams.open.lock().unwrap();
        assert!(open.addresses.is_empty() && open.sessions.is_empty(), "who has none is forgotten");
    }

    #[test]
    fn zero_is_off() {
        let streams = Streams::new(0, 0);
        assert!((0..1000).all(|_| streams.take(1, 1, false).is_ok()));
    }

    #[test]
    fn what_is_forced_is_told_and_counted() {
        let streams = Streams::new(0, 1);
        assert_eq!((streams.take(1, 1, true), streams.take(1, 1, true)), (Ok(()), Err(Scope::Session)));
        streams.free(1, 1);
        assert_eq!(streams.take(1, 1, false), Err(Scope::Session), "both took a place");
    }
}
