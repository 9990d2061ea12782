//! fe2o3-amqp used plainly, over TLS: a connection, a session and a sender on a current-thread runtime, messages sent without
//! waiting for the outcome of those before.
//!
//! `fe2o3 PORT CA_FILE telemetry WINDOW COUNT` prints messages a second, and CPU microseconds a message.

use std::time::Instant;

use fe2o3_amqp::{Connection, Sender, Session};
use fe2o3_amqp_types::messaging::{Data, Message, Outcome};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rival::{runtime, thread_cpu, tls};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const ADDRESS: &str = "/devices/bench/messages/events";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    let (port, connector) = (number(0) as u16, TlsConnector::from(tls(&arguments[1])));
    assert_eq!(arguments[2], "telemetry", "there is no other figure");
    let (window, count) = (number(3), number(4));
    runtime().block_on(async {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("the sink listens");
        tcp.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = connector.connect(name, tcp).await.expect("the sink has a certificate");
        let mut connection = Connection::builder()
            .container_id("rival")
            .hostname("localhost")
            .scheme("amqp")
            .max_frame_size(65_536)
            .open_with_stream(tls)
            .await
            .expect("a connection");
        let mut session = Session::begin(&mut connection).await.expect("a session");
        let mut sender = Sender::attach(&mut session, "events", ADDRESS).await.expect("a link");
        send(&mut sender, window, count / 10).await;
        let (cpu, start) = (thread_cpu(), Instant::now());
        send(&mut sender, window, count).await;
        let (cpu, time) = ((thread_cpu() - cpu).as_secs_f64(), start.elapsed().as_secs_f64());
        println!("{} {}", count as f64 / time, cpu * 1e6 / count as f64);
    });
}

/// Sends so many messages until all are accepted.
async fn send(sender: &mut Sender, window: usize, count: usize) {
    let mut settling = FuturesUnordered::new();
    for _ in 0..count {
        if settling.len() == window {
            accepted(settling.next().await);
        }
        let message = Message::builder().body(Data::from(vec![b'x'; 256])).build();
        settling.push(sender.send_batchable(message).await.expect("a link"));
    }
    while !settling.is_empty() {
        accepted(settling.next().await);
    }
}

fn accepted(outcome: Option<Result<Outcome, fe2o3_amqp::link::SendError>>) {
    assert!(matches!(outcome, Some(Ok(Outcome::Accepted(_)))), "{outcome:?}");
}
