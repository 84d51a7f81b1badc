//! Durations and their quantiles.

/// Nanoseconds, all of them kept: a run has some hundred thousand.
#[derive(Clone, Default)]
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    pub(crate) fn push(&mut self, nanoseconds: u64) {
        self.0.push(nanoseconds);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that `share` of the samples do not exceed, in ms.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        let last = sorted.len().checked_sub(1)?;
        let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last);
        let (_, value, _) = sorted.select_nth_unstable(index);
        Some(*value as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.quantile(0.5), None);
        (1..=100).rev().for_each(|ms| samples.push(ms * 1_000_000));
        assert_eq!(samples.quantile(0.5), Some(50.0));
        assert_eq!(samples.quantile(0.99), Some(99.0));
        assert_eq!(samples.quantile(1.0), Some(100.0));
    }
}
