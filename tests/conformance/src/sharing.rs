//! Several clients on one connection, where a transport carries them: each is served, and none disturbs another.

use std::collections::BTreeSet;

use iothub_core::ConnectionState::{Connected, Connecting, Ready, Waiting};
use iothub_core::{
    ClientBuilder, ClientCertificate, ConnectionErrorKind, ConnectionStatusReason, CreateError, Device, DeviceClient,
    Face, Feature, ModuleClient, SharedTransport, TwinUpdate,
};
use iothub_emulator::{C2dMessage, C2dResult, DeviceAuth, Fault, MethodCall, RefusalReason, Who};
use serde_json::json;

use crate::bench::Bench;
use crate::program::{LIMIT, Program, drive};
use crate::record;
use crate::subject::Subject;

const IDS: [&str; 4] = ["shared-1", "shared-2", "shared-3", "shared-4"];

/// A client on the shared transport.
fn join<K: Face>(
    bench: &Bench<'_>,
    transport: &SharedTransport,
    builder: ClientBuilder<K>,
    who: Who<'static>,
) -> Program<K> {
    let client = bench.options(builder).build(transport);
    Program::new(client.expect("there is room, and nobody else of this name"), bench.hub(), who)
}

/// The options of a client of a device that the hub knows.
fn builder(bench: &Bench<'_>, id: &str) -> ClientBuilder<Device> {
    let device = bench.device(id).expect("it exists");
    DeviceClient::builder(&bench.reachable(device.connection_string()))
}

/// A new device on the shared transport.
fn device(bench: &Bench<'_>, transport: &SharedTransport, id: &'static str) -> Program {
    bench.create_device(id).expect("it is new");
    join(bench, transport, builder(bench, id), id.into())
}

/// New devices on the shared transport, ready.
fn devices<const N: usize>(bench: &Bench<'_>, transport: &SharedTransport, ids: [&'static str; N]) -> [Program; N] {
    let mut programs = ids.map(|id| device(bench, transport, id));
    programs.iter_mut().for_each(Program::until_ready);
    programs
}

/// Runs all side by side until `done` holds.
fn run(programs: &mut [Program], what: &str, mut done: impl FnMut(&mut [&mut Program]) -> bool) {
    drive(&mut programs.iter_mut().collect::<Vec<_>>(), what, &mut done);
}

/// It has been connected since it was made, has heard of nothing, and works.
fn is_undisturbed(bench: &Bench<'_>, program: &mut Program, id: &'static str) {
    program.round_trip();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    let message = bench.send_c2d(id, C2dMessage::new("still there?")).expect("the queue has room");
    let received = program.receive();
    assert_eq!(received.message_id(), Some(message.as_str()));
    received.complete();
    program.until_hub("the answer is there", |hub| hub.c2d_queue(id).is_empty());
    assert_eq!(program.states(), [Connecting, Connected, Ready]);
    assert_eq!(program.stats().connections, 1);
    assert!(program.notices.is_empty(), "{:?}", program.notices);
    assert_eq!(record::carriers(bench, id).len(), 1, "its part of the connection was made anew");
}

