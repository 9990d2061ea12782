//! The property bag of a telemetry topic, and what the hub adds (E19, E20).

use std::collections::BTreeMap;

use iothub_emulator::{Config, DeviceAuth, DuplicateSystemProperty, Emulator, TelemetryRecord};

use crate::support::bag::{Pair, pair};
use crate::support::packets::{self, Connect};
use crate::support::peer::Peer;
use crate::support::tls::TlsOptions;
use crate::support::{hub_with_manual_clock, start, start_of_time};

const EVENTS: &str = "devices/dev/messages/events";

type Properties = &'static [(&'static str, Option<&'static str>)];

/// What a hub of its own stores for these topics, one record each.
fn stored(topics: &[String]) -> Vec<TelemetryRecord> {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    for topic in topics {
        peer.publish(topic, b"body");
    }
    let telemetry = hub.telemetry("dev");
    assert_eq!(telemetry.len(), topics.len());
    telemetry
}

fn stored_one(bag: &str) -> TelemetryRecord {
    stored(&[format!("{EVENTS}/{bag}")]).remove(0)
}

fn text<'a>(map: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    map.get(key).map(String::as_str)
}

#[test]
fn m_e19_bags_are_decoded_as_the_official_sdks_write_them() {
    let cases: &[(&str, Properties)] = &[
        ("", &[]),
        ("a=1", &[("a", Some("1"))]),
        ("a=1&b=2&c=3", &[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))]),
        ("z=1&a=2", &[("z", Some("1")), ("a", Some("2"))]),
        ("a=1/", &[("a", Some("1"))]),
        ("a=1//", &[("a", Some("1/"))]),
        ("a%2Fb=c%2Fd", &[("a/b", Some("c/d"))]),
        ("a%2fb=c%2fd", &[("a/b", Some("c/d"))]),
        ("k%201=v%261", &[("k 1", Some("v&1"))]),
        ("a=x%3Dy", &[("a", Some("x=y"))]),
        ("a=x=y", &[("a", Some("x=y"))]),
        ("a=1+2", &[("a", Some("1+2"))]),
        ("a+b=c%2Bd", &[("a+b", Some("c+d"))]),
        ("null", &[("null", None)]),
        ("empty=", &[("empty", Some(""))]),
        ("null/", &[("null", None)]),
        ("empty=/", &[("empty", Some(""))]),
        ("null&empty=&a=1", &[("null", None), ("empty", Some("")), ("a", Some("1"))]),
        ("same=1&same=2", &[("same", Some("1")), ("same", Some("2"))]),
        ("caf%C3%A9=%E2%82%AC%F0%9F%98%80", &[("café", Some("€😀"))]),
        ("caf%c3%a9=%e2%82%ac", &[("café", Some("€"))]),
        ("café=€😀", &[("café", Some("€😀"))]),
        ("raw=a b(c)!*'~,;:@/d", &[("raw", Some("a b(c)!*'~,;:@/d"))]),
        ("raw=100%", &[("raw", Some("100%"))]),
        ("raw=%zz%4", &[("raw", Some("%zz%4"))]),
        ("once=%2525", &[("once", Some("%25"))]),
        ("$iothub=a$b", &[("$iothub", Some("a$b"))]),
        ("case=A&CASE=b", &[("case", Some("A")), ("CASE", Some("b"))]),
    ];
    let topics: Vec<String> = cases.iter().map(|(bag, _)| format!("{EVENTS}/{bag}")).collect();
    for ((bag, expected), record) in cases.iter().zip(stored(&topics)) {
        let expected: Vec<Pair> = expected.iter().map(|(key, value)| pair(key, *value)).collect();
        assert_eq!(record.properties, expected, "{bag:?}");
        assert_eq!(record.system, BTreeMap::new(), "{bag:?}");
        assert_eq!(&record.body[..], b"body");
    }
}

#[test]
fn m_e19_the_topic_may_end_with_or_without_a_slash() {
    for record in stored(&[EVENTS.to_owned(), format!("{EVENTS}/")]) {
        assert_eq!(record.properties, []);
    }
}

#[test]
fn m_e19_every_byte_survives_its_escape() {
    let name: String = (1..=0x7F_u8).map(char::from).collect();
    let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let record = stored_one(&format!("{escaped}={escaped}"));
    assert_eq!(record.properties, [pair(&name, Some(&name))]);
}

