//! A module on an IoT Edge device: readings come to its input, it passes on what is too warm, and it does what its twin
//! and its methods ask for.
//!
//! ```sh
//! cargo run --example module
//! ```
//!
//! It starts a local hub in Edge mode and two modules: a *sensor*, whose output is routed to the input of the *filter*, whose
//! output is routed to the cloud. The filter is the module to copy. `--transport NAME` chooses the transport.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example tells its story on the terminal")]

mod common;

use std::error::Error;
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use iothub_client::{
    ConnectionState, Event, Feature, IncomingMessage, Message, MethodRequest, Module, ModuleClient, Outbox,
    PropertyKind, Provider, ReportedProperties, TwinUpdate, Waits, wait_any,
};
use iothub_emulator::{Config, Emulator, Hub, MethodCall};
use serde_json::json;

/// How long the whole story may take.
const PATIENCE: Duration = Duration::from_secs(30);
const DEVICE: &str = "gateway";
const FILTER: (&str, &str) = (DEVICE, "filter");

/// Where the modules' outputs go, as in an Edge deployment.
const ROUTES: [&str; 2] = [
    r#"FROM /messages/modules/sensor/outputs/readings INTO BrokeredEndpoint("/modules/filter/inputs/readings")"#,
    "FROM /messages/modules/filter/outputs/alerts INTO $upstream",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("module: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (protocol, provider) = common::transport("module")?;
    let hub = Emulator::start_with(Config::new().with_edge_routes(DEVICE, ROUTES))?;
    hub.create_device(DEVICE)?;
    let address = common::address(&hub, protocol);
    println!("edge:   a local hub listens on {address}");

    // Modules connect to the Edge device, which is their gateway. The port of a local hub is not the standard one.
    let gateway = format!("{}:{}", hub.host_name(), address.port());
    let mut sensor = connect_to(&hub, &gateway, "sensor", &*provider)?;
    let mut filter = Filter::start(connect_to(&hub, &gateway, "filter", &*provider)?)?;

    // The back end lives in a thread of its own and wakes the loop when it is done.
    let back_end: JoinHandle<Result<(), String>> = std::thread::spawn({
        let (hub, waker) = (hub.hub(), filter.client.waker());
        move || {
            let story = back_end(&hub).map_err(|error| error.to_string());
            waker.wake();
            story
        }
    });

    // One loop for both modules: on a real device, each has a process of its own.
    let deadline = Instant::now() + PATIENCE;
    let mut readings = [19, 35, 22, 41].into_iter();
    while !back_end.is_finished() {
        sensor.do_work();
        filter.client.do_work();
        while let Some(event) = filter.client.next_event() {
            filter.handle(event)?;
        }
        // The sensor waits until the filter knows its limit, so that the story is the same each time.
        if filter.limit.is_some() {
            for reading in readings.by_ref() {
                sensor.send_event_to_output(json!({ "temperature": reading }).to_string(), "readings")?;
                println!("sensor: {reading} degrees");
            }
        }
        if Instant::now() >= deadline {
            return Err(format!("the story did not end within {} s; see the lines above", PATIENCE.as_secs()).into());
        }
        let mut clients: [&mut dyn Waits; 2] = [&mut sensor, &mut filter.client];
        wait_any(&mut clients, deadline.saturating_duration_since(Instant::now()));
    }
    back_end.join().map_err(|_| "the back end panicked")??;
    sensor.close(Duration::from_secs(5));
    filter.client.close(Duration::from_secs(5));
    println!("All is well.");
    Ok(())
}

/// Creates a module at the hub, and its client. On a real device the Edge runtime does the first.
fn connect_to(hub: &Hub, gateway: &str, module: &str, provider: &dyn Provider) -> Result<ModuleClient, Box<dyn Error>> {
    let identity = hub.create_module(DEVICE, module)?;
    let builder = ModuleClient::builder(identity.connection_string()).gateway(gateway).trusted_certs(hub.ca_pem());
    Ok(builder.build(provider)?)
}

/// Passes on what is warmer than its limit.
struct Filter {
    client: ModuleClient,
    /// From the twin; nothing is passed on before it is known.
    limit: Option<i64>,
}

impl Filter {
    fn start(mut client: ModuleClient) -> Result<Self, Box<dyn Error>> {
        for feature in [Feature::Inputs, Feature::DesiredProperties, Feature::Methods] {
            client.subscribe(feature)?;
        }
        Ok(Self { client, limit: None })
    }

    fn handle(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        match event {
            Event::Message(message) => self.filter(message),
            Event::Twin(update) => self.configure(&update),
            Event::Method(request) => self.serve(request),
            Event::Status(change) if change.state == ConnectionState::Ready => {
                println!("filter: ready");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A reading has come.
    fn filter(&mut self, message: IncomingMessage) -> Result<(), Box<dyn Error>> {
        let reading: serde_json::Value = serde_json::from_slice(message.payload())?;
        let temperature = reading["temperature"].as_i64().unwrap_or_default();
        let is_too_warm = self.limit.is_some_and(|limit| temperature > limit);
        println!("filter: {temperature} degrees on {:?}", message.input_name().unwrap_or_default());
        if !is_too_warm {
            message.complete();
            return Ok(());
        }
        let alert = Message::new(json!({ "alert": temperature }).to_string()).with_content_type("application/json")?;
        // The reading is answered when its alert is safe; until then the Edge hub keeps it.
        let done = move |outcome: Result<(), _>, _: &mut Outbox<Module>| match outcome {
            Ok(()) => message.complete(),
            Err(_) => message.abandon(),
        };
        self.client.send_event_to_output_with(alert, "alerts", done)?;
        Ok(())
    }

    /// The twin has come, or has changed.
    fn configure(&mut self, update: &TwinUpdate) -> Result<(), Box<dyn Error>> {
        for property in update.properties()?.iter() {
            let is_writable = matches!(property.kind(), PropertyKind::Writable { .. });
            if !is_writable || (property.component(), property.name()) != (None, "limit") {
                continue;
            }
            let limit: i64 = property.read()?;
            self.limit = Some(limit);
            println!("filter: the limit is {limit} degrees now");
            let mut report = ReportedProperties::new();
            report.acknowledge(property, 200, "in force")?;
            self.client.send_reported_state(report)?;
        }
        Ok(())
    }

    /// A method is called.
    fn serve(&mut self, request: MethodRequest) -> Result<(), Box<dyn Error>> {
        println!("filter: method {:?} is called", request.name());
        match (request.name(), self.limit) {
            ("limit", Some(limit)) => request.respond(200, json!({ "limit": limit }).to_string())?,
            ("limit", None) => request.respond(503, r#"{"message":"no limit yet"}"#)?,
            _ => request.respond(404, r#"{"message":"there is only: limit"}"#)?,
        }
        Ok(())
    }
}

/// What a program in the cloud would do.
fn back_end(hub: &Hub) -> Result<(), Box<dyn Error>> {
    hub.patch_desired(FILTER, json!({ "limit": 30 }))?;
    println!("cloud:  the limit should be 30 degrees");
    let twin = hub.wait_for_reported(FILTER, PATIENCE, |reported| reported["limit"]["ac"] == 200)?;
    println!("cloud:  the filter reports {}", twin.reported["limit"]);

    for alert in hub.wait_for_telemetry(FILTER, 2, PATIENCE)? {
        println!("cloud:  stored {}", String::from_utf8_lossy(&alert.body));
    }
    hub.wait_until(PATIENCE, "every reading to be answered", |hub| hub.input_outcomes(FILTER).len() == 4)?;
    println!("edge:   every reading is answered");

    let result = hub.invoke_method(FILTER, MethodCall::new("limit").connect_timeout(PATIENCE))?;
    println!("cloud:  the filter answers {}: {}", result.status, result.payload);
    Ok(())
}
