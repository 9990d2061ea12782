//! Module identities: they are a device's, and each is one of its own (E7, E29, E46).

use iothub_emulator::{
    Activity, BadFilter, C2dMessage, Config, DeviceAuth, DisconnectReason, DropPoint, Emulator, Fault, HubError,
    MethodCall, MethodError,
};
use serde_json::json;

use crate::support::packets::{self, Connect, Will, key_in};
use crate::support::peer::Peer;
use crate::support::twin::{self, DESIRED, METHODS, RES};
use crate::support::{LIMIT, modules, start, why_it_ended};

/// A hub with a device `dev` and its module `m`, both connected.
fn device_and_module() -> (Emulator, Peer, Peer) {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let peer = Peer::connected(&hub, &device);
    let module = modules::connect(&hub, "m");
    (hub, peer, module)
}

#[test]
fn m_e46_a_module_has_a_connection_string_and_a_generation_of_its_own() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let first = hub.create_module("dev", "m").unwrap();
    let key = key_in(first.connection_string());
    let expected = format!("HostName=localhost;DeviceId=dev;ModuleId=m;SharedAccessKey={key}");
    assert_eq!(first.connection_string(), expected);
    assert_ne!(key, key_in(device.connection_string()));
    assert!(!format!("{first:?}").contains(&key), "the key is not in the Debug text");

    let names: Vec<String> = hub.modules("dev").into_iter().map(|module| module.module_id).collect();
    assert_eq!(names, ["m"]);
    let rotated = hub.rotate_module_keys("dev", "m").unwrap();
    assert_ne!(key_in(rotated.connection_string()), key);
    assert_ne!(rotated.etag, first.etag);
    assert_eq!(rotated.generation_id, first.generation_id);
    hub.delete_module("dev", "m").unwrap();
    assert!(hub.module("dev", "m").is_none());
    assert_ne!(hub.create_module("dev", "m").unwrap().generation_id, first.generation_id);
}

#[test]
fn m_e46_what_the_registry_does_not_allow_is_refused() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev").unwrap();
    hub.create_module("dev", "m").unwrap();
    let (device, module) = ("dev".to_owned(), "m".to_owned());
    assert_eq!(hub.create_module("dev", "m").unwrap_err(), HubError::ModuleExists { device, module });
    assert!(matches!(hub.create_module("nobody", "m"), Err(HubError::DeviceNotFound { .. })));
    for id in ["", "a/b", "a b", "ä", &"x".repeat(129)] {
        assert!(matches!(hub.create_module("dev", id), Err(HubError::InvalidModuleId { .. })), "{id}");
    }
    for result in [hub.delete_module("dev", "n"), hub.rotate_module_keys("dev", "n").map(drop)] {
        assert!(matches!(result, Err(HubError::ModuleNotFound { .. })), "{result:?}");
    }
    assert!(matches!(hub.twin(("dev", "n")), Err(HubError::ModuleNotFound { .. })));
    assert!(matches!(hub.patch_desired(("dev", "n"), json!({})), Err(HubError::ModuleNotFound { .. })));
    assert_eq!(hub.modules("nobody").len(), 0);

    let short = DeviceAuth::SymmetricKey { primary: "c2hvcnQ=".into(), secondary: "c2hvcnQ=".into() };
    let error = hub.create_module_with("dev", "n", short).unwrap_err();
    assert!(matches!(error, HubError::InvalidKey { ref device, .. } if device == "dev/n"), "{error}");
    for number in 1..50 {
        hub.create_module("dev", &format!("m{number}")).unwrap();
    }
    let refused = hub.create_module("dev", "one-more").unwrap_err();
    assert_eq!(refused, HubError::TooManyModules { device: "dev".into(), limit: 50 });
}

