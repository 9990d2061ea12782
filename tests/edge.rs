//! Modules on IoT Edge, with everything but the containers: they learn from their environment who they are, let the
//! security daemon sign, connect through the gateway, and call methods through it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use iothub_client::{
    ConnectionErrorKind, DeviceClient, Event, HttpError, Https, InvokeError, MethodInvocation, MethodRequest,
    MethodResponse, ModuleClient, Mqtt, RetryConfig, Waits, wait_any,
};
use iothub_emulator::{EdgeRuntime, Emulator, MethodCall};

const LIMIT: Duration = Duration::from_secs(30);
const EDGE: &str = "boiler";
const MODULE: (&str, &str) = (EDGE, "filter");

/// A hub with an Edge device, its module `filter`, and a device behind the gateway.
fn hub() -> Emulator {
    let hub = Emulator::start().unwrap();
    hub.create_device(EDGE).unwrap();
    hub.create_module(EDGE, MODULE.1).unwrap();
    hub.create_device("thermo").unwrap();
    hub
}

fn https(edge: &EdgeRuntime) -> Https {
    Https::new().port(edge.gateway_address().port())
}

/// The module `filter`, created from the variables that the runtime sets.
fn module(edge: &EdgeRuntime) -> ModuleClient {
    let variables = edge.variables(MODULE.1).unwrap();
    let variable = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
    ModuleClient::builder_from_variables(https(edge), variable).unwrap().build(&Mqtt::new()).unwrap()
}

/// The device `thermo`, which answers its methods with their own payload.
fn thermo(hub: &Emulator) -> DeviceClient {
    let text = hub.device("thermo").unwrap().connection_string().to_owned();
    let gateway = format!("GatewayHostName=localhost:{}", hub.mqtt_address().port());
    let builder = DeviceClient::builder(&format!("{text};{gateway}")).trusted_certs(hub.ca_pem());
    let mut device = builder.build(&Mqtt::new()).unwrap();
    device.set_method_callback(|request, _| echo(request)).unwrap();
    device
}

fn echo(request: MethodRequest) {
    let payload = request.payload().clone();
    request.respond(207, payload).unwrap();
}

/// Anything that a loop drives.
trait Driven: Waits {
    fn turn(&mut self);
}

impl Driven for ModuleClient {
    fn turn(&mut self) {
        self.do_work();
    }
}

impl Driven for DeviceClient {
    fn turn(&mut self) {
        self.do_work();
    }
}

/// Runs the clients until it is so.
fn drive(clients: &mut [&mut dyn Driven], what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + LIMIT;
    loop {
        clients.iter_mut().for_each(|client| client.turn());
        if done() {
            return;
        }
        assert!(Instant::now() < limit, "{what} did not happen");
        let mut waiting: Vec<&mut dyn Waits> =
            clients.iter_mut().map(|client| &mut **client as &mut dyn Waits).collect();
        wait_any(&mut waiting, LIMIT);
    }
}

fn call(text: &str) -> MethodInvocation {
    MethodInvocation::new("say \"it\"").with_payload(format!("{{\"text\": \"{text}\"}}"))
}

type Outcomes = Receiver<Result<MethodResponse, InvokeError>>;

fn invoke(module: &mut ModuleClient, device: &str, method: MethodInvocation) -> Outcomes {
    let (tell, told) = channel();
    module.invoke_device_method(device, method, move |outcome, _| tell.send(outcome).unwrap()).unwrap();
    told
}

/// The one outcome of a call.
fn outcome(clients: &mut [&mut dyn Driven], told: &Outcomes) -> Result<MethodResponse, InvokeError> {
    let mut outcome = None;
    drive(clients, "the outcome", || {
        outcome = told.try_recv().ok();
        outcome.is_some()
    });
    outcome.unwrap()
}

