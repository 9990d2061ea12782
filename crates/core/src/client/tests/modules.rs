//! Modules: outputs, inputs, and who hears of what.

use super::fake::{Call, Fake};
use super::*;

fn settlements(fake: &Fake) -> Vec<(u64, Disposition)> {
    let settle = |call| match call {
        Call::Settle(_, delivery, disposition) => Some((delivery.key, disposition)),
        _ => None,
    };
    fake.calls().into_iter().filter_map(settle).collect()
}

/// A callback that completes and reports under a name.
fn hear(
    to: &Sender<(&'static str, String)>,
    name: &'static str,
) -> impl FnMut(IncomingMessage, &mut Outbox<Module>) + Send + 'static {
    let to = to.clone();
    move |message, _| {
        to.send((name, message.input_name().unwrap().to_owned())).unwrap();
        message.complete();
    }
}

#[test]
fn invariant_8_an_input_goes_to_its_own_callback_else_to_the_default_else_it_is_left() {
    let fake = Fake::new();
    let mut client = fake.ready_module();
    let (tx, rx) = channel();
    client.set_input_callback("a", hear(&tx, "a")).unwrap();
    for (key, input) in ["a", "A", "ab", ""].into_iter().enumerate() {
        fake.delivers_to(Some(input), "m", key as u64);
    }
    client.do_work();
    client.do_work();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [("a", "a".to_owned())]);
    let abandoned = Disposition::Abandon;
    assert_eq!(settlements(&fake), [(0, Disposition::Accept), (1, abandoned), (2, abandoned), (3, abandoned)]);
    assert_eq!(client.stats().unwanted, 3);

    client.set_message_callback(hear(&tx, "default")).unwrap();
    fake.delivers_to(Some("b"), "m", 4);
    fake.delivers_to(Some("a"), "m", 5);
    client.do_work();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [("default", "b".to_owned()), ("a", "a".to_owned())]);
}

/// A module with a callback for the input `a`, over a transport on which an abandoned message comes again at once.
fn keeping(fake: &Fake, to: &Sender<(&'static str, String)>) -> ModuleClient {
    fake.script().redelivers_at_once = true;
    let mut client = fake.ready_module();
    client.set_input_callback("a", hear(to, "a")).unwrap();
    client
}

#[test]
fn a_message_that_would_come_again_at_once_is_kept_for_who_claims_its_input() {
    let fake = Fake::new();
    let (tx, rx) = channel();
    let mut client = keeping(&fake, &tx);
    for (key, input) in ["b", "c", "b", "d", "a"].into_iter().enumerate() {
        fake.delivers_to(Some(input), "m", key as u64);
    }
    client.do_work();
    client.do_work();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [("a", "a".to_owned())]);
    assert_eq!((settlements(&fake), client.stats().unwanted), (vec![(4, Disposition::Accept)], 4));
    assert!(!fake.is_due(&client));

    client.set_input_callback("b", hear(&tx, "b")).unwrap();
    assert!(fake.is_due(&client), "there is something to tell");
    client.do_work();
    client.do_work();
    assert_eq!(rx.try_iter().count(), 2);
    assert_eq!(settlements(&fake), [(0, Disposition::Accept), (2, Disposition::Accept)]);

    client.set_message_callback(hear(&tx, "default")).unwrap();
    client.do_work();
    client.do_work();
    let default = ["c", "d"].map(|input| ("default", input.to_owned()));
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), default);
    assert_eq!(settlements(&fake), [(1, Disposition::Accept), (3, Disposition::Accept)]);
    assert_eq!((client.stats().unwanted, client.stats().received), (4, 5));
}

#[test]
fn a_message_that_was_kept_comes_before_one_that_waits_to_be_told() {
    let fake = Fake::new();
    let (tx, _rx) = channel();
    let mut client = keeping(&fake, &tx);
    fake.delivers_to(Some("b"), "older", 1);
    client.do_work();
    let subscribes = |message: IncomingMessage, outbox: &mut Outbox<Module>| {
        outbox.subscribe(Feature::Inputs).unwrap();
        message.complete();
    };
    client.set_input_callback("a", subscribes).unwrap();
    fake.delivers_to(Some("a"), "now", 2);
    fake.delivers_to(Some("b"), "newer", 3);
    client.do_work();
    let heard: Vec<_> = std::iter::from_fn(|| client.next_event()).collect();
    let [Event::Message(older), Event::Message(newer)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((older.message_id(), newer.message_id()), (Some("older"), Some("newer")));
}

#[test]
fn what_is_kept_is_bounded_and_ends_with_its_connection_or_the_subscription() {
    let fake = Fake::new();
    let (tx, rx) = channel();
    let mut client = keeping(&fake, &tx);
    for key in 0..27 {
        fake.delivers_to(Some("b"), "m", key);
    }
    client.do_work();
    client.do_work();
    assert_eq!(settlements(&fake), [(25, Disposition::Abandon), (26, Disposition::Abandon)]);

    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    fake.connects();
    client.do_work();
    client.set_input_callback("b", hear(&tx, "b")).unwrap();
    client.do_work();
    assert_eq!(rx.try_iter().count(), 0, "the hub has them again");

    fake.delivers_to(Some("c"), "m", 30);
    client.do_work();
    fake.calls();
    client.clear_input_callback("a");
    client.clear_input_callback("b");
    client.do_work();
    assert_eq!(settlements(&fake), [(30, Disposition::Abandon)], "nobody can claim it any more");
}

#[test]
fn an_input_without_a_callback_is_an_event_if_inputs_were_subscribed_to() {
    let fake = Fake::new();
    let mut client = fake.ready_module();
    let (tx, rx) = channel();
    client.set_input_callback("a", hear(&tx, "a")).unwrap();
    client.subscribe(Feature::Inputs).unwrap();
    fake.delivers_to(Some("a"), "one", 1);
    fake.delivers_to(Some("b"), "two", 2);
    client.do_work();
    assert_eq!(rx.try_iter().count(), 1);
    let Some(Event::Message(message)) = client.next_event() else { panic!("no message") };
    assert_eq!((message.input_name(), message.message_id()), (Some("b"), Some("two")));
}

#[test]
fn inputs_are_subscribed_to_with_the_first_callback_and_left_with_the_last() {
    let fake = Fake::new();
    let mut client = fake.ready_module();
    let (tx, _rx) = channel();
    client.set_input_callback("a", hear(&tx, "a")).unwrap();
    client.set_input_callback("b", hear(&tx, "b")).unwrap();
    client.set_message_callback(hear(&tx, "default")).unwrap();
    assert_eq!(fake.calls(), [Call::Subscribe(vec![Feature::Inputs])]);
    client.clear_input_callback("a");
    client.clear_message_callback();
    assert_eq!(fake.calls(), []);
    client.clear_input_callback("b");
    assert_eq!(fake.calls(), [Call::Subscribe(vec![])]);
}

#[test]
fn wrinkle_31_a_callback_of_an_input_can_replace_and_clear_itself() {
    let fake = Fake::new();
    let mut client = fake.ready_module();
    let (tx, rx) = channel();
    let second = hear(&tx, "second");
    let mut second = Some(second);
    let first = move |message: IncomingMessage, outbox: &mut Outbox<Module>| {
        outbox.clear_input_callback("a");
        outbox.set_input_callback("a", second.take().unwrap()).unwrap();
        message.complete();
    };
    client.set_input_callback("a", first).unwrap();
    fake.delivers_to(Some("a"), "m", 1);
    fake.delivers_to(Some("a"), "m", 2);
    client.do_work();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [("second", "a".to_owned())]);
}