#[test]
fn m_e46_a_module_ends_with_its_device_and_is_disabled_with_it() {
    let (hub, mut device, mut module) = device_and_module();
    hub.set_device_enabled("dev", false).unwrap();
    device.expect_closed_without_packet();
    module.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, ("dev", "m")), DisconnectReason::DeviceDisabled);
    let connect = Connect::of_module(&hub, &hub.module("dev", "m").unwrap());
    assert_eq!(Peer::open(&hub).ask(&connect).code as u8, 5);

    hub.set_device_enabled("dev", true).unwrap();
    let mut module = Peer::connected_as(&hub, &connect);
    module.subscribe(&[(METHODS, 1)]);
    hub.patch_desired(("dev", "m"), json!({"old": true})).unwrap();
    hub.delete_device("dev").unwrap();
    module.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, ("dev", "m")), DisconnectReason::DeviceDeleted);
    assert!(hub.module("dev", "m").is_none() && hub.twin(("dev", "m")).is_err());
    hub.create_device("dev").unwrap();
    assert!(hub.modules("dev").is_empty(), "a device made anew has no modules");
    let anew = hub.create_module("dev", "m").unwrap();
    assert_eq!(hub.twin(("dev", "m")).unwrap().desired, json!({}));
    assert!(!Peer::open(&hub).connect(&Connect::of_module(&hub, &anew)), "nor a session");
}

#[test]
fn m_e46_deleting_a_module_ends_it_and_leaves_its_device_and_the_others_alone() {
    let (hub, mut device, mut module) = device_and_module();
    let mut other = modules::connect(&hub, "n");
    module.subscribe(&[(RES, 0)]);
    twin::report(&mut module, "1", br#"{"a":1}"#);
    twin::reply(&mut module);
    hub.delete_module("dev", "m").unwrap();
    module.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, ("dev", "m")), DisconnectReason::ModuleDeleted);
    device.expect_quiet();
    other.expect_quiet();
    let anew = hub.create_module("dev", "m").unwrap();
    assert!(!Peer::open(&hub).connect(&Connect::of_module(&hub, &anew)), "it has no session of the old one");
    assert_eq!(hub.twin(("dev", "m")).unwrap().reported, json!({}), "nor its twin");
}

#[test]
fn m_e46_twins_and_methods_of_device_and_modules_are_apart() {
    let (hub, mut device, mut module) = device_and_module();
    for peer in [&mut device, &mut module] {
        peer.subscribe(&[(RES, 0), (DESIRED, 0), (METHODS, 0)]);
    }
    hub.patch_desired("dev", json!({"for": "device"})).unwrap();
    hub.patch_desired(("dev", "m"), json!({"for": "module"})).unwrap();
    hub.patch_tags(("dev", "m"), json!({"floor": 3})).unwrap();
    assert_eq!(twin::desired(&mut device).1["for"], "device");
    assert_eq!(twin::desired(&mut module).1["for"], "module");
    twin::report(&mut module, "1", br#"{"mine":1}"#);
    assert_eq!(twin::reply(&mut module).0, "204/?$rid=1&$version=2");
    twin::get(&mut module, "2");
    let (tail, body) = twin::reply(&mut module);
    assert_eq!(tail, "200/?$rid=2");
    let expected = json!({"desired": {"for": "module", "$version": 2}, "reported": {"mine": 1, "$version": 2}});
    assert_eq!(twin::json(&body), expected);
    let record = hub.wait_for_reported(("dev", "m"), LIMIT, |reported| reported["mine"] == 1).unwrap();
    assert_eq!((record.device_id.as_str(), record.module_id.as_deref()), ("dev", Some("m")));
    assert_eq!(record.tags, json!({"floor": 3}));
    let device_twin = hub.twin("dev").unwrap();
    assert_eq!((device_twin.reported, device_twin.tags, device_twin.module_id), (json!({}), json!({}), None));

    for (who, peer, status) in [("module", &mut module, "201"), ("device", &mut device, "202")] {
        let call = MethodCall::new("greet").payload(json!({"who": who}));
        let pending = match who {
            "module" => hub.start_method(("dev", "m"), call).unwrap(),
            _ => hub.start_method("dev", call).unwrap(),
        };
        let (name, rid, body) = twin::call(peer);
        assert_eq!((name.as_str(), rid.as_str(), twin::json(&body)), ("greet", "1", json!({"who": who})));
        twin::answer(peer, status, &rid, b"");
        assert_eq!(pending.wait(LIMIT).unwrap().status.to_string(), status);
    }
    device.expect_quiet();
    module.expect_quiet();
}

#[test]
fn m_e46_a_method_call_for_a_module_fails_as_one_for_a_device() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev").unwrap();
    let call = |module: &str| hub.start_method(("dev", module), MethodCall::new("greet")).map(drop);
    let unknown = call("m").unwrap_err();
    assert_eq!(unknown, MethodError::ModuleNotFound { device: "dev".into(), module: "m".into() });
    assert_eq!(unknown.code(), Some(404_010));
    hub.create_module("dev", "m").unwrap();
    let offline = call("m").unwrap_err();
    assert!(matches!(&offline, MethodError::DeviceNotOnline { device, .. } if device == "dev/m"), "{offline}");
    let pending = hub.start_method(("dev", "m"), MethodCall::new("greet").connect_timeout(LIMIT)).unwrap();
    hub.delete_module("dev", "m").unwrap();
    assert_eq!(pending.try_result(), Some(Err(unknown)));
}

