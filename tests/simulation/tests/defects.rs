//! What chaos has found, each as the shortest run that shows it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use iothub_core::{ConnectionState, DeviceClient, Event, Feature, MethodRequest, TwinUpdate};
use iothub_emulator::{Activity, AmqpLink, C2dMessage, CbsFault, DisconnectReason, Fault, MethodCall, TwinReplyFault};
use iothub_simulation::{Over, Path, Sim, Way};
use serde_json::json;

const DEVICE: &str = "d";
const LIMIT: Duration = Duration::from_secs(300);

/// A client that is ready, with a token of this life.
fn ready(sim: &Sim, features: &[Feature], life: Duration) -> DeviceClient {
    let connection_string = sim.create_device(DEVICE).unwrap();
    let builder = DeviceClient::builder(&connection_string).token_lifetime(life);
    let mut client = builder.build(&sim.provider()).unwrap();
    for feature in features {
        client.subscribe(*feature).unwrap();
    }
    until(sim, &mut client, |client, _| client.connection_state() == ConnectionState::Ready);
    client
}

/// Drives the client until it is so, and gives the events so far.
fn until(sim: &Sim, client: &mut DeviceClient, done: impl Fn(&DeviceClient, &[Event]) -> bool) -> Vec<Event> {
    let end = sim.elapsed() + LIMIT;
    let mut events = Vec::new();
    loop {
        client.do_work();
        events.extend(std::iter::from_fn(|| client.next_event()));
        if done(client, &events) {
            return events;
        }
        assert!(sim.elapsed() < end, "not within {LIMIT:?}: {events:?}");
        client.wait(end - sim.elapsed());
    }
}

/// Drives the client for so long.
fn pass(sim: &Sim, client: &mut DeviceClient, time: Duration) -> Vec<Event> {
    let end = sim.elapsed() + time;
    let mut events = Vec::new();
    loop {
        client.do_work();
        events.extend(std::iter::from_fn(|| client.next_event()));
        if sim.elapsed() >= end {
            return events;
        }
        client.wait(end - sim.elapsed());
    }
}

#[test]
fn the_client_sleeps_while_a_twin_request_waits_for_its_subscription() {
    let asks: [fn(&mut DeviceClient); 2] =
        [|client| client.get_twin(|_, _| {}).unwrap(), |client| client.subscribe(Feature::DesiredProperties).unwrap()];
    for ask in asks {
        let sim = Sim::new(1);
        let mut client = ready(&sim, &[], Duration::from_secs(3600));
        assert!(sim.vanish(Way::Up));
        // The subscription to the answers is on its way, and no answer to it will come.
        ask(&mut client);
        client.do_work();
        let before = client.stats().poller_returns;
        pass(&sim, &mut client, Duration::from_secs(29));
        let returns = client.stats().poller_returns - before;
        assert!(returns < 10, "{returns} returns from the poller in 29 s");
        assert_eq!(client.connection_state(), ConnectionState::Ready);
    }
}

#[test]
fn a_reported_patch_that_is_sent_again_does_not_undo_a_later_one() {
    let sim = Sim::new(1);
    let mut client = ready(&sim, &[Feature::Twin], Duration::from_secs(3600));
    sim.hub().inject(Fault::TwinReply(TwinReplyFault::Drop));
    let first = client.send_reported_state_tracked(json!({ "r": 1 }).to_string()).unwrap();
    let second = client.send_reported_state_tracked(json!({ "r": 2 }).to_string()).unwrap();
    pass(&sim, &mut client, Duration::from_secs(5));
    sim.hub().disconnect_device(DEVICE).unwrap();

    let mut ends = Vec::new();
    for event in until(&sim, &mut client, |_, events| {
        events.iter().filter(|event| matches!(event, Event::ReportedState { .. })).count() == 2
    }) {
        if let Event::ReportedState { id, outcome } = event {
            ends.push((id, outcome.is_ok()));
        }
    }
    assert_eq!(ends, [(first, true), (second, true)]);
    assert_eq!(sim.hub().twin(DEVICE).unwrap().reported, json!({ "r": 2 }));
}

#[test]
fn a_renewal_does_not_wait_for_an_answer_longer_than_the_token_lives() {
    let sim = Sim::new(1);
    let mut client = ready(&sim, &[Feature::Methods], Duration::from_secs(20));
    let call = MethodCall::new("slow").response_timeout(Duration::from_secs(60));
    let _pending = sim.hub().start_method(DEVICE, call).unwrap();
    let is_call = |event: &Event| matches!(event, Event::Method(_));
    let events = until(&sim, &mut client, |_, events| events.iter().any(is_call));
    let held: Vec<MethodRequest> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Method(request) => Some(request),
            _ => None,
        })
        .collect();

    until(&sim, &mut client, |client, _| {
        client.stats().renewals == 1 && client.connection_state() == ConnectionState::Ready
    });
    assert_eq!(held.len(), 1, "nobody has answered");
    let end = |activity| match activity {
        Activity::Disconnected { why, .. } => Some(why),
        _ => None,
    };
    let ends: Vec<_> = sim.hub().activity(DEVICE).into_iter().filter_map(end).collect();
    assert_eq!(ends, [DisconnectReason::ByDevice], "the hub did not have to end the connection");
}