#[test]
fn m_e19_a_body_is_any_bytes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let bodies: [Vec<u8>; 3] = [Vec::new(), (0..=255).collect(), vec![0; 70_000]];
    for body in &bodies {
        peer.publish(EVENTS, body);
    }
    let stored: Vec<_> = hub.telemetry("dev").into_iter().map(|record| record.body.to_vec()).collect();
    assert_eq!(stored, bodies);
}

#[test]
fn m_e20_system_properties_get_their_names() {
    let cases = [
        ("%24.mid", "message-id"),
        ("%24.cid", "correlation-id"),
        ("%24.uid", "user-id"),
        ("%24.to", "to"),
        ("%24.exp", "absolute-expiry-time"),
        ("%24.ctime", "iothub-creation-time-utc"),
        ("%24.ct", "content-type"),
        ("%24.ce", "content-encoding"),
        ("%24.sub", "dt-subject"),
        ("%24.ifid", "iothub-interface-id"),
        ("%24.on", "iothub-outputname"),
        ("%24.schema", "iothub-message-schema"),
        ("%24.diagid", "Diagnostic-Id"),
        ("%24.diagctx", "Correlation-Context"),
        ("iothub-operation", "iothub-operation"),
        ("iothub-ack", "iothub-ack"),
    ];
    for (index, (wire, name)) in cases.into_iter().enumerate() {
        let value = format!("value {index}");
        let escaped = format!("value%20{index}");
        let raw = wire.replace("%24", "$");
        for bag in
            [format!("{wire}={escaped}"), format!("{raw}={escaped}"), format!("before=1&{wire}={escaped}&after=2/")]
        {
            let record = stored_one(&bag);
            assert_eq!(text(&record.system, name), Some(value.as_str()), "{bag}");
            assert_eq!(record.system.len(), 1, "{bag}: {:?}", record.system);
            assert!(record.properties.iter().all(|(key, _)| !key.contains('$')), "{bag}: {:?}", record.properties);
        }
    }
}

#[test]
fn m_e20_a_trace_is_decoded_once_like_every_value() {
    for (sent, stored) in [
        ("creationtimeutc%3d1506054516.100", "creationtimeutc=1506054516.100"),
        ("creationtimeutc=1506054516.100", "creationtimeutc=1506054516.100"),
        ("creationtimeutc%253D1506054516.100", "creationtimeutc%3D1506054516.100"),
    ] {
        let record = stored_one(&format!("%24.diagid=d1&%24.diagctx={sent}"));
        assert_eq!(text(&record.system, "Correlation-Context"), Some(stored), "{sent}");
        assert_eq!(text(&record.system, "Diagnostic-Id"), Some("d1"), "{sent}");
    }
}

