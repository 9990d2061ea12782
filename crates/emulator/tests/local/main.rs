//! Devices in the hub's own process: the same rules and records as over MQTT, which stands beside them where they meet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: helpers outside #[test] functions fail their test by panicking"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "these tests need little of it")]
mod support;

mod endings;
mod faults;
mod logins;
mod messages;
mod methods;
mod telemetry;
mod twins;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use iothub_emulator::{Activity, Hub, LocalConnection, LocalEvent, LocalFeature, LocalLogin};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Counts how often it was used.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self::default());
        (Arc::clone(&bell), bell.into())
    }

    /// Whether it was used since the last look.
    fn has_rung(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) > 0
    }
}

/// How the device `dev` logs in; it is created if it is not there.
fn login(hub: &Hub) -> LocalLogin {
    let device = hub.device("dev").unwrap_or_else(|| hub.create_device("dev").expect("the device can be made"));
    LocalLogin::new("dev").token(device.sas_token(DAY))
}

fn connect(hub: &Hub) -> LocalConnection {
    hub.connect_local(login(hub), Waker::noop()).expect("the hub lets it in")
}

/// A connection that is subscribed to this.
fn listener(hub: &Hub, features: &[LocalFeature]) -> LocalConnection {
    let mut connection = connect(hub);
    for feature in features {
        connection.subscribe(*feature).expect("the hub grants it");
    }
    connection
}

/// Everything that the hub has for the device now.
fn events(connection: &mut LocalConnection) -> Vec<LocalEvent> {
    std::iter::from_fn(|| connection.next_event()).collect()
}

fn event(connection: &mut LocalConnection) -> LocalEvent {
    connection.next_event().expect("the hub has something for the device")
}

/// What the hub has on record of the device's connections.
fn record<T>(hub: &Hub, pick: impl FnMut(Activity) -> Option<T>) -> Vec<T> {
    hub.activity("dev").into_iter().filter_map(pick).collect()
}
