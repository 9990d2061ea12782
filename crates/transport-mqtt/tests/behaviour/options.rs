//! Options that are changed while the transport lives.

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use iothub_core::{
    ClientCertificate, ConnectStage, ConnectionError, ConnectionErrorKind, CreateError, Feature, Now, OptionError,
    Readiness, Transport, TransportOption, Trust,
};
use iothub_net::memory::{self, ScriptedConnect};
use iothub_net::{Connect, Stream, TcpKeepAlive};
use iothub_transport_mqtt::{MqttTransport, SessionOptions};

use crate::bench::{Bench, Seen, TOKEN, millis, registration, secs};
use crate::wire::{PINGREQ, connack};

#[test]
fn a_value_out_of_range_is_refused_under_its_c_name_and_changes_nothing() {
    let mut bench = Bench::new();
    for (option, name, allowed) in [
        (TransportOption::KeepAlive(Duration::ZERO), "keepalive", "1177"),
        (TransportOption::KeepAlive(millis(1500)), "keepalive", "whole"),
        (TransportOption::KeepAlive(secs(1178)), "keepalive", "1177"),
        (TransportOption::ConnectTimeout(millis(99)), "connect_timeout", "100 ms"),
        (TransportOption::ConnectTimeout(secs(601)), "connect_timeout", "10 minutes"),
        (TransportOption::TcpKeepAliveTime(Duration::ZERO), "tcp_keepalive_time", "32767"),
        (TransportOption::TcpKeepAliveTime(secs(32_768)), "tcp_keepalive_time", "32767"),
        (TransportOption::TcpKeepAliveInterval(millis(1500)), "tcp_keepalive_interval", "whole"),
        (TransportOption::TcpKeepAliveInterval(secs(32_768)), "tcp_keepalive_interval", "32767"),
    ] {
        match bench.transport.set_option(&option) {
            Err(OptionError::Range { option, allowed: range, .. }) if option == name => {
                assert!(range.contains(allowed), "{range}");
            }
            other => panic!("{other:?}"),
        }
    }
    bench.connected();
    assert_eq!(bench.due_in(), Some(secs(235)));
}

#[test]
fn the_ends_of_the_ranges_are_taken() {
    let mut bench = Bench::new();
    for option in [
        TransportOption::KeepAlive(secs(1)),
        TransportOption::KeepAlive(secs(1177)),
        TransportOption::ConnectTimeout(millis(100)),
        TransportOption::ConnectTimeout(secs(600)),
        TransportOption::TcpKeepAlive(true),
        TransportOption::TcpKeepAliveTime(secs(1)),
        TransportOption::TcpKeepAliveInterval(secs(32_767)),
    ] {
        assert_eq!(bench.transport.set_option(&option), Ok(()));
    }
}

#[test]
fn a_keep_alive_interval_takes_effect_with_the_next_connection() {
    let mut bench = Bench::new();
    let mut peer = bench.open();
    // Between CONNECT and CONNACK: the hub was told the old one.
    bench.transport.set_option(&TransportOption::KeepAlive(secs(20))).unwrap();
    peer.send(&connack(false));
    assert_eq!(bench.work(), [Seen::Connected(false), Seen::Ready]);
    assert_eq!(bench.due_in(), Some(secs(235)));

    let mut peer = bench.script.accept();
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    bench.work();
    let connect = peer.receive();
    let at = connect.windows(4).position(|window| window == b"MQTT").unwrap() + 6;
    assert_eq!(connect[at..at + 2], [0, 20]);
    peer.send(&connack(false));
    assert_eq!(bench.work(), [Seen::Connected(false), Seen::Ready]);
    assert_eq!(bench.due_in(), Some(secs(19)));
    bench.advance(secs(19));
    bench.work();
    assert_eq!(peer.receive(), PINGREQ);
}

#[test]
fn a_connect_timeout_takes_effect_with_the_next_connection_for_connack_and_suback() {
    let mut bench = Bench::new();
    bench.want(&[Feature::Twin]);
    let mut peer = bench.open();
    bench.transport.set_option(&TransportOption::ConnectTimeout(secs(7))).unwrap();
    assert_eq!(bench.due_in(), Some(secs(30)));
    peer.send(&connack(false));
    assert_eq!(bench.work(), [Seen::Connected(false)]);
    assert_eq!(bench.due_in(), Some(secs(30)));

    let mut peer = bench.open();
    assert_eq!(bench.due_in(), Some(secs(7)));
    peer.send(&connack(false));
    assert_eq!(bench.work(), [Seen::Connected(false)]);
    assert_eq!(bench.due_in(), Some(secs(7)));
    bench.advance(secs(7));
    let late = ConnectionErrorKind::TimedOut { stage: ConnectStage::Subscribe, after: secs(7) };
    assert_eq!(bench.work(), [Seen::Down(late)]);
}

/// What an attempt to connect was given.
#[derive(Clone, Debug, Default, PartialEq)]
struct Given {
    timeout: Option<Duration>,
    keep_alive: Option<TcpKeepAlive>,
    certificate: Option<String>,
    trust: Option<Trust>,
}

/// Notes what each attempt was given.
struct Noting {
    inner: ScriptedConnect,
    given: Given,
    attempts: Arc<Mutex<Vec<Given>>>,
}

