//! What a hub may never answer over AMQP, and when the client gives it up: each wait ends by itself, with its own reason,
//! and takes nobody else with it.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::{Duration, Instant};

use iothub_client::{
    Amqp, ConnectionErrorKind, ConnectionState, DeviceClient, Endpoint, Event, Feature, RetryConfig, SharedTransport,
    StatusChange, Trust, Waits, wait_any,
};
use iothub_emulator::{AmqpLink, CbsFault, Emulator, Fault, MethodCall, TwinReplyFault};

const LIMIT: Duration = Duration::from_secs(60);
/// How long the hub may take for an answer; the emulator's others come within a fraction of it.
const PATIENCE: Duration = Duration::from_secs(3);

fn shared(emulator: &Emulator) -> SharedTransport {
    let mut endpoint = Endpoint::new(emulator.host_name());
    endpoint.port = Some(emulator.amqp_address().port());
    endpoint.trust = Trust::Pem(emulator.ca_pem());
    SharedTransport::create(endpoint, Amqp::new().connect_timeout(PATIENCE)).unwrap()
}

/// A device with every subscription, and what its client was told.
struct Subject {
    client: DeviceClient,
    statuses: Vec<StatusChange>,
    events: Vec<Event>,
}

impl Subject {
    fn new(emulator: &Emulator, id: &str, transport: &SharedTransport) -> Self {
        let device = emulator.create_device(id).unwrap();
        let port = emulator.amqp_address().port();
        let text = format!("{};GatewayHostName={}:{port}", device.connection_string(), emulator.host_name());
        let retry = RetryConfig::default().with_initial_delay(Duration::from_millis(100)).with_jitter(0.0);
        let builder = DeviceClient::builder(&text).trusted_certs(emulator.ca_pem()).retry_policy(retry);
        let mut client = builder.build(transport).unwrap();
        for feature in [Feature::CloudToDevice, Feature::Methods, Feature::DesiredProperties] {
            client.subscribe(feature).unwrap();
        }
        Self { client, statuses: Vec::new(), events: Vec::new() }
    }

    fn is_ready(&self) -> bool {
        self.client.connection_state() == ConnectionState::Ready
    }

    /// Why it was down, each time.
    fn outages(&self) -> Vec<&ConnectionErrorKind> {
        self.statuses.iter().filter_map(|change| change.error.as_ref()).map(|error| &error.kind).collect()
    }
}

fn drive(subjects: &mut [&mut Subject], mut done: impl FnMut(&mut [&mut Subject]) -> bool) {
    let until = Instant::now() + LIMIT;
    loop {
        for subject in subjects.iter_mut() {
            subject.client.do_work();
            while let Some(event) = subject.client.next_event() {
                match event {
                    Event::Status(change) => subject.statuses.push(change),
                    Event::Method(call) => call.respond(200, "{}").unwrap(),
                    other => subject.events.push(other),
                }
            }
        }
        if done(subjects) {
            return;
        }
        assert!(Instant::now() < until, "{:?}", subjects.iter().map(|subject| &subject.statuses).collect::<Vec<_>>());
        let mut waits: Vec<&mut dyn Waits> = Vec::new();
        subjects.iter_mut().for_each(|subject| waits.push(&mut subject.client));
        wait_any(&mut waits, Duration::from_secs(1));
    }
}

/// One device whose hub leaves this undone, beside another; the fault is there before it connects. It is given up
/// in time, connects anew, and the other hears nothing of it.
fn is_given_up_and_made_anew(fault: Fault) {
    let emulator = Emulator::start().unwrap();
    let transport = shared(&emulator);
    let mut other = Subject::new(&emulator, "other", &transport);
    drive(&mut [&mut other], |subjects| subjects[0].is_ready());
    let mut late = Subject::new(&emulator, "late", &transport);
    emulator.inject_for("late", fault.clone());
    drive(&mut [&mut late, &mut other], |subjects| subjects[0].is_ready());
    let outages = late.outages();
    assert!(
        matches!(outages[..], [ConnectionErrorKind::TimedOut { after: PATIENCE, .. }]),
        "{fault:?}: {outages:?}, and the hub has {} faults left",
        emulator.pending_faults()
    );
    assert_eq!(other.outages(), [] as [&ConnectionErrorKind; 0], "{fault:?}");
    assert_eq!(other.client.stats().connections, 1, "{fault:?}");
}

