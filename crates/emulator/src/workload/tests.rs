//! Requests and answers without a network, and a little of it with one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::Request;
use serde_json::{Value, json};

use super::gateway::Answer;
use super::{EdgeRuntime, Reply, api, gateway};
use crate::auth::{Peer, sas};
use crate::clock::{Clock, unix_seconds};
use crate::config::Config;
use crate::device::DeviceAuth;
use crate::emulator::Emulator;
use crate::hub::HubState;
use crate::method::{MethodError, MethodResult};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "HxwdHhscGRoZGBcWFRQTEhEQDw4NDAsKCQgHBgUEAwI=";
const CALL: &str = r#"{"methodName":"reboot","payload":{"a":1}}"#;

/// A hub with the Edge device `boiler`, its module `filter`, and another device.
struct World {
    hub: HubState,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let clock = Clock::new(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        let mut hub = HubState::new(Config::new().validated().unwrap());
        let keys = || DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: OTHER_KEY.into() };
        for device in ["boiler", "thermo"] {
            hub.create_device(device, keys(), clock.now()).unwrap();
            hub.create_module(device, "filter", keys(), clock.now()).unwrap();
        }
        hub.create_module("boiler", "x509", DeviceAuth::CertificateAuthority, clock.now()).unwrap();
        Self { hub, clock }
    }

    fn generation_id(&self, module: &str) -> String {
        self.hub.registry.module("boiler", module).unwrap().generation_id.clone()
    }

    fn workload(&self, method: &str, uri: &str, body: impl Into<Bytes>) -> Reply {
        let request = Request::builder().method(method).uri(uri).body(body.into()).unwrap();
        api::answer(&self.hub, "boiler", "the CA", &request)
    }

    fn sign(&self, key_id: &str, data: &[u8]) -> Reply {
        let uri = format!("/modules/filter/genid/{}/sign?api-version=2018-06-28", self.generation_id("filter"));
        let body = json!({ "keyId": key_id, "algo": "HMACSHA256", "data": BASE64.encode(data) });
        self.workload("POST", &uri, body.to_string())
    }

    fn token(&self, key: &str, lifetime: u64) -> String {
        sas::sign(key, "localhost/devices/boiler/modules/filter", unix_seconds(self.clock.now().wall) + lifetime)
    }

    /// The status of the answer; `None` while the call is under way.
    fn invoke(&mut self, uri: &str, headers: &[(&str, &str)], body: &str) -> Option<u16> {
        let mut request = Request::builder().method("POST").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::from(body.to_owned())).unwrap();
        match gateway::answer(&mut self.hub, self.clock.now(), "boiler", &Peer::default(), &request) {
            Answer::Now(reply) => Some(reply.status.as_u16()),
            Answer::After(_) => None,
        }
    }

    /// A call by the module `filter` with a good token.
    fn call(&mut self, uri: &str, body: &str) -> Option<u16> {
        let token = self.token(KEY, 60);
        self.invoke(uri, &[("x-ms-edge-moduleId", "boiler/filter"), ("Authorization", &token)], body)
    }
}

#[test]
fn the_trust_bundle_is_the_hubs_ca() {
    let reply = World::new().workload("GET", "/trust-bundle?api-version=2018-06-28", "");
    assert_eq!((reply.status.as_u16(), reply.body), (200, json!({ "certificate": "the CA" })));
}

#[test]
fn what_is_signed_makes_a_token_that_the_hub_takes() {
    let world = World::new();
    let (resource, expiry) = ("localhost%2Fdevices%2Fboiler%2Fmodules%2Ffilter", 1_700_000_060);
    for (key_id, key) in [("primary", KEY), ("secondary", OTHER_KEY)] {
        let reply = world.sign(key_id, format!("{resource}\n{expiry}").as_bytes());
        let digest = reply.body["digest"].as_str().unwrap().to_owned();
        let token = format!("SharedAccessSignature sr={resource}&sig={digest}&se={expiry}").replace('+', "%2B");
        assert!(sas::Token::parse(token.as_bytes()).unwrap().is_signed_with(key));
    }
}

#[test]
fn the_workload_api_refuses_what_is_wrong_and_says_what() {
    let world = World::new();
    let generation_id = world.generation_id("filter");
    let sign = |module: &str, generation: &str, body: &str| {
        let uri = format!("/modules/{module}/genid/{generation}/sign?api-version=2018-06-28");
        world.workload("POST", &uri, body.to_owned())
    };
    let good = r#"{"keyId":"primary","algo":"HMACSHA256","data":"YQ=="}"#;
    assert_eq!(sign("filter", &generation_id, good).status, 200);
    for (reply, status) in [
        (sign("unknown", &generation_id, good), 404),
        (sign("filter", "1", good), 404),
        (sign("x509", &world.generation_id("x509"), good), 400),
        (sign("filter", &generation_id, "{"), 400),
        (sign("filter", &generation_id, &good.replace("primary", "third")), 400),
        (sign("filter", &generation_id, &good.replace("HMACSHA256", "MD5")), 400),
        (sign("filter", &generation_id, &good.replace("YQ==", "?")), 400),
        (world.workload("GET", "/trust-bundle", ""), 400),
        (world.workload("GET", "/trust-bundle?api-version=1", ""), 400),
        (world.workload("POST", "/trust-bundle?api-version=2018-06-28", ""), 404),
        (world.workload("GET", "/modules?api-version=2018-06-28", ""), 404),
    ] {
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(reply.body["message"].is_string(), "{}", reply.body);
    }
}

