//! The connection's life, as the application is told of it.

use std::sync::mpsc::channel;
use std::time::Duration;

use iothub_core::ConnectionState::{self, Closed, Connected, Connecting, Idle, Ready, Stopped, Waiting};
use iothub_core::{ConnectionErrorKind, ConnectionStatus, ConnectionStatusReason, Feature, RetryConfig, RetryPolicy};
use iothub_emulator::{AmqpLink, CbsFault, DisconnectReason, Fault, RefusalReason};

use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::{Settings, Subject, is_end_by_hub};

pub(crate) fn connecting_is_told_step_by_step(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    assert_eq!(program.connection_state(), Idle);
    program.until_ready();
    assert_eq!(program.states(), [Connecting, Connected, Ready]);
    let views: Vec<_> = program.statuses.iter().map(|change| (change.status(), change.reason)).collect();
    let unauthenticated = (ConnectionStatus::Unauthenticated, ConnectionStatusReason::Ok);
    let authenticated = (ConnectionStatus::Authenticated, ConnectionStatusReason::Ok);
    assert_eq!(views, [unauthenticated, authenticated, authenticated]);
    assert_eq!(program.statuses[0].attempt, 1);
    assert!(program.statuses.iter().all(|change| change.error.is_none() && change.next_attempt_in.is_none()));
    assert!(bench.connected(DEVICE));
    assert_eq!((record::connections(&bench), record::subscriptions(&bench)), (1, 1));
    program.finish();
}

pub(crate) fn a_client_without_subscriptions_is_ready_too_and_asks_for_none(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    program.round_trip();
    assert_eq!(program.states(), [Connecting, Connected, Ready]);
    assert_eq!((record::connections(&bench), record::subscriptions(&bench)), (1, 0));
    program.finish();
}

pub(crate) fn a_drop_is_told_once_with_its_cause_and_the_way_back(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    program.until_ready();
    assert_eq!(bench.disconnect_device(DEVICE), Ok(true));
    program.until_status(Ready, 3);
    assert_eq!(program.states()[3..], [Waiting, Connecting, Connected, Ready]);
    let dropped = &program.statuses[3];
    assert_eq!(dropped.status(), ConnectionStatus::Unauthenticated);
    assert_eq!(dropped.reason, ConnectionStatusReason::CommunicationError);
    let error = dropped.error.as_ref().expect("a drop has a cause");
    is_end_by_hub(subject, &error.kind, "detach-forced");
    assert_eq!((&*error.host, error.port), ("localhost", bench.port()));
    assert_eq!(dropped.next_attempt_in, Some(Duration::ZERO), "the first attempt after a drop is immediate");
    assert_eq!(program.stats().connections, 2);
    assert_eq!(record::connections(&bench), 2);
    assert_eq!(record::ends(&bench), [DisconnectReason::ByService]);
    assert!([vec![false, true], vec![]].contains(&record::sessions_present(&bench)), "the session was not kept");
    assert_eq!(record::subscriptions(&bench), 2, "everything is subscribed on every connect");
    program.finish();
}

pub(crate) fn closing_is_told_last(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    program.close();
    assert_eq!(program.states(), [Connecting, Connected, Ready, Closed]);
    let closed = &program.statuses[3];
    assert_eq!((closed.reason, &closed.error), (ConnectionStatusReason::Ok, &None));
    program.until_hub("the connection has ended", |hub| !record::ends(hub).is_empty());
    assert_eq!(record::ends(&bench), [DisconnectReason::ByDevice]);
    program.finish();
}

