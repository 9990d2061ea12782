//! What goes wrong: at the hub, in the network between, and with the device's registration.

use std::collections::BTreeMap;
use std::time::Duration;

use iothub_emulator::{Activity, AmqpLink, AmqpOutcome, CbsFault, DropPoint, Fault, TwinPatchFault, TwinReplyFault};

use super::DEVICE;
use super::application::Application;
use crate::censor::Answer;
use crate::network::{Ends, Path, Way};
use crate::over::Over;
use crate::sim::Sim;

const MQTT_DROP_POINTS: &[DropPoint] = &[
    DropPoint::TcpAccepted,
    DropPoint::TlsEstablished,
    DropPoint::ConnectReceived,
    DropPoint::ConnackSent,
    DropPoint::SubscribeReceived,
    DropPoint::SubackSent,
    DropPoint::PublishReceived,
    DropPoint::PublishStored,
    DropPoint::PubackSent,
    DropPoint::C2dSent,
    DropPoint::PubackReceived,
    DropPoint::TwinExecuted,
    DropPoint::DesiredSent,
    DropPoint::MethodSent,
    DropPoint::MidPacket,
];

const AMQP_DROP_POINTS: &[DropPoint] = &[
    DropPoint::TcpAccepted,
    DropPoint::TlsEstablished,
    DropPoint::PutTokenReceived,
    DropPoint::AttachReceived,
    DropPoint::Attached,
    DropPoint::PublishReceived,
    DropPoint::PublishStored,
    DropPoint::PubackSent,
    DropPoint::C2dSent,
    DropPoint::PubackReceived,
    DropPoint::TwinExecuted,
    DropPoint::DesiredSent,
    DropPoint::MethodSent,
    DropPoint::MidPacket,
];

/// The links of a device over AMQP, and those of its tokens.
const LINKS: [AmqpLink; 8] = [
    AmqpLink::TokenRequests,
    AmqpLink::TokenReplies,
    AmqpLink::Telemetry,
    AmqpLink::CloudToDevice,
    AmqpLink::TwinRequests,
    AmqpLink::TwinReplies,
    AmqpLink::MethodRequests,
    AmqpLink::MethodResponses,
];

/// Those on which the device sends.
const SENDING_LINKS: [AmqpLink; 4] =
    [AmqpLink::TokenRequests, AmqpLink::Telemetry, AmqpLink::TwinRequests, AmqpLink::MethodResponses];

/// With which conditions a hub ends or refuses something; without any it says nothing.
const CONDITIONS: [Option<&str>; 8] = [
    None,
    None,
    Some("amqp:link:detach-forced"),
    Some("amqp:connection:forced"),
    Some("amqp:internal-error"),
    Some("amqp:unauthorized-access"),
    Some("amqp:not-found"),
    Some("com.microsoft:device-container-throttled"),
];

/// The sorts of mishaps. A run has as many different ones as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Drop,
    Connack,
    RefuseConnect,
    Pubacks,
    Suback,
    RefuseSubscription,
    Pingresp,
    SessionLost,
    DuplicateDelivery,
    Dispositions,
    Outcome,
    Token,
    Detach,
    End,
    Close,
    RefuseAttach,
    WithholdCredit,
    WrongSettleMode,
    WithholdAnswers,
    Kill,
    HubHalfOpen,
    SplitAt,
    TwinReply,
    TwinPatch,
    Method,
    CutUp,
    CutDown,
    HalfOpen,
    Path,
    FailedAttempts,
    DeviceDisabled,
    Rival,
    HubClock,
}

/// What only MQTT has.
const OF_MQTT: &[Sort] = &[
    Sort::Connack,
    Sort::RefuseConnect,
    Sort::Pubacks,
    Sort::Suback,
    Sort::RefuseSubscription,
    Sort::Pingresp,
    Sort::SessionLost,
    Sort::DuplicateDelivery,
];

/// What only AMQP has.
const OF_AMQP: &[Sort] = &[
    Sort::Dispositions,
    Sort::Outcome,
    Sort::Token,
    Sort::Detach,
    Sort::End,
    Sort::Close,
    Sort::RefuseAttach,
    Sort::WithholdCredit,
    Sort::WrongSettleMode,
    Sort::WithholdAnswers,
];

