//! A simulation from the outside: what a test sets up, disturbs and looks at.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use iothub_core::Now;
use iothub_emulator::{Config, DeviceAuth, Hub, HubError, OfflineHub};

use crate::censor::Answer;
use crate::link::Link;
use crate::network::{Ends, Path, Way};
use crate::over::Over;
use crate::platform::SimProvider;
use crate::rival;
use crate::world::{Shared, World, lock};

/// When the clocks begin: 2023-11-14T22:13:20Z.
const START: Duration = Duration::from_secs(1_700_000_000);

/// The device key of every simulation, so that tokens are the same each time; it protects nothing.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A hub, a network and a clock; clients are made with [`provider`](Self::provider). Clones speak of the same one.
#[derive(Clone)]
pub struct Sim {
    world: Shared,
    hub: Hub,
    over: Over,
}

impl Sim {
    /// A simulation with a hub as it is by default, but that ends a connection when its token expires, without grace.
    pub fn new(seed: u64) -> Self {
        Self::with_hub(seed, Config::new().with_sas_grace(Duration::ZERO))
    }

    /// A simulation with a hub of these settings.
    ///
    /// # Panics
    ///
    /// If the settings are out of range.
    pub fn with_hub(seed: u64, config: Config) -> Self {
        let wall = SystemTime::UNIX_EPOCH + START;
        let offline = OfflineHub::new(config, wall).expect("the hub's settings are in range");
        let hub = offline.hub();
        // Names that are drawn on this thread, of links and connections, are the same each time.
        fastrand::seed(seed);
        let world = World::new(offline, seed, wall);
        Self { world: Arc::new(Mutex::new(world)), hub, over: Over::Mqtt }
    }

    /// The same simulation, whose providers from now on make clients that speak this. Before, it is MQTT.
    #[must_use]
    pub fn over(mut self, over: Over) -> Self {
        self.over = over;
        self
    }

    /// Creates a device whose key is always the same, and gives its connection string.
    ///
    /// # Errors
    ///
    /// As [`Hub::create_device_with`].
    pub fn create_device(&self, id: &str) -> Result<String, HubError> {
        let auth = DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: KEY.into() };
        Ok(self.hub.create_device_with(id, auth)?.connection_string)
    }

    /// The service side of the hub.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// What a client is made with.
    pub fn provider(&self) -> SimProvider {
        SimProvider::new(self.world.clone(), self.over)
    }

    /// The time on the client's clocks. The hub's monotonic clock runs with them, and its date too unless it is set.
    pub fn now(&self) -> Now {
        lock(&self.world).now()
    }

    /// How much time has passed since the start.
    pub fn elapsed(&self) -> Duration {
        lock(&self.world).elapsed()
    }

    /// Sets the hub's date so many seconds ahead of the client's, or behind. No time passes.
    pub fn set_hub_clock(&self, ahead: i64) {
        let wall = self.now().wall;
        let by = Duration::from_secs(ahead.unsigned_abs());
        self.hub.set_clock(if ahead < 0 { wall - by } else { wall + by });
        let mut world = lock(&self.world);
        let at = (world.elapsed(), ahead);
        world.clock_settings.push(at);
    }

    /// When the hub's date was set since the start, and to how many seconds ahead of the client's.
    pub fn hub_clock_settings(&self) -> Vec<(Duration, i64)> {
        lock(&self.world).clock_settings.clone()
    }

    /// How bytes travel from now on, on every connection.
    pub fn set_path(&self, path: Path) {
        let mut world = lock(&self.world);
        world.links.iter_mut().for_each(|link| link.set_path(path.clone()));
        world.path = path;
    }

    /// From now on, these answers of the hub over AMQP are lost, on every connection, and nothing else that it says.
    pub fn withhold(&self, answers: &[Answer]) {
        let mut world = lock(&self.world);
        world.links.iter_mut().for_each(|link| link.withhold(answers));
        world.withheld = answers.to_vec();
    }

    /// Breaks the client's connection when this many more bytes have got through; `false` if there is none.
    pub fn cut_after(&self, way: Way, bytes: usize) -> bool {
        self.disturb(|link| link.cut_after(way, bytes))
    }

    /// Loses from now on everything on the client's connection that goes this way, and tells neither end; `false` if
    /// there is none.
    pub fn vanish(&self, way: Way) -> bool {
        self.disturb(|link| link.vanish(way))
    }

    fn disturb(&self, how: impl FnOnce(&mut Link)) -> bool {
        match lock(&self.world).links.iter_mut().rev().find(|link| link.is_used()) {
            Some(link) => {
                how(link);
                true
            }
            None => false,
        }
    }

    /// Whether a connection that the client uses loses bytes.
    pub fn is_half_open(&self) -> bool {
        lock(&self.world).links.iter().any(|link| link.is_used() && link.is_half_open())
    }

    /// The next attempt to connect, that no other end was planned for, ends like this.
    pub fn fail_attempt(&self, end: Ends) {
        lock(&self.world).attempts_end.push_back(end);
    }

    /// Attempts succeed from now on.
    pub fn forget_failing_attempts(&self) {
        lock(&self.world).attempts_end.clear();
    }

    /// Another program connects as this device, and so ends the client's connection. It stays until the client is back.
    ///
    /// # Panics
    ///
    /// If there is no such device, or it has no keys.
    pub fn rival_connects(&self, device: &str) {
        let token = self.hub.device(device).expect("the device exists").sas_token(Duration::from_secs(3600));
        let user_name = format!("{}/{device}/?api-version=2021-04-12", self.hub.host_name());
        let packet = rival::connect_packet(device, &user_name, &token);
        let mut world = lock(&self.world);
        let connection = rival::arrive(world.hub.accept(), &packet);
        world.rivals.push(connection);
    }

    /// Adds a line to the list of events.
    pub fn note(&self, text: impl Into<String>) {
        lock(&self.world).note(text);
    }

    /// The list of events so far: when, since the start, and what.
    pub fn events(&self) -> Vec<(Duration, String)> {
        lock(&self.world).log.clone()
    }
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}