#[test]
fn m_e46_telemetry_of_a_module_is_stored_as_its_own_with_its_stamps() {
    let (hub, mut device, mut module) = device_and_module();
    device.publish("devices/dev/messages/events/", b"of the device");
    module.publish(&modules::events("m", "a=1&%24.mid=m1/"), b"of the module");
    module.publish("devices/dev/modules/m/messages/events", b"bare");
    assert_eq!(hub.telemetry_count("dev"), 1);
    let stored = hub.wait_for_telemetry(("dev", "m"), 2, LIMIT).unwrap();
    let record = &stored[0];
    assert_eq!((record.device_id.as_str(), record.module_id.as_deref()), ("dev", Some("m")));
    assert_eq!(&record.body[..], b"of the module");
    assert_eq!(record.property("a"), Some(Some("1")));
    assert_eq!(record.system["message-id"], "m1");
    let entry = hub.module("dev", "m").unwrap();
    for (name, value) in [
        ("iothub-connection-device-id", "dev"),
        ("iothub-connection-module-id", "m"),
        ("iothub-connection-auth-method", r#"{"scope":"module","type":"sas","issuer":"iothub"}"#),
        ("iothub-connection-auth-generation-id", &entry.generation_id),
    ] {
        assert_eq!(record.stamps[name], value, "{name}");
    }
    assert!(!hub.telemetry("dev")[0].stamps.contains_key("iothub-connection-module-id"));
    assert_eq!(hub.all_telemetry().len(), 3);
    let claims = "%24.cdid=other&%24.cmid=other&iothub-connection-module-id=other";
    module.publish(&modules::events("m", claims), b"forged");
    let forged = hub.telemetry(("dev", "m")).remove(2);
    assert_eq!((forged.properties.len(), forged.system.len()), (0, 0), "{forged:?}");
    assert_eq!(forged.stamps["iothub-connection-module-id"], "m");
}

#[test]
fn m_e46_a_module_publishes_on_no_topic_of_another_identity() {
    for topic in [
        "devices/dev/messages/events/",
        "devices/dev/modules/n/messages/events/",
        "devices/other/modules/m/messages/events/",
        "devices/dev/modules/m/inputs/i/",
        "devices/dev/m/messages/events/",
    ] {
        let hub = Emulator::start().unwrap();
        let mut module = modules::connect(&hub, "m");
        module.send(&packets::publish(topic, 1, 0, 1, b"x"));
        module.expect_closed_without_packet();
        assert_eq!(why_it_ended(&hub, ("dev", "m")), DisconnectReason::UnknownTopic(topic.to_owned()));
        assert!(hub.all_telemetry().is_empty());
    }
    let hub = Emulator::start().unwrap();
    let mut device = Peer::connected(&hub, &hub.create_device("dev").unwrap());
    device.send(&packets::publish(&modules::events("m", ""), 1, 0, 1, b"x"));
    device.expect_closed_without_packet();
}

#[test]
fn m_e46_the_will_of_a_module_is_telemetry_of_the_module() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev").unwrap();
    let module = hub.create_module("dev", "m").unwrap();
    let will = Will::new(&modules::events("m", "why=cut"), b"gone");
    Peer::connected_as(&hub, &Connect::of_module(&hub, &module).will(will)).cut();
    let stored = hub.wait_for_telemetry(("dev", "m"), 1, LIMIT).unwrap();
    assert_eq!(stored[0].property("iothub-MessageType"), Some(Some("Will")));
    assert_eq!(stored[0].property("why"), Some(Some("cut")));
}

