//! Two programs with one device id: the hub keeps the newer connection, so they take turns. Neither can know the other;
//! both must slow down.

use std::time::Duration;

use iothub_core::{ConnectionState, RetryConfig};
use iothub_emulator::{DisconnectReason, Hub};

use crate::bench::Bench;
use crate::program::{Program, drive};
use crate::record;
use crate::subject::{Settings, Subject, is_end_by_hub};

/// A program with delays of 100, 200, 400 ms and so on, whose connections never last long enough to begin anew.
fn rival(bench: &Bench<'_>) -> Program {
    let retry = RetryConfig::default()
        .with_initial_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(60))
        .with_jitter(0.0);
    bench.start_with(Settings::default(), |builder| builder.retry_policy(retry))
}

/// The delays, in milliseconds, after each attempt that failed and each loss of a connection.
fn delays(program: &Program) -> Vec<u128> {
    let delay = |change: &iothub_core::StatusChange| change.next_attempt_in.map(|delay| delay.as_millis());
    program.statuses.iter().filter_map(delay).collect()
}

/// The delays from the first loss of a connection on. The other may come before this one is connected for the first time.
fn delays_of_losses(program: &Program) -> Vec<u128> {
    delays(program).into_iter().skip_while(|delay| *delay > 0).collect()
}

/// How many connections ended because a newer one of the same device came.
fn replaced(hub: &Hub) -> usize {
    record::ends(hub).iter().filter(|why| matches!(why, DisconnectReason::Replaced { .. })).count()
}

pub(crate) fn both_hear_of_it_and_slow_down_without_a_storm(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (mut one, mut two) = (rival(&bench), rival(&bench));
    drive(&mut [&mut one, &mut two], "both have lost five connections", |programs| {
        programs.iter().all(|program| delays_of_losses(program).len() >= 5)
    });
    for program in [&one, &two] {
        assert_eq!(delays_of_losses(program)[..5], [0, 100, 200, 400, 800]);
        for change in program.statuses.iter().filter(|change| change.state == ConnectionState::Waiting) {
            let error = change.error.as_ref().expect("a drop has a cause");
            is_end_by_hub(subject, &error.kind, "stolen");
            // Without the hub's word for it, another client is one of the causes that the text names.
            assert!(subject.tells_why() || error.to_string().contains("another client connects with this device id"));
        }
    }
    // Each connection of either ended by one of the other, so their number follows from the delays.
    let connections = record::connections(&bench);
    assert!(connections <= delays(&one).len() + delays(&two).len() + 2, "{connections} connections");
    let clients_view = one.stats().connections + two.stats().connections;
    assert!(connections as u64 >= clients_view && replaced(&bench) >= 10, "{:?}", record::ends(&bench));
    one.close();
    two.close();
    one.finish();
    two.finish();
}

pub(crate) fn both_get_all_their_messages_through(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (mut one, mut two) = (rival(&bench), rival(&bench));
    let send = |program: &mut Program, name| (0..50).map(|n| program.send(format!("{name} {n}"))).collect::<Vec<_>>();
    let (ids_one, ids_two) = (send(&mut one, "one"), send(&mut two, "two"));
    drive(&mut [&mut one, &mut two], "all messages have their outcome", |programs| {
        programs.iter().all(|program| program.confirmations.len() == 50)
    });
    for (program, ids) in [(&one, &ids_one), (&two, &ids_two)] {
        let confirmed: Vec<_> = program.confirmations.iter().map(|(id, outcome)| (*id, outcome.is_ok())).collect();
        assert_eq!(confirmed, ids.iter().map(|id| (*id, true)).collect::<Vec<_>>());
    }
    for name in ["one", "two"] {
        let stored: Vec<_> = record::first_stored(&bench).into_iter().filter(|body| body.starts_with(name)).collect();
        assert_eq!(stored, (0..50).map(|n| format!("{name} {n}")).collect::<Vec<_>>());
    }
    one.close();
    two.close();
    one.finish();
    two.finish();
}

pub(crate) fn when_one_closes_the_other_stays_connected(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (mut one, mut two) = (rival(&bench), rival(&bench));
    one.until_ready();
    two.until_ready();
    drive(&mut [&mut one, &mut two], "both have lost a connection", |programs| {
        programs.iter().all(|program| !delays(program).is_empty())
    });
    two.close();
    let told = one.statuses.len();
    one.until_ready();
    one.round_trip();
    let losses = one.statuses[told..].iter().filter(|change| change.error.is_some()).count();
    assert!(losses <= 1, "it lost more than what the other had taken before it closed: {:?}", one.statuses);
    assert!(bench.connected(crate::bench::DEVICE));
    assert_eq!(record::stored(&bench), ["round trip 1"]);
    one.finish();
    two.finish();
}
