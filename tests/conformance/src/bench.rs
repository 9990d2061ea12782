//! The set-up of a behaviour: a hub of its own, one device, and programs that run as that device.

use std::ops::Deref;
use std::time::{Duration, SystemTime};

use iothub_core::{
    Capabilities, ClientBuilder, CreateError, Device, DeviceClient, Disposition, Endpoint, Face, Feature, Module,
    ModuleClient, Platform, Provider, Redelivery, Renewal, RetryConfig, SharedTransport, Transport, Trust,
};
use iothub_emulator::{Config, Emulator, Fault, Hub, Who};

use crate::clock::Clock;
use crate::program::Program;
use crate::subject::{Missing, Settings, Subject};

/// The one device of almost every behaviour.
pub(crate) const DEVICE: &str = "device-1";

/// A hub with one device.
pub(crate) struct Bench<'a> {
    subject: &'a dyn Subject,
    emulator: Emulator,
    /// The connection string of the device at this hub, port included.
    pub(crate) connection_string: String,
}

impl<'a> Bench<'a> {
    /// A hub as it is by default, with a device that has keys.
    pub(crate) fn new(subject: &'a dyn Subject) -> Self {
        Self::with(subject, Config::new())
    }

    /// A hub whose clock moves only when it is told to.
    pub(crate) fn with_still_clock(subject: &'a dyn Subject) -> Self {
        Self::with(subject, Config::new().with_manual_clock(SystemTime::now()))
    }

    /// A hub with these settings, and a device that has keys.
    pub(crate) fn with(subject: &'a dyn Subject, config: Config) -> Self {
        let mut bench = Self::without_device(subject, config);
        let device = bench.create_device(DEVICE).expect("a new hub takes a device");
        bench.connection_string = bench.reachable(device.connection_string());
        bench
    }

    /// A hub with these settings, for a behaviour that creates its device itself.
    pub(crate) fn without_device(subject: &'a dyn Subject, config: Config) -> Self {
        let emulator = Emulator::start_with(config).expect("a hub starts on a free port");
        Self { subject, emulator, connection_string: String::new() }
    }

    /// The hub's port is not the standard one, so the connection string names it, as for a gateway.
    pub(crate) fn reachable(&self, connection_string: &str) -> String {
        match self.subject.address(self) {
            Some(address) => format!("{connection_string};GatewayHostName={}:{}", self.host_name(), address.port()),
            None => connection_string.to_owned(),
        }
    }

    /// A handle of the hub, for a program.
    pub(crate) fn hub(&self) -> Hub {
        self.emulator.hub()
    }

    pub(crate) fn port(&self) -> u16 {
        self.subject.address(self).expect("a behaviour about addresses is for transports that have them").port()
    }

    /// The transport under test, for this hub.
    pub(crate) fn provider(&self, settings: &Settings) -> Box<dyn Provider> {
        self.subject.provider(self, settings)
    }

    /// A program that runs as the device; nothing is on the wire yet.
    pub(crate) fn start(&self) -> Program {
        self.start_with(Settings::default(), |builder| builder)
    }

    /// As [`start`](Self::start), with settings of the transport and options of the client.
    pub(crate) fn start_with(
        &self,
        settings: Settings,
        options: impl FnOnce(ClientBuilder<Device>) -> ClientBuilder<Device>,
    ) -> Program {
        let builder = options(self.builder(&self.connection_string));
        let client = builder.build(&*self.provider(&settings)).expect("the client's options are in order");
        Program::new(client, self.hub(), DEVICE.into())
    }

    /// A program whose clock can be moved, with options of the client.
    pub(crate) fn start_with_clock(
        &self,
        options: impl FnOnce(ClientBuilder<Device>) -> ClientBuilder<Device>,
    ) -> (Program, Clock) {
        self.start_with_both(Settings::default(), options)
    }

    /// A program whose clock can be moved, with settings of the transport.
    pub(crate) fn start_with_settings_and_clock(&self, settings: Settings) -> (Program, Clock) {
        self.start_with_both(settings, |builder| builder)
    }

    fn start_with_both(
        &self,
        settings: Settings,
        options: impl FnOnce(ClientBuilder<Device>) -> ClientBuilder<Device>,
    ) -> (Program, Clock) {
        let clock = Clock::default();
        let platform = self.provider(&settings).platform().expect("a platform");
        let program = self.start_with(settings, |builder| options(builder).platform(clock.of(platform)));
        (program, clock)
    }

    /// A program that runs as a module of the device, which the hub has already; nothing is on the wire yet.
    pub(crate) fn start_module(&self, module: &'static str) -> Program<Module> {
        let identity = self.module(DEVICE, module).expect("the module is registered");
        let builder = ModuleClient::builder(&self.reachable(identity.connection_string()));
        self.run(self.options(builder), (DEVICE, module).into())
    }

