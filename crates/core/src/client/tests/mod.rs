//! The engine on a scripted transport, in virtual time. Names carry the invariant of `docs/architecture.md` or the
//! wrinkle of the C SDK that they keep out.

mod c2d;
mod close;
mod connection;
mod create;
mod credentials;
mod edge;
mod fake;
mod invoke;
mod methods;
mod modules;
mod options;
mod renewal;
mod renewal_in_place;
mod shared;
mod telemetry;
mod twin;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::*;

const SECOND: Duration = Duration::from_secs(1);

type Outcome = Result<(), Undelivered>;

/// A confirmation callback that reports to a channel under a name.
fn report(
    to: &Sender<(&'static str, Outcome)>,
    name: &'static str,
) -> impl FnOnce(Outcome, &mut Outbox<Device>) + Send + 'static {
    let to = to.clone();
    move |outcome, _| to.send((name, outcome)).unwrap()
}

fn names(from: &Receiver<(&'static str, Outcome)>) -> Vec<&'static str> {
    from.try_iter().map(|(name, _)| name).collect()
}

/// The states of all status events that wait to be read.
fn states<K>(client: &mut Client<K>) -> Vec<ConnectionState> {
    statuses(client).into_iter().map(|change| change.state).collect()
}

fn statuses<K>(client: &mut Client<K>) -> Vec<StatusChange> {
    let mut changes = Vec::new();
    while let Some(event) = client.next_event() {
        if let Event::Status(change) = event {
            changes.push(change);
        }
    }
    changes
}
