//! A mosquitto of our own, on a free port of loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use super::certificates::Certificates;
use crate::process::{Lines, Process, command};
use crate::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(60);
/// Another program may take the port between our look and mosquitto's bind.
const ATTEMPTS: usize = 5;

#[derive(Debug)]
pub(super) struct Broker {
    process: Process,
    port: u16,
    version: String,
}

impl Broker {
    /// Starts it, and returns when it listens.
    pub(super) fn start(scratch: &Scratch, certificates: &Certificates) -> Result<Self, String> {
        let mut problem = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port().map_err(|error| format!("cannot find a free port: {error}"))?;
            let file = scratch.write("mosquitto.conf", &settings(port, certificates))?;
            let mut command = command("mosquitto");
            command.arg("-c").arg(file);
            let process = Process::start(command, Lines::OfStderr)?;
            match log_line(&process, LIMIT, |line| line.ends_with(" running")) {
                Ok(line) => {
                    let version = line.split_once(": ").map_or(line.as_str(), |(_, text)| text);
                    let version = version.trim_end_matches(" running").to_owned();
                    return Ok(Self { process, port, version });
                }
                Err(error) => problem = error,
            }
        }
        Err(format!("mosquitto does not start: {problem}"))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// As it names itself in its log.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Waits for a line in its log, behind those that were waited for before.
    pub(super) fn wait_for_log(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<(), String> {
        log_line(&self.process, limit, wanted).map(|_| ())
    }
}

fn log_line(process: &Process, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
    let mut seen = Vec::new();
    loop {
        match process.next_line(limit) {
            Ok(Some(line)) if wanted(&line) => return Ok(line),
            Ok(Some(line)) => seen.push(line),
            Ok(None) => return Err(format!("mosquitto ended; its log:\n{}", seen.join("\n"))),
            Err(error) => return Err(format!("mosquitto: {error}; its log:\n{}", seen.join("\n"))),
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// No limit on what a slow subscriber may owe, so that mosquitto itself drops nothing, and no delay on small packets.
fn settings(port: u16, certificates: &Certificates) -> String {
    let Certificates { ca_path, server_path, key_path, .. } = certificates;
    let (ca, server, key) = (ca_path.display(), server_path.display(), key_path.display());
    format!(
        "listener {port} 127.0.0.1\n\
         cafile {ca}\n\
         certfile {server}\n\
         keyfile {key}\n\
         allow_anonymous true\n\
         persistence false\n\
         set_tcp_nodelay true\n\
         max_inflight_messages 0\n\
         max_queued_messages 0\n\
         # Started as root it would change to a user that cannot read the key; otherwise this has no effect.\n\
         user root\n\
         log_dest stderr\n\
         log_type error\n\
         log_type warning\n\
         log_type notice\n\
         log_type information\n\
         log_type subscribe\n"
    )
}
