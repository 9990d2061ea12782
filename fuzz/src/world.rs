//! A client's surroundings in memory: a network that the target plays, and time that it moves.

use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use iothub_core::{
    CreateError, Endpoint, Feature, Identity, Now, Platform, Provider, Readiness, Registration, Slot, Transport,
};
use iothub_emulator::{Config, Device, DeviceAuth, OfflineHub, SecretKey};
use iothub_net::memory;
use iothub_transport_mqtt::{MqttTransport, SessionOptions};

/// The hub's host name.
pub const HUB: &str = "hub.example";

/// The device's id.
pub const DEVICE: &str = "dev1";

/// The id of its module.
pub const MODULE: &str = "mod1";

/// The key that the device has at the emulator and in connection strings.
pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A token of the right form.
pub const TOKEN: &str = "SharedAccessSignature sr=hub.example%2Fdevices%2Fdev1&sig=c2ln&se=1700003600";

/// What the transport can deliver to a device.
pub const FEATURES: [Feature; 4] =
    [Feature::CloudToDevice, Feature::Twin, Feature::DesiredProperties, Feature::Methods];

/// What it can deliver to a module.
pub const MODULE_FEATURES: [Feature; 4] =
    [Feature::Inputs, Feature::Twin, Feature::DesiredProperties, Feature::Methods];

/// When every run begins.
pub fn start() -> Now {
    Now { mono: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) }
}

/// A hub that knows the device.
pub fn hub(config: Config, now: Now) -> (OfflineHub, Device) {
    let hub = OfflineHub::new(config.with_host_name(HUB), now.wall).unwrap();
    let keys = DeviceAuth::SymmetricKey { primary: SecretKey::from(KEY), secondary: SecretKey::from(KEY) };
    let device = hub.create_device_with(DEVICE, keys).unwrap();
    (hub, device)
}

/// A transport with the device registered, and the network below it.
pub fn transport(max_in_flight: usize) -> (MqttTransport, Slot, memory::Script) {
    transport_of(Identity::device(HUB, DEVICE), max_in_flight)
}

/// A transport with this identity registered, and the network below it.
pub fn transport_of(identity: Identity, max_in_flight: usize) -> (MqttTransport, Slot, memory::Script) {
    let (connect, network) = memory::network(HUB, 8883);
    let mut options = SessionOptions::default();
    options.max_in_flight = max_in_flight;
    let mut transport = MqttTransport::new("mqtt", Box::new(connect), options).unwrap();
    let registration = Registration::new(identity, "fuzz", Waker::noop().clone());
    let slot = transport.register(registration).unwrap();
    (transport, slot, network)
}

/// Makes clients whose network and clock the target holds.
#[derive(Clone)]
pub struct World {
    now: Arc<Mutex<Now>>,
    network: Arc<Mutex<Option<memory::Script>>>,
}

impl World {
    /// A world without clients.
    pub fn new() -> Self {
        Self { now: Arc::new(Mutex::new(start())), network: Arc::default() }
    }

    /// The time.
    pub fn now(&self) -> Now {
        *self.now.lock().unwrap()
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap();
        *now = *now + by;
    }

    /// The network of the client that was made last.
    pub fn network(&self) -> memory::Script {
        self.network.lock().unwrap().clone().expect("a client was made")
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Provider for World {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        let (connect, network) = memory::network(endpoint.host.as_str(), endpoint.port.unwrap_or(8883));
        *self.network.lock().unwrap() = Some(network);
        Ok(Box::new(MqttTransport::new("mqtt", Box::new(connect), SessionOptions::default())?))
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        Ok(Box::new(self.clone()))
    }
}

impl Platform for World {
    fn now(&self) -> Now {
        Self::now(self)
    }

    fn waker(&self) -> Waker {
        Waker::noop().clone()
    }

    fn clear_wakes(&mut self) {}

    fn readiness(&self, _: &mut Vec<Readiness>) {}

    /// Nothing happens but the passing of time.
    fn park(&mut self, _: &[Readiness], until: Option<Instant>) {
        let until = until.expect("a client that parks for ever would never wake");
        self.advance(until.saturating_duration_since(self.now().mono));
    }
}
