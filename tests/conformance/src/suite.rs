//! The list of all behaviours, and what is made of it: a table, and one test each.

use std::cell::RefCell;
use std::net::SocketAddr;

use iothub_core::Provider;
use iothub_emulator::{Fault, Hub};

use crate::absent::Absent;
use crate::subject::{Missing, Settings, Subject};

/// Something that every transport must do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Behaviour {
    /// Its name, with the concern that it belongs to: `telemetry::an_empty_payload_arrives`.
    pub name: &'static str,
    check: fn(&dyn Subject),
}

/// What became of a behaviour that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The transport does it.
    Holds,
    /// It is about something that the transport does not have.
    DoesNotApply {
        /// What that is.
        without: Missing,
    },
}

impl Behaviour {
    /// The behaviour of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        BEHAVIOURS.iter().find(|behaviour| behaviour.name == name)
    }

    /// Starts a hub, lets the transport at it, and compares what both sides saw.
    ///
    /// # Panics
    ///
    /// If the transport does not do it. What client and hub saw is printed before.
    pub fn check(&self, subject: &dyn Subject) -> Verdict {
        let asked = Asked { subject, missing: RefCell::new(None) };
        (self.check)(&asked);
        asked.missing.into_inner().map_or(Verdict::Holds, |without| Verdict::DoesNotApply { without })
    }

    /// As [`check`](Self::check), and whether it applies is what the subject says.
    ///
    /// # Panics
    ///
    /// If the transport does not do it, or the subject is wrong about it.
    pub fn verify(&self, subject: &dyn Subject) {
        let absent = subject.absent();
        let why = absent.why(self.name);
        match self.check(subject) {
            Verdict::Holds => assert!(why.is_none(), "{} holds, and is named as absent: {why:?}", self.name),
            Verdict::DoesNotApply { without } => {
                assert!(why.is_some(), "{} does not apply, without {without:?}: name it as absent, and why", self.name);
            }
        }
    }
}

/// A subject that is listened to: what a behaviour would have needed.
struct Asked<'a> {
    subject: &'a dyn Subject,
    missing: RefCell<Option<Missing>>,
}

impl Subject for Asked<'_> {
    fn provider(&self, hub: &Hub, settings: &Settings) -> Box<dyn Provider + Send + Sync> {
        self.subject.provider(hub, settings)
    }

    fn address(&self, hub: &Hub) -> Option<SocketAddr> {
        self.subject.address(hub)
    }

    fn knows(&self, fault: &Fault) -> bool {
        self.subject.knows(fault)
    }

    fn absent(&self) -> Absent {
        self.subject.absent()
    }

    fn settles_in_order(&self) -> bool {
        self.subject.settles_in_order()
    }

    fn marks_repeats(&self) -> bool {
        self.subject.marks_repeats()
    }

    fn tells_why(&self) -> bool {
        self.subject.tells_why()
    }

    fn lacks(&self, what: Missing) {
        *self.missing.borrow_mut() = Some(what);
    }
}

