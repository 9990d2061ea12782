//! What a stream does with bytes, over TLS and over plain TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use iothub_net::Stream;
use rustls::ServerConnection;

use crate::support::authority::Authority;
use crate::support::server::{self, BOTH, Server, TLS12, TLS13, Tls};
use crate::support::{connect, connector, endpoint, read_some, read_to_end, send, wait};

/// A TLS stream to a server that does this.
fn tls<T: Send + 'static>(
    versions: &'static [&'static rustls::SupportedProtocolVersion],
    serve: impl FnOnce(Tls) -> T + Send + 'static,
) -> (Stream, Server<T>) {
    let authority = Authority::new();
    let server = server::tls(authority.server(&["hub.example"]).config(versions), serve);
    let stream = connect(&mut connector(&endpoint("hub.example", &authority), [server.address])).expect("a connection");
    (stream, server)
}

/// A TLS stream to a server that holds the TLS state apart from the socket, after the handshake.
fn raw<T: Send + 'static>(
    serve: impl FnOnce(ServerConnection, TcpStream) -> T + Send + 'static,
) -> (Stream, Server<T>) {
    let authority = Authority::new();
    let config = authority.server(&["hub.example"]).config(TLS12);
    let server = server::tcp(move |mut socket| {
        let mut tls = ServerConnection::new(config).expect("a connection");
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("a handshake");
        }
        serve(tls, socket)
    });
    let stream = connect(&mut connector(&endpoint("hub.example", &authority), [server.address])).expect("a connection");
    (stream, server)
}

fn plain<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (Stream, Server<T>) {
    let server = server::tcp(serve);
    let socket = TcpStream::connect(server.address).expect("a connection");
    (Stream::from_tcp(socket, "local", 1).expect("a stream"), server)
}

fn everything(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).map(|_| all)
}

/// Bytes that show any loss, doubling or swap.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).flat_map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8..=255).take(length).collect()
}

/// The lengths of the TLS records in a capture that carry application data.
fn application_records(mut capture: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = capture {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == 23 {
            lengths.push(length);
        }
        capture = &rest[length..];
    }
    lengths
}

#[test]
fn small_writes_share_a_record_and_wait_for_the_flush() {
    let (mut stream, server) = raw(|_, socket| everything(socket).expect("bytes"));
    for _ in 0..1000 {
        stream.write_all(b"0123456789").expect("room");
    }
    assert!(stream.wants_write());
    stream.flush().expect("room");
    assert!(!stream.wants_write());
    drop(stream);
    let records = application_records(&server.join());
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(records[0] > 10_000);
}

#[test]
fn large_writes_fill_their_records() {
    let (mut stream, server) = raw(|_, socket| everything(socket).expect("bytes"));
    send(&mut stream, &pattern(16 * 1024 * 10)).expect("a way out");
    drop(stream);
    let records = application_records(&server.join());
    assert_eq!(records.len(), 10, "{records:?}");
}

#[test]
fn half_a_record_is_not_yet_readable() {
    let (go_on, wait_for_it) = mpsc::channel::<()>();
    let (mut stream, server) = raw(move |mut tls, mut socket| {
        tls.writer().write_all(b"one message").expect("room");
        let mut record = Vec::new();
        tls.write_tls(&mut record).expect("a record");
        let (first, second) = record.split_at(record.len() / 2);
        // Not before the client has its stream: the handshake's last read would take the first half in.
        wait_for_it.recv().expect("a client");
        socket.write_all(first).expect("sent");
        wait_for_it.recv().expect("the other half is wanted");
        socket.write_all(second).expect("sent");
    });
    let mut buf = [0; 64];
    go_on.send(()).expect("a server");
    wait(&stream, false);
    assert_eq!(stream.read(&mut buf).expect_err("only half").kind(), ErrorKind::WouldBlock);
    go_on.send(()).expect("a server");
    let n = read_some(&mut stream, &mut buf).expect("the record");
    assert_eq!(&buf[..n], b"one message");
    server.join();
}

