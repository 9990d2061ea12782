//! What the client sees of the simulation: a clock, a place to park, and a provider that makes both with a transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Instant;

use iothub_core::{CreateError, Endpoint, Now, Platform, Provider, Readiness, Transport};
use iothub_net::{Connect, WebSocketConnector, memory};
use iothub_transport_mqtt::{MqttTransport, SessionOptions};

use crate::world::{Shared, lock};

/// Whether a client was woken.
#[derive(Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, woken: bool) {
        self.0.store(woken, Ordering::Relaxed);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.set(true);
    }
}

/// Makes the transport and the platform of one client of a [`Sim`](crate::Sim).
pub struct SimProvider {
    pub(crate) world: Shared,
    pub(crate) flag: Arc<Flag>,
    pub(crate) options: SessionOptions,
}

impl SimProvider {
    /// With other options of the MQTT session.
    #[must_use]
    pub fn with_options(mut self, change: impl FnOnce(&mut SessionOptions)) -> Self {
        change(&mut self.options);
        self
    }
}

impl Provider for SimProvider {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        let (connect, script) = memory::network(endpoint.host.clone(), endpoint.port.unwrap_or(8883));
        let mut world = lock(&self.world);
        world.add_dialer(script, self.flag.clone());
        let mut name = "mqtt";
        let mut connect: Box<dyn Connect> = Box::new(connect);
        if world.fronts.is_some() {
            name = "mqtt-ws";
            let timeout = self.options.connect_timeout;
            connect = Box::new(WebSocketConnector::new(connect, "/$iothub/websocket", "mqtt", timeout)?);
        }
        Ok(Box::new(MqttTransport::new(name, connect, self.options.clone())?))
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        Ok(Box::new(SimPlatform { world: self.world.clone(), flag: self.flag.clone() }))
    }
}

struct SimPlatform {
    world: Shared,
    flag: Arc<Flag>,
}

impl Platform for SimPlatform {
    fn now(&self) -> Now {
        lock(&self.world).now()
    }

    fn waker(&self) -> Waker {
        self.flag.clone().into()
    }

    fn clear_wakes(&mut self) {
        self.flag.set(false);
    }

    fn readiness(&self, _out: &mut Vec<Readiness>) {}

    fn park(&mut self, _on: &[Readiness], until: Option<Instant>) {
        lock(&self.world).park(until);
    }
}
