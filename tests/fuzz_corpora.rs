//! The corpora of the fuzz targets, as ordinary tests: what a fuzzer once found stays found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::panic;
use std::path::Path;

/// The very bodies that the fuzzer runs.
#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, missing_docs, reason = "it is the library of another package")]
mod targets;

/// Runs every input, and names the one that fails.
fn run_all(corpus: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut inputs: Vec<_> = fs::read_dir(&folder).expect("the corpus").map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 20, "{} has {} inputs only", folder.display(), inputs.len());
    for input in inputs {
        let bytes = fs::read(&input).expect("an input");
        if panic::catch_unwind(|| target(&bytes)).is_err() {
            panic!("the input {} breaks a promise, see above", input.display());
        }
    }
}

#[test]
fn the_mqtt_session_stands_whatever_the_hub_says() {
    run_all("mqtt_session", targets::mqtt_session::run);
}

#[test]
fn the_amqp_transport_stands_whatever_the_hub_says() {
    run_all("amqp_session", targets::amqp_session::run);
}

#[test]
fn topics_and_property_bags_are_read_as_they_are_written() {
    run_all("topics", targets::topics::run);
}

#[test]
fn the_twin_that_the_application_sees_is_the_hubs() {
    run_all("twin", targets::twin::run);
}

#[test]
fn connection_strings_are_taken_whole_and_show_no_secret() {
    run_all("connection_string", targets::connection_string::run);
}

#[test]
fn a_web_socket_carries_its_bytes_whatever_the_server_says() {
    run_all("websocket", targets::websocket::run);
}

#[test]
fn a_proxys_answer_is_a_tunnel_or_an_error_whatever_it_is() {
    run_all("proxy", targets::proxy::run);
}

#[test]
fn the_emulator_stands_whatever_a_device_says() {
    run_all("emulator_mqtt", targets::emulator_mqtt::run);
}

#[test]
fn the_emulator_stands_whatever_an_amqp_client_says() {
    run_all("emulator_amqp", targets::emulator_amqp::run);
}
