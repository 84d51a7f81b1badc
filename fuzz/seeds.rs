//! Runs a property over the seeds that are checked in, and over what a mutator makes of them. For the tests of the
//! crates whose properties are fuzzed.

use std::path::Path;

use proptest::{prelude::*, sample::Index};

/// Mutated seeds and random inputs of each property.
const CASES: u32 = 1_000;

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Put(Index, Vec<u8>),
    Cut(Index, Index),
    Flip(Index, u8),
    Repeat(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), proptest::collection::vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Change::Put(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Cut(from, to)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, with)| Change::Flip(at, with)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

fn range(from: Index, to: Index, len: usize) -> std::ops::Range<usize> {
    let (from, to) = (from.index(len + 1), to.index(len + 1));
    from.min(to)..from.max(to)
}

fn changed(mut data: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let len = data.len();
        match change {
            Change::Put(at, bytes) => drop(data.splice(at.index(len + 1)..at.index(len + 1), bytes.clone())),
            Change::Cut(from, to) => drop(data.drain(range(*from, *to, len))),
            Change::Flip(at, with) if len > 0 => data[at.index(len)] ^= with,
            Change::Repeat(from, to) if len < 10_000 => data.extend_from_within(range(*from, *to, len)),
            Change::Flip(..) | Change::Repeat(..) => {}
        }
    }
    data
}

/// Every file in these folders, from the root of the repository on.
pub(crate) fn of(folders: &[&str]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).expect("the folder is there"));
    let mut seeds: Vec<Vec<u8>> =
        files.map(|file| std::fs::read(file.expect("it can be listed").path()).expect("it can be read")).collect();
    // In the same order on every machine.
    seeds.sort();
    seeds
}

/// Runs `property`, which panics where it does not hold.
pub(crate) fn check(folders: &[&str], property: fn(&[u8])) {
    let seeds = of(folders);
    assert!(seeds.len() >= 5, "there are no seeds in {folders:?}");
    seeds.iter().for_each(|seed| property(seed));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) };
    proptest!(config, |(
        seed in 0..seeds.len(),
        changes in proptest::collection::vec(change(), 0..6),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
    )| {
        property(&changed(seeds[seed].clone(), &changes));
        property(&noise);
    });
}
