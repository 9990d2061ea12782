//! What a device's part has of links, and what it should have: each feature's links are served by a task.

use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::definitions::Error;
use iothub_core::{Feature, OpError, TransportEvent};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::attach::Links;
use crate::inbox::{Inbox, Settle};
use crate::methods::{self, Answer};
use crate::outlet::{Outlet, Wait};
use crate::place::{Place, Unserved};
use crate::reason::{self, Reason};
use crate::telemetry::{self, Source};
use crate::twin::{self, Ask};

/// What a part learns of its links.
pub(crate) enum Step {
    /// The link of telemetry, which is the first.
    Telemetry(Result<Box<Sender>, Reason>),
    Attached(Feature, Result<Box<Links>, Reason>),
    /// The hub has answered whether it tells the changes of the twin.
    TwinReady,
}

/// What a task of links has come to.
pub(crate) enum Ended {
    /// It let go of its links, as it should, and they are gone.
    Gone(Feature),
    /// The link of telemetry ended.
    Telemetry(Reason),
    /// The links of this feature ended, or one of them did. What is left of them is not to be dropped before the session.
    Broken(Feature, Reason, Box<Receiver>),
}

pub(crate) struct Part {
    outlet: Outlet,
    is_module: bool,
    wanted: Vec<Feature>,
    pub(crate) tasks: JoinSet<Ended>,
    to_attach: mpsc::UnboundedSender<Feature>,
    steps: mpsc::UnboundedSender<Step>,
    telemetry: Source,
    /// The task that sends it.
    sends: Option<AbortHandle>,
    /// What is left of broken links.
    kept: Vec<Receiver>,
    /// The feature whose links are being attached.
    attaching: Option<Feature>,
    inbox: Place<Settle>,
    methods: Place<Answer>,
    twin: Place<Ask>,
    /// What waits for the twin's links.
    held: Vec<Ask>,
    /// Whether the twin was asked for its changes.
    changes: bool,
    /// The twin's links are there, and not yet ready.
    is_twin_late: bool,
    is_connected: bool,
    /// Whether it was told that the hub must answer.
    is_waiting: bool,
    is_ready: bool,
    /// Numbers deliveries, over all links of this part: far apart for each new link.
    links: u64,
}

impl Part {
    /// Without links. It waits for the link of telemetry.
    pub(crate) fn new(
        outlet: Outlet,
        is_module: bool,
        wanted: Vec<Feature>,
        telemetry: Source,
        to_attach: mpsc::UnboundedSender<Feature>,
        steps: mpsc::UnboundedSender<Step>,
    ) -> Self {
        Self {
            outlet,
            is_module,
            wanted,
            tasks: JoinSet::new(),
            to_attach,
            steps,
            telemetry,
            sends: None,
            kept: Vec::new(),
            attaching: None,
            inbox: Place::Unserved(Unserved::Absent),
            methods: Place::Unserved(Unserved::Absent),
            twin: Place::Unserved(Unserved::Absent),
            held: Vec::new(),
            changes: false,
            is_twin_late: false,
            is_connected: false,
            is_waiting: true,
            is_ready: false,
            links: 0,
        }
    }

    /// Serves telemetry, which makes the device connected.
    fn connected(&mut self, sender: Sender) {
        let served = telemetry::run(sender, self.telemetry.clone(), self.outlet.clone());
        self.sends = Some(self.tasks.spawn(async move { Ended::Telemetry(served.await) }));
        self.outlet.event(TransportEvent::Connected { session_present: false });
        self.is_connected = true;
    }

    /// The features that have links of their own.
    fn features(&self) -> [Feature; 3] {
        let inbox = if self.is_module { Feature::Inputs } else { Feature::CloudToDevice };
        [inbox, Feature::Methods, Feature::Twin]
    }

    /// Why nobody serves its links; `None` if they are served.
    fn unserved(&self, feature: Feature) -> Option<Unserved> {
        match feature {
            Feature::Methods => self.methods.unserved(),
            Feature::Twin => self.twin.unserved(),
            _ => self.inbox.unserved(),
        }
    }

    /// Nobody serves its links any more.
    fn vacate(&mut self, feature: Feature, why: Unserved) {
        match feature {
            Feature::Methods => self.methods = Place::Unserved(why),
            Feature::Twin => self.twin = Place::Unserved(why),
            _ => self.inbox = Place::Unserved(why),
        }
    }

    fn is_wanted(&self, feature: Feature) -> bool {
        users(feature, &self.wanted).next().is_some()
    }

