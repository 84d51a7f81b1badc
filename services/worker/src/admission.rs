//! Which message runs next: at most so many at once in all and of each site, the rest waits in a short queue of its
//! site, and sites take turns. One site's flood fills its own places and its own queue.
//!
//! Pure: `intake` is the loop around it.

use std::collections::VecDeque;

use tokio::time::Instant;

/// What a site may take of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Messages that run at once.
    pub(crate) running: usize,
    /// Messages that wait.
    pub(crate) waiting: usize,
}

/// What becomes of a message that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<T> {
    /// It runs now: a place was taken for it, to be given back by [`Admission::left`].
    Runs(T),
    /// It waits.
    Waits,
    /// Its site's queue is full.
    Refused(T),
}

/// See the module. Sites are numbered.
pub(crate) struct Admission<T> {
    sites: Vec<Site<T>>,
    /// Sites in which something waits, whose turn is next first.
    turns: VecDeque<usize>,
    free: usize,
    capacity: usize,
}

struct Site<T> {
    share: Share,
    running: usize,
    /// Who must be told first that the time is up comes first.
    waiting: VecDeque<Waiting<T>>,
}

struct Waiting<T> {
    until: Instant,
    item: T,
}

impl<T> Admission<T> {
    /// Runs `capacity` at once, of these sites.
    pub(crate) fn new(capacity: usize, sites: impl IntoIterator<Item = Share>) -> Self {
        let sites = sites.into_iter().map(|share| Site { share, running: 0, waiting: VecDeque::new() }).collect();
        Self { sites, turns: VecDeque::new(), free: capacity, capacity }
    }

    /// A message came; if it must wait, then until `until` at most.
    pub(crate) fn arrive(&mut self, site: usize, item: T, until: Instant) -> Arrival<T> {
        if self.has_room(site) {
            self.take_place(site);
            return Arrival::Runs(item);
        }
        let Site { share, waiting, .. } = &mut self.sites[site];
        if waiting.len() >= share.waiting {
            return Arrival::Refused(item);
        }
        if waiting.is_empty() {
            self.turns.push_back(site);
        }
        let at = waiting.partition_point(|earlier| earlier.until <= until);
        waiting.insert(at, Waiting { until, item });
        Arrival::Waits
    }

    /// A message that ran is over.
    pub(crate) fn left(&mut self, site: usize) {
        self.free += 1;
        self.sites[site].running -= 1;
    }

    /// Who runs next of those that wait; to be asked until it says `None`, after each [`left`](Self::left).
    pub(crate) fn next(&mut self) -> Option<(usize, T)> {
        if self.free == 0 {
            return None;
        }
        let at = self.turns.iter().position(|&site| self.sites[site].has_place())?;
        let site = self.turns.remove(at)?;
        let item = self.sites[site].waiting.pop_front()?.item;
        if !self.sites[site].waiting.is_empty() {
            self.turns.push_back(site);
        }
        self.take_place(site);
        Some((site, item))
    }

    /// Takes one out that has waited too long.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<(usize, T)> {
        let late = |site: &Site<T>| site.waiting.front().is_some_and(|first| first.until <= now);
        let site = self.turns.iter().copied().find(|&site| late(&self.sites[site]))?;
        let item = self.sites[site].waiting.pop_front()?.item;
        if self.sites[site].waiting.is_empty() {
            self.turns.retain(|&waits| waits != site);
        }
        Some((site, item))
    }

    /// Takes out some that wait and that `may` go, at most so many, of all sites in turn.
    pub(crate) fn give_up(&mut self, most: usize, may: impl Fn(&T) -> bool) -> Vec<(usize, T)> {
        let first_may = |site: &Site<T>| site.waiting.front().is_some_and(|first| may(&first.item));
        let mut given = Vec::new();
        while given.len() < most
            && let Some(at) = self.turns.iter().position(|&site| first_may(&self.sites[site]))
            && let Some(site) = self.turns.remove(at)
            && let Some(first) = self.sites[site].waiting.pop_front()
        {
            if !self.sites[site].waiting.is_empty() {
                self.turns.push_back(site);
            }
            given.push((site, first.item));
        }
        given
    }

    /// When somebody will have waited too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.turns.iter().filter_map(|&site| self.sites[site].waiting.front()).map(|first| first.until).min()
    }

    /// Whether a message of this site would run at once.
    pub(crate) fn has_room(&self, site: usize) -> bool {
        self.free > 0 && self.sites[site].has_place() && self.sites[site].waiting.is_empty()
    }

    /// Places that nobody waits for: a message that comes now most likely runs at once.
    pub(crate) fn free(&self) -> usize {
        if self.turns.is_empty() { self.free } else { 0 }
    }

    /// Messages that run.
    pub(crate) fn running(&self) -> usize {
        self.capacity - self.free
    }

    /// All that wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &T> {
        self.sites.iter().flat_map(|site| &site.waiting).map(|waiting| &waiting.item)
    }

    /// Takes out all that wait.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.turns.clear();
        self.sites.iter_mut().flat_map(|site| site.waiting.drain(..)).map(|waiting| waiting.item)
    }

    fn take_place(&mut self, site: usize) {
        self.free -= 1;
        self.sites[site].running += 1;
    }
}

