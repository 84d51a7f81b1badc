//! Ids. Each is checked where it enters the process and is afterwards safe in a NATS subject, a URL path,
//! a log line and an SSE `id:` line, because its alphabet has no dot, space, slash, quote or line end.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// An id was not of its form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {form}")]
pub struct IdError {
    what: &'static str,
    form: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $form:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "std::borrow::Cow<'_, str>", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes the id.
            pub fn new(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(IdError { what: $what, form: $form }) }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<std::borrow::Cow<'_, str>> for $name {
            type Error = IdError;
            fn try_from(text: std::borrow::Cow<'_, str>) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn word(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn hex16(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

id!(
    /// One shop, for example `default`.
    SiteId, "site", "1 to 64 characters of A-Z a-z 0-9 _ -", |text| word(text, 1..=64)
);
id!(
    /// One visitor's conversation on one site: `sess_<unix seconds>_<16 hex>`.
    SessionId, "session_id", "sess_<unix seconds>_<16 hex digits>", |text| {
        let Some((seconds, random)) = text.strip_prefix("sess_").and_then(|rest| rest.split_once('_')) else {
            return false;
        };
        (1..=12).contains(&seconds.len()) && seconds.bytes().all(|b| b.is_ascii_digit()) && hex16(random)
    }
);
id!(
    /// One message of a visitor, and its reply: the client's idempotency key.
    MessageId, "message_id", "8 to 64 characters of A-Z a-z 0-9 _ -", |text| word(text, 8..=64)
);
id!(
    /// One fact: delivered at least once, applied once by this id.
    FactId, "fact id", "1 to 128 characters of A-Z a-z 0-9 _ -", |text| word(text, 1..=128)
);

impl SessionId {
    /// Makes the id of a session that began at `unix_seconds`. The random part must come from the OS.
    pub fn mint(unix_seconds: u64, random: u64) -> Self {
        Self(format!("sess_{}_{random:016x}", unix_seconds.min(999_999_999_999)).into())
    }

    /// When the session began, in Unix seconds.
    pub fn began(&self) -> u64 {
        self.0.split('_').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }
}

impl MessageId {
    /// Makes an id for a client that sent none.
    pub fn mint(random: u128) -> Self {
        Self(format!("msg_{random:032x}").into())
    }
}

impl FactId {
    /// The id of what happened to one message; the same happening told twice has the same id.
    pub fn of(session: &SessionId, message: Option<&MessageId>, kind: &str) -> Self {
        match message {
            // 33 + 1 + 64 + 1 + kind: always within 128 for the kinds of this crate.
            Some(message) => Self(format!("{session}-{message}-{kind}").into()),
            None => Self(format!("{session}-{kind}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_have_one_form() {
        let check = |text: &str, good: bool| assert_eq!(SessionId::new(text).is_ok(), good, "{text}");
        check("sess_1767168909_9f86d081884c7d65", true);
        check("sess_1767168909_9F86D081884C7D65", false);
        check("sess_1767168909_9f86d081884c7d6", false);
        check("sess__9f86d081884c7d65", false);
        check("sess_17.7_9f86d081884c7d65", false);
        check("sess_1767168909_9f86d081884c7d65\n", false);
        check("sess_1767168909999_9f86d081884c7d65", false);
        check("", false);
        let id = SessionId::mint(1_767_168_909, 0x9f86_d081_884c_7d65);
        assert_eq!(id.as_str(), "sess_1767168909_9f86d081884c7d65");
        assert_eq!(id.began(), 1_767_168_909);
        assert!(SessionId::new(SessionId::mint(u64::MAX, 0).as_str()).is_ok());
    }

    #[test]
    fn message_ids_are_plain_words() {
        let check = |text: &str, good: bool| assert_eq!(MessageId::new(text).is_ok(), good, "{text}");
        check("abcdefgh", true);
        check("abcdefg", false);
        check(&"a".repeat(64), true);
        check(&"a".repeat(65), false);
        check("abcd.efgh", false);
        check("abcd>efgh", false);
        check("abcd*efgh", false);
        check("abcd efgh", false);
        check("äbcdefgh", false);
        assert!(MessageId::new(MessageId::mint(u128::MAX).as_str()).is_ok());
    }

    #[test]
    fn ids_are_checked_when_read() {
        assert!(serde_json::from_str::<MessageId>("\"no.dots.here\"").is_err());
        assert_eq!(serde_json::from_str::<MessageId>("\"abcdefgh\"").unwrap().as_str(), "abcdefgh");
        // An escaped form of a good id is a good id.
        assert_eq!(serde_json::from_str::<MessageId>("\"\\u0061bcdefgh\"").unwrap().as_str(), "abcdefgh");
    }
}
