//! One device's or module's part of the connection: its token, its session, its links.

use std::convert::Infallible;

use fe2o3_amqp::session::SessionHandle;
use iothub_core::{ConnectStage, ConnectionErrorKind, Feature, Secret};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::attach::Attacher;
use crate::cbs::{Put, Tokens};
use crate::hub::Request;
use crate::inbox::Settle;
use crate::links::{Part, Step};
use crate::methods::Answer;
use crate::names::Names;
use crate::outlet::{OfDevice, Outlet, Wait};
use crate::reason::Reason;
use crate::telemetry::Source;
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
    pub(crate) telemetry: Source,
}

/// Why a device's part is over.
enum End {
    Left,
    Down(ConnectionErrorKind),
    /// The connection ended, and says so itself.
    WithConnection,
    /// Nobody wants to know.
    Dropped,
}

impl From<Reason> for End {
    fn from(reason: Reason) -> Self {
        reason.kind().map_or(Self::WithConnection, Self::Down)
    }
}

/// Runs a device's part until it ends, and tells its end; then, or when `here` is dropped, it ends the session.
pub(crate) async fn run(mut device: Device, mut here: oneshot::Receiver<Infallible>) {
    let (outlet, connection) = (device.outlet.clone(), device.connection.clone());
    let begun = tokio::select! {
        biased;
        _ = &mut here => return,
        begun = begin(&mut device) => begun,
    };
    let session = match begun {
        Ok(session) => session,
        Err(end) => return tell(end, &outlet, &connection).await,
    };
    let (to_attach, asked) = mpsc::unbounded_channel();
    let (steps, taken) = mpsc::unbounded_channel();
    let attacher = Attacher::new(device.names.clone(), session);
    let mut attacher = tokio::spawn(attacher.run(asked, steps.clone(), outlet.queue.clone()));
    let (wanted, telemetry) = (std::mem::take(&mut device.wanted), device.telemetry.clone());
    let mut part = Part::new(outlet.clone(), device.names.is_module, wanted, telemetry, to_attach, steps);
    let end = tokio::select! {
        biased;
        _ = &mut here => End::Dropped,
        end = serve(device, &mut part, &mut attacher, taken) => end.map_or_else(|end| end, |()| End::Left),
    };
    let is_left = matches!(end, End::Left);
    if !is_left {
        tell(end, &outlet, &connection).await;
    }
    part.end();
    // While the hub may still speak to them, the links must be there.
    if !attacher.is_finished() {
        let _ = attacher.await;
    }
    drop(part);
    if is_left {
        outlet.tell(OfDevice::Left);
    }
}

async fn tell(end: End, outlet: &Outlet, connection: &mpsc::UnboundedSender<Request>) {
    let kind = match end {
        End::Left | End::Dropped => return,
        End::Down(kind) => kind,
        End::WithConnection => ConnectionErrorKind::ClosedByPeer,
    };
    // When it is the connection that ended, its own reason says more.
    outlet.queue.pause().await;
    if !connection.is_closed() {
        outlet.tell(OfDevice::Down(kind));
    }
}

/// Proves who it is, and begins a session.
async fn begin(device: &mut Device) -> Result<SessionHandle<()>, End> {
    if let Some(token) = device.token.take() {
        put(&device.tokens, &device.names, token, &device.outlet).await?;
    }
    device.outlet.tell(OfDevice::Stage(Wait::Links, ConnectStage::Open));
    let (answer, answered) = oneshot::channel();
    device.connection.send(Request::Session(answer)).map_err(|_| End::WithConnection)?;
    match answered.await {
        Ok(session) => Ok(session?),
        Err(_) => Err(End::WithConnection),
    }
}

/// Serves until it is told to leave, and has left.
async fn serve(
    device: Device,
    part: &mut Part,
    attacher: &mut JoinHandle<Reason>,
    mut steps: mpsc::UnboundedReceiver<Step>,
) -> Result<(), End> {
    let Device { names, outlet, tokens, mut commands, .. } = device;
    let mut renewal: Option<Renewal> = None;
    loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => part.step(step)?,
            Some(ended) = part.tasks.join_next() => part.ended(ended)?,
            reason = &mut *attacher => return Err(reason.unwrap_or(Reason::WithItsParent).into()),
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
