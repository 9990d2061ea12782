//! Tokens are replaced before they expire, and nobody notices but the hub.

use std::time::{Duration, SystemTime};

use iothub_core::ConnectionState::{Connected, Connecting, Ready, Renewing, Stopped};
use iothub_core::{ConnectionErrorKind, ConnectionStatus, ConnectionStatusReason, CredentialError, Event, Feature};
use iothub_emulator::{C2dMessage, Config, DeviceAuth, DisconnectReason, MethodCall};
use serde_json::json;

use crate::bench::{Bench, DEVICE};
use crate::clock::Clock;
use crate::credentials::with_certificate;
use crate::program::{LIMIT, Program};
use crate::record;
use crate::subject::{Settings, Subject};

/// A little more than 80 % of a token's hour.
const UNTIL_RENEWAL: Duration = Duration::from_secs(49 * 60);

/// Time passes for the client, and the hub's date changes with it. No time passes for the hub: its keep-alive goes on.
fn pass(bench: &Bench<'_>, clock: &Clock, by: Duration) {
    bench.set_clock(bench.now() + by);
    clock.advance(by);
}

/// Runs until this many renewals are complete, on both sides.
fn until_renewed(program: &mut Program, times: u8) {
    program.until("the token is renewed", |program| {
        program.stats().renewals == u64::from(times) && program.connection_state() == Ready
    });
    program.until_hub("the hub has the new token", |hub| record::tokens(hub) == 1 + usize::from(times));
}

fn assert_no_outage(program: &Program) {
    let first_ready = program.states().iter().position(|state| *state == Ready).expect("it was ready");
    let outage = |change: &&iothub_core::StatusChange| {
        change.status() == ConnectionStatus::Unauthenticated || change.error.is_some()
    };
    let told = program.statuses[first_ready..].iter().find(outage);
    assert!(told.is_none(), "an outage was told: {told:?}");
}

/// The hub has had as many more tokens: on one connection, or on as many more, each left by the device in order.
fn renewed_at_the_hub(bench: &Bench<'_>, times: usize) {
    let replaced = if bench.renews_in_place() { 0 } else { times };
    assert_eq!((record::tokens(bench), record::connections(bench)), (1 + times, 1 + replaced));
    assert_eq!(record::ends(bench), vec![DisconnectReason::ByDevice; replaced], "the hub ended a connection");
}

pub(crate) fn tokens_are_renewed_under_load_without_an_outage(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    // So short that messages on the wire while the time passes are not overdue.
    let lifetime = Duration::from_secs(66);
    let until_renewal = Duration::from_secs(59);
    let (mut program, clock) = bench.start_with_clock(|builder| builder.token_lifetime(lifetime));
    for feature in [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods] {
        program.subscribe(feature).expect("the transport has it");
    }
    program.until_ready();
    let mut ids = Vec::new();
    for round in 1..=4 {
        ids.extend((0..30).map(|n| program.send(format!("{round} {n}"))));
        program.turn();
        pass(&bench, &clock, until_renewal);
        ids.extend((30..60).map(|n| program.send(format!("{round} {n}"))));
        let report = program.send_reported_state_tracked(format!("{{\"round\":{round}}}")).expect("there is room");
        until_renewed(&mut program, round);
        program.until_confirmed(&ids);
        program.until_reported(report).expect("the hub takes it");
        program.round_trip_from_hub();
        let call = bench.start_method(DEVICE, MethodCall::new("m")).expect("the device is there");
        program.receive_call().respond(200, "{}").expect("it is JSON");
        program.until_hub("the call has ended", |_| call.try_result().is_some());
    }
    assert_no_outage(&program);
    assert!(program.confirmations.iter().all(|(_, outcome)| outcome.is_ok()));
    let expected: Vec<_> = (1..=4).flat_map(|round| (0..60).map(move |n| format!("{round} {n}"))).collect();
    assert_eq!(record::stored(&bench), expected, "lost, sent twice or out of order");
    assert_eq!(program.stats().resent, 0);
    renewed_at_the_hub(&bench, 4);
    assert_eq!(bench.twin(DEVICE).expect("it has one").reported, json!({"round": 4}));
    assert!(program.notices.is_empty(), "{:?}", program.notices);
    program.finish();
}

