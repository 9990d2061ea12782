//! Frames in pieces of any size.

use super::*;

fn frame(channel: u16, performative: Performative) -> Vec<u8> {
    write(channel, &performative).unwrap()
}

fn begin(remote_channel: Option<u16>) -> Begin {
    Begin {
        remote_channel,
        next_outgoing_id: 77,
        incoming_window: 5000,
        outgoing_window: 6000,
        handle_max: 100.into(),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

fn open(idle_time_out: Option<u32>) -> Performative {
    Performative::Open(Open {
        container_id: "hub".to_owned(),
        hostname: None,
        max_frame_size: 65_536.into(),
        channel_max: 8191.into(),
        idle_time_out,
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    })
}

fn attach(role: Role, max_message_size: Option<u64>) -> Performative {
    Performative::Attach(Attach {
        name: "link".to_owned(),
        handle: 1.into(),
        role,
        snd_settle_mode: Default::default(),
        rcv_settle_mode: Default::default(),
        source: None,
        target: None,
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: None,
        max_message_size,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    })
}

fn end() -> Performative {
    Performative::End(fe2o3_amqp_types::performatives::End { error: None })
}

/// What has heard the protocol's header.
fn opened() -> Incoming {
    let mut incoming = Incoming::default();
    assert_eq!(passed(&mut incoming, PROTOCOL), PROTOCOL);
    incoming
}

/// What knows the session that is the client's 3 and the hub's 9.
fn begun() -> Incoming {
    let mut incoming = opened();
    passed(&mut incoming, &frame(9, Performative::Begin(begin(Some(3)))));
    incoming
}

/// What passes of this, in pieces of any size.
fn passed(incoming: &mut Incoming, bytes: &[u8]) -> Vec<u8> {
    let piece = fastrand::usize(1..=bytes.len());
    bytes.chunks(piece).for_each(|piece| incoming.take(piece));
    std::mem::take(incoming.passed()).to_vec()
}

#[test]
fn the_idle_time_out_is_read_and_the_open_passes_as_it_is() {
    for (said, known) in [(Some(240_000), Some(240_000)), (Some(0), None), (None, None)] {
        let bytes = [PROTOCOL, &frame(0, open(said))[..]].concat();
        let mut incoming = Incoming::default();
        assert_eq!(passed(&mut incoming, &bytes), bytes);
        assert_eq!(incoming.idle_time_out(), known);
    }
}

#[test]
fn another_protocol_passes_as_it_is() {
    let bytes = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    assert_eq!(passed(&mut Incoming::default(), bytes), bytes);
    let sasl = b"AMQP\x03\x01\x00\x00\x00\x00\x00\x0b\x02\x01\x00\x00\x00\x53\x40";
    assert_eq!(passed(&mut Incoming::default(), sasl), sasl);
}

#[test]
fn a_begin_is_answered_at_once_and_the_hubs_own_gives_the_windows_on_the_clients_channel() {
    let mut incoming = opened();
    incoming.answer_begin(3);
    let mut expected = begin(Some(3));
    (expected.next_outgoing_id, expected.incoming_window, expected.outgoing_window) = (0, 0, 0);
    expected.handle_max = u32::MAX.into();
    assert_eq!(incoming.passed().split(), frame(3, Performative::Begin(expected)));
    let real = frame(9, Performative::Begin(begin(Some(3))));
    assert_eq!(passed(&mut incoming, &real), frame(3, Performative::Flow(windows(&begin(Some(3))))));
    // The session is the client's 3 and the hub's 9 until its End.
    assert_eq!(passed(&mut incoming, &frame(9, attach(Role::Receiver, None))), frame(3, attach(Role::Receiver, None)));
    assert_eq!(passed(&mut incoming, &frame(9, end())), frame(3, end()));
    assert_eq!(passed(&mut incoming, &frame(9, end())), frame(NO_CHANNEL, end()));
}

#[test]
fn an_answer_to_a_begin_stands_between_frames_whatever_is_half_there() {
    let mut incoming = begun();
    let flow = frame(9, Performative::Flow(windows(&begin(None))));
    incoming.take(&flow[..20]);
    incoming.answer_begin(4);
    let answer = incoming.passed().split();
    assert_eq!((answer.len(), answer[7]), (u32::from_be_bytes(*answer.first_chunk().unwrap()) as usize, 4));
    incoming.take(&flow[20..]);
    assert_eq!(incoming.passed().split(), frame(3, Performative::Flow(windows(&begin(None)))));
}

#[test]
fn a_hub_may_send_longer_messages_than_it_said() {
    let mut incoming = begun();
    for (said, told) in
        [(Some(65_536), Some(MAX_MESSAGE)), (Some(2 * MAX_MESSAGE), Some(2 * MAX_MESSAGE)), (None, None)]
    {
        assert_eq!(passed(&mut incoming, &frame(9, attach(Role::Sender, said))), frame(3, attach(Role::Sender, told)));
    }
    // What the client may send is the hub's word.
    let receiver = attach(Role::Receiver, Some(65_536));
    assert_eq!(passed(&mut incoming, &frame(9, receiver.clone())), frame(3, receiver));
}

fn disposition(first: u32, last: Option<u32>) -> Performative {
    Performative::Disposition(Disposition {
        role: Role::Receiver,
        first,
        last,
        settled: true,
        state: None,
        batchable: false,
    })
}

#[test]
fn a_disposition_of_more_deliveries_than_there_can_be_ends_what_passes_and_others_do_not() {
    // The last is before the first: of nothing.
    for (first, last) in [(7, None), (7, Some(7)), (0, Some(65_535)), (u32::MAX, Some(0))] {
        let mut incoming = begun();
        let taken = passed(&mut incoming, &frame(9, disposition(first, last)));
        assert_eq!((taken, incoming.refused()), (frame(3, disposition(first, last)), None));
    }
    for (first, last) in [(0, 65_536), (0, u32::MAX), (4_000_000_000, u32::MAX)] {
        let mut incoming = begun();
        let before = frame(9, disposition(1, None));
        let all = [&before[..], &frame(9, disposition(first, Some(last))), &before].concat();
        assert_eq!(passed(&mut incoming, &all), frame(3, disposition(1, None)), "what came before it passes");
        let why = incoming.refused().unwrap();
        assert!(why.contains(&format!("{first} to {last}")), "{why}");
    }
}

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

#[test]
fn outgoing_begins_are_seen_in_any_pieces_and_the_ends_of_frames_are_known() {
    let empty = [0, 0, 0, 8, 2, 0, 0, 0];
    let one = frame(5, Performative::Begin(begin(None)));
    let bytes = [PROTOCOL, &frame(0, open(None))[..], &empty, &one, &empty].concat();
    for piece in 1..bytes.len() {
        let (mut outgoing, mut begun) = (Outgoing::default(), Vec::new());
        bytes.chunks(piece).for_each(|piece| outgoing.look(piece, |channel| begun.push(channel)));
        assert_eq!(begun, [5]);
        assert!(outgoing.is_at_frame_end());
        outgoing.look(&one[..9], |_| {});
        assert!(!outgoing.is_at_frame_end());
    }
}
