//! Faults that happen to a local connection, and those that wait for another.

use std::task::Waker;
use std::time::Duration;

use iothub_emulator::{
    Activity, DisconnectReason, DropPoint, Fault, Hub, LocalConnection, LocalError, LocalEvent, LocalFeature,
    LocalLoginError, LocalTelemetry, MethodCall, RefusalReason, TwinPatchFault, TwinReplyFault,
};
use serde_json::json;

use crate::support::c2d::{queue, send};
use crate::support::{hub_with_manual_clock, wait_until_gone};
use crate::{Bell, connect, event, events, listener, login, record};

const ALL: &[LocalFeature] =
    &[LocalFeature::CloudToDevice, LocalFeature::TwinAnswers, LocalFeature::DesiredProperties, LocalFeature::Methods];

fn drop_at(at: DropPoint) -> Fault {
    Fault::Drop { device: Some("dev".to_owned()), at }
}

fn closed(fault: Fault) -> LocalEvent {
    LocalEvent::Closed(DisconnectReason::Fault(fault))
}

/// Something that happens on a connection; how many events it leaves for the device when the connection is dropped there.
type Story = fn(&Hub, &mut LocalConnection);

#[test]
fn a_connection_is_dropped_at_each_point_that_it_passes() {
    let subscribes: Story = |_, device| drop(device.subscribe(LocalFeature::Methods).unwrap_err());
    let sends: Story = |_, device| drop(device.send(LocalTelemetry::new("x")).unwrap_err());
    let reports: Story = |_, device| drop(device.report("1", b"{\"a\":1}").unwrap_err());
    let settles: Story = |hub, device| {
        send(hub, "m1");
        let LocalEvent::Message(message) = event(device) else { panic!("m1 was to come") };
        device.complete(message.delivery).unwrap_err();
    };
    let is_sent_to: Story = |hub, _| send(hub, "m1");
    let is_changed: Story = |hub, _| assert_eq!(hub.patch_desired("dev", json!({"a": 1})), Ok(2));
    let is_called: Story = |hub, _| drop(hub.start_method("dev", MethodCall::new("m")).unwrap());
    let cases = [
        (DropPoint::SubscribeReceived, subscribes, 0),
        (DropPoint::SubackSent, subscribes, 0),
        (DropPoint::PublishReceived, sends, 0),
        (DropPoint::PublishStored, sends, 0),
        (DropPoint::TwinExecuted, reports, 0),
        (DropPoint::PubackReceived, settles, 0),
        (DropPoint::C2dSent, is_sent_to, 1),
        (DropPoint::DesiredSent, is_changed, 1),
        (DropPoint::MethodSent, is_called, 1),
    ];
    for (at, story, before) in cases {
        let hub = hub_with_manual_clock();
        let mut connection = listener(&hub, ALL);
        hub.inject_for("dev", drop_at(at));
        story(&hub, &mut connection);
        let told = events(&mut connection);
        assert_eq!((told.len(), told.last()), (before + 1, Some(&closed(drop_at(at)))), "{at:?}: {told:?}");
        assert!(!hub.connected("dev"), "{at:?}");
        assert_eq!(hub.telemetry_count("dev"), usize::from(at == DropPoint::PublishStored));
        assert_eq!(hub.twin("dev").unwrap().reported == json!({"a": 1}), at == DropPoint::TwinExecuted);
        assert_eq!(hub.c2d_outcomes("dev"), []);
        assert_eq!(hub.pending_faults(), 0);
    }
}

#[test]
fn a_login_can_fail_in_each_way() {
    let hub = hub_with_manual_clock();
    connect(&hub).disconnect();
    let login = || login(&hub);
    hub.inject(drop_at(DropPoint::ConnectReceived));
    let dropped = hub.connect_local(login(), Waker::noop()).unwrap_err();
    assert!(matches!(dropped, LocalLoginError::Closed(DisconnectReason::Fault(Fault::Drop { .. }))), "{dropped}");
    hub.inject(Fault::RefuseConnect { code: 3 });
    let refused = hub.connect_local(login(), Waker::noop()).unwrap_err();
    assert_eq!(refused, LocalLoginError::Refused(RefusalReason::Fault));
    hub.inject(drop_at(DropPoint::ConnackSent));
    let mut connection = hub.connect_local(login(), Waker::noop()).unwrap();
    assert_eq!(events(&mut connection), [closed(drop_at(DropPoint::ConnackSent))]);
    wait_until_gone(&hub, "dev");
    assert_eq!(hub.pending_faults(), 0);
}

#[test]
fn a_fault_that_closes_happens_at_once_and_the_device_is_woken() {
    let lasts = Duration::from_secs(1);
    let kinds = [
        Fault::KillTcp,
        Fault::OrderlyClose,
        Fault::Throttle { lasts },
        Fault::Quota { lasts },
        Fault::AuthError { lasts },
    ];
    for fault in kinds {
        let hub = hub_with_manual_clock();
        let (bell, waker) = Bell::new();
        let mut connection = hub.connect_local(login(&hub), &waker).unwrap();
        hub.inject(fault.clone());
        assert!(bell.has_rung());
        assert_eq!(events(&mut connection), [closed(fault.clone())]);
        assert_eq!(connection.send(LocalTelemetry::new("x")), Err(LocalError::Closed(DisconnectReason::Fault(fault))));
    }
}

