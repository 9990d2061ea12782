//! The hub's state by itself, in virtual time: what begins and ends with a connection, and what the service is told.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use super::*;
use crate::activity::DisconnectReason;
use crate::hub::routing::Taken;
use crate::hub::session::Feature;
use crate::hub::telemetry::{Draft, Sender};
use crate::message::{C2dMessage, FeedbackMode};
use crate::record::C2dResult;

const FIRST: ConnectionId = ConnectionId(1);
const SECOND: ConnectionId = ConnectionId(2);

fn d() -> &'static Identity {
    static DEVICE: LazyLock<Identity> = LazyLock::new(|| Identity::device("d"));
    &DEVICE
}

fn at(seconds: u64) -> Now {
    let elapsed = Duration::from_secs(seconds);
    Now { elapsed, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + elapsed }
}

fn hub(config: Config) -> HubState {
    let mut hub = HubState::new(config.validated().unwrap());
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    hub.create_device("d", DeviceAuth::SymmetricKey { primary: key.into(), secondary: key.into() }, at(0)).unwrap();
    hub
}

fn opening(clean_session: bool) -> Opening {
    let sender = Sender {
        identity: d().clone(),
        generation_id: "7".to_owned(),
        auth_type: "sas",
        model_id: Some("dtmi:a;1".to_owned()),
    };
    Opening { sender, clean_session, will: None, carried: None }
}

fn send(hub: &mut HubState, id: &str, message: C2dMessage, now: Now) {
    hub.send_c2d("d", id.to_owned(), message, now).unwrap();
}

fn results(hub: &HubState) -> Vec<C2dResult> {
    hub.outcomes(d()).map(|outcome| outcome.result).collect()
}

#[test]
fn a_session_lasts_from_connection_to_connection_unless_it_is_clean() {
    let mut hub = hub(Config::new());
    assert!(!hub.open(FIRST, opening(false), false, at(0)));
    assert!(hub.subscribe(FIRST, "f", Feature::CloudToDevice, 1));
    hub.end(FIRST, DisconnectReason::ByDevice, at(1));
    assert!(hub.open(SECOND, opening(false), false, at(2)));
    assert_eq!(hub.subscription(SECOND, Feature::CloudToDevice).unwrap().qos, 1);
    hub.end(SECOND, DisconnectReason::ByDevice, at(3));
    assert!(!hub.open(ConnectionId(3), opening(true), false, at(4)));
    hub.end(ConnectionId(3), DisconnectReason::ByDevice, at(5));
    assert!(!hub.open(ConnectionId(4), opening(false), false, at(6)));
}

#[test]
fn the_end_of_a_replaced_connection_leaves_the_newer_one_alone() {
    let mut hub = hub(Config::new());
    hub.open(FIRST, opening(false), false, at(0));
    hub.open(SECOND, opening(false), false, at(1));
    assert!(hub.take_woken().contains(&FIRST));
    hub.end(FIRST, DisconnectReason::ConnectionLost, at(2));
    assert_eq!(hub.connected(d()), Some(SECOND));
    let ends = hub.activity(d()).filter(|activity| matches!(activity, Activity::Disconnected { .. }));
    assert_eq!(ends.count(), 1, "a connection ends once");
}

#[test]
fn the_fifty_first_pending_message_is_refused_and_a_settled_one_makes_room() {
    let mut hub = hub(Config::new());
    hub.open(FIRST, opening(false), false, at(0));
    hub.subscribe(FIRST, "f", Feature::CloudToDevice, 1);
    (0..50).for_each(|id| send(&mut hub, &id.to_string(), C2dMessage::new("x"), at(0)));
    let refused = hub.send_c2d("d", "51".to_owned(), C2dMessage::new("x"), at(0));
    assert_eq!(refused, Err(HubError::QueueFull { device: "d".into(), pending: 50, limit: 50 }));
    let (delivery, _) = hub.take_message(FIRST, at(0)).unwrap();
    assert!(hub.send_c2d("d", "51".to_owned(), C2dMessage::new("x"), at(0)).is_err(), "a locked message is pending");
    hub.puback(FIRST, delivery.packet_id, at(0));
    send(&mut hub, "51", C2dMessage::new("x"), at(0));
}

