//! The transport of `examples/custom_transport` does what `tests/conformance` says of the concerns that it is for. So the
//! suite runs over a transport that is not ours: public items of the client, and no network.

#[path = "../examples/custom_transport/transport/mod.rs"]
mod transport;

use std::net::SocketAddr;

use iothub_client::Provider;
use iothub_conformance::{Settings, Subject, suite};
use iothub_emulator::{DropPoint, Fault, Hub, TwinReplyFault};

use transport::Local;

struct InProcess;

impl Subject for InProcess {
    fn provider(&self, hub: &Hub, _: &Settings) -> Box<dyn Provider> {
        Box::new(Local::new(hub.clone()))
    }

    fn address(&self, _: &Hub) -> Option<SocketAddr> {
        None
    }

    /// Nothing is late, and there are no packets to be lost or halved.
    fn knows(&self, fault: &Fault) -> bool {
        !matches!(
            fault,
            Fault::Drop { at: DropPoint::MidPacket, .. }
                | Fault::DropPubacks { .. }
                | Fault::DelayPubacks { .. }
                | Fault::ReorderPubacks { .. }
                | Fault::DelaySuback { .. }
                | Fault::LateMethod { .. }
                | Fault::TwinReply(TwinReplyFault::Delay(_))
        )
    }

    fn not_applicable(&self) -> &[&str] {
        &[
            "telemetry::a_thousand_messages_are_in_flight_at_once",
            "telemetry::no_more_messages_are_in_flight_than_the_window_holds",
            "telemetry::sending_is_busy_from_acceptance_to_outcome",
            "confirmation::a_failed_message_is_sent_again_from_its_callback",
            "confirmation::a_message_given_up_takes_no_room_in_the_window_and_is_not_sent_again",
            "confirmation::a_message_that_is_left_at_close_is_destroyed_and_comes_back",
            "confirmation::a_message_without_its_acknowledgement_times_out_as_maybe_delivered",
            "confirmation::acknowledgements_out_of_order_confirm_each_its_own_message",
            "confirmation::an_acknowledgement_after_the_time_out_makes_no_second_outcome",
            "c2d::half_a_message_is_none_and_the_whole_comes_after_the_reconnect",
            "twin::a_change_between_the_subscription_and_the_request_is_in_the_whole_twin",
            "twin::a_change_while_the_whole_twin_is_on_its_way_comes_after_it",
            "twin::a_twin_that_comes_too_late_is_ignored",
            "methods::a_call_that_comes_after_its_callers_time_is_answered_to_nobody",
            "close::a_callback_within_close_can_send_nothing_more",
            "close::a_client_that_is_dropped_calls_nobody_and_frees_its_connection",
            "close::messages_that_are_late_at_close_are_destroyed",
        ]
    }

    /// Each message is settled by its own name.
    fn settles_in_order(&self) -> bool {
        false
    }

    fn marks_repeats(&self) -> bool {
        false
    }
}

suite!(in_process, InProcess, [telemetry, confirmation, c2d, modules, twin, methods, rivals, close]);