/// Makes one test of each behaviour, in a module of the transport's name: `mqtt::telemetry::an_empty_payload_arrives`.
///
/// The second argument is an expression of a type that implements [`Subject`]; each test makes its own. A third one names
/// the concerns, for a transport that does not have all: `suite!(mine, Mine, [telemetry, c2d])`.
#[macro_export]
macro_rules! suite {
    ($transport:ident, $subject:expr) => {
        $crate::__suite! { $transport, $subject, { $crate::__each_behaviour! { $crate::__every_concern } } }
    };
    ($transport:ident, $subject:expr, [$($concern:ident),+ $(,)?]) => {
        $crate::__suite! { $transport, $subject, { $(concern! { $concern })+ } }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite {
    ($transport:ident, $subject:expr, { $($tests:tt)* }) => {
        mod $transport {
            #[allow(unused_imports, reason = "the subject may be named by its full path")]
            use super::*;

            #[allow(dead_code, reason = "without tests there is no use for it")]
            fn subject() -> impl $crate::Subject {
                $subject
            }

            $crate::__each_behaviour! { $crate::__concerns }
            $($tests)*
        }
    };
}

/// A macro of the module that it is used in: the tests of the concern that it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! __concerns {
    ($($concern:ident { $($behaviour:ident)* })*) => {
        macro_rules! concern {
            $(($concern) => {
                mod $concern {
                    $(#[test]
                    fn $behaviour() {
                        let name = concat!(stringify!($concern), "::", stringify!($behaviour));
                        $crate::Behaviour::named(name).expect("it is of the same list").verify(&super::subject());
                    })*
                }
            };)*
        }
    };
}

/// The tests of every concern, by the macro that [`__concerns`] makes.
#[doc(hidden)]
#[macro_export]
macro_rules! __every_concern {
    ($($concern:ident { $($behaviour:ident)* })*) => {
        $(concern! { $concern })*
    };
}

/// The one list of behaviours, by concern. It is handed to the macro whose path is given.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_behaviour {
    ($($then:tt)*) => {
        $($then)*! {
            telemetry {
                a_payload_arrives_byte_for_byte
                an_empty_payload_arrives
                properties_keep_their_order_and_their_empty_values
                every_printable_character_survives_in_names_and_values
                separators_and_escapes_in_properties_are_data
                system_properties_arrive_under_their_names
                ids_take_every_character_that_the_hub_allows_up_to_their_limit
                the_hub_knows_who_sent_a_message
                a_component_a_trace_and_a_time_arrive_with_a_message
                a_security_message_arrives_as_one
                a_sample_of_the_messages_is_marked_for_tracing
                an_output_of_a_device_comes_back
                five_hundred_messages_arrive_in_the_order_of_sending
                a_message_of_exactly_the_limit_arrives
                a_message_one_byte_over_the_limit_comes_back
                properties_of_a_hundred_kilobytes_arrive_or_come_back
                properties_of_sixty_thousand_characters_arrive
                a_thousand_messages_are_in_flight_at_once
                no_more_messages_are_in_flight_than_the_window_holds
                the_queue_is_bounded_in_messages
                the_queue_is_bounded_in_bytes
                messages_sent_before_the_first_connection_arrive_in_order
                sending_is_busy_from_acceptance_to_outcome
            }
            confirmation {
                a_callback_hears_of_each_delivery_once_and_in_order
                a_tracked_message_is_confirmed_under_its_id
                a_message_that_nobody_asks_about_is_counted
                acknowledgements_out_of_order_confirm_each_its_own_message
                a_message_that_never_left_times_out_as_not_delivered
                a_message_without_its_acknowledgement_times_out_as_maybe_delivered
                an_acknowledgement_after_the_time_out_makes_no_second_outcome
                a_message_given_up_takes_no_room_in_the_window_and_is_not_sent_again
                a_failed_message_is_sent_again_from_its_callback
                a_message_sent_from_a_callback_arrives
                a_message_that_is_left_at_close_is_destroyed_and_comes_back
            }
            c2d {
                every_byte_of_a_message_is_received
                an_empty_message_is_received
                the_largest_message_is_received
                properties_are_received_decoded_with_null_and_empty_values
                system_properties_are_received_under_their_names
                fifty_messages_are_received_in_the_order_of_sending
                the_time_of_the_last_message_is_kept
                a_received_message_can_be_sent_on_as_it_is
                a_message_is_completed_in_its_callback
                a_message_is_completed_later_from_another_thread
                answers_out_of_order_reach_the_hub_in_the_order_of_arrival
                an_abandoned_message_does_not_hold_back_the_others
                a_message_is_rejected_or_comes_back_from_the_reject
                an_undecided_message_delays_no_telemetry
                a_message_is_answered_with_telemetry_from_its_callback
                a_message_dropped_unanswered_comes_again_after_a_reconnect
                an_undecided_message_comes_again_after_a_reconnect_and_its_old_answer_is_stale
                messages_in_doubt_come_again_in_order_before_new_ones
                a_lost_acknowledgement_brings_the_message_again
                a_message_sent_twice_by_the_hub_is_received_once
                a_connection_lost_while_a_message_is_sent_brings_it_again
                half_a_message_is_none_and_the_whole_comes_after_the_reconnect
                a_message_waits_in_the_queue_until_the_device_subscribes
                messages_wait_in_the_queue_after_the_device_has_unsubscribed
                messages_sent_while_the_device_was_away_arrive_when_it_connects
                a_session_left_by_an_earlier_program_delivers_nothing_unasked
                completing_a_message_gives_its_sender_positive_feedback
                an_expired_message_is_not_received_and_its_sender_is_told
                fifty_messages_fill_the_queue_and_an_answer_makes_room
                a_refused_subscription_is_told_and_telemetry_goes_on
                a_rejected_message_ends_and_its_sender_is_told
                an_abandoned_message_comes_again_at_once_and_is_counted
                a_message_that_is_abandoned_too_often_is_given_up_by_the_hub
            }
            modules {
                a_modules_telemetry_is_its_own
                a_module_its_device_and_its_sibling_are_connected_side_by_side
                a_module_is_refused_with_the_key_of_its_sibling_and_a_device_with_that_of_its_module
                an_unknown_module_is_refused_and_connects_once_it_is_created
                a_module_that_is_deleted_is_cut_off
                a_module_id_may_have_every_character_that_is_allowed
                a_modules_twin_is_its_own
                a_method_is_called_on_the_module_that_it_is_for
                an_output_is_a_property_where_there_is_no_edge
                an_output_goes_to_the_input_that_its_route_names
                an_output_that_is_routed_upstream_is_stored
                an_output_without_a_route_is_confirmed_and_goes_nowhere
                an_output_in_flight_at_a_drop_arrives
                an_input_goes_to_its_own_callback_else_to_the_default_one
                an_input_without_a_callback_is_an_event_if_inputs_were_subscribed_to
                messages_to_an_input_that_nobody_wants_wait_for_a_callback
                messages_to_several_inputs_are_received_in_the_order_of_sending
                an_input_is_completed_later_from_another_thread
                an_undecided_input_comes_again_after_a_reconnect_and_its_old_answer_is_stale
                inputs_wait_while_the_module_is_away
                an_input_is_rejected_and_abandoned_as_a_message_from_the_cloud_is
                a_message_passes_from_an_input_to_an_output
                a_received_input_can_be_sent_on_as_it_is
                a_module_has_nothing_from_the_cloud_and_a_device_no_inputs
            }
            status {
                connecting_is_told_step_by_step
                a_client_without_subscriptions_is_ready_too_and_asks_for_none
                a_drop_is_told_once_with_its_cause_and_the_way_back
                closing_is_told_last
                the_callback_hears_what_the_events_would_tell
                subscribing_while_connected_changes_no_state
                each_failed_attempt_is_told_with_its_number_and_the_growing_delay
                without_a_retry_policy_a_drop_stops_the_client_until_it_is_told_to_reconnect
                a_new_retry_policy_revives_a_stopped_client
                a_hub_that_is_not_available_is_tried_again
                a_refusal_for_good_stops_the_client_until_it_is_told_to_reconnect
                the_hub_is_told_the_product_and_the_model
            }
            credentials {
                the_second_key_of_a_device_is_as_good_as_the_first
                a_wrong_key_is_refused
                an_unknown_device_is_refused_and_connects_once_it_is_created
                a_disabled_device_is_refused_and_connects_once_it_is_enabled
                a_token_that_has_expired_by_the_hubs_clock_is_refused
                a_ready_token_is_enough
                a_ready_token_that_is_known_to_have_expired_is_named_and_never_sent
                a_connection_outlives_its_token_only_as_long_as_the_hub_lets_it
                new_keys_at_the_hub_lock_out_the_old_one_at_the_next_connect
                a_device_that_is_disabled_while_connected_hears_so_and_returns_once_enabled
                a_certificate_known_by_its_thumbprint_is_enough
                a_certificate_from_a_trusted_authority_is_enough
                the_certificate_of_another_device_is_refused
                a_missing_certificate_is_named_before_anything_is_sent
                a_hub_that_nobody_vouches_for_is_sent_no_credential
                a_hub_under_another_name_is_sent_no_credential
                a_device_id_may_have_every_character_that_is_allowed
                a_signer_that_keeps_the_key_is_as_good_as_the_key
                a_certificate_whose_key_stays_with_a_signer_is_enough
                another_key_on_a_live_client_costs_no_outage_and_no_message
                a_key_is_replaced_by_a_certificate_and_back_on_a_live_client
            }
            reconnect {
                dropped_after_tcp_nothing_is_lost
                dropped_after_tls_nothing_is_lost
                dropped_with_the_credentials_unanswered_nothing_is_lost
                dropped_with_the_credentials_accepted_nothing_is_lost
                dropped_with_the_subscription_unanswered_nothing_is_lost
                dropped_with_the_subscription_granted_nothing_is_lost
                dropped_before_a_message_is_stored_nothing_is_lost
                dropped_between_storing_and_acknowledging_nothing_is_lost
                dropped_after_an_acknowledgement_nothing_is_lost
                dropped_in_the_middle_of_a_packet_nothing_is_lost
                a_message_sent_again_keeps_its_place_before_new_ones
                a_window_that_was_full_at_the_drop_opens_again
                ten_drops_in_a_row_lose_nothing
                a_session_lost_at_the_hub_is_subscribed_anew_and_loses_no_telemetry
                a_hub_that_does_not_answer_the_credentials_is_left
                a_hub_that_does_not_answer_a_subscription_is_left
                a_hub_that_has_gone_silent_is_left
                an_idle_connection_is_kept_alive
                a_service_that_disconnects_the_device_again_and_again_loses_nothing
            }
            rivals {
                both_hear_of_it_and_slow_down_without_a_storm
                both_get_all_their_messages_through
                when_one_closes_the_other_stays_connected
            }
            sharing {
                devices_and_a_module_do_everything_on_one_connection
                what_goes_wrong_for_one_is_not_noticed_by_the_others
                devices_join_and_leave_at_any_time
                the_loss_of_the_connection_is_told_to_each_and_nothing_is_lost
                a_second_client_of_the_same_device_is_refused
                the_token_of_another_device_is_refused
                a_certificate_is_refused_as_it_speaks_for_one_device_only
            }
            close {
                pending_messages_are_delivered_before_close_returns
                messages_that_are_late_at_close_are_destroyed
                messages_of_a_client_that_never_connected_are_destroyed_unsent
                close_says_goodbye_to_the_hub
                an_answer_given_before_close_reaches_the_hub
                messages_that_are_unanswered_at_close_stay_with_the_hub
                a_closed_client_takes_nothing_and_does_nothing
                a_callback_within_close_can_send_nothing_more
                a_client_that_is_dropped_calls_nobody_and_frees_its_connection
            }
            twin {
                the_whole_twin_comes_first_and_then_each_change_in_order
                a_change_says_what_is_new_and_what_is_gone
                the_largest_desired_properties_are_received
                the_callback_hears_a_hundred_changes_in_order
                changes_that_nobody_reads_are_replaced_by_the_whole_twin
                a_new_callback_hears_the_whole_twin_first
                a_change_is_answered_with_a_report_from_its_callback
                the_whole_twin_comes_again_after_a_reconnect
                a_change_made_while_the_device_was_away_is_in_the_next_whole_twin
                after_unsubscribing_no_change_is_told_until_the_device_subscribes_again
                a_change_while_the_whole_twin_is_on_its_way_comes_after_it
                a_change_between_the_subscription_and_the_request_is_in_the_whole_twin
                a_change_that_is_missing_brings_the_whole_twin
                a_stale_change_behind_a_newer_one_is_dropped_and_the_whole_twin_told
                an_unreadable_change_brings_the_whole_twin
                a_change_that_comes_twice_is_told_once
                a_twin_whose_reply_is_lost_is_fetched_again
                a_reply_to_a_request_that_nobody_made_is_ignored
                an_unreadable_twin_is_fetched_again
                a_twin_that_the_hub_refuses_is_fetched_again
                a_twin_that_comes_too_late_is_ignored
                a_twin_whose_reply_comes_twice_is_told_once
                the_twin_is_told_when_it_is_asked_for
                a_callback_is_given_the_twin_once
                asking_disturbs_nobody_who_follows
                a_refused_request_is_told_by_its_status
                an_answer_that_is_no_twin_is_named
                a_request_without_an_answer_times_out
                a_request_in_flight_when_the_connection_drops_is_answered_once
                reported_properties_are_stored_and_told_with_their_version
                a_patch_merges_and_null_deletes
                the_callback_hears_the_hubs_answer_once
                a_report_that_nobody_asks_about_is_stored_in_silence
                a_patch_that_the_hub_refuses_is_told_in_its_words
                each_refusal_is_told_by_its_status
                a_patch_that_is_no_json_object_comes_back_at_once
                a_patch_over_32_kib_comes_back_at_once
                a_patch_of_32_kib_is_stored_and_more_is_refused_by_the_hub
                patches_are_stored_in_the_order_of_sending_each_once
                a_hundred_twin_requests_may_be_under_way
                a_patch_in_flight_when_the_connection_drops_has_one_outcome
                a_patch_that_is_sent_again_undoes_no_later_one
                a_patch_without_an_answer_times_out_and_the_next_goes_on
                what_is_left_at_close_ends_as_destroyed
                reports_sent_before_close_are_stored_before_it_returns
            }
            methods {
                a_payload_is_received_as_the_hub_sends_it
                a_name_may_have_every_character_that_the_hub_allows
                the_largest_payload_passes_both_ways
                a_call_without_a_subscriber_is_not_online_for_its_caller
                a_session_left_by_an_earlier_program_is_no_subscription
                a_call_waits_for_the_device_as_long_as_its_caller_wants
                a_call_that_is_sent_twice_is_received_once
                methods_are_received_again_after_a_reconnect
                a_call_that_comes_after_its_callers_time_is_answered_to_nobody
                a_call_is_answered_in_its_callback
                a_call_is_answered_later
                a_call_is_answered_from_another_thread
                a_call_dropped_unanswered_is_answered_500
                every_status_and_every_kind_of_json_may_be_answered
                answers_out_of_order_reach_each_its_own_caller
                a_hundred_calls_at_once_get_each_its_own_answer
                an_unanswered_call_delays_nothing_else
                an_answer_after_the_callers_time_out_reaches_nobody
                an_answer_after_the_connection_was_lost_is_told_and_not_sent
                an_answer_while_not_connected_is_told_and_not_sent
                a_call_behind_which_the_connection_is_lost_holds_up_nothing
                an_answer_given_before_close_reaches_its_caller
                an_answer_over_128_kib_is_handed_back
                an_answer_that_is_no_json_is_handed_back
                an_answer_that_is_handed_back_and_dropped_is_500
                more_than_a_hundred_unanswered_calls_are_answered_429
            }
            renewal {
                tokens_are_renewed_under_load_without_an_outage
                a_token_of_five_seconds_is_renewed_in_real_time
                a_certificate_is_never_renewed
                a_call_under_way_is_answered_across_a_renewal
                a_renewal_waits_no_longer_than_ten_seconds
                an_undecided_message_is_not_lost_by_a_renewal
                the_end_of_an_applications_token_is_announced_and_it_is_replaced_in_time
                an_applications_token_that_expires_stops_the_client_until_there_is_another
                what_is_no_token_is_refused_and_disturbs_nothing
                a_device_with_a_key_takes_no_token
            }
            retry {
                none_tries_once
                immediate_waits_the_shortest_delay
                interval_waits_the_same_each_time
                linear_backoff_adds_the_same_each_time_up_to_the_maximum
                exponential_backoff_doubles_up_to_the_maximum
                jitter_takes_a_random_part_off_each_delay
                random_waits_up_to_the_initial_delay
                with_every_policy_but_none_the_first_attempt_after_a_drop_is_immediate
                connections_that_do_not_last_wait_longer_each_time_and_one_that_does_starts_anew
                after_the_limit_the_client_stops_until_it_is_told_to_reconnect
                a_new_policy_revives_a_client_that_stopped_at_the_limit
                a_new_policy_ends_the_wait_of_the_old_one
                a_port_on_which_nobody_listens_is_tried_again
            }
            options {
                retry_interval_and_maximum_apply_to_the_next_failure
                message_timeout_applies_to_messages_sent_afterwards
                sas_token_lifetime_applies_to_the_next_token
                keepalive_applies_to_the_next_connection
                connect_timeout_applies_to_the_next_connection
                what_is_no_option_or_out_of_range_is_named_and_changes_nothing
            }
        }
    };
}

/// The list as a table. A function that is missing in the list is dead code, which the compiler reports.
macro_rules! table {
    ($($concern:ident { $($behaviour:ident)* })*) => {
        &[$($(Behaviour {
            name: concat!(stringify!($concern), "::", stringify!($behaviour)),
            check: crate::$concern::$behaviour,
        }),*),*]
    };
}

/// Every behaviour, in the order of the README.
pub static BEHAVIOURS: &[Behaviour] = crate::__each_behaviour! { table };
