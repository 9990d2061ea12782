//! What is not well-formed, and that all else passes.

use super::*;

/// A frame of any size with this behind its header.
fn raw(channel: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(HEADER + body.len()).unwrap();
    [&size.to_be_bytes()[..], &PLAIN, &[0, channel], body].concat()
}

/// A transfer of the hub's on its channel 9, changed as the test wants.
fn transfer(handle: u32, more: bool, payload: &[u8], change: impl FnOnce(&mut Transfer)) -> Vec<u8> {
    let mut transfer = Transfer {
        handle: handle.into(),
        delivery_id: Some(0),
        delivery_tag: Some(vec![1].into()),
        message_format: Some(0),
        settled: Some(false),
        more,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    };
    change(&mut transfer);
    let performative = serde_amqp::to_vec(&Performative::Transfer(transfer)).unwrap();
    raw(9, &[&performative[..], payload].concat())
}

/// Why this is refused, of which nothing passes.
fn refused(incoming: &mut Incoming, bytes: &[u8]) -> String {
    assert_eq!(passed(incoming, bytes), b"", "none of it passes");
    incoming.refused().expect("it is refused").to_owned()
}

/// A message whose body is nested as deep as it is long.
fn deep(size: usize) -> Vec<u8> {
    [&[0, 0x53, 0x77][..], &vec![0; size]].concat()
}

/// A message of this size.
fn good(size: usize) -> Vec<u8> {
    [&[0, 0x53, 0x75, 0xb0][..], &u32::try_from(size - 8).unwrap().to_be_bytes(), &vec![0; size - 8]].concat()
}

#[test]
fn a_frame_that_is_too_short_or_too_long_or_not_of_amqp_is_refused() {
    for size in [0_u32, 4, 5, 7, 65_537, u32::MAX] {
        let bytes = [&size.to_be_bytes()[..], &[2, 0, 0, 0, 0, 0]].concat();
        let why = refused(&mut opened(), &bytes);
        assert!(why.contains(&format!("of {size} bytes")), "{why}");
    }
    for bytes in [b"\x00\x00\x00\x08\x02\x01\x00\x00", b"\x00\x00\x00\x08\x03\x00\x00\x00"] {
        let why = refused(&mut opened(), bytes);
        assert!(why.contains("its header"), "{why}");
    }
    let empty = raw(0, b"");
    assert_eq!(passed(&mut opened(), &empty), empty);
}