#[test]
fn a_message_to_an_output_carries_its_name() {
    let fake = Fake::new();
    let mut client = fake.ready_module();
    client.send_event("plain").unwrap();
    client.send_event_to_output("addressed", "alerts").unwrap();
    client.do_work();
    let outputs: Vec<_> = fake.script().marks.iter().map(|(output, _)| output.clone()).collect();
    assert_eq!(outputs, [None, Some("alerts".to_owned())]);
}

#[test]
fn wrinkle_6_a_message_that_an_output_refuses_comes_back_as_it_was() {
    let fake = Fake::new();
    let mut client = fake.ready_module();
    let message = Message::new("m").with_output_name("before").unwrap();
    let refused = client.send_event_to_output(message.clone(), "").unwrap_err();
    assert_eq!(refused.value, message);
    assert_eq!(refused.reason, RefusedReason::Message(MessageError::Empty(SystemProperty::OutputName)));
    let large = Message::new(vec![0; limits::MAX_TELEMETRY_SIZE]);
    let refused = client.send_event_to_output(large.clone(), "alerts").unwrap_err();
    assert_eq!(refused.value, large);
}

#[test]
fn a_message_to_an_output_that_was_not_delivered_comes_back_with_its_output() {
    let fake = Fake::new();
    let mut client = fake.ready_module();
    let id = client.send_event_to_output_tracked("m", "alerts").unwrap();
    client.close(Duration::ZERO);
    let outcome = std::iter::from_fn(|| client.next_event()).find_map(|event| match event {
        Event::Confirmation { id: confirmed, outcome } if confirmed == id => Some(outcome),
        _ => None,
    });
    let undelivered = outcome.unwrap().unwrap_err();
    assert_eq!(undelivered.message.system(SystemProperty::OutputName), Some("alerts"));
}

#[test]
fn a_device_has_no_outputs_and_no_inputs_and_a_module_nothing_from_the_cloud() {
    let fake = Fake::new();
    let mut device = fake.ready_client();
    let message = Message::new("m").with_output_name("alerts").unwrap();
    let refused = device.send_event(message).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Unsupported(Unsupported::ByDevice { what: "outputs" }));
    assert_eq!(device.subscribe(Feature::Inputs), Err(Unsupported::ByDevice { what: "inputs" }));
    let feature = Feature::CloudToDevice;
    assert_eq!(Fake::new().ready_module().subscribe(feature), Err(Unsupported::ByModule { feature }));
}

#[test]
fn sampled_messages_are_marked_and_a_refused_one_comes_back_unmarked() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.set_option(ClientOption::from_name("diag_sampling_percentage", "50").unwrap()).unwrap();
    let large = Message::new(vec![0; limits::MAX_TELEMETRY_SIZE + 1]);
    assert_eq!(client.send_event(large.clone()).unwrap_err().value, large);
    for _ in 0..4 {
        client.send_event("m").unwrap();
    }
    client.do_work();
    let ids: Vec<_> = fake.script().marks.iter().map(|(_, id)| id.as_ref().map(String::len)).collect();
    assert_eq!(ids, [Some(8), None, Some(8), None]);
    let refused = client.set_option(ClientOption::DiagnosticSampling { percent: 101 });
    assert!(matches!(refused, Err(OptionError::Range { option: "diag_sampling_percentage", .. })));
}

#[test]
fn a_message_that_has_no_room_for_the_mark_goes_without_it() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.set_option(ClientOption::DiagnosticSampling { percent: 100 }).unwrap();
    client.send_event(vec![0; limits::MAX_TELEMETRY_SIZE]).unwrap();
    client.send_event("m").unwrap();
    client.do_work();
    let is_marked: Vec<_> = fake.script().marks.iter().map(|(_, id)| id.is_some()).collect();
    assert_eq!(is_marked, [false, true]);
}