pub(crate) fn the_callback_hears_what_the_events_would_tell(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let (tx, rx) = channel();
    program.set_connection_status_callback(move |change, _| tx.send(change.state).expect("the behaviour listens"));
    program.until_ready();
    bench.disconnect_device(DEVICE).expect("it exists");
    let mut told: Vec<ConnectionState> = Vec::new();
    program.until("the client is ready again", |_| {
        told.extend(rx.try_iter());
        told.len() == 7
    });
    program.close();
    told.extend(rx.try_iter());
    assert_eq!(told, [Connecting, Connected, Ready, Waiting, Connecting, Connected, Ready, Closed]);
    assert!(program.statuses.is_empty(), "told twice: {:?}", program.statuses);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn subscribing_while_connected_changes_no_state(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    program.until_hub("the subscription has arrived", |hub| record::subscriptions(hub) == 1);
    program.round_trip_from_hub();
    assert_eq!(program.states(), [Connecting, Connected, Ready]);
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn each_failed_attempt_is_told_with_its_number_and_the_growing_delay(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let mut program = bench.start();
    let waiting = |program: &crate::program::Program| {
        let waits = program.statuses.iter().filter(|change| change.state == Waiting);
        waits.map(|change| (change.attempt, change.next_attempt_in.map(|delay| delay.as_millis()))).collect::<Vec<_>>()
    };
    program.until("four attempts have failed", |program| waiting(program).len() == 4);
    assert_eq!(waiting(&program), [(1, Some(100)), (2, Some(200)), (3, Some(400)), (4, Some(400))]);
    let attempts: Vec<_> = program.statuses.iter().filter(|change| change.state == Connecting).collect();
    assert_eq!(attempts.iter().map(|change| change.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(record::refusals(&bench), [const { RefusalReason::DeviceDisabled }; 4]);
    assert_eq!(record::connections(&bench), 0);
    program.finish();
}

pub(crate) fn without_a_retry_policy_a_drop_stops_the_client_until_it_is_told_to_reconnect(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start_with(Settings::default(), |builder| builder.retry_policy(RetryPolicy::None));
    program.until_ready();
    bench.disconnect_device(DEVICE).expect("it exists");
    let stopped = program.until_status(Stopped, 3);
    assert_eq!(stopped.reason, ConnectionStatusReason::RetryExpired);
    is_end_by_hub(subject, &stopped.error.expect("it has a cause").kind, "detach-forced");
    assert_eq!(program.next_deadline(), None, "a stopped client has nothing planned");
    let id = program.send("kept");
    program.turn();
    assert_eq!(record::connections(&bench), 1);
    program.reconnect();
    program.until_confirmed(&[id]);
    assert_eq!(record::stored(&bench), ["kept"]);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn a_new_retry_policy_revives_a_stopped_client(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start_with(Settings::default(), |builder| builder.retry_policy(RetryPolicy::None));
    program.until_ready();
    bench.disconnect_device(DEVICE).expect("it exists");
    program.until_status(Stopped, 3);
    let config = RetryConfig::default().with_initial_delay(Duration::from_millis(100));
    program.set_retry_policy(config);
    assert_eq!(*program.retry_policy(), config);
    program.until_ready();
    assert_eq!(program.states()[3..], [Stopped, Connecting, Connected, Ready]);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

/// The hub refuses one connection in one of these ways; gives the status that follows, and the hub's view is checked.
fn refused_with<const N: usize>(
    bench: &Bench<'_>,
    ways: [Fault; N],
    state: ConnectionState,
) -> Option<crate::program::Program> {
    bench.can_inject_one_of(ways)?;
    let mut program = bench.start();
    program.until_status(state, 0);
    assert_eq!(bench.pending_faults(), 0);
    Some(program)
}

pub(crate) fn a_hub_that_is_not_available_is_tried_again(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let ways = [Fault::RefuseConnect { code: 3 }, Fault::Cbs(CbsFault::Status(503))];
    let Some(mut program) = refused_with(&bench, ways, Waiting) else { return };
    assert_eq!(record::refusals(&bench), [RefusalReason::Fault]);
    let kind = program.statuses[1].error.clone().expect("it has a cause").kind;
    match subject.tells_why() {
        true => is_end_by_hub(subject, &kind, "503"),
        false => assert_eq!(kind, ConnectionErrorKind::ServerUnavailable),
    }
    program.until_ready();
    assert_eq!(program.states(), [Connecting, Waiting, Connecting, Connected, Ready]);
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn a_refusal_for_good_stops_the_client_until_it_is_told_to_reconnect(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let for_good = "amqp:not-implemented";
    let ways = [
        Fault::RefuseConnect { code: 2 },
        Fault::AmqpRefuseAttach { link: AmqpLink::Telemetry, condition: for_good.to_owned() },
    ];
    let Some(mut program) = refused_with(&bench, ways, Stopped) else { return };
    let stopped = program.statuses[1].clone();
    let kind = stopped.error.expect("it has a cause").kind;
    match subject.tells_why() {
        true => is_end_by_hub(subject, &kind, for_good),
        false => {
            assert_eq!(kind, ConnectionErrorKind::IdentifierRefused);
            assert_eq!(stopped.reason, ConnectionStatusReason::BadCredential);
        }
    }
    assert_eq!((program.next_deadline(), record::connections(&bench)), (None, 0));
    program.reconnect();
    program.until_ready();
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn the_hub_is_told_the_product_and_the_model(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let model = "dtmi:com:example:Thermostat;1";
    let mut program = bench
        .start_with(Settings::default(), |builder| builder.product_info("Thermo & Co / 1.0 (50%)").model_id(model));
    program.round_trip();
    let (client_type, model_id) = record::introduction(&bench);
    let client_type = client_type.expect("the client says what it is");
    assert!(client_type.starts_with("Thermo & Co / 1.0 (50%) iothub-client-rust/"), "{client_type}");
    assert_eq!(model_id.as_deref(), Some(model));
    assert!(!record::clean_sessions(&bench).contains(&true), "the hub must keep the session");
    assert_eq!(bench.telemetry(DEVICE)[0].stamps["dt-dataschema"], model);
    program.finish();
}
