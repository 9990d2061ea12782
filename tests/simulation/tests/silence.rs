//! What a hub may never say over AMQP: each wait for it ends at its own time, with its own reason, and takes nobody else with it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use iothub_core::{
    ConnectStage, ConnectionErrorKind, ConnectionState, DeviceClient, Endpoint, Event, Feature, SharedTransport, Waits,
    wait_any,
};
use iothub_emulator::{Activity, AmqpLink, C2dMessage, CbsFault, DisconnectReason, Fault, MethodCall, TwinReplyFault};
use iothub_simulation::{Answer, Over, Sim};

const LIMIT: Duration = Duration::from_secs(3600);
/// How long the client waits for an answer of the hub, if nothing else is set.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it waits for the outcome of a message.
const OUTCOME: Duration = Duration::from_secs(60);
/// How long a goodbye may take, of a device's part and of the connection.
const GOODBYE: Duration = Duration::from_secs(1);

/// The life of a token.
const LIFE: Duration = Duration::from_secs(600);

const ALL: [Feature; 3] = [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods];

/// A client, and what it heard, with the time since the start.
struct Subject {
    client: DeviceClient,
    heard: Vec<(Duration, Event)>,
}

impl Subject {
    fn is_ready(&self) -> bool {
        self.client.connection_state() == ConnectionState::Ready
    }

    /// When and why it was down.
    fn outages(&self) -> Vec<(Duration, ConnectionErrorKind)> {
        let outage = |(at, event): &(Duration, Event)| match event {
            Event::Status(change) => Some((*at, change.error.clone()?.kind)),
            _ => None,
        };
        self.heard.iter().filter_map(outage).collect()
    }

    fn has_reported(&self) -> bool {
        self.heard.iter().any(|(_, event)| matches!(event, Event::ReportedState { outcome: Ok(_), .. }))
    }
}

struct Bench {
    sim: Sim,
    transport: SharedTransport,
}

impl Bench {
    fn new() -> Self {
        let sim = Sim::new(1).over(Over::Amqp);
        let transport = SharedTransport::create(Endpoint::new(sim.hub().host_name()), sim.provider()).unwrap();
        Self { sim, transport }
    }

    fn subject(&self, id: &str, features: &[Feature]) -> Subject {
        let text = self.sim.create_device(id).unwrap();
        let mut client = DeviceClient::builder(&text).token_lifetime(LIFE).build(&self.transport).unwrap();
        for feature in features {
            client.subscribe(*feature).unwrap();
        }
        Subject { client, heard: Vec::new() }
    }

    /// One that is ready.
    fn ready(&self, id: &str, features: &[Feature]) -> Subject {
        let mut subject = self.subject(id, features);
        self.until(&mut [&mut subject], |subjects| subjects[0].is_ready());
        subject
    }

    /// Drives all until then, or until it is so; whether it is.
    fn drive(&self, subjects: &mut [&mut Subject], end: Duration, done: impl Fn(&[&mut Subject]) -> bool) -> bool {
        loop {
            for subject in subjects.iter_mut() {
                subject.client.do_work();
                while let Some(event) = subject.client.next_event() {
                    match event {
                        Event::Method(request) => request.respond(200, "{}").unwrap(),
                        other => subject.heard.push((self.sim.elapsed(), other)),
                    }
                }
            }
            if done(subjects) {
                return true;
            }
            if self.sim.elapsed() >= end {
                return false;
            }
            let mut waits: Vec<_> = subjects.iter_mut().map(|subject| &mut subject.client as &mut dyn Waits).collect();
            wait_any(&mut waits, end - self.sim.elapsed());
        }
    }

    fn until(&self, subjects: &mut [&mut Subject], done: impl Fn(&[&mut Subject]) -> bool) {
        let is_so = self.drive(subjects, self.sim.elapsed() + LIMIT, done);
        assert!(is_so, "{:?}", subjects.iter().map(|subject| &subject.heard).collect::<Vec<_>>());
    }

    fn pass(&self, subjects: &mut [&mut Subject], time: Duration) {
        self.drive(subjects, self.sim.elapsed() + time, |_| false);
    }