pub(crate) fn devices_and_a_module_do_everything_on_one_connection(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let Some(transport) = bench.shared() else { return };
    let mut programs = IDS.map(|id| device(&bench, &transport, id));
    let who: Who<'static> = (IDS[0], "module").into();
    let identity = bench.create_module(IDS[0], "module").expect("it is new");
    let builder = ModuleClient::builder(&bench.reachable(identity.connection_string()));
    let mut module = join(&bench, &transport, builder, who);
    for (program, id) in programs.iter_mut().zip(IDS) {
        for feature in [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods] {
            program.subscribe(feature).expect("the transport has it");
        }
        program.send(format!("from {id}"));
        program.send_reported_state_tracked(format!("{{\"by\":\"{id}\"}}")).expect("there is room");
    }
    for feature in [Feature::DesiredProperties, Feature::Methods] {
        module.subscribe(feature).expect("the transport has it");
    }
    module.send("from the module");
    run(&mut programs, "everybody has its whole twin and its outcomes", |programs| {
        module.turn();
        let has_all = |twins: usize, outcomes: usize| (twins, outcomes) == (1, 1);
        has_all(module.twins.len(), module.confirmations.len())
            && programs.iter().all(|it| has_all(it.twins.len(), it.confirmations.len()) && it.reports.len() == 1)
    });

    let patch = |to: Who<'_>, name: &str| bench.patch_desired(to, json!({"for": name})).expect("the patch is allowed");
    let mut calls = Vec::new();
    for id in IDS {
        bench.send_c2d(id, C2dMessage::new(format!("to {id}"))).expect("the queue has room");
        patch(id.into(), id);
        calls.push(bench.start_method(id, MethodCall::new(id)).expect("the device is there"));
    }
    patch(who, "module");
    calls.push(bench.start_method(who, MethodCall::new("module")).expect("the module is there"));
    run(&mut programs, "everybody has what is its own", |programs| {
        module.turn();
        let has_all = |twins: usize, calls: usize| (twins, calls) == (2, 1);
        has_all(module.twins.len(), module.calls.len())
            && programs.iter().all(|it| has_all(it.twins.len(), it.calls.len()) && it.messages.len() == 1)
    });
    let is_for = |update: Option<&TwinUpdate>, name: &str| match update {
        Some(TwinUpdate::Patch(patch)) => {
            let change: serde_json::Value = serde_json::from_slice(patch.json()).expect("the hub sends JSON");
            assert_eq!(change["for"], name);
        }
        other => panic!("a change was to come, not {other:?}"),
    };
    for (program, id) in programs.iter_mut().zip(IDS) {
        let message = program.messages.pop_front().expect("one was received");
        assert_eq!(message.payload().as_ref(), format!("to {id}").as_bytes());
        message.complete();
        is_for(program.twins.back(), id);
        let call = program.calls.pop_front().expect("one was called");
        assert_eq!(call.name(), id);
        call.respond(200, format!("\"{id}\"")).expect("it is JSON");
    }
    is_for(module.twins.back(), "module");
    let call = module.calls.pop_front().expect("one was called");
    assert_eq!(call.name(), "module");
    call.respond(200, "\"module\"").expect("it is JSON");
    module.turn();
    // Any client's turn drives the connection for all, once each has handed over what it has.
    programs.iter_mut().for_each(Program::turn);
    programs[0].until_hub("everything is answered", |hub| {
        calls.iter().all(|call| call.try_result().is_some()) && IDS.iter().all(|id| hub.c2d_queue(id).is_empty())
    });
    for (call, name) in calls.iter().zip(IDS.into_iter().chain(["module"])) {
        let answer = call.wait(LIMIT).expect("it was answered");
        assert_eq!((answer.status, answer.payload), (200, json!(name)));
    }
    for id in IDS {
        assert_eq!(bench.telemetry(id).iter().map(|it| it.body.clone()).collect::<Vec<_>>(), [format!("from {id}")]);
        assert_eq!(bench.twin(id).expect("it has one").reported, json!({"by": id}));
        let ends: Vec<_> = bench.c2d_outcomes(id).into_iter().map(|outcome| outcome.result).collect();
        assert_eq!(ends, [C2dResult::Completed]);
    }
    assert_eq!(bench.telemetry(who)[0].body, "from the module");
    let carriers = IDS.into_iter().map(Who::from).chain([who]).flat_map(|who| record::carriers(&bench, who));
    assert_eq!(carriers.collect::<BTreeSet<_>>().len(), 1, "not all were on one connection");
    module.finish();
    programs.into_iter().for_each(Program::finish);
}

