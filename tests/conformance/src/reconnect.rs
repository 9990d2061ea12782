//! Losing the connection, at every point of its life: nothing is lost, and the client comes back.

use std::time::Duration;

use iothub_core::ConnectionState::{Connected, Connecting, Ready, Waiting};
use iothub_core::{ConnectStage, ConnectionErrorKind, ConnectionStatusReason, Feature, OpId};
use iothub_emulator::{Activity, AmqpLink, C2dMessage, CbsFault, DisconnectReason, DropPoint, Fault};

use crate::bench::{Bench, DEVICE};
use crate::program::Program;
use crate::record;
use crate::subject::{Settings, Subject};

const MESSAGES: usize = 20;

fn bodies(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("message {n}")).collect()
}

fn send(program: &mut Program, bodies: &[String]) -> Vec<OpId> {
    bodies.iter().map(|body| program.send(body.clone())).collect()
}

/// Every message is confirmed, once and in order, and stored: each at least once, first copies in order, and no copy
/// more than the client says that it sent. Afterwards the connection is as good as any.
fn everything_arrived(subject: &dyn Subject, bench: &Bench<'_>, program: &mut Program, sent: &[String], ids: &[OpId]) {
    program.until_confirmed(ids);
    let confirmed: Vec<_> = program.confirmations.iter().map(|(id, outcome)| (*id, outcome.clone())).collect();
    assert_eq!(confirmed, ids.iter().map(|id| (*id, Ok(()))).collect::<Vec<_>>());
    assert_eq!(record::first_stored(bench), sent);
    let copies = record::stored(bench).len() - sent.len();
    assert!(copies as u64 <= program.stats().resent, "{copies} copies, {} resent", program.stats().resent);
    if subject.marks_repeats() {
        let mut seen = std::collections::BTreeSet::new();
        for (body, marked) in record::stored(bench).iter().zip(record::marked_as_repeated(bench)) {
            assert!(seen.insert(body.clone()) || marked, "the copy of {body:?} is not marked as one");
        }
    }
    program.round_trip();
}

/// The same, and the hub knows of no other connection than the client. The end of a behaviour.
fn nothing_is_lost(subject: &dyn Subject, bench: &Bench<'_>, mut program: Program, sent: &[String], ids: &[OpId]) {
    everything_arrived(subject, bench, &mut program, sent, ids);
    assert_eq!(record::connections(bench), usize::try_from(program.stats().connections).expect("a small number"));
    program.finish();
}

fn drop_at(at: DropPoint) -> Fault {
    Fault::Drop { device: None, at }
}

/// The first connection is dropped in one of these ways, as the protocol has them, with messages waiting and a subscription
/// wanted. What is left without an answer is dropped behind that.
fn dropped_on_the_way_in<const N: usize>(subject: &dyn Subject, ways: [Fault; N]) {
    let bench = Bench::new(subject);
    let Some(fault) = bench.can_inject_one_of(ways) else { return };
    let mut program = bench.start();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    let sent = bodies(MESSAGES);
    let ids = send(&mut program, &sent);
    let mut faults = 1;
    if matches!(fault, Fault::AmqpWithholdAttach { .. }) {
        program.until_hub("the hub keeps its answer", |hub| record::faults(hub).len() == 1);
        bench.inject_for(DEVICE, Fault::KillTcp);
        faults = 2;
    }
    program.until_status(Waiting, 0);
    let down = program.statuses.iter().position(|change| change.state == Waiting).expect("it was told");
    program.until_status(Ready, down);
    let states = program.states();
    assert_eq!(states[down..], [Waiting, Connecting, Connected, Ready]);
    // Only where the acceptance is a packet of its own is it surely heard before the loss. Whether the hub's last answer is
    // read before that is the network's business.
    let is_accepted = match fault {
        Fault::Drop { at, .. } => {
            matches!(at, DropPoint::ConnackSent | DropPoint::SubscribeReceived | DropPoint::SubackSent)
        }
        _ => true,
    };
    let (before, steps) = (&states[..down], if is_accepted { 2 } else { 1 });
    assert!(before.len() >= steps && [Connecting, Connected, Ready].starts_with(before), "{before:?}");
    assert_eq!((bench.pending_faults(), record::faults(&bench).len()), (0, faults));
    program.round_trip_from_hub();
    // The hub may have counted the connection that was dropped, although the client did not see it made.
    program.until_confirmed(&ids);
    let seen = usize::try_from(program.stats().connections).expect("a small number");
    let unseen = usize::from(matches!(fault, Fault::Drop { at: DropPoint::Attached, .. }));
    assert!((seen..=seen + unseen).contains(&record::connections(&bench)));
    everything_arrived(subject, &bench, &mut program, &sent, &ids);
    program.finish();
}

