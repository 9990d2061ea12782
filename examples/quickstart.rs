//! The first thing to run: a device sends telemetry, receives a message, follows its twin and answers a method.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! It starts a local hub of its own. With `IOTHUB_DEVICE_CONNECTION_STRING` set it talks to that hub instead; if that
//! hub's certificate comes from a private authority, `IOTHUB_TRUSTED_CERTS` names a PEM file with its root.
//! `--transport NAME` chooses the transport.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example tells its story on the terminal")]

mod common;

use std::error::Error;
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use iothub_client::{ConnectionState, DeviceClient, Event, Feature, Message, SendStatus, StatusChange, TwinUpdate};
use iothub_emulator::{C2dMessage, Emulator, Hub, MethodCall};
use serde_json::{Value, json};

/// How long the whole story may take.
const PATIENCE: Duration = Duration::from_secs(30);
const DEVICE: &str = "thermostat";
const READINGS: usize = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (protocol, provider) = common::transport("quickstart")?;

    // A hub to talk to: the one that you name, or one of our own.
    let (connection_string, trusted_certs, emulator) = match std::env::var("IOTHUB_DEVICE_CONNECTION_STRING") {
        Ok(text) => (text, std::env::var("IOTHUB_TRUSTED_CERTS").ok().map(std::fs::read_to_string).transpose()?, None),
        Err(_) => {
            let emulator = Emulator::start()?;
            let device = emulator.create_device(DEVICE)?;
            let address = common::address(&emulator, protocol);
            println!("hub:    a local hub listens on {address}");
            // The port of a local hub is not the standard one; a gateway's name may carry it.
            let gateway = format!("{}:{}", emulator.host_name(), address.port());
            let connection_string = format!("{};GatewayHostName={gateway}", device.connection_string());
            (connection_string, Some(emulator.ca_pem()), Some(emulator))
        }
    };

    let mut builder = DeviceClient::builder(&connection_string);
    if let Some(pem) = trusted_certs {
        builder = builder.trusted_certs(pem);
    }
    let mut client = builder.build(&*provider)?;
    println!("device: created, over {protocol}; nothing is on the wire yet");

    client.set_connection_status_callback(|change, _| println!("device: {}", in_words(&change)));
    for feature in [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods] {
        client.subscribe(feature)?;
    }
    for number in 1..=READINGS {
        let message = Message::new(format!(r#"{{"temperature":{}}}"#, 20 + number))
            .with_content_type("application/json")?
            .with_content_encoding("utf-8")?
            .with_property("reading", number.to_string())?;
        client.send_event_with(message, move |outcome, _| match outcome {
            Ok(()) => println!("device: the hub has confirmed reading {number}"),
            Err(undelivered) => println!("device: reading {number}: {undelivered}"),
        })?;
    }
    println!("device: {READINGS} readings are queued");

    // The back end lives in a thread of its own and wakes the device's loop when it is done.
    let back_end = emulator.as_ref().map(|emulator| {
        let (hub, waker) = (emulator.hub(), client.waker());
        std::thread::spawn(move || {
            let story = back_end(&hub).map_err(|error| error.to_string());
            waker.wake();
            story
        })
    });

    // The loop of every program: work, look at what happened, sleep until there is work again.
    let deadline = Instant::now() + PATIENCE;
    let mut twin_has_come = false;
    loop {
        client.do_work();
        while let Some(event) = client.next_event() {
            twin_has_come |= matches!(event, Event::Twin(_));
            handle(event, &mut client)?;
        }
        let device_is_done = client.send_status() == SendStatus::Idle && twin_has_come;
        if device_is_done && back_end.as_ref().is_none_or(JoinHandle::is_finished) {
            break;
        }
        if Instant::now() >= deadline {
            return Err(format!("the story did not end within {} s; see the lines above", PATIENCE.as_secs()).into());
        }
        client.wait(deadline.saturating_duration_since(Instant::now()));
    }
    if let Some(thread) = back_end {
        thread.join().map_err(|_| "the back end panicked")??;
    }
    client.close(Duration::from_secs(5));
    println!("All is well.");
    Ok(())
}

/// The device's side of the story.
fn handle(event: Event, client: &mut DeviceClient) -> Result<(), Box<dyn Error>> {
    match event {
        Event::Message(message) => {
            println!("device: the hub says {:?}", String::from_utf8_lossy(message.payload()));
            message.complete();
        }
        Event::Twin(update) => {
            // The whole twin has the desired properties under a name, a change is the properties themselves.
            let json: Value = serde_json::from_slice(update.json())?;
            let desired = match update {
                TwinUpdate::Full(_) => &json["desired"],
                _ => &json,
            };
            println!("device: desired properties: {desired}");
            if let Some(interval) = desired["interval"].as_u64() {
                report(client, interval)?;
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

/// Tells the hub which interval the device uses now.
fn report(client: &mut DeviceClient, interval: u64) -> Result<(), Box<dyn Error>> {
    client.send_reported_state_with(json!({ "interval": interval }).to_string(), |outcome, _| match outcome {
        Ok(_) => println!("device: the hub has stored the reported properties"),
        Err(error) => println!("device: {error}"),
    })?;
    Ok(())
}

/// The other side of the story, where the hub is our own: what a program in the cloud would do.
fn back_end(hub: &Hub) -> Result<(), Box<dyn Error>> {
    for record in hub.wait_for_telemetry(DEVICE, READINGS, PATIENCE)? {
        println!("hub:    stored {}", String::from_utf8_lossy(&record.body));
    }

    hub.send_c2d(DEVICE, C2dMessage::new("Is it warm enough?"))?;
    println!("hub:    a message for the device is queued");
    hub.wait_until(PATIENCE, "the message to be completed", |hub| !hub.c2d_outcomes(DEVICE).is_empty())?;
    println!("hub:    the device has completed it");

    hub.patch_desired(DEVICE, json!({ "interval": 5 }))?;
    println!("hub:    the device should report every 5 s");
    let twin = hub.wait_for_reported(DEVICE, PATIENCE, |reported| reported["interval"] == 5)?;
    println!("hub:    the device reports {}", twin.reported);

    println!("hub:    the device should reboot");
    let result = hub.invoke_method(DEVICE, MethodCall::new("reboot").connect_timeout(PATIENCE))?;
    println!("hub:    the device answers {}: {}", result.status, result.payload);
    Ok(())
}

fn in_words(change: &StatusChange) -> String {
    match (change.state, &change.error, change.next_attempt_in) {
        (ConnectionState::Connecting, ..) => format!("connecting, attempt {}", change.attempt),
        (ConnectionState::Connected, ..) => "connected: the hub knows the device".to_owned(),
        (ConnectionState::Ready, ..) => "ready: what the hub sends will arrive".to_owned(),
        (ConnectionState::Waiting, Some(error), Some(delay)) => format!("{error}; trying again in {delay:?}"),
        (ConnectionState::Closed, ..) => "closed".to_owned(),
        (state, Some(error), _) => format!("{state:?}: {error}"),
        (state, None, _) => format!("{state:?}"),
    }
}