pub(crate) fn what_goes_wrong_for_one_is_not_noticed_by_the_others(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let Some(transport) = bench.shared() else { return };
    let [mut good] = devices(&bench, &transport, ["good"]);
    let mut ids = vec![good.send("before")];

    // One that is not let in, whose attempts go on beside all that follows.
    bench.create_device("disabled").expect("it is new");
    bench.set_device_enabled("disabled", false).expect("it exists");
    let mut disabled = join(&bench, &transport, builder(&bench, "disabled"), "disabled".into());
    let refusals = |program: &Program| {
        program.statuses.iter().filter(|it| it.reason == ConnectionStatusReason::BadCredential).count()
    };
    drive(&mut [&mut disabled, &mut good], "one was refused three times", |programs| refusals(programs[0]) >= 3);
    ids.push(good.send("beside a refused one"));

    // One that the hub cuts off again and again.
    let [mut cut] = devices(&bench, &transport, ["cut"]);
    for times in 2..=3 {
        assert_eq!(bench.disconnect_device("cut"), Ok(true));
        drive(&mut [&mut cut, &mut good, &mut disabled], "it is back", |programs| {
            programs[0].stats().connections == times && programs[0].connection_state() == Ready
        });
        ids.push(good.send(format!("beside one that is cut off {times}")));
    }

    // One that takes all that it is sent, and answers nothing.
    let [mut mute] = devices(&bench, &transport, ["mute"]);
    mute.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    for _ in 0..50 {
        bench.send_c2d("mute", C2dMessage::new("x")).expect("the queue has room");
    }
    drive(&mut [&mut mute, &mut good], "it holds all that it may hold", |programs| programs[0].messages.len() == 50);
    ids.push(good.send("beside a mute one"));

    good.until_confirmed(&ids);
    assert!(good.confirmations.iter().all(|(_, outcome)| outcome.is_ok()));
    is_undisturbed(&bench, &mut good, "good");
    let last = &cut.statuses.last().expect("it has heard").state;
    assert_eq!((*last, record::carriers(&bench, "cut").len()), (Ready, 3));
    [good, disabled, cut, mute].into_iter().for_each(Program::finish);
}

pub(crate) fn devices_join_and_leave_at_any_time(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let Some(transport) = bench.shared() else { return };
    let [mut stays] = devices(&bench, &transport, ["stays"]);
    bench.create_device("guest").expect("it is new");
    let mut ids = Vec::new();
    let send = |program: &mut Program, ids: &mut Vec<_>, round: usize| {
        ids.extend((0..10).map(|n| program.send(format!("{round} {n}"))));
    };
    for round in 0..4 {
        send(&mut stays, &mut ids, 2 * round);
        let mut guest = join(&bench, &transport, builder(&bench, "guest"), "guest".into());
        let id = guest.send(format!("visit {round}"));
        drive(&mut [&mut guest, &mut stays], "the guest was served", |programs| programs[0].outcome(id).is_some());
        assert_eq!(guest.outcome(id), Some(&Ok(())));
        send(&mut stays, &mut ids, 2 * round + 1);
        // One closes, the next is just dropped.
        if round % 2 == 0 {
            guest.finish();
        } else {
            drop(guest);
        }
        stays.until_hub("the guest has left", |hub| !hub.connected("guest"));
    }
    stays.until_confirmed(&ids);
    let visits: Vec<_> = bench.telemetry("guest").iter().map(|it| it.body.clone()).collect();
    assert_eq!(visits, ["visit 0", "visit 1", "visit 2", "visit 3"]);
    let expected: Vec<_> = (0..8).flat_map(|round| (0..10).map(move |n| format!("{round} {n}"))).collect();
    assert_eq!(bench.telemetry("stays").iter().map(|it| it.body.clone()).collect::<Vec<_>>(), expected);
    is_undisturbed(&bench, &mut stays, "stays");
    let carriers = ["stays", "guest"].map(|id| record::carriers(&bench, id));
    assert_eq!(carriers[1], [carriers[0][0]; 4], "the guest came on a connection of its own");
    stays.finish();
}

