//! Chance that can be repeated: the same seed, the same decisions.

use std::time::Duration;

/// SplitMix64, which needs no state but a number. See Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", OOPSLA 2014.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..below`; 0 when that is empty.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        usize::try_from(self.next() % (below.max(1) as u64)).unwrap_or(0)
    }

    pub(crate) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        from + to.saturating_sub(from).mul_f64(share)
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_falls_the_same_way_within_its_bounds() {
        let (mut one, mut two) = (Dice::new(7), Dice::new(7));
        let mut seen = [0; 6];
        for _ in 0..6_000 {
            let fell = one.below(6);
            assert_eq!(fell, two.below(6));
            seen[fell] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1_200).contains(&count)), "{seen:?}");
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!((0..100).all(|_| (second..minute).contains(&one.between(second, minute))));
    }
}
