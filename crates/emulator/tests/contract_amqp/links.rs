//! Attach and detach (E17 to E24).

use iothub_emulator::{Activity, AmqpLink, C2dMessage, DisconnectReason, OfflineHub, RefusalReason};

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, composite, sym, text};
use crate::support::{Peer, add_device, happened, token, world};

const EVENTS: &str = "/devices/d/messages/events";

#[test]
fn a_e17_addresses_are_absolute_or_relative_and_in_any_case() {
    let hub = world();
    let addresses = [
        "amqps://hub.test/devices/d/messages/events",
        "amqps://HUB.TEST:5671/DEVICES/d/Messages/Events",
        "/devices/%64/messages/events",
        "devices/d/messages/events",
    ];
    for address in addresses {
        let mut peer = Peer::of_device(&hub);
        peer.sender(0, address);
        peer.accepted(0, &Message::of(address.as_bytes()));
    }
    assert_eq!(hub.telemetry_count("d"), addresses.len());
}

#[test]
fn a_e17_an_address_that_is_unknown_or_missing_is_not_allowed() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    let mut links = vec![
        Link::sender(0, "/devices/d"),
        Link::sender(0, "/devices/d/messages/devicebound"),
        Link::receiver(0, EVENTS),
        Link::sender(0, "amqps://other.test/devices/d/messages/events"),
        Link::receiver(0, ""),
    ];
    let mut without = Link::sender(0, "");
    without.target = V::Null;
    links.push(without.clone());
    without.target = target(V::Null);
    links.push(without);
    for link in links {
        assert_eq!(peer.refused(&link), "amqp:not-allowed", "{link:?}");
    }
    let refused = |activity: &Activity| matches!(activity, Activity::AmqpAttachRefused { .. });
    assert_eq!(happened(&hub, "", refused), 7);
}

#[test]
fn a_e17_a_refusal_is_an_attach_without_the_terminus_and_a_detach() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    let answer = peer.attach(&Link::sender(0, "/nowhere"));
    assert_eq!((answer.field(0), answer.field(2)), (&text("link-0-false"), &V::Bool(true)));
    assert_eq!(answer.field(6), &V::Null, "no target");
    assert_eq!(peer.find(DETACH).field(1), &V::Bool(true));
    // Until the peer has answered, the handle is not free; then it is.
    peer.say(&detach(0));
    peer.sender(0, EVENTS);
}

#[test]
fn a_e18_without_a_token_it_is_unauthorized_and_an_unknown_device_is_not_found() {
    let hub = world();
    add_device(&hub, "e");
    let mut peer = Peer::of_device(&hub);
    assert_eq!(peer.refused(&Link::sender(0, "/devices/e/messages/events")), "amqp:unauthorized-access");
    assert_eq!(peer.refused(&Link::receiver(0, "/devices/e/twin")), "amqp:unauthorized-access");
    assert_eq!(peer.refused(&Link::sender(0, "/devices/nobody/messages/events")), "amqp:not-found");
    assert_eq!(peer.refused(&Link::sender(0, "/messages/devicebound")), "amqp:unauthorized-access");
    let why = |activity: Activity| activity.refusal().cloned();
    let own: Vec<_> = hub.activity("e").into_iter().filter_map(why).collect();
    assert_eq!(own, [RefusalReason::CredentialMissing, RefusalReason::CredentialMissing]);
    let others: Vec<_> = hub.unattributed_activity().into_iter().filter_map(why).collect();
    assert_eq!(others, [RefusalReason::UnknownDevice, RefusalReason::CredentialMissing]);
}

#[test]
fn a_e19_the_answer_echoes_name_termini_and_properties() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    let mut link = Link::sender(5, EVENTS).property("com.microsoft:client-version", text("test/1"));
    link.source = source(text("my source"));
    link.name = "a name".to_owned();
    let answer = peer.attach(&link);
    assert_eq!(answer.fields[..3], [text("a name"), V::Uint(5), V::Bool(true)]);
    assert_eq!(answer.field(5).fields().1[0], text("my source"));
    assert_eq!(answer.field(6).fields().1[0], text(EVENTS));
    assert_eq!(answer.field(13), &V::Map(vec![(sym("com.microsoft:client-version"), text("test/1"))]));
}

