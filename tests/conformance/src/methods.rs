//! Direct methods.

mod answered;
mod called;
mod refused;

pub(crate) use answered::*;
pub(crate) use called::*;
pub(crate) use refused::*;

use iothub_core::{Feature, MethodRequest};
use iothub_emulator::{MethodCall, MethodError, MethodResult, PendingMethod};
use serde_json::Value;

use crate::bench::{Bench, DEVICE};
use crate::program::Program;

/// A program that takes direct methods, with every subscription granted.
fn serving(bench: &Bench<'_>) -> Program {
    let mut program = bench.start();
    program.subscribe(Feature::Methods).expect("the transport has direct methods");
    program.until_ready();
    program
}

/// A back end calls a method without a payload.
fn call(bench: &Bench<'_>, name: &str) -> PendingMethod {
    call_with(bench, MethodCall::new(name))
}

fn call_with(bench: &Bench<'_>, call: MethodCall) -> PendingMethod {
    bench.start_method(DEVICE, call).expect("the call can be made, and the device is there")
}

/// Runs until the caller knows how the call ended.
fn end(program: &mut Program, call: &PendingMethod) -> Result<MethodResult, MethodError> {
    program.until_hub("the call has ended", |_| call.try_result().is_some());
    call.try_result().expect("it has")
}

/// As [`end`], for a call that has an answer.
fn answer(program: &mut Program, call: &PendingMethod) -> (i64, Value) {
    let result = end(program, call).expect("the device has answered");
    (result.status, result.payload)
}

fn respond(request: MethodRequest, status: i32, body: &'static str) {
    request.respond(status, body).expect("the answer is JSON of an allowed size");
}