#[test]
fn a_record_may_be_read_in_small_pieces() {
    let (mut stream, server) = tls(TLS13, |mut tls| tls.write_all(&pattern(40_000)));
    let mut all = Vec::new();
    let mut buf = [0; 7];
    loop {
        match read_some(&mut stream, &mut buf).expect("bytes") {
            0 => break,
            n => all.extend_from_slice(&buf[..n]),
        }
    }
    assert!(all == pattern(40_000));
    server.join().expect("sent");
}

#[test]
fn an_end_without_a_tls_goodbye_is_an_end() {
    let (mut stream, server) = tls(TLS13, |mut tls| {
        tls.write_all(b"last words").expect("sent");
        tls.flush().expect("sent");
        // Dropped without close_notify, as hubs do.
    });
    assert_eq!(read_to_end(&mut stream).expect("no error"), b"last words");
    assert_eq!(stream.read(&mut [0; 1]).expect("still the end"), 0);
    server.join();
}

#[test]
fn an_end_with_a_tls_goodbye_is_an_end() {
    let (mut stream, server) = tls(TLS13, |mut tls| {
        tls.write_all(b"last words").expect("sent");
        tls.conn.send_close_notify();
        tls.flush().expect("sent");
    });
    assert_eq!(read_to_end(&mut stream).expect("no error"), b"last words");
    assert_eq!(stream.read(&mut [0; 1]).expect("still the end"), 0);
    server.join();
}

#[test]
fn a_reset_is_an_error_with_the_text_of_the_system() {
    let (mut stream, server) = raw(|_, socket| server::reset(socket));
    server.join();
    let error = read_to_end(&mut stream).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.to_string().contains("reset"), "{error}");
}

#[test]
fn what_came_before_a_fault_is_read_first() {
    let (mut stream, server) = raw(|mut tls, mut socket| {
        tls.writer().write_all(b"good").expect("room");
        let mut bytes = Vec::new();
        tls.write_tls(&mut bytes).expect("a record");
        // A record that nobody encrypted.
        bytes.extend_from_slice(&[23, 3, 3, 0, 32]);
        bytes.extend_from_slice(&[0; 32]);
        socket.write_all(&bytes).expect("sent");
        everything(socket).map(|_| ())
    });
    let mut buf = [0; 64];
    let n = read_some(&mut stream, &mut buf).expect("the good part");
    assert_eq!(&buf[..n], b"good");
    for _ in 0..2 {
        let error = read_some(&mut stream, &mut buf).expect_err("the bad part");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("decrypt"), "{error}");
    }
    drop(stream);
    server.join().expect("an end");
}

/// Writes until nothing more is taken, and says how much was.
fn fill(stream: &mut Stream) -> usize {
    let chunk = [7; 10_000];
    let mut taken = 0;
    loop {
        match stream.write(&chunk) {
            Ok(n) => taken += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return taken;
            }
        }
        assert!(taken < 64 * 1024 * 1024, "there is no limit");
    }
}

#[test]
fn a_peer_that_does_not_read_blocks_the_writer_and_loses_nothing() {
    for over_tls in [true, false] {
        let (read, start) = mpsc::channel::<()>();
        let (mut stream, server) = if over_tls {
            tls(TLS13, move |tls| {
                let mut tls = tls;
                while tls.conn.is_handshaking() {
                    tls.conn.complete_io(&mut tls.sock).expect("a handshake");
                }
                start.recv().expect("a start");
                everything(tls).map(|all| all.len())
            })
        } else {
            plain(move |socket| {
                start.recv().expect("a start");
                everything(socket).map(|all| all.len())
            })
        };
        let taken = fill(&mut stream);
        assert!(stream.wants_write());
        let mut on = Vec::new();
        stream.readiness(true, false, &mut on);
        assert!(on[0].read && on[0].write, "it asks to be called when there is room");
        stream.readiness(false, false, &mut on);
        assert!(!on[1].read && on[1].write, "and for nothing else, if it is not to be read");
        assert_eq!(stream.flush().expect_err("no room").kind(), ErrorKind::WouldBlock);
        read.send(()).expect("a server");
        send(&mut stream, b"").expect("room at last");
        stream.shutdown();
        assert_eq!(server.join().expect("all of it, and an end"), taken);
    }
}

