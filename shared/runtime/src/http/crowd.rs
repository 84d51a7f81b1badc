//! How many connections each address holds. An address is forgotten with its last connection, so there are never more
//! of them than connections.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use ipnet::IpNet;

/// See the module.
pub(crate) struct Crowd {
    most: usize,
    exempt: Vec<IpNet>,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place; free when dropped.
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    /// `None`: not counted.
    of: Option<IpAddr>,
}

impl Crowd {
    /// `most` = 0: no limit.
    pub(crate) fn new(most: usize, exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { most, exempt, held: Mutex::default() })
    }

    /// A place for one more connection of `peer`, unless it has its share.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let place = |of| Some(Place { crowd: Arc::clone(self), of });
        if self.most == 0 || is_own(peer) || self.exempt.iter().any(|network| network.contains(&peer)) {
            return place(None);
        }
        let address = neighbourhood(peer);
        let mut all = self.held.lock().expect("nothing panics while holding it");
        let held = all.entry(address).or_default();
        if *held >= self.most {
            return None;
        }
        *held += 1;
        place(Some(address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.of else { return };
        let mut all = self.crowd.held.lock().expect("nothing panics while holding it");
        if let Entry::Occupied(mut held) = all.entry(address) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// This machine's usual own address: a proxy on the same machine comes from it, with all visitors behind it.
fn is_own(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// Who counts as one caller: an IPv4 address, or the /64 that one IPv6 subscriber mostly has.
pub fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_share() {
        let crowd = Crowd::new(2, vec!["10.0.0.0/8".parse().unwrap()]);
        let mut held = Vec::new();
        let mut check = |ip: &str, expected: bool| {
            let place = crowd.enter(ip.parse().unwrap());
            assert_eq!(place.is_some(), expected, "{ip}");
            held.extend(place);
        };
        check("192.0.2.1", true);
        check("192.0.2.1", true);
        check("192.0.2.1", false);
        check("::ffff:192.0.2.1", false);
        check("192.0.2.2", true);
        check("2001:db8::1", true);
        check("2001:db8::ffff:0:0:2", true);
        check("2001:db8::3", false);
        check("2001:db8:0:1::1", true);
        for _ in 0..5 {
            check("10.1.2.3", true);
            check("127.0.0.1", true);
            check("::1", true);
        }
        check("127.0.0.2", true);
        check("127.0.0.2", true);
        check("127.0.0.2", false);
        held.clear();
        assert!(crowd.held.lock().unwrap().is_empty(), "nobody is remembered");
        assert!(crowd.enter("192.0.2.1".parse().unwrap()).is_some());

        let open = Crowd::new(0, vec![]);
        let places: Vec<_> = (0..1000).map(|_| open.enter("192.0.2.1".parse().unwrap())).collect();
        assert!(places.iter().all(Option::is_some));
    }
}
