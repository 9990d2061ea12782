//! Tokens on `$cbs` (E10 to E16).

use std::time::Duration;

use iothub_emulator::{Activity, Config, RefusalReason};

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, text};
use crate::support::{HOUR, HUB, KEY, Peer, add_device, happened, put_token, token, world, world_with};

fn replies(peer: &mut Peer) -> Vec<(V, i32)> {
    let status = |message: &Message| match message.app("status-code") {
        Some(V::Int(status)) => *status,
        other => panic!("{other:?}"),
    };
    let messages = peer.all_of(TRANSFER).into_iter().map(|frame| Message::decode(&frame.payload));
    messages.map(|message| (message.prop(CORRELATION_ID).cloned().unwrap_or(V::Null), status(&message))).collect()
}

#[test]
fn a_e10_cbs_takes_links_both_ways_repeatedly_and_on_any_session() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.say_on(4, &begin());
    peer.find(BEGIN);
    for (channel, handle) in [(0, 0), (0, 2), (4, 0)] {
        let answer = peer.attach_on(channel, &Link::sender(handle, "$cbs"));
        assert_eq!(answer.field(10), &V::Ulong(1_048_576));
        let flow = peer.find(FLOW);
        assert_eq!((flow.uint(4), flow.uint(6)), (handle, 100));
        let answer = peer.attach_on(channel, &Link::receiver(handle + 1, "$cbs"));
        assert_eq!((answer.field(9), answer.field(10)), (&V::Uint(0), &V::Ulong(1_048_576)));
    }
}

#[test]
fn a_e10_requests_may_be_settled_and_their_tags_empty() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    let request = put_token("hub.test/devices/d", &token(&hub, "d")).property(MESSAGE_ID, V::Ulong(0)).encoded();
    let tagless = crate::support::value::composite(
        TRANSFER,
        vec![V::Uint(1000), V::Uint(0), V::Bin(Vec::new()), V::Uint(0), V::Bool(true)],
    );
    peer.say_bytes(&frame(0, &tagless, &request));
    assert!(peer.all_of(DISPOSITION).is_empty());
    assert_eq!(replies(&mut peer), [(V::Ulong(0), 200)]);
}

#[test]
fn a_e11_the_disposition_goes_before_the_reply() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    peer.say_put_token(V::Ulong(0), "hub.test/devices/d", &token(&hub, "d"), false);
    let order: Vec<u64> = peer.all().iter().map(|frame| frame.code).collect();
    assert_eq!(order, [DISPOSITION, TRANSFER]);
}

#[test]
fn a_e11_the_reply_has_the_requests_id_with_its_type() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    for id in [V::Ulong(0), V::Ulong(70_000), text("request1"), V::Uuid([7; 16]), V::Bin(vec![1, 2, 3])] {
        peer.say_put_token(id.clone(), "hub.test/devices/d", &token(&hub, "d"), false);
        assert_eq!(replies(&mut peer), [(id, 200)]);
    }
}

#[test]
fn a_e11_the_reply_is_a_message_without_a_body() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    peer.say_put_token(V::Ulong(1), "hub.test/devices/d", &token(&hub, "d"), false);
    let (frame, reply) = peer.message();
    assert_eq!(reply.app("status-description"), Some(&text("OK")));
    assert!(reply.data.is_empty() && reply.value.is_none());
    assert!(matches!(frame.field(2), V::Bin(tag) if tag.len() == 16), "{frame:?}");
}

#[test]
fn a_e12_the_reply_needs_no_reply_to_and_takes_one() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    for reply_to in ["cbs", "anything"] {
        let request = put_token("hub.test/devices/d", &token(&hub, "d")).property(REPLY_TO, text(reply_to));
        peer.send(1000, &request);
        assert_eq!(replies(&mut peer), [(V::Null, 200)]);
    }
    // A receiver on another session, whose address was asked for, is preferred.
    peer.say_on(2, &begin());
    peer.find(BEGIN);
    let mut far = Link::receiver(0, "$cbs");
    far.target = target(text("my-replies"));
    peer.attach_on(2, &far);
    peer.say_on(2, &credit(0, 0, 10));
    peer.send(1000, &put_token("hub.test/devices/d", &token(&hub, "d")).property(REPLY_TO, text("my-replies")));
    assert_eq!(peer.find(TRANSFER).channel, 2);
}

