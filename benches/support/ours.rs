//! Our client, over TLS.

use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "amqp")]
use iothub_client::Amqp;
use iothub_client::{ConnectionState, DeviceClient, Provider};
#[cfg(feature = "mqtt-ws")]
use iothub_client::{Mqtt, MqttWs};

use super::sink::Sink;

pub(crate) const FOREVER: Duration = Duration::from_secs(3600);

#[cfg(feature = "mqtt-ws")]
pub(crate) fn connect(sink: &Sink, window: usize) -> DeviceClient {
    ready(create(sink, window))
}

#[cfg(feature = "mqtt-ws")]
pub(crate) fn connect_over_web_socket(sink: &Sink, window: usize) -> DeviceClient {
    ready(create_over(sink, "bench", &MqttWs::new().max_in_flight(window)))
}

#[cfg(feature = "mqtt-ws")]
pub(crate) fn create(sink: &Sink, window: usize) -> DeviceClient {
    create_over(sink, "bench", &Mqtt::new().max_in_flight(window))
}

#[cfg(feature = "amqp")]
pub(crate) fn connect_over_amqp(sink: &Sink, window: usize, batching: bool) -> DeviceClient {
    ready(create_over(sink, "bench", &Amqp::new().max_in_flight(window).batching(batching)))
}

pub(crate) fn ready(mut client: DeviceClient) -> DeviceClient {
    while client.connection_state() != ConnectionState::Ready {
        client.do_work();
        client.wait(Duration::from_millis(100));
    }
    client
}

fn create_over(sink: &Sink, device: &str, provider: &dyn Provider) -> DeviceClient {
    let text = connection_string(sink, device);
    DeviceClient::builder(&text).trusted_certs(sink.ca_pem.clone()).build(provider).expect("a client")
}

pub(crate) fn connection_string(sink: &Sink, device: &str) -> String {
    let port = sink.address.port();
    format!("HostName=localhost;GatewayHostName=localhost:{port};DeviceId={device};SharedAccessKey=YmVuY2g=")
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
