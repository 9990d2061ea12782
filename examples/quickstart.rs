//! The first thing to run: a device sends telemetry and receives a message.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! It starts a local hub of its own. With `IOTHUB_DEVICE_CONNECTION_STRING` set it talks to that hub instead; if that
//! hub's certificate comes from a private authority, `IOTHUB_TRUSTED_CERTS` names a PEM file with its root.
//! `--transport NAME` chooses the transport.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example tells its story on the terminal")]

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use iothub_client::{ConnectionState, CreateError, DeviceClient, Event, Feature, Message, Protocol, StatusChange};
use iothub_emulator::{C2dMessage, Emulator};

/// How long the whole story may take.
const PATIENCE: Duration = Duration::from_secs(30);
const READINGS: u32 = 3;

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
    let protocol = transport_from_arguments()?;
    let provider = protocol.provider().map_err(|error| with_command(&error, protocol))?;

    // A hub to talk to: the one that you name, or one of our own.
    let (connection_string, trusted_certs, emulator) = match std::env::var("IOTHUB_DEVICE_CONNECTION_STRING") {
        Ok(text) => (text, std::env::var("IOTHUB_TRUSTED_CERTS").ok().map(std::fs::read_to_string).transpose()?, None),
        Err(_) => {
            let emulator = Emulator::start()?;
            let device = emulator.create_device("thermostat")?;
            println!("hub:    a local hub listens on {}", emulator.mqtt_address());
            // The port of a local hub is not the standard one; a gateway's name may carry it.
            let gateway = format!("{}:{}", emulator.host_name(), emulator.mqtt_address().port());
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
    client.subscribe(Feature::CloudToDevice);
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

    // The loop of every program: work, look at what happened, sleep until there is work again.
    let deadline = Instant::now() + PATIENCE;
    let mut asked = false;
    let mut received = 0;
    loop {
        client.do_work();
        while let Some(event) = client.next_event() {
            if let Event::Message(message) = event {
                println!("device: the hub says {:?}", String::from_utf8_lossy(message.payload()));
                message.complete();
                received += 1;
            }
        }
        if client.connection_state() == ConnectionState::Ready && !asked {
            asked = true;
            match &emulator {
                Some(hub) => {
                    hub.send_c2d("thermostat", C2dMessage::new("Is it warm enough?"))?;
                    println!("hub:    a message for the device is queued");
                }
                None => println!("device: waiting for a cloud-to-device message; send one from your hub's portal"),
            }
        }
        if received > 0 && client.stats().delivered == u64::from(READINGS) {
            break;
        }
        if Instant::now() >= deadline {
            return Err(format!("the story did not end within {} s; see the lines above", PATIENCE.as_secs()).into());
        }
        client.wait(deadline.saturating_duration_since(Instant::now()));
    }

    client.close(Duration::from_secs(5));
    if let Some(hub) = emulator {
        for record in hub.telemetry("thermostat") {
            println!("hub:    stored {}", String::from_utf8_lossy(&record.body));
        }
        hub.wait_until(PATIENCE, "the message to be completed", |hub| !hub.c2d_outcomes("thermostat").is_empty())?;
        println!("hub:    the message for the device is completed and gone from its queue");
    }
    println!("All is well.");
    Ok(())
}

fn in_words(change: &StatusChange) -> String {
    match (change.state, &change.error, change.next_attempt_in) {
        (ConnectionState::Connecting, ..) => format!("connecting, attempt {}", change.attempt),
        (ConnectionState::Connected, ..) => "connected: the hub knows the device".to_owned(),
        (ConnectionState::Ready, ..) => "ready: messages from the hub will arrive".to_owned(),
        (ConnectionState::Waiting, Some(error), Some(delay)) => format!("{error}; trying again in {delay:?}"),
        (ConnectionState::Closed, ..) => "closed".to_owned(),
        (state, Some(error), _) => format!("{state:?}: {error}"),
        (state, None, _) => format!("{state:?}"),
    }
}

fn transport_from_arguments() -> Result<Protocol, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(Protocol::Mqtt),
        (Some("--transport"), Some(name), None) => Ok(name.parse()?),
        _ => Err("the only option is `--transport NAME`".into()),
    }
}

/// Adds the command that helps when the transport is not compiled in.
fn with_command(error: &CreateError, protocol: Protocol) -> String {
    match error {
        CreateError::NotCompiledIn { .. } => {
            format!("{error}; run\n  cargo run --features {protocol} --example quickstart -- --transport {protocol}")
        }
        _ => error.to_string(),
    }
}