#[test]
fn a_e12_without_credit_the_reply_waits() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.sender(1000, "$cbs");
    peer.attach(&Link::receiver(1001, "$cbs"));
    peer.say_put_token(V::Ulong(3), "hub.test/devices/d", &token(&hub, "d"), false);
    assert!(replies(&mut peer).is_empty());
    peer.say(&credit(1001, 0, 1));
    assert_eq!(replies(&mut peer), [(V::Ulong(3), 200)]);
}

#[test]
fn a_e13_the_status_says_what_is_wrong() {
    let hub = world();
    add_device(&hub, "e");
    hub.create_device_with(
        "off",
        iothub_emulator::DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: KEY.into() },
    )
    .unwrap();
    hub.set_device_enabled("off", false).unwrap();
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    let good = token(&hub, "d");
    let whole = |name: &str, token: &str| put_token(name, token);
    let without = |left_out: &str| {
        let mut request = put_token("hub.test/devices/d", &good);
        request.application.retain(|(name, _)| *name != text(left_out));
        request
    };
    let mut binary = whole("hub.test/devices/d", &good);
    binary.value = Some(V::Bin(good.clone().into_bytes()));
    let forged = good.replace("sig=", "sig=A");
    let expired = good.replace("se=18", "se=17");
    for (request, status) in [
        (without("operation"), 400),
        (without("type"), 400),
        (without("name"), 400),
        (binary, 400),
        (whole("hub.test/devices/d", "no token"), 400),
        (whole("other.test/devices/d", &good), 400),
        (whole("hub.test/devices/e", &good), 401),
        (whole("hub.test/devices/d", &forged), 400),
        (whole("hub.test/devices/d", &expired), 401),
        (whole("hub.test/devices/off", &token(&hub, "off")), 401),
        (whole("hub.test/devices/nobody", &good), 404),
        (whole("hub.test", &good), 401),
        (whole("hub.test/devices/d", &good), 200),
        (whole("hub.test%2Fdevices%2Fd", &good), 200),
        (whole("amqps://HUB.TEST:5671/devices/d", &good), 200),
    ] {
        peer.send(1000, &request);
        assert_eq!(replies(&mut peer), [(V::Null, status)], "{:?}", request.application);
    }
    let refused = |activity: &Activity| {
        matches!(activity, Activity::TokenPut { status: 401, why: Some(RefusalReason::TokenAudience { .. }), .. })
    };
    assert_eq!(happened(&hub, "e", refused), 1);
}

#[test]
fn a_e13_an_unknown_device_can_be_unauthorized_instead() {
    let hub = world_with(Config::new().with_cbs_unknown_device_unauthorized(true));
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    assert_eq!(peer.put_token("hub.test/devices/nobody", &token(&hub, "d")), 401);
}

#[test]
fn a_e14_a_policys_token_opens_what_its_policy_may() {
    let hub = world();
    for (policy, device, service) in
        [("iothubowner", true, true), ("service", false, true), ("device", true, false), ("registryRead", false, false)]
    {
        let mut peer = Peer::open(&hub);
        peer.attach_cbs();
        assert_eq!(peer.put_token(HUB, &hub.policy_token(policy, HOUR).unwrap()), 200);
        let mut opens = |handle: u32, address: &str| {
            peer.attach(&Link::sender(handle, address));
            let refusals = peer.all_of(DETACH);
            refusals
                .iter()
                .for_each(|frame| assert_eq!(frame.condition(2).as_deref(), Some("amqp:unauthorized-access")));
            refusals.is_empty()
        };
        assert_eq!(opens(0, "/devices/d/messages/events"), device, "{policy}");
        assert_eq!(opens(1, "/messages/devicebound"), service, "{policy}");
    }
}