pub(crate) fn dropped_after_tcp_nothing_is_lost(subject: &dyn Subject) {
    dropped_on_the_way_in(subject, [drop_at(DropPoint::TcpAccepted)]);
}

pub(crate) fn dropped_after_tls_nothing_is_lost(subject: &dyn Subject) {
    dropped_on_the_way_in(subject, [drop_at(DropPoint::TlsEstablished)]);
}

pub(crate) fn dropped_with_the_credentials_unanswered_nothing_is_lost(subject: &dyn Subject) {
    dropped_on_the_way_in(subject, [DropPoint::ConnectReceived, DropPoint::PutTokenReceived].map(drop_at));
}

pub(crate) fn dropped_with_the_credentials_accepted_nothing_is_lost(subject: &dyn Subject) {
    dropped_on_the_way_in(subject, [DropPoint::ConnackSent, DropPoint::AttachReceived].map(drop_at));
}

pub(crate) fn dropped_with_the_subscription_unanswered_nothing_is_lost(subject: &dyn Subject) {
    let unanswered = Fault::AmqpWithholdAttach { link: AmqpLink::CloudToDevice };
    dropped_on_the_way_in(subject, [drop_at(DropPoint::SubscribeReceived), unanswered]);
}

pub(crate) fn dropped_with_the_subscription_granted_nothing_is_lost(subject: &dyn Subject) {
    dropped_on_the_way_in(subject, [DropPoint::SubackSent, DropPoint::Attached].map(drop_at));
}

/// A connection in use is dropped at this point, several messages on.
fn dropped_in_use(subject: &dyn Subject, at: DropPoint) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.set_message_callback(|message, _| message.complete()).expect("the transport has messages");
    program.until_ready();
    let sent = bodies(MESSAGES);
    let mut ids = send(&mut program, &sent[..3]);
    program.until_confirmed(&ids);
    if !bench.can_inject(drop_at(at)) {
        return program.finish();
    }
    // A message from the hub is among what may be cut in half.
    bench.send_c2d(DEVICE, C2dMessage::new("x").message_id("m1")).expect("the queue has room");
    ids.extend(send(&mut program, &sent[3..]));
    program.until_confirmed(&ids);
    program.until_hub("the message to the device is completed", |hub| record::completed(hub) == ["m1"]);
    program.until_ready();
    assert_eq!(bench.pending_faults(), 0);
    assert_eq!(program.states(), [Connecting, Connected, Ready, Waiting, Connecting, Connected, Ready]);
    // One acknowledgement may be for all of them.
    assert!(program.stats().resent > 0 || at == DropPoint::PubackSent);
    nothing_is_lost(subject, &bench, program, &sent, &ids);
}

pub(crate) fn dropped_before_a_message_is_stored_nothing_is_lost(subject: &dyn Subject) {
    dropped_in_use(subject, DropPoint::PublishReceived);
}

pub(crate) fn dropped_between_storing_and_acknowledging_nothing_is_lost(subject: &dyn Subject) {
    dropped_in_use(subject, DropPoint::PublishStored);
}

pub(crate) fn dropped_after_an_acknowledgement_nothing_is_lost(subject: &dyn Subject) {
    dropped_in_use(subject, DropPoint::PubackSent);
}

