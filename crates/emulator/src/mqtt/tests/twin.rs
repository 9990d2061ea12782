//! Twin requests, replies and desired patches.

use serde_json::{Value, json};

use super::*;
use crate::config::DeliveryQos;

const RES: &str = "$iothub/twin/res/#";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";
const REPORT: &str = "$iothub/twin/PATCH/properties/reported/?$rid=";

fn get(rid: &str) -> Vec<u8> {
    publish(0x30, &format!("$iothub/twin/GET/?$rid={rid}"), 0, b"")
}

fn report(rid: &str, body: &str) -> Vec<u8> {
    publish(0x30, &format!("{REPORT}{rid}"), 0, body.as_bytes())
}

fn subscribed(world: &mut World, qos: u8) -> Head {
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[(RES, qos), (DESIRED, qos)]));
    head
}

fn patch(world: &mut World, patch: Value) -> u64 {
    let now = world.now();
    world.hub.patch_desired(d(), patch, now).unwrap()
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[test]
fn a_twin_is_given_and_a_report_is_merged() {
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world, 1);
    let answers = published(&world.say(&mut head, &[report("a", r#"{"x":1}"#), get("b")].concat()));
    assert_eq!(answers[0], (0x30, "$iothub/twin/res/204/?$rid=a&$version=2".to_owned(), Vec::new()));
    assert_eq!((answers[1].0, answers[1].1.as_str()), (0x30, "$iothub/twin/res/200/?$rid=b"));
    assert_eq!(json_of(&answers[1].2), json!({"desired": {"$version": 1}, "reported": {"x": 1, "$version": 2}}));
}

#[test]
fn a_bad_report_is_answered_400_in_the_hubs_words() {
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world, 0);
    let answers = published(&world.say(&mut head, &report("7", "{")));
    assert_eq!(answers[0].1, "$iothub/twin/res/400/?$rid=7");
    let body = json_of(&answers[0].2);
    assert_eq!(body["errorCode"], 400_004);
    assert_eq!(body["timestampUtc"], "2023-11-14T22:13:20.000Z");
    assert!(body["message"].as_str().unwrap().contains("JSON") && body["trackingId"].is_string());
}

#[test]
fn without_a_subscription_a_request_is_executed_and_not_answered() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    assert!(world.say(&mut head, &[get("a"), report("b", "{}")].concat()).is_empty());
    assert_eq!(world.hub.twin(d()).unwrap().record(d()).reported_version, 2);
    assert!(matches!(world.last_activity(), Activity::TwinReported { status: 204, answered: false, .. }));
}

#[test]
fn a_change_made_before_a_request_is_sent_before_its_reply() {
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world, 0);
    patch(&mut world, json!({"x": 1}));
    let topics: Vec<String> =
        published(&world.say(&mut head, &get("a"))).into_iter().map(|(_, topic, _)| topic).collect();
    assert_eq!(topics, ["$iothub/twin/PATCH/properties/desired/?$version=2", "$iothub/twin/res/200/?$rid=a"]);
}

#[test]
fn at_the_qos_of_the_subscription_if_so_configured() {
    let mut world = World::new(Config::new().with_twin_qos(DeliveryQos::AsSubscribed));
    let mut head = subscribed(&mut world, 1);
    patch(&mut world, json!({"x": 1}));
    let sent = world.poll(&mut head);
    assert_eq!(published(&sent)[0].0, 0x32);
    world.say(&mut head, b"\x40\x02\x80\x00");
    let acknowledged = |activity: &Activity| {
        matches!(activity, Activity::PubackReceived { packet_id: 0x8000, effect: crate::PubackEffect::Completed, .. })
    };
    assert!(acknowledged(world.last_activity()));
}

#[test]
fn each_fault_of_a_reply_does_what_it_says() {
    use crate::faults::TwinReplyFault as F;
    let cases: [(F, &[&str]); 6] = [
        (F::Drop, &[]),
        (F::Duplicate, &["204/?$rid=a&$version=2", "204/?$rid=a&$version=2"]),
        (F::UnknownRid, &["204/?$rid=unknown-a&$version=2"]),
        (F::WrongVersion, &["204/?$rid=a&$version=1"]),
        (F::Status(429), &["429/?$rid=a"]),
        (F::Status(202), &["202/?$rid=a"]),
    ];
    for (fault, expected) in cases {
        let mut world = World::new(Config::new());
        let mut head = subscribed(&mut world, 0);
        world.hub.faults.push(None, Fault::TwinReply(fault));
        let topics: Vec<String> = published(&world.say(&mut head, &report("a", "{}")))
            .into_iter()
            .map(|(_, topic, _)| topic.replace("$iothub/twin/res/", ""))
            .collect();
        assert_eq!(topics, expected, "{fault:?}");
        let executed = !matches!(fault, F::Status(_));
        let version = world.hub.twin(d()).unwrap().record(d()).reported_version;
        assert_eq!(version, if executed { 2 } else { 1 }, "{fault:?}");
        assert_eq!(world.hub.faults.len(), 0);
    }
}

#[test]
fn a_reply_can_be_late_and_a_body_can_break_off() {
    use crate::faults::TwinReplyFault as F;
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world, 0);
    world.hub.faults.push(None, Fault::TwinReply(F::Delay(Duration::from_secs(50))));
    assert!(world.say(&mut head, &get("a")).is_empty());
    assert_eq!(head.timeout(world.now()), Some(Duration::from_secs(50)));
    world.pass(50);
    assert_eq!(published(&world.poll(&mut head))[0].1, "$iothub/twin/res/200/?$rid=a");
    for request in [get("b"), report("b", "{}")] {
        world.hub.faults.push(None, Fault::TwinReply(F::BadJson));
        let answers = published(&world.say(&mut head, &request));
        assert!(!answers[0].2.is_empty() && serde_json::from_slice::<Value>(&answers[0].2).is_err());
    }
}

#[test]
fn each_fault_of_a_patch_does_what_it_says() {
    use crate::faults::TwinPatchFault as F;
    for (fault, expected) in [
        (F::Drop, ["3", "4"].as_slice()),
        (F::Duplicate, &["2", "2", "3", "4"]),
        (F::Reorder, &["3", "2", "4"]),
        (F::BadJson, &["2", "3", "4"]),
    ] {
        let mut world = World::new(Config::new());
        let mut head = subscribed(&mut world, 0);
        world.hub.faults.push(None, Fault::TwinPatch(fault));
        for value in 0..3 {
            patch(&mut world, json!({"x": value}));
        }
        let sent = published(&world.poll(&mut head));
        let versions: Vec<&str> = sent.iter().map(|(_, topic, _)| topic.rsplit('=').next().unwrap()).collect();
        assert_eq!(versions, expected, "{fault:?}");
        assert_eq!(serde_json::from_slice::<Value>(&sent[0].2).is_err(), fault == F::BadJson);
    }
}