const OF_ALL: &[Sort] = &[
    Sort::Kill,
    Sort::HubHalfOpen,
    Sort::SplitAt,
    Sort::TwinReply,
    Sort::TwinPatch,
    Sort::Method,
    Sort::CutUp,
    Sort::CutDown,
    Sort::HalfOpen,
    Sort::Path,
    Sort::FailedAttempts,
    Sort::DeviceDisabled,
    Sort::Rival,
    Sort::HubClock,
];

pub(super) struct Mishaps {
    over: Over,
    to_come: Vec<Sort>,
    random: fastrand::Rng,
    /// Those of the network and the registration that took effect; the hub records its own.
    took_effect: BTreeMap<String, u32>,
}

impl Mishaps {
    /// So many mishaps: a third are drops, over AMQP of links too, the others as different as they can be.
    pub(super) fn new(count: usize, over: Over, mut random: fastrand::Rng) -> Self {
        let (own, frequent): (_, &[Sort]) =
            if over.is_amqp() { (OF_AMQP, &[Sort::Drop, Sort::Detach]) } else { (OF_MQTT, &[Sort::Drop]) };
        let mut sorts = [own, OF_ALL].concat();
        random.shuffle(&mut sorts);
        let frequent = frequent.iter().copied().cycle().take(count / 3);
        let mut to_come: Vec<_> = frequent.chain(sorts).take(count).collect();
        random.shuffle(&mut to_come);
        Self { over, to_come, random, took_effect: BTreeMap::new() }
    }

