//! A scripted transport and a virtual platform: the engine's whole world, without a network and without real time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;

use crate::*;

/// The wall clock at the start of every test.
pub(super) const START: Duration = Duration::from_secs(1_700_000_000);

/// What the engine asked of the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Connect {
        token: Option<String>,
    },
    Renew(String),
    /// The certificate to show from now on; the text is its chain.
    Certificate(Option<String>),
    Trust(Trust),
    Disconnect,
    Unregister,
    Subscribe(Vec<Feature>),
    Telemetry(OpId, String),
    Settle(OpId, Delivery, Disposition),
    TwinGet(OpId),
    TwinReport(OpId, String),
    MethodResponse(OpId, Delivery, i32, String),
    Forget(OpId),
    Slice,
}

/// Both ends of the script: what was called, and what is to happen.
pub(super) struct Script {
    pub(super) now: Now,
    pub(super) calls: Vec<Call>,
    pub(super) events: VecDeque<TransportEvent>,
    /// The output name and the diagnostic id of each message.
    pub(super) marks: Vec<(Option<String>, Option<String>)>,
    /// Telemetry in flight at the most.
    pub(super) window: usize,
    pub(super) in_flight: usize,
    /// Room that the next slice makes without an event.
    pub(super) room_after_slice: usize,
    pub(super) stale_generation: Option<u32>,
    /// Whether twin requests find no room, and method responses.
    pub(super) twin_is_full: bool,
    pub(super) methods_are_full: bool,
    /// Whether tokens are replaced on the live connection, in transports that are made from now on.
    pub(super) renews_in_place: bool,
    /// The same for abandoned messages that come again at once.
    pub(super) redelivers_at_once: bool,
    /// Set when a `disconnect` shall get no answer.
    pub(super) mute: bool,
    pub(super) refuses_trust: bool,
    pub(super) parks: Vec<Option<Duration>>,
    start: Instant,
}

