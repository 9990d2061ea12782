//! A transport of one's own, and a device that uses it: the story of `quickstart`, without any network.
//!
//! ```sh
//! cargo run --example custom_transport
//! ```
//!
//! The transport is in `transport`, written with public items only. It does what every transport must do:
//! `tests/custom_transport.rs` runs the conformance suite over it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example tells its story on the terminal")]

mod transport;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use iothub_client::{DeviceClient, Event, Feature, Message, SendStatus, TwinUpdate};
use iothub_emulator::{C2dMessage, Emulator, Hub, MethodCall};
use serde_json::{Value, json};

use transport::Local;

/// How long the whole story may take.
const PATIENCE: Duration = Duration::from_secs(30);
const DEVICE: &str = "thermostat";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("custom_transport: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let emulator = Emulator::start()?;
    let device = emulator.create_device(DEVICE)?;

    // The one line that chooses the transport.
    let mut client = DeviceClient::builder(device.connection_string()).build(&Local::new(emulator.hub()))?;
    println!("device: created, over a transport of its own");

    for feature in [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods] {
        client.subscribe(feature)?;
    }
    client.send_event_with(Message::new(r#"{"temperature":21}"#).with_property("room", "kitchen")?, |outcome, _| {
        match outcome {
            Ok(()) => println!("device: the hub has confirmed the reading"),
            Err(undelivered) => println!("device: {undelivered}"),
        }
    })?;

    // The back end lives in a thread of its own and wakes the device's loop when it is done.
    let (hub, waker) = (emulator.hub(), client.waker());
    let back_end = std::thread::spawn(move || {
        let story = back_end(&hub).map_err(|error| error.to_string());
        waker.wake();
        story
    });

    let deadline = Instant::now() + PATIENCE;
    while !(back_end.is_finished() && client.send_status() == SendStatus::Idle) {
        if Instant::now() >= deadline {
            return Err(format!("the story did not end within {} s; see the lines above", PATIENCE.as_secs()).into());
        }
        client.wait(deadline.saturating_duration_since(Instant::now()));
        client.do_work();
        while let Some(event) = client.next_event() {
            handle(event, &mut client)?;
        }
    }
    back_end.join().map_err(|_| "the back end panicked")??;
    client.close(Duration::from_secs(5));
    println!("All is well.");
    Ok(())
}

/// The device's side of the story.
fn handle(event: Event, client: &mut DeviceClient) -> Result<(), Box<dyn Error>> {
    match event {
        Event::Status(change) => println!("device: {:?}", change.state),
        // MQTT cannot do this; a transport says in its capabilities what it can.
        Event::Message(message) if message.payload() == "Do you like spam?" => {
            message.reject()?;
            println!("device: has rejected a message");
        }
        Event::Message(message) => {
            println!("device: the hub says {:?}", String::from_utf8_lossy(message.payload()));
            message.complete();
        }
        Event::Twin(update) => {
            let json: Value = serde_json::from_slice(update.json())?;
            let desired = if matches!(update, TwinUpdate::Full(_)) { &json["desired"] } else { &json };
            println!("device: desired properties: {desired}");
            if let Some(interval) = desired["interval"].as_u64() {
                client.send_reported_state(json!({ "interval": interval }).to_string())?;
            }
        }
        Event::Method(request) => {
            println!("device: method {:?} is called", request.name());
            request.respond(200, r#"{"rebooting":true}"#)?;
        }
        other => println!("device: {other:?}"),
    }
    Ok(())
}

/// What a program in the cloud would do.
fn back_end(hub: &Hub) -> Result<(), Box<dyn Error>> {
    for record in hub.wait_for_telemetry(DEVICE, 1, PATIENCE)? {
        println!("hub:    stored {}", String::from_utf8_lossy(&record.body));
    }

    hub.send_c2d(DEVICE, C2dMessage::new("Is it warm enough?"))?;
    hub.send_c2d(DEVICE, C2dMessage::new("Do you like spam?"))?;
    hub.wait_until(PATIENCE, "the messages to be settled", |hub| hub.c2d_outcomes(DEVICE).len() == 2)?;
    for outcome in hub.c2d_outcomes(DEVICE) {
        println!("hub:    a message has ended as {:?}", outcome.result);
    }

    hub.patch_desired(DEVICE, json!({ "interval": 5 }))?;
    let twin = hub.wait_for_reported(DEVICE, PATIENCE, |reported| reported["interval"] == 5)?;
    println!("hub:    the device reports {}", twin.reported);

    let result = hub.invoke_method(DEVICE, MethodCall::new("reboot").connect_timeout(PATIENCE))?;
    println!("hub:    the device answers {}: {}", result.status, result.payload);
    Ok(())
}