impl Noting {
    fn transport() -> (MqttTransport, Arc<Mutex<Vec<Given>>>) {
        let (inner, _script) = memory::network("contoso.azure-devices.net", 8883);
        let attempts = Arc::default();
        let connect = Self { inner, given: Given::default(), attempts: Arc::clone(&attempts) };
        (MqttTransport::new("mqtt", Box::new(connect), SessionOptions::default()).unwrap(), attempts)
    }
}

impl Connect for Noting {
    fn host(&self) -> &Arc<str> {
        self.inner.host()
    }

    fn port(&self) -> u16 {
        self.inner.port()
    }

    fn set_waker(&mut self, waker: &Waker) {
        self.inner.set_waker(waker);
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.given.timeout = Some(timeout);
    }

    fn set_tcp_keep_alive(&mut self, keep_alive: TcpKeepAlive) {
        self.given.keep_alive = Some(keep_alive);
    }

    fn set_certificate(&mut self, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        let chain = certificate.map(|certificate| certificate.chain_pem().to_owned());
        if chain.as_deref() == Some("bad") {
            return Err(CreateError::Certificate { what: "certificate", detail: "bad".to_owned() });
        }
        self.given.certificate = chain;
        Ok(())
    }

    fn set_trust(&mut self, trust: &Trust) -> Result<(), CreateError> {
        if *trust == Trust::Nobody {
            return Err(CreateError::Certificate { what: "trusted_certs", detail: "bad".to_owned() });
        }
        self.given.trust = Some(trust.clone());
        Ok(())
    }

    fn start(&mut self, now: Now) {
        self.attempts.lock().unwrap().push(self.given.clone());
        self.inner.start(now);
    }

    fn poll(&mut self, now: Now) -> Poll<Result<Stream, ConnectionError>> {
        self.inner.poll(now)
    }

    fn cancel(&mut self) {
        self.inner.cancel();
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inner.next_deadline()
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        self.inner.readiness(out);
    }
}

#[test]
fn a_connect_timeout_holds_for_the_connect_machine_too() {
    let (mut transport, attempts) = Noting::transport();
    // Also before a device is registered.
    transport.set_option(&TransportOption::ConnectTimeout(secs(5))).unwrap();
    let slot = transport.register(registration()).unwrap();
    let now = Now::system();
    transport.connect(slot, None, now);
    transport.set_option(&TransportOption::ConnectTimeout(secs(6))).unwrap();
    transport.connect(slot, None, now);
    let timeouts: Vec<_> = attempts.lock().unwrap().iter().map(|given| given.timeout).collect();
    assert_eq!(timeouts, [Some(secs(5)), Some(secs(6))]);
}

#[test]
fn tcp_keep_alive_is_left_to_the_system_until_it_is_set_for_the_next_connection() {
    let (mut transport, attempts) = Noting::transport();
    let slot = transport.register(registration()).unwrap();
    let now = Now::system();
    transport.connect(slot, None, now);
    transport.set_option(&TransportOption::TcpKeepAlive(true)).unwrap();
    transport.set_option(&TransportOption::TcpKeepAliveTime(secs(60))).unwrap();
    transport.connect(slot, None, now);
    transport.set_option(&TransportOption::TcpKeepAliveInterval(secs(5))).unwrap();
    transport.connect(slot, None, now);
    let keep_alive = |enabled, time, interval| Some(TcpKeepAlive { enabled, time, interval });
    let given: Vec<_> = attempts.lock().unwrap().iter().map(|given| given.keep_alive).collect();
    let expected = [
        keep_alive(None, None, None),
        keep_alive(Some(true), Some(secs(60)), None),
        keep_alive(Some(true), Some(secs(60)), Some(secs(5))),
    ];
    assert_eq!(given, expected);
}

#[test]
fn a_certificate_is_handed_to_what_connects_and_its_refusal_back() {
    let (mut transport, attempts) = Noting::transport();
    let slot = transport.register(registration()).unwrap();
    let now = Now::system();
    transport.set_certificate(slot, Some(&ClientCertificate::from_pem("chain", "key"))).unwrap();
    transport.connect(slot, None, now);
    let bad = ClientCertificate::from_pem("bad", "key");
    assert!(matches!(transport.set_certificate(slot, Some(&bad)), Err(CreateError::Certificate { .. })));
    transport.connect(slot, None, now);
    transport.set_certificate(slot, None).unwrap();
    transport.connect(slot, None, now);
    let shown: Vec<_> = attempts.lock().unwrap().iter().map(|given| given.certificate.clone()).collect();
    assert_eq!(shown, [Some("chain".to_owned()), Some("chain".to_owned()), None]);
    transport.unregister(slot);
    assert!(matches!(transport.set_certificate(slot, None), Err(CreateError::Register { .. })));
}

#[test]
fn whom_to_trust_is_handed_to_what_connects_and_its_refusal_back() {
    let (mut transport, attempts) = Noting::transport();
    let slot = transport.register(registration()).unwrap();
    let now = Now::system();
    transport.connect(slot, None, now);
    let roots = Trust::Pem("roots".to_owned());
    transport.set_trust(slot, &roots).unwrap();
    assert!(matches!(transport.set_trust(slot, &Trust::Nobody), Err(CreateError::Certificate { .. })));
    transport.connect(slot, None, now);
    let trusted: Vec<_> = attempts.lock().unwrap().iter().map(|given| given.trust.clone()).collect();
    assert_eq!(trusted, [None, Some(roots.clone())]);
    transport.unregister(slot);
    assert!(matches!(transport.set_trust(slot, &roots), Err(CreateError::Register { .. })));
}
