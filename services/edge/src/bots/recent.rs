//! What was seen lately, in bounded memory.
//!
//! Two generations: what is touched is young, and each period the young become the old and the old are forgotten. So
//! an entry is kept for one to two periods after it was last touched. When the young are too many the change comes
//! early; who keeps coming stays all the same, because a touch makes an entry young again.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher as _, Hash},
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// See the module. Keys are kept as a keyed hash: nobody can aim for a collision, and none can be read back.
pub(super) struct Recent<V> {
    hasher: RandomState,
    period: Duration,
    max: usize,
    generations: Mutex<Generations<V>>,
}

struct Generations<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
    changed: Instant,
    /// How often the young became too many.
    early: u64,
}

impl<V: Default> Recent<V> {
    /// At most `2 * max` entries.
    pub(super) fn new(period: Duration, max: usize, now: Instant) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), changed: now, early: 0 };
        Self { hasher: RandomState::new(), period, max, generations: Mutex::new(generations) }
    }

    /// The keyed hash under which a thing is known here.
    pub(super) fn hash(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Touches the entry of `key`, a new one if there is none.
    pub(super) fn touch<T>(&self, key: &impl Hash, now: Instant, with: impl FnOnce(&mut V) -> T) -> T {
        let key = self.hash(key);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let Generations { young, old, changed, early } = &mut *generations;
        let age = now.saturating_duration_since(*changed);
        if age >= self.period || (young.len() >= self.max && !young.contains_key(&key)) {
            *early += u64::from(age < self.period && !old.is_empty());
            *old = mem::take(young);
            *changed = now;
            if age >= self.period * 2 {
                old.clear();
            }
        }
        with(young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_default()))
    }

    /// How often entries were forgotten before their time, half of all at once.
    pub(super) fn early(&self) -> u64 {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).early
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self.generations.lock().unwrap();
        generations.young.len() + generations.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    fn count(recent: &Recent<u32>, key: &str, now: Instant) -> u32 {
        recent.touch(&key, now, |seen| {
            *seen += 1;
            *seen
        })
    }

    #[test]
    fn an_entry_is_kept_for_one_to_two_periods() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let recent = Recent::new(PERIOD, 10, start);
        assert_eq!(count(&recent, "a", at(0)), 1);
        assert_eq!(count(&recent, "a", at(59)), 2);
        assert_eq!(count(&recent, "a", at(70)), 3, "it has become old and is young again");
        assert_eq!(count(&recent, "b", at(131)), 1);
        assert_eq!(count(&recent, "b", at(192)), 2);
        assert_eq!(count(&recent, "a", at(193)), 1, "two changes without a touch");
        assert_eq!(count(&recent, "b", at(900)), 1, "nobody came for long");
    }

    #[test]
    fn a_flood_takes_no_more_memory_and_hides_nobody_who_keeps_coming() {
        let now = Instant::now();
        let recent = Recent::new(PERIOD, 100, now);
        for n in 0..100_000_u32 {
            if n % 50 == 0 {
                assert_eq!(count(&recent, "attacker", now), n / 50 + 1);
            }
            count(&recent, &n.to_string(), now);
            assert!(recent.len() <= 200);
        }
    }
}