    /// A program with these options of the client.
    pub(crate) fn run<K: Face>(&self, builder: ClientBuilder<K>, who: Who<'static>) -> Program<K> {
        let client = builder.build(&*self.provider(&Settings::default()));
        Program::new(client.expect("the client's options are in order"), self.hub(), who)
    }

    /// A client's options for this connection string.
    pub(crate) fn builder(&self, connection_string: &str) -> ClientBuilder<Device> {
        self.options(DeviceClient::builder(connection_string))
    }

    /// The hub's certificate is trusted, and retries are as quick as they may be, and exact.
    pub(crate) fn options<K: Face>(&self, builder: ClientBuilder<K>) -> ClientBuilder<K> {
        let retry = RetryConfig::default()
            .with_initial_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_millis(400))
            .with_jitter(0.0);
        builder.trusted_certs(self.ca_pem()).retry_policy(retry)
    }

    /// Whether the transport replaces tokens together with the connection: if not, a behaviour around that does not apply.
    pub(crate) fn reconnects_to_renew(&self) -> bool {
        let reconnects = !self.renews_in_place();
        if !reconnects {
            self.subject.lacks(Missing::RenewalByReconnect);
        }
        reconnects
    }

    /// Whether a token is replaced on the connection that there is.
    pub(crate) fn renews_in_place(&self) -> bool {
        self.capabilities().renewal == Renewal::InPlace
    }

    /// Whether messages can be rejected: if not, a behaviour around that does not apply.
    pub(crate) fn can_reject(&self) -> bool {
        let can = self.can(Disposition::Reject);
        if !can {
            self.subject.lacks(Missing::Disposition(Disposition::Reject));
        }
        can
    }

    /// Whether the hub sends an abandoned message again at once: if not, a behaviour around that does not apply.
    pub(crate) fn redelivers_at_once(&self) -> bool {
        let at_once = self.capabilities().redelivery == Redelivery::AtOnce;
        if !at_once {
            self.subject.lacks(Missing::RedeliveryAtOnce);
        }
        at_once
    }

    /// One transport for several clients; `None` if the transport carries one only: then the behaviour does not apply.
    pub(crate) fn shared(&self) -> Option<SharedTransport> {
        if self.capabilities().max_devices < 2 {
            self.subject.lacks(Missing::Sharing);
            return None;
        }
        let mut endpoint = self.endpoint();
        endpoint.port = self.subject.address(self).map(|address| address.port());
        let provider = Boxed(self.subject.provider(self, &Settings::default()));
        Some(SharedTransport::create(endpoint, provider).expect("it carries several"))
    }

    /// Whether the transport has this answer to a message.
    pub(crate) fn can(&self, disposition: Disposition) -> bool {
        self.capabilities().dispositions.contains(&disposition)
    }

    /// Whether the transport has this feature: without it, the behaviour does not apply.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        let has = self.capabilities().features.contains(&feature);
        if !has {
            self.subject.lacks(Missing::Feature(feature));
        }
        has
    }

    /// What the transport says about itself.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let transport = self.provider(&Settings::default()).transport(&self.endpoint()).expect("a transport");
        transport.capabilities().clone()
    }

    fn endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::new(self.host_name());
        endpoint.trust = Trust::Pem(self.ca_pem());
        endpoint
    }

    /// Injects the fault. `false` if it cannot happen on this transport: then the behaviour does not apply.
    pub(crate) fn can_inject(&self, fault: Fault) -> bool {
        let applies = self.knows(&fault);
        if applies {
            self.inject(fault);
        }
        applies
    }

    /// Injects the first of these faults that can happen on the transport: the same trouble, as each protocol has it. `None` if
    /// none can: then the behaviour does not apply.
    pub(crate) fn can_inject_one_of<const N: usize>(&self, faults: [Fault; N]) -> Option<Fault> {
        let known = faults.iter().find(|fault| self.subject.knows(fault));
        match known {
            Some(fault) => {
                self.inject(fault.clone());
            }
            None => self.subject.lacks(Missing::Fault(faults[0].clone())),
        }
        known.cloned()
    }

    /// The same for one connection among several.
    pub(crate) fn can_inject_for(&self, who: (&str, &str), fault: Fault) -> bool {
        let applies = self.knows(&fault);
        if applies {
            self.inject_for(who, fault);
        }
        applies
    }

    /// Whether this can go wrong on the transport: if not, the behaviour does not apply.
    pub(crate) fn knows(&self, fault: &Fault) -> bool {
        let knows = self.subject.knows(fault);
        if !knows {
            self.subject.lacks(Missing::Fault(fault.clone()));
        }
        knows
    }
}

/// What makes the shared transport.
struct Boxed(Box<dyn Provider + Send + Sync>);

impl Provider for Boxed {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        self.0.transport(endpoint)
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        self.0.platform()
    }
}

impl Deref for Bench<'_> {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.emulator
    }
}