#[test]
fn a_session_can_be_lost_and_a_subscription_refused() {
    let hub = hub_with_manual_clock();
    listener(&hub, ALL).disconnect();
    hub.inject(Fault::SessionLost);
    let mut connection = connect(&hub);
    assert!(!connection.session_present());
    hub.inject(Fault::RefuseSubscription);
    let feature = LocalFeature::CloudToDevice;
    assert_eq!(connection.subscribe(feature), Err(LocalError::SubscriptionRefused { feature }));
    send(&hub, "m1");
    assert_eq!(events(&mut connection), []);
    connection.subscribe(feature).unwrap();
    assert_eq!(events(&mut connection).len(), 1);
}

#[test]
fn a_message_or_a_call_can_come_twice() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, ALL);
    hub.inject(Fault::DuplicateDelivery);
    send(&hub, "m1");
    let [LocalEvent::Message(first), LocalEvent::Message(again)] = &events(&mut connection)[..] else {
        panic!("m1 was to come twice")
    };
    assert_eq!((first.redelivered, again.redelivered), (false, true));
    assert_eq!(first.delivery, again.delivery);
    connection.complete(again.delivery).unwrap();
    assert_eq!(queue(&hub), [""; 0]);
    hub.inject(Fault::MethodDuplicate);
    let _pending = hub.start_method("dev", MethodCall::new("m")).unwrap();
    let calls = events(&mut connection);
    assert_eq!((calls.len(), &calls[0]), (2, &calls[1]));
}

#[test]
fn a_twin_answer_can_be_lost_doubled_wrong_or_a_refusal() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, ALL);
    let mut answers = |fault| {
        hub.inject(Fault::TwinReply(fault));
        connection.get_twin("1").unwrap();
        let answers = events(&mut connection).into_iter().map(|event| match event {
            LocalEvent::TwinAnswer(answer) => answer,
            other => panic!("{other:?}"),
        });
        answers.collect::<Vec<_>>()
    };
    assert_eq!(answers(TwinReplyFault::Drop), []);
    assert_eq!(answers(TwinReplyFault::Duplicate).len(), 2);
    assert_eq!(answers(TwinReplyFault::UnknownRid)[0].request, "unknown-1");
    assert_eq!(answers(TwinReplyFault::Status(429))[0].status, 429);
    assert!(serde_json::from_slice::<serde_json::Value>(&answers(TwinReplyFault::BadJson)[0].body).is_err());
    let stale = &answers(TwinReplyFault::WrongVersion)[0].body;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(stale).unwrap()["desired"]["$version"], 0);
}

#[test]
fn a_change_can_be_lost_doubled_out_of_order_or_broken() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, ALL);
    let mut n = 0;
    let mut versions = |faults: &[TwinPatchFault], changes: u64| {
        for fault in faults {
            hub.inject(Fault::TwinPatch(*fault));
        }
        for _ in 0..changes {
            n += 1;
            hub.patch_desired("dev", json!({"n": n})).unwrap();
        }
        let versions = events(&mut connection).into_iter().map(|event| match event {
            LocalEvent::DesiredProperties { version, patch } => {
                (version, serde_json::from_slice::<serde_json::Value>(&patch).is_ok())
            }
            other => panic!("{other:?}"),
        });
        versions.collect::<Vec<_>>()
    };
    assert_eq!(versions(&[TwinPatchFault::Drop], 1), []);
    assert_eq!(versions(&[TwinPatchFault::Duplicate], 1), [(3, true), (3, true)]);
    assert_eq!(versions(&[TwinPatchFault::Reorder], 2), [(5, true), (4, true)]);
    assert_eq!(versions(&[TwinPatchFault::BadJson], 1), [(6, false)]);
}

#[test]
fn faults_of_packets_and_bytes_wait_for_another_connection() {
    let hub = hub_with_manual_clock();
    connect(&hub).disconnect();
    let by = Duration::from_secs(1);
    let faults = [
        Fault::HalfOpen,
        Fault::SplitAt { byte: 1 },
        Fault::WithholdConnack,
        Fault::DropPubacks { count: 1 },
        Fault::WithholdSuback,
        Fault::TwinReply(TwinReplyFault::Delay(by)),
        Fault::LateMethod { by },
        drop_at(DropPoint::MidPacket),
    ];
    let count = faults.len();
    for fault in faults {
        hub.inject(fault);
    }
    let mut connection = listener(&hub, ALL);
    connection.send(LocalTelemetry::new("x")).unwrap();
    connection.get_twin("1").unwrap();
    let _pending = hub.start_method("dev", MethodCall::new("m")).unwrap();
    assert_eq!(events(&mut connection).len(), 2);
    assert_eq!(hub.pending_faults(), count);
    let fired = record(&hub, |activity| matches!(activity, Activity::FaultFired { .. }).then_some(()));
    assert_eq!(fired, []);
}
