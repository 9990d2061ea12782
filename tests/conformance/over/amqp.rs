//! AMQP, with and without a WebSocket, as the suite makes it.

use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "amqp-ws")]
use iothub_client::AmqpWs;
use iothub_client::{Amqp, Provider};
use iothub_conformance::{Absent, Settings, Subject};
use iothub_emulator::{DropPoint, Fault, Hub};

/// The shortest time-out that the hub takes.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The transport of this type with these settings.
macro_rules! amqp_with {
    ($transport:ty, $settings:expr) => {{
        let mut transport = <$transport>::new();
        if let Some(interval) = $settings.keep_alive {
            transport = transport.keep_alive(interval.max(MIN_KEEP_ALIVE));
        }
        if let Some(limit) = $settings.connect_timeout {
            transport = transport.connect_timeout(limit);
        }
        if let Some(messages) = $settings.max_in_flight {
            transport = transport.max_in_flight(messages);
        }
        Box::new(transport)
    }};
}

pub(crate) enum OverAmqp {
    Tls,
    #[cfg(feature = "amqp-ws")]
    WebSocket,
}

impl Subject for OverAmqp {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider + Send + Sync> {
        match self {
            Self::Tls => amqp_with!(Amqp, settings),
            #[cfg(feature = "amqp-ws")]
            Self::WebSocket => amqp_with!(AmqpWs, settings),
        }
    }

    fn address(&self, hub: &Hub) -> Option<SocketAddr> {
        match self {
            Self::Tls => Some(hub.amqp_address()),
            #[cfg(feature = "amqp-ws")]
            Self::WebSocket => Some(hub.https_address()),
        }
    }

    fn absent(&self) -> Absent {
        match self {
            Self::Tls => crate::absent("amqp"),
            #[cfg(feature = "amqp-ws")]
            Self::WebSocket => crate::absent("amqp-ws"),
        }
    }

    /// Not those that are made of MQTT's packets.
    fn knows(&self, fault: &Fault) -> bool {
        let of_mqtt_alone = match fault {
            Fault::Drop { at, .. } => matches!(
                at,
                DropPoint::ConnectReceived
                    | DropPoint::ConnackSent
                    | DropPoint::SubscribeReceived
                    | DropPoint::SubackSent
            ),
            fault => matches!(
                fault,
                Fault::WithholdConnack
                    | Fault::DelayConnack { .. }
                    | Fault::ReorderConnack
                    | Fault::RefuseConnect { .. }
                    | Fault::ReorderPubacks { .. }
                    | Fault::WithholdSuback
                    | Fault::DelaySuback { .. }
                    | Fault::ReorderSuback
                    | Fault::RefuseSubscription
                    | Fault::WithholdPingresp
                    | Fault::DelayPingresp { .. }
                    | Fault::ReorderPingresp
                    | Fault::SessionLost
                    | Fault::DuplicateDelivery
            ),
        };
        !of_mqtt_alone
    }

    fn tells_why(&self) -> bool {
        true
    }

    fn settles_in_order(&self) -> bool {
        false
    }

    fn marks_repeats(&self) -> bool {
        false
    }
}
