//! How callers stand with each limit: a fixed piece of memory, whoever comes.
//!
//! The same kind of table as the edges have, set-associative, without their quotas: a caller is kept by how much was
//! used (of a budget) or by how long it takes until all is there again (of a minute's limit), which the edges tell. A
//! newcomer who finds the set full takes the place of the one who used least. So a flood of strangers forgets strangers,
//! and at most one in sixteen of those who used up their quota.
//!
//! Times are those of the wall clock, because they are stored. A clock that is put forward forgets what it jumps over;
//! one that is put back keeps nobody for longer than a window from then on.

use std::{collections::VecDeque, ops::Range};

use bus::COUNTS_PART;
use protocol::{Charges, Count, Counts, CountsAsk, Key, Millis, Tier};

/// Places in a set.
const WAYS: usize = 16;
/// Places in a block, which the store holds as one row of 2.5 KiB at most: whole sets.
pub(crate) const BLOCK: usize = 8 * WAYS;
/// Blocks that one [`Table::sweep`] looks at: all of 800,000 places in a minute.
const SWEPT: usize = 128;
/// Marks a place that nobody has.
const NOBODY: u64 = 0;

/// See the module.
pub(crate) struct Table {
    /// By `Tier`.
    places: Box<[Places]>,
    /// Blocks of which something changed, in the order in which it did.
    changed: VecDeque<(Tier, u32)>,
    /// Where the next sweep begins: a block, counted through all tiers.
    sweep_at: usize,
}

/// Plain zeros at first: the OS gives the memory when it is used.
struct Places {
    tier: Tier,
    keys: Vec<u64>,
    /// When all of the quota is there again.
    until: Vec<i64>,
    /// Of a budget: the units that were used in the running window.
    used: Vec<u32>,
    /// Of each block, whether it is among the changed ones.
    changed: Vec<bool>,
    /// How many have a place.
    kept: usize,
    /// How many were forgotten before all of their quota was there again, for want of room.
    forgotten: u64,
}

/// A piece of a tier's table, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) tier: Tier,
    pub(crate) number: u32,
    pub(crate) callers: Vec<Caller>,
}

/// How a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) key: u64,
    pub(crate) until: Millis,
    pub(crate) used: u32,
}

impl Table {
    /// Room for so many callers of each limit, about.
    pub(crate) fn new(max_callers: usize) -> Self {
        let blocks = max_callers.div_ceil(BLOCK).max(1);
        let places = Tier::ALL.map(|tier| Places {
            tier,
            keys: vec![NOBODY; blocks * BLOCK],
            until: vec![0; blocks * BLOCK],
            used: vec![0; blocks * BLOCK],
            changed: vec![false; blocks],
            kept: 0,
            forgotten: 0,
        });
        Self { places: Box::new(places), changed: VecDeque::new(), sweep_at: 0 }
    }

    /// Takes in what was stored. `true`: it was stored by a table of another size, and must be stored anew.
    pub(crate) fn load(&mut self, blocks: &[Block], now: Millis) -> bool {
        let mut moved = false;
        for block in blocks {
            let places = &mut self.places[block.tier as usize];
            let latest = latest(block.tier, now);
            let number = usize::try_from(block.number).ok().filter(|number| *number < places.changed.len());
            moved |= number.is_none();
            for caller in block.callers.iter().filter(|caller| caller.until > now) {
                let place = places.place(caller.key, now);
                places.until[place] = caller.until.0.min(latest);
                places.used[place] = caller.used;
                moved |= number_of(place) != block.number;
            }
            // What the file has and memory hasn't goes from the file, too.
            if let Some(number) = number
                && block.callers.iter().any(|caller| caller.until <= now || caller.until.0 > latest)
            {
                places.mark(number * BLOCK, &mut self.changed);
            }
        }
        moved
    }

    /// Counts what an edge let through.
    pub(crate) fn add(&mut self, charges: &Charges, now: Millis) {
        let tier = charges.tier;
        let latest = latest(tier, now);
        let places = &mut self.places[tier as usize];
        for (at, &(Key(key), units)) in charges.charges.iter().enumerate() {
            let told = charges.resets.get(at).map_or(0, |reset_ms| i64::from(*reset_ms));
            let until = match told {
                // Its end is not known, so it is one that begins now, or the one that runs.
                0 if tier.is_budget() => latest,
                0 => continue,
                told => now.0.saturating_add(told).min(latest),
            };
            if units == 0 {
                continue;
            }
            let place = places.place(key, now);
            let known = Some(places.until[place]).filter(|until| *until > now.0).map(|until| until.min(latest));
            let (until, used) = match (tier.is_budget(), known) {
                // All edges' windows began at the same first use: whoever tells a later end heard of it late.
                (true, Some(known)) => (known.min(until), places.used[place].saturating_add(units)),
                (true, None) => (until, units),
                (false, known) => (known.map_or(until, |known| known.max(until)), 0),
            };
            (places.until[place], places.used[place]) = (until, used);
            places.mark(place, &mut self.changed);
        }
    }

