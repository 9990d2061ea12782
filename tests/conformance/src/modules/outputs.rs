//! What a module sends to its outputs, and where that goes.

use iothub_core::{IncomingMessage, Message, Module, OpId, Outbox, SystemProperty};
use iothub_emulator::{DropPoint, Fault};

use super::{MODULE, SIBLING, cloud, edge, listening};
use crate::bench::DEVICE;
use crate::program::Program;
use crate::subject::Subject;

/// Sends a tracked message to an output, and runs until the hub has confirmed it.
fn deliver(program: &mut Program<Module>, message: impl Into<Message>, output: &str) -> OpId {
    let id = program.send_event_to_output_tracked(message, output).expect("the message is in order");
    program.until_confirmed(&[id]);
    assert_eq!(program.outcome(id), Some(&Ok(())));
    id
}

pub(crate) fn an_output_is_a_property_where_there_is_no_edge(subject: &dyn Subject) {
    let bench = cloud(subject);
    let mut program = bench.start_module(MODULE);
    deliver(&mut program, "m", "alerts");
    program.deliver("plain");
    let records = bench.telemetry((DEVICE, MODULE));
    let outputs: Vec<_> = records.iter().map(|record| record.output().map(str::to_owned)).collect();
    assert_eq!(outputs, [Some("alerts".to_owned()), None]);
    program.finish();
}

pub(crate) fn an_output_goes_to_the_input_that_its_route_names(subject: &dyn Subject) {
    let route =
        r#"FROM /messages/modules/module-1/outputs/alerts INTO BrokeredEndpoint("/modules/module-2/inputs/in")"#;
    let Some(bench) = edge(subject, &[route]) else { return };
    let mut sender = bench.start_module(MODULE);
    let mut receiver = listening(&bench, SIBLING);
    let message =
        Message::new("hot").with_message_id("m1").and_then(|message| message.with_property("room", "kitchen & bath"));
    deliver(&mut sender, message.expect("the properties are allowed"), "alerts");
    let message = receiver.receive();
    assert_eq!((message.input_name(), message.payload().as_ref()), (Some("in"), &b"hot"[..]));
    assert_eq!((message.message_id(), message.property("room")), (Some("m1"), Some("kitchen & bath")));
    assert_eq!(message.system(SystemProperty::ConnectionDeviceId), Some(DEVICE));
    assert_eq!(message.system(SystemProperty::ConnectionModuleId), Some(MODULE));
    assert_eq!(message.system(SystemProperty::OutputName), None);
    message.complete();
    receiver.until_hub("the message is completed", |hub| hub.input_outcomes((DEVICE, SIBLING)).len() == 1);
    assert_eq!(super::completed(&bench, SIBLING), ["m1"]);
    sender.finish();
    receiver.finish();
}

pub(crate) fn an_output_that_is_routed_upstream_is_stored(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &["FROM /messages/modules/module-1/outputs/up INTO $upstream"]) else { return };
    let mut program = bench.start_module(MODULE);
    deliver(&mut program, "m", "up");
    program.until_stored(1);
    assert_eq!(bench.telemetry((DEVICE, MODULE))[0].body.as_ref(), b"m");
    program.finish();
}

pub(crate) fn an_output_without_a_route_is_confirmed_and_goes_nowhere(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &["FROM /messages/modules/module-1/outputs/up INTO $upstream"]) else { return };
    let mut program = bench.start_module(MODULE);
    deliver(&mut program, "lost", "elsewhere");
    deliver(&mut program, "kept", "up");
    program.until_stored(1);
    let bodies: Vec<_> = bench.telemetry((DEVICE, MODULE)).into_iter().map(|record| record.body).collect();
    assert_eq!(bodies, ["kept"]);
    assert_eq!(bench.input_queue((DEVICE, SIBLING)).len(), 0);
    program.finish();
}

pub(crate) fn an_output_in_flight_at_a_drop_arrives(subject: &dyn Subject) {
    let route = r#"FROM /messages/modules/module-1/* INTO BrokeredEndpoint("/modules/module-2/inputs/in")"#;
    let Some(bench) = edge(subject, &[route]) else { return };
    if !bench.can_inject_for((DEVICE, MODULE), Fault::Drop { device: None, at: DropPoint::PublishReceived }) {
        return;
    }
    let mut sender = bench.start_module(MODULE);
    let mut receiver = listening(&bench, SIBLING);
    deliver(&mut sender, "m", "any");
    let message = receiver.receive();
    assert_eq!((message.payload().as_ref(), sender.stats().resent), (&b"m"[..], 1));
    message.complete();
    receiver.round_trip();
    sender.finish();
    receiver.finish();
}

pub(crate) fn a_message_passes_from_an_input_to_an_output(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &["FROM /messages/modules/module-1/outputs/doubled INTO $upstream"]) else {
        return;
    };
    let mut program = bench.start_module(MODULE);
    let double = |message: IncomingMessage, outbox: &mut Outbox<Module>| {
        let doubled = message.payload().repeat(2);
        // The input is answered when the output is safe.
        let passed = outbox.send_event_to_output_with(doubled, "doubled", |outcome, _| match outcome {
            Ok(()) => message.complete(),
            Err(_) => message.abandon(),
        });
        passed.expect("the queue has room");
    };
    program.set_input_callback("in", double).expect("the transport has inputs");
    program.until_ready();
    super::send(&bench, "in", ["ab", "cd"]);
    program.until_stored(2);
    super::until_completed(&mut program, &bench, &["ab", "cd"]);
    let bodies: Vec<_> = bench.telemetry((DEVICE, MODULE)).into_iter().map(|record| record.body).collect();
    assert_eq!(bodies, ["abab", "cdcd"]);
    program.finish();
}

pub(crate) fn a_received_input_can_be_sent_on_as_it_is(subject: &dyn Subject) {
    let routes = [
        r#"FROM /messages/modules/module-2/outputs/out INTO BrokeredEndpoint("/modules/module-1/inputs/in")"#,
        "FROM /messages/modules/module-1/outputs/on INTO $upstream",
    ];
    let Some(bench) = edge(subject, &routes) else { return };
    let mut sender = bench.start_module(SIBLING);
    let mut program = listening(&bench, MODULE);
    let message = Message::new("m").with_message_id("m1").and_then(|message| message.with_property("a", "b"));
    deliver(&mut sender, message.expect("the properties are allowed"), "out");
    let message = program.receive();
    deliver(&mut program, message.message().clone(), "on");
    message.complete();
    program.until_stored(1);
    let record = &bench.telemetry((DEVICE, MODULE))[0];
    assert_eq!((record.system["message-id"].as_str(), record.property("a")), ("m1", Some(Some("b"))));
    assert_eq!(record.stamps["iothub-connection-module-id"], MODULE, "the sender is who sent it on");
    sender.finish();
    program.finish();
}