#[test]
fn a_token_that_is_never_answered() {
    is_given_up_and_made_anew(Fault::Cbs(CbsFault::Withhold));
}

#[test]
fn a_link_that_is_never_attached() {
    for link in [
        AmqpLink::Telemetry,
        AmqpLink::CloudToDevice,
        AmqpLink::TwinRequests,
        AmqpLink::TwinReplies,
        AmqpLink::MethodRequests,
        AmqpLink::MethodResponses,
    ] {
        is_given_up_and_made_anew(Fault::AmqpWithholdAttach { link });
    }
}

#[test]
fn a_subscription_to_changes_of_the_twin_without_credit_to_ask_for_it() {
    is_given_up_and_made_anew(Fault::AmqpWithholdCredit { link: AmqpLink::TwinRequests });
}

#[test]
fn a_renewed_token_that_is_never_answered() {
    let emulator = Emulator::start().unwrap();
    let device = emulator.create_device("d").unwrap();
    let port = emulator.amqp_address().port();
    let text = format!("{};GatewayHostName={}:{port}", device.connection_string(), emulator.host_name());
    let builder = DeviceClient::builder(&text).trusted_certs(emulator.ca_pem()).token_lifetime(Duration::from_secs(20));
    let client = builder.build(&Amqp::new().connect_timeout(PATIENCE)).unwrap();
    let mut subject = Subject { client, statuses: Vec::new(), events: Vec::new() };
    drive(&mut [&mut subject], |subjects| subjects[0].is_ready());
    emulator.inject_for("d", Fault::Cbs(CbsFault::Withhold));
    drive(&mut [&mut subject], |subjects| subjects[0].client.stats().connections == 2);
    assert!(
        matches!(subject.outages()[..], [ConnectionErrorKind::TimedOut { after: PATIENCE, .. }]),
        "{:?}",
        subject.outages()
    );
}

#[test]
fn an_answer_to_a_method_without_credit_for_it_ends_the_devices_part_and_twin_and_telemetry_go_on_meanwhile() {
    let emulator = Emulator::start().unwrap();
    let transport = shared(&emulator);
    let mut subject = Subject::new(&emulator, "d", &transport);
    emulator.inject_for("d", Fault::AmqpWithholdCredit { link: AmqpLink::MethodResponses });
    drive(&mut [&mut subject], |subjects| subjects[0].is_ready());
    let call = MethodCall::new("work").response_timeout(Duration::from_secs(60));
    let pending = emulator.start_method("d", call).unwrap();
    drive(&mut [&mut subject], |subjects| subjects[0].client.stats().methods == 1);
    // The call waits for credit; nothing else does.
    let report = subject.client.send_reported_state_tracked(r#"{"a":1}"#).unwrap();
    drive(&mut [&mut subject], |subjects| {
        subjects[0]
            .events
            .iter()
            .any(|event| matches!(event, Event::ReportedState { id, outcome: Ok(_) } if *id == report))
    });
    assert!(subject.is_ready());
    drive(&mut [&mut subject], |subjects| subjects[0].client.stats().connections == 2);
    assert!(
        matches!(subject.outages()[..], [ConnectionErrorKind::TimedOut { after: PATIENCE, .. }]),
        "{:?}",
        subject.outages()
    );
    assert!(pending.try_result().is_none(), "the hub has no answer");
}

#[test]
fn a_lost_answer_of_the_twin_is_asked_for_again_and_the_connection_stays() {
    let emulator = Emulator::start().unwrap();
    let transport = shared(&emulator);
    let mut subject = Subject::new(&emulator, "d", &transport);
    emulator.inject_for("d", Fault::TwinReply(TwinReplyFault::Status(500)));
    drive(&mut [&mut subject], |subjects| {
        subjects[0].is_ready() && subjects[0].events.iter().any(|event| matches!(event, Event::Twin(_)))
    });
    assert_eq!(subject.client.stats().connections, 1);
}
