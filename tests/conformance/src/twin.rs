//! The device twin.

mod asked;
mod followed;
mod reported;
mod troubled;

pub(crate) use asked::*;
pub(crate) use followed::*;
pub(crate) use reported::*;
pub(crate) use troubled::*;

use iothub_core::{Feature, TwinUpdate};
use serde_json::Value;

use crate::bench::{Bench, DEVICE};
use crate::program::Program;

/// A program that follows the twin, with every subscription granted.
fn following(bench: &Bench<'_>) -> Program {
    let mut program = bench.start();
    program.subscribe(Feature::DesiredProperties).expect("the transport has a twin");
    program.until_ready();
    program
}

/// Changes the desired properties at the hub; gives the new version.
fn change(bench: &Bench<'_>, patch: Value) -> u64 {
    bench.patch_desired(DEVICE, patch).expect("the patch is allowed")
}

fn parsed(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("the hub sends JSON")
}

/// The next that the client tells is the whole twin.
fn receive_whole(program: &mut Program) -> Value {
    match program.receive_twin() {
        TwinUpdate::Full(twin) => {
            let whole = parsed(twin.json());
            assert_eq!(whole["desired"]["$version"], twin.desired_version());
            whole
        }
        other => panic!("the whole twin was to come, not {other:?}"),
    }
}

/// The next that the client tells is a change.
fn receive_change(program: &mut Program) -> Value {
    match program.receive_twin() {
        TwinUpdate::Patch(patch) => {
            let change = parsed(patch.json());
            assert_eq!(change["$version"], patch.version());
            change
        }
        other => panic!("a change was to come, not {other:?}"),
    }
}

/// What the hub has, as a device is given it.
fn at_hub(bench: &Bench<'_>) -> Value {
    let twin = bench.twin(DEVICE).expect("the device has a twin");
    let (mut desired, mut reported) = (twin.desired, twin.reported);
    desired["$version"] = twin.desired_version.into();
    reported["$version"] = twin.reported_version.into();
    serde_json::json!({"desired": desired, "reported": reported})
}