    /// It has heard of nothing, and works.
    fn is_undisturbed(&self, subject: &mut Subject) {
        assert_eq!(subject.outages(), []);
        self.works(subject);
        assert_eq!(subject.client.stats().connections, 1);
    }

    /// A message of it reaches the hub, and at once.
    fn works(&self, subject: &mut Subject) {
        let start = self.sim.elapsed();
        let sent = subject.client.send_event_tracked("works").unwrap();
        self.until(&mut [subject], |subjects| {
            let is_it = |event: &Event| matches!(event, Event::Confirmation { id, outcome: Ok(()) } if *id == sent);
            subjects[0].heard.iter().any(|(_, event)| is_it(event))
        });
        assert_eq!(self.sim.elapsed(), start);
    }
}

fn timed_out(stage: ConnectStage) -> ConnectionErrorKind {
    ConnectionErrorKind::TimedOut { stage, after: PATIENCE }
}

fn end_of(activity: Activity) -> Option<DisconnectReason> {
    match activity {
        Activity::Disconnected { why, .. } => Some(why),
        _ => None,
    }
}

fn is_down(subjects: &[&mut Subject]) -> bool {
    !subjects[0].outages().is_empty()
}

fn is_ready(subjects: &[&mut Subject]) -> bool {
    subjects[0].is_ready()
}

#[test]
fn a_session_that_is_never_begun_is_given_up_and_begun_anew_on_the_same_connection() {
    let bench = Bench::new();
    let mut other = bench.ready("other", &ALL);
    bench.sim.withhold(&[Answer::Begin]);
    let mut late = bench.subject("late", &ALL);
    let start = bench.sim.elapsed();
    bench.until(&mut [&mut late, &mut other], is_down);
    assert_eq!(late.outages(), [(start + PATIENCE, timed_out(ConnectStage::Open))]);
    bench.sim.withhold(&[]);
    bench.until(&mut [&mut late, &mut other], is_ready);
    bench.works(&mut late);
    bench.is_undisturbed(&mut other);
}

#[test]
fn a_session_for_tokens_that_is_never_begun_is_an_attempt_that_fails() {
    let bench = Bench::new();
    bench.sim.withhold(&[Answer::Begin]);
    let mut subject = bench.subject("d", &ALL);
    bench.until(&mut [&mut subject], is_down);
    assert_eq!(subject.outages(), [(PATIENCE, timed_out(ConnectStage::Open))]);
    bench.sim.withhold(&[]);
    bench.until(&mut [&mut subject], is_ready);
    bench.works(&mut subject);
}

#[test]
fn a_connection_without_credit_for_tokens_is_made_anew_for_all_on_it() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.subject("one", &ALL), bench.subject("two", &ALL));
    bench.sim.hub().inject(Fault::AmqpWithholdCredit { link: AmqpLink::TokenRequests });
    bench.until(&mut [&mut one, &mut two], |subjects| subjects.iter().all(|subject| subject.is_ready()));
    for subject in [&one, &two] {
        assert_eq!(subject.outages(), [(PATIENCE, timed_out(ConnectStage::Open))]);
    }
}

#[test]
fn at_most_fifty_tokens_await_their_answer_and_the_time_of_the_next_begins_with_its_turn() {
    let bench = Bench::new();
    let mut subjects: Vec<_> = (0..60).map(|n| bench.subject(&format!("d{n}"), &[])).collect();
    for _ in 0..50 {
        bench.sim.hub().inject(Fault::Cbs(CbsFault::Withhold));
    }
    let mut subjects: Vec<_> = subjects.iter_mut().collect();
    bench.pass(&mut subjects, PATIENCE - Duration::from_secs(1));
    let is_token = |activity: &Activity| matches!(activity, Activity::TokenPut { .. });
    let has_put = |n: &usize| bench.sim.hub().activity(&format!("d{n}")).iter().any(is_token);
    assert_eq!((0..60).filter(has_put).count(), 50);
    bench.until(&mut subjects, |subjects| subjects.iter().all(|subject| subject.is_ready()));
    let (waited, late): (Vec<_>, Vec<_>) = subjects.iter().partition(|subject| subject.outages().is_empty());
    assert_eq!((waited.len(), late.len()), (10, 50));
    assert!(late.iter().all(|subject| subject.outages() == [(PATIENCE, timed_out(ConnectStage::Open))]));
}