    /// The next one happens, or waits at the hub for its occasion.
    pub(super) fn next(&mut self, application: &mut Application) {
        let Some(sort) = self.to_come.pop() else { return };
        application.sim.note(format!("mishap: {sort:?}"));
        let random = &mut self.random;
        let seconds = |random: &mut fastrand::Rng, most: u64| Duration::from_millis(random.u64(1..most * 1000));
        match sort {
            Sort::Drop => {
                let points = if self.over.is_amqp() { AMQP_DROP_POINTS } else { MQTT_DROP_POINTS };
                let at = one_of(random, points);
                inject(application, Fault::Drop { device: None, at });
            }
            Sort::Connack => inject(
                application,
                match random.u8(0..3) {
                    0 => Fault::WithholdConnack,
                    1 => Fault::ReorderConnack,
                    _ => Fault::DelayConnack { by: seconds(random, 15) },
                },
            ),
            Sort::RefuseConnect => {
                inject(application, Fault::RefuseConnect { code: if random.bool() { 3 } else { 5 } })
            }
            Sort::Pubacks => inject(
                application,
                match random.u8(0..3) {
                    0 => Fault::DropPubacks { count: random.u32(1..4) },
                    1 => Fault::DelayPubacks { count: random.u32(1..6), by: seconds(random, 70) },
                    _ => Fault::ReorderPubacks { window: random.u32(2..5) },
                },
            ),
            Sort::Suback => inject(
                application,
                match random.u8(0..3) {
                    0 => Fault::WithholdSuback,
                    1 => Fault::ReorderSuback,
                    _ => Fault::DelaySuback { by: seconds(random, 15) },
                },
            ),
            Sort::RefuseSubscription => inject(application, Fault::RefuseSubscription),
            Sort::Pingresp => inject(
                application,
                match random.u8(0..3) {
                    0 => Fault::WithholdPingresp,
                    1 => Fault::ReorderPingresp,
                    _ => Fault::DelayPingresp { by: seconds(random, 20) },
                },
            ),
            Sort::SessionLost => inject(application, Fault::SessionLost),
            Sort::DuplicateDelivery => inject(application, Fault::DuplicateDelivery),
            Sort::Dispositions => inject(
                application,
                match random.bool() {
                    false => Fault::DropPubacks { count: random.u32(1..4) },
                    true => Fault::DelayPubacks { count: random.u32(1..6), by: seconds(random, 70) },
                },
            ),
            Sort::Outcome => {
                application.ledger.telemetry_is_refused = true;
                let rejected = AmqpOutcome::Rejected { condition: "amqp:internal-error".to_owned() };
                let outcomes = [rejected, AmqpOutcome::Released, AmqpOutcome::Modified];
                inject(application, Fault::AmqpOutcome(one_of(random, &outcomes)));
            }
            Sort::Token => inject(
                application,
                Fault::Cbs(match random.u8(0..3) {
                    0 => CbsFault::Withhold,
                    1 => CbsFault::Delay(seconds(random, 15)),
                    _ => CbsFault::Status(one_of(random, &[400, 401, 404, 500, 503])),
                }),
            ),
            Sort::Detach => {
                let link = one_of(random, &LINKS);
                inject(application, Fault::AmqpDetach { link, condition: condition(random) });
            }
            Sort::End => inject(application, Fault::AmqpEnd { condition: condition(random) }),
            Sort::Close => inject(application, Fault::AmqpClose { condition: condition(random) }),
            Sort::RefuseAttach => {
                let link = one_of(random, &LINKS);
                let condition = condition(random).unwrap_or_else(|| "amqp:link:stolen".to_owned());
                inject(application, Fault::AmqpRefuseAttach { link, condition });
            }
            Sort::WithholdCredit => {
                let link = one_of(random, &SENDING_LINKS);
                application.ledger.answers_are_stuck |= link == AmqpLink::MethodResponses;
                inject(application, Fault::AmqpWithholdCredit { link });
            }
            Sort::WrongSettleMode => {
                let link = one_of(random, &LINKS);
                application.ledger.hub_settles |= link == AmqpLink::CloudToDevice;
                inject(application, Fault::AmqpWrongSettleMode { link });
            }
            Sort::WithholdAnswers => {
                let all = [Answer::Begin, Answer::Flow, Answer::Detach, Answer::End, Answer::Close];
                let mut answers: Vec<_> = all.into_iter().filter(|_| random.bool()).collect();
                answers.push(one_of(random, &all));
                application.ledger.answers_are_stuck |= answers.contains(&Answer::Flow);
                silence_begins(application);
                application.withhold_for(&answers, seconds(random, 90));
                self.note(sort);
            }
            Sort::Kill => {
                let lasts = seconds(random, 10);
                let faults = [
                    Fault::KillTcp,
                    Fault::OrderlyClose,
                    Fault::Throttle { lasts },
                    Fault::Quota { lasts },
                    Fault::AuthError { lasts },
                ];
                // Over MQTT, and of the first two, it is the connection that ends.
                application.ledger.telemetry_is_refused |= self.over.is_amqp();
                inject(application, one_of(random, &faults));
            }
            Sort::HubHalfOpen => inject(application, Fault::HalfOpen),
            Sort::SplitAt => inject(application, Fault::SplitAt { byte: random.usize(0..200) }),
            Sort::TwinReply => {
                let faults = [
                    TwinReplyFault::Delay(seconds(random, 70)),
                    TwinReplyFault::Drop,
                    TwinReplyFault::Duplicate,
                    TwinReplyFault::UnknownRid,
                    TwinReplyFault::WrongVersion,
                    TwinReplyFault::BadJson,
                    TwinReplyFault::Status([400, 404, 429, 500][random.usize(0..4)]),
                ];
                let fault = faults[random.usize(0..faults.len())];
                let is_wrong = fault == TwinReplyFault::WrongVersion;
                application.ledger.versions_are_wrong |= is_wrong;
                application.ledger.changes_were_lost |= is_wrong;
                inject(application, Fault::TwinReply(fault));
            }
            Sort::TwinPatch => {
                application.ledger.changes_were_lost = true;
                let faults =
                    [TwinPatchFault::Drop, TwinPatchFault::Duplicate, TwinPatchFault::Reorder, TwinPatchFault::BadJson];
                inject(application, Fault::TwinPatch(faults[random.usize(0..faults.len())]));
            }
            Sort::Method => {
                let late = Fault::LateMethod { by: seconds(random, 40) };
                inject(application, if random.bool() { Fault::MethodDuplicate } else { late });
            }
            Sort::CutUp | Sort::CutDown => {
                let way = if sort == Sort::CutUp { Way::Up } else { Way::Down };
                let bytes = random.usize(0..600);
                if application.sim.cut_after(way, bytes) {
                    self.note(sort);
                }
            }
            Sort::HalfOpen => {
                let ways: &[Way] = [&[Way::Up][..], &[Way::Down], &[Way::Up, Way::Down]][random.usize(0..3)];
                silence_begins(application);
                // Not short-circuited: each way is lost by itself.
                if ways.iter().filter(|way| application.sim.vanish(**way)).count() > 0 {
                    self.note(sort);
                }
            }
            Sort::Path => {
                let latency = Duration::from_millis([0, 5, 100][random.usize(0..3)]);
                let path = Path {
                    latency: latency..latency * 4,
                    piece: random.bool().then(|| random.usize(1..40)),
                    merge: random.bool(),
                    buffer: [64, 1024, 256 * 1024][random.usize(0..3)],
                };
                application.set_path_for(path, seconds(random, 60));
                self.note(sort);
            }
            Sort::FailedAttempts => {
                for _ in 0..random.usize(1..4) {
                    let silent = Ends::Silent(seconds(random, 30));
                    application.sim.fail_attempt(if random.bool() { Ends::Refused } else { silent });
                }
                self.note(sort);
            }
            Sort::DeviceDisabled => {
                application.disable_device_for(seconds(random, 30));
                self.note(sort);
            }
            Sort::Rival => {
                application.sim.note("a rival connects");
                application.sim.rival_connects(DEVICE);
                self.note(sort);
            }
            Sort::HubClock => {
                let ahead = random.i64(-4000..4000);
                application.set_hub_clock_for(ahead, seconds(random, 40));
                self.note(sort);
            }
        }
    }