#[test]
fn m_e20_the_bags_of_the_official_sdks_are_read_alike() {
    let bags = [
        // C, with encoding on.
        "k%201=v%261&%24.cid=cid1&%24.mid=mid1&%24.ct=application%2fjson&%24.ce=utf-8&%24.ctime=2026-01-02T03%3a04%3a05Z",
        // C, with encoding off.
        "k 1=v%261&%24.cid=cid1&%24.mid=mid1&%24.ct=application/json&%24.ce=utf-8&%24.ctime=2026-01-02T03:04:05Z",
        // Node and Python.
        "%24.mid=mid1&%24.cid=cid1&%24.ct=application%2Fjson&%24.ce=utf-8&%24.ctime=2026-01-02T03%3A04%3A05Z&k%201=v%261",
        // C#, with its slash.
        "%24.ctime=2026-01-02T03%3A04%3A05Z&%24.ce=utf-8&%24.ct=application%2Fjson&%24.mid=mid1&%24.cid=cid1&k%201=v%261/",
    ];
    for bag in bags {
        let record = stored_one(bag);
        let expected = [
            ("content-encoding", "utf-8"),
            ("content-type", "application/json"),
            ("correlation-id", "cid1"),
            ("iothub-creation-time-utc", "2026-01-02T03:04:05Z"),
            ("message-id", "mid1"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(record.system, BTreeMap::from(expected), "{bag}");
        assert_eq!(record.properties, [pair("k 1", Some("v&1"))], "{bag}");
    }
}

#[test]
fn m_e20_the_hub_stamps_who_sent_it_when_and_how() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.publish(EVENTS, b"");
    let record = hub.telemetry("dev").remove(0);
    assert_eq!(record.device_id, "dev");
    assert_eq!(record.module_id, None);
    assert_eq!(record.enqueued, start_of_time());
    assert_eq!(text(&record.stamps, "iothub-connection-device-id"), Some("dev"));
    assert_eq!(text(&record.stamps, "iothub-connection-auth-generation-id"), Some(device.generation_id.as_str()));
    assert_eq!(text(&record.stamps, "iothub-message-source"), Some("Telemetry"));
    let enqueued = text(&record.stamps, "iothub-enqueuedtime").unwrap();
    assert!(enqueued.starts_with("2027-01-15T08:00:00"), "{enqueued}");
    assert_eq!(text(&record.stamps, "dt-dataschema"), None, "no model id was given");
    let method: serde_json::Value =
        serde_json::from_str(text(&record.stamps, "iothub-connection-auth-method").unwrap()).unwrap();
    assert_eq!(method["scope"], "device");
    assert_eq!(method["type"], "sas");
    assert_eq!(method["issuer"], "iothub");
}

#[test]
fn m_e20_the_stamp_of_a_certificate_says_so() {
    let hub = Emulator::start().unwrap();
    hub.create_device_with("dev", DeviceAuth::CertificateAuthority).unwrap();
    let issued = hub.issue_device_certificate("dev").unwrap();
    let options = TlsOptions::default().presenting(&issued.certificate_pem, &issued.private_key_pem);
    let mut peer = Peer::open_with(&hub, &options).unwrap();
    peer.connect(&Connect::without_password(&hub, "dev"));
    peer.publish(EVENTS, b"");
    let record = hub.telemetry("dev").remove(0);
    let method: serde_json::Value =
        serde_json::from_str(text(&record.stamps, "iothub-connection-auth-method").unwrap()).unwrap();
    assert_eq!(method["scope"], "device");
    assert!(method["type"].as_str().unwrap().starts_with("x509"), "{method}");
}

#[test]
fn m_e20_the_model_id_of_the_connect_becomes_the_data_schema() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let with_model = "localhost/dev/?api-version=2021-04-12&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1";
    Peer::connected_as(&hub, &connect.clone().user_name(with_model)).publish(EVENTS, b"");
    Peer::connected_as(&hub, &connect).publish(EVENTS, b"");
    let schemas: Vec<_> =
        hub.telemetry("dev").iter().map(|record| text(&record.stamps, "dt-dataschema").map(str::to_owned)).collect();
    assert_eq!(schemas, [Some("dtmi:com:example:Thermostat;1".to_owned()), None], "it belongs to the connection");
}

#[test]
fn m_e20_a_device_cannot_forge_a_stamp() {
    let honest = stored_one("");
    let names = [
        "iothub-connection-device-id",
        "iothub-connection-module-id",
        "iothub-connection-auth-method",
        "iothub-connection-auth-generation-id",
        "iothub-enqueuedtime",
        "iothub-message-source",
        "dt-dataschema",
        "%24.cdid",
        "%24.cmid",
    ];
    for name in names {
        let record = stored_one(&format!("{name}=forged"));
        assert!(record.stamps.values().all(|value| value != "forged"), "{name}: {:?}", record.stamps);
        assert!(record.system.values().all(|value| value != "forged"), "{name}: {:?}", record.system);
        assert_eq!(
            record.stamps.keys().collect::<Vec<_>>(),
            honest.stamps.keys().collect::<Vec<_>>(),
            "{name} adds no stamp"
        );
        assert_eq!(record.stamps.get("iothub-connection-device-id"), honest.stamps.get("iothub-connection-device-id"));
    }
}

#[test]
fn m_e20_the_marks_of_dup_and_retain_stand_behind_the_properties_of_the_device() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(&format!("{EVENTS}/colour=blue"), 1, packets::DUP | packets::RETAIN, 1, b""));
    peer.expect_puback();
    let record = hub.telemetry("dev").remove(0);
    assert_eq!(
        record.properties[0],
        pair("colour", Some("blue")),
        "the hub's marks stand behind the device's properties"
    );
    assert_eq!(record.properties.len(), 3);
}

#[test]
fn m_e20_a_system_property_named_twice_closes_or_the_last_counts() {
    let twice = format!("{EVENTS}/%24.mid=one&%24.mid=two");
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(&twice, 1, 0, 1, b""));
    peer.expect_closed_without_packet();
    assert_eq!(hub.telemetry("dev"), []);

    let hub = start(Config::new().with_duplicate_system_property(DuplicateSystemProperty::LastWins));
    let device = hub.create_device("dev").unwrap();
    Peer::connected(&hub, &device).publish(&twice, b"");
    assert_eq!(text(&hub.telemetry("dev")[0].system, "message-id"), Some("two"));
}
