//! From the open stream to the hub's CONNACK.

use std::io;
use std::time::{Duration, Instant};

use iothub_core::{ConnectStage, ConnectionErrorKind, Readiness};
use iothub_net::Stream;
use rumqttc::mqttbytes::v4::ConnectReturnCode;
use zeroize::Zeroizing;

use crate::codec::{Incoming, violation};
use crate::wire::{Received, Wire};

/// What a slice of the handshake came to.
pub(crate) enum Progress {
    /// The answer has not come yet.
    Waiting(Handshake),
    /// The hub said yes.
    Accepted { wire: Wire, session_present: bool },
    /// It is over.
    Failed(ConnectionErrorKind),
}

/// CONNECT is being sent, or its answer awaited.
pub(crate) struct Handshake {
    wire: Wire,
    /// The packet with the token; wiped when it is sent.
    connect: Zeroizing<Vec<u8>>,
    sent: usize,
    answer_by: Instant,
    timeout: Duration,
}

impl Handshake {
    pub(crate) fn new(stream: Stream, connect: Zeroizing<Vec<u8>>, timeout: Duration, now: Instant) -> Self {
        Self { wire: Wire::new(stream, now), connect, sent: 0, answer_by: now + timeout, timeout }
    }

    /// Goes as far as it can without blocking.
    pub(crate) fn drive(mut self, now: Instant) -> Progress {
        let sent = self.send(now);
        match self.read() {
            Ok(Some(Incoming::ConnAck { session_present, code })) => match refusal(code) {
                None => Progress::Accepted { wire: self.wire, session_present },
                Some(kind) => Progress::Failed(kind),
            },
            Ok(Some(other)) => Progress::Failed(violation(format!("a {} before the CONNACK", other.name()))),
            Err(kind) => Progress::Failed(kind),
            // An answer counts even if the rest of CONNECT could not be sent any more, so this comes second.
            Ok(None) => match sent {
                Err(error) => Progress::Failed(failed(&error)),
                Ok(()) if self.answer_by <= now => {
                    Progress::Failed(ConnectionErrorKind::TimedOut { stage: ConnectStage::Open, after: self.timeout })
                }
                Ok(()) => Progress::Waiting(self),
            },
        }
    }

    fn send(&mut self, now: Instant) -> io::Result<()> {
        self.sent += self.wire.send_directly(&self.connect[self.sent..], now)?;
        if self.sent == self.connect.len() && self.sent > 0 {
            self.connect = Zeroizing::default();
            self.sent = 0;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Incoming>, ConnectionErrorKind> {
        loop {
            if let Some(packet) = self.wire.next_packet()? {
                return Ok(Some(packet));
            }
            match self.wire.receive() {
                Ok(Received::Bytes(_)) => {}
                Ok(Received::Nothing) => return Ok(None),
                Ok(Received::End) => return Err(ConnectionErrorKind::ClosedByPeer),
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.answer_by
    }

    pub(crate) fn readiness(&self, out: &mut Vec<Readiness>) {
        self.wire.readiness(out);
    }
}

fn failed(error: &io::Error) -> ConnectionErrorKind {
    ConnectionErrorKind::Network { stage: ConnectStage::Open, detail: error.to_string() }
}

/// Why the hub said no, if it did.
fn refusal(code: ConnectReturnCode) -> Option<ConnectionErrorKind> {
    match code {
        ConnectReturnCode::Success => None,
        ConnectReturnCode::RefusedProtocolVersion => Some(ConnectionErrorKind::ProtocolVersionRefused),
        ConnectReturnCode::BadClientId => Some(ConnectionErrorKind::IdentifierRefused),
        ConnectReturnCode::ServiceUnavailable => Some(ConnectionErrorKind::ServerUnavailable),
        ConnectReturnCode::BadUserNamePassword => Some(ConnectionErrorKind::BadUserNameOrPassword),
        ConnectReturnCode::NotAuthorized => Some(ConnectionErrorKind::NotAuthorized),
    }
}