    /// A part of how the callers of a limit stand.
    pub(crate) fn part(&self, ask: &CountsAsk, now: Millis) -> Counts {
        let (tier, places) = (ask.tier, &self.places[ask.tier as usize]);
        let mut counts = Vec::new();
        let mut next = usize::try_from(ask.from).unwrap_or(usize::MAX);
        while next < places.keys.len() && counts.len() < COUNTS_PART {
            let until = places.until[next].min(latest(tier, now));
            if let Ok(reset_ms @ 1..) = u32::try_from(until.saturating_sub(now.0)) {
                counts.push(Count(Key(places.keys[next]), places.used[next], reset_ms));
            }
            next += 1;
        }
        let next = u32::try_from(next).ok().filter(|_| next < places.keys.len());
        Counts { v: 1, tier, counts, next }
    }

    /// Forgets some of those whose quota is all there again; called again and again it comes to all. Of those for whom
    /// that is further off than a window the clock was put back: a window from now on it is for them.
    pub(crate) fn sweep(&mut self, now: Millis) {
        for _ in 0..SWEPT {
            let blocks = self.places[0].changed.len();
            let (tier, block) = (self.sweep_at / blocks, self.sweep_at % blocks);
            let places = &mut self.places[tier];
            let latest = latest(places.tier, now);
            for place in block * BLOCK..(block + 1) * BLOCK {
                if places.keys[place] == NOBODY {
                    continue;
                }
                if places.until[place] <= now.0 {
                    (places.keys[place], places.until[place], places.used[place]) = (NOBODY, 0, 0);
                    places.kept -= 1;
                    places.mark(place, &mut self.changed);
                } else if places.until[place] > latest {
                    places.until[place] = latest;
                    places.mark(place, &mut self.changed);
                }
            }
            self.sweep_at = (self.sweep_at + 1) % (blocks * Tier::ALL.len());
        }
    }

    /// Blocks that changed since they were last taken, `most` of them, those first that have waited longest.
    pub(crate) fn take_changed(&mut self, most: usize) -> Vec<Block> {
        let numbers = self.changed.drain(..most.min(self.changed.len()));
        let numbers: Vec<(Tier, u32)> = numbers.collect();
        numbers.into_iter().map(|(tier, number)| self.block(tier, number)).collect()
    }

    /// Puts back what could not be stored: as it is by then, and before anything else.
    pub(crate) fn put_back(&mut self, blocks: &[Block]) {
        for block in blocks.iter().rev() {
            let changed = &mut self.places[block.tier as usize].changed[index(block.number)];
            if !std::mem::replace(changed, true) {
                self.changed.push_front((block.tier, block.number));
            }
        }
    }

    /// Every block that holds somebody.
    pub(crate) fn all(&mut self) -> Vec<Block> {
        let blocks = u32::try_from(self.places[0].changed.len()).unwrap_or(u32::MAX);
        let all = Tier::ALL.into_iter().flat_map(|tier| (0..blocks).map(move |number| (tier, number)));
        let all: Vec<Block> = all.map(|(tier, number)| self.block(tier, number)).collect();
        self.changed.clear();
        all.into_iter().filter(|block| !block.callers.is_empty()).collect()
    }

    /// How many blocks changed since they were last taken.
    pub(crate) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Callers that have a place.
    pub(crate) fn kept(&self) -> usize {
        self.places.iter().map(|places| places.kept).sum()
    }

    /// How many were forgotten before all of their quota was there again, for want of room.
    pub(crate) fn forgotten(&self) -> u64 {
        self.places.iter().map(|places| places.forgotten).sum()
    }

    fn block(&mut self, tier: Tier, number: u32) -> Block {
        let places = &mut self.places[tier as usize];
        places.changed[index(number)] = false;
        let from = index(number) * BLOCK;
        let callers = (from..from + BLOCK).filter(|place| places.keys[*place] != NOBODY).map(|place| Caller {
            key: places.keys[place],
            until: Millis(places.until[place]),
            used: places.used[place],
        });
        Block { tier, number, callers: callers.collect() }
    }
}

