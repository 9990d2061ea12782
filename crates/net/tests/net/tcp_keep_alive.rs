//! TCP keep-alive: what was asked for is what the socket has.

use std::os::fd::AsFd;
use std::time::Duration;

use iothub_net::{Connect, Stream, TcpKeepAlive};
use rustix::net::sockopt;

use crate::support::authority::Authority;
use crate::support::server::{self, BOTH, hello};
use crate::support::{connect, connector, endpoint, read_to_end, send};

/// Connects with this setting, and reads back what the socket has.
fn connected_with(keep_alive: Option<TcpKeepAlive>) -> TcpKeepAlive {
    let authority = Authority::new();
    let server = server::tls(authority.server(&["hub.example"]).config(BOTH), hello);
    let mut connector = connector(&endpoint("hub.example", &authority), [server.address]);
    if let Some(keep_alive) = keep_alive {
        connector.set_tcp_keep_alive(keep_alive);
    }
    let mut stream = connect(&mut connector).expect("a connection");
    let has = of(&stream);
    send(&mut stream, b"hello").expect("a way out");
    assert_eq!(read_to_end(&mut stream).expect("an answer"), b"hub");
    server.join();
    has
}

fn of(stream: &Stream) -> TcpKeepAlive {
    let mut on = Vec::new();
    stream.readiness(true, false, &mut on);
    let socket = on[0].source.as_fd();
    TcpKeepAlive {
        enabled: Some(sockopt::socket_keepalive(socket).expect("an option")),
        time: Some(sockopt::tcp_keepidle(socket).expect("an option")),
        interval: Some(sockopt::tcp_keepintvl(socket).expect("an option")),
    }
}

#[test]
fn the_socket_has_what_was_asked_for() {
    let wanted = TcpKeepAlive {
        enabled: Some(true),
        time: Some(Duration::from_secs(77)),
        interval: Some(Duration::from_secs(11)),
    };
    assert_eq!(connected_with(Some(wanted)), wanted);
}

#[test]
fn what_was_not_asked_for_is_the_systems() {
    let systems = connected_with(None);
    assert_eq!(systems.enabled, Some(false), "Linux does not probe by itself");
    let only_interval = TcpKeepAlive { interval: Some(Duration::from_secs(32_767)), ..TcpKeepAlive::default() };
    assert_eq!(connected_with(Some(only_interval)), TcpKeepAlive { interval: only_interval.interval, ..systems });
}

#[test]
fn what_the_system_refuses_fails_the_connection() {
    let authority = Authority::new();
    let mut connector = connector(&endpoint("hub.example", &authority), [server::refusing()]);
    connector.set_tcp_keep_alive(TcpKeepAlive { time: Some(Duration::from_secs(32_768)), ..TcpKeepAlive::default() });
    let error = connect(&mut connector).expect_err("Linux takes up to 32767 s").to_string();
    assert!(error.contains("setting its keep-alive"), "{error}");
}
