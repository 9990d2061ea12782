//! Our client against mosquitto, a broker that shares no line with us: 10,000 messages over TLS, and the connection is cut
//! ten times. The client's word is checked against what an independent subscriber received.

mod broker;
mod certificates;
mod cutter;
mod payload;
mod reader;
mod sender;

use std::time::Duration;

use crate::report::{Report, same};
use crate::scratch::Scratch;
use broker::Broker;
use cutter::{Cut, Cutter, Manner};
use reader::Reader;
use sender::Sent;

const MESSAGES: usize = 10_000;
const CUTS: usize = 10;
/// Decides where the connection is cut; told in the output, so that a failed run can be had again.
const SEED: u64 = 20;
/// How long nothing may happen before a step counts as failed.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection is cut after so many bytes towards the broker: behind the handshake, which has about 1 KiB, and early
/// enough that all ten fit into the messages.
const CUT_AFTER: std::ops::Range<usize> = 8 << 10..120 << 10;
const _: () = assert!(CUTS * CUT_AFTER.end < MESSAGES * payload::MIN_LENGTH, "the last cut might never come");

pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let scratch = Scratch::new().map_err(|error| format!("cannot make a directory for the run: {error}"))?;
    let certificates = certificates::make(&scratch)?;
    let broker = Broker::start(&scratch, &certificates)?;
    report.note(&format!("{} listens on 127.0.0.1:{} with TLS", broker.version(), broker.port()));

    let reader = Reader::start(broker.port(), &certificates.ca_path, &scratch)?;
    broker.wait_for_log(LIMIT, |line| line.ends_with(&reader::log_line_of_subscription()))?;
    let cutter = Cutter::start(broker.port(), cuts()).map_err(|error| format!("cannot start the proxy: {error}"))?;
    report.note(&format!("{MESSAGES} messages follow; the connection is cut {CUTS} times (seed {SEED})"));

    let sent = sender::send_all(cutter.port(), &certificates.ca_pem, |line| report.note(line))?;
    let received = reader.wait_for_all(MESSAGES, LIMIT);

    let stats = sent.stats;
    report.note(&format!(
        "{:.1} s from the first message to the last confirmation; {} reconnects, {} messages sent again, {} received twice or more",
        sent.duration.as_secs_f64(),
        stats.connections.saturating_sub(1),
        stats.resent,
        received.repeated,
    ));
    report.check("the connection was cut ten times", same("the number of cuts", &cutter.cuts_made(), &CUTS));
    report.check(
        "each cut cost one connection, and no other was lost",
        same("the number of connections", &stats.connections, &(CUTS as u64 + 1)),
    );
    report.check("every message was confirmed exactly once", confirmed_once(&sent));
    report.check("the client's own count agrees", same("delivered", &stats.delivered, &(MESSAGES as u64)));
    report.check("every message reached the subscriber intact", complete(&received));
    report.check("they came in the order of sending", same("out of order", &received.out_of_order, &None));
    report.check("messages in flight at a cut were sent again", sent_again(&sent, &received));
    report.check(
        "the client disconnected in order",
        broker.wait_for_log(LIMIT, |line| line.ends_with(&format!("Client {} disconnected.", sender::DEVICE))),
    );
    Ok(())
}

/// Half of the cuts fall into the middle of a packet, half between a message and its acknowledgement.
fn cuts() -> Vec<Cut> {
    let mut random = fastrand::Rng::with_seed(SEED);
    (0..CUTS)
        .map(|number| Cut {
            after: random.usize(CUT_AFTER),
            manner: if number % 2 == 0 { Manner::MidPacket } else { Manner::BeforeTheAnswer },
        })
        .collect()
}

fn confirmed_once(sent: &Sent) -> Result<(), String> {
    let wrong: Vec<_> = sent.confirmations.iter().enumerate().filter(|(_, count)| **count != 1).collect();
    match (wrong.first(), sent.failures.first(), sent.unknown_confirmations) {
        (None, None, 0) => Ok(()),
        (Some((number, count)), ..) => {
            Err(format!("{} messages were not; message {number} was confirmed {count} times", wrong.len()))
        }
        (None, Some(failure), _) => Err(format!("{} messages failed; {failure}", sent.failures.len())),
        (None, None, unknown) => Err(format!("{unknown} confirmations are for no message")),
    }
}

fn complete(received: &reader::Received) -> Result<(), String> {
    if let Some(line) = &received.spoiled {
        return Err(format!("this is not what was sent: {line}"));
    }
    match received.missing.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} messages are missing; the first is {first}", received.missing.len())),
    }
}

/// A cut before the answer leaves at least one message without one. A message that arrives twice was sent again.
fn sent_again(sent: &Sent, received: &reader::Received) -> Result<(), String> {
    let (resent, repeated) = (sent.stats.resent, received.repeated as u64);
    if resent < (CUTS / 2) as u64 {
        return Err(format!("the client counts {resent}; {} cuts came before an acknowledgement", CUTS / 2));
    }
    if repeated == 0 || repeated > resent {
        return Err(format!("{repeated} arrived more than once, and the client counts {resent} sent again"));
    }
    Ok(())
}
