//! What the numbers of a script say that the hub does wrong: frames out of turn, and faults of its own.

use std::time::Duration;

use iothub_emulator::{AmqpLink, AmqpOutcome, CbsFault, Fault, TwinPatchFault, TwinReplyFault};

use super::super::amqp_wire::frame::{self, Link, Message as Sections};
use super::super::amqp_wire::value::{V, composite, sym, text};

/// A well-formed frame that may make no sense here.
pub(super) fn performance(what: usize, place: usize, payload: &[u8]) -> Vec<u8> {
    let (channel, handle) = ((place % 4) as u16, (place / 4 % 8) as u32);
    let (id, flag) = ((place / 32) as u32, place % 2 == 1);
    let with_error = |code: u64, fields: Vec<V>| {
        let error = composite(0x1d, vec![sym("amqp:internal-error"), text("x")]);
        composite(code, [fields, vec![error]].concat())
    };
    let performative = match what % 16 {
        0 => frame::open(None),
        1 => frame::begin(),
        2 => frame::end(),
        3 => with_error(frame::END, Vec::new()),
        4 => frame::close(),
        5 => with_error(frame::CLOSE, Vec::new()),
        6 => frame::detach(handle),
        7 => with_error(frame::DETACH, vec![V::Uint(handle), V::Bool(flag)]),
        8 => frame::flow(handle, id, place as u32, flag),
        9 => frame::disposition(id, id + handle, flag, frame::outcome(0x24 + u64::from(handle % 4))),
        10 => Link::sender(handle, "/devices/dev1/twin").attach(),
        11 => Link::receiver(handle, "$cbs").attach(),
        12 => frame::transfer(handle, id, 0, flag, place.is_multiple_of(3)),
        // Of one delivery up to all that have a number.
        13 => {
            let last = id.saturating_add(u32::MAX.checked_shr(place as u32).unwrap_or(0));
            composite(frame::DISPOSITION, vec![V::Bool(true), V::Uint(id), V::Uint(last), V::Bool(true)])
        }
        14 => return frame::raw_frame(0, channel, payload),
        _ => frame::transfer(handle, id, 0x8001_3700, flag, false),
    };
    let payload = match what / 16 % 4 {
        0 => Vec::new(),
        1 => payload.to_vec(),
        2 => Sections::of(payload).encoded(),
        _ => Sections::of(payload).annotation("status", V::Int(place as i32)).encoded(),
    };
    frame::frame(channel, &performative, &payload)
}

/// Something that the hub does wrong by itself.
pub(super) fn fault(number: usize, more: usize) -> Fault {
    let links = [
        AmqpLink::Telemetry,
        AmqpLink::CloudToDevice,
        AmqpLink::TwinRequests,
        AmqpLink::TwinReplies,
        AmqpLink::MethodRequests,
        AmqpLink::MethodResponses,
        AmqpLink::TokenRequests,
        AmqpLink::TokenReplies,
    ];
    let link = links[more % links.len()];
    let by = Duration::from_millis(1 << (more % 20));
    let condition = (more.is_multiple_of(2)).then(|| "amqp:internal-error".to_owned());
    match number % 20 {
        0 => Fault::AmqpDetach { link, condition },
        1 => Fault::AmqpEnd { condition },
        2 => Fault::AmqpClose { condition },
        3 => Fault::AmqpRefuseAttach { link, condition: "amqp:link:detach-forced".to_owned() },
        4 => Fault::AmqpWithholdAttach { link },
        5 => Fault::AmqpWithholdCredit { link },
        6 => Fault::AmqpWrongSettleMode { link },
        7 => Fault::Cbs([CbsFault::Withhold, CbsFault::Delay(by), CbsFault::Status(more as i32 * 4)][more % 3]),
        8 => Fault::AmqpOutcome(
            [AmqpOutcome::Rejected { condition: "x".to_owned() }, AmqpOutcome::Released, AmqpOutcome::Modified]
                [more % 3]
                .clone(),
        ),
        9 => Fault::DropPubacks { count: more as u32 % 4 },
        10 => Fault::DelayPubacks { count: more as u32 % 4, by },
        11 => Fault::ReorderPubacks { window: more as u32 % 4 },
        12 => Fault::TwinReply(
            [
                TwinReplyFault::Delay(by),
                TwinReplyFault::Drop,
                TwinReplyFault::Duplicate,
                TwinReplyFault::UnknownRid,
                TwinReplyFault::WrongVersion,
                TwinReplyFault::BadJson,
                TwinReplyFault::Status(400 + more as u16),
            ][more % 7],
        ),
        13 => Fault::TwinPatch(
            [TwinPatchFault::Drop, TwinPatchFault::Duplicate, TwinPatchFault::Reorder, TwinPatchFault::BadJson]
                [more % 4],
        ),
        14 => Fault::MethodDuplicate,
        15 => Fault::LateMethod { by },
        16 => Fault::DuplicateDelivery,
        17 => Fault::HalfOpen,
        18 => Fault::SplitAt { byte: more },
        _ => Fault::AmqpDelayDesired { by },
    }
}