    /// What is wanted, from now on.
    pub(crate) fn want(&mut self, wanted: Vec<Feature>) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        for feature in self.features() {
            let is_same = users(feature, &before).eq(users(feature, &self.wanted));
            if self.unserved(feature) == Some(Unserved::Refused) && !is_same {
                self.vacate(feature, Unserved::Absent);
            }
        }
        self.refuse_held();
        self.go_on(false);
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), Reason> {
        match step {
            Step::Telemetry(sender) => self.connected(*sender?),
            Step::TwinReady => self.is_twin_late = false,
            Step::Attached(feature, links) => {
                self.attaching = None;
                match links {
                    Ok(links) => self.serve(feature, *links),
                    Err(Reason::Hub(error)) if reason::is_refusal(&error) => self.refuse(feature, &error),
                    Err(reason) => return Err(reason),
                }
            }
        }
        self.go_on(true);
        Ok(())
    }

    /// A task has ended. The hub refuses a link when it is attached; the end of one that there was is an outage, or what was
    /// under way on it would never end, and what it missed never come.
    pub(crate) fn ended(&mut self, ended: Result<Ended, JoinError>) -> Result<(), Reason> {
        match ended {
            Ok(Ended::Gone(feature)) => {
                // What the task told last may have come after it was let go.
                self.forget_waits(feature);
                self.vacate(feature, Unserved::Absent);
            }
            Ok(Ended::Telemetry(reason)) => return Err(reason),
            Ok(Ended::Broken(feature, reason, left)) => {
                self.kept.push(*left);
                match reason {
                    Reason::Hub(error)
                        if feature == Feature::Twin && self.is_twin_late && reason::is_refusal(&error) =>
                    {
                        self.forget_waits(feature);
                        self.refuse(feature, &error);
                    }
                    reason => return Err(reason),
                }
            }
            Err(error) => return Err(Reason::Protocol(format!("the task of a link ended: {error}"))),
        }
        self.go_on(true);
        Ok(())
    }

    /// Does what is to be done next for the links to be those that are wanted. `answered` if the hub has done its part of it.
    fn go_on(&mut self, answered: bool) {
        if !self.is_connected {
            return;
        }
        let features = self.features();
        for feature in features {
            if self.unserved(feature).is_none() && !self.is_wanted(feature) {
                self.let_go(feature);
            }
        }
        let changes = self.wanted.contains(&Feature::DesiredProperties);
        if changes != self.changes && self.twin.hand(Ask::Changes(changes)).is_ok() {
            self.changes = changes;
        }
        if self.attaching.is_none() {
            let is_missing = |f: &Feature| self.is_wanted(*f) && self.unserved(*f) == Some(Unserved::Absent);
            self.attaching = features.into_iter().find(is_missing);
            if let Some(feature) = self.attaching {
                // When nobody attaches the session has ended, which is told.
                let _ = self.to_attach.send(feature);
            }
        }
        let is_ending = features.iter().any(|feature| self.unserved(*feature) == Some(Unserved::Ending));
        let waits = self.attaching.is_some() || is_ending;
        if waits != self.is_waiting || (waits && answered) {
            self.outlet.waits(Wait::Links, waits);
            self.is_waiting = waits;
        }
        let is_done = |f: &Feature| !self.is_wanted(*f) || matches!(self.unserved(*f), None | Some(Unserved::Refused));
        if !self.is_ready && !self.is_twin_late && features.iter().all(is_done) {
            self.is_ready = true;
            self.outlet.event(TransportEvent::Ready);
        }
    }

    /// Tells that the links of this feature are refused, by the names under which they are wanted.
    fn refuse(&mut self, feature: Feature, error: &Error) {
        self.vacate(feature, Unserved::Refused);
        self.refuse_held();
        for feature in users(feature, &self.wanted) {
            self.outlet.event(TransportEvent::SubscriptionRefused { feature, detail: reason::words(error) });
        }
    }

    /// The number before the first delivery of a new link; no link has this many deliveries.
    fn first_key(&mut self) -> u64 {
        self.links += 1;
        self.links << 40
    }

    /// Begins to serve links.
    fn serve(&mut self, feature: Feature, links: Links) {
        if !self.is_wanted(feature) {
            self.vacate(feature, Unserved::Ending);
            self.tasks.spawn(ended(feature, links.into_receiver(), Ok(())));
            return;
        }
        let (outlet, first) = (self.outlet.clone(), self.first_key());
        match links {
            Links::Inbox(mut receiver) => {
                let (task, settlements) = mpsc::unbounded_channel();
                self.inbox = Place::Served(task);
                self.tasks.spawn(async move {
                    let served = Inbox::new(&mut receiver, outlet).run(settlements, first).await;
                    ended(feature, receiver, served).await
                });
            }
            Links::Methods { mut calls, answers } => {
                let (task, decided) = mpsc::unbounded_channel();
                self.methods = Place::Served(task);
                self.tasks.spawn(async move {
                    let served = methods::run(&mut calls, answers, outlet, decided, first).await;
                    ended(feature, calls, served).await
                });
            }
            Links::Twin { requests, mut replies } => {
                let (task, asked) = mpsc::unbounded_channel();
                self.twin = Place::Served(task);
                self.changes = self.wanted.contains(&Feature::DesiredProperties);
                self.is_twin_late = self.changes;
                let ready = self.changes.then(|| self.steps.clone());
                self.tasks.spawn(async move {
                    let served = twin::run(requests, &mut replies, outlet, asked, ready).await;
                    ended(feature, replies, served).await
                });
                std::mem::take(&mut self.held).into_iter().for_each(|ask| self.ask(ask));
            }
        }
    }

    /// Lets the links of a feature go, when what was decided and answered is with the hub; it has back what was undecided.
    fn let_go(&mut self, feature: Feature) {
        self.vacate(feature, Unserved::Ending);
        self.forget_waits(feature);
    }

    fn forget_waits(&mut self, feature: Feature) {
        let waits: &[Wait] = match feature {
            Feature::Methods => &[Wait::AnswerCredit],
            Feature::Twin => &[Wait::TwinCredit, Wait::Changes],
            _ => &[],
        };
        waits.iter().for_each(|wait| self.outlet.waits(*wait, false));
        if feature == Feature::Twin {
            self.is_twin_late = false;
        }
    }

    pub(crate) fn settle(&self, settle: Settle) {
        let id = settle.id;
        if self.inbox.hand(settle).is_err() {
            self.outlet.done(id, Err(OpError::Stale));
        }
    }

    pub(crate) fn answer(&self, answer: Answer) {
        let id = answer.id;
        if self.methods.hand(answer).is_err() {
            self.outlet.done(id, Err(OpError::Stale));
        }
    }

    /// Asks the twin, now or when its links are there.
    pub(crate) fn ask(&mut self, ask: Ask) {
        let Err(ask) = self.twin.hand(ask) else { return };
        if let Ask::Forget(id) = ask {
            self.held.retain(|held| held.id() != Some(id));
        } else {
            self.held.push(ask);
            self.refuse_held();
        }
    }

    /// Ends what waits for links of the twin that will not be there.
    fn refuse_held(&mut self) {
        if self.is_wanted(Feature::Twin) && self.unserved(Feature::Twin) != Some(Unserved::Refused) {
            return;
        }
        for id in self.held.drain(..).filter_map(|ask| ask.id()) {
            self.outlet.done(id, Err(OpError::Rejected("there are no twin links".to_owned())));
        }
    }

    /// Hands the hub what was decided and answered, and detaches. Telemetry and twin requests that have no outcome are lost, as the
    /// engine knows.
    pub(crate) async fn leave(&mut self) {
        self.want(Vec::new());
        while [self.inbox.unserved(), self.methods.unserved()].contains(&Some(Unserved::Ending)) {
            match self.tasks.join_next().await {
                Some(Ok(Ended::Gone(feature) | Ended::Broken(feature, ..))) => self.vacate(feature, Unserved::Absent),
                Some(_) => {}
                None => break,
            }
        }
        // A link on which only this side sends may be dropped at any time.
        if let Some(sends) = self.sends.take() {
            sends.abort();
            while !sends.is_finished() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Asks for no more links, with which the session ends. The links that there are must be kept until it has.
    pub(crate) fn end(&mut self) {
        self.to_attach = mpsc::unbounded_channel().0;
    }
}

/// The end of a task that served links, of which the hub sends on this one.
async fn ended(feature: Feature, receiver: Receiver, served: Result<(), Reason>) -> Ended {
    match served {
        Ok(()) => {
            // It listens until the hub knows; however that ends, the link is no more.
            let _ = receiver.close().await;
            Ended::Gone(feature)
        }
        Err(reason) => Ended::Broken(feature, reason, Box::new(receiver)),
    }
}

/// Those of the wanted features that need the links of this one.
fn users(feature: Feature, wanted: &[Feature]) -> impl Iterator<Item = Feature> {
    let uses =
        move |user: &&Feature| **user == feature || (feature == Feature::Twin && **user == Feature::DesiredProperties);
    wanted.iter().filter(uses).copied()
}