impl Places {
    /// The caller's place, a new one where there was none.
    fn place(&mut self, key: u64, now: Millis) -> usize {
        let key = key.max(NOBODY + 1);
        let set = self.set(key);
        if let Some(place) = set.clone().find(|place| self.keys[*place] == key) {
            return place;
        }
        let place = set.min_by_key(|place| self.weight(*place, now)).expect("a set has places");
        self.kept += usize::from(self.keys[place] == NOBODY);
        self.forgotten += u64::from(self.weight(place, now) > 0);
        (self.keys[place], self.until[place], self.used[place]) = (key, 0, 0);
        place
    }

    fn set(&self, key: u64) -> Range<usize> {
        // The upper half of the product spreads evenly over any number of sets.
        let sets = self.keys.len() / WAYS;
        let set = ((u128::from(key) * sets as u128) >> 64) as usize;
        set * WAYS..(set + 1) * WAYS
    }

    /// How much is in the way of being forgotten.
    fn weight(&self, place: usize, now: Millis) -> u64 {
        let left = u64::try_from(self.until[place].saturating_sub(now.0)).unwrap_or(0);
        if self.tier.is_budget() && left > 0 { u64::from(self.used[place]) } else { left }
    }

    fn mark(&mut self, place: usize, changed: &mut VecDeque<(Tier, u32)>) {
        if !std::mem::replace(&mut self.changed[place / BLOCK], true) {
            changed.push_back((self.tier, number_of(place)));
        }
    }
}

/// No quota takes longer than its window.
fn latest(tier: Tier, now: Millis) -> i64 {
    now.after(tier.window()).0
}

