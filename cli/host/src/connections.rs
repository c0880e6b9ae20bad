//! How many connections there may be, of one client and of all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many connections a network has at most, where there are enough descriptors.
const MOST: usize = 1024;

/// What one client is taken for: an address, and of IPv6 the 64 bits that a provider gives to a customer at least
/// (RFC 6177 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) >> 64 << 64;
                Ipv6Addr::from(prefix).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The connections that are open, by network.
#[derive(Clone)]
pub struct Connections {
    open: Arc<Mutex<HashMap<Network, usize>>>,
    most: usize,
}

/// A connection that is counted for as long as this lives.
pub struct Counted {
    connections: Connections,
    network: Network,
}

impl Connections {
    /// So many at most for each network.
    pub fn new(most: usize) -> Self {
        Self {
            open: Arc::default(),
            most,
        }
    }

    /// Counts a connection, where its network may have one more.
    pub fn count(&self, network: Network) -> Option<Counted> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(network).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted {
            connections: self.clone(),
            network,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let open = self.connections.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
            }
        }
    }
}

/// Has the system give this process as many descriptors as it may have, and says how many connections one network
/// may have then: 1024, and half of the descriptors at most, so that others have the other half.
pub fn most_of_a_network() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let half = descriptors.map_or(usize::MAX, |all| {
        usize::try_from(all / 2).unwrap_or(usize::MAX)
    });
    half.min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_customer_of_a_provider_is_one_network() {
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn a_network_has_no_more_connections_than_it_may_have() {
        let connections = Connections::new(2);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(network);
        let first = connections.count(one).unwrap();
        let _second = connections.count(one).unwrap();
        assert!(connections.count(one).is_none());
        assert!(connections.count(other).is_some());
        drop(first);
        assert!(connections.count(one).is_some());
    }
}