#[test]
fn m_e46_a_fault_for_a_module_leaves_its_device_alone_and_the_other_way_round() {
    let (hub, mut device, mut module) = device_and_module();
    hub.inject_for(("dev", "m"), Fault::KillTcp);
    hub.wait_until(LIMIT, "the module is cut off", |hub| !hub.connected(("dev", "m"))).unwrap();
    device.expect_quiet();
    drop(module);
    module = modules::connect(&hub, "m");
    hub.inject(Fault::Drop { device: Some("dev/m".into()), at: DropPoint::PublishReceived });
    hub.inject(Fault::Drop { device: Some("dev".into()), at: DropPoint::PublishStored });
    device.publish("$iothub/twin/GET/?$rid=1", b"");
    module.send(&packets::publish(&modules::events("m", ""), 1, 0, 1, b"x"));
    module.expect_closed_without_packet();
    device.send(&packets::publish("devices/dev/messages/events/", 1, 0, 1, b"x"));
    device.expect_closed_without_packet();
    assert_eq!((hub.telemetry_count(("dev", "m")), hub.telemetry_count("dev"), hub.pending_faults()), (0, 1, 0));
}

#[test]
fn m_e07_the_newest_connection_of_a_module_displaces_only_that_module() {
    let (hub, mut device, mut module) = device_and_module();
    let mut other = modules::connect(&hub, "n");
    let mut newer = modules::connect(&hub, "m");
    module.expect_closed_without_packet();
    newer.expect_quiet();
    other.expect_quiet();
    let mut newer_device = Peer::connected(&hub, &hub.device("dev").unwrap());
    device.expect_closed_without_packet();
    for peer in [&mut newer, &mut other, &mut newer_device] {
        peer.expect_quiet();
    }
    let replaced =
        |activity: &Activity| matches!(activity, Activity::Disconnected { why: DisconnectReason::Replaced { .. }, .. });
    assert_eq!(hub.activity(("dev", "m")).iter().filter(|activity| replaced(activity)).count(), 1);
    assert_eq!(hub.activity("dev").iter().filter(|activity| replaced(activity)).count(), 1);
}

#[test]
fn m_e05_a_module_has_a_session_of_its_own() {
    let (hub, device, mut module) = device_and_module();
    module.subscribe(&[(METHODS, 1)]);
    module.disconnect();
    device.disconnect();
    let device = hub.device("dev").unwrap();
    assert!(!Peer::open(&hub).connect(&Connect::of(&hub, &device).clean()));
    let connect = Connect::of_module(&hub, &hub.module("dev", "m").unwrap());
    let mut module = Peer::open(&hub);
    assert!(module.connect(&connect), "the device's clean session has left the module's alone");
    let pending = hub.start_method(("dev", "m"), MethodCall::new("greet")).unwrap();
    let (_, rid, _) = twin::call(&mut module);
    twin::answer(&mut module, "200", &rid, b"");
    pending.wait(LIMIT).unwrap();
}

#[test]
fn m_e29_a_module_is_refused_cloud_to_device_messages() {
    for filter in [
        "devices/dev/messages/devicebound/#",
        "devices/+/messages/devicebound/#",
        "devices/dev/modules/m/messages/devicebound/#",
    ] {
        let hub = Emulator::start().unwrap();
        let mut module = modules::connect(&hub, "m");
        hub.send_c2d("dev", C2dMessage::new("for the device")).unwrap();
        module.send(&packets::subscribe(1, &[(filter, 1)]));
        module.expect_closed_without_packet();
        assert_eq!(why_it_ended(&hub, ("dev", "m")), DisconnectReason::UnknownFilter(filter.to_owned()));
        assert_eq!(hub.c2d_queue("dev").len(), 1);
    }
}

#[test]
fn m_e29_where_bad_filters_fail_or_are_ignored_so_is_this_one() {
    const DEVICEBOUND: &str = "devices/dev/messages/devicebound/#";
    for (reaction, code) in [(BadFilter::SubackFailure, 0x80), (BadFilter::Ignore, 1)] {
        let hub = start(Config::new().with_bad_filter(reaction));
        let mut module = modules::connect(&hub, "m");
        assert_eq!(module.subscribe(&[(DEVICEBOUND, 1)]), [code], "{reaction:?}");
        hub.send_c2d("dev", C2dMessage::new("for the device")).unwrap();
        module.expect_quiet();
        assert_eq!(hub.c2d_queue("dev").len(), 1);
    }
}
