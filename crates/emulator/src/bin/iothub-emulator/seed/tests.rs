//! What a seed file makes of a hub.

use iothub_emulator::{Emulator, SecretKey};
use serde_json::json;

use super::*;

fn free_port() -> Option<SocketAddr> {
    Some(([127, 0, 0, 1], 0).into())
}

#[test]
fn devices_and_settings_are_as_in_the_file_and_flags_win() {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let text = format!(
        r#"{{"config": {{"host_names": ["file.test"], "sas_grace": 0.5, "unknown_topic": "drop-and-ack", "mqtt_address": "127.0.0.1:0"}},
            "devices": [{{"id": "made"}}, {{"id": "given", "primary_key": "{key}", "enabled": false}}, {{"id": "x509", "thumbprint": "{}"}}]}}"#,
        "ab".repeat(32)
    );
    let seed = Seed::parse(&text).unwrap();
    let emulator = Emulator::start_with(seed.config(&[], None, free_port())).unwrap();
    assert_eq!(emulator.host_name(), "file.test");
    seed.create_devices(&emulator).unwrap();
    let given = emulator.device("given").unwrap();
    assert_eq!(given.primary_key.as_ref().map(SecretKey::expose), Some(key));
    assert!(!given.enabled);
    assert!(emulator.device("made").unwrap().primary_key.is_some());
    assert!(emulator.device("x509").unwrap().connection_string.ends_with(";x509=true"));
    let emulator = Emulator::start_with(seed.config(&["flag.test".into()], free_port(), free_port())).unwrap();
    assert_eq!(emulator.host_names(), ["flag.test"]);
}

#[test]
fn a_wrong_field_is_named_and_no_key_is_shown() {
    for (text, part) in [
        ("{", "not JSON"),
        ("[]", "the file: an object"),
        (r#"{"device": []}"#, "device: no such field"),
        (r#"{"config": {"sas_grace": "long"}}"#, "config.sas_grace"),
        (r#"{"config": {"sas_grace": -1}}"#, "config.sas_grace"),
        (r#"{"config": {"graces": 1}}"#, "config.graces"),
        (r#"{"devices": {}}"#, "devices: an array"),
        (r#"{"devices": [{"id": "a"}, {"id": 5}]}"#, "devices[1].id"),
        (r#"{"devices": [{}]}"#, "devices[0].id"),
        (r#"{"devices": [{"id": "a", "primary_key": "k", "thumbprint": "t"}]}"#, "one kind"),
        (r#"{"devices": [{"id": "a", "secondary_key": "k"}]}"#, "devices[0].secondary_key"),
        (r#"{"devices": [{"id": "a", "modules": {}}]}"#, "devices[0].modules: an array"),
        (r#"{"devices": [{"id": "a", "modules": [{}]}]}"#, "devices[0].modules[0].id"),
        (
            r#"{"devices": [{"id": "a", "modules": [{"id": "m"}, {"id": "n", "key": "k"}]}]}"#,
            "devices[0].modules[1].key",
        ),
        (r#"{"devices": [{"id": "a", "modules": [{"id": "m", "enabled": true}]}]}"#, "devices[0].modules[0].enabled"),
        (r#"{"devices": [{"id": "a", "twin": {"desires": {}}}]}"#, "devices[0].twin"),
        (r#"{"config": {"edge_routes": ["FROM"]}}"#, "config.edge_routes"),
    ] {
        let problem = Seed::parse(text).unwrap_err();
        assert!(problem.contains(part), "{text}: {problem}");
    }
    let seed = Seed::parse(r#"{"devices": [{"id": "a", "primary_key": "no-secret"}]}"#).unwrap();
    let emulator = Emulator::start().unwrap();
    let (place, error) = seed.create_devices(&emulator).unwrap_err();
    assert_eq!(place, "devices[0]");
    assert!(!error.to_string().contains("no-secret"), "{error}");
}

#[test]
fn modules_twins_and_routes_are_as_in_the_file() {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let text = json!({
        "config": {
            "mqtt_address": "127.0.0.1:0",
            "gateway_host_names": ["gateway.test"],
            "edge_routes": {"edge": [r#"FROM /messages/modules/a/* INTO BrokeredEndpoint("/modules/b/inputs/i")"#]},
            "input_ttl": 60,
        },
        "devices": [{
            "id": "edge",
            "twin": {"tags": {"floor": 3}, "desired": {"wanted": 1}, "reported": {"given": 2}},
            "modules": [{"id": "a"}, {"id": "b", "primary_key": key, "twin": {"desired": {"wanted": 4}}}],
        }],
    });
    let seed = Seed::parse(&text.to_string()).unwrap();
    let emulator = Emulator::start_with(seed.config(&[], None, free_port())).unwrap();
    seed.create_devices(&emulator).unwrap();
    let device = emulator.twin("edge").unwrap();
    assert_eq!(
        (device.tags, device.desired, device.reported),
        (json!({"floor": 3}), json!({"wanted": 1}), json!({"given": 2}))
    );
    assert_eq!(emulator.twin(("edge", "b")).unwrap().desired, json!({"wanted": 4}));
    assert_eq!(emulator.twin(("edge", "a")).unwrap().desired_version, 1);
    let expected = format!("HostName=localhost;DeviceId=edge;ModuleId=b;SharedAccessKey={key}");
    assert_eq!(emulator.module("edge", "b").unwrap().connection_string(), expected);
    emulator.send_input(("edge", "b"), "i", iothub_emulator::C2dMessage::new("x")).unwrap();
    let waiting = &emulator.input_queue(("edge", "b"))[0];
    assert_eq!(waiting.expires.duration_since(waiting.enqueued).unwrap().as_secs(), 60);

    let bad_twin = r#"{"devices": [{"id": "d", "modules": [{"id": "m", "twin": {"desired": {"a.b": 1}}}]}]}"#;
    let (place, error) = Seed::parse(bad_twin).unwrap().create_devices(&emulator).unwrap_err();
    assert_eq!(place, "devices[0].modules[0]");
    assert!(matches!(error, HubError::InvalidTwin { ref device, .. } if device == "d/m"), "{error}");
    let bad_route = Seed::parse(r#"{"config": {"edge_routes": {"d": ["FROM here INTO $upstream"]}}}"#).unwrap();
    let error = Emulator::start_with(bad_route.config(&[], free_port(), free_port())).unwrap_err();
    assert!(error.to_string().contains("FROM here INTO $upstream"), "{error}");
}

#[test]
fn the_seed_of_the_readme_is_one() {
    let readme = include_str!("../../../../README.md");
    let (_, json) = readme.split_once("```json\n").unwrap();
    let seed = Seed::parse(json.split_once("```").unwrap().0).unwrap();
    let emulator = Emulator::start_with(seed.config(&[], None, free_port())).unwrap();
    seed.create_devices(&emulator).unwrap();
    assert_eq!(emulator.devices().len(), 3);
    assert_eq!(emulator.modules("boiler").len(), 2);
}