impl<T> Site<T> {
    fn has_place(&self) -> bool {
        self.running < self.share.running
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Two places in each of two sites, three in all; two of a site may wait.
    fn three_places() -> Admission<&'static str> {
        Admission::new(3, [Share { running: 2, waiting: 2 }; 2])
    }

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    fn arrive(
        admission: &mut Admission<&'static str>,
        site: usize,
        names: &[&'static str],
    ) -> Vec<Arrival<&'static str>> {
        names.iter().map(|name| admission.arrive(site, name, later(30))).collect()
    }

    fn all_next(admission: &mut Admission<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| admission.next()).map(|(_, name)| name).collect()
    }

    /// A flood fills its own places and its own queue, and the other site's message runs at once.
    #[test]
    fn a_flood_stays_in_its_own_places() {
        let mut admission = three_places();
        let flood = arrive(&mut admission, 0, &["a1", "a2", "a3", "a4", "a5"]);
        use Arrival::{Refused, Runs, Waits};
        assert_eq!(flood, [Runs("a1"), Runs("a2"), Waits, Waits, Refused("a5")]);
        assert!(admission.has_room(1) && !admission.has_room(0));
        assert_eq!(arrive(&mut admission, 1, &["b1"]), [Runs("b1")]);
        assert_eq!((admission.running(), admission.free(), admission.next()), (3, 0, None));
    }

    /// Whoever waits takes turns by site, not by the order of coming; within a site the first is first.
    #[test]
    fn sites_take_turns() {
        let mut admission = Admission::new(2, [Share { running: 2, waiting: 9 }; 3]);
        arrive(&mut admission, 0, &["a1", "a2", "a3", "a4", "a5"]);
        arrive(&mut admission, 1, &["b1", "b2"]);
        arrive(&mut admission, 2, &["c1"]);
        let mut ran = Vec::new();
        let mut run = [0, 0];
        for _ in 0..6 {
            admission.left(run[0]);
            let (site, name) = admission.next().expect("a place is free");
            assert_eq!(admission.next(), None, "one place, one message");
            ran.push(name);
            run = [run[1], site];
        }
        assert_eq!(ran, ["a3", "b1", "c1", "a4", "b2", "a5"]);
        assert_eq!(admission.waiting().count(), 0);
    }

    /// A site at its cap is passed over and keeps its turn.
    #[test]
    fn a_site_at_its_cap_keeps_its_turn() {
        let mut admission = Admission::new(3, [Share { running: 1, waiting: 9 }, Share { running: 2, waiting: 9 }]);
        arrive(&mut admission, 0, &["a1", "a2"]);
        arrive(&mut admission, 1, &["b1", "b2", "b3", "b4"]);
        admission.left(1);
        assert_eq!(all_next(&mut admission), ["b3"]);
        admission.left(0);
        assert_eq!(all_next(&mut admission), ["a2"]);
        admission.left(1);
        assert_eq!(all_next(&mut admission), ["b4"]);
    }

    /// Time is up for who came first into the queue of the bus, even if it came late to this worker.
    #[test]
    fn who_waited_too_long_is_taken_out_and_only_once() {
        let mut admission = three_places();
        arrive(&mut admission, 0, &["a1", "a2"]);
        assert_eq!(admission.deadline(), None);
        let (early, late) = (later(1), later(2));
        assert_eq!(admission.arrive(0, "late", late), Arrival::Waits);
        assert_eq!(admission.arrive(0, "early", early), Arrival::Waits);
        assert_eq!((admission.deadline(), admission.expired(Instant::now())), (Some(early), None));
        assert_eq!(admission.expired(early), Some((0, "early")));
        assert_eq!((admission.deadline(), admission.expired(early)), (Some(late), None));
        assert_eq!(admission.expired(late), Some((0, "late")));
        admission.left(0);
        assert_eq!((admission.next(), admission.deadline()), (None, None), "they are gone for good");
    }

    /// For another worker, which has room: of each site in turn, and only what may go.
    #[test]
    fn some_that_wait_can_be_given_up() {
        let mut admission = Admission::new(2, [Share { running: 1, waiting: 9 }; 2]);
        arrive(&mut admission, 0, &["a1", "a2", "a3", "stays"]);
        arrive(&mut admission, 1, &["b1", "b2"]);
        let may = |name: &&str| *name != "stays";
        assert_eq!(admission.give_up(2, may), [(0, "a2"), (1, "b2")]);
        assert_eq!(admission.give_up(9, may), [(0, "a3")]);
        admission.left(0);
        assert_eq!(all_next(&mut admission), ["stays"]);
        assert_eq!(admission.deadline(), None);
    }

    /// A worker that stops gives back all that wait, and nobody gets a turn after that.
    #[test]
    fn what_waits_can_be_given_back() {
        let mut admission = three_places();
        arrive(&mut admission, 0, &["a1", "a2", "a3"]);
        arrive(&mut admission, 1, &["b1", "b2"]);
        assert_eq!(admission.drain().collect::<Vec<_>>(), ["a3", "b2"]);
        admission.left(0);
        assert_eq!((admission.next(), admission.deadline(), admission.running()), (None, None, 2));
    }
}
