//! The transport under test, as the behaviours see it.

use std::net::SocketAddr;
use std::time::Duration;

use iothub_core::{ConnectionErrorKind, Disposition, Feature, Provider};
use iothub_emulator::{Fault, Hub};

use crate::absent::Absent;

/// A transport under test: how to make it, where the hub serves it, and in what it may differ from others.
///
/// The defaults are those of MQTT 3.1.1. What a transport tells about itself, in
/// [`Capabilities`](iothub_core::Capabilities), is not asked for again here.
pub trait Subject {
    /// The transport with these settings. The hub is for a transport that finds it in another way than by its address.
    fn provider(&self, hub: &Hub, settings: &Settings) -> Box<dyn Provider + Send + Sync>;

    /// Where the hub serves this transport; `None` if it is reached without an address.
    fn address(&self, hub: &Hub) -> Option<SocketAddr> {
        Some(hub.mqtt_address())
    }

    /// Whether this can go wrong on the transport. A behaviour around a fault that cannot does not apply.
    fn knows(&self, _fault: &Fault) -> bool {
        true
    }

    /// The behaviours that do not apply, because of something that the transport does not have or a fault that it does not
    /// [know](Self::knows), each with a reason. A test fails if it is named here and applies, or does not apply and is not
    /// named: so what really ran can be read off.
    fn absent(&self) -> Absent {
        Absent::default()
    }

    /// Whether received messages are settled in the order of their arrival, whatever the order of the answers.
    fn settles_in_order(&self) -> bool {
        true
    }

    /// Whether a message that is sent again is marked so, for the hub to see (MQTT: DUP).
    fn marks_repeats(&self) -> bool {
        true
    }

    /// Whether the hub says why it ends a connection or refuses one, in an error condition for example (MQTT 3.1.1: no).
    fn tells_why(&self) -> bool {
        false
    }

    /// Hears why a behaviour does not apply. The suite listens here; there is nothing to implement.
    #[doc(hidden)]
    fn lacks(&self, _what: Missing) {}
}

/// What a behaviour would need and a transport does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// A fault that cannot happen on it.
    Fault(Fault),
    /// A feature that it does not have.
    Feature(Feature),
    /// A way to answer a message.
    Disposition(Disposition),
    /// A hub that sends an abandoned message again at once.
    RedeliveryAtOnce,
    /// Tokens that are replaced together with the connection.
    RenewalByReconnect,
    /// Room for a second device on one connection.
    Sharing,
}

/// What a behaviour asks of the transport that it makes; `None` leaves the transport its default. A transport without
/// such a setting leaves it out.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// How long the connection may be idle before the client asks whether the hub is still there.
    pub keep_alive: Option<Duration>,
    /// How long each of the hub's answers on the way to a connection may take.
    pub connect_timeout: Option<Duration>,
    /// How many messages may be sent and not yet confirmed.
    pub max_in_flight: Option<usize>,
}

/// The hub has ended the connection: with words, where it has some, and these are about `topic`; else with none.
///
/// # Panics
///
/// If the client was told something else.
pub(crate) fn is_end_by_hub(subject: &dyn Subject, kind: &ConnectionErrorKind, topic: &str) {
    match kind {
        ConnectionErrorKind::ClosedByPeer if !subject.tells_why() => {}
        ConnectionErrorKind::EndedByHub { condition, .. } if subject.tells_why() && condition.contains(topic) => {}
        other => panic!("the hub has ended the connection, and the client says: {other:?}"),
    }
}

/// The hub has ended the connection because it does not accept the credentials any more; the client knows so where the hub
/// says it.
///
/// # Panics
///
/// If the client was told something else.
pub(crate) fn is_end_for_credentials(subject: &dyn Subject, kind: &ConnectionErrorKind) {
    let expected = match subject.tells_why() {
        true => ConnectionErrorKind::NotAuthorized,
        false => ConnectionErrorKind::ClosedByPeer,
    };
    assert_eq!(*kind, expected);
}
