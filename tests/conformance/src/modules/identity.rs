//! Who may connect as a module, and what is a module's own.

use iothub_core::{ConnectionErrorKind, ConnectionState, Feature, ModuleClient, Unsupported};
use iothub_emulator::{Activity, DisconnectReason, MethodCall};
use serde_json::{Value, json};

use super::{MODULE, SIBLING, cloud};
use crate::bench::{Bench, DEVICE};
use crate::program::{LIMIT, drive};
use crate::record;
use crate::subject::Subject;

pub(crate) fn a_modules_telemetry_is_its_own(subject: &dyn Subject) {
    let bench = cloud(subject);
    let mut program = bench.start_module(MODULE);
    program.deliver("of the module");
    let records = bench.telemetry((DEVICE, MODULE));
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((record.device_id.as_str(), record.module_id.as_deref()), (DEVICE, Some(MODULE)));
    assert_eq!(record.stamps["iothub-connection-module-id"], MODULE);
    assert_eq!((record.body.as_ref(), bench.telemetry_count(DEVICE)), (&b"of the module"[..], 0));
    program.finish();
}

pub(crate) fn a_module_its_device_and_its_sibling_are_connected_side_by_side(subject: &dyn Subject) {
    let bench = cloud(subject);
    bench.create_module(DEVICE, SIBLING).expect("it is new");
    let mut device = bench.start();
    device.until_ready();
    let (mut first, mut second) = (bench.start_module(MODULE), bench.start_module(SIBLING));
    drive(&mut [&mut first, &mut second], "both are ready", |programs| {
        programs.iter().all(|program| program.connection_state() == ConnectionState::Ready)
    });
    device.round_trip();
    first.round_trip();
    second.round_trip();
    for stats in [device.stats(), first.stats(), second.stats()] {
        assert_eq!((stats.connections, stats.delivered), (1, 1));
    }
    device.finish();
    first.finish();
    second.finish();
}

pub(crate) fn a_module_is_refused_with_the_key_of_its_sibling_and_a_device_with_that_of_its_module(
    subject: &dyn Subject,
) {
    let bench = cloud(subject);
    let key_of = |text: &str| text.split("SharedAccessKey=").nth(1).expect("it has a key").to_owned();
    let sibling = bench.create_module(DEVICE, SIBLING).expect("it is new");
    let other = key_of(sibling.connection_string());
    let with_other = |text: &str| bench.reachable(&text.replace(&key_of(text), &other));

    let module = bench.module(DEVICE, MODULE).expect("it is registered");
    let module = bench.options(ModuleClient::builder(&with_other(module.connection_string())));
    let mut module = bench.run(module, (DEVICE, MODULE).into());
    let waiting = module.until_status(ConnectionState::Waiting, 0);
    assert_eq!(waiting.error.as_ref().map(|error| &error.kind), Some(&ConnectionErrorKind::NotAuthorized));
    module.finish();

    let device = bench.device(DEVICE).expect("it is registered");
    let mut device = bench.run(bench.builder(&with_other(device.connection_string())), DEVICE.into());
    let waiting = device.until_status(ConnectionState::Waiting, 0);
    assert_eq!(waiting.error.as_ref().map(|error| &error.kind), Some(&ConnectionErrorKind::NotAuthorized));
    assert_eq!((record::connections(&bench), bench.connected((DEVICE, MODULE))), (0, false));
    device.finish();
}

pub(crate) fn an_unknown_module_is_refused_and_connects_once_it_is_created(subject: &dyn Subject) {
    let bench = cloud(subject);
    let auth = bench.module(DEVICE, MODULE).expect("it is registered").auth;
    let mut program = bench.start_module(MODULE);
    bench.delete_module(DEVICE, MODULE).expect("it exists");
    let id = program.send("kept");
    program.until_status(ConnectionState::Waiting, 0);
    bench.create_module_with(DEVICE, MODULE, auth).expect("it is gone");
    program.until_confirmed(&[id]);
    assert_eq!(bench.telemetry_count((DEVICE, MODULE)), 1);
    program.finish();
}

