//! How each script is started. The versions are those of the lock files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use iothub_emulator::Hub;

use super::Started;
use super::checks::Half;
use super::site::{Site, Way};
use crate::process::{Lines, Process, command};
use crate::proxy;

pub(super) fn node_device(site: &Site, connection_string: &str, is_module: bool) -> Started {
    let mut command = command("node");
    command
        .arg(here("node/amqp.js"))
        .env("INTEROP_CONNECTION_STRING", site.through_proxy(connection_string))
        .env("INTEROP_MODULE", if is_module { "yes" } else { "no" })
        .env("INTEROP_CA", site.hub.ca_pem());
    start(command, site)
}

pub(super) fn node_service(site: &Site, connection_string: &str, device: &str) -> Started {
    let mut command = command("node");
    command
        .arg(here("node/amqp_service.js"))
        .env("INTEROP_CONNECTION_STRING", connection_string)
        .env("INTEROP_DEVICE", device)
        // This SDK has no other way to be told of a root certificate.
        .env("NODE_EXTRA_CA_CERTS", ca_file(&site.hub)?);
    start(command, site)
}

pub(super) fn python_service(site: &Site, connection_string: &str, device: &str) -> Started {
    trust_in_certifi(&site.hub)?;
    let mut command = command(&python());
    command
        .arg(here("python/amqp_service.py"))
        .env("INTEROP_CONNECTION_STRING", connection_string)
        .env("INTEROP_DEVICE", device);
    start(command, site)
}

pub(super) fn python_events(site: &Site, half: &Half) -> Started {
    let mut command = command(&python());
    command
        .arg(here("python/events.py"))
        .env("INTEROP_CONNECTION_STRING", site.through_proxy(&site.hub.event_stream_connection_string()))
        .env("INTEROP_CA", ca_file(&site.hub)?)
        .env("INTEROP_COUNT", half.count.to_string())
        .env("INTEROP_SINCE", half.since.to_string())
        .env("INTEROP_LATER", half.later.to_string());
    start(command, site)
}

/// Starts it, told of its way: where the proxy is, if there is one. What knows no proxy takes only from it that there is a WebSocket.
fn start(mut command: Command, site: &Site) -> Started {
    if let Way::WebSocket(proxy) = &site.way {
        command.env("INTEROP_PROXY", proxy::url(proxy));
    }
    Process::start(command, Lines::OfStdout)
}

fn python() -> String {
    here("python/.venv-service/bin/python")
}

/// The hub's root certificate in a file.
fn ca_file(hub: &Hub) -> Result<PathBuf, String> {
    let path = PathBuf::from(here("python/.venv-service/hub-ca.pem"));
    fs::write(&path, hub.ca_pem()).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

/// The Python service SDK trusts certifi's bundle and nothing else: this run's root certificate is put behind the bundle as it was installed.
fn trust_in_certifi(hub: &Hub) -> Result<(), String> {
    let mut command = command(&python());
    let output = command.args(["-m", "certifi"]).output().map_err(|error| format!("cannot ask certifi: {error}"))?;
    let bundle = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let original = bundle.with_extension("original");
    let failed = |error: std::io::Error| format!("cannot change {}: {error}", bundle.display());
    if !original.exists() {
        fs::copy(&bundle, &original).map_err(failed)?;
    }
    let installed = fs::read_to_string(&original).map_err(failed)?;
    fs::write(&bundle, format!("{installed}\n{}", hub.ca_pem())).map_err(failed)
}

/// A path in this package.
fn here(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}
