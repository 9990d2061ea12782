//! Who names whom: the arrows of `docs/architecture.md`, and one TLS stack.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

/// What `cargo tree` says about a package, without dev-dependencies: `name version`, one each.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--all-features", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let entry = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    text.lines().filter(|line| !line.is_empty()).map(entry).collect()
}

fn names(packages: &BTreeSet<String>) -> BTreeSet<&str> {
    packages.iter().filter_map(|package| package.split_whitespace().next()).collect()
}

/// The packages of this workspace that a package depends on directly.
fn arrows(package: &str) -> Vec<String> {
    let direct = tree(&["-p", package, "--edges", "normal", "--depth", "1"]);
    let ours = |name: &&str| name.starts_with("iothub-") && *name != package;
    names(&direct).into_iter().filter(ours).map(str::to_owned).collect()
}

#[test]
fn each_crate_names_only_those_that_the_architecture_allows() {
    assert_eq!(arrows("iothub-core"), [""; 0]);
    assert_eq!(arrows("iothub-net"), ["iothub-core"]);
    assert_eq!(arrows("iothub-transport-mqtt"), ["iothub-core", "iothub-net"]);
    assert_eq!(arrows("iothub-https"), ["iothub-core", "iothub-net"]);
    assert_eq!(arrows("iothub-transport-mqtt-ws"), ["iothub-core", "iothub-net", "iothub-transport-mqtt"]);
    assert_eq!(arrows("iothub-transport-amqp"), ["iothub-core", "iothub-net"]);
    let transports = ["iothub-transport-amqp", "iothub-transport-mqtt", "iothub-transport-mqtt-ws"];
    assert_eq!(arrows("iothub-client"), [&["iothub-core", "iothub-https", "iothub-net"][..], &transports].concat());
    assert_eq!(arrows("iothub-emulator"), [""; 0]);
}

#[test]
fn core_depends_on_no_socket_tls_or_runtime_crate() {
    let all = tree(&["-p", "iothub-core", "--edges", "normal"]);
    let of_the_outside = [
        "async-std",
        "hyper",
        "mio",
        "native-tls",
        "openssl",
        "polling",
        "reqwest",
        "ring",
        "rustix",
        "rustls",
        "smol",
        "socket2",
        "tokio",
        "tungstenite",
    ];
    let found: Vec<_> = names(&all).into_iter().filter(|name| of_the_outside.contains(name)).collect();
    assert_eq!(found, [""; 0]);
}

#[test]
fn the_emulator_depends_on_no_client_crate_however_far() {
    let all = tree(&["-p", "iothub-emulator", "--edges", "normal"]);
    let ours: Vec<_> = names(&all).into_iter().filter(|name| name.starts_with("iothub-")).collect();
    assert_eq!(ours, ["iothub-emulator"]);
}

#[test]
fn there_is_one_tls_stack() {
    let all = tree(&["--workspace", "--edges", "normal,build,dev"]);
    let count = |name: &str| all.iter().filter(|package| package.split_whitespace().next() == Some(name)).count();
    for once in ["rustls", "rustls-webpki", "ring"] {
        assert_eq!(count(once), 1, "{once}");
    }
    for never in ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys", "rustls-pemfile", "webpki"] {
        assert_eq!(count(never), 0, "{never}");
    }
}