pub(crate) fn a_token_of_five_seconds_is_renewed_in_real_time(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let lifetime = Duration::from_secs(5);
    let mut program = bench.start_with(Settings::default(), |builder| builder.token_lifetime(lifetime));
    program.deliver("before");
    until_renewed(&mut program, 1);
    program.deliver("after");
    assert_no_outage(&program);
    let told: &[_] = if bench.renews_in_place() { &[] } else { &[Renewing, Connected, Ready] };
    assert_eq!(program.states(), [&[Connecting, Connected, Ready], told].concat());
    assert_eq!(record::stored(&bench), ["before", "after"]);
    renewed_at_the_hub(&bench, 1);
    program.finish();
}

pub(crate) fn a_certificate_is_never_renewed(subject: &dyn Subject) {
    let (bench, certificate) = with_certificate(subject, |_| DeviceAuth::CertificateAuthority);
    let (mut program, clock) = bench.start_with_clock(|builder| builder.certificate(certificate));
    program.round_trip();
    for _ in 0..3 {
        pass(&bench, &clock, Duration::from_secs(24 * 3600));
        program.round_trip();
    }
    assert_eq!(program.states(), [Connecting, Connected, Ready]);
    assert_eq!((program.stats().renewals, record::connections(&bench)), (0, 1));
    program.finish();
}

pub(crate) fn a_call_under_way_is_answered_across_a_renewal(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    program.subscribe(Feature::Methods).expect("the transport has direct methods");
    program.until_ready();
    let call = bench.start_method(DEVICE, MethodCall::new("m")).expect("the device is there");
    let request = program.receive_call();
    pass(&bench, &clock, UNTIL_RENEWAL);
    let id;
    if bench.renews_in_place() {
        until_renewed(&mut program, 1);
        id = program.deliver("meanwhile");
    } else {
        program.until_status(Renewing, 3);
        id = program.send("meanwhile");
        program.turn();
        assert_eq!((program.outcome(id), record::connections(&bench)), (None, 1), "a call is under way");
    }
    request.respond(200, "{}").expect("it is JSON");
    program.until_confirmed(&[id]);
    program.until_hub("the call has ended", |_| call.try_result().is_some());
    assert_eq!(call.wait(LIMIT).expect("the device has answered").status, 200);
    assert_eq!(record::method_answers(&bench), [(200, false)]);
    assert_eq!(record::stored(&bench), ["meanwhile"]);
    renewed_at_the_hub(&bench, 1);
    assert_no_outage(&program);
    program.finish();
}

pub(crate) fn a_renewal_waits_no_longer_than_ten_seconds(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.reconnects_to_renew() {
        return;
    }
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    program.subscribe(Feature::Methods).expect("the transport has direct methods");
    program.until_ready();
    let _call = bench.start_method(DEVICE, MethodCall::new("held")).expect("the device is there");
    let request = program.receive_call();
    pass(&bench, &clock, UNTIL_RENEWAL);
    program.until_status(Renewing, 3);
    clock.advance(Duration::from_secs(10));
    until_renewed(&mut program, 1);
    request.respond(200, "{}").expect("it is JSON");
    program.until("the stale answer is told", |program| !program.notices.is_empty());
    assert!(matches!(&program.notices[..], [Event::StaleMethodResponse { .. }]), "{:?}", program.notices);
    program.round_trip();
    assert!(record::method_answers(&bench).is_empty(), "the stale answer was put on the wire");
    assert_no_outage(&program);
    program.finish();
}

pub(crate) fn an_undecided_message_is_not_lost_by_a_renewal(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    program.until_ready();
    pass(&bench, &clock, UNTIL_RENEWAL - Duration::from_secs(120));
    bench.send_c2d(DEVICE, C2dMessage::new("m").message_id("m1")).expect("the queue has room");
    let undecided = program.receive();
    pass(&bench, &clock, Duration::from_secs(120));
    until_renewed(&mut program, 1);
    if bench.renews_in_place() {
        undecided.complete();
    } else {
        // As after any reconnect: it comes again, and nobody needs the old one.
        let again = program.receive();
        assert_eq!(again.message_id(), Some("m1"));
        again.complete();
        undecided.abandon();
    }
    program.until_hub("it is completed", |hub| record::completed(hub) == ["m1"]);
    program.round_trip();
    assert!(program.notices.is_empty() && program.messages.is_empty(), "{:?}", program.notices);
    assert_no_outage(&program);
    program.finish();
}

