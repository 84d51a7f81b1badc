//! How long things took, as a log-linear histogram: each power of two is cut into [`CUTS`] equal steps (as HdrHistogram
//! does), so that what is read from it is within 1 / (2 * [`CUTS`]), some 3 %, of what was measured. Histograms of
//! minutes add up to that of a year exactly.

use std::collections::BTreeMap;

use super::bytes::{Malformed, Reader, Writer};
use crate::query::Times;

/// Steps in a power of two; itself one.
const CUTS: u64 = 16;

/// How many values fell into which step; those without any are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram(BTreeMap<u16, u64>);

impl Histogram {
    pub(super) fn add(&mut self, value: u64, times: u64) {
        let count = self.0.entry(step_of(value)).or_default();
        *count = count.saturating_add(times);
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (step, times) in &other.0 {
            let count = self.0.entry(*step).or_default();
            *count = count.saturating_add(*times);
        }
    }

    /// The value that so many of a hundred are not above.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let count = self.count();
        // The nearest rank; in u128, as a count may be anything.
        let rank = (u128::from(count) * u128::from(percent)).div_ceil(100).max(1);
        let mut passed = 0_u128;
        let at = self.0.iter().find(|(_, times)| {
            passed += u128::from(**times);
            passed >= rank
        });
        at.map(|(step, _)| middle(*step))
    }

    fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, times| sum.saturating_add(*times))
    }

    pub(super) fn times(&self) -> Times {
        Times {
            count: self.count(),
            p50: self.percentile(50),
            p90: self.percentile(90),
            p95: self.percentile(95),
            p99: self.percentile(99),
        }
    }

    pub(super) fn write(&self, row: &mut Writer) {
        row.number(self.0.len() as u64);
        let mut last = 0;
        for (step, times) in &self.0 {
            row.number(u64::from(step - last));
            row.number(*times);
            last = *step;
        }
    }

    pub(super) fn read(row: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut last = 0_u16;
        let steps = (0..row.count()?).map(|_| {
            let gap = u16::try_from(row.number()?).map_err(|_| Malformed)?;
            last = last.checked_add(gap).filter(|step| *step <= step_of(u64::MAX)).ok_or(Malformed)?;
            Ok((last, row.number()?))
        });
        Ok(Self(steps.collect::<Result<_, Malformed>>()?))
    }
}

fn step_of(value: u64) -> u16 {
    if value < CUTS {
        return value as u16;
    }
    let power = value.ilog2() - CUTS.ilog2();
    // At most 59 * 16 + 31.
    (u64::from(power) * CUTS + (value >> power)) as u16
}

fn middle(step: u16) -> u64 {
    let step = u64::from(step);
    if step < 2 * CUTS {
        return step;
    }
    let power = step / CUTS - 1;
    let first = (step % CUTS + CUTS) << power;
    first + (1 << power) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_narrow_and_the_steps_ascend() {
        let mut last = 0;
        for value in (0..1_000).chain((0..54).flat_map(|power| (0..37).map(move |n| (1_000 + n * 27) << power))) {
            let step = step_of(value);
            let error = middle(step).abs_diff(value) as f64;
            assert!(error <= value as f64 / 31.0, "{value} is read as {}", middle(step));
            assert!(step >= last, "{value}");
            last = step;
        }
        assert_eq!(step_of(u64::MAX), 59 * 16 + 31);
        assert!(middle(step_of(u64::MAX)) > u64::MAX / 32 * 31);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let check = |values: &[(u64, u64)], expected: [Option<u64>; 4]| {
            let mut histogram = Histogram::default();
            values.iter().for_each(|(value, times)| histogram.add(*value, *times));
            let Times { p50, p90, p95, p99, .. } = histogram.times();
            assert_eq!([p50, p90, p95, p99], expected, "{values:?}");
        };
        check(&[], [None; 4]);
        check(&[(7, 1)], [Some(7); 4]);
        check(&[(1, 50), (2, 40), (3, 5), (4, 5)], [Some(1), Some(2), Some(3), Some(4)]);
        check(&[(0, u64::MAX), (9, u64::MAX)], [Some(0), Some(0), Some(0), Some(0)]);
    }

    #[test]
    fn written_and_added_it_stays_the_same() {
        let mut histogram = Histogram::default();
        for value in (0..60).map(|n| n * n * n * 31) {
            histogram.add(value, value + 1);
        }
        histogram.add(u64::MAX, u64::MAX);
        let mut row = Writer::of(1);
        histogram.write(&mut row);
        let row = row.done();
        let mut read = Histogram::read(&mut Reader::of(1, &row).unwrap()).unwrap();
        assert_eq!(read, histogram);
        read.add_all(&histogram);
        assert_eq!(read.times().p50, histogram.times().p50);
    }
}
