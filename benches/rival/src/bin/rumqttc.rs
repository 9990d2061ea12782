//! rumqttc with its stock event loop on a current-thread runtime, over TLS: what the benchmarks compare our client with.
//!
//! `rumqttc PORT CA_FILE telemetry WINDOW COUNT`, `... allocations`, `... wake-ups TOPIC COUNT`, `... clients COUNT`; prints
//! figures separated by blanks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rival::{resident, runtime, thread_cpu, tls};
use rumqttc::tokio_rustls::rustls::ClientConfig;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, TlsConfiguration, Transport};

const TOPIC: &str = "devices/bench/messages/events/";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    let broker = Broker { port: number(0) as u16, tls: tls(&arguments[1]) };
    match arguments[2].as_str() {
        "telemetry" => telemetry(&broker, number(3), number(4)),
        "allocations" => allocations(&broker),
        "wake-ups" => wake_ups(&broker, &arguments[3], number(4)),
        "clients" => clients(&broker, number(3)),
        other => panic!("no figure {other}"),
    }
}

struct Broker {
    port: u16,
    tls: Arc<ClientConfig>,
}

fn options(broker: &Broker, window: usize) -> MqttOptions {
    let mut options = MqttOptions::new("bench", "localhost", broker.port);
    options.set_inflight(window as u16).set_keep_alive(Duration::from_secs(240)).set_max_packet_size(1 << 20, 1 << 20);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(broker.tls.clone())));
    options
}

async fn connect(broker: &Broker, window: usize) -> (AsyncClient, EventLoop) {
    let (client, mut events) = AsyncClient::new(options(broker, window), 2 * window);
    while !matches!(events.poll().await.expect("a connection"), Event::Incoming(Packet::ConnAck(_))) {}
    (client, events)
}

/// Sends so many messages until all are confirmed.
async fn send(client: &AsyncClient, events: &mut EventLoop, payload: &Bytes, count: usize) {
    let (client, payload) = (client.clone(), payload.clone());
    tokio::spawn(async move {
        for _ in 0..count {
            client.publish_bytes(TOPIC, QoS::AtLeastOnce, false, payload.clone()).await.expect("a connection");
        }
    });
    let mut confirmed = 0;
    while confirmed < count {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.expect("a connection") {
            confirmed += 1;
        }
    }
}

/// Messages a second, and CPU microseconds a message.
fn telemetry(broker: &Broker, window: usize, count: usize) {
    let payload = Bytes::from(vec![b'x'; 256]);
    runtime().block_on(async {
        let (client, mut events) = connect(broker, window).await;
        send(&client, &mut events, &payload, count / 10).await;
        let (cpu, start) = (thread_cpu(), Instant::now());
        send(&client, &mut events, &payload, count).await;
        let (cpu, time) = ((thread_cpu() - cpu).as_secs_f64(), start.elapsed().as_secs_f64());
        println!("{} {}", count as f64 / time, cpu * 1e6 / count as f64);
    });
}

/// Allocations per send, once all is warm.
fn allocations(broker: &Broker) {
    const COUNT: usize = 10_000;
    let payload = Bytes::from(vec![b'x'; 256]);
    let runtime = runtime();
    let (client, mut events) = runtime.block_on(connect(broker, 100));
    runtime.block_on(send(&client, &mut events, &payload, COUNT));
    let counted = allocation_counter::measure(|| runtime.block_on(send(&client, &mut events, &payload, COUNT)));
    println!("{}", counted.count_total as f64 / COUNT as f64);
}

/// How late the broker's messages, which carry the time of their sending, are seen: nanoseconds, one a message.
fn wake_ups(broker: &Broker, topic: &str, count: usize) {
    runtime().block_on(async {
        let (client, mut events) = connect(broker, 10).await;
        client.subscribe(format!("{topic}#"), QoS::AtMostOnce).await.expect("a connection");
        let mut late = Vec::new();
        while late.len() < count {
            if let Event::Incoming(Packet::Publish(message)) = events.poll().await.expect("a connection") {
                let sent = u64::from_be_bytes(message.payload.as_ref().try_into().expect("a time"));
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos() as u64;
                late.push(now.saturating_sub(sent).to_string());
            }
        }
        println!("{}", late.join(" "));
    });
}

/// Resident bytes per client of so many idle ones.
fn clients(broker: &Broker, count: usize) {
    runtime().block_on(async {
        drop(connect(broker, 1).await);
        let before = resident();
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(connect(broker, 1).await);
        }
        println!("{}", (resident() - before) as f64 / count as f64);
    });
}
