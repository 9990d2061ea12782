//! The user name of a CONNECT: every form the official SDKs and the documents use (E3).

use iothub_emulator::{Activity, Config, Emulator, Hub};

use crate::support::packets::Connect;
use crate::support::peer::Peer;
use crate::support::start;

/// The api-version and the client type that the hub recorded for the last connection of `dev`.
fn recorded(hub: &Hub) -> (Option<String>, Option<String>) {
    hub.activity("dev")
        .iter()
        .rev()
        .find_map(|activity| match activity {
            Activity::Connected { api_version, client_type, .. } => Some((api_version.clone(), client_type.clone())),
            _ => None,
        })
        .expect("the connection is on record")
}

/// The model id that the hub noted for the connection, as it is stamped on telemetry.
fn model(hub: &Hub, peer: &mut Peer) -> Option<String> {
    peer.publish("devices/dev/messages/events/", b"");
    let telemetry = hub.telemetry("dev");
    telemetry.last().unwrap().stamps.get("dt-dataschema").cloned()
}

struct Form {
    user_name: &'static str,
    api_version: &'static str,
    client_type: Option<&'static str>,
    model: Option<&'static str>,
}

const C_SDK: &str = "iothubclient/1.15.0 (native; Linux; x86_64)";
const THERMOSTAT: &str = "dtmi:com:example:Thermostat;1";

const FORMS: &[Form] = &[
    // C: lower-case hex, bare parentheses.
    Form {
        user_name: "localhost/dev/?api-version=2020-09-30&DeviceClientType=iothubclient%2f1.15.0%20(native%3b%20Linux%3b%20x86_64)",
        api_version: "2020-09-30",
        client_type: Some(C_SDK),
        model: None,
    },
    Form {
        user_name: "localhost/dev/?api-version=2020-09-30&DeviceClientType=iothubclient%2f1.15.0%20(native%3b%20Linux%3b%20x86_64)&model-id=dtmi%3acom%3aexample%3aThermostat%3b1",
        api_version: "2020-09-30",
        client_type: Some(C_SDK),
        model: Some(THERMOSTAT),
    },
    // Node: the model id first, and not encoded.
    Form {
        user_name: "localhost/dev/?api-version=2021-04-12&model-id=dtmi:com:example:Thermostat;1&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20Debian%2012%3B%20x64)",
        api_version: "2021-04-12",
        client_type: Some("azure-iot-device/1.18.4 (node v20.20.2; Debian 12; x64)"),
        model: Some(THERMOSTAT),
    },
    Form {
        user_name: "localhost/dev/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20Debian%2012%3B%20x64)",
        api_version: "2021-04-12",
        client_type: Some("azure-iot-device/1.18.4 (node v20.20.2; Debian 12; x64)"),
        model: None,
    },
    // Python: everything encoded, an old version without a model.
    Form {
        user_name: "localhost/dev/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%20PREEMPT_DYNAMIC%20%400%3Bx86_64%29",
        api_version: "2019-10-01",
        client_type: Some("azure-iot-device-iothub-py/2.14.0(3.11.7;Linux #1 SMP PREEMPT_DYNAMIC @0;x86_64)"),
        model: None,
    },
    // C#, with the chain of a nested gateway that no other SDK sends.
    Form {
        user_name: "localhost/dev/?api-version=2020-09-30&DeviceClientType=.NET%2F1.42&auth-chain=leaf%3Bparent&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1",
        api_version: "2020-09-30",
        client_type: Some(".NET/1.42"),
        model: Some(THERMOSTAT),
    },
    // Embedded C.
    Form {
        user_name: "localhost/dev/?api-version=2020-09-30&DeviceClientType=azsdk-c%2F1.5.0",
        api_version: "2020-09-30",
        client_type: Some("azsdk-c/1.5.0"),
        model: None,
    },
    // The documents.
    Form {
        user_name: "localhost/dev/?api-version=2021-04-12",
        api_version: "2021-04-12",
        client_type: None,
        model: None,
    },
    // The form of 2017, without a question mark.
    Form {
        user_name: "localhost/dev/api-version=2016-11-14&DeviceClientType=old%20client",
        api_version: "2016-11-14",
        client_type: Some("old client"),
        model: None,
    },
    Form {
        user_name: "localhost/dev/DeviceClientType=old%20client&api-version=2016-11-14",
        api_version: "2016-11-14",
        client_type: Some("old client"),
        model: None,
    },
    // Any order, unknown keys, a version that nobody checks.
    Form {
        user_name: "localhost/dev/?colour=blue&DeviceClientType=me&model-id=dtmi:com:example:Thermostat;1&flag&api-version=1999-12-31-preview&",
        api_version: "1999-12-31-preview",
        client_type: Some("me"),
        model: Some(THERMOSTAT),
    },
    // Of two values the first counts; an equals sign may stand in a value; plus is plus.
    Form {
        user_name: "localhost/dev/?api-version=2021-04-12&DeviceClientType=a=b+c&api-version=&DeviceClientType=second",
        api_version: "2021-04-12",
        client_type: Some("a=b+c"),
        model: None,
    },
];

