//! A local Azure IoT Hub as a program: it starts, says on one line of stdout where it is, and serves until SIGINT or SIGTERM.

mod arguments;
mod log;
mod seed;

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use iothub_emulator::{Emulator, HubError, StartError};
use serde_json::json;

use arguments::{Arguments, Command};
use seed::Seed;

/// Flags or seed are wrong, and starting again will not help.
const USAGE: u8 = 2;
/// It could not start, or not go on.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let outcome = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print(arguments::HELP),
        Ok(Command::Version) => print(concat!("iothub-emulator ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Serve(arguments)) => serve(&arguments),
        Err(problem) => Err(Failure { code: USAGE, text: format!("{problem}\nTry 'iothub-emulator --help'.") }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing can be done if stderr is gone, too.
            let _ = writeln!(io::stderr(), "iothub-emulator: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// Why the program ends without success.
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn usage(problem: impl fmt::Display) -> Self {
        Self { code: USAGE, text: problem.to_string() }
    }

    fn at_work(problem: impl fmt::Display) -> Self {
        Self { code: FAILURE, text: problem.to_string() }
    }
}

fn serve(arguments: &Arguments) -> Result<(), Failure> {
    log::start(arguments.verbose);
    let seed = match &arguments.seed {
        Some(path) => read_seed(path)?,
        None => Seed::default(),
    };
    let mut config = seed.config(&arguments.host_names, arguments.mqtt, arguments.amqp);
    for name in &arguments.gateway_names {
        config = config.with_gateway_host_name(name);
    }
    let emulator = Emulator::start_with(config).map_err(|error| match error {
        StartError::Config { field: "host_names", .. } if !arguments.host_names.is_empty() => {
            Failure::usage(format!("--host-name: {error}"))
        }
        StartError::Config { field: "gateway_host_names", .. } if !arguments.gateway_names.is_empty() => {
            Failure::usage(format!("--gateway-name: {error}"))
        }
        StartError::Config { .. } | StartError::Certificate(_) => Failure::usage(error),
        StartError::Listen { .. } => Failure::at_work(format!("{error} (--mqtt, --amqp)")),
        _ => Failure::at_work(error),
    })?;
    seed.create_devices(&emulator)
        .map_err(|(field, error): (String, HubError)| Failure::usage(format!("--seed: {field}: {error}")))?;
    if let Some(path) = &arguments.ca {
        let written = std::fs::write(path, emulator.ca_pem());
        written.map_err(|error| {
            Failure::usage(format!("--ca: cannot write {}: {error}; give a file that can be written", path.display()))
        })?;
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::at_work)?;
    runtime.block_on(async {
        // Whoever reads the ready line may end the program at once, so the signals are watched before it is written.
        let ended = signals::Ended::watch().map_err(Failure::at_work)?;
        print(&ready_line(&emulator, arguments))?;
        ended.wait().await;
        Ok(())
    })?;
    tracing::info!("stopping");
    emulator.stop();
    Ok(())
}

fn read_seed(path: &Path) -> Result<Seed, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("--seed: cannot read {name}: {error}")))?;
    Seed::parse(&text).map_err(|problem| Failure::usage(format!("--seed: {name}: {problem}")))
}

fn ready_line(emulator: &Emulator, arguments: &Arguments) -> String {
    let devices: Vec<_> = emulator
        .devices()
        .iter()
        .map(|device| {
            let modules: Vec<_> = emulator
                .modules(&device.id)
                .iter()
                .map(|module| json!({ "id": module.module_id, "connection_string": module.connection_string }))
                .collect();
            json!({ "id": device.id, "connection_string": device.connection_string, "modules": modules })
        })
        .collect();
    let line = json!({
        "ready": true,
        "host_names": emulator.host_names(),
        "mqtt": emulator.mqtt_address().to_string(),
        "amqp": emulator.amqp_address().to_string(),
        "service": emulator.service_connection_string(),
        "events": emulator.event_stream_connection_string(),
        "ca": arguments.ca.as_ref().map(|path| path.display().to_string()),
        "devices": devices,
    });
    format!("{line}\n")
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::at_work(format!("cannot write to stdout: {error}")))
}

/// The signals that end the program.
mod signals {
    use std::io;

    #[cfg(unix)]
    pub(crate) struct Ended {
        interrupt: tokio::signal::unix::Signal,
        terminate: tokio::signal::unix::Signal,
    }

    #[cfg(unix)]
    impl Ended {
        pub(crate) fn watch() -> io::Result<Self> {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
        }

        pub(crate) async fn wait(mut self) {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        }
    }

    #[cfg(not(unix))]
    pub(crate) struct Ended;

    #[cfg(not(unix))]
    impl Ended {
        pub(crate) fn watch() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn wait(self) {
            // Without a handler the system's own ends the program.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
