//! Options that are changed while the transport lives.

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use iothub_core::{
    ConnectStage, ConnectionError, ConnectionErrorKind, Feature, Now, OptionError, Readiness, Transport,
    TransportOption,
};
use iothub_net::memory::{self, ScriptedConnect};
use iothub_net::{Connect, Stream};
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

/// Notes the time-out that each attempt was given.
struct Noting {
    inner: ScriptedConnect,
    timeout: Option<Duration>,
    attempts: Arc<Mutex<Vec<Option<Duration>>>>,
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
        self.timeout = Some(timeout);
    }

    fn start(&mut self, now: Now) {
        self.attempts.lock().unwrap().push(self.timeout);
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
    let (inner, _script) = memory::network("contoso.azure-devices.net", 8883);
    let attempts = Arc::default();
    let connect = Noting { inner, timeout: None, attempts: Arc::clone(&attempts) };
    let mut transport = MqttTransport::new("mqtt", Box::new(connect), SessionOptions::default()).unwrap();
    // Also before a device is registered.
    transport.set_option(&TransportOption::ConnectTimeout(secs(5))).unwrap();
    let slot = transport.register(registration()).unwrap();
    let now = Now::system();
    transport.connect(slot, None, now);
    transport.set_option(&TransportOption::ConnectTimeout(secs(6))).unwrap();
    transport.connect(slot, None, now);
    assert_eq!(*attempts.lock().unwrap(), [Some(secs(5)), Some(secs(6))]);
}