#[test]
fn a_e19_every_answer_has_a_max_message_size_and_a_senders_a_delivery_count() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    let sized = |link: Link, size: u64| Link { max_message_size: V::Ulong(size), ..link };
    for (link, size) in [
        (Link::sender(0, EVENTS), 1_048_576),
        (sized(Link::sender(1, "/devices/d/twin"), 0), 1_048_576),
        (sized(Link::sender(2, "$cbs"), u64::MAX), 1_048_576),
        (sized(Link::receiver(3, "/devices/d/twin"), 4_096), 4_096),
        (Link::receiver(4, "/devices/d/messages/devicebound"), 1_048_576),
        // As the C SDK asks: the only case of which the real hub's answer is known.
        (sized(Link::receiver(6, "/devices/d/messages/devicebound"), 65_536), 65_536),
        (sized(Link::receiver(5, "/devices/d/messages/devicebound"), 100), 100),
    ] {
        let answer = peer.attach(&link);
        assert_eq!(answer.field(10), &V::Ulong(size), "{link:?}");
        assert_eq!(answer.field(9), if link.receives { &V::Uint(0) } else { &V::Null });
        peer.all();
    }
}

#[test]
fn a_e20_settle_modes_are_the_hubs_whatever_is_asked() {
    let hub = world();
    let (mixed, unsettled, settled) = (V::Null, V::Ubyte(0), V::Ubyte(1));
    let (first, second) = (V::Null, V::Ubyte(1));
    for (asked, link, snd, rcv) in [
        ((0, 0), Link::sender(0, EVENTS), &unsettled, &first),
        ((1, 1), Link::sender(0, EVENTS), &settled, &first),
        ((0, 0), Link::receiver(0, "/devices/d/messages/devicebound"), &mixed, &second),
        ((1, 0), Link::receiver(0, "/devices/d/messages/devicebound"), &mixed, &second),
        ((0, 0), Link::sender(0, "/devices/d/twin"), &settled, &first),
        ((0, 1), Link::receiver(0, "/devices/d/twin"), &settled, &first),
        ((0, 0), Link::sender(0, "/devices/d/methods/devicebound"), &settled, &first),
        ((0, 0), Link::receiver(0, "/devices/d/methods/devicebound"), &settled, &first),
    ] {
        let mut peer = Peer::of_device(&hub);
        let answer = peer.attach(&link.clone().modes(asked.0, asked.1));
        let modes = [answer.field(3), answer.field(4)].map(|mode| if *mode == V::Ubyte(2) { &V::Null } else { mode });
        let rcv_shown = if *modes[1] == V::Ubyte(0) { &V::Null } else { modes[1] };
        assert_eq!((modes[0], rcv_shown), (snd, rcv), "{link:?}");
    }
}

#[test]
fn a_e21_credit_is_1000_and_filled_up_before_it_ends() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.attach(&Link::sender(0, EVENTS));
    let given = peer.find(FLOW);
    assert_eq!((given.uint(4), given.uint(5), given.uint(6)), (0, 0, 1000));
    for _ in 0..500 {
        peer.send_as(0, 0, true, b"");
    }
    assert!(peer.all_of(FLOW).iter().all(|flow| flow.field(4) == &V::Null));
    peer.send_as(0, 0, true, b"");
    let given = peer.find(FLOW);
    assert_eq!((given.uint(4), given.uint(5), given.uint(6)), (0, 501, 1000));
}

