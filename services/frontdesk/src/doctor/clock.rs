//! Clocks of others, against ours.

use super::finding::{Check, Finding};

/// Tokens live for a minute, and what comes over the network may take a second.
const WARN_MS: i64 = 5_000;
/// Beyond this tokens for n8n are over before they are there, or good for too long.
const PROBLEM_MS: i64 = 30_000;

const FIX: &str = "Have both machines set their clocks by NTP (`timedatectl`, chrony).";

/// NATS' clock: it decides how old messages and records are.
pub(crate) fn nats(of: &str, ahead_ms: i64) -> Finding {
    told("NATS", of, ahead_ms)
}

/// n8n's: it decides whether a token is still good.
pub(crate) fn n8n(of: &str, ahead_ms: i64) -> Finding {
    // An HTTP date has whole seconds.
    told("n8n", of, if ahead_ms.saturating_abs() <= 1_000 { 0 } else { ahead_ms })
}

fn told(whose: &str, of: &str, ahead_ms: i64) -> Finding {
    let apart = ahead_ms.saturating_abs();
    if apart <= WARN_MS {
        return Finding::ok(Check::Clock, of, format!("The clock of {whose} and ours agree."));
    }
    #[expect(clippy::cast_precision_loss, reason = "for people; a tenth of a second is exact enough")]
    let seconds = apart as f64 / 1e3;
    let which = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let says = format!("The clock of {whose} is {seconds:.1} s {which} ours.");
    if apart > PROBLEM_MS {
        Finding::problem(Check::Clock, of, says, FIX)
    } else {
        Finding::warning(Check::Clock, of, says, FIX)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    #[test]
    fn a_clock_that_is_off_is_told() {
        let check = |finding: Finding, severity: Severity, words: &str| {
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.says.contains(words), "{finding:?}");
        };
        check(nats("edge", 4_900), Severity::Ok, "agree");
        check(nats("edge", 6_000), Severity::Warning, "6.0 s ahead of");
        check(nats("edge", -31_000), Severity::Problem, "31.0 s behind");
        check(n8n("site default", 900), Severity::Ok, "agree");
        check(n8n("site default", i64::MIN), Severity::Problem, "behind");
    }
}
