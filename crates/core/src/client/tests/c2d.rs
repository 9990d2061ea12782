//! Receiving: callbacks, answers, and answers that come too late.

use super::fake::{Call, Fake};
use super::*;

fn delivery(key: u64) -> Delivery {
    Delivery { generation: 1, key }
}

fn receive(client: &mut DeviceClient) -> IncomingMessage {
    loop {
        match client.next_event() {
            Some(Event::Message(message)) => return message,
            Some(_) => {}
            None => panic!("no message"),
        }
    }
}

fn settlements(fake: &Fake) -> Vec<(u64, Disposition)> {
    let settle = |call| match call {
        Call::Settle(_, delivery, disposition) => Some((delivery.key, disposition)),
        _ => None,
    };
    fake.calls().into_iter().filter_map(settle).collect()
}

#[test]
fn a_message_can_be_completed_in_the_callback() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    let callback = move |message: IncomingMessage, _: &mut Outbox<Device>| {
        tx.send(message.payload().clone()).unwrap();
        message.complete();
    };
    client.set_message_callback(callback).unwrap();
    fake.delivers("one", 1);
    client.do_work();
    client.do_work();
    assert_eq!(rx.try_recv().unwrap().as_ref(), b"one");
    assert_eq!(settlements(&fake), [(1, Disposition::Accept)]);
}

#[test]
fn wrinkle_28_a_message_can_be_answered_later_from_another_thread_and_that_wakes_the_client() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    fake.delivers("one", 1);
    client.do_work();
    let message = receive(&mut client);
    std::thread::spawn(move || message.complete()).join().unwrap();
    client.wait(Duration::MAX);
    client.do_work();
    assert_eq!(settlements(&fake), [(1, Disposition::Accept)]);
}

#[test]
fn wrinkle_28_a_message_that_is_dropped_is_abandoned() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    fake.delivers("one", 1);
    client.do_work();
    drop(receive(&mut client));
    client.do_work();
    assert_eq!(settlements(&fake), [(1, Disposition::Abandon)]);
}

#[test]
fn a_refused_reject_names_the_transports_that_have_it_and_hands_the_message_back() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    fake.delivers("one", 1);
    client.do_work();
    let refused = receive(&mut client).reject().unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("fake") && text.contains("AMQP") && text.contains("HTTP"), "{text}");
    refused.value.complete();
    client.do_work();
    assert_eq!(settlements(&fake), [(1, Disposition::Accept)]);
}

#[test]
fn an_answer_for_a_dead_connection_is_reported_as_stale() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    fake.delivers("one", 1);
    fake.delivers("two", 2);
    client.do_work();
    let (one, two) = (receive(&mut client), receive(&mut client));
    fake.script().stale_generation = Some(1);
    one.complete();
    two.abandon();
    client.do_work();
    let Some(Event::StaleSettlement { message_id, disposition }) = client.next_event() else { panic!("no event") };
    assert_eq!((message_id.as_deref(), disposition), (Some("one"), Disposition::Accept));
    assert!(client.next_event().is_none(), "an abandoned message is delivered again anyway");
    assert_eq!(client.stats().stale_answers, 1);
}

#[test]
fn an_answer_on_the_wire_when_the_connection_drops_is_stale_too() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    fake.delivers("one", 1);
    client.do_work();
    receive(&mut client).complete();
    client.do_work();
    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    assert!(matches!(client.next_event(), Some(Event::StaleSettlement { .. })));
}

#[test]
fn a_message_without_a_subscription_is_left_to_the_hub() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    fake.delivers("unasked", 1);
    client.do_work();
    client.do_work();
    assert_eq!(settlements(&fake), [(1, Disposition::Abandon)]);
    assert_eq!((client.stats().unwanted, client.stats().received), (1, 0));
    assert!(client.next_event().is_none());
}

#[test]
fn wrinkle_29_subscriptions_are_declared_once_however_often_the_callback_changes() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.set_message_callback(|_, _| {}).unwrap();
    client.set_message_callback(|_, _| {}).unwrap();
    client.clear_message_callback();
    let (some, none) = (Call::Subscribe(vec![Feature::CloudToDevice]), Call::Subscribe(vec![]));
    assert_eq!(fake.calls(), [some, none]);
}

#[test]
fn wrinkle_47_the_time_of_the_last_message_is_none_until_there_is_one() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    assert_eq!(client.last_message_receive_time(), None);
    fake.advance(SECOND);
    fake.delivers("one", 1);
    client.do_work();
    assert_eq!(client.last_message_receive_time(), Some(fake.script().now.wall));
}

#[test]
fn a_refused_subscription_is_an_event() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    let detail = "0x80".to_owned();
    fake.happens(TransportEvent::SubscriptionRefused { feature: Feature::CloudToDevice, detail });
    client.do_work();
    assert!(matches!(client.next_event(), Some(Event::SubscriptionRefused { feature: Feature::CloudToDevice, .. })));
}

#[test]
fn a_settled_delivery_is_echoed_as_the_transport_gave_it() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    fake.delivers("one", 42);
    client.do_work();
    receive(&mut client).complete();
    fake.calls();
    client.do_work();
    assert!(matches!(fake.calls()[..], [Call::Settle(_, d, Disposition::Accept)] if d == delivery(42)));
}