#[test]
fn a_e21_a_message_beyond_the_credit_detaches() {
    let hub = world();
    hub.inject(iothub_emulator::Fault::AmqpWithholdCredit { link: AmqpLink::Telemetry });
    let mut peer = Peer::of_device(&hub);
    peer.attach(&Link::sender(0, EVENTS));
    assert_eq!(peer.find(FLOW).uint(6), 0);
    peer.send(0, &Message::of(b"x"));
    assert_eq!(peer.find(DETACH).condition(2).as_deref(), Some("amqp:link:transfer-limit-exceeded"));
    assert_eq!(hub.telemetry_count("d"), 0);
}

#[test]
fn a_e21_credit_of_the_client_is_honoured_and_drained() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    for id in ["1", "2", "3"] {
        hub.send_c2d("d", C2dMessage::new(id)).unwrap();
    }
    peer.attach(&Link::receiver(0, "/devices/d/messages/devicebound"));
    assert!(peer.all_of(TRANSFER).is_empty());
    peer.say(&credit(0, 0, 2));
    assert_eq!(peer.all_of(TRANSFER).len(), 2);
    peer.say(&flow(0, 2, 10, true));
    assert_eq!(peer.all_of(TRANSFER).len(), 1);
    let drained = peer.find(FLOW);
    assert_eq!((drained.uint(5), drained.uint(6)), (12, 0));
    hub.send_c2d("d", C2dMessage::new("4")).unwrap();
    assert!(peer.all_of(TRANSFER).is_empty(), "the credit is gone");
}

#[test]
fn a_e21_a_sessions_window_holds_transfers_back() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    let window = |next: u32, window: u32| composite(FLOW, vec![V::Uint(next), V::Uint(window), V::Uint(0), V::Uint(9)]);
    peer.receiver(0, "/devices/d/messages/devicebound", 100);
    // The reply to put-token was transfer 1.
    peer.say(&window(2, 1));
    hub.send_c2d("d", C2dMessage::new("1")).unwrap();
    hub.send_c2d("d", C2dMessage::new("2")).unwrap();
    assert_eq!(peer.all_of(TRANSFER).len(), 1);
    peer.say(&window(2, 1));
    assert!(peer.all_of(TRANSFER).is_empty(), "transfer 2 is not yet seen");
    peer.say(&window(3, 1));
    assert_eq!(peer.all_of(TRANSFER).len(), 1);
}

#[test]
fn a_e22_a_second_link_of_the_same_kind_takes_the_firsts_place() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, EVENTS);
    peer.say(&Link::sender(1, EVENTS).attach());
    let detached = peer.find(DETACH);
    assert_eq!((detached.uint(0), detached.condition(2).as_deref()), (0, Some("amqp:link:stolen")));
    peer.find(ATTACH);
    peer.accepted(1, &Message::of(b"x"));
    assert!(hub.connected("d"));
}

#[test]
fn a_e22_partners_of_another_pair_are_closed() {
    let hub = world();
    for address in ["/devices/d/twin", "/devices/d/methods/devicebound"] {
        let mut peer = Peer::of_device(&hub);
        let paired = |link: Link, id: &str| link.property("com.microsoft:channel-correlation-id", text(id));
        peer.attach(&paired(Link::sender(0, address), "twin:1"));
        peer.attach(&paired(Link::receiver(1, address), "twin:1"));
        assert!(peer.all_of(DETACH).is_empty());
        peer.attach(&paired(Link::receiver(2, address), "twin:2"));
        let closed: Vec<u32> = peer.all_of(DETACH).iter().map(|frame| frame.uint(0)).collect();
        assert_eq!(closed, [1, 0], "{address}");
        // The C SDK writes no colon: then both are empty, and pair.
        let mut peer = Peer::of_device(&hub);
        peer.attach(&paired(Link::sender(0, address), "d"));
        peer.attach(&paired(Link::receiver(1, address), "x"));
        assert!(peer.all_of(DETACH).is_empty());
    }
}

