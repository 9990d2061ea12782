//! What the client holds for the application is bounded, whatever the hub has for it.

use iothub_client::{Delivery, Disposition, Feature, Op, Submit};
use iothub_emulator::{C2dMessage, Config, MethodCall};

use crate::bench::{Bench, DEVICE, Seen};

#[test]
fn at_most_fifty_messages_are_undecided_and_the_rest_comes_in_order_as_they_are_decided() {
    const MESSAGES: usize = 175;
    let mut bench = Bench::with_hub(Config::new().with_c2d_queue_limit(MESSAGES), |_| {});
    bench.connect();
    bench.subscribe(&[Feature::CloudToDevice]);
    for n in 0..MESSAGES {
        bench.hub.send_c2d(DEVICE, C2dMessage::new(n.to_string())).unwrap();
    }
    let (mut undecided, mut texts) = (Vec::new(), Vec::new());
    while texts.len() < MESSAGES {
        for seen in bench.work() {
            match seen {
                Seen::Message(text, delivery) => {
                    texts.push(text);
                    undecided.push(delivery);
                }
                Seen::Done(_, Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        // Credit is given again when half of it is used up.
        assert!(
            (25..=50).contains(&undecided.len()) || texts.len() == MESSAGES,
            "{} of {}",
            undecided.len(),
            texts.len()
        );
        assert!(texts.len() > 50 || undecided.len() == 50);
        for delivery in undecided.drain(..20) {
            bench.settle(delivery.key, delivery, Disposition::Accept);
        }
    }
    assert!(texts.iter().map(|text| text.parse::<usize>().unwrap()).eq(0..MESSAGES));
}

#[test]
fn of_a_thousand_unanswered_methods_the_next_is_answered_429_and_one_answer_makes_room() {
    let mut bench = Bench::connected();
    bench.subscribe(&[Feature::Methods]);
    bench.work();
    let mut calls = Vec::new();
    let mut deliveries: Vec<Delivery> = Vec::new();
    let mut call = |bench: &mut Bench, deliveries: &mut Vec<Delivery>| {
        calls.push(bench.hub.start_method(DEVICE, MethodCall::new("do")).unwrap());
        deliveries.extend(bench.work().into_iter().filter_map(|seen| match seen {
            Seen::Method(_, delivery) => Some(delivery),
            _ => None,
        }));
        calls.last().unwrap().try_result().map(|result| result.unwrap().status)
    };
    for _ in 0..1_000 {
        assert_eq!(call(&mut bench, &mut deliveries), None);
    }
    assert_eq!(call(&mut bench, &mut deliveries), Some(429));
    assert_eq!(deliveries.len(), 1_000);
    let delivery = deliveries[0];
    assert_eq!(bench.submit(1, Op::MethodResponse { delivery, status: 200, body: b"{}" }), Submit::Taken);
    assert_eq!(call(&mut bench, &mut deliveries), None);
    assert_eq!(deliveries.len(), 1_001);
}