    fn note(&mut self, sort: Sort) {
        *self.took_effect.entry(format!("{sort:?}")).or_default() += 1;
    }

    /// All mishaps that took effect, those of the hub by its own record.
    pub(super) fn took_effect(mut self, sim: &Sim) -> BTreeMap<String, u32> {
        for activity in sim.hub().activity(DEVICE).into_iter().chain(sim.hub().unattributed_activity()) {
            if let Activity::FaultFired { fault, .. } = activity {
                *self.took_effect.entry(name(&fault)).or_default() += 1;
            }
        }
        self.took_effect
    }
}

fn one_of<T: Clone>(random: &mut fastrand::Rng, choice: &[T]) -> T {
    choice[random.usize(0..choice.len())].clone()
}

fn condition(random: &mut fastrand::Rng) -> Option<String> {
    one_of(random, &CONDITIONS).map(str::to_owned)
}

fn inject(application: &mut Application, fault: Fault) {
    application.sim.note(format!("hub: waits with {fault:?}"));
    if fault == Fault::HalfOpen {
        silence_begins(application);
    }
    application.sim.hub().inject(fault);
}

fn silence_begins(application: &mut Application) {
    let now = application.now();
    application.ledger.silence.push(now);
}

/// A fault without its parameters.
fn name(fault: &Fault) -> String {
    let word = |text: String| text.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
    match fault {
        Fault::Drop { at, .. } => format!("Drop({at:?})"),
        Fault::TwinReply(reply) => format!("TwinReply({})", word(format!("{reply:?}"))),
        Fault::TwinPatch(patch) => format!("TwinPatch({patch:?})"),
        Fault::Cbs(fault) => format!("Cbs({})", word(format!("{fault:?}"))),
        Fault::AmqpOutcome(outcome) => format!("AmqpOutcome({})", word(format!("{outcome:?}"))),
        Fault::AmqpDetach { link, .. } => format!("AmqpDetach({link:?})"),
        Fault::AmqpRefuseAttach { link, .. } => format!("AmqpRefuseAttach({link:?})"),
        Fault::AmqpWithholdCredit { link } => format!("AmqpWithholdCredit({link:?})"),
        Fault::AmqpWrongSettleMode { link } => format!("AmqpWrongSettleMode({link:?})"),
        other => word(format!("{other:?}")),
    }
}
