//! A TCP proxy on a free port of loopback that cuts connections off at planned places. It sees bytes, not packets.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where one connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// So many bytes are let through towards the broker first.
    pub(super) after: usize,
    pub(super) manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// At once, wherever in a packet that is.
    MidPacket,
    /// Everything goes on towards the broker, but its next word is withheld and the connection cut.
    BeforeTheAnswer,
}

/// The running proxy. The first connection takes the first cut, and so on; then none is cut.
///
/// Its threads end with their connections; the one that accepts ends with the process.
#[derive(Debug)]
pub(super) struct Cutter {
    port: u16,
    made: Arc<AtomicUsize>,
}

impl Cutter {
    pub(super) fn start(upstream: u16, cuts: Vec<Cut>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        thread::spawn(move || {
            let mut cuts = VecDeque::from(cuts);
            for client in listener.incoming() {
                // A connection that cannot be made or relayed is one that the client sees lost; the checks count them.
                let Ok(client) = client else { return };
                let _ = relay(client, upstream, cuts.pop_front(), &counter);
            }
        });
        Ok(Self { port, made })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn cuts_made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

/// What the two directions of a connection share.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    broker: TcpStream,
    cut: Mutex<Option<Cut>>,
    /// Nothing goes to the client any more.
    withheld: AtomicBool,
    made: Arc<AtomicUsize>,
}

fn relay(client: TcpStream, upstream: u16, cut: Option<Cut>, made: &Arc<AtomicUsize>) -> io::Result<()> {
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let connection = Arc::new(Connection {
        client,
        broker,
        cut: Mutex::new(cut),
        withheld: AtomicBool::new(false),
        made: Arc::clone(made),
    });
    let other = Arc::clone(&connection);
    thread::spawn(move || other.run(Connection::to_broker));
    thread::spawn(move || connection.run(Connection::to_client));
    Ok(())
}

impl Connection {
    /// Runs one direction to its end, which ends the other one too.
    fn run(&self, direction: impl FnOnce(&Self) -> io::Result<()>) {
        // An error is an end like any other: a peer that has gone.
        let _ = direction(self);
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }

    fn to_broker(&self) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        let mut passed = 0;
        loop {
            let count = (&self.client).read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let planned = *self.planned();
            match planned {
                Some(Cut { after, manner: Manner::MidPacket }) if passed + count >= after => {
                    (&self.broker).write_all(&buffer[..after - passed])?;
                    self.make_cut();
                    return Ok(());
                }
                Some(Cut { after, manner: Manner::BeforeTheAnswer }) if passed + count >= after => {
                    self.withheld.store(true, Ordering::SeqCst);
                }
                _ => {}
            }
            (&self.broker).write_all(&buffer[..count])?;
            passed += count;
        }
    }

    fn to_client(&self) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = (&self.broker).read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            if self.withheld.load(Ordering::SeqCst) {
                self.make_cut();
                return Ok(());
            }
            (&self.client).write_all(&buffer[..count])?;
        }
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, Option<Cut>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the cut, once a connection.
    fn make_cut(&self) {
        if self.planned().take().is_some() {
            self.made.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each byte with itself; tells how much each of its connections brought.
    fn echo() -> (u16, std::sync::mpsc::Receiver<usize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut buffer, mut total) = (stream.unwrap(), [0; 64], 0);
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    total += count;
                    let _ = stream.write_all(&buffer[..count]);
                }
                sender.send(total).unwrap();
            }
        });
        (port, receiver)
    }

    fn all_until_the_end(stream: &mut TcpStream) -> usize {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes.len()
    }

    #[test]
    fn a_cut_in_the_middle_lets_exactly_so_many_bytes_through() {
        let (port, brought) = echo();
        let cutter = Cutter::start(port, vec![Cut { after: 7, manner: Manner::MidPacket }]).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, cutter.port())).unwrap();
        client.write_all(b"0123456789").unwrap();
        assert!(all_until_the_end(&mut client) <= 7);
        assert_eq!(brought.recv().unwrap(), 7);
        assert_eq!(cutter.cuts_made(), 1);
    }

    #[test]
    fn a_cut_before_the_answer_lets_the_question_through() {
        let (port, brought) = echo();
        let cutter = Cutter::start(port, vec![Cut { after: 7, manner: Manner::BeforeTheAnswer }]).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, cutter.port())).unwrap();
        client.write_all(b"0123456789").unwrap();
        assert_eq!(all_until_the_end(&mut client), 0);
        assert_eq!(brought.recv().unwrap(), 10);
        assert_eq!(cutter.cuts_made(), 1);
    }

    #[test]
    fn connections_after_the_last_cut_are_left_alone() {
        let (port, _brought) = echo();
        let cutter = Cutter::start(port, Vec::new()).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, cutter.port())).unwrap();
        client.write_all(b"0123456789").unwrap();
        let mut answer = [0; 10];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"0123456789");
        assert_eq!(cutter.cuts_made(), 0);
    }
}
