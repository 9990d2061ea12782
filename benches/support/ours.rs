//! Our client, over TLS, with a WebSocket and without.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use iothub_client::{ConnectionState, DeviceClient, Mqtt, MqttWs, Provider};

use super::rival::wall_nanos;
use super::sink::{PUSHES, Sink};

const FOREVER: Duration = Duration::from_secs(3600);

pub(crate) fn connect(sink: &Sink, window: usize) -> DeviceClient {
    ready(create(sink, window))
}

pub(crate) fn connect_over_web_socket(sink: &Sink, window: usize) -> DeviceClient {
    ready(create_over(sink, &MqttWs::new().max_in_flight(window)))
}

fn ready(mut client: DeviceClient) -> DeviceClient {
    while client.connection_state() != ConnectionState::Ready {
        client.do_work();
        client.wait(Duration::from_millis(100));
    }
    client
}

pub(crate) fn create(sink: &Sink, window: usize) -> DeviceClient {
    create_over(sink, &Mqtt::new().max_in_flight(window))
}

fn create_over(sink: &Sink, provider: &dyn Provider) -> DeviceClient {
    let port = sink.address.port();
    let text = format!("HostName=localhost;GatewayHostName=localhost:{port};DeviceId=bench;SharedAccessKey=YmVuY2g=");
    DeviceClient::builder(&text).trusted_certs(sink.ca_pem.clone()).build(provider).expect("a client")
}

/// Sends so many messages, with up to two windows in the client's hands, until all are confirmed.
pub(crate) fn send(client: &mut DeviceClient, payload: &Bytes, count: u64, window: u64) {
    let goal = client.stats().accepted + count;
    loop {
        while client.stats().accepted < goal && client.stats().accepted - client.stats().delivered < 2 * window {
            client.send_event(payload.clone()).expect("room in the queue");
        }
        client.do_work();
        if client.stats().delivered == goal {
            return;
        }
        client.wait(FOREVER);
    }
}

/// How late messages from the sink are seen, in nanoseconds.
pub(crate) fn wake_ups(sink: &Sink) -> Vec<f64> {
    let late = Arc::new(Mutex::new(Vec::new()));
    let mut client = create(sink, 1);
    let seen = late.clone();
    let callback = move |message: iothub_client::IncomingMessage, _: &mut iothub_client::Outbox<_>| {
        let sent = u64::from_be_bytes(message.payload().as_ref().try_into().expect("a time"));
        seen.lock().expect("no panic").push(wall_nanos().saturating_sub(sent) as f64);
        message.complete();
    };
    client.set_message_callback(callback).expect("MQTT has messages");
    while late.lock().expect("no panic").len() < PUSHES {
        client.do_work();
        client.wait(FOREVER);
    }
    let late = late.lock().expect("no panic");
    late.clone()
}
