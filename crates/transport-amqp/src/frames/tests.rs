//! Frames in pieces of any size.

use super::*;

mod refused;

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