pub(crate) fn dropped_in_the_middle_of_a_packet_nothing_is_lost(subject: &dyn Subject) {
    dropped_in_use(subject, DropPoint::MidPacket);
}

pub(crate) fn a_message_sent_again_keeps_its_place_before_new_ones(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::Drop { device: None, at: DropPoint::PublishStored }) {
        return;
    }
    let mut program = bench.start();
    let old = program.send("old");
    program.until_status(Waiting, 0);
    let new = program.send("new");
    program.until_confirmed(&[old, new]);
    assert_eq!(record::stored(&bench), ["old", "old", "new"]);
    if subject.marks_repeats() {
        let packets: Vec<_> = bench
            .activity(DEVICE)
            .into_iter()
            .filter_map(|activity| match activity {
                Activity::Telemetry { packet_id, dup, .. } => Some((packet_id, dup)),
                _ => None,
            })
            .collect();
        assert_eq!(packets.iter().map(|(_, dup)| *dup).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(packets[0].0, packets[1].0, "a repetition has the identifier of the original");
        assert_ne!(packets[1].0, packets[2].0);
    }
    program.finish();
}

pub(crate) fn a_window_that_was_full_at_the_drop_opens_again(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::Drop { device: None, at: DropPoint::PublishReceived }) {
        return;
    }
    let settings = Settings { max_in_flight: Some(5), ..Settings::default() };
    let mut program = bench.start_with(settings, |builder| builder);
    let sent = bodies(MESSAGES);
    let ids = send(&mut program, &sent);
    program.until_confirmed(&ids);
    assert_eq!((program.stats().resent, record::connections(&bench)), (5, 2));
    nothing_is_lost(subject, &bench, program, &sent, &ids);
}

pub(crate) fn ten_drops_in_a_row_lose_nothing(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let points = [DropPoint::PublishReceived, DropPoint::PublishStored, DropPoint::PubackSent, DropPoint::MidPacket];
    let mut injected = 0;
    for at in points.into_iter().cycle().take(10) {
        injected += usize::from(bench.can_inject(Fault::Drop { device: None, at }));
    }
    let mut program = bench.start();
    let sent = bodies(200);
    let ids = send(&mut program, &sent);
    program.until_confirmed(&ids);
    // The last loss may come behind the last confirmation.
    program.until("every loss was told", |program| {
        program.statuses.iter().filter(|change| change.state == Waiting).count() == injected
    });
    assert_eq!(record::faults(&bench).len(), injected);
    nothing_is_lost(subject, &bench, program, &sent, &ids);
}

pub(crate) fn a_session_lost_at_the_hub_is_subscribed_anew_and_loses_no_telemetry(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    program.until_ready();
    let dropped = bench.can_inject(Fault::Drop { device: None, at: DropPoint::PublishStored });
    if !dropped || !bench.can_inject(Fault::SessionLost) {
        return program.finish();
    }
    let ids = [program.send("a"), program.send("b")];
    program.until_confirmed(&ids);
    program.until_ready();
    assert_eq!(record::sessions_present(&bench), [false, false]);
    assert_eq!(record::first_stored(&bench), ["a", "b"]);
    if subject.marks_repeats() {
        let marked = record::marked_as_repeated(&bench);
        assert!(marked.len() > 2 && !marked.contains(&true), "to a hub that has forgotten all, it is new: {marked:?}");
    }
    program.round_trip_from_hub();
    assert_eq!(record::subscriptions(&bench), 2);
    program.finish();
}

/// The hub stays silent at this stage; the client notices, and comes back.
fn silence_is_noticed<const N: usize>(subject: &dyn Subject, faults: [Fault; N], stage: ConnectStage) {
    let bench = Bench::new(subject);
    let Some(fault) = bench.can_inject_one_of(faults) else { return };
    let after = Duration::from_secs(1);
    let settings = Settings { connect_timeout: Some(after), ..Settings::default() };
    let mut program = bench.start_with(settings, |builder| builder);
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    let sent = bodies(MESSAGES);
    let ids = send(&mut program, &sent);
    let waiting = program.until_status(Waiting, 0);
    let kind = waiting.error.expect("a failed attempt has a cause").kind;
    assert_eq!(kind, ConnectionErrorKind::TimedOut { stage, after });
    assert_eq!(record::faults(&bench), [fault]);
    program.until_ready();
    nothing_is_lost(subject, &bench, program, &sent, &ids);
}