#[test]
fn a_e14_a_policys_token_for_one_device_opens_that_one() {
    let hub = world();
    add_device(&hub, "e");
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    let token = hub.policy_token("device", HOUR).unwrap();
    assert_eq!(peer.put_token("hub.test/devices/d", &token), 200);
    peer.sender(0, "/devices/d/messages/events");
    assert_eq!(peer.refused(&Link::sender(1, "/devices/e/messages/events")), "amqp:unauthorized-access");
}

#[test]
fn a_e15_a_new_token_takes_the_old_ones_place_and_touches_no_link() {
    let hub = world_with(Config::new().with_sas_grace(Duration::ZERO).with_amqp_idle_time_out(10 * HOUR));
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, "/devices/d/messages/events");
    hub.advance_clock(Duration::from_secs(3_000));
    assert_eq!(peer.put_token("hub.test/devices/d", &token(&hub, "d")), 200);
    hub.advance_clock(Duration::from_secs(3_000));
    assert!(peer.all_of(DETACH).is_empty());
    peer.accepted(0, &Message::of(b"still here"));
}

#[test]
fn a_e15_an_expired_token_detaches_every_link_of_its_identity_and_of_no_other() {
    let hub = world_with(Config::new().with_sas_grace(Duration::from_secs(60)).with_amqp_idle_time_out(10 * HOUR));
    add_device(&hub, "e");
    let mut peer = Peer::of_device(&hub);
    let longer = hub.device("e").unwrap().sas_token(2 * HOUR);
    assert_eq!(peer.put_token("hub.test/devices/e", &longer), 200);
    peer.sender(0, "/devices/d/messages/events");
    peer.receiver(1, "/devices/d/messages/devicebound", 1);
    peer.sender(2, "/devices/e/messages/events");
    hub.advance_clock(HOUR + Duration::from_secs(59));
    assert!(peer.all_of(DETACH).is_empty());
    hub.advance_clock(Duration::from_secs(1));
    let detached = peer.all_of(DETACH);
    let detached: Vec<_> = detached.iter().map(|frame| (frame.uint(0), frame.condition(2).unwrap())).collect();
    let expired = "amqp:unauthorized-access".to_owned();
    assert_eq!(detached, [(0, expired.clone()), (1, expired)]);
    assert!(!hub.connected("d") && hub.connected("e") && !peer.is_closed());
    // A transfer that was under way is passed over; a new token opens a new link.
    peer.send(0, &Message::of(b"late"));
    assert_eq!(hub.telemetry_count("d"), 0);
    assert_eq!(peer.put_token("hub.test/devices/d", &token(&hub, "d")), 200);
    peer.sender(7, "/devices/d/messages/events");
}

#[test]
fn a_e16_disabling_or_deleting_a_device_detaches_its_links() {
    for (delete, condition) in [(false, "amqp:unauthorized-access"), (true, "amqp:not-found")] {
        let hub = world();
        let mut peer = Peer::of_device(&hub);
        peer.sender(0, "/devices/d/messages/events");
        if delete {
            hub.delete_device("d").unwrap()
        } else {
            hub.set_device_enabled("d", false).unwrap()
        }
        assert_eq!(peer.find(DETACH).condition(2).as_deref(), Some(condition));
        peer.say(&detach(0));
        assert_eq!(peer.refused(&Link::sender(0, "/devices/d/messages/events")), condition);
        assert!(!peer.is_closed());
    }
}

#[test]
fn a_e16_disconnecting_a_device_detaches_its_links() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, "/devices/d/messages/events");
    assert!(hub.disconnect_device("d").unwrap());
    assert_eq!(peer.find(DETACH).condition(2).as_deref(), Some("amqp:link:detach-forced"));
}