/// A device and a module from nothing to the answer of a method.
fn session() {
    let hub = hub();
    let edge = EdgeRuntime::start(&hub, EDGE).unwrap();
    let (mut module, mut device) = (module(&edge), thermo(&hub));
    module.send_event("hello").unwrap();
    drive(&mut [&mut module, &mut device], "both are ready", || {
        hub.connected(MODULE) && hub.connected("thermo") && hub.telemetry_count(MODULE) == 1
    });
    // The device may not have subscribed yet: the gateway waits for that.
    let told = invoke(&mut module, "thermo", call("warm").with_connect_timeout(Duration::from_secs(30)));
    let answer = outcome(&mut [&mut module, &mut device], &told).unwrap();
    assert_eq!((answer.status, &answer.payload[..]), (207, br#"{"text":"warm"}"#.as_slice()));

    // At the other end: who was asked for what, and by whom.
    let requests: Vec<_> = edge.requests().into_iter().map(|r| (r.method, r.path, r.status)).collect();
    let generation = hub.module(EDGE, MODULE.1).unwrap().generation_id;
    let sign = format!("/modules/filter/genid/{generation}/sign?api-version=2018-06-28");
    let expected = [
        ("GET", "/trust-bundle?api-version=2018-06-28", 200),
        ("POST", &sign, 200),
        ("POST", "/twins/thermo/methods?api-version=2020-09-30", 200),
    ];
    assert_eq!(requests, expected.map(|(method, path, status)| (method.to_owned(), path.to_owned(), status)));

    // Nothing is under way: nothing ticks.
    let due = module.next_deadline().expect("a keep-alive");
    assert!(due > Instant::now() + Duration::from_secs(10), "it wakes in {:?}", due - Instant::now());
    module.close(LIMIT);
    device.close(LIMIT);
}

#[test]
fn a_module_from_its_environment_sends_and_calls_a_device() {
    session();
}

#[test]
fn it_does_so_inside_a_single_threaded_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { session() });
}

#[test]
fn it_does_so_in_a_task_of_a_runtime_with_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(async { session() }).await.unwrap() });
}

/// A path for a socket that nobody else uses.
fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("iothub-edge-{}-{name}.sock", std::process::id()))
}

#[test]
fn a_daemon_that_comes_up_later_on_its_socket_is_found_by_the_retries() {
    let hub = hub();
    let path = socket_path("late");
    let before = EdgeRuntime::start_on_socket(&hub, EDGE, &path).unwrap();
    let mut module = module(&before);
    drop(before);
    module.set_retry_policy(RetryConfig::default().with_initial_delay(Duration::from_millis(100)));
    let (tell, told) = channel();
    module.set_connection_status_callback(move |change, _| {
        change.error.into_iter().for_each(|error| tell.send(error).unwrap())
    });
    let mut error = None;
    drive(&mut [&mut module], "the failure", || {
        error = told.try_recv().ok();
        error.is_some()
    });
    let text = error.unwrap().to_string();
    assert!(text.contains(&format!("unix:{} cannot be opened", path.display())), "{text}");

    let edge = EdgeRuntime::start_on_socket(&hub, EDGE, &path).unwrap();
    drive(&mut [&mut module], "the connection", || hub.connected(MODULE));
    assert_eq!(edge.requests().len(), 2);
}

#[test]
fn a_module_calls_another_module_and_hears_through_events() {
    let hub = hub();
    let pump = hub.create_module(EDGE, "pump").unwrap();
    let edge = EdgeRuntime::start(&hub, EDGE).unwrap();
    let mut caller = module(&edge);
    let gateway = format!("GatewayHostName=localhost:{}", hub.mqtt_address().port());
    let builder = ModuleClient::builder(&format!("{};{gateway}", pump.connection_string()));
    let mut called = builder.trusted_certs(hub.ca_pem()).build(&Mqtt::new()).unwrap();
    called.set_method_callback(|request, _| echo(request)).unwrap();

    let patient = call("on").with_connect_timeout(Duration::from_secs(30));
    let id = caller.invoke_module_method_tracked(EDGE, "pump", patient).unwrap();
    let limit = Instant::now() + LIMIT;
    let (told, outcome) = loop {
        assert!(Instant::now() < limit, "no outcome came");
        caller.do_work();
        called.do_work();
        match caller.next_event() {
            Some(Event::MethodInvoked { id, outcome }) => break (id, outcome),
            Some(_) => {}
            None => wait_any(&mut [&mut caller, &mut called], LIMIT),
        }
    };
    assert_eq!((told, outcome.unwrap().status), (id, 207));
}

