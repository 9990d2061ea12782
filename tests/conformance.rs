//! Every transport does what `tests/conformance` says. The behaviours and how to run them: `tests/conformance/README.md`.

#[cfg(feature = "mqtt")]
use iothub_client::Mqtt;
#[cfg(feature = "mqtt-ws")]
use iothub_client::MqttWs;
use iothub_conformance::BEHAVIOURS;
#[cfg(any(feature = "amqp", feature = "mqtt-ws"))]
use std::net::SocketAddr;
#[cfg(feature = "amqp")]
use {
    iothub_client::Amqp,
    iothub_emulator::{DropPoint, Fault},
};
#[cfg(any(feature = "amqp", feature = "mqtt", feature = "mqtt-ws"))]
use {
    iothub_client::Provider,
    iothub_conformance::{Settings, Subject, suite},
    iothub_emulator::Hub,
};

/// The transport of this type with these settings.
#[cfg(any(feature = "mqtt", feature = "mqtt-ws"))]
macro_rules! mqtt_with {
    ($transport:ty, $settings:expr) => {{
        let mut transport = <$transport>::new();
        if let Some(interval) = $settings.keep_alive {
            transport = transport.keep_alive(interval);
        }
        if let Some(limit) = $settings.connect_timeout {
            transport = transport.connect_timeout(limit);
        }
        if let Some(messages) = $settings.max_in_flight {
            transport = transport.max_in_flight(messages);
        }
        Box::new(transport)
    }};
}

#[cfg(feature = "mqtt")]
struct OverMqtt;

#[cfg(feature = "mqtt")]
impl Subject for OverMqtt {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider> {
        mqtt_with!(Mqtt, settings)
    }
}

#[cfg(feature = "mqtt")]
suite!(mqtt, OverMqtt);

#[cfg(feature = "mqtt-ws")]
struct OverMqttWs;

#[cfg(feature = "mqtt-ws")]
impl Subject for OverMqttWs {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider> {
        mqtt_with!(MqttWs, settings)
    }

    fn address(&self, hub: &Hub) -> Option<SocketAddr> {
        Some(hub.https_address())
    }
}

#[cfg(feature = "mqtt-ws")]
suite!(mqtt_ws, OverMqttWs);

/// What is not run over AMQP, and why: behaviours that are written for MQTT's way, and one limit.
#[cfg(feature = "amqp")]
mod amqp_debts {
    const IN_PLACE: &str = "a token is replaced on the live connection, and the behaviour waits for another one";
    const WITH_WORDS: &str = "the hub says why over AMQP, and the behaviour expects that it does not";
    const PUT: &str = "the hub's fault hits the subscription to changes, which is a twin request over AMQP";
    const RECORD: &str = "the hub records this of AMQP in another form";
    pub(super) const DEBTS: &[(&str, &str)] = &[
        (
            "c2d::the_largest_message_is_received",
            "the protocol's package holds the client to the hub's own limit for a link, 65,536 bytes with all properties",
        ),
        ("credentials::a_connection_outlives_its_token_only_as_long_as_the_hub_lets_it", WITH_WORDS),
        ("credentials::a_device_that_is_disabled_while_connected_hears_so_and_returns_once_enabled", WITH_WORDS),
        ("credentials::an_unknown_device_is_refused_and_connects_once_it_is_created", RECORD),
        ("credentials::another_key_on_a_live_client_costs_no_outage_and_no_message", IN_PLACE),
        ("credentials::the_certificate_of_another_device_is_refused", RECORD),
        (
            "modules::an_input_without_a_callback_is_an_event_or_left_to_the_hub",
            "a message given back over AMQP comes again at once",
        ),
        ("options::keepalive_applies_to_the_next_connection", RECORD),
        ("options::sas_token_lifetime_applies_to_the_next_token", IN_PLACE),
        (
            "reconnect::dropped_in_the_middle_of_a_packet_nothing_is_lost",
            "the hub's fault waits for a transfer, and none comes",
        ),
        ("reconnect::ten_drops_in_a_row_lose_nothing", "it counts connections that the hub does not count over AMQP"),
        ("renewal::a_renewal_waits_for_a_call_under_way", IN_PLACE),
        ("renewal::a_renewal_waits_no_longer_than_ten_seconds", IN_PLACE),
        ("renewal::a_token_of_five_seconds_is_renewed_in_real_time", IN_PLACE),
        ("renewal::an_undecided_message_comes_again_after_a_renewal", IN_PLACE),
        ("renewal::the_end_of_an_applications_token_is_announced_and_it_is_replaced_in_time", IN_PLACE),
        ("renewal::tokens_are_renewed_under_load_without_an_outage", IN_PLACE),
        ("rivals::both_hear_of_it_and_slow_down_without_a_storm", WITH_WORDS),
        ("status::a_drop_is_told_once_with_its_cause_and_the_way_back", WITH_WORDS),
        ("status::the_hub_is_told_the_product_and_the_model", RECORD),
        ("status::without_a_retry_policy_a_drop_stops_the_client_until_it_is_told_to_reconnect", WITH_WORDS),
        ("twin::a_change_while_the_whole_twin_is_on_its_way_comes_after_it", PUT),
        ("twin::a_reply_to_a_request_that_nobody_made_is_ignored", PUT),
        ("twin::a_twin_that_comes_too_late_is_ignored", PUT),
        ("twin::a_twin_that_the_hub_refuses_is_fetched_again", PUT),
        ("twin::a_twin_whose_reply_is_lost_is_fetched_again", PUT),
        ("twin::an_unreadable_twin_is_fetched_again", PUT),
    ];
}

