//! How much visitors may do.

/// The limits of this edge. 0 is no limit everywhere.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct LimitSettings {
    /// API calls an address (IPv6: a /64) may make a minute; 0 = no limit.
    #[arg(long, env = "RATE_LIMIT_PER_MINUTE", default_value_t = 60)]
    pub rate_limit_per_minute: u32,
    /// Messages and ratings a session may send a minute; 0 = no limit.
    #[arg(long, env = "RATE_LIMIT_SESSION_PER_MINUTE", default_value_t = 20)]
    pub rate_limit_session_per_minute: u32,
    /// Messages a site may send a minute; 0 = no limit.
    #[arg(long, env = "RATE_LIMIT_SITE_PER_MINUTE", default_value_t = 6000)]
    pub rate_limit_site_per_minute: u32,
    /// Sessions an address may create a minute; 0 = no limit.
    #[arg(long, env = "RATE_LIMIT_CREATE_PER_MINUTE", default_value_t = 10)]
    pub rate_limit_create_per_minute: u32,
    /// Posts to the reply URLs of a session a minute; 0 = no limit.
    #[arg(long, env = "RATE_LIMIT_LATE_PER_MINUTE", default_value_t = 60)]
    pub rate_limit_late_per_minute: u32,

    /// Messages of a session that are accepted in a day; 0 = no limit. Default: 200, and none where
    /// `RATE_LIMIT_SESSION_PER_MINUTE` is 0.
    #[arg(long, env = "MESSAGES_PER_DAY_SESSION")]
    pub messages_per_day_session: Option<u32>,
    /// Messages from an address that are accepted in a day; 0 = no limit. Default: 500, and none where
    /// `RATE_LIMIT_PER_MINUTE` is 0.
    #[arg(long, env = "MESSAGES_PER_DAY_IP")]
    pub messages_per_day_ip: Option<u32>,
    /// Messages of a site that are accepted in a day: what the workflow may cost; 0 = no limit.
    #[arg(long, env = "MESSAGES_PER_DAY_SITE", default_value_t = 0)]
    pub messages_per_day_site: u32,

    /// Streams of a session that are open at once at this edge; 0 = no limit. Default: 5, and none where
    /// `RATE_LIMIT_SESSION_PER_MINUTE` is 0.
    #[arg(long, env = "STREAMS_PER_SESSION")]
    pub streams_per_session: Option<u32>,
    /// Streams to an address that are open at once at this edge; 0 = no limit. Default: 20, and none where
    /// `RATE_LIMIT_PER_MINUTE` is 0.
    #[arg(long, env = "STREAMS_PER_IP")]
    pub streams_per_ip: Option<u32>,

    /// Whether these limits refuse, or only log and count whom they would have refused.
    #[arg(long, env = "LIMITS_MODE", default_value = "enforce", value_enum)]
    pub limits_mode: LimitsMode,
    /// Callers that each limit remembers, about; 16 bytes each.
    #[arg(long, env = "LIMITS_MAX_KEYS", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub limits_max_keys: u32,
}

/// What limits do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LimitsMode {
    /// 429 `rate_limited`.
    Enforce,
    /// Log and count, refuse nobody.
    Shadow,
}

/// Whoever switches off the limit by minute of addresses, or of sessions, has a reason (all come through one address, a
/// load test) that holds for the other limits of the same; those that are set by name stay.
fn unless_off(set: Option<u32>, per_minute: u32, default: u32) -> u32 {
    set.unwrap_or(if per_minute == 0 { 0 } else { default })
}

impl LimitSettings {
    pub(crate) fn messages_per_day_session(&self) -> u32 {
        unless_off(self.messages_per_day_session, self.rate_limit_session_per_minute, 200)
    }

    pub(crate) fn messages_per_day_ip(&self) -> u32 {
        unless_off(self.messages_per_day_ip, self.rate_limit_per_minute, 500)
    }

    pub(crate) fn streams_per_session(&self) -> u32 {
        unless_off(self.streams_per_session, self.rate_limit_session_per_minute, 5)
    }

    pub(crate) fn streams_per_ip(&self) -> u32 {
        unless_off(self.streams_per_ip, self.rate_limit_per_minute, 20)
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::config;

    #[test]
    fn what_is_off_by_minute_is_off_unless_it_is_named() {
        let check = |args: &[&str], expected: [u32; 4]| {
            let l = config(args).limits;
            let found =
                [l.messages_per_day_session(), l.messages_per_day_ip(), l.streams_per_session(), l.streams_per_ip()];
            assert_eq!(found, expected, "{args:?}");
        };
        check(&[], [200, 500, 5, 20]);
        check(&["--rate-limit-per-minute", "0"], [200, 0, 5, 0]);
        check(&["--rate-limit-session-per-minute", "0"], [0, 500, 0, 20]);
        check(&["--rate-limit-per-minute", "0", "--streams-per-ip", "7"], [200, 0, 5, 7]);
        check(&["--streams-per-session", "0", "--messages-per-day-ip", "0"], [200, 0, 0, 20]);
    }
}
