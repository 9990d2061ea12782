//! The links of one device's session, as they are attached: one feature's after another's, while everything else goes on.

use fe2o3_amqp::link::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::definitions::{Fields, SenderSettleMode};
use iothub_core::Feature;
use tokio::sync::mpsc;

use crate::links::Step;
use crate::names::{Names, guid};
use crate::outlet::Queue;
use crate::reason::Reason;

/// How many replies and calls the hub may send ahead.
const CREDIT: u32 = 200;

/// The links of a feature.
pub(crate) enum Links {
    /// Of cloud-to-device messages, or of a module's inputs. It has no credit yet.
    Inbox(Receiver),
    Methods {
        calls: Receiver,
        answers: Sender,
    },
    Twin {
        requests: Sender,
        replies: Receiver,
    },
}

impl Links {
    /// The link on which the hub sends.
    pub(crate) fn into_receiver(self) -> Receiver {
        match self {
            Self::Inbox(receiver) | Self::Methods { calls: receiver, .. } | Self::Twin { replies: receiver, .. } => {
                receiver
            }
        }
    }
}

/// Attaches links, and ends the session.
///
/// It is not to be dropped before it is done: the package ends the whole connection when the hub still speaks to what is
/// no more.
pub(crate) struct Attacher {
    names: Names,
    session: SessionHandle<()>,
}

impl Attacher {
    pub(crate) fn new(names: Names, session: SessionHandle<()>) -> Self {
        Self { names, session }
    }

    /// Attaches the link of telemetry.
    async fn telemetry(&mut self, queue: &Queue) -> Result<Sender, Reason> {
        let (address, fields) = (self.names.events(), self.names.properties());
        let mut sender = self.sender("events", address, fields, SenderSettleMode::Unsettled).await?;
        // A hub may refuse a link by answering first and detaching then.
        tokio::select! {
            biased;
            ended = sender.on_detach() => Err(ended.into()),
            () = queue.pause() => Ok(sender),
        }
    }

    /// Attaches the link of telemetry, then the links of each feature that is asked for, until the session ends. When nothing
    /// more will be asked for, it ends the session.
    pub(crate) async fn run(
        mut self,
        mut asked: mpsc::UnboundedReceiver<Feature>,
        steps: mpsc::UnboundedSender<Step>,
        queue: Queue,
    ) -> Reason {
        // Nobody listens to a part that is over.
        let _ = steps.send(Step::Telemetry(self.telemetry(&queue).await.map(Box::new)));
        loop {
            tokio::select! {
                biased;
                ended = self.session.on_end() => return ended.err().map_or(Reason::Silent, Reason::from),
                feature = asked.recv() => match feature {
                    Some(feature) => {
                        let links = self.attach(feature).await.map(Box::new);
                        let _ = steps.send(Step::Attached(feature, links));
                    }
                    None => {
                        let _ = self.session.end().await;
                        return Reason::WithItsParent;
                    }
                },
            }
        }
    }

    async fn attach(&mut self, feature: Feature) -> Result<Links, Reason> {
        match feature {
            Feature::Methods => self.methods().await,
            Feature::Twin | Feature::DesiredProperties => self.twin().await,
            Feature::Inputs => self.inbox("inputs", self.names.events()).await,
            _ => self.inbox("devicebound", self.names.cloud_to_device()).await,
        }
    }

    async fn inbox(&mut self, kind: &str, address: String) -> Result<Links, Reason> {
        let fields = self.names.properties();
        let receiver = self.receiver(kind, address, fields, SenderSettleMode::Mixed, CreditMode::Manual).await?;
        Ok(Links::Inbox(receiver))
    }

    async fn methods(&mut self) -> Result<Links, Reason> {
        let fields = self.names.paired_properties(&format!("methods:{}", guid()));
        let (address, mode) = (self.names.methods(), SenderSettleMode::Settled);
        let answers = self.sender("method-answers", address.clone(), fields.clone(), mode.clone()).await?;
        let calls = self.receiver("method-calls", address, fields, mode, CreditMode::Auto(CREDIT)).await?;
        Ok(Links::Methods { calls, answers })
    }

    async fn twin(&mut self) -> Result<Links, Reason> {
        let fields = self.names.paired_properties(&format!("twin:{}", guid()));
        let (address, mode) = (self.names.twin(), SenderSettleMode::Settled);
        let requests = self.sender("twin-requests", address.clone(), fields.clone(), mode.clone()).await?;
        let replies = self.receiver("twin-replies", address, fields, mode, CreditMode::Auto(CREDIT)).await?;
        Ok(Links::Twin { requests, replies })
    }

    async fn sender(
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

    async fn receiver(
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
}