#[test]
fn a_target_that_is_not_there_is_the_gateways_answer() {
    let hub = hub();
    let edge = EdgeRuntime::start(&hub, EDGE).unwrap();
    let mut module = module(&edge);
    for device in ["thermo", "unknown"] {
        let told = invoke(&mut module, device, call("x"));
        let error = outcome(&mut [&mut module], &told).unwrap_err();
        assert!(matches!(&error, InvokeError::Status { status: 404, .. }), "{error}");
        assert!(error.to_string().contains(device), "{error}");
    }
}

#[test]
fn a_call_that_is_open_at_close_ends_as_destroyed() {
    let hub = hub();
    let edge = EdgeRuntime::start(&hub, EDGE).unwrap();
    let (mut module, mut device) = (module(&edge), thermo(&hub));
    let (hold, held) = channel();
    device.set_method_callback(move |request, _| hold.send(request).unwrap()).unwrap();
    let told = invoke(&mut module, "thermo", call("x").with_connect_timeout(Duration::from_secs(30)));
    let mut request = None;
    drive(&mut [&mut module, &mut device], "the call", || {
        request = held.try_recv().ok();
        request.is_some()
    });
    module.close(Duration::ZERO);
    assert_eq!(told.try_recv().unwrap(), Err(InvokeError::Destroyed));
    assert!(told.try_recv().is_err());
}

#[test]
fn a_gateway_whose_certificate_the_daemon_does_not_know_hears_nothing() {
    let (hub, stranger) = (hub(), hub());
    let edge = EdgeRuntime::start(&hub, EDGE).unwrap();
    let other = EdgeRuntime::start(&stranger, EDGE).unwrap();
    let variables = edge.variables(MODULE.1).unwrap();
    let variable = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
    let builder = ModuleClient::builder_from_variables(https(&other), variable).unwrap();
    let mut module = builder.build(&Mqtt::new()).unwrap();
    let told = invoke(&mut module, "thermo", call("x"));
    let error = outcome(&mut [&mut module], &told).unwrap_err();
    let InvokeError::Http(HttpError::NotConnected { kind, .. }) = &error else { panic!("{error:?}") };
    assert!(matches!(kind, ConnectionErrorKind::UntrustedCertificate { .. }), "{kind}");
    assert!(other.requests().is_empty());
}

#[test]
fn a_tools_environment_has_a_connection_string_and_a_root_certificate() {
    let hub = hub();
    let edge = EdgeRuntime::start(&hub, EDGE).unwrap();
    let file = std::env::temp_dir().join(format!("iothub-edge-{}-ca.pem", std::process::id()));
    std::fs::write(&file, hub.ca_pem()).unwrap();
    let text = hub.module(EDGE, MODULE.1).unwrap().connection_string().to_owned();
    let gateway = format!("GatewayHostName=localhost:{}", hub.mqtt_address().port());
    let variable = |name: &str| match name {
        "EdgeHubConnectionString" => Some(format!("{text};{gateway}")),
        "EdgeModuleCACertificateFile" => Some(file.to_string_lossy().into_owned()),
        _ => None,
    };
    let mut module = ModuleClient::builder_from_variables(https(&edge), variable).unwrap().build(&Mqtt::new()).unwrap();
    let mut device = thermo(&hub);
    let told = invoke(&mut module, "thermo", call("x").with_connect_timeout(Duration::from_secs(30)));
    assert_eq!(outcome(&mut [&mut module, &mut device], &told).unwrap().status, 207);
    assert_eq!(edge.requests().len(), 1, "the daemon is not asked");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn the_cloud_reaches_a_module_that_waits_for_a_call() {
    let hub = hub();
    let edge = EdgeRuntime::start(&hub, EDGE).unwrap();
    let mut module = module(&edge);
    module.set_method_callback(|request, _| echo(request)).unwrap();
    let told = invoke(&mut module, "thermo", call("x").with_connect_timeout(Duration::from_secs(300)));
    let from_the_cloud = MethodCall::new("m").connect_timeout(Duration::from_secs(30));
    let pending = hub.start_method(MODULE, from_the_cloud).unwrap();
    drive(&mut [&mut module], "the answer", || pending.try_result().is_some());
    assert_eq!(pending.try_result().unwrap().unwrap().status, 207);
    assert!(told.try_recv().is_err(), "the module's own call is still under way");
}
