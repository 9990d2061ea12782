//! The links of one device's part: attached as they are wanted, each feature's as a task.

use fe2o3_amqp::link::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::definitions::{Error, Fields, SenderSettleMode};
use iothub_core::{Feature, OpError, OpId, TransportEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::inbox::{Inbox, Settle};
use crate::methods::{self, Answer};
use crate::names::{Names, guid};
use crate::outbox::Line;
use crate::outlet::{Outlet, Wait};
use crate::reason::{self, Reason};
use crate::telemetry;
use crate::twin::{self, Ask};

/// How many replies and calls the hub may send ahead.
const CREDIT: u32 = 200;

/// The links of a feature, as a task.
struct Links<T> {
    to: mpsc::UnboundedSender<T>,
    task: AbortHandle,
}

pub(crate) struct Part {
    pub(crate) names: Names,
    outlet: Outlet,
    pub(crate) session: SessionHandle<()>,
    /// Ended only by a reason.
    pub(crate) tasks: JoinSet<(Option<Feature>, Reason)>,
    inbox: Option<Links<Settle>>,
    methods: Option<Links<Answer>>,
    twin: Option<Links<Ask>>,
    changes: bool,
    /// The features whose links the hub refused.
    refused: Vec<Feature>,
    /// Numbers deliveries, over all links of this part: far apart for each new link.
    links: u64,
}

impl Part {
    pub(crate) fn new(names: Names, outlet: Outlet, session: SessionHandle<()>) -> Self {
        Self {
            names,
            outlet,
            session,
            tasks: JoinSet::new(),
            inbox: None,
            methods: None,
            twin: None,
            changes: false,
            refused: Vec::new(),
            links: 0,
        }
    }

    /// Attaches the link of telemetry, and serves it.
    pub(crate) async fn attach_events(&mut self, messages: Line, batching: bool) -> Result<(), Reason> {
        let (kind, address, fields) = ("events", self.names.events(), self.names.properties());
        let mut sender = self.attach_sender(kind, address, fields, SenderSettleMode::Unsettled).await?;
        // A hub may refuse a link by answering first and detaching then.
        tokio::select! {
            biased;
            ended = sender.on_detach() => return Err(ended.into()),
            () = self.outlet.queue.pause() => {}
        }
        let outlet = self.outlet.clone();
        self.tasks.spawn(async move { (None, telemetry::run(sender, messages, outlet, batching).await) });
        Ok(())
    }

    async fn attach_sender(
        &mut self,
        kind: &str,
        address: String,
        properties: Fields,
        mode: SenderSettleMode,
    ) -> Result<Sender, Reason> {
        let name = self.names.link(kind);
        let sender = Sender::builder()
            .source(name.clone())
            .name(name)
            .target(address)
            .sender_settle_mode(mode)
            .properties(properties)
            .attach(&mut self.session)
            .await?;
        Ok(sender)
    }

    async fn attach_receiver(
        &mut self,
        kind: &str,
        address: String,
        properties: Fields,
        mode: SenderSettleMode,
        credit: CreditMode,
    ) -> Result<Receiver, Reason> {
        let name = self.names.link(kind);
        let receiver = Receiver::builder()
            .target(name.clone())
            .name(name)
            .source(address)
            .sender_settle_mode(mode)
            .properties(properties)
            .credit_mode(credit)
            .attach(&mut self.session)
            .await?;
        Ok(receiver)
    }

    /// Makes the links what is wanted. A link that the hub refuses is told and left out.
    pub(crate) async fn reconcile(&mut self, wanted: &[Feature]) -> Result<(), Reason> {
        self.refused.retain(|refused| wanted.contains(refused));
        let inbox = if self.names.is_module { Feature::Inputs } else { Feature::CloudToDevice };
        for feature in [inbox, Feature::Methods, Feature::Twin] {
            let is_wanted =
                wanted.contains(&feature) || (feature == Feature::Twin && wanted.contains(&Feature::DesiredProperties));
            let is_there = match feature {
                Feature::Methods => self.methods.is_some(),
                Feature::Twin => self.twin.is_some(),
                _ => self.inbox.is_some(),
            };
            if is_wanted && !is_there && !self.refused.contains(&feature) {
                self.outlet.waits(Wait::Links, true);
                let changes = wanted.contains(&Feature::DesiredProperties);
                let attached = match feature {
                    Feature::Methods => self.attach_methods().await,
                    Feature::Twin => self.attach_twin(changes).await,
                    other => self.attach_inbox(other).await,
                };
                match attached {
                    Ok(()) => {}
                    Err(Reason::Hub(error)) if reason::is_refusal(&error) => self.refuse(feature, wanted, &error),
                    Err(reason) => return Err(reason),
                }
            } else if !is_wanted && is_there {
                self.detach(feature);
            }
        }
        let changes = wanted.contains(&Feature::DesiredProperties);
        if let Some(twin) = &self.twin
            && changes != self.changes
        {
            let _ = twin.to.send(Ask::Changes(changes));
        }
        self.changes = changes && self.twin.is_some();
        self.outlet.waits(Wait::Links, false);
        Ok(())
    }

    /// Tells that the links of this feature are refused, by the names under which they are wanted.
    fn refuse(&mut self, feature: Feature, wanted: &[Feature], error: &Error) {
        self.refused.push(feature);
        let users: &[Feature] =
            if feature == Feature::Twin { &[Feature::Twin, Feature::DesiredProperties] } else { &[feature] };
        for feature in users.iter().copied().filter(|user| wanted.contains(user)) {
            self.outlet.event(TransportEvent::SubscriptionRefused { feature, detail: reason::words(error) });
        }
    }

    /// The number before the first delivery of a new link; no link has this many deliveries.
    fn first_key(&mut self) -> u64 {
        self.links += 1;
        self.links << 40
    }

    async fn attach_inbox(&mut self, feature: Feature) -> Result<(), Reason> {
        let (address, kind) = match feature {
            Feature::Inputs => (self.names.events(), "inputs"),
            _ => (self.names.cloud_to_device(), "devicebound"),
        };
        let fields = self.names.properties();
        let receiver = self.attach_receiver(kind, address, fields, SenderSettleMode::Mixed, CreditMode::Manual).await?;
        let (to, settlements) = mpsc::unbounded_channel();
        let inbox = Inbox::new(receiver, self.outlet.clone(), self.outlet.run);
        let first = self.first_key();
        let task = self.tasks.spawn(async move { (Some(feature), inbox.run(settlements, first).await) });
        self.inbox = Some(Links { to, task });
        Ok(())
    }

    async fn attach_methods(&mut self) -> Result<(), Reason> {
        let fields = self.names.paired_properties(&format!("methods:{}", guid()));
        let (address, mode) = (self.names.methods(), SenderSettleMode::Settled);
        let answers = self.attach_sender("method-answers", address.clone(), fields.clone(), mode.clone()).await?;
        let calls = self.attach_receiver("method-calls", address, fields, mode, CreditMode::Auto(CREDIT)).await?;
        let (to, decided) = mpsc::unbounded_channel();
        let (outlet, first) = (self.outlet.clone(), self.first_key());
        let served =
            async move { (Some(Feature::Methods), methods::run(calls, answers, outlet, decided, first).await) };
        let task = self.tasks.spawn(served);
        self.methods = Some(Links { to, task });
        Ok(())
    }

    async fn attach_twin(&mut self, changes: bool) -> Result<(), Reason> {
        let fields = self.names.paired_properties(&format!("twin:{}", guid()));
        let (address, mode) = (self.names.twin(), SenderSettleMode::Settled);
        let requests = self.attach_sender("twin-requests", address.clone(), fields.clone(), mode.clone()).await?;
        let replies = self.attach_receiver("twin-replies", address, fields, mode, CreditMode::Auto(CREDIT)).await?;
        let (to, asked) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let served = twin::run(requests, replies, self.outlet.clone(), asked, changes, ready);
        let task = self.tasks.spawn(async move { (Some(Feature::Twin), served.await) });
        // Its own request has its own time.
        self.outlet.waits(Wait::Links, false);
        if let Err(reason) = is_ready.await.unwrap_or(Err(Reason::WithItsParent)) {
            task.abort();
            self.outlet.waits(Wait::Changes, false);
            return Err(reason);
        }
        self.changes = changes;
        self.twin = Some(Links { to, task });
        Ok(())
    }

    /// Lets the links of a feature go; the hub has back what was undecided.
    fn detach(&mut self, feature: Feature) {
        let (task, waits): (_, &[Wait]) = match feature {
            Feature::Methods => (self.methods.take().map(|links| links.task), &[Wait::AnswerCredit]),
            Feature::Twin => (self.twin.take().map(|links| links.task), &[Wait::TwinCredit, Wait::Changes]),
            _ => (self.inbox.take().map(|links| links.task), &[]),
        };
        if let Some(task) = task {
            task.abort();
        }
        waits.iter().for_each(|wait| self.outlet.waits(*wait, false));
    }

    /// A task has ended: with its links, or because it was let go. The hub refuses a link when it is attached; the end of
    /// one that there was is an outage, or what was under way on it would never end, and what it missed never come.
    pub(crate) fn ended(&mut self, ended: Result<(Option<Feature>, Reason), JoinError>) -> Result<(), Reason> {
        match ended {
            Ok((_, reason)) => Err(reason),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn settle(&self, settle: Settle) {
        let id = settle.id;
        let sent = self.inbox.as_ref().map(|links| links.to.send(settle).is_ok());
        if sent != Some(true) {
            self.outlet.done(id, Err(OpError::Stale));
        }
    }

    pub(crate) fn answer(&self, answer: Answer) {
        let id = answer.id;
        let sent = self.methods.as_ref().map(|links| links.to.send(answer).is_ok());
        if sent != Some(true) {
            self.outlet.done(id, Err(OpError::Stale));
        }
    }

    pub(crate) fn ask(&self, ask: Ask) {
        let id = match &ask {
            Ask::Get(id) | Ask::Report(id, _) => Some(*id),
            Ask::Changes(_) | Ask::Forget(_) => None,
        };
        let sent = self.twin.as_ref().map(|links| links.to.send(ask).is_ok());
        if let (Some(id), false) = (id, sent == Some(true)) {
            self.without_twin(id);
        }
    }

    fn without_twin(&self, id: OpId) {
        self.outlet.done(id, Err(OpError::Rejected("there are no twin links".to_owned())));
    }

    /// Hands the hub what was decided and answered, and ends the session.
    pub(crate) async fn leave(mut self) {
        // Their channels close, and they end when they have handed on what was in them. Telemetry and twin requests that
        // have no outcome are lost, as the engine knows.
        let (inbox, methods) = (self.inbox.take(), self.methods.take());
        let mut handing_on = usize::from(inbox.is_some()) + usize::from(methods.is_some());
        drop((inbox, methods));
        while handing_on > 0 {
            match self.tasks.join_next().await {
                Some(Ok((Some(Feature::CloudToDevice | Feature::Inputs | Feature::Methods), _))) => handing_on -= 1,
                Some(_) => {}
                None => break,
            }
        }
        self.tasks.shutdown().await;
        let _ = self.session.end().await;
    }
}
