//! Every transport does what `tests/conformance` says. The behaviours and how to run them: `tests/conformance/README.md`.

use iothub_conformance::{Absent, BEHAVIOURS, suite};

#[cfg(feature = "amqp")]
#[path = "conformance/over/amqp.rs"]
mod over_amqp;
#[cfg(any(feature = "mqtt", feature = "mqtt-ws"))]
#[path = "conformance/over/mqtt.rs"]
mod over_mqtt;

#[cfg(feature = "mqtt")]
suite!(mqtt, over_mqtt::OverMqtt::Tls);

#[cfg(feature = "mqtt-ws")]
suite!(mqtt_ws, over_mqtt::OverMqtt::WebSocket);

#[cfg(feature = "amqp")]
suite!(amqp, over_amqp::OverAmqp::Tls);

#[cfg(feature = "amqp-ws")]
suite!(amqp_ws, over_amqp::OverAmqp::WebSocket);

/// What does not apply to any transport, and why.
const MATRIX: &str = include_str!("conformance/matrix.toml");

/// What does not apply to this one.
fn absent(transport: &str) -> Absent {
    Absent::of(transport, MATRIX).unwrap_or_else(|error| panic!("tests/conformance/matrix.toml: {error}"))
}

#[test]
fn every_row_of_the_matrix_names_transports_and_a_section_that_exist() {
    let known = ["mqtt", "mqtt-ws", "amqp", "amqp-ws", "local"];
    for row in Absent::rows(MATRIX).expect("the file is in order") {
        let unknown = row.transports.iter().find(|transport| !known.contains(&transport.as_str()));
        assert_eq!(unknown, None, "there is no such transport: {row:?}");
        let (page, section) = row.section.split_once(", ").expect("a file and a heading, with a comma between");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{page}: {error}"));
        let is_heading =
            |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.trim_start_matches('#').trim() == section);
        assert!(text.lines().any(is_heading), "{page} has no section {section:?}");
    }
}

/// Names in the README's lists: `` - `name`: what it says``, under a heading that names the concern in code.
fn listed() -> Vec<String> {
    let mut concern = "";
    let mut names = Vec::new();
    for line in include_str!("conformance/README.md").lines() {
        let in_code = |line: &'static str| line.split('`').nth(1).unwrap_or_default();
        if line.starts_with("### `") {
            concern = in_code(line);
        } else if line.starts_with("- `") && !concern.is_empty() {
            names.push(format!("{concern}::{}", in_code(line)));
        }
    }
    names
}

#[test]
fn the_readme_lists_every_behaviour_and_no_other() {
    let suite: Vec<_> = BEHAVIOURS.iter().map(|behaviour| behaviour.name).collect();
    assert_eq!(listed(), suite);
}

/// Which behaviours each transport was held to: the page that is kept of it, and printed with `--nocapture`.
mod matrix {
    use std::fmt::Write as _;

    use super::{BEHAVIOURS, absent};

    const TRANSPORTS: [&str; 4] = ["mqtt", "mqtt-ws", "amqp", "amqp-ws"];

    fn matrix() -> String {
        let mut page = String::from(
            "# Conformance\n\nEach behaviour of `tests/conformance`, and the transports that are held to it by `cargo test --all-features --test \
             conformance`:\n*yes*, it holds; *-*, it does not apply. `tests/conformance/matrix.toml` has the reason for each of these, and the \
             section that\nexplains it. A test compares this page with the suite; `cargo test --all-features --test conformance matrix -- \
             --nocapture`\nprints it.\n\n",
        );
        let absent = TRANSPORTS.map(absent);
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| Behaviour | {} |\n|---|{}", TRANSPORTS.join(" | "), "---|".repeat(TRANSPORTS.len()));
        for behaviour in BEHAVIOURS {
            let cells = absent.each_ref().map(|absent| if absent.why(behaviour.name).is_some() { "-" } else { "yes" });
            let _ = writeln!(page, "| `{}` | {} |", behaviour.name, cells.join(" | "));
        }
        let held = absent.each_ref().map(|absent| BEHAVIOURS.iter().filter(|it| absent.why(it.name).is_none()).count());
        let _ = writeln!(
            page,
            "| **hold, of {}** | {} |",
            BEHAVIOURS.len(),
            held.map(|count| count.to_string()).join(" | ")
        );
        page
    }

    #[test]
    fn the_page_is_the_suite() {
        println!("{}", matrix());
        let kept = include_str!("../docs/conformance.md");
        assert_eq!(kept, matrix(), "docs/conformance.md is not the suite: replace it by what is printed above");
    }
}
