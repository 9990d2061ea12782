//! Operations: what can be carried, and how they get to a member's part.

use std::time::Instant;

use iothub_core::{Message, Op, OpError, OpId, Submit, Unsupported, limits};

use crate::device::Command;
use crate::inbox::Settle;
use crate::member::Member;
use crate::message;
use crate::methods::Answer;
use crate::outbox::Clock;
use crate::twin::Ask;

/// How many twin requests of a device may await their answer.
const TWIN_WINDOW: usize = 64;

/// Whether the hub can be handed this by the transport of this name.
pub(crate) fn check(op: &Op<'_>, transport: &'static str) -> Result<(), Unsupported> {
    match op {
        Op::Telemetry(message) => check_telemetry(message, transport),
        Op::Settle { .. } | Op::TwinGet => Ok(()),
        Op::TwinReport(patch) => check_size(patch.len(), limits::MAX_TWIN_SECTION),
        Op::MethodResponse { body, .. } => check_size(body.len(), limits::MAX_METHOD_PAYLOAD),
        _ => Err(newer_operation(transport)),
    }
}

fn check_telemetry(message: &Message, transport: &'static str) -> Result<(), Unsupported> {
    check_size(message.size(), limits::MAX_TELEMETRY_SIZE)?;
    match message::without_place(message) {
        Some(_) => {
            Err(Unsupported::Property { property: "a system property that is newer than this transport", transport })
        }
        None => Ok(()),
    }
}

fn check_size(size: usize, limit: usize) -> Result<(), Unsupported> {
    if size > limit { Err(Unsupported::MessageTooLarge { size, limit }) } else { Ok(()) }
}

/// The engine checks before it submits, so this is what it hears of an operation that came after this version.
fn newer_operation(transport: &'static str) -> Unsupported {
    Unsupported::Property { property: "an operation that is newer than this transport", transport }
}

impl Member {
    /// Takes an operation that has passed [`check`]. At most `window` messages await their outcome.
    pub(crate) fn submit(
        &mut self,
        id: OpId,
        op: Op<'_>,
        clock: Clock,
        window: usize,
        transport: &'static str,
    ) -> Submit {
        let is_online = self.online().is_some();
        let is_current = |generation: u32| is_online && generation == self.run;
        match op {
            Op::Telemetry(_) if !is_online || self.telemetry.is_full(window) => Submit::Full,
            Op::Telemetry(message) => {
                self.telemetry.submit(id, message, clock);
                Submit::Taken
            }
            Op::TwinGet | Op::TwinReport(_) if !is_online || self.twin.len() >= TWIN_WINDOW => Submit::Full,
            Op::TwinGet => self.ask(id, Ask::Get(id)),
            Op::TwinReport(patch) => self.ask(id, Ask::Report(id, patch.to_vec())),
            Op::Settle { delivery, .. } | Op::MethodResponse { delivery, .. } if !is_current(delivery.generation) => {
                Submit::Refused(OpError::Stale)
            }
            Op::Settle { delivery, disposition } => {
                self.answer(id, Command::Settle(Settle { id, key: delivery.key, disposition }))
            }
            Op::MethodResponse { delivery, status, body } => {
                self.answer(id, Command::Answer(Answer { id, key: delivery.key, status, body: body.to_vec() }))
            }
            _ => Submit::Refused(OpError::Unsupported(newer_operation(transport))),
        }
    }

    fn ask(&mut self, id: OpId, ask: Ask) -> Submit {
        if !self.command(Command::Ask(ask)) {
            return Submit::Full;
        }
        self.twin.insert(id);
        Submit::Taken
    }

    fn answer(&mut self, id: OpId, command: Command) -> Submit {
        if !self.command(command) {
            return Submit::Refused(OpError::Stale);
        }
        self.answers.insert(id);
        Submit::Taken
    }

    /// Gives an operation up. Returns whether its part had to be told.
    pub(crate) fn forget(&mut self, id: OpId, now: Instant) -> bool {
        self.telemetry.forget(id, now);
        let is_twin = self.twin.contains(&id);
        self.is_over(id) && is_twin && self.command(Command::Ask(Ask::Forget(id)))
    }
}
