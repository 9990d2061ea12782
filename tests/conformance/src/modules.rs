//! Modules: who they are, what is theirs, and the routes between them.

mod identity;
mod inputs;
mod outputs;

pub(crate) use identity::*;
pub(crate) use inputs::*;
pub(crate) use outputs::*;

use iothub_core::{Feature, Module};
use iothub_emulator::{C2dMessage, C2dResult, Config};

use crate::bench::{Bench, DEVICE};
use crate::program::Program;
use crate::subject::Subject;

/// The module of almost every behaviour.
const MODULE: &str = "module-1";

/// Another one of the same device.
const SIBLING: &str = "module-2";

/// A hub in the cloud, with a module.
fn cloud(subject: &dyn Subject) -> Bench<'_> {
    let bench = Bench::new(subject);
    bench.create_module(DEVICE, MODULE).expect("it is new");
    bench
}

/// An Edge hub with these routes and two modules; `None` if the transport has no inputs, so that the behaviour does not
/// apply.
fn edge<'a>(subject: &'a dyn Subject, routes: &[&str]) -> Option<Bench<'a>> {
    edge_with(subject, routes, Config::new())
}

/// The same for a hub with these settings.
fn edge_with<'a>(subject: &'a dyn Subject, routes: &[&str], config: Config) -> Option<Bench<'a>> {
    let bench = Bench::with(subject, config.with_edge_routes(DEVICE, routes));
    if !bench.has(Feature::Inputs) {
        return None;
    }
    for module in [MODULE, SIBLING] {
        bench.create_module(DEVICE, module).expect("it is new");
    }
    Some(bench)
}

/// A module that is subscribed to its inputs, and ready.
fn listening(bench: &Bench<'_>, module: &'static str) -> Program<Module> {
    let mut program = bench.start_module(module);
    program.subscribe(Feature::Inputs).expect("the transport has inputs");
    program.until_ready();
    program
}

/// Sends messages with these ids, which are their bodies too, to an input of the module.
fn send<'i>(bench: &Bench<'_>, input: &str, ids: impl IntoIterator<Item = &'i str>) {
    for id in ids {
        let message = C2dMessage::new(id.to_owned()).message_id(id);
        bench.send_input((DEVICE, MODULE), input, message).expect("the queue has room");
    }
}

/// The ids of the input messages that the module has completed, in order.
fn completed(bench: &Bench<'_>, module: &str) -> Vec<String> {
    let outcomes = bench.input_outcomes((DEVICE, module)).into_iter();
    outcomes.filter(|outcome| outcome.result == C2dResult::Completed).map(|outcome| outcome.message_id).collect()
}

fn until_completed(program: &mut Program<Module>, bench: &Bench<'_>, ids: &[&str]) {
    program.until_hub(&format!("{ids:?} are completed"), |hub| {
        let outcomes = hub.input_outcomes((DEVICE, MODULE));
        outcomes.iter().filter(|outcome| outcome.result == C2dResult::Completed).count() >= ids.len()
    });
    assert_eq!(completed(bench, MODULE), ids);
}