#[test]
fn a_performative_that_is_not_well_formed_or_not_what_it_says_is_refused() {
    let nested = [&[0, 0x53, 0x18, 0xd0, 0, 0, 0xea, 0x64, 0, 0, 0, 1][..], &[0; 60_000]].concat();
    let cases: [(&[u8], &str); 5] = [
        (&nested, "nested too deep"),
        (&[0; 60_000], "no number of a performative"),
        (b"\x00\x53\x10\xc0\x03\x01\xa1\x05", "longer than what it is in"),
        // A handle that is text, and none.
        (b"\x00\x53\x16\xc0\x04\x01\xa1\x01a", "cannot be read"),
        (b"\x00\x53\x14\x45", "cannot be read"),
    ];
    for (body, words) in cases {
        let why = refused(&mut begun(), &raw(9, body));
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn what_came_before_passes_and_nothing_that_comes_behind() {
    let fine = frame(9, disposition(1, None));
    let mut incoming = begun();
    let all = [&fine[..], &raw(9, &[0; 100]), &fine].concat();
    assert_eq!(passed(&mut incoming, &all), frame(3, disposition(1, None)));
    assert_eq!(passed(&mut incoming, &fine), b"");
}

#[test]
fn a_message_is_looked_at_before_the_last_of_it_passes() {
    let why = refused(&mut begun(), &transfer(1, false, &deep(1000), |_| {}));
    assert!(why.contains("nested too deep"), "{why}");
    for message in [deep(200_000), [good(100_000), deep(100_000)].concat(), good(200_000)[..150_000].to_vec()] {
        let mut incoming = begun();
        let pieces: Vec<_> = message.chunks(fastrand::usize(1000..60_000)).collect();
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            assert!(!passed(&mut incoming, &transfer(1, true, piece, |_| {})).is_empty());
        }
        refused(&mut incoming, &transfer(1, false, last, |_| {}));
    }
}

#[test]
fn messages_that_come_side_by_side_pass_as_they_come() {
    let mut incoming = begun();
    let message = good(150_000);
    let pieces: Vec<_> = message.chunks(50_000).collect();
    for (at, piece) in pieces.iter().enumerate() {
        for handle in [1, 2] {
            let bytes = transfer(handle, at < 2, piece, |_| {});
            let mut expected = bytes.clone();
            expected[7] = 3;
            assert!(passed(&mut incoming, &bytes) == expected);
        }
    }
    assert!(!passed(&mut incoming, &transfer(1, false, &good(100), |_| {})).is_empty(), "another may follow");
    assert_eq!(incoming.refused(), None);
}

#[test]
fn what_has_begun_is_forgotten_with_its_delivery_its_link_or_its_session_and_not_before() {
    // Behind this, nothing is well-formed that is so alone.
    let begin_one = transfer(1, true, b"\xb0\x7f\xff\xff\xff", |_| {});
    let detach = Performative::Detach(Detach { handle: 1.into(), closed: true, error: None });
    let other = Performative::Detach(Detach { handle: 2.into(), closed: true, error: None });
    let mut again = frame(9, end());
    again.extend(frame(9, Performative::Begin(begin(Some(3)))));
    let cases = [
        (Vec::new(), false),
        (transfer(2, false, &good(10), |_| {}), false),
        (frame(9, other), false),
        (transfer(1, true, b"", |transfer| transfer.aborted = true), true),
        (frame(9, attach(Role::Sender, None)), true),
        (frame(9, detach), true),
        (again, true),
    ];
    for (between, is_forgotten) in cases {
        let mut incoming = begun();
        passed(&mut incoming, &[&begin_one[..], &between].concat());
        assert_eq!(incoming.refused(), None);
        passed(&mut incoming, &transfer(1, false, &good(10), |_| {}));
        assert_eq!(incoming.refused().is_none(), is_forgotten, "{between:02x?}");
    }
}

#[test]
fn what_is_kept_of_messages_is_bounded() {
    let piece = vec![0; 60_000];
    let mut incoming = begun();
    let count = (0..).find(|_| passed(&mut incoming, &transfer(1, true, &piece, |_| {})).is_empty()).unwrap();
    assert_eq!(count, (1024 * 1024 + 65_536) / piece.len());
    assert!(incoming.refused().unwrap().contains("longer than any"));
    for (size, at_least, at_most) in [(60_000, 1000, 1200), (0, 60_000, 70_000)] {
        let mut incoming = begun();
        let count = (0..70_000).find(|handle| {
            incoming.take(&transfer(*handle, true, &piece[..size], |_| {}));
            std::mem::take(incoming.passed()).is_empty()
        });
        assert!((at_least..at_most).contains(&count.unwrap()), "{count:?}");
        assert!(incoming.refused().unwrap().contains("on other links"));
    }
    // What has ended is no longer kept.
    let mut incoming = begun();
    let message = good(60_000);
    let both = [transfer(1, true, &message[..50_000], |_| {}), transfer(1, false, &message[50_000..], |_| {})].concat();
    for _ in 0..1200 {
        incoming.take(&both);
        incoming.passed().clear();
    }
    assert_eq!(incoming.refused(), None);
}

#[test]
fn all_that_the_package_can_say_passes() {
    use fe2o3_amqp_types::definitions::{AmqpError, Error, Fields};
    use fe2o3_amqp_types::messaging::message::__private::Serializable;
    use fe2o3_amqp_types::messaging::{
        AmqpSequence, AmqpValue, ApplicationProperties, Body, Data, DeliveryAnnotations, Footer, Header, Message,
        MessageAnnotations, Properties, Rejected, Source, Target, TargetArchetype,
    };
    use fe2o3_amqp_types::performatives::Close;
    use serde_amqp::Value;

    let fields = Fields::from_iter([("name".into(), Value::List(vec![Value::Uint(1), Value::Null]))]);
    let symbols = || Some(vec!["one".into(), "two".into()].into());
    let error = Error::new(AmqpError::NotFound, Some("words".to_owned()), Some(fields.clone()));
    let source = Source {
        address: Some("from".into()),
        dynamic_node_properties: Some(fields.clone()),
        filter: Some(fields.clone()),
        outcomes: symbols(),
        capabilities: symbols(),
        ..Source::default()
    };
    let target = Target { address: Some("to".into()), capabilities: symbols(), ..Target::default() };
    let rejected = fe2o3_amqp_types::messaging::DeliveryState::Rejected(Rejected { error: Some(error.clone()) });
    let (Performative::Attach(mut attach), Performative::Disposition(mut outcome), Performative::Open(mut open)) =
        (attach(Role::Sender, None), disposition(1, Some(2)), open(None))
    else {
        unreachable!()
    };
    (open.hostname, open.outgoing_locales) = (Some("hub".to_owned()), Some(vec!["en".into()].into()));
    (open.offered_capabilities, open.properties) = (symbols(), Some(fields.clone()));
    (attach.source, attach.target) = (Some(source.into()), Some(Box::new(TargetArchetype::Target(target))));
    attach.unsettled = Some([(vec![1].into(), Some(rejected.clone())), (vec![2].into(), None)].into_iter().collect());
    (attach.desired_capabilities, attach.properties) = (symbols(), Some(fields));
    outcome.state = Some(rejected);
    for performative in [
        Performative::Open(open),
        Performative::Attach(attach),
        Performative::Disposition(outcome),
        Performative::Detach(Detach { handle: 1.into(), closed: true, error: Some(error.clone()) }),
        Performative::End(fe2o3_amqp_types::performatives::End { error: Some(error.clone()) }),
        Performative::Close(Close { error: Some(error) }),
    ] {
        let mut incoming = begun();
        // Open and Close are of no session.
        let is_of_all = matches!(performative, Performative::Open(_) | Performative::Close(_));
        let expected = frame(if is_of_all { 9 } else { 3 }, performative.clone());
        assert_eq!(passed(&mut incoming, &frame(9, performative)), expected, "{:?}", incoming.refused());
    }
    let annotations = || [("name".into(), Value::Ulong(7))].into_iter().collect();
    let bodies: [Body<Value>; 4] = [
        Body::Empty,
        Body::Value(AmqpValue(Value::List(vec![Value::Bool(true)]))),
        Body::Data(vec![Data(vec![1].into()), Data(vec![2; 1000].into())].into()),
        Body::Sequence(vec![AmqpSequence(vec![Value::Null]), AmqpSequence(Vec::new())].into()),
    ];
    for body in bodies {
        let message = Message {
            header: Some(Header::default()),
            delivery_annotations: Some(DeliveryAnnotations(annotations())),
            message_annotations: Some(MessageAnnotations(annotations())),
            properties: Some(Properties { message_id: Some("id".to_owned().into()), ..Properties::default() }),
            application_properties: Some(ApplicationProperties::builder().insert("name", "value").build()),
            body,
            footer: Some(Footer(annotations())),
        };
        let bytes = serde_amqp::to_vec(&Serializable(message)).unwrap();
        let mut incoming = begun();
        let (first, last) = bytes.split_at(bytes.len() / 2);
        let all =
            [transfer(1, false, &bytes, |_| {}), transfer(1, true, first, |_| {}), transfer(1, false, last, |_| {})];
        assert_eq!(passed(&mut incoming, &all.concat()).len(), all.concat().len(), "{:?}", incoming.refused());
    }
}

#[test]
fn a_delivery_that_is_resumed_is_refused() {
    let state = fe2o3_amqp_types::messaging::DeliveryState::Accepted(fe2o3_amqp_types::messaging::Accepted {});
    for bytes in [
        transfer(1, false, b"", |transfer| transfer.resume = true),
        transfer(1, false, b"", |transfer| transfer.state = Some(state)),
    ] {
        let why = refused(&mut begun(), &bytes);
        assert!(why.contains("resumes"), "{why}");
    }
}
