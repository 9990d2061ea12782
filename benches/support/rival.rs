//! rumqttc's client with its stock event loop, on a current-thread runtime, over plain TCP: its TLS features would bring
//! a second TLS stack into the tree. Without TLS it has less to do, so the comparison favours it.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::runtime::Runtime;

use super::ours::since;
use super::sink::{PUSH_TOPIC, PUSHES, Sink};

pub(crate) struct Rival {
    runtime: Runtime,
    client: AsyncClient,
    events: EventLoop,
}

pub(crate) fn options(sink: &Sink, window: usize) -> MqttOptions {
    let mut options = MqttOptions::new("bench", "127.0.0.1", sink.plain.port());
    options.set_inflight(window as u16).set_keep_alive(Duration::from_secs(240)).set_max_packet_size(1 << 20, 1 << 20);
    options
}

pub(crate) fn connect(sink: &Sink, window: usize) -> Rival {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (client, mut events) = AsyncClient::new(options(sink, window), 2 * window);
    runtime.block_on(async {
        while !matches!(events.poll().await.expect("a connection"), Event::Incoming(Packet::ConnAck(_))) {}
    });
    Rival { runtime, client, events }
}

/// Sends so many messages until all are confirmed.
pub(crate) fn send(rival: &mut Rival, topic: &str, payload: &bytes::Bytes, count: u64) {
    let Rival { runtime, client, events } = rival;
    runtime.block_on(async {
        let (client, topic, payload) = (client.clone(), topic.to_owned(), payload.clone());
        tokio::spawn(async move {
            for _ in 0..count {
                client.publish_bytes(&topic, QoS::AtLeastOnce, false, payload.clone()).await.expect("a connection");
            }
        });
        let mut confirmed = 0;
        while confirmed < count {
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.expect("a connection") {
                confirmed += 1;
            }
        }
    });
}

/// How late messages from the sink are seen, in nanoseconds.
pub(crate) fn wake_ups(sink: &Sink) -> Vec<f64> {
    let Rival { runtime, client, mut events } = connect(sink, 10);
    runtime.block_on(async {
        client.subscribe(format!("{PUSH_TOPIC}#"), QoS::AtMostOnce).await.expect("a connection");
        let mut late = Vec::new();
        while late.len() < PUSHES {
            if let Event::Incoming(Packet::Publish(message)) = events.poll().await.expect("a connection") {
                let sent = u64::from_be_bytes(message.payload.as_ref().try_into().expect("a time"));
                late.push(since(sink.epoch, sent));
            }
        }
        late
    })
}
