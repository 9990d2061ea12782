//! Parking: until there is work for a client, or for any of several.

use std::time::{Duration, Instant};

use super::{Client, Outbox};
use crate::platform::{Platform, Readiness};
use crate::transport::TransportEvent;

/// What can be waited for together with others: every client, whatever its face.
pub trait Waits: sealed::Parks {}

impl<K> Waits for Client<K> {}

/// Sleeps until `do_work` of any of the clients has something to do, a waker of one of them is used, or `timeout` has
/// passed. Without clients it returns at once.
///
/// One thread can so serve any number of clients:
///
/// ```no_run
/// # fn run(mut a: iothub_core::DeviceClient, mut b: iothub_core::DeviceClient) {
/// loop {
///     a.do_work();
///     b.do_work();
///     iothub_core::wait_any(&mut [&mut a, &mut b], std::time::Duration::from_secs(60));
/// }
/// # }
/// ```
pub fn wait_any(clients: &mut [&mut dyn Waits], timeout: Duration) {
    let mut on = Vec::new();
    let mut due: Option<Instant> = None;
    for client in clients.iter() {
        client.readiness(&mut on);
        due = earliest(due, client.next_deadline());
    }
    if let Some(first) = clients.first_mut() {
        let platform = first.platform();
        let until = platform.now().mono.checked_add(timeout);
        platform.park(&on, earliest(due, until));
        first.count_return();
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

mod sealed {
    use super::{Instant, Platform, Readiness};

    pub trait Parks {
        fn next_deadline(&self) -> Option<Instant>;
        fn readiness(&self, out: &mut Vec<Readiness>);
        fn platform(&mut self) -> &mut dyn Platform;
        fn count_return(&mut self);
    }
}

impl<K> sealed::Parks for Client<K> {
    fn next_deadline(&self) -> Option<Instant> {
        self.outbox.next_deadline()
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        self.outbox.readiness(out);
    }

    fn platform(&mut self) -> &mut dyn Platform {
        &mut *self.outbox.platform
    }

    fn count_return(&mut self) {
        self.outbox.stats.poller_returns += 1;
    }
}

impl<K> Outbox<K> {
    /// Turns and parks until `done`, or until the time has come.
    pub(super) fn drive(&mut self, until: Option<Instant>, done: impl Fn(&Self) -> bool) {
        while !done(self) && !self.has_passed(until) {
            self.park(until);
            self.turn();
        }
    }

    /// Disconnects in order, and gives the transport until then to say so to the hub.
    pub(super) fn disconnect(&mut self, until: Option<Instant>) {
        self.tokens.cancel();
        self.transport.disconnect(self.slot, self.platform.now());
        loop {
            self.transport.do_work(self.platform.now());
            while let Some(event) = self.transport.poll_event(self.slot) {
                if matches!(event, TransportEvent::Disconnected | TransportEvent::Down(_)) {
                    return self.transport.unregister(self.slot);
                }
            }
            if self.has_passed(until) {
                return self.transport.unregister(self.slot);
            }
            self.park(until);
        }
    }

    fn park(&mut self, until: Option<Instant>) {
        let mut on = Vec::new();
        self.readiness(&mut on);
        let until = earliest(self.next_deadline(), until);
        self.platform.park(&on, until);
    }

    fn has_passed(&self, until: Option<Instant>) -> bool {
        until.is_some_and(|until| self.platform.now().mono >= until)
    }
}
