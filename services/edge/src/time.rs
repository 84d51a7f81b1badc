//! Times as the contract writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock now, since the Unix epoch.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// RFC 3339, UTC, with milliseconds.
pub(crate) fn rfc3339(since_epoch: Duration) -> String {
    let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_a_z() {
        assert_eq!(rfc3339(Duration::from_millis(1_767_168_909_005)), "2025-12-31T08:15:09.005Z");
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(Duration::MAX).starts_with("9999-12-30T"));
    }
}
