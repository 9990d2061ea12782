//! Direct methods: answers now, later, never, and too late.

use super::fake::{Call, Fake};
use super::*;

fn ready(fake: &Fake) -> DeviceClient {
    let mut client = fake.ready_client();
    client.subscribe(Feature::Methods).unwrap();
    client
}

fn request(client: &mut DeviceClient) -> MethodRequest {
    loop {
        match client.next_event() {
            Some(Event::Method(request)) => return request,
            Some(_) => {}
            None => panic!("no method"),
        }
    }
}

fn responses(fake: &Fake) -> Vec<(u64, i32, String)> {
    let response = |call| match call {
        Call::MethodResponse(_, delivery, status, body) => Some((delivery.key, status, body)),
        _ => None,
    };
    fake.calls().into_iter().filter_map(response).collect()
}

#[test]
fn a_method_can_be_answered_in_the_callback() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let callback = |request: MethodRequest, _: &mut Outbox<Device>| {
        assert_eq!((request.name(), request.payload().as_ref()), ("reboot", b"{}".as_slice()));
        request.respond(200, r#"{"ok":true}"#).unwrap();
    };
    client.set_method_callback(callback).unwrap();
    fake.calls_method("reboot", 3);
    client.do_work();
    client.do_work();
    assert_eq!(responses(&fake), [(3, 200, r#"{"ok":true}"#.to_owned())]);
}

#[test]
fn a_method_can_be_answered_later_from_another_thread_and_that_wakes_the_client() {
    let fake = Fake::new();
    let mut client = ready(&fake);
    fake.calls_method("reboot", 3);
    client.do_work();
    let request = request(&mut client);
    std::thread::spawn(move || request.respond(202, "").unwrap()).join().unwrap();
    let before = fake.script().now;
    client.wait(Duration::MAX);
    assert_eq!(fake.script().now, before);
    client.do_work();
    assert_eq!(responses(&fake), [(3, 202, "null".to_owned())]);
}

#[test]
fn wrinkle_27_a_method_that_is_dropped_answers_500() {
    let fake = Fake::new();
    let mut client = ready(&fake);
    fake.calls_method("reboot", 3);
    client.do_work();
    drop(request(&mut client));
    client.do_work();
    let answered = responses(&fake);
    assert_eq!((answered[0].0, answered[0].1), (3, 500));
}

#[test]
fn an_answer_that_is_no_json_or_too_large_is_handed_back_and_can_be_mended() {
    let fake = Fake::new();
    let mut client = ready(&fake);
    fake.calls_method("reboot", 3);
    client.do_work();
    let refused = request(&mut client).respond(200, "not json").unwrap_err();
    assert!(matches!(refused.reason, RefusedReason::NotJson(_)));
    let refused = refused.value.respond(200, vec![b'1'; 128 * 1024 + 1]).unwrap_err();
    assert!(matches!(refused.reason, RefusedReason::MethodResponseTooLarge { size: 131_073, limit: 131_072 }));
    refused.value.respond(200, vec![b'1'; 128 * 1024]).unwrap();
    client.do_work();
    assert_eq!(responses(&fake).len(), 1);
}

#[test]
fn an_answer_for_a_dead_connection_is_reported_and_not_sent() {
    let fake = Fake::new();
    let mut client = ready(&fake);
    fake.calls_method("reboot", 3);
    client.do_work();
    let request = request(&mut client);
    fake.script().stale_generation = Some(1);
    request.respond(200, "1").unwrap();
    client.do_work();
    assert_eq!(responses(&fake), []);
    let Some(Event::StaleMethodResponse { name, status }) = client.next_event() else { panic!("no event") };
    assert_eq!((name.as_str(), status), ("reboot", 200));
    assert_eq!(client.stats().stale_answers, 1);
}

#[test]
fn more_than_a_hundred_unanswered_calls_are_answered_429_by_the_client() {
    let fake = Fake::new();
    let mut client = ready(&fake);
    for key in 0..105 {
        fake.calls_method("slow", key);
    }
    client.do_work();
    client.do_work();
    let refused = responses(&fake);
    assert_eq!(
        refused.iter().map(|(key, status, _)| (*key, *status)).collect::<Vec<_>>(),
        [(100, 429), (101, 429), (102, 429), (103, 429), (104, 429)]
    );
    assert_eq!((client.stats().methods, client.stats().methods_refused), (105, 5));
    request(&mut client).respond(200, "1").unwrap();
    fake.calls_method("slow", 105);
    client.do_work();
    client.do_work();
    assert_eq!(responses(&fake), [(0, 200, "1".to_owned())]);
}

#[test]
fn a_call_that_nobody_asked_for_is_answered_501() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    fake.calls_method("reboot", 3);
    client.do_work();
    client.do_work();
    assert_eq!(responses(&fake)[0].1, 501);
    assert!(client.next_event().is_none());
}

#[test]
fn a_full_method_lane_does_not_hold_back_settlements() {
    let fake = Fake::new();
    let mut client = ready(&fake);
    client.subscribe(Feature::CloudToDevice).unwrap();
    fake.calls_method("reboot", 1);
    fake.delivers("m", 2);
    client.do_work();
    request(&mut client).respond(200, "1").unwrap();
    let Some(Event::Message(message)) = client.next_event() else { panic!("no message") };
    message.complete();
    fake.script().methods_are_full = true;
    client.do_work();
    assert!(fake.calls().iter().any(|call| matches!(call, Call::Settle(..))));
    fake.script().methods_are_full = false;
    client.do_work();
    assert_eq!(responses(&fake), [(1, 200, "1".to_owned())]);
}