#[test]
fn what_is_due_happens_when_time_passes_and_is_announced() {
    let mut hub = hub(Config::new());
    assert_eq!(hub.timeout(at(0)), None);
    send(&mut hub, "m1", C2dMessage::new("x").ttl(Duration::from_secs(100)).ack(FeedbackMode::Negative), at(0));
    assert_eq!(hub.timeout(at(40)), Some(Duration::from_secs(60)));
    hub.advance(at(99));
    assert_eq!(results(&hub), []);
    hub.advance(at(100));
    assert_eq!(results(&hub), [C2dResult::Expired]);
    assert_eq!(hub.timeout(at(100)), Some(Duration::from_secs(15)), "the feedback's batch");
    hub.advance(at(115));
    let feedback = hub.read_feedback();
    assert_eq!(feedback[0].status_code, "Expired");
    assert_eq!(feedback[0].original_message_id, "m1");
    assert!(!feedback[0].device_generation_id.is_empty());
    assert_eq!(hub.timeout(at(115)), None);
}

#[test]
fn a_lock_that_ends_wakes_the_connection() {
    let mut hub = hub(Config::new());
    hub.open(FIRST, opening(false), false, at(0));
    hub.subscribe(FIRST, "f", Feature::CloudToDevice, 1);
    send(&mut hub, "m1", C2dMessage::new("x"), at(0));
    assert!(hub.take_message(FIRST, at(0)).is_some());
    hub.take_woken();
    hub.advance(at(60));
    assert!(hub.take_woken().contains(&FIRST));
    assert!(hub.take_message(FIRST, at(60)).unwrap().0.dup);
}

#[test]
fn locks_outlive_their_connection_if_configured_so() {
    let mut hub = hub(Config::new().with_release_on_disconnect(false));
    hub.open(FIRST, opening(false), false, at(0));
    hub.subscribe(FIRST, "f", Feature::CloudToDevice, 1);
    send(&mut hub, "m1", C2dMessage::new("x"), at(0));
    hub.take_message(FIRST, at(0));
    hub.open(SECOND, opening(false), false, at(1));
    assert!(hub.take_message(SECOND, at(59)).is_none());
    hub.advance(at(60));
    assert!(hub.take_message(SECOND, at(60)).is_some());
}

#[test]
fn deleting_a_device_ends_everything_of_it() {
    let mut hub = hub(Config::new());
    hub.open(FIRST, opening(false), false, at(0));
    send(&mut hub, "m1", C2dMessage::new("x"), at(0));
    hub.delete_device("d", at(1)).unwrap();
    assert!(!hub.is_open(FIRST));
    assert_eq!(results(&hub), [C2dResult::Purged]);
    assert_eq!(hub.delete_device("d", at(1)), Err(HubError::DeviceNotFound { device: "d".into() }));
}

#[test]
fn the_hub_stamps_what_it_knows() {
    let mut hub = hub(Config::new());
    hub.open(FIRST, opening(false), false, at(0));
    hub.take_telemetry(FIRST, Draft::default(), None, false, at(1)).unwrap();
    let record = hub.telemetry(d()).next().unwrap();
    assert_eq!(record.stamps["iothub-connection-device-id"], "d");
    assert_eq!(record.stamps["iothub-connection-auth-method"], r#"{"scope":"device","type":"sas","issuer":"iothub"}"#);
    assert_eq!(record.stamps["iothub-connection-auth-generation-id"], "7");
    assert_eq!(record.stamps["iothub-enqueuedtime"], "2023-11-14T22:13:21.000Z");
    assert_eq!(record.stamps["dt-dataschema"], "dtmi:a;1");
    assert_eq!(
        hub.take_telemetry(SECOND, Draft::default(), None, false, at(1)),
        Ok(Taken::default()),
        "no such connection"
    );
}

#[test]
fn what_was_for_a_connection_ends_with_it() {
    let mut hub = hub(Config::new());
    let me = d();
    hub.open(FIRST, opening(false), false, at(0));
    assert!(hub.subscribe(FIRST, "f", Feature::DesiredPatches, 0));
    hub.patch_desired(me, serde_json::json!({"a": 1}), at(1)).unwrap();
    assert!(hub.take_woken().contains(&FIRST));
    hub.end(FIRST, DisconnectReason::ConnectionLost, at(2));
    assert_eq!(hub.take_letter(FIRST), None);
    hub.patch_desired(me, serde_json::json!({"a": 2}), at(3)).unwrap();
    hub.open(SECOND, opening(false), false, at(4));
    assert_eq!(hub.take_letter(SECOND), None, "nothing is queued for who is not connected");
}