#[test]
fn megabytes_go_both_ways_at_once() {
    let (mut stream, server) = tls(BOTH, |mut tls| {
        let mut buf = vec![0; 50_000];
        loop {
            match tls.read(&mut buf).expect("bytes or an end") {
                0 => return,
                n => tls.write_all(&buf[..n]).expect("room"),
            }
        }
    });
    let sent = pattern(4 * 1024 * 1024);
    let (mut written, mut received, mut buf) = (0, Vec::new(), vec![0; 30_000]);
    while received.len() < sent.len() {
        let mut moved = false;
        if written < sent.len() {
            match stream.write(&sent[written..]) {
                Ok(n) => (written, moved) = (written + n, true),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        match stream.flush() {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        match stream.read(&mut buf) {
            Ok(0) => panic!("the server went away"),
            Ok(n) => {
                received.extend_from_slice(&buf[..n]);
                moved = true;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if !moved {
            wait(&stream, written < sent.len());
        }
    }
    assert!(received == sent);
    stream.shutdown();
    server.join();
}

#[test]
fn shutdown_sends_what_was_written_and_says_goodbye() {
    // Reading to the end fails without a goodbye.
    let (mut stream, server) = tls(TLS13, |tls| everything(tls).expect("a clean end"));
    stream.write_all(b"DISCONNECT").expect("room");
    stream.shutdown();
    stream.shutdown();
    assert_eq!(server.join(), b"DISCONNECT");
    assert_eq!(stream.read(&mut [0; 1]).expect_err("shut down").kind(), ErrorKind::NotConnected);
    assert_eq!(stream.write(b"x").expect_err("shut down").kind(), ErrorKind::NotConnected);
    assert_eq!(stream.flush().expect_err("shut down").kind(), ErrorKind::NotConnected);
    assert!(!stream.wants_write());
    let mut on = Vec::new();
    stream.readiness(true, true, &mut on);
    assert!(on.is_empty());
}

/// Closing a socket with unread input resets it, and a reset throws away what the peer has not read (Linux reads on,
/// others do not).
#[test]
fn unread_input_does_not_cost_the_peer_our_last_words() {
    let (read, start) = mpsc::channel::<()>();
    let (mut stream, server) = plain(move |mut socket| {
        socket.write_all(b"nobody will read this").expect("sent");
        start.recv().expect("a start");
        let reset = socket.take_error().expect("an option");
        assert!(reset.is_none(), "{reset:?}");
        everything(socket)
    });
    wait(&stream, false);
    stream.write_all(b"DISCONNECT").expect("room");
    drop(stream);
    read.send(()).expect("a server");
    assert_eq!(server.join().expect("an end"), b"DISCONNECT");
}

#[test]
fn dropping_the_stream_tells_the_peer_though_the_descriptor_is_still_held() {
    let (stream, server) = tls(TLS13, |tls| everything(tls).expect("a clean end").len());
    let mut held = Vec::new();
    stream.readiness(true, false, &mut held);
    drop(stream);
    assert_eq!(server.join(), 0);
    drop(held);
}

#[test]
fn plain_tcp_collects_writes_too() {
    let (mut stream, server) = plain(everything);
    stream.write_all(b"one ").expect("room");
    stream.write_all(b"piece").expect("room");
    assert!(stream.wants_write());
    stream.flush().expect("room");
    assert!(!stream.wants_write());
    drop(stream);
    assert_eq!(server.join().expect("an end"), b"one piece");
}

#[test]
fn debug_shows_host_and_port_only() {
    let (stream, server) = tls(TLS13, |tls| everything(tls).map(|_| ()));
    assert_eq!(format!("{stream:?}"), "Stream(hub.example:8883)");
    drop(stream);
    server.join().expect("a clean end");
}