pub(crate) fn a_module_that_is_deleted_is_cut_off(subject: &dyn Subject) {
    let bench = cloud(subject);
    let mut program = bench.start_module(MODULE);
    program.until_ready();
    bench.delete_module(DEVICE, MODULE).expect("it exists");
    program.until_status(ConnectionState::Waiting, 0);
    let ends = bench.activity((DEVICE, MODULE)).into_iter().filter_map(|activity| match activity {
        Activity::Disconnected { why, .. } => Some(why),
        _ => None,
    });
    let ends: Vec<_> = ends.collect();
    assert!(matches!(ends[0], DisconnectReason::ModuleDeleted), "{ends:?}");
    program.finish();
}

pub(crate) fn a_module_id_may_have_every_character_that_is_allowed(subject: &dyn Subject) {
    const STRANGE: &str = "Ab9-.%_*?!(),:=@$'";
    let bench = Bench::new(subject);
    bench.create_module(DEVICE, STRANGE).expect("the id is allowed");
    let mut program = bench.start_module(STRANGE);
    program.round_trip();
    assert_eq!(bench.telemetry_count((DEVICE, STRANGE)), 1);
    program.finish();
}

pub(crate) fn a_modules_twin_is_its_own(subject: &dyn Subject) {
    let bench = cloud(subject);
    if !bench.has(Feature::DesiredProperties) {
        return;
    }
    bench.patch_desired(DEVICE, json!({"of": "device"})).expect("it is allowed");
    bench.patch_desired((DEVICE, MODULE), json!({"of": "module"})).expect("it is allowed");
    let mut program = bench.start_module(MODULE);
    program.subscribe(Feature::DesiredProperties).expect("the transport has twins");
    let whole: Value = serde_json::from_slice(program.receive_twin().json()).expect("the twin is JSON");
    assert_eq!(whole["desired"]["of"], "module");
    program.until_ready();

    bench.patch_desired(DEVICE, json!({"of": "device again"})).expect("it is allowed");
    bench.patch_desired((DEVICE, MODULE), json!({"more": 1})).expect("it is allowed");
    let change: Value = serde_json::from_slice(program.receive_twin().json()).expect("the change is JSON");
    assert_eq!((&change["more"], change.get("of")), (&json!(1), None));

    program.report(r#"{"state":"on"}"#).expect("the hub stores it");
    assert_eq!(bench.twin((DEVICE, MODULE)).expect("it exists").reported["state"], "on");
    assert_eq!(bench.twin(DEVICE).expect("it exists").reported.get("state"), None);
    let asked = program.fetch().expect("the hub answers");
    let asked: Value = serde_json::from_slice(asked.json()).expect("the twin is JSON");
    assert_eq!((&asked["reported"]["state"], &asked["desired"]["more"]), (&json!("on"), &json!(1)));
    program.finish();
}

pub(crate) fn a_method_is_called_on_the_module_that_it_is_for(subject: &dyn Subject) {
    let bench = cloud(subject);
    if !bench.has(Feature::Methods) {
        return;
    }
    let (mut device, mut module) = (bench.start(), bench.start_module(MODULE));
    device.subscribe(Feature::Methods).expect("the transport has methods");
    module.subscribe(Feature::Methods).expect("the transport has methods");
    device.until_ready();
    module.until_ready();
    let call = MethodCall::new("reset").connect_timeout(LIMIT).response_timeout(LIMIT);
    let pending = bench.start_method((DEVICE, MODULE), call).expect("the call is in order");
    module.receive_call().respond(200, r#"{"by":"module"}"#).expect("it is JSON");
    module.until_hub("the caller has the answer", |_| pending.try_result().is_some());
    let result = pending.wait(LIMIT).expect("the module answers");
    assert_eq!((result.status, result.payload), (200, json!({"by": "module"})));
    device.round_trip();
    assert_eq!((device.stats().methods, module.stats().methods), (0, 1));
    device.finish();
    module.finish();
}

pub(crate) fn a_module_has_nothing_from_the_cloud_and_a_device_no_inputs(subject: &dyn Subject) {
    let bench = cloud(subject);
    let feature = Feature::CloudToDevice;
    assert_eq!(bench.start_module(MODULE).subscribe(feature), Err(Unsupported::ByModule { feature }));
    assert_eq!(bench.start().subscribe(Feature::Inputs), Err(Unsupported::ByDevice { what: "inputs" }));
}
