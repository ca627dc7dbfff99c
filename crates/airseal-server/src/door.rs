//! Who stands at the door: connections that have not yet shown that they are served, counted by where they come from.
//!
//! Anybody can open a connection and say nothing, or show a key that no device has. Such connections get little time
//! and one answer, and there are only so many of them, of one network and of all, so that they can't take the room of
//! the devices inside.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The newcomers of one listener.
#[derive(Debug)]
pub(crate) struct Door {
    most_of_one: usize,
    most: usize,
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

impl Door {
    /// A door with room for `most` newcomers, `most_of_one` of one network.
    pub(crate) fn new(most_of_one: usize, most: usize) -> Arc<Self> {
        Arc::new(Self {
            most_of_one,
            most,
            waiting: Mutex::default(),
        })
    }

    /// Counts a newcomer; `None` when there are too many, or too many of its network.
    pub(crate) fn knock(self: &Arc<Self>, address: IpAddr) -> Option<Newcomer> {
        let network = network(address);
        let mut waiting = self.lock();
        let of_it = waiting.get(&network).copied().unwrap_or(0);
        if of_it >= self.most_of_one || waiting.values().sum::<usize>() >= self.most {
            return None;
        }
        waiting.insert(network, of_it + 1);
        Some(Newcomer {
            door: Arc::clone(self),
            network,
            is_waiting: AtomicBool::new(true),
        })
    }

    fn leave(&self, network: IpAddr) {
        let mut waiting = self.lock();
        if let Some(count) = waiting.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                waiting.remove(&network);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        match self.waiting.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// A connection that counts as a newcomer until it is let in or dropped.
#[derive(Debug)]
pub(crate) struct Newcomer {
    door: Arc<Door>,
    network: IpAddr,
    is_waiting: AtomicBool,
}

impl Newcomer {
    /// It has shown that it is served.
    pub(crate) fn let_in(&self) {
        if self.is_waiting.swap(false, Ordering::Relaxed) {
            self.door.leave(self.network);
        }
    }

    /// Whether it has not been let in yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.let_in();
    }
}

/// The address of an IPv4 host; of an IPv6 host the first 64 bits, all of which one subscriber has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let subscriber = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(subscriber))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn newcomers_count_until_they_are_let_in_or_gone() {
        let door = Door::new(2, 9);
        let home = address("192.0.2.1");
        let (one, two) = (door.knock(home), door.knock(home));
        assert!(door.knock(home).is_none());
        assert!(door.knock(address("192.0.2.2")).is_some());
        let one = one.expect("counted");
        one.let_in();
        let three = door.knock(home).expect("the first is inside");
        assert!(door.knock(home).is_none());
        drop((one, two));
        assert!(door.knock(home).is_some());
        drop(three);
        assert!(door.lock().is_empty());
    }

    #[test]
    fn many_networks_have_no_more_room_than_all_may_take() {
        let door = Door::new(2, 3);
        let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|text| door.knock(address(text)));
        assert!(all.iter().all(Option::is_some));
        let other = address("192.0.2.4");
        assert!(door.knock(other).is_none());
        all[0].as_ref().expect("counted").let_in();
        assert!(door.knock(other).is_some());
        drop(all);
        assert!(door.lock().is_empty());
    }

    #[test]
    fn a_subscriber_does_not_multiply_by_its_addresses() {
        let same = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9"].map(|text| network(address(text)));
        assert_eq!(same[0], same[1]);
        assert_ne!(same[0], network(address("2001:db8:1:3::1")));
        let mapped = network(address("::ffff:192.0.2.1"));
        assert_eq!(mapped, address("192.0.2.1"));
    }
}