#[cfg(feature = "amqp")]
struct OverAmqp;

#[cfg(feature = "amqp")]
impl Subject for OverAmqp {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider> {
        let mut amqp = Amqp::new();
        if let Some(interval) = settings.keep_alive {
            // The hub takes no less than 5 s.
            amqp = amqp.keep_alive(interval.max(std::time::Duration::from_secs(5)));
        }
        if let Some(limit) = settings.connect_timeout {
            amqp = amqp.connect_timeout(limit);
        }
        if let Some(messages) = settings.max_in_flight {
            amqp = amqp.max_in_flight(messages);
        }
        Box::new(amqp)
    }

    fn address(&self, hub: &Hub) -> Option<SocketAddr> {
        Some(hub.amqp_address())
    }

    fn not_applicable(&self) -> &[&str] {
        &[
            "c2d::a_message_sent_twice_by_the_hub_is_received_once",
            "c2d::a_refused_subscription_is_told_and_telemetry_goes_on",
            "confirmation::acknowledgements_out_of_order_confirm_each_its_own_message",
            "options::connect_timeout_applies_to_the_next_connection",
            "reconnect::a_hub_that_does_not_answer_a_ping_is_left",
            "reconnect::a_hub_that_does_not_answer_connect_is_left",
            "reconnect::a_hub_that_does_not_answer_subscribe_is_left",
            "reconnect::a_session_lost_at_the_hub_is_subscribed_anew_and_loses_no_telemetry",
            "reconnect::an_idle_connection_is_kept_alive",
            "reconnect::dropped_after_connack_nothing_is_lost",
            "reconnect::dropped_after_connect_nothing_is_lost",
            "reconnect::dropped_after_suback_nothing_is_lost",
            "reconnect::dropped_after_subscribe_nothing_is_lost",
            "status::a_hub_that_is_not_available_is_tried_again",
            "status::a_refusal_for_good_stops_the_client_until_it_is_told_to_reconnect",
            "twin::a_change_between_the_subscription_and_the_request_is_in_the_whole_twin",
        ]
    }

    fn not_run(&self) -> &[(&str, &str)] {
        amqp_debts::DEBTS
    }

    /// Faults that are made of MQTT's packets.
    fn knows(&self, fault: &Fault) -> bool {
        let of_mqtt_alone = match fault {
            Fault::Drop { at, .. } => matches!(
                at,
                DropPoint::ConnectReceived
                    | DropPoint::ConnackSent
                    | DropPoint::SubscribeReceived
                    | DropPoint::SubackSent
            ),
            fault => matches!(
                fault,
                Fault::WithholdConnack
                    | Fault::DelayConnack { .. }
                    | Fault::ReorderConnack
                    | Fault::RefuseConnect { .. }
                    | Fault::ReorderPubacks { .. }
                    | Fault::WithholdSuback
                    | Fault::DelaySuback { .. }
                    | Fault::ReorderSuback
                    | Fault::RefuseSubscription
                    | Fault::WithholdPingresp
                    | Fault::DelayPingresp { .. }
                    | Fault::ReorderPingresp
                    | Fault::SessionLost
                    | Fault::DuplicateDelivery
            ),
        };
        !of_mqtt_alone
    }

    fn settles_in_order(&self) -> bool {
        false
    }

    fn marks_repeats(&self) -> bool {
        false
    }
}

#[cfg(feature = "amqp")]
suite!(amqp, OverAmqp);

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
#[cfg(all(feature = "amqp", feature = "mqtt", feature = "mqtt-ws"))]
mod matrix {
    use std::fmt::Write as _;

    use super::{BEHAVIOURS, OverAmqp, OverMqtt, OverMqttWs, Subject};

    const SUBJECTS: [(&str, &dyn Subject); 3] = [("mqtt", &OverMqtt), ("mqtt-ws", &OverMqttWs), ("amqp", &OverAmqp)];

    fn cell(subject: &dyn Subject, name: &str) -> &'static str {
        let is_owed = subject.not_run().iter().any(|(owed, _)| *owed == name);
        match subject.not_applicable().contains(&name) {
            true => "-",
            false if is_owed => "not run",
            false => "yes",
        }
    }

    fn matrix() -> String {
        let mut page = String::from(
            "# Conformance\n\nEach behaviour of `tests/conformance`, and the transports that are held to it by `cargo test --all-features --test \
             conformance`:\n*yes*, it holds; *-*, it does not apply, because what it is about does not exist there; *not run*, a debt\nwith its \
             reason in `tests/conformance.rs`. A test compares this page with the suite; `cargo test --all-features --test\nconformance matrix -- \
             --nocapture` prints it.\n\n",
        );
        let names = SUBJECTS.map(|(name, _)| name);
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| Behaviour | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
        for behaviour in BEHAVIOURS {
            let cells = SUBJECTS.map(|(_, subject)| cell(subject, behaviour.name));
            let _ = writeln!(page, "| `{}` | {} |", behaviour.name, cells.join(" | "));
        }
        page
    }

    #[test]
    fn the_page_is_the_suite() {
        println!("{}", matrix());
        let kept = include_str!("../docs/conformance.md");
        assert_eq!(kept, matrix(), "docs/conformance.md is not the suite: replace it by what is printed above");
    }
}