#[test]
fn an_answer_for_a_connection_that_is_gone_is_stale_and_decides_nothing_on_the_next() {
    for over in Over::ALL {
        let sim = Sim::new(1).over(over);
        let hub = sim.hub();
        let mut client = ready(&sim, &[Feature::CloudToDevice, Feature::Methods], Duration::from_secs(3600));
        let come = |client: &mut DeviceClient, connections| {
            let call = hub.start_method(DEVICE, MethodCall::new("do").connect_timeout(LIMIT)).unwrap();
            let (mut messages, mut requests) = (Vec::new(), Vec::new());
            for event in until(&sim, client, |client, events| {
                let has = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
                let is_there = client.connection_state() == ConnectionState::Ready;
                is_there
                    && client.stats().connections == connections
                    && has(|event| matches!(event, Event::Method(_)))
                    && has(|event| matches!(event, Event::Message(_)))
            }) {
                match event {
                    Event::Message(message) => messages.push(message),
                    Event::Method(request) => requests.push(request),
                    _ => {}
                }
            }
            (call, messages.pop().unwrap(), requests.pop().unwrap())
        };
        hub.send_c2d(DEVICE, C2dMessage::new("x")).unwrap();
        let (_lost, old_message, old_request) = come(&mut client, 1);
        hub.disconnect_device(DEVICE).unwrap();
        let (call, message, request) = come(&mut client, 2);
        old_message.complete();
        old_request.respond(200, r#""old""#).unwrap();
        let events = pass(&sim, &mut client, Duration::from_secs(1));
        assert!(
            matches!(&events[..], [Event::StaleSettlement { .. }, Event::StaleMethodResponse { .. }]),
            "{over}: {events:?}"
        );
        assert!(call.try_result().is_none() && hub.c2d_queue(DEVICE).len() == 1, "{over}");
        message.complete();
        request.respond(200, r#""new""#).unwrap();
        pass(&sim, &mut client, Duration::from_secs(1));
        assert_eq!(call.try_result().unwrap().unwrap().payload, json!("new"), "{over}");
        assert!(hub.c2d_queue(DEVICE).is_empty(), "{over}");
    }
}

#[test]
fn the_end_of_an_amqp_session_is_an_outage_and_refuses_no_subscription() {
    for is_attaching in [false, true] {
        let sim = Sim::new(1).over(Over::Amqp);
        let features = [Feature::CloudToDevice, Feature::DesiredProperties];
        let mut client = ready(&sim, &features, Duration::from_secs(3600));
        if is_attaching {
            sim.hub().inject(Fault::AmqpWithholdAttach { link: AmqpLink::MethodRequests });
        }
        client.subscribe(Feature::Methods).unwrap();
        pass(&sim, &mut client, Duration::from_secs(1));
        sim.hub().inject(Fault::AmqpEnd { condition: Some("amqp:unauthorized-access".to_owned()) });
        let mut states = Vec::new();
        for event in pass(&sim, &mut client, Duration::from_secs(30)) {
            match event {
                Event::Status(change) => states.push(change.state),
                Event::Twin(_) => {}
                other => panic!("{other:?}"),
            }
        }
        use ConnectionState::{Connected, Connecting, Ready, Waiting};
        assert_eq!(states, [Waiting, Connecting, Connected, Ready], "while a link is attached: {is_attaching}");
        let call = sim.hub().start_method(DEVICE, MethodCall::new("do")).unwrap();
        let is_call = |event: &Event| matches!(event, Event::Method(_));
        until(&sim, &mut client, |_, events| events.iter().any(is_call));
        drop(call);
    }
}

#[test]
fn a_half_open_amqp_connection_with_something_held_back_keeps_neither_side_busy() {
    let sim = Sim::new(1).over(Over::Amqp);
    let mut client = ready(&sim, &[Feature::Methods], Duration::from_secs(3600));
    sim.hub().inject(Fault::LateMethod { by: Duration::from_secs(10) });
    let call = MethodCall::new("late").response_timeout(Duration::from_secs(30));
    let pending = sim.hub().start_method(DEVICE, call).unwrap();
    pass(&sim, &mut client, Duration::from_secs(1));
    sim.hub().inject(Fault::HalfOpen);
    // The simulation panics if anybody is due again and again.
    pass(&sim, &mut client, Duration::from_secs(60));
    assert!(pending.try_result().unwrap().is_err());
}

#[test]
fn links_are_attached_again_once_the_hub_no_longer_refuses_the_credential() {
    let sim = Sim::new(1).over(Over::Amqp);
    let mut client = ready(&sim, &[Feature::CloudToDevice], Duration::from_secs(3600));
    sim.hub().inject(Fault::AuthError { lasts: Duration::from_secs(5) });
    pass(&sim, &mut client, Duration::from_secs(6));
    client.unsubscribe(Feature::CloudToDevice);
    client.subscribe(Feature::CloudToDevice).unwrap();
    let events = pass(&sim, &mut client, Duration::from_secs(1));
    assert!(events.is_empty(), "{events:?}");
}

const AMQP_LINKS: [(AmqpLink, Feature); 7] = [
    (AmqpLink::CloudToDevice, Feature::CloudToDevice),
    (AmqpLink::MethodRequests, Feature::Methods),
    (AmqpLink::MethodResponses, Feature::Methods),
    (AmqpLink::TwinRequests, Feature::Twin),
    (AmqpLink::TwinReplies, Feature::Twin),
    (AmqpLink::TwinRequests, Feature::DesiredProperties),
    (AmqpLink::TwinReplies, Feature::DesiredProperties),
];

#[test]
fn an_amqp_link_that_the_hub_refuses_is_a_refused_subscription() {
    for (link, feature) in AMQP_LINKS {
        let sim = Sim::new(1).over(Over::Amqp);
        let mut client = ready(&sim, &[], Duration::from_secs(3600));
        sim.hub().inject(Fault::AmqpRefuseAttach { link, condition: "amqp:not-allowed".to_owned() });
        client.subscribe(feature).unwrap();
        let events = pass(&sim, &mut client, Duration::from_secs(1));
        let is_refused =
            |event: &Event| matches!(event, Event::SubscriptionRefused { feature: of, .. } if *of == feature);
        assert!(events.iter().any(is_refused), "{link:?}: {events:?}");
    }
}

#[test]
fn the_end_of_an_amqp_link_that_there_was_is_an_outage_after_which_the_twin_is_whole_again() {
    for (link, _) in AMQP_LINKS {
        let sim = Sim::new(1).over(Over::Amqp);
        let features = [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods];
        let mut client = ready(&sim, &features, Duration::from_secs(3600));
        pass(&sim, &mut client, Duration::from_secs(1));
        sim.hub().inject(Fault::AmqpDetach { link, condition: Some("amqp:not-found".to_owned()) });
        client.do_work();
        let events = pass(&sim, &mut client, Duration::from_secs(30));
        let states: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Status(change) => Some(change.state),
                _ => None,
            })
            .collect();
        use ConnectionState::{Connected, Connecting, Ready, Waiting};
        assert_eq!(states, [Waiting, Connecting, Connected, Ready], "{link:?}");
        let is_whole = |event: &Event| matches!(event, Event::Twin(TwinUpdate::Full(_)));
        assert!(events.iter().any(is_whole), "{link:?}: {events:?}");
    }
}