#[test]
fn only_a_module_of_the_gateways_device_with_a_good_token_may_call() {
    let mut world = World::new();
    let uri = "/twins/thermo/methods?api-version=2020-09-30";
    let (good, other, late) = (world.token(KEY, 60), world.token("AAAA", 60), world.token(KEY, 0));
    let (caller, token) = ("x-ms-edge-moduleId", "Authorization");
    for (headers, status) in [
        (&[(token, &*good)][..], 400),
        (&[(caller, "boiler"), (token, &good)], 400),
        (&[(caller, "boiler/filter/x"), (token, &good)], 400),
        (&[(caller, "thermo/filter"), (token, &good)], 401),
        (&[(caller, "boiler/unknown"), (token, &good)], 401),
        (&[(caller, "boiler/x509"), (token, &good)], 401),
        (&[(caller, "boiler/filter")], 401),
        (&[(caller, "boiler/filter"), (token, "geheim")], 401),
        (&[(caller, "boiler/filter"), (token, &other)], 401),
        (&[(caller, "boiler/filter"), (token, &late)], 401),
        // The target is there, and not connected.
        (&[(caller, "boiler/filter"), (token, &good)], 404),
    ] {
        assert_eq!(world.invoke(uri, headers, CALL).unwrap(), status, "{headers:?}");
    }
}

#[test]
fn a_call_that_the_edge_hub_would_not_take_is_refused() {
    let mut world = World::new();
    let uri = "/twins/thermo/modules/filter/methods";
    let mut status = |body: Value| world.call(uri, &body.to_string()).unwrap();
    let call = |name: &str| json!({ "methodName": name, "payload": null });
    assert_eq!(status(json!({})), 400);
    assert_eq!(status(call("")), 400);
    assert_eq!(status(call(&"ü".repeat(101))), 400);
    assert_eq!(status(call(&"ü".repeat(100))), 404);
    let with = |name: &str, value: Value| {
        let mut call = call("m");
        call[name] = value;
        call
    };
    for (name, wrong) in [
        ("responseTimeoutInSeconds", json!(4)),
        ("responseTimeoutInSeconds", json!("5")),
        ("connectTimeoutInSeconds", json!(301)),
        ("connectTimeoutInSeconds", json!(-1)),
        ("payload", json!("x".repeat(128 * 1024))),
    ] {
        assert_eq!(status(with(name, wrong.clone())), 400, "{name}");
    }
    assert_eq!(world.call(uri, "{").unwrap(), 400);
    assert_eq!(world.call("/twins/unknown/methods", CALL).unwrap(), 404);
    assert_eq!(world.call("/twins/thermo", CALL).unwrap(), 404);
    let waiting = with("connectTimeoutInSeconds", json!(5)).to_string();
    assert_eq!(world.call(uri, &waiting), None, "it waits for the target");
}

#[test]
fn the_end_of_a_call_is_told_in_http() {
    let status = |error: MethodError| gateway::outcome(&Err(error)).status.as_u16();
    let (device, waited) = (String::new(), Duration::ZERO);
    assert_eq!(status(MethodError::Timeout { device: device.clone(), waited }), 504);
    assert_eq!(status(MethodError::DeviceNotOnline { device: device.clone(), waited }), 404);
    assert_eq!(status(MethodError::NotFound { device }), 404);
    assert_eq!(status(MethodError::BadResponse { problem: String::new() }), 500);
    let reply = gateway::outcome(&Ok(MethodResult { status: -7, payload: json!([1]) }));
    assert_eq!((reply.status.as_u16(), reply.body), (200, json!({ "status": -7, "payload": [1] })));
}

/// One request over a stream, and the whole answer.
fn exchange(mut stream: impl Read + Write) -> String {
    stream
        .write_all(b"GET /trust-bundle?api-version=2018-06-28 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_workload_api_is_on_a_port_or_on_a_socket_and_gone_with_the_runtime() {
    let hub = Emulator::start().unwrap();
    hub.create_device("boiler").unwrap();
    let module = hub.create_module("boiler", "filter").unwrap();
    let edge = EdgeRuntime::start(&hub, "boiler").unwrap();
    let address = edge.workload_uri().strip_prefix("http://").unwrap().to_owned();
    let answer = exchange(TcpStream::connect(&address).unwrap());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("BEGIN CERTIFICATE"), "{answer}");
    let [request] = &edge.requests()[..] else { panic!("{:?}", edge.requests()) };
    assert_eq!(
        (&*request.method, &*request.path, request.status),
        ("GET", "/trust-bundle?api-version=2018-06-28", 200)
    );
    let variables = edge.variables("filter").unwrap();
    assert!(variables.contains(&("IOTEDGE_MODULEGENERATIONID", module.generation_id)));
    assert!(edge.variables("unknown").is_err());
    drop(edge);
    assert!(TcpStream::connect(&address).is_err());

    let path = std::env::temp_dir().join(format!("iothub-emulator-{}.sock", std::process::id()));
    let edge = EdgeRuntime::start_on_socket(&hub, "boiler", &path).unwrap();
    assert_eq!(edge.workload_uri(), format!("unix://{}", path.display()));
    assert!(exchange(UnixStream::connect(&path).unwrap()).starts_with("HTTP/1.1 200"));
    assert!(EdgeRuntime::start_on_socket(&hub, "boiler", &path).is_err(), "the path is taken");
    drop(edge);
    assert!(!path.exists());
}
