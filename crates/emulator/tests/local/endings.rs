//! How a connection ends, who is told, and that nothing grows without bound.

use std::task::Waker;
use std::time::Duration;

use iothub_emulator::{
    Activity, Config, DisconnectReason, Hub, LocalError, LocalEvent, LocalFeature, LocalTelemetry, MethodCall,
    OfflineHub,
};
use serde_json::json;

use crate::support::{hub_with_manual_clock, manual_clock, start, start_of_time};
use crate::{Bell, DAY, connect, event, events, listener, login, record};

fn ends(hub: &Hub) -> Vec<DisconnectReason> {
    record(hub, |activity| match activity {
        Activity::Disconnected { why, .. } => Some(why),
        _ => None,
    })
}

#[test]
fn a_disconnect_is_told_from_a_lost_connection() {
    let hub = hub_with_manual_clock();
    connect(&hub).disconnect();
    drop(connect(&hub));
    assert_eq!(ends(&hub), [DisconnectReason::ByDevice, DisconnectReason::ConnectionLost]);
}

#[test]
fn the_service_ends_a_connection_and_the_device_is_woken_and_told_why() {
    type End = fn(&Hub);
    let cases: [(End, DisconnectReason); 3] = [
        (|hub| assert_eq!(hub.disconnect_device("dev"), Ok(true)), DisconnectReason::ByService),
        (|hub| hub.set_device_enabled("dev", false).unwrap(), DisconnectReason::DeviceDisabled),
        (|hub| hub.delete_device("dev").unwrap(), DisconnectReason::DeviceDeleted),
    ];
    for (end, why) in cases {
        let hub = hub_with_manual_clock();
        let (bell, waker) = Bell::new();
        let mut connection = hub.connect_local(login(&hub), &waker).unwrap();
        assert!(!bell.has_rung());
        end(&hub);
        assert!(bell.has_rung());
        assert_eq!(connection.send(LocalTelemetry::new("late")), Err(LocalError::Closed(why.clone())));
        assert_eq!(events(&mut connection), [LocalEvent::Closed(why)]);
        assert!(hub.telemetry("dev").is_empty());
    }
}

#[test]
fn a_connection_ends_with_its_token_and_the_hubs_grace() {
    let hub = start(manual_clock().with_sas_grace(Duration::from_secs(60)));
    let (bell, waker) = Bell::new();
    let mut connection = hub.connect_local(login(&hub), &waker).unwrap();
    hub.advance_clock(DAY + Duration::from_secs(59));
    assert!(hub.connected("dev"));
    bell.has_rung();
    hub.advance_clock(Duration::from_secs(1));
    assert!(!hub.connected("dev"), "nobody has looked at the connection, and it has ended");
    assert!(bell.has_rung());
    assert_eq!(events(&mut connection), [LocalEvent::Closed(DisconnectReason::TokenExpired)]);
}

#[test]
fn with_the_machines_clock_a_token_ends_by_itself() {
    let hub = start(Config::new().with_sas_grace(Duration::ZERO));
    let device = hub.create_device("dev").unwrap();
    let login = iothub_emulator::LocalLogin::new("dev").token(device.sas_token(Duration::from_secs(2)));
    let _connection = hub.connect_local(login, Waker::noop()).unwrap();
    hub.wait_until(crate::support::LIMIT, "the token's end", |hub| !hub.connected("dev")).unwrap();
    assert_eq!(ends(&hub), [DisconnectReason::TokenExpired]);
}

#[test]
fn it_works_on_a_hub_without_a_server_too() {
    let hub = OfflineHub::new(Config::new(), start_of_time()).unwrap();
    let mut connection = connect(&hub);
    connection.send(LocalTelemetry::new("x")).unwrap();
    assert_eq!(hub.telemetry_count("dev"), 1);
    assert_eq!(hub.timeout(), Some(DAY + Duration::from_secs(600)));
    hub.advance_clock(DAY + Duration::from_secs(600));
    assert!(matches!(event(&mut connection), LocalEvent::Closed(DisconnectReason::TokenExpired)));
    assert_eq!(hub.timeout(), None);
}

#[test]
fn a_waker_may_ask_the_hub_at_once() {
    struct Asking(Hub);
    impl std::task::Wake for Asking {
        fn wake(self: std::sync::Arc<Self>) {
            assert_eq!(self.0.c2d_queue("dev").len(), 1);
        }
    }
    let hub = hub_with_manual_clock();
    let waker = std::sync::Arc::new(Asking(hub.hub())).into();
    let mut connection = hub.connect_local(login(&hub), &waker).unwrap();
    connection.subscribe(LocalFeature::CloudToDevice).unwrap();
    hub.send_c2d("dev", iothub_emulator::C2dMessage::new("x")).unwrap();
    assert!(connection.next_event().is_some());
}

#[test]
fn a_device_that_does_not_take_what_it_is_sent_is_dropped() {
    let does_not_read = |events: Vec<LocalEvent>| {
        matches!(events.last(), Some(LocalEvent::Closed(DisconnectReason::DeviceDoesNotRead { .. })))
    };
    let hub = hub_with_manual_clock();
    // What the service sends waits with the hub.
    let mut connection = listener(&hub, &[LocalFeature::Methods]);
    let payload = json!("x".repeat(127 * 1024));
    let calls: Vec<_> =
        (0..300).map_while(|_| hub.start_method("dev", MethodCall::new("m").payload(payload.clone())).ok()).collect();
    assert!(calls.len() < 300, "all were kept");
    assert!(!hub.connected("dev"));
    assert!(does_not_read(events(&mut connection)));
    drop(connection);
    // What the device asked for waits with the connection.
    hub.patch_desired("dev", json!({"a": "x".repeat(4000)})).unwrap();
    let mut connection = listener(&hub, &[LocalFeature::TwinAnswers]);
    let asked = (0..20_000).take_while(|_| connection.get_twin("x").is_ok()).count();
    assert!(asked < 20_000, "all were kept");
    assert!(does_not_read(events(&mut connection)));
}
