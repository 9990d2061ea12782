//! What the client sees of the simulation: a clock, a place to park, and a provider that makes both with a transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use iothub_core::{CreateError, Endpoint, Now, Platform, Provider, Readiness, Transport};
use iothub_net::{Connect, WebSocketConnector, memory};
use iothub_transport_amqp::{self as amqp, AmqpTransport};
use iothub_transport_mqtt::{self as mqtt, MqttTransport};

use crate::over::Over;
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

/// Makes the transports and platforms of clients of a [`Sim`](crate::Sim).
pub struct SimProvider {
    world: Shared,
    over: Over,
    mqtt: mqtt::SessionOptions,
    amqp: amqp::SessionOptions,
}

impl SimProvider {
    pub(crate) fn new(world: Shared, over: Over) -> Self {
        Self { world, over, mqtt: Default::default(), amqp: Default::default() }
    }

    /// How long the hub may be silent; whatever the transport has by default.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.mqtt.keep_alive = interval;
        self.amqp.keep_alive = interval;
        self
    }

    /// How long each stage of connecting may take; whatever the transport has by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.mqtt.connect_timeout = timeout;
        self.amqp.connect_timeout = timeout;
        self
    }

    /// How many messages may be in flight; whatever the transport has by default.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.mqtt.max_in_flight = messages;
        self.amqp.max_in_flight = messages;
        self
    }
}

impl Provider for SimProvider {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        let over = self.over;
        let (connect, script) = memory::network(endpoint.host.clone(), endpoint.port.unwrap_or(over.port()));
        lock(&self.world).add_dialer(script, over);
        let mut connect: Box<dyn Connect> = Box::new(connect);
        if let Some(subprotocol) = over.subprotocol() {
            let timeout = self.mqtt.connect_timeout;
            connect = Box::new(WebSocketConnector::new(connect, "/$iothub/websocket", subprotocol, timeout)?);
        }
        Ok(if over.is_amqp() {
            Box::new(AmqpTransport::new(over.name(), connect, self.amqp.clone())?)
        } else {
            Box::new(MqttTransport::new(over.name(), connect, self.mqtt.clone())?)
        })
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        let flag = Arc::new(Flag::default());
        lock(&self.world).flags.push(flag.clone());
        Ok(Box::new(SimPlatform { world: self.world.clone(), flag }))
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

    /// There is no descriptor; whose is asked for takes part in the next parking.
    fn readiness(&self, _out: &mut Vec<Readiness>) {
        lock(&self.world).parking.push(self.flag.clone());
    }

    fn park(&mut self, _on: &[Readiness], until: Option<Instant>) {
        let mut world = lock(&self.world);
        world.parking.push(self.flag.clone());
        world.park(until);
    }
}
