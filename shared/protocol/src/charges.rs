//! What edges tell each other about their limits, so that together they let through what one of them would; and what
//! analytics keeps of it, so that edges which start know what was used before.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One limit that counts over time. Its name is a part of a NATS subject and the name of the policy in the
/// `RateLimit-Policy` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// API calls of an address.
    Ip,
    /// Sessions created by an address.
    Create,
    /// Messages of a session.
    Session,
    /// Messages of a site.
    Site,
    /// Messages of an address in a day.
    IpDay,
    /// Messages of a session in a day.
    SessionDay,
    /// Messages of a site in a day.
    SiteDay,
    /// What workflows send late to a session.
    Late,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Self; 8] =
        [Self::Ip, Self::Create, Self::Session, Self::Site, Self::IpDay, Self::SessionDay, Self::SiteDay, Self::Late];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Create => "create",
            Self::Session => "session",
            Self::Site => "site",
            Self::IpDay => "ip-day",
            Self::SessionDay => "session-day",
            Self::SiteDay => "site-day",
            Self::Late => "late",
        }
    }

    /// Whether its quota comes back all at once, a [window](Self::window) after the first use; otherwise unit by unit.
    pub fn is_budget(self) -> bool {
        match self {
            Self::Ip | Self::Create | Self::Session | Self::Site | Self::Late => false,
            Self::IpDay | Self::SessionDay | Self::SiteDay => true,
        }
    }

    /// What it counts over: none of its quotas takes longer to be there again.
    pub fn window(self) -> Duration {
        Duration::from_secs(if self.is_budget() { 24 * 60 * 60 } else { 60 })
    }
}

/// What one edge counted in one tier since it last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charges {
    /// The form's version; 1.
    pub v: u8,
    /// Which process: an edge hears its own charges as well, and must not count them twice.
    pub edge: String,
    /// Of which limit.
    pub tier: Tier,
    /// How often which keys were counted; each key once.
    pub charges: Vec<(Key, u32)>,
    /// Of each of them, in the same order, how many ms it will take until all of its quota is there again; 0 where this
    /// edge doesn't know. For analytics, which knows no quotas; edges go by what they count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resets: Vec<u32>,
}

impl Charges {
    /// How much was counted, of all keys together.
    pub fn units(&self) -> u64 {
        self.charges.iter().map(|(_, units)| u64::from(*units)).sum()
    }
}

/// What an edge that starts asks analytics, part by part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsAsk {
    /// The form's version; 1.
    pub v: u8,
    /// Of which limit.
    pub tier: Tier,
    /// From where on: 0, and then what the part before named as its `next`.
    pub from: u32,
}

/// A part of how the callers of a limit stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The form's version; 1.
    pub v: u8,
    /// Of which limit.
    pub tier: Tier,
    /// Each caller who used something that is not there again yet.
    pub counts: Vec<Count>,
    /// Where the next part begins; with the last one there is none.
    pub next: Option<u32>,
}

/// One caller: who; how many units were used in the running window, where a limit's quota comes back all at once, and 0
/// where it comes back evenly; and in how many ms all of the quota will be there again. That is relative, so that clocks
/// need not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count(pub Key, pub u32, pub u32);

/// Whom a limit counts, as a hash under a secret of the edges: never an address or an id. 16 hex digits in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "std::borrow::Cow<'_, str>", into = "String")]
pub struct Key(pub u64);

impl TryFrom<std::borrow::Cow<'_, str>> for Key {
    type Error = &'static str;

    fn try_from(text: std::borrow::Cow<'_, str>) -> Result<Self, Self::Error> {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| hex);
        number.map(Self).ok_or("a key must be 16 hex digits")
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        format!("{:016x}", key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_written_as_its_name() {
        for tier in Tier::ALL {
            assert_eq!(serde_json::to_string(&tier).unwrap(), format!("\"{}\"", tier.name()));
        }
    }

    #[test]
    fn keys_have_one_form() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(serde_json::from_str::<Key>(text).ok(), expected.map(Key), "{text}");
        };
        check("\"9f86d081884c7d65\"", Some(0x9f86_d081_884c_7d65));
        check("\"0000000000000001\"", Some(1));
        check("\"9F86D081884C7D65\"", None);
        check("\"+f86d081884c7d65\"", None);
        check("\"f86d081884c7d65\"", None);
        check("5", None);
    }
}
