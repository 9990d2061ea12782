//! The addresses of an attempt: which come next, and which failure of them to tell about.

use std::net::SocketAddr;

use iothub_core::ConnectionErrorKind;

use super::failure::Failure;

/// What an attempt can still try, and what has failed so far.
pub(super) struct Others {
    addresses: std::vec::IntoIter<SocketAddr>,
    worst: Option<Failure>,
}

impl Others {
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses: interleave(addresses).into_iter(), worst: None }
    }

    /// The next one to try.
    pub(super) fn next(&mut self) -> Option<SocketAddr> {
        self.addresses.next()
    }

    /// Remembers a failure if it tells more than those before it.
    pub(super) fn note(&mut self, failure: Failure) {
        if self.worst.as_ref().is_none_or(|worst| failure.weight > worst.weight) {
            self.worst = Some(failure);
        }
    }

    /// What to say when all have failed.
    pub(super) fn verdict(self) -> ConnectionErrorKind {
        match self.worst {
            Some(failure) => failure.kind,
            None => ConnectionErrorKind::Dns { detail: "it has no address".to_owned() },
        }
    }
}

/// Lets IPv6 and IPv4 take turns, beginning with the family of the first address and keeping the order within each, so
/// that a dead family costs one time-out before the other gets its chance (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut ordered = Vec::with_capacity(addresses.len());
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    for address in first {
        ordered.push(address);
        ordered.extend(second.next());
    }
    ordered.extend(second);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn the_two_families_take_turns_beginning_with_the_resolvers_first() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleave(given), expected);

        let given = addresses(&["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(interleave(given.clone()), given);
        assert_eq!(interleave(Vec::new()), []);
    }
}