/// A bench whose device has a token of the application for an hour, and a program with a clock.
fn with_ready_token(subject: &dyn Subject) -> (Bench<'_>, Program, Clock) {
    let mut bench = Bench::new(subject);
    let text = format!("HostName={};DeviceId={DEVICE};SharedAccessSignature={}", bench.host_name(), token(&bench));
    bench.connection_string = bench.reachable(&text);
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    program.deliver("first");
    (bench, program, clock)
}

/// A token for an hour from now on.
fn token(bench: &Bench<'_>) -> String {
    bench.device(DEVICE).expect("it exists").sas_token(Duration::from_secs(3600))
}

/// Runs until the application is told that its token expires, and gives when.
fn until_warned(program: &mut Program) -> SystemTime {
    program.until("the token's end is announced", |program| !program.notices.is_empty());
    match program.notices.remove(0) {
        Event::TokenExpiring { at } => at,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn the_end_of_an_applications_token_is_announced_and_it_is_replaced_in_time(subject: &dyn Subject) {
    let (bench, mut program, clock) = with_ready_token(subject);
    let began = bench.now();
    pass(&bench, &clock, UNTIL_RENEWAL);
    let at = until_warned(&mut program);
    let left = at.duration_since(began).expect("it is not over");
    assert!(left > UNTIL_RENEWAL && left <= Duration::from_secs(3600), "{left:?}");
    program.set_shared_access_signature(token(&bench)).expect("it is a token");
    until_renewed(&mut program, 1);
    // Past the end of the first token.
    pass(&bench, &clock, Duration::from_secs(15 * 60));
    program.deliver("second");
    assert!(program.notices.is_empty(), "{:?}", program.notices);
    pass(&bench, &clock, UNTIL_RENEWAL - Duration::from_secs(15 * 60));
    until_warned(&mut program);
    assert_no_outage(&program);
    assert_eq!(record::stored(&bench), ["first", "second"]);
    renewed_at_the_hub(&bench, 1);
    program.finish();
}

pub(crate) fn an_applications_token_that_expires_stops_the_client_until_there_is_another(subject: &dyn Subject) {
    let (bench, mut program, clock) = with_ready_token(subject);
    pass(&bench, &clock, UNTIL_RENEWAL);
    until_warned(&mut program);
    pass(&bench, &clock, Duration::from_secs(12 * 60));
    let stopped = program.until_status(Stopped, 3);
    assert_eq!(stopped.reason, ConnectionStatusReason::ExpiredSasToken);
    let error = stopped.error.expect("it has a cause");
    assert!(matches!(error.kind, ConnectionErrorKind::TokenExpired { .. }), "{error}");
    let id = program.send("kept");
    // Told to reconnect, it says the same, and sends no token that it knows to be over.
    let told = program.statuses.len();
    program.reconnect();
    program.until_status(Stopped, told);
    assert_eq!((program.outcome(id), record::connections(&bench)), (None, 1));
    assert!(record::refusals(&bench).is_empty(), "{:?}", record::refusals(&bench));
    program.set_shared_access_signature(token(&bench)).expect("it is a token");
    program.until_confirmed(&[id]);
    assert_eq!(record::stored(&bench), ["first", "kept"]);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn what_is_no_token_is_refused_and_disturbs_nothing(subject: &dyn Subject) {
    let (bench, mut program, _clock) = with_ready_token(subject);
    for text in ["", "SharedAccessSignature", "SharedAccessSignature sr=a&sig=secret", "sr=a&sig=secret&se=1"] {
        let error = program.set_shared_access_signature(text).expect_err("it is no token");
        assert!(matches!(error, CredentialError::Signature { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
    program.deliver("second");
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn a_device_with_a_key_takes_no_token(subject: &dyn Subject) {
    let bench = Bench::with(subject, Config::new());
    let mut program = bench.start();
    program.round_trip();
    let error = program.set_shared_access_signature(token(&bench)).expect_err("it has a key");
    assert_eq!(error, CredentialError::NotASignature);
    program.round_trip();
    assert_eq!((program.states(), record::connections(&bench)), (vec![Connecting, Connected, Ready], 1));
    program.finish();
}
