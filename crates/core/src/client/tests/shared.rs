//! Several clients on one transport.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::fake::Fake;
use super::*;

/// A transport for many devices that confirms what it is given, and notes who asked for what.
#[derive(Clone)]
struct Wide {
    fake: Fake,
    max_devices: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    slots: u32,
    events: VecDeque<(Slot, TransportEvent)>,
    sent: Vec<(Slot, String)>,
    gone: Vec<Slot>,
}

impl Wide {
    fn new(max_devices: usize) -> Self {
        Self { fake: Fake::new(), max_devices, state: Arc::default() }
    }
}

impl Provider for Wide {
    fn transport(&self, _: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        let capabilities = Capabilities { max_devices: self.max_devices, ..Capabilities::new("wide") };
        Ok(Box::new(WideTransport { state: self.state.clone(), capabilities }))
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        self.fake.platform()
    }
}

struct WideTransport {
    state: Arc<Mutex<State>>,
    capabilities: Capabilities,
}

impl Transport for WideTransport {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn peer(&self) -> (Arc<str>, u16) {
        ("hub.example".into(), 5671)
    }

    fn check(&self, _: &Op<'_>) -> Result<(), Unsupported> {
        Ok(())
    }

    fn register(&mut self, _: Registration) -> Result<Slot, CreateError> {
        let mut state = self.state.lock().unwrap();
        state.slots += 1;
        Ok(Slot(state.slots))
    }

    fn unregister(&mut self, slot: Slot) {
        self.state.lock().unwrap().gone.push(slot);
    }

    fn subscribe(&mut self, _: Slot, _: &[Feature]) {}

    fn connect(&mut self, slot: Slot, _: Option<&str>, _: Now) {
        let events = [TransportEvent::Connected { session_present: false }, TransportEvent::Ready];
        self.state.lock().unwrap().events.extend(events.map(|event| (slot, event)));
    }

    fn disconnect(&mut self, slot: Slot, _: Now) {
        self.state.lock().unwrap().events.push_back((slot, TransportEvent::Disconnected));
    }

    fn submit(&mut self, slot: Slot, id: OpId, op: Op<'_>, _: Now) -> Submit {
        let Op::Telemetry(message) = op else { panic!("{op:?}") };
        let mut state = self.state.lock().unwrap();
        state.sent.push((slot, String::from_utf8_lossy(message.payload()).into_owned()));
        state.events.push_back((slot, TransportEvent::Done { id, result: Ok(Reply::Ack) }));
        Submit::Taken
    }

    fn forget(&mut self, _: Slot, _: OpId) {}

    fn do_work(&mut self, _: Now) {}

    fn poll_event(&mut self, slot: Slot) -> Option<TransportEvent> {
        let events = &mut self.state.lock().unwrap().events;
        let at = events.iter().position(|(to, _)| *to == slot)?;
        events.remove(at).map(|(_, event)| event)
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn readiness(&self, _: &mut Vec<Readiness>) {}
}

fn device(id: &str, shared: &SharedTransport) -> Result<DeviceClient, CreateError> {
    let text = format!("HostName=hub.example;DeviceId={id};SharedAccessKey=YQ==");
    DeviceClient::create_from_connection_string(&text, shared)
}

#[test]
fn each_client_of_a_shared_transport_gets_its_own_outcomes() {
    let wide = Wide::new(2);
    let shared = SharedTransport::create(Endpoint::new("hub.example"), wide.clone()).unwrap();
    let (mut a, mut b) = (device("a", &shared).unwrap(), device("b", &shared).unwrap());
    a.send_event("of a").unwrap();
    b.send_event("of b").unwrap();
    for _ in 0..3 {
        a.do_work();
        b.do_work();
    }
    assert_eq!((a.stats().delivered, b.stats().delivered), (1, 1));
    let sent = wide.state.lock().unwrap().sent.clone();
    assert_eq!(sent, [(Slot(1), "of a".to_owned()), (Slot(2), "of b".to_owned())]);
}

#[test]
fn a_client_leaves_a_shared_transport_once_by_closing_or_by_being_dropped() {
    let wide = Wide::new(2);
    let shared = SharedTransport::create(Endpoint::new("hub.example"), wide.clone()).unwrap();
    let (mut a, b) = (device("a", &shared).unwrap(), device("b", &shared).unwrap());
    a.close(SECOND);
    assert_eq!(wide.state.lock().unwrap().gone, [Slot(1)]);
    drop((a, b));
    assert_eq!(wide.state.lock().unwrap().gone, [Slot(1), Slot(2)]);
}

#[test]
fn a_transport_for_one_device_cannot_be_shared() {
    let error = SharedTransport::create(Endpoint::new("hub.example"), Wide::new(1)).unwrap_err();
    assert!(matches!(error, CreateError::NotShareable { transport: "wide" }));
}

#[test]
fn a_client_that_wants_what_the_shared_transport_is_not_is_refused() {
    let shared = SharedTransport::create(Endpoint::new("hub.example"), Wide::new(9)).unwrap();
    let refused = |builder: ClientBuilder<Device>| match builder.build(&shared) {
        Err(CreateError::Register { transport: "wide", detail }) => detail,
        other => panic!("{other:?}"),
    };
    let builder = |text: &str| DeviceClient::builder(text);
    let here = "HostName=hub.example;DeviceId=d;SharedAccessKey=YQ==";
    let detail = refused(builder("HostName=other.example;DeviceId=d;SharedAccessKey=YQ=="));
    assert_eq!(detail, "the shared transport connects to hub.example, and this client wants other.example");
    assert!(refused(builder(here).gateway("hub.example:1234")).contains("hub.example:1234"));
    assert!(refused(builder(here).trusted_certs("pem")).contains("trust"));
    let x509 = builder("HostName=hub.example;DeviceId=d;x509=true");
    assert!(refused(x509.certificate(ClientCertificate::from_pem("chain", "key"))).contains("certificate"));
}