/// Drives a client over AMQP until it renews its token, which `trouble` keeps from being answered; gives how long it then takes until
/// the connection is given up.
fn given_up_after(trouble: Fault, meanwhile: impl Fn(&mut DeviceClient)) -> Duration {
    let sim = Sim::new(1).over(Over::Amqp);
    let latency = Duration::from_millis(100);
    sim.set_path(Path { latency: latency..latency, ..Path::default() });
    let mut client = ready(&sim, &[Feature::DesiredProperties], Duration::from_secs(600));
    until(&sim, &mut client, |client, _| client.stats().connections == 1);
    pass(&sim, &mut client, Duration::from_secs(470));
    until(&sim, &mut client, |client, _| client.stats().renewals == 1);
    sim.hub().inject(trouble);
    let renewed = sim.elapsed();
    pass(&sim, &mut client, Duration::from_secs(1));
    meanwhile(&mut client);
    until(&sim, &mut client, |client, _| client.stats().connections == 2);
    sim.elapsed() - renewed
}

#[test]
fn a_token_that_the_hub_does_not_answer_is_noticed_whatever_is_subscribed_meanwhile() {
    let took = given_up_after(Fault::Cbs(CbsFault::Withhold), |client| {
        client.subscribe(Feature::Methods).unwrap();
        client.unsubscribe(Feature::DesiredProperties);
        client.subscribe(Feature::DesiredProperties).unwrap();
    });
    assert!((30..33).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn a_token_that_went_with_its_link_is_not_waited_for() {
    let trouble = Fault::AmqpDetach { link: AmqpLink::TokenRequests, condition: None };
    let took = given_up_after(trouble, |_| {});
    assert!(took < Duration::from_secs(5), "{took:?}");
}
