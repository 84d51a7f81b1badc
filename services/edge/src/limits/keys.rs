//! Whom a limit counts: a hash under a key that all edges derive from `JWT_SECRET_KEY`, and nobody else can.
//!
//! So edges mean the same caller without telling addresses or ids, nobody can aim at somebody else's place in a table,
//! and what stands in memory says nothing. While `JWT_SECRET_KEY` is being replaced, edges with the old and with the new
//! one don't understand each other, and each counts by itself.

use std::net::IpAddr;

use hmac::{Hmac, Mac as _};
use protocol::{SessionId, SiteId};
use runtime::{Secret, http::neighbourhood};
use sha2::Sha256;

use crate::keyed::{Purpose, derive};

pub(crate) struct Keys(Hmac<Sha256>);

impl Keys {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(derive(secret, Purpose::Limits))
    }

    /// An IPv4 address, or the /64 that one IPv6 subscriber has.
    pub(crate) fn address(&self, ip: IpAddr) -> u64 {
        match neighbourhood(ip) {
            IpAddr::V4(v4) => self.hash(b"4", &v4.octets()),
            IpAddr::V6(v6) => self.hash(b"6", &v6.octets()[..8]),
        }
    }

    pub(crate) fn session(&self, session: &SessionId) -> u64 {
        self.hash(b"s", session.as_str().as_bytes())
    }

    pub(crate) fn site(&self, site: &SiteId) -> u64 {
        self.hash(b"S", site.as_str().as_bytes())
    }

    fn hash(&self, kind: &[u8; 1], of: &[u8]) -> u64 {
        let hash = self.0.clone().chain_update(kind).chain_update(of).finalize().into_bytes();
        u64::from_be_bytes(hash[..8].try_into().expect("a hash has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str) -> Keys {
        Keys::new(&Secret::any(secret))
    }

    #[test]
    fn a_subscriber_is_one_caller() {
        let keys = keys("a");
        let check = |a: &str, b: &str, same: bool| {
            let of = |ip: &str| keys.address(ip.parse().unwrap());
            assert_eq!(of(a) == of(b), same, "{a} {b}");
        };
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("::ffff:10.0.0.1", "10.0.0.1", true);
        check("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
    }

    #[test]
    fn edges_with_one_secret_agree_and_nobody_else() {
        let (ip, session) = ("192.0.2.7".parse().unwrap(), SessionId::mint(1_767_168_909, 1));
        assert_eq!(keys("a").address(ip), keys("a").address(ip));
        assert_ne!(keys("a").address(ip), keys("b").address(ip));
        assert_eq!(keys("a").session(&session), keys("a").session(&session));
        assert_ne!(keys("a").session(&session), keys("a").site(&SiteId::new(session.as_str()).unwrap()));
    }
}
