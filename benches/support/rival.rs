//! The rivals, programs of their own in `benches/rival`: rumqttc's TLS features would bring a second TLS stack into our tree.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::sink::Sink;

pub(crate) struct Rival {
    program: PathBuf,
    port: String,
    ca_file: PathBuf,
}

impl Rival {
    /// Builds the one of this name, which takes a minute the first time.
    pub(crate) fn build(name: &str, sink: &Sink) -> Self {
        let home = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/rival");
        let target = home.join("target");
        eprintln!("building the rival ...");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--locked", "--bin", name, "--manifest-path"])
            .arg(home.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the rival does not build");
        let ca_file = target.join(format!("ca-{}.pem", std::process::id()));
        std::fs::write(&ca_file, &sink.ca_pem).expect("a file for the CA");
        Self { program: target.join("release").join(name), port: sink.address.port().to_string(), ca_file }
    }

    /// Runs it and returns the figures that it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Vec<f64> {
        let output = Command::new(&self.program).arg(&self.port).arg(&self.ca_file).args(arguments).output();
        let output = output.expect("the rival runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace().map(|figure| figure.parse().expect("a figure")).collect()
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

/// Nanoseconds since 1970, the clock that both programs share.
pub(crate) fn wall_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