pub(crate) fn the_loss_of_the_connection_is_told_to_each_and_nothing_is_lost(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let Some(transport) = bench.shared() else { return };
    let mut programs = devices(&bench, &transport, IDS);
    if !bench.knows(&Fault::KillTcp) {
        return;
    }
    let send = |program: &mut Program, bodies: &[String]| {
        for body in bodies {
            program.send(body.clone());
        }
    };
    let bodies: Vec<_> = (0..20).map(|n| format!("message {n}")).collect();
    for program in &mut programs {
        send(program, &bodies[..10]);
        program.turn();
    }
    bench.inject_for(IDS[1], Fault::KillTcp);
    for program in &mut programs {
        send(program, &bodies[10..]);
    }
    run(&mut programs, "everybody is back, and all is confirmed", |programs| {
        programs.iter().all(|it| it.confirmations.len() == 20 && it.stats().connections == 2)
    });
    programs.iter_mut().for_each(Program::until_ready);
    for (program, id) in programs.iter().zip(IDS) {
        assert_eq!(program.states(), [Connecting, Connected, Ready, Waiting, Connecting, Connected, Ready]);
        assert!(program.confirmations.iter().all(|(_, outcome)| outcome.is_ok()));
        let mut seen = BTreeSet::new();
        let mut stored: Vec<_> = bench.telemetry(id).iter().map(|it| it.body.clone()).collect();
        stored.retain(|body| seen.insert(body.clone()));
        assert_eq!(stored, bodies, "lost, or out of order");
    }
    let carriers: BTreeSet<_> = IDS.into_iter().map(|id| record::carriers(&bench, id)).collect();
    let carriers: Vec<_> = carriers.into_iter().collect();
    assert!(carriers.len() == 1 && carriers[0].len() == 2, "not all came back on one connection: {carriers:?}");
    programs.into_iter().for_each(Program::finish);
}

pub(crate) fn a_second_client_of_the_same_device_is_refused(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let Some(transport) = bench.shared() else { return };
    let [mut first, mut other] = devices(&bench, &transport, ["first", "other"]);
    let error = bench.options(builder(&bench, "first")).build(&transport).expect_err("it is there already");
    assert!(matches!(&error, CreateError::Register { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("/devices/first") && text.contains("registered already"), "{text}");
    is_undisturbed(&bench, &mut first, "first");
    is_undisturbed(&bench, &mut other, "other");
    // Its place is free once it has left.
    first.finish();
    let mut second = join(&bench, &transport, builder(&bench, "first"), "first".into());
    second.round_trip();
    second.finish();
    other.finish();
}

pub(crate) fn the_token_of_another_device_is_refused(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let Some(transport) = bench.shared() else { return };
    let [mut good] = devices(&bench, &transport, ["good"]);
    bench.create_device("thief").expect("it is new");
    let token = bench.device("good").expect("it exists").sas_token(LIMIT * 100);
    let text = format!("HostName={};DeviceId=thief;SharedAccessSignature={token}", bench.host_name());
    let mut thief = join(&bench, &transport, DeviceClient::builder(&bench.reachable(&text)), "thief".into());
    let id = thief.send("stolen");
    drive(&mut [&mut thief, &mut good], "it is refused", |programs| programs[0].states().contains(&Waiting));
    let refused = thief.statuses.iter().find(|change| change.state == Waiting).expect("it was told");
    let kind = refused.error.as_ref().map(|error| error.kind.clone());
    assert_eq!(
        (refused.reason, kind),
        (ConnectionStatusReason::BadCredential, Some(ConnectionErrorKind::NotAuthorized))
    );
    assert_eq!((thief.outcome(id), bench.telemetry_count("thief"), bench.telemetry_count("good")), (None, 0, 0));
    let why = record::refusals_of(&bench, "thief");
    assert!(matches!(why[0], RefusalReason::TokenAudience { .. }), "{why:?}");
    is_undisturbed(&bench, &mut good, "good");
    thief.finish();
    good.finish();
}

pub(crate) fn a_certificate_is_refused_as_it_speaks_for_one_device_only(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let Some(transport) = bench.shared() else { return };
    let [mut good] = devices(&bench, &transport, ["good"]);
    let issued = bench.issue_device_certificate("certified").expect("the hub has a device CA");
    bench.create_device_with("certified", DeviceAuth::CertificateAuthority).expect("it is new");
    let certificate = ClientCertificate::from_pem(issued.certificate_pem, issued.private_key_pem);
    let client = bench.options(builder(&bench, "certified").certificate(certificate.clone())).build(&transport);
    let error = client.expect_err("the connection is of several");
    assert!(matches!(&error, CreateError::Register { .. }), "{error:?}");
    assert!(error.to_string().contains("one identity"), "{error}");
    // Nor can a client take one later.
    let error = good.set_credential(certificate).expect_err("the connection is of several");
    assert!(error.to_string().contains("one identity"), "{error}");
    is_undisturbed(&bench, &mut good, "good");
    assert!(bench.activity("certified").is_empty(), "something was sent for it");
    good.finish();
}
