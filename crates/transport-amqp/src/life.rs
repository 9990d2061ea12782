//! What the tasks have seen and what is late, and whom it ends.

use iothub_core::{ConnectionError, ConnectionErrorKind, Now, Slot, TransportEvent};

use crate::member::{Late, State};
use crate::outbox::ACKNOWLEDGEMENT_TIMEOUT;
use crate::outlet::{OfDevice, Seen};
use crate::transport::AmqpTransport;

impl AmqpTransport {
    /// Takes what the tasks have seen. Returns whether there was anything.
    pub(crate) fn listen(&mut self, now: Now) -> bool {
        let mut heard = false;
        while let Some(seen) = self.connection.live().and_then(|live| live.take(now)) {
            heard = true;
            match seen {
                Seen::Open | Seen::TokensWait(_) => {}
                Seen::Closed(kind) => {
                    let error = self.connection.error(kind.unwrap_or(ConnectionErrorKind::ClosedByPeer));
                    self.lose(&error);
                }
                Seen::Device { slot, run, what } => self.saw(slot, run, what, now),
            }
        }
        heard
    }

    fn saw(&mut self, slot: Slot, run: u32, what: OfDevice, now: Now) {
        let Some(member) = self.members.get(slot).filter(|member| member.run == run) else { return };
        match what {
            OfDevice::Left | OfDevice::Down(_) if matches!(member.state, State::Leaving { .. }) => self.left(slot, now),
            OfDevice::Down(kind) if matches!(member.state, State::Running(_)) => self.down(slot, kind),
            // It was given up before.
            OfDevice::Left | OfDevice::Down(_) => {}
            OfDevice::Sent { messages, result } => {
                self.members.change(slot, |member| member.sent(&messages, &result, now));
            }
            OfDevice::Event(event) => drop(self.members.change(slot, |member| member.hear(event))),
            OfDevice::Stage(wait, stage) => {
                let until = now.mono + self.options.connect_timeout;
                self.members.change(slot, |member| member.awaits(wait, Some((until, stage))));
            }
            OfDevice::Settled(wait) => drop(self.members.change(slot, |member| member.awaits(wait, None))),
        }
    }

    /// The connection is gone, for everyone that it was for.
    pub(crate) fn lose(&mut self, error: &ConnectionError) {
        tracing::debug!(%error, "down");
        let was_closing = self.connection.live().is_some_and(|live| live.is_closing());
        self.connection.abandon();
        for slot in self.members.in_use() {
            self.members.change(slot, |member| match member.state {
                State::Idle => {}
                // What came while it closed goes to the next one.
                State::Waiting { .. } if was_closing => {}
                State::Leaving { .. } | State::Closing => member.ends(TransportEvent::Disconnected),
                State::Waiting { .. } | State::Running(_) => member.ends(TransportEvent::Down(error.clone())),
            });
        }
    }

    /// One member's part is gone; the others go on.
    fn down(&mut self, slot: Slot, kind: ConnectionErrorKind) {
        let error = self.connection.error(kind);
        tracing::debug!(%error, slot = slot.0, "down");
        self.members.change(slot, |member| member.ends(TransportEvent::Down(error)));
        // Its tasks say goodbye.
        self.touch();
    }

    /// A member's part has ended in order. When nobody uses the connection any more, it ends too.
    pub(crate) fn left(&mut self, slot: Slot, now: Now) {
        let others = self.members.others_need_it(slot);
        let live = self.connection.live().filter(|_| !others);
        self.members.change(slot, |member| match live {
            Some(live) => {
                live.close(now.mono);
                member.state = State::Closing;
            }
            None => member.ends(TransportEvent::Disconnected),
        });
        self.touch();
    }

    /// Members whose hub does not answer, and those that take too long to leave.
    pub(crate) fn expire(&mut self, now: Now) {
        let is_all_said = self.connection.live().is_some_and(|live| live.is_all_said());
        let clock = self.clock(now);
        while let Some(slot) = self.members.late(now.mono) {
            match self.members.change(slot, |member| member.late(clock, is_all_said)) {
                Some(Late::Stage(stage)) => {
                    self.down(slot, ConnectionErrorKind::TimedOut { stage, after: self.options.connect_timeout });
                }
                Some(Late::Acknowledgement) => {
                    self.down(slot, ConnectionErrorKind::NoAcknowledgement { after: ACKNOWLEDGEMENT_TIMEOUT });
                }
                Some(Late::Goodbye) => self.left(slot, now),
                Some(Late::Nothing) | None => {}
            }
        }
        self.close_if_unused(now);
    }

    /// A connection that no member uses is of no use to the next: it ends, with a goodbye as far as that goes at once.
    pub(crate) fn close_if_unused(&mut self, now: Now) {
        if self.members.is_any_in_use() {
            return;
        }
        if let Some(live) = self.connection.live() {
            live.close(now.mono);
            live.drive(now);
            self.connection.abandon();
        }
    }
}