pub(crate) fn a_hub_that_does_not_answer_the_credentials_is_left(subject: &dyn Subject) {
    let silent = [Fault::WithholdConnack, Fault::Cbs(CbsFault::Withhold)];
    silence_is_noticed(subject, silent, ConnectStage::Open);
}

pub(crate) fn a_hub_that_does_not_answer_a_subscription_is_left(subject: &dyn Subject) {
    let silent = [Fault::WithholdSuback, Fault::AmqpWithholdAttach { link: AmqpLink::CloudToDevice }];
    silence_is_noticed(subject, silent, ConnectStage::Subscribe);
}

pub(crate) fn a_hub_that_has_gone_silent_is_left(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let keep_alive = Duration::from_secs(5);
    let settings = Settings { keep_alive: Some(keep_alive), ..Settings::default() };
    let (mut program, clock) = bench.start_with_settings_and_clock(settings);
    program.until_ready();
    let Some(silence) = bench.can_inject_one_of([Fault::WithholdPingresp, Fault::HalfOpen]) else {
        return program.finish();
    };
    clock.advance(keep_alive);
    program.until_hub("the hub is silent", |hub| record::faults(hub).len() == 1);
    program.until("the silence is noticed", |program| {
        clock.advance(keep_alive / 4);
        program.statuses.len() > 3
    });
    let waiting = program.statuses[3].clone();
    assert_eq!((waiting.state, waiting.reason), (Waiting, ConnectionStatusReason::NoPingResponse));
    let kind = waiting.error.expect("a drop has a cause").kind;
    let in_time = matches!(kind, ConnectionErrorKind::NoPingResponse { after } if after <= keep_alive * 3 / 2);
    assert!(in_time, "{kind:?}");
    program.round_trip();
    assert_eq!(record::faults(&bench), [silence]);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn an_idle_connection_is_kept_alive(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    // The hub's patience is one and a half of this over MQTT, and twice as much over AMQP.
    let interval = Duration::from_secs(120);
    let settings = Settings { keep_alive: Some(interval), ..Settings::default() };
    let (mut program, clock) = bench.start_with_settings_and_clock(settings);
    program.subscribe(Feature::DesiredProperties).expect("the transport has a twin");
    program.until_ready();
    program.receive_twin();
    for count in 1..=3 {
        clock.advance(interval);
        program.until_hub(&format!("{count} signs of life have come"), |hub| record::pings(hub) >= count);
        // A change needs no answer, so it is the hub alone that speaks; the client has heard it out.
        bench.patch_desired(DEVICE, serde_json::json!({"count": count})).expect("the patch is allowed");
        program.receive_twin();
        bench.advance_clock(interval);
    }
    program.round_trip();
    assert_eq!(program.states(), [Connecting, Connected, Ready]);
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn a_service_that_disconnects_the_device_again_and_again_loses_nothing(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.set_message_callback(|message, _| message.complete()).expect("the transport has messages");
    let sent = bodies(5 * MESSAGES);
    let mut ids = Vec::new();
    for (round, part) in sent.chunks(MESSAGES).enumerate() {
        program.until_ready();
        ids.extend(send(&mut program, part));
        bench.send_c2d(DEVICE, C2dMessage::new("x").message_id(format!("m{round}"))).expect("the queue has room");
        program.turn();
        let told = program.statuses.len();
        assert_eq!(bench.disconnect_device(DEVICE), Ok(true));
        program.until_status(Ready, told);
    }
    program.until_hub("every message to the device is completed", |hub| record::completed(hub).len() == 5);
    assert_eq!(record::completed(&bench), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(record::ends(&bench), [const { DisconnectReason::ByService }; 5]);
    nothing_is_lost(subject, &bench, program, &sent, &ids);
}