#[test]
fn a_hub_that_gives_no_more_credit_for_renewed_tokens_is_left_before_the_last_one_expires() {
    let bench = Bench::new();
    let mut subject = bench.ready("d", &[]);
    bench.sim.withhold(&[Answer::Flow]);
    let end = bench.sim.elapsed() + LIFE * 200;
    assert!(bench.drive(&mut [&mut subject], end, is_down), "its credit lasts");
    let outages = subject.outages();
    assert_eq!(outages[0].1, timed_out(ConnectStage::Open));
    bench.sim.withhold(&[]);
    bench.until(&mut [&mut subject], is_ready);
    let ends: Vec<_> = bench.sim.hub().activity("d").into_iter().filter_map(end_of).collect();
    assert_eq!(ends, [DisconnectReason::ConnectionLost], "the hub had no reason to end it");
}

/// A hub that leaves this undone for a device that connects beside another.
fn is_given_up_and_made_anew(fault: Fault, stage: ConnectStage) {
    let bench = Bench::new();
    let mut other = bench.ready("other", &ALL);
    let mut late = bench.subject("late", &ALL);
    let start = bench.sim.elapsed();
    bench.sim.hub().inject_for("late", fault.clone());
    bench.until(&mut [&mut late, &mut other], is_ready);
    assert_eq!(late.outages(), [(start + PATIENCE, timed_out(stage))], "{fault:?}");
    bench.works(&mut late);
    bench.is_undisturbed(&mut other);
}

#[test]
fn a_token_that_is_never_answered_is_put_again() {
    is_given_up_and_made_anew(Fault::Cbs(CbsFault::Withhold), ConnectStage::Open);
}

#[test]
fn a_link_that_is_never_attached_is_attached_anew() {
    is_given_up_and_made_anew(Fault::AmqpWithholdAttach { link: AmqpLink::Telemetry }, ConnectStage::Open);
    for link in [
        AmqpLink::CloudToDevice,
        AmqpLink::TwinRequests,
        AmqpLink::TwinReplies,
        AmqpLink::MethodRequests,
        AmqpLink::MethodResponses,
    ] {
        is_given_up_and_made_anew(Fault::AmqpWithholdAttach { link }, ConnectStage::Subscribe);
    }
}

#[test]
fn a_subscription_to_changes_of_the_twin_without_credit_to_ask_for_it_is_asked_for_again() {
    let fault = Fault::AmqpWithholdCredit { link: AmqpLink::TwinRequests };
    is_given_up_and_made_anew(fault, ConnectStage::Subscribe);
}

#[test]
fn a_lost_answer_of_the_twin_is_asked_for_again_and_the_connection_stays() {
    for lost in [TwinReplyFault::Status(500), TwinReplyFault::Drop] {
        let bench = Bench::new();
        bench.sim.hub().inject(Fault::TwinReply(lost));
        let mut subject = bench.ready("d", &ALL);
        bench.until(&mut [&mut subject], |subjects| {
            subjects[0].heard.iter().any(|(_, event)| matches!(event, Event::Twin(_)))
        });
        assert_eq!(bench.sim.hub().pending_faults(), 0);
        bench.is_undisturbed(&mut subject);
    }
}

#[test]
fn a_renewed_token_that_the_hub_refuses_is_an_outage_at_once() {
    let bench = Bench::new();
    let mut subject = bench.ready("d", &ALL);
    bench.sim.hub().inject(Fault::Cbs(CbsFault::Status(401)));
    bench.until(&mut [&mut subject], is_down);
    // It is renewed after 80 % of its life.
    assert_eq!(subject.outages(), [(LIFE.mul_f64(0.8), ConnectionErrorKind::NotAuthorized)]);
    bench.until(&mut [&mut subject], is_ready);
    bench.works(&mut subject);
}

