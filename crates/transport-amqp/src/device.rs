//! One device's or module's part of the connection: its token, its session, its links.

use fe2o3_amqp::session::SessionHandle;
use iothub_core::{ConnectStage, ConnectionErrorKind, Feature, Secret};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::attach::Attacher;
use crate::cbs::{Put, Tokens};
use crate::hub::Request;
use crate::inbox::Settle;
use crate::links::Part;
use crate::methods::Answer;
use crate::names::Names;
use crate::outbox::Line;
use crate::outlet::{OfDevice, Outlet, Wait};
use crate::reason::Reason;
use crate::twin::Ask;

/// What is asked of a device's part; telemetry has a way of its own.
pub(crate) enum Command {
    Subscribe(Vec<Feature>),
    Settle(Settle),
    Ask(Ask),
    Answer(Answer),
    /// Put another token in place.
    Renew(Secret),
    /// End in order.
    Leave,
}

/// What a device's part begins with.
pub(crate) struct Device {
    pub(crate) names: Names,
    pub(crate) token: Option<Secret>,
    pub(crate) wanted: Vec<Feature>,
    pub(crate) outlet: Outlet,
    pub(crate) connection: mpsc::UnboundedSender<Request>,
    pub(crate) tokens: Tokens,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) messages: Line,
    /// Whether messages that wait together are sent together.
    pub(crate) batching: bool,
}

/// Why a device's part is over.
enum End {
    Left,
    Down(ConnectionErrorKind),
    /// The connection ended, and says so itself.
    WithConnection,
}

impl From<Reason> for End {
    fn from(reason: Reason) -> Self {
        reason.kind().map_or(Self::WithConnection, Self::Down)
    }
}

/// Runs a device's part until it ends, and tells its end.
pub(crate) async fn run(device: Device) {
    let (outlet, connection) = (device.outlet.clone(), device.connection.clone());
    let end = match serve(device).await {
        Ok(()) => End::Left,
        Err(end) => end,
    };
    match end {
        End::Left => outlet.tell(OfDevice::Left),
        End::Down(kind) => {
            // When it is the connection that ended, its own reason says more.
            outlet.queue.pause().await;
            if !connection.is_closed() {
                outlet.tell(OfDevice::Down(kind));
            }
        }
        End::WithConnection => {
            outlet.queue.pause().await;
            if !connection.is_closed() {
                outlet.tell(OfDevice::Down(ConnectionErrorKind::ClosedByPeer));
            }
        }
    }
}

async fn serve(device: Device) -> Result<(), End> {
    let Device { names, token, wanted, outlet, connection, tokens, mut commands, messages, batching } = device;
    if let Some(token) = token {
        put(&tokens, &names, token, &outlet).await?;
    }
    outlet.tell(OfDevice::Stage(Wait::Links, ConnectStage::Open));
    let mut attacher = Attacher::new(names.clone(), begin(&connection).await?);
    let telemetry = attacher.events(&outlet.queue).await?;
    let (to_attach, asked) = mpsc::unbounded_channel();
    let (tell, mut steps) = mpsc::unbounded_channel();
    let attacher = attacher.run(asked, tell.clone());
    tokio::pin!(attacher);
    let mut part = Part::new(outlet.clone(), names.is_module, to_attach, tell);
    part.begin(telemetry, messages, batching, wanted);
    let mut renewal: Option<Renewal> = None;
    loop {
        tokio::select! {
            biased;
            Some(ended) = part.tasks.join_next() => part.ended(ended)?,
            Some(step) = steps.recv() => part.step(step)?,
            reason = &mut attacher => return Err(reason.into()),
            Some(renewed) = async { Some((&mut renewal.as_mut()?.0).await) }, if renewal.is_some() => {
                renewal = None;
                if let Ok(renewed) = renewed {
                    renewed?;
                }
            }
            command = commands.recv() => match command {
                Some(Command::Subscribe(wanted)) => part.want(wanted),
                Some(Command::Settle(settle)) => part.settle(settle),
                Some(Command::Ask(ask)) => part.ask(ask),
                Some(Command::Answer(answer)) => part.answer(answer),
                Some(Command::Renew(token)) => {
                    let (tokens, names, outlet) = (tokens.clone(), names.clone(), outlet.clone());
                    renewal = Some(Renewal(tokio::spawn(async move { put(&tokens, &names, token, &outlet).await })));
                }
                Some(Command::Leave) | None => {
                    part.leave().await;
                    // Nobody asks it any more.
                    attacher.await;
                    return Ok(());
                }
            },
        }
    }
}

/// A token that is being put beside everything else; with the part it is given up.
struct Renewal(JoinHandle<Result<(), End>>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn put(tokens: &Tokens, names: &Names, token: Secret, outlet: &Outlet) -> Result<(), End> {
    // Its time begins when it is its turn.
    let _place = tokens.place().await.ok_or(End::WithConnection)?;
    outlet.tell(OfDevice::Stage(Wait::Token, ConnectStage::Open));
    let (answer, answered) = oneshot::channel();
    if !tokens.put(Put { audience: names.audience(), token, answer }) {
        return Err(End::WithConnection);
    }
    let result = answered.await.map_err(|_| End::WithConnection)?;
    outlet.tell(OfDevice::Settled(Wait::Token));
    result.map_err(End::Down)
}

async fn begin(connection: &mpsc::UnboundedSender<Request>) -> Result<SessionHandle<()>, End> {
    let (answer, answered) = oneshot::channel();
    connection.send(Request::Session(answer)).map_err(|_| End::WithConnection)?;
    match answered.await {
        Ok(session) => Ok(session?),
        Err(_) => Err(End::WithConnection),
    }
}
