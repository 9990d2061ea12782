//! The network in memory keeps what it promises to the tests that rely on it.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};

use iothub_core::{ConnectionErrorKind, Now};
use iothub_net::memory::{network, pair};
use iothub_net::{Connect, Stream};

fn read(stream: &mut Stream) -> Result<Vec<u8>, ErrorKind> {
    let mut buf = [0; 64];
    let n = stream.read(&mut buf).map_err(|error| error.kind())?;
    Ok(buf[..n].to_vec())
}

/// Writes and flushes.
fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), ErrorKind> {
    stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|error| error.kind())
}

#[test]
fn bytes_go_both_ways() {
    let (mut stream, mut peer) = pair();
    assert_eq!(read(&mut stream), Err(ErrorKind::WouldBlock));
    peer.send(b"CONNACK");
    assert_eq!(read(&mut stream).unwrap(), b"CONNACK");
    send(&mut stream, b"PUBLISH").unwrap();
    assert_eq!(peer.receive(), b"PUBLISH");
    assert_eq!(peer.receive(), b"");
}

#[test]
fn written_bytes_wait_for_the_flush() {
    let (mut stream, mut peer) = pair();
    for _ in 0..3 {
        stream.write_all(b"abc").unwrap();
    }
    assert!(stream.wants_write());
    assert_eq!(peer.receive(), b"");
    stream.flush().unwrap();
    stream.flush().unwrap();
    assert!(!stream.wants_write());
    assert_eq!(peer.receive(), b"abcabcabc");
    assert_eq!(peer.flushes(), 1, "a flush without bytes does not count");
}

#[test]
fn a_full_peer_blocks_until_it_takes_bytes() {
    let (mut stream, mut peer) = pair();
    peer.set_capacity(4);
    assert_eq!(send(&mut stream, b"abcdef"), Err(ErrorKind::WouldBlock));
    assert!(stream.wants_write());
    assert_eq!(peer.receive(), b"abcd");
    stream.flush().unwrap();
    assert_eq!(peer.receive(), b"ef");

    peer.set_capacity(0);
    let mut taken = 0;
    let error = loop {
        match stream.write(&[0; 5000]) {
            Ok(n) => taken += n,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), taken), (ErrorKind::WouldBlock, 64 * 1024));
}

#[test]
fn reads_and_writes_can_be_made_small() {
    let (mut stream, mut peer) = pair();
    peer.limit_reads(2);
    peer.limit_writes(3);
    peer.send(b"abc");
    assert_eq!(read(&mut stream).unwrap(), b"ab");
    assert_eq!(read(&mut stream).unwrap(), b"c");
    assert_eq!(stream.write(b"12345").unwrap(), 3);
}

#[test]
fn a_closed_peer_is_an_end_after_what_it_sent() {
    let (mut stream, mut peer) = pair();
    peer.send(b"last words");
    peer.close();
    assert_eq!(send(&mut stream, b"lost"), Ok(()), "a write does not notice yet");
    assert_eq!(read(&mut stream).unwrap(), b"last words");
    assert_eq!(read(&mut stream).unwrap(), b"");
    assert_eq!(peer.receive(), b"");
}

#[test]
fn a_dropped_peer_is_an_end() {
    let (mut stream, peer) = pair();
    drop(peer);
    assert_eq!(read(&mut stream).unwrap(), b"");
}

#[test]
fn a_cut_loses_what_is_under_way() {
    let (mut stream, mut peer) = pair();
    peer.send(b"lost");
    send(&mut stream, b"lost").unwrap();
    peer.cut();
    assert_eq!(read(&mut stream), Err(ErrorKind::ConnectionReset));
    assert_eq!(send(&mut stream, b"x"), Err(ErrorKind::BrokenPipe));
    assert_eq!(peer.receive(), b"");
}

#[test]
fn a_cut_can_let_pass_what_was_sent() {
    let (mut stream, mut peer) = pair();
    peer.send(b"passes");
    peer.cut_after_sent();
    assert_eq!(read(&mut stream).unwrap(), b"passes");
    assert_eq!(read(&mut stream), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_cut_can_come_in_the_middle_of_a_packet() {
    let (mut stream, mut peer) = pair();
    peer.cut_after_receiving(5);
    send(&mut stream, b"abc").unwrap();
    assert_eq!(send(&mut stream, b"defg"), Err(ErrorKind::ConnectionReset));
    assert_eq!(peer.receive(), b"abcde");
    assert_eq!(read(&mut stream), Err(ErrorKind::ConnectionReset));
}

#[test]
fn the_peer_sees_the_end_of_the_client() {
    let (mut stream, mut peer) = pair();
    stream.write_all(b"DISCONNECT").unwrap();
    assert!(!peer.is_closed_by_client());
    drop(stream);
    assert!(peer.is_closed_by_client());
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"DISCONNECT");
    assert_eq!(peer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn the_peer_reads_and_writes_without_blocking() {
    let (mut stream, mut peer) = pair();
    assert_eq!(peer.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
    peer.set_capacity(2);
    assert_eq!(peer.write(b"abc").unwrap(), 2);
    assert_eq!(peer.write(b"c").unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(read(&mut stream).unwrap(), b"ab");
}

#[test]
fn attempts_end_as_scripted_and_wait_where_nothing_is() {
    let (mut connect, script) = network("hub.example", 8883);
    let now = Now::system();
    script.fail(ConnectionErrorKind::Refused);
    assert!(connect.poll(now).is_pending(), "no attempt was started");
    connect.start(now);
    assert_eq!(connect.next_deadline(), Some(now.mono));
    let Poll::Ready(Err(error)) = connect.poll(now) else { panic!("it was scripted to fail") };
    assert_eq!((&*error.host, error.port, error.kind), ("hub.example", 8883, ConnectionErrorKind::Refused));

    connect.start(now);
    assert!(connect.poll(now).is_pending());
    assert_eq!(connect.next_deadline(), None);
    let mut peer = script.accept();
    let Poll::Ready(Ok(mut stream)) = connect.poll(now) else { panic!("it was scripted to succeed") };
    send(&mut stream, b"hello").unwrap();
    assert_eq!(peer.receive(), b"hello");
    assert_eq!((script.attempts(), script.remaining()), (2, 0));

    connect.start(now);
    connect.cancel();
    let _peer = script.accept();
    assert!(connect.poll(now).is_pending(), "a cancelled attempt takes nothing");
    assert_eq!(script.remaining(), 1);
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_waiting_client_is_woken() {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let woken = || count.0.swap(0, Ordering::Relaxed) > 0;
    let (mut connect, script) = network("hub.example", 8883);
    connect.set_waker(&Waker::from(count.clone()));
    let now = Now::system();
    connect.start(now);
    let mut peer = script.accept();
    assert!(woken());
    let Poll::Ready(Ok(_stream)) = connect.poll(now) else { panic!("it was scripted to succeed") };
    assert!(!woken());
    peer.send(b"x");
    assert!(woken());
    peer.cut();
    assert!(woken());
}