#[test]
fn a_request_to_the_twin_without_credit_ends_the_devices_part_and_is_made_on_the_next() {
    let bench = Bench::new();
    let mut other = bench.ready("other", &ALL);
    bench.sim.hub().inject_for("d", Fault::AmqpWithholdCredit { link: AmqpLink::TwinRequests });
    let mut subject = bench.ready("d", &[Feature::Twin]);
    let start = bench.sim.elapsed();
    subject.client.send_reported_state_tracked(r#"{"a":1}"#).unwrap();
    bench.pass(&mut [&mut subject, &mut other], PATIENCE / 2);
    // Nothing else waits for it.
    bench.works(&mut subject);
    bench.until(&mut [&mut subject, &mut other], |subjects| subjects[0].has_reported());
    assert_eq!(subject.outages(), [(start + PATIENCE, timed_out(ConnectStage::Subscribe))]);
    bench.is_undisturbed(&mut other);
}

#[test]
fn an_answer_to_a_method_without_credit_ends_the_devices_part() {
    let bench = Bench::new();
    let mut other = bench.ready("other", &ALL);
    bench.sim.hub().inject_for("d", Fault::AmqpWithholdCredit { link: AmqpLink::MethodResponses });
    let mut subject = bench.ready("d", &[Feature::Methods, Feature::Twin]);
    let start = bench.sim.elapsed();
    let call = || bench.sim.hub().start_method("d", MethodCall::new("do").response_timeout(PATIENCE * 2)).unwrap();
    let first = call();
    bench.pass(&mut [&mut subject, &mut other], PATIENCE / 2);
    // Nothing else waits for it.
    bench.works(&mut subject);
    subject.client.send_reported_state_tracked(r#"{"a":1}"#).unwrap();
    bench.until(&mut [&mut subject, &mut other], |subjects| subjects[0].has_reported());
    assert_eq!(bench.sim.elapsed(), start + PATIENCE / 2);
    bench.until(&mut [&mut subject, &mut other], |subjects| subjects[0].client.stats().connections == 2);
    assert_eq!(subject.outages(), [(start + PATIENCE, timed_out(ConnectStage::Subscribe))]);
    assert!(first.try_result().is_none(), "nobody has answered");
    bench.until(&mut [&mut subject, &mut other], is_ready);
    let second = call();
    bench.until(&mut [&mut subject, &mut other], |_| second.try_result().is_some_and(|result| result.is_ok()));
    bench.is_undisturbed(&mut other);
}

#[test]
fn telemetry_without_credit_ends_the_devices_part_after_a_minute_and_is_sent_on_the_next() {
    let bench = Bench::new();
    let mut other = bench.ready("other", &ALL);
    bench.sim.hub().inject_for("d", Fault::AmqpWithholdCredit { link: AmqpLink::Telemetry });
    let mut subject = bench.ready("d", &[]);
    let start = bench.sim.elapsed();
    subject.client.send_event("late").unwrap();
    bench.until(&mut [&mut subject, &mut other], |subjects| subjects[0].client.stats().delivered == 1);
    let late = ConnectionErrorKind::NoAcknowledgement { after: OUTCOME };
    assert_eq!(subject.outages(), [(start + OUTCOME, late)]);
    bench.is_undisturbed(&mut other);
}

#[test]
fn the_end_of_a_link_is_noticed_at_once_though_telemetry_waits_for_its_credit() {
    let bench = Bench::new();
    bench.sim.hub().inject_for("d", Fault::AmqpWithholdCredit { link: AmqpLink::Telemetry });
    let mut subject = bench.ready("d", &[]);
    subject.client.send_event("late").unwrap();
    bench.pass(&mut [&mut subject], Duration::from_secs(1));
    let end = bench.sim.elapsed();
    bench.sim.hub().inject_for("d", Fault::AmqpDetach { link: AmqpLink::Telemetry, condition: None });
    bench.until(&mut [&mut subject], |subjects| subjects[0].client.stats().delivered == 1);
    assert_eq!(subject.outages(), [(end, ConnectionErrorKind::ClosedByPeer)]);
}

#[test]
fn links_that_the_hub_does_not_let_go_end_the_devices_part_and_come_with_the_next() {
    let bench = Bench::new();
    let (mut other, mut subject) = (bench.ready("other", &ALL), bench.ready("d", &ALL));
    bench.sim.withhold(&[Answer::Detach]);
    ALL.iter().for_each(|feature| subject.client.unsubscribe(*feature));
    subject.client.do_work();
    let start = bench.sim.elapsed();
    ALL.iter().for_each(|feature| subject.client.subscribe(*feature).unwrap());
    bench.until(&mut [&mut subject, &mut other], is_down);
    assert_eq!(subject.outages(), [(start + PATIENCE, timed_out(ConnectStage::Subscribe))]);
    bench.sim.withhold(&[]);
    bench.until(&mut [&mut subject, &mut other], is_ready);
    bench.sim.hub().send_c2d("d", C2dMessage::new("x")).unwrap();
    let call = bench.sim.hub().start_method("d", MethodCall::new("do")).unwrap();
    bench.pass(&mut [&mut subject, &mut other], Duration::from_secs(1));
    assert!(subject.heard.iter().any(|(_, event)| matches!(event, Event::Message(_))), "{:?}", subject.heard);
    assert_eq!(call.try_result().unwrap().unwrap().status, 200);
    bench.is_undisturbed(&mut other);
}

#[test]
fn a_client_closes_in_time_though_the_hub_does_not_answer_its_goodbye() {
    use Answer::{Close, Detach, End};
    for (withheld, goodbyes) in
        [(&[][..], 0), (&[Detach], 1), (&[End], 1), (&[Close], 1), (&[Detach, End], 1), (&[Detach, End, Close], 2)]
    {
        let bench = Bench::new();
        let mut subject = bench.ready("d", &ALL);
        bench.sim.hub().send_c2d("d", C2dMessage::new("undecided")).unwrap();
        bench.pass(&mut [&mut subject], Duration::from_secs(1));
        bench.sim.withhold(withheld);
        let start = bench.sim.elapsed();
        subject.client.close(LIMIT);
        assert_eq!(bench.sim.elapsed() - start, GOODBYE * goodbyes, "{withheld:?}");
        assert!(!bench.sim.hub().connected("d"), "{withheld:?}");
    }
}

#[test]
fn a_client_closes_in_time_though_what_it_has_to_say_waits_for_credit() {
    for link in [AmqpLink::MethodResponses, AmqpLink::TwinRequests] {
        let bench = Bench::new();
        bench.sim.hub().inject_for("d", Fault::AmqpWithholdCredit { link });
        let mut subject = bench.ready("d", &[Feature::Methods, Feature::Twin]);
        subject.client.send_reported_state_tracked("{}").unwrap();
        let _call = bench.sim.hub().start_method("d", MethodCall::new("do")).unwrap();
        bench.pass(&mut [&mut subject], Duration::from_secs(1));
        let start = bench.sim.elapsed();
        subject.client.close(LIMIT);
        let took = bench.sim.elapsed() - start;
        assert!(took <= PATIENCE, "{link:?}: {took:?}");
        // Its last bytes get through when somebody looks.
        bench.ready("next", &[]);
        assert!(!bench.sim.hub().connected("d"), "{link:?}");
    }
}

#[test]
fn one_of_two_closes_in_time_though_the_hub_does_not_answer_and_the_other_stays() {
    use Answer::{Detach, End};
    for withheld in [&[End][..], &[Detach], &[Detach, End]] {
        let bench = Bench::new();
        let (mut stays, mut leaves) = (bench.ready("stays", &ALL), bench.ready("leaves", &ALL));
        bench.sim.withhold(withheld);
        let start = bench.sim.elapsed();
        leaves.client.close(LIMIT);
        assert!(bench.sim.elapsed() - start <= GOODBYE, "{withheld:?}");
        bench.works(&mut stays);
        drop(leaves);
        // Nor does the next one notice.
        let mut next = bench.ready("next", &ALL);
        bench.works(&mut next);
        bench.pass(&mut [&mut next, &mut stays], LIMIT);
        bench.is_undisturbed(&mut next);
        bench.is_undisturbed(&mut stays);
    }
}