fn number_of(place: usize) -> u32 {
    u32::try_from(place / BLOCK).unwrap_or(u32::MAX)
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("a block that is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_767_168_909_000);
    const MINUTE: u64 = 60_000;
    const DAY: u64 = 86_400_000;

    fn at(ms: u64) -> Millis {
        NOW.after(std::time::Duration::from_millis(ms))
    }

    fn key(n: u64) -> u64 {
        // Spreads as a hash does (the finalizer of MurmurHash3).
        let n = (n ^ n >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let n = (n ^ n >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        n ^ n >> 33
    }

    fn charge(tier: Tier, key: u64, units: u32, reset_ms: u32) -> Charges {
        Charges { v: 1, edge: "e".into(), tier, charges: vec![(Key(key), units)], resets: vec![reset_ms] }
    }

    /// All parts of what is known of a limit: units used and ms, by key.
    fn known(table: &Table, tier: Tier, now: Millis) -> std::collections::BTreeMap<u64, (u32, u32)> {
        let (mut all, mut from) = (std::collections::BTreeMap::new(), Some(0));
        while let Some(at) = from {
            let part = table.part(&CountsAsk { v: 1, tier, from: at }, now);
            all.extend(part.counts.iter().map(|Count(key, used, reset_ms)| (key.0, (*used, *reset_ms))));
            from = part.next;
        }
        all
    }

    #[test]
    fn a_budget_is_summed_until_its_window_ends() {
        let mut table = Table::new(1000);
        let check = |table: &Table, ms: u64, expected: Option<(u32, u32)>| {
            assert_eq!(known(table, Tier::IpDay, at(ms)).get(&key(1)).copied(), expected, "after {ms} ms");
        };
        table.add(&charge(Tier::IpDay, key(1), 3, 86_399_000), NOW);
        check(&table, 0, Some((3, 86_399_000)));
        table.add(&charge(Tier::IpDay, key(1), 2, 80_000_000), at(6_399_000));
        check(&table, 6_399_000, Some((5, 80_000_000)));
        check(&table, 86_398_999, Some((5, 1)));
        check(&table, 86_399_000, None);
        table.add(&charge(Tier::IpDay, key(1), 1, 86_400_000), at(90_000_000));
        check(&table, 90_000_000, Some((1, 86_400_000)));
        assert!(known(&table, Tier::SiteDay, NOW).is_empty(), "each limit by itself");
    }

    #[test]
    fn a_minutes_limit_is_kept_by_when_all_is_there_again() {
        let mut table = Table::new(1000);
        table.add(&charge(Tier::Ip, key(1), 20, 60_000), NOW);
        table.add(&charge(Tier::Ip, key(1), 1, 3_000), at(10));
        assert_eq!(known(&table, Tier::Ip, at(30_000)), [(key(1), (0, 30_000))].into(), "the later word is not less");
        assert_eq!(known(&table, Tier::Ip, at(60_000)), [].into());
        table.add(&charge(Tier::Ip, key(2), 1, 0), NOW);
        assert_eq!(known(&table, Tier::Ip, at(60_000)), [].into(), "of whom nothing is known");
    }

    /// Edges that tell no times, or absurd ones and absurd numbers.
    #[test]
    fn what_can_not_be_is_as_much_as_can_be() {
        let mut table = Table::new(1000);
        for (n, resets) in [(1, vec![]), (2, vec![0]), (3, vec![u32::MAX])] {
            table.add(&Charges { resets, ..charge(Tier::SiteDay, key(n), u32::MAX, 0) }, NOW);
            table.add(&charge(Tier::SiteDay, key(n), u32::MAX, u32::MAX), NOW);
            assert_eq!(known(&table, Tier::SiteDay, NOW)[&key(n)], (u32::MAX, 86_400_000));
        }
        table.add(&charge(Tier::Late, key(1), 1, u32::MAX), NOW);
        table.add(&charge(Tier::Late, 0, 1, 7), NOW);
        table.add(&charge(Tier::Late, key(2), 0, 7), NOW);
        assert_eq!(known(&table, Tier::Late, NOW), [(key(1), (0, 60_000)), (1, (0, 7))].into());
        let nowhere = table.part(&CountsAsk { v: 1, tier: Tier::Late, from: u32::MAX }, NOW);
        assert_eq!((nowhere.counts, nowhere.next), (vec![], None));
    }

    /// Nobody is kept out for longer than a window, and nobody gets more than the quota, whatever the clock does.
    #[test]
    fn a_clock_that_is_set_costs_no_more_than_a_window() {
        let mut table = Table::new(1000);
        table.add(&charge(Tier::IpDay, key(1), 3, 86_400_000), at(10 * DAY));
        table.add(&charge(Tier::Ip, key(1), 1, 60_000), at(10 * DAY));
        assert_eq!(known(&table, Tier::IpDay, NOW)[&key(1)], (3, 86_400_000), "put back");
        assert_eq!(known(&table, Tier::Ip, NOW)[&key(1)], (0, 60_000));
        table.add(&charge(Tier::IpDay, key(1), 1, 50_000_000), NOW);
        assert_eq!(known(&table, Tier::IpDay, NOW)[&key(1)], (4, 50_000_000), "and put right by the next word");
        table.add(&charge(Tier::Ip, key(1), 1, 3_000), NOW);
        assert_eq!(known(&table, Tier::Ip, at(MINUTE)), [].into());
        assert_eq!(known(&table, Tier::IpDay, at(20 * DAY)), [].into(), "put forward");
    }

    /// Set back by ten days: asked for ten times, a caller is let go when a window is over, and not ten days later.
    #[test]
    fn a_clock_that_is_put_back_is_heeded_once() {
        let mut table = Table::new(1000);
        table.add(&charge(Tier::IpDay, key(1), 3, 86_400_000), at(10 * DAY));
        stored(&mut table);
        let rounds = table.places[0].changed.len() * Tier::ALL.len() / SWEPT + 1;
        for ms in [0, DAY / 2, DAY - 1, DAY] {
            for _ in 0..rounds {
                table.sweep(at(ms));
            }
            let left = u32::try_from(DAY - ms).unwrap();
            let expected = (left > 0).then_some((3, left));
            assert_eq!(known(&table, Tier::IpDay, at(ms)).get(&key(1)).copied(), expected, "after {ms} ms");
            assert_eq!(stored(&mut table).len(), usize::from(ms == 0 || ms == DAY), "and stored where that changes");
        }
    }

    /// Whose quota came back while analytics was away lies in no file afterwards.
    #[test]
    fn who_has_all_again_after_a_restart_goes_from_what_is_stored() {
        let mut before = Table::new(5_000);
        for n in 0..500 {
            before.add(&charge(Tier::Ip, key(n), 1, 30_000), NOW);
            before.add(&charge(Tier::IpDay, key(n), 1, 86_400_000), at(10 * DAY));
        }
        let blocks = stored(&mut before);
        let mut after = Table::new(5_000);
        assert!(!after.load(&blocks, at(30_000)));
        let stored_anew = stored(&mut after);
        assert_eq!(stored_anew.len(), blocks.len());
        let latest = latest(Tier::IpDay, at(30_000));
        for Block { tier, callers, .. } in stored_anew {
            assert_eq!(callers.is_empty(), tier == Tier::Ip);
            assert!(callers.iter().all(|caller| caller.until.0 == latest), "nor for longer than a window");
        }
    }

    /// A million strangers come by, and a thousand who used up their budget are still known.
    #[test]
    fn a_flood_of_strangers_forgets_strangers() {
        let mut table = Table::new(100_000);
        for n in 0..1000 {
            table.add(&charge(Tier::IpDay, key(u64::MAX - n), 200, 86_400_000), NOW);
        }
        for n in 0..1_000_000 {
            table.add(&charge(Tier::IpDay, key(n), 1, 86_400_000), at(1));
        }
        let places = 100_000_usize.div_ceil(BLOCK) * BLOCK;
        let known = known(&table, Tier::IpDay, at(1));
        assert!((0..1000).all(|n| known[&key(u64::MAX - n)].0 == 200));
        assert_eq!((known.len(), table.kept(), table.places[0].keys.len()), (places, places, places));
        assert_eq!(table.forgotten(), 1_001_000 - places as u64);
    }

    #[test]
    fn a_part_fits_into_a_message_and_parts_are_all() {
        let mut table = Table::new(30_000);
        for n in 0..30_000 {
            table.add(&charge(Tier::SiteDay, key(n) | 1 << 63, u32::MAX, 86_400_000), NOW);
        }
        let part = table.part(&CountsAsk { v: 1, tier: Tier::SiteDay, from: 0 }, NOW);
        let bytes = serde_json::to_vec(&part).unwrap().len();
        assert!(part.counts.len() == COUNTS_PART && bytes <= 512 * 1024, "{bytes} bytes");
        assert_eq!(known(&table, Tier::SiteDay, NOW).len(), table.kept());
    }

    fn stored(table: &mut Table) -> Vec<Block> {
        table.take_changed(usize::MAX)
    }

    #[test]
    fn what_changed_is_taken_once_and_put_back_when_it_could_not_be_stored() {
        let mut table = Table::new(100_000);
        for n in 0..500 {
            table.add(&charge(Tier::Session, key(n), 1, 50_000), NOW);
        }
        let first = table.take_changed(10);
        assert_eq!(first.len(), 10);
        table.add(&charge(Tier::Session, first[0].callers[0].key, 1, 60_000), NOW);
        table.put_back(&first);
        let again = table.take_changed(10);
        let numbers = |blocks: &[Block]| blocks.iter().map(|block| block.number).collect::<Vec<_>>();
        assert_eq!(numbers(&again)[..9], numbers(&first)[1..], "those that waited come first");
        stored(&mut table);
        assert!(stored(&mut table).is_empty());
    }

    #[test]
    fn what_was_stored_is_known_again() {
        let mut before = Table::new(5_000);
        for n in 0..500 {
            before.add(&charge(Tier::IpDay, key(n), 7, 86_000_000), NOW);
            before.add(&charge(Tier::Ip, key(n), 7, 30_000), NOW);
        }
        let blocks = stored(&mut before);
        let mut after = Table::new(5_000);
        assert!(!after.load(&blocks, at(10_000)), "all are where they were");
        for tier in [Tier::Ip, Tier::IpDay] {
            assert_eq!(known(&after, tier, at(10_000)), known(&before, tier, at(10_000)));
        }
        assert_eq!(known(&after, Tier::Ip, at(10_000))[&key(7)], (0, 20_000));
        assert!(stored(&mut after).is_empty(), "and need not be stored again");

        for size in [1_000, 50_000] {
            let mut other = Table::new(size);
            assert!(other.load(&blocks, at(10_000)));
            assert_eq!(known(&other, Tier::IpDay, at(10_000)), known(&before, Tier::IpDay, at(10_000)), "{size}");
            let mut same = Table::new(size);
            assert!(!same.load(&other.all(), at(10_000)));
            assert_eq!(known(&same, Tier::IpDay, at(10_000)), known(&before, Tier::IpDay, at(10_000)));
        }
    }

    #[test]
    fn who_has_all_again_goes_from_memory_and_from_what_is_stored() {
        let mut table = Table::new(100_000);
        for n in 0..500 {
            table.add(&charge(Tier::Ip, key(n), 1, 30_000), NOW);
            table.add(&charge(Tier::IpDay, key(n), 1, 86_400_000), NOW);
        }
        stored(&mut table);
        let rounds = table.places[0].changed.len() * Tier::ALL.len() / SWEPT + 1;
        for _ in 0..rounds {
            table.sweep(at(29_999));
        }
        assert!((table.kept(), stored(&mut table)) == (1000, vec![]));
        for _ in 0..rounds {
            table.sweep(at(30_000));
        }
        assert_eq!(table.kept(), 500);
        let gone = stored(&mut table);
        assert!(!gone.is_empty() && gone.iter().all(|block| block.tier == Tier::Ip && block.callers.is_empty()));
        assert_eq!(table.forgotten(), 0);
    }
}