#[derive(Clone)]
pub(super) struct Fake {
    script: Arc<Mutex<Script>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Fake {
    pub(super) fn new() -> Self {
        let mono = Instant::now();
        let script = Script {
            now: Now { mono, wall: UNIX_EPOCH + START },
            calls: Vec::new(),
            events: VecDeque::new(),
            marks: Vec::new(),
            window: usize::MAX,
            in_flight: 0,
            room_after_slice: 0,
            stale_generation: None,
            twin_is_full: false,
            methods_are_full: false,
            renews_in_place: false,
            redelivers_at_once: false,
            mute: false,
            refuses_trust: false,
            parks: Vec::new(),
            start: mono,
        };
        Self { script: Arc::new(Mutex::new(script)), woken: Arc::new(Woken(AtomicBool::new(false))) }
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub(super) fn advance(&self, by: Duration) {
        let mut script = self.script();
        script.now = script.now + by;
    }

    pub(super) fn happens(&self, event: TransportEvent) {
        self.script().events.push_back(event);
    }

    pub(super) fn connects(&self) {
        self.happens(TransportEvent::Connected { session_present: false });
        self.happens(TransportEvent::Ready);
    }

    pub(super) fn drops(&self, kind: ConnectionErrorKind) {
        self.happens(TransportEvent::Down(ConnectionError::new("hub.example", 8883, kind)));
    }

    pub(super) fn confirms(&self, id: OpId) {
        self.answers(id, Ok(Reply::Ack));
    }

    pub(super) fn answers(&self, id: OpId, result: Result<Reply, OpError>) {
        self.happens(TransportEvent::Done { id, result });
    }

    pub(super) fn calls_method(&self, name: &str, key: u64) {
        let delivery = Delivery { generation: 1, key };
        self.happens(TransportEvent::Method { name: name.to_owned(), body: Bytes::from_static(b"{}"), delivery });
    }

    pub(super) fn delivers(&self, text: &str, key: u64) {
        self.delivers_to(None, text, key);
    }

    pub(super) fn delivers_to(&self, input: Option<&str>, text: &str, key: u64) {
        let message = Message::new(text.to_owned()).with_message_id(text).unwrap();
        let (input, delivery) = (input.map(str::to_owned), Delivery { generation: 1, key });
        self.happens(TransportEvent::Message { message, input, delivery });
    }

    /// A module's client whose connection is ready.
    pub(super) fn ready_module(&self) -> ModuleClient {
        let text = "HostName=hub.example;DeviceId=dev-1;ModuleId=mod-1;SharedAccessKey=c2VjcmV0";
        let mut client = ModuleClient::create_from_connection_string(text, self).unwrap();
        self.connects();
        client.do_work();
        assert_eq!(client.connection_state(), ConnectionState::Ready);
        while client.next_event().is_some() {}
        self.calls();
        client
    }

    /// The calls since the last look, without the slices.
    pub(super) fn calls(&self) -> Vec<Call> {
        let mut calls = std::mem::take(&mut self.script().calls);
        calls.retain(|call| *call != Call::Slice);
        calls
    }

    /// Ids and payloads of the telemetry submitted since the last look.
    pub(super) fn telemetry(&self) -> Vec<(OpId, String)> {
        let telemetry = |call| match call {
            Call::Telemetry(id, payload) => Some((id, payload)),
            _ => None,
        };
        self.calls().into_iter().filter_map(telemetry).collect()
    }

    pub(super) fn attempts(&self) -> usize {
        self.calls().iter().filter(|call| matches!(call, Call::Connect { .. })).count()
    }

    pub(super) fn client(&self) -> DeviceClient {
        self.client_with(|builder| builder)
    }

    pub(super) fn client_with(
        &self,
        options: impl FnOnce(ClientBuilder<Device>) -> ClientBuilder<Device>,
    ) -> DeviceClient {
        let builder = DeviceClient::builder("HostName=hub.example;DeviceId=dev-1;SharedAccessKey=c2VjcmV0")
            .retry_policy(RetryConfig::default().with_jitter(0.0));
        options(builder).build(self).unwrap()
    }

    /// Whether the client has something to do now.
    pub(super) fn is_due<K>(&self, client: &Client<K>) -> bool {
        client.next_deadline().is_some_and(|due| due <= self.script().now.mono)
    }

    /// A client whose connection is ready.
    pub(super) fn ready_client(&self) -> DeviceClient {
        let mut client = self.client();
        self.connects();
        client.do_work();
        assert_eq!(client.connection_state(), ConnectionState::Ready);
        while client.next_event().is_some() {}
        self.calls();
        client
    }
}

impl Provider for Fake {
    fn transport(&self, _: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        let capabilities = Capabilities {
            features: &[
                Feature::CloudToDevice,
                Feature::Twin,
                Feature::DesiredProperties,
                Feature::Methods,
                Feature::Inputs,
            ],
            dispositions: &[Disposition::Accept, Disposition::Abandon],
            renewal: if self.script().renews_in_place { Renewal::InPlace } else { Renewal::Reconnect },
            redelivery: match self.script().redelivers_at_once {
                true => Redelivery::AtOnce,
                false => Redelivery::AfterReconnect,
            },
            ..Capabilities::new("fake")
        };
        Ok(Box::new(FakeTransport { fake: self.clone(), capabilities }))
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        Ok(Box::new(self.clone()))
    }
}

/// Time moves only here, and only to where the engine says that it waits for.
impl Platform for Fake {
    fn now(&self) -> Now {
        self.script().now
    }

    fn waker(&self) -> Waker {
        Waker::from(self.woken.clone())
    }

    fn clear_wakes(&mut self) {
        self.woken.0.store(false, Ordering::SeqCst);
    }

    fn readiness(&self, _: &mut Vec<Readiness>) {}

    fn park(&mut self, _: &[Readiness], until: Option<Instant>) {
        let woken = self.woken.0.load(Ordering::SeqCst);
        let mut script = self.script();
        let start = script.start;
        script.parks.push(until.map(|until| until.duration_since(start)));
        if woken {
            return;
        }
        let until = until.expect("the engine parks for ever: nothing would wake it");
        let by = until.saturating_duration_since(script.now.mono);
        script.now = script.now + by;
    }
}

struct FakeTransport {
    fake: Fake,
    capabilities: Capabilities,
}

impl Transport for FakeTransport {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn peer(&self) -> (Arc<str>, u16) {
        ("hub.example".into(), 8883)
    }

    fn check(&self, op: &Op<'_>) -> Result<(), Unsupported> {
        match op {
            Op::Telemetry(message) if message.size() > limits::MAX_TELEMETRY_SIZE => {
                Err(Unsupported::MessageTooLarge { size: message.size(), limit: limits::MAX_TELEMETRY_SIZE })
            }
            _ => Ok(()),
        }
    }

    fn register(&mut self, _: Registration) -> Result<Slot, CreateError> {
        Ok(Slot(0))
    }

    fn unregister(&mut self, _: Slot) {
        self.fake.script().calls.push(Call::Unregister);
    }

    fn subscribe(&mut self, _: Slot, wanted: &[Feature]) {
        self.fake.script().calls.push(Call::Subscribe(wanted.to_vec()));
    }

    fn connect(&mut self, _: Slot, token: Option<&str>, _: Now) {
        self.fake.script().calls.push(Call::Connect { token: token.map(str::to_owned) });
    }

    fn renew(&mut self, _: Slot, token: &str, _: Now) {
        self.fake.script().calls.push(Call::Renew(token.to_owned()));
    }

    fn disconnect(&mut self, _: Slot, _: Now) {
        let mut script = self.fake.script();
        script.calls.push(Call::Disconnect);
        if !script.mute {
            script.events.push_back(TransportEvent::Disconnected);
        }
    }

    fn submit(&mut self, _: Slot, id: OpId, op: Op<'_>, _: Now) -> Submit {
        let mut script = self.fake.script();
        match op {
            Op::Telemetry(_) if script.in_flight >= script.window => return Submit::Full,
            Op::Telemetry(message) => {
                script.in_flight += 1;
                script.calls.push(Call::Telemetry(id, text(message.payload())));
                let mark = |property| message.system(property).map(str::to_owned);
                script.marks.push((mark(SystemProperty::OutputName), mark(SystemProperty::DiagnosticId)));
            }
            Op::Settle { delivery, .. } if script.stale_generation == Some(delivery.generation) => {
                return Submit::Refused(OpError::Stale);
            }
            Op::Settle { delivery, disposition } => script.calls.push(Call::Settle(id, delivery, disposition)),
            Op::TwinGet | Op::TwinReport(_) if script.twin_is_full => return Submit::Full,
            Op::MethodResponse { .. } if script.methods_are_full => return Submit::Full,
            Op::TwinGet => script.calls.push(Call::TwinGet(id)),
            Op::TwinReport(patch) => script.calls.push(Call::TwinReport(id, text(patch))),
            Op::MethodResponse { delivery, .. } if script.stale_generation == Some(delivery.generation) => {
                return Submit::Refused(OpError::Stale);
            }
            Op::MethodResponse { delivery, status, body } => {
                script.calls.push(Call::MethodResponse(id, delivery, status, text(body)));
            }
        }
        Submit::Taken
    }

    fn forget(&mut self, _: Slot, id: OpId) {
        self.fake.script().calls.push(Call::Forget(id));
    }

    fn set_option(&mut self, option: &TransportOption) -> Result<(), OptionError> {
        match option {
            TransportOption::KeepAlive(_) => Ok(()),
            other => Err(OptionError::NotOfTransport { option: other.name(), transport: "fake" }),
        }
    }

    fn set_trust(&mut self, _: Slot, trust: &Trust) -> Result<(), CreateError> {
        let mut script = self.fake.script();
        if script.refuses_trust {
            return Err(CreateError::Certificate { what: "trusted_certs", detail: "it is odd".to_owned() });
        }
        script.calls.push(Call::Trust(trust.clone()));
        Ok(())
    }

    fn set_certificate(&mut self, _: Slot, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        let chain = certificate.map(|certificate| certificate.chain_pem().to_owned());
        if chain.as_deref() == Some("broken") {
            return Err(CreateError::Certificate { what: "certificate", detail: "it is broken".into() });
        }
        self.fake.script().calls.push(Call::Certificate(chain));
        Ok(())
    }

    fn do_work(&mut self, _: Now) {
        let mut script = self.fake.script();
        script.calls.push(Call::Slice);
        script.in_flight -= std::mem::take(&mut script.room_after_slice);
    }

    fn poll_event(&mut self, _: Slot) -> Option<TransportEvent> {
        let mut script = self.fake.script();
        let event = script.events.pop_front();
        match &event {
            Some(TransportEvent::Done { .. }) => script.in_flight = script.in_flight.saturating_sub(1),
            Some(TransportEvent::Down(_)) => script.in_flight = 0,
            _ => {}
        }
        event
    }

    fn next_deadline(&self) -> Option<Instant> {
        let script = self.fake.script();
        (!script.events.is_empty()).then_some(script.now.mono)
    }

    fn readiness(&self, _: &mut Vec<Readiness>) {}
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