#[test]
fn a_e23_a_newer_connection_takes_over_and_the_olders_links_are_stolen() {
    let hub = world();
    let mut older = Peer::of_device(&hub);
    older.sender(0, EVENTS);
    older.receiver(1, "/devices/d/messages/devicebound", 1);
    let mut newer = Peer::of_device(&hub);
    newer.sender(0, EVENTS);
    let stolen: Vec<_> =
        older.all_of(DETACH).iter().map(|frame| (frame.uint(0), frame.condition(2).unwrap())).collect();
    assert_eq!(stolen, [(0, "amqp:link:stolen".to_owned()), (1, "amqp:link:stolen".to_owned())]);
    assert!(!older.is_closed());
    newer.accepted(0, &Message::of(b"x"));
    let replaced =
        |activity: &Activity| matches!(activity, Activity::Disconnected { why: DisconnectReason::Replaced { .. }, .. });
    assert_eq!(happened(&hub, "d", replaced), 1);
}

/// A CONNECT of MQTT 3.1.1 for the device `d`: clean session, keep-alive 0.
fn mqtt_connect(hub: &OfflineHub) -> Vec<u8> {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let fields = [text("d"), text("hub.test/d/?api-version=2021-04-12"), text(&token(hub, "d"))].concat();
    let body = [&b"\0\x04MQTT\x04\xC2\0\0"[..], &fields].concat();
    let length = u8::try_from(body.len() % 128).unwrap() | 0x80;
    [&[0x10, length, u8::try_from(body.len() / 128).unwrap()][..], &body].concat()
}

#[test]
fn a_e23_a_device_has_one_connection_whichever_the_protocol() {
    let hub = world();
    let replaced =
        |activity: &Activity| matches!(activity, Activity::Disconnected { why: DisconnectReason::Replaced { .. }, .. });
    let mut mqtt = hub.accept();
    mqtt.receive(&mqtt_connect(&hub));
    assert_eq!(mqtt.take_output(), [0x20, 2, 0, 0]);
    let mut amqp = Peer::of_device(&hub);
    mqtt.poll();
    assert!(!mqtt.is_closed(), "a token alone is no connection of the device");
    amqp.sender(0, EVENTS);
    mqtt.poll();
    assert!(mqtt.is_closed() && mqtt.take_output().is_empty());
    assert_eq!(happened(&hub, "d", replaced), 1);

    let mut mqtt = hub.accept();
    mqtt.receive(&mqtt_connect(&hub));
    assert_eq!(mqtt.take_output(), [0x20, 2, 0, 0]);
    assert_eq!(amqp.find(DETACH).condition(2).as_deref(), Some("amqp:link:stolen"));
    assert!(!mqtt.is_closed() && hub.connected("d"));
    assert_eq!(happened(&hub, "d", replaced), 2);
}

#[test]
fn a_e23_other_identities_on_the_older_connection_are_not_touched() {
    let hub = world();
    add_device(&hub, "e");
    let mut older = Peer::of_device(&hub);
    older.put_token("hub.test/devices/e", &token(&hub, "e"));
    older.sender(0, EVENTS);
    older.sender(1, "/devices/e/messages/events");
    let mut newer = Peer::of_device(&hub);
    newer.sender(0, EVENTS);
    assert_eq!(older.all_of(DETACH).len(), 1);
    older.accepted(1, &Message::of(b"x"));
}

#[test]
fn a_e24_versions_and_model_are_recorded() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    let link = Link::sender(0, EVENTS)
        .property("com.microsoft:client-version", text("test/1"))
        .property("com.microsoft:api-version", text("2021-04-12"))
        .property("com.microsoft:model-id", text("dtmi:test;1"));
    peer.attach(&link);
    peer.find(FLOW);
    peer.accepted(0, &Message::of(b"x"));
    let attached = |activity: &Activity| {
        matches!(activity, Activity::AmqpAttached { link: AmqpLink::Telemetry, client_version: Some(client), api_version: Some(api), model_id: Some(model), .. }
            if client == "test/1" && api == "2021-04-12" && model == "dtmi:test;1")
    };
    assert_eq!(happened(&hub, "d", attached), 1);
    assert_eq!(hub.telemetry("d")[0].stamps["dt-dataschema"], "dtmi:test;1");
}
