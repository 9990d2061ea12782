//! Cloud-to-device messages.

mod answers;
mod content;
mod given_back;
mod queue;
mod redelivery;

pub(crate) use answers::*;
pub(crate) use content::*;
pub(crate) use given_back::*;
pub(crate) use queue::*;
pub(crate) use redelivery::*;

use iothub_core::Feature;
use iothub_emulator::C2dMessage;

use crate::bench::{Bench, DEVICE};
use crate::program::Program;

/// A program that is subscribed, with every subscription granted.
fn listening(bench: &Bench<'_>) -> Program {
    let mut program = bench.start();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    program.until_ready();
    program
}

/// Sends messages with these ids, and bodies that repeat them.
fn send<'a>(bench: &Bench<'_>, ids: impl IntoIterator<Item = &'a str>) {
    for id in ids {
        bench.send_c2d(DEVICE, C2dMessage::new(id.to_owned()).message_id(id)).expect("the queue has room");
    }
}
