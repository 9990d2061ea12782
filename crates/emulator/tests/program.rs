//! The program `iothub-emulator`: its ready line, its files, its signals and its exit codes.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iothub-emulator"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn outcome(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = program(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A file of this test's own, removed when it is dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        Self(path)
    }

    fn with(name: &str, text: &str) -> Self {
        let file = Self::new(name);
        std::fs::write(&file.0, text).unwrap();
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The running program. It is ended, and never left behind, when the test ends.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: Value,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program(arguments).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Self { child, stdout, ready }
    }

    fn signal(&mut self, name: &str) -> (Option<i32>, String) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_ready_line_names_address_certificate_devices_and_modules_and_the_hub_serves() {
    let ca = File::new("ca.pem");
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let device = json!({"id": "d", "primary_key": key, "modules": [{"id": "m", "primary_key": key}]});
    let seed = File::with("seed.json", &json!({"devices": [device]}).to_string());
    let flags = [
        "--mqtt=127.0.0.1:0",
        "--amqp=127.0.0.1:0",
        "--host-name",
        "hub.localtest",
        "--ca",
        ca.path(),
        "--seed",
        seed.path(),
    ];
    let running = Running::start(&flags);
    assert_eq!(running.ready["ready"], true);
    assert_eq!(running.ready["host_names"], json!(["hub.localtest"]));
    assert_eq!(running.ready["ca"], ca.path());
    let device = format!("HostName=hub.localtest;DeviceId=d;SharedAccessKey={key}");
    let module = format!("HostName=hub.localtest;DeviceId=d;ModuleId=m;SharedAccessKey={key}");
    let modules = json!([{ "id": "m", "connection_string": module }]);
    let expected = json!([{ "id": "d", "connection_string": device, "modules": modules }]);
    assert_eq!(running.ready["devices"], expected);
    assert!(std::fs::read_to_string(&ca.0).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let address: SocketAddr = running.ready["mqtt"].as_str().unwrap().parse().unwrap();
    assert!(address.ip().is_loopback());
    TcpStream::connect(address).unwrap();
}

#[test]
fn an_interrupt_or_a_termination_ends_it_with_0_and_one_line_was_printed() {
    for signal in ["INT", "TERM"] {
        let mut running = Running::start(&["--mqtt", "127.0.0.1:0", "--amqp", "127.0.0.1:0"]);
        assert_eq!(running.signal(signal), (Some(0), String::new()), "{signal}");
    }
}

#[test]
fn a_bad_flag_or_seed_ends_it_with_2_and_a_text_that_names_it() {
    let seed = File::with("bad.json", r#"{"devices": [{"id": "d", "primary_key": "c2hvcnQ="}]}"#);
    for (flags, part) in [
        (&["--mqtt", "here"][..], "--mqtt"),
        (&["--host-name", "a b", "--mqtt", "127.0.0.1:0", "--amqp", "127.0.0.1:0"], "--host-name"),
        (&["--gateway-name", "a b", "--mqtt", "127.0.0.1:0", "--amqp", "127.0.0.1:0"], "--gateway-name"),
        (&["--nothing"], "--nothing"),
        (&["--seed", "/nonexistent/seed.json"], "--seed"),
        (&["--seed", seed.path(), "--mqtt", "127.0.0.1:0", "--amqp", "127.0.0.1:0"], "devices[0]"),
        (&["--ca", "/nonexistent/ca.pem", "--mqtt", "127.0.0.1:0", "--amqp", "127.0.0.1:0"], "--ca"),
    ] {
        let (code, stdout, stderr) = outcome(flags);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{flags:?}: {stderr}");
        assert!(stderr.contains(part), "{stderr}");
        assert!(!stderr.contains("c2hvcnQ="), "{stderr}");
    }
}

#[test]
fn a_port_that_is_taken_ends_it_with_1_and_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = outcome(&["--mqtt", &address, "--amqp", "127.0.0.1:0"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&address) && stderr.contains("--mqtt"), "{stderr}");
}

#[test]
fn help_and_version_go_to_stdout() {
    let (code, help, _) = outcome(&["--help"]);
    assert_eq!(code, Some(0));
    for flag in ["--mqtt", "--host-name", "--gateway-name", "--ca", "--seed", "protect nothing else"] {
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(flag), "{flag}");
    }
    assert_eq!(outcome(&["--version"]).1, concat!("iothub-emulator ", env!("CARGO_PKG_VERSION"), "\n"));
}
