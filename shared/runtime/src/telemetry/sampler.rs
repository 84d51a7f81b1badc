//! Which traces are kept.
//!
//! A browser may say what it likes: neither its flag nor the trace id that it chose decides. An edge throws dice of its
//! own, which fall the same way at every edge for the same trace, because they are made of the trace's id and a key that
//! all edges have and nobody else. Who is behind an edge does as the edge says.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanContext, SpanKind, TraceContextExt as _, TraceId},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};
use sha2::{Digest as _, Sha256};

use crate::Secret;

/// See the module.
#[derive(Clone)]
pub(super) struct Sampler {
    /// A trace is kept whose dice fall below it; `None`: every one is.
    below: Option<u64>,
    /// Whether who calls is a process of ours.
    trusts: bool,
    key: [u8; 32],
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sampler {{ below: {:?}, trusts: {}, .. }}", self.below, self.trusts)
    }
}

impl Sampler {
    /// `secret`: what all edges share; without one the process has dice of its own.
    pub(super) fn new(ratio: f64, trusts: bool, secret: Option<&Secret>) -> Self {
        let mut key = Sha256::new_with_prefix("frontdesk: which traces are kept\0");
        match secret {
            Some(secret) => key.update(secret.expose()),
            None => key.update(rand::random::<[u8; 32]>()),
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the \
            ratio is between 0 and 1, and a few of 2^64 more or less make no difference"
        )]
        let below = (ratio < 1.0).then_some((ratio * u64::MAX as f64) as u64);
        Self { below, trusts, key: key.finalize().into() }
    }

    fn keeps(&self, trace: TraceId) -> bool {
        match self.below {
            None => true,
            Some(0) => false,
            Some(below) => {
                let dice = Sha256::new().chain_update(self.key).chain_update(trace.to_bytes()).finalize();
                let dice = dice.first_chunk().copied().map_or(u64::MAX, u64::from_be_bytes);
                dice < below
            }
        }
    }

    fn decide(&self, parent: Option<&SpanContext>, trace: TraceId) -> bool {
        match parent.filter(|parent| parent.is_valid()) {
            Some(parent) if !parent.is_remote() || self.trusts => parent.is_sampled(),
            _ => self.keeps(trace),
        }
    }
}

impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|context| context.span().span_context().clone());
        let keeps = self.decide(parent.as_ref(), trace);
        SamplingResult {
            decision: if keeps { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: parent.map(|parent| parent.trace_state().clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceState};

    use super::*;

    fn parent(sampled: bool, remote: bool) -> SpanContext {
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        SpanContext::new(TraceId::from(1), SpanId::from(1), flags, remote, TraceState::default())
    }

    fn traces(count: u64) -> impl Iterator<Item = TraceId> {
        (1..=count).map(|n| TraceId::from(u128::from(n)))
    }

    #[test]
    fn a_share_is_kept_whatever_ids_are_chosen() {
        let secret = Secret::any("the edges' own");
        let sampler = Sampler::new(0.25, false, Some(&secret));
        // Ids with as many zeros as one can wish for: OpenTelemetry's own sampler would keep each of them.
        let kept = traces(4000).filter(|trace| sampler.decide(None, *trace)).count();
        assert!((900..1100).contains(&kept), "{kept} of 4000");
        let other = Sampler::new(0.25, false, Some(&Secret::any("another")));
        assert!(traces(100).any(|trace| sampler.keeps(trace) != other.keeps(trace)));
        let same = Sampler::new(0.25, false, Some(&secret));
        assert!(traces(100).all(|trace| sampler.keeps(trace) == same.keeps(trace)));
    }

    #[test]
    fn a_client_forces_nothing() {
        let check = |ratio: f64, trusts: bool, sampled: bool, remote: bool, expected: bool| {
            let sampler = Sampler::new(ratio, trusts, None);
            let decided = sampler.decide(Some(&parent(sampled, remote)), TraceId::from(1));
            assert_eq!(decided, expected, "{ratio} {trusts} {sampled} {remote}");
        };
        // An edge: by its own word, whatever the browser says.
        check(0.0, false, true, true, false);
        check(1.0, false, false, true, true);
        // What is within the process follows it.
        check(0.0, false, true, false, true);
        check(1.0, false, false, false, false);
        // Behind the edge.
        check(0.0, true, true, true, true);
        check(1.0, true, false, true, false);
        assert!(!Sampler::new(0.0, true, None).decide(None, TraceId::from(1)));
        assert!(Sampler::new(1.0, true, None).decide(Some(&SpanContext::empty_context()), TraceId::from(1)));
    }
}