#[test]
fn m_e03_every_form_of_the_user_name_is_understood() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for form in FORMS {
        let mut peer = Peer::open(&hub);
        peer.connect(&Connect::of(&hub, &device).user_name(form.user_name));
        let (api_version, client_type) = recorded(&hub);
        assert_eq!(api_version.as_deref(), Some(form.api_version), "{}", form.user_name);
        assert_eq!(client_type.as_deref(), form.client_type, "{}", form.user_name);
        assert_eq!(model(&hub, &mut peer).as_deref(), form.model, "{}", form.user_name);
    }
}

#[test]
fn m_e03_the_record_keeps_the_user_name_as_it_was_sent() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let name = FORMS[0].user_name;
    Peer::connected_as(&hub, &Connect::of(&hub, &device).user_name(name).keep_alive(77).clean());
    assert!(hub.activity("dev").iter().any(|activity| matches!(
        activity,
        Activity::Connected { user_name, keep_alive: 77, clean_session: true, session_present: false, .. } if user_name == name
    )));
}

#[test]
fn m_e03_a_device_id_is_taken_as_it_stands_and_not_decoded() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("a%20b=c$d@e'f(g)").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.publish("devices/a%20b=c$d@e'f(g)/messages/events/", b"mine");
    assert_eq!(hub.telemetry(&device.id).len(), 1);
}

#[test]
fn m_e03_a_user_name_that_names_no_identity_is_refused() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for name in [
        "",
        "/",
        "dev",
        "localhost",
        "localhost/dev",
        "localhost/dev/",
        "localhost/?api-version=2021-04-12",
        "localhost//?api-version=2021-04-12",
        "localhost/DEV/?api-version=2021-04-12",
        "localhost/dev/mod/?api-version=2021-04-12",
        "localhost/dev/mod/more/?api-version=2021-04-12",
    ] {
        let mut peer = Peer::open(&hub);
        let answer = peer.ask(&Connect::of(&hub, &device).user_name(name));
        assert_eq!(answer.code as u8, 5, "{name:?}");
        peer.expect_closed_without_packet();
    }
}

#[test]
fn m_e03_a_missing_api_version_is_let_in_as_the_cloud_does_or_refused_as_the_gateway_does() {
    let names = [
        "localhost/dev/?",
        "localhost/dev/?DeviceClientType=me",
        "localhost/dev/?API-VERSION=2021-04-12",
        "localhost/dev/?api-version",
        "localhost/dev/?api-version=",
        "localhost/dev/?api-version=%20",
    ];
    for (require, code) in [(false, 0), (true, 5)] {
        let hub = start(Config::new().with_require_api_version(require));
        let device = hub.create_device("dev").unwrap();
        for name in names {
            let answer = Peer::open(&hub).ask(&Connect::of(&hub, &device).user_name(name));
            assert_eq!(answer.code as u8, code, "{name:?}");
        }
    }
}
