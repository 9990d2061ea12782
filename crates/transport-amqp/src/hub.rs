//! The connection to the hub, as a task: it opens, gives out sessions, and ends.

use fe2o3_amqp::Session;
use fe2o3_amqp::connection::{Connection, ConnectionHandle};
use fe2o3_amqp::session::{BeginError, SessionHandle};
use iothub_core::ConnectionErrorKind;
use tokio::sync::{mpsc, oneshot};

use crate::cbs::{Cbs, Put};
use crate::io::Io;
use crate::names::guid;
use crate::outlet::{Queue, Seen};
use crate::reason::{self, Reason};

/// The largest frame that the client takes; the hub says the same of itself.
const MAX_FRAME: u32 = 65_536;
/// How many transfers the hub may send ahead of the client's reading; the hub says the same of itself.
const WINDOW: u32 = 5_000;

/// What the connection is opened with.
pub(crate) struct Opening {
    /// The hub's name, whatever host is connected to.
    pub(crate) hub: String,
    /// After how many milliseconds of silence the client gives the hub up.
    pub(crate) idle_time_out: u32,
    /// Whether devices prove themselves by tokens.
    pub(crate) by_token: bool,
}

/// What is asked of the connection.
pub(crate) enum Request {
    /// A session for a device.
    Session(oneshot::Sender<Result<SessionHandle<()>, Reason>>),
    /// Say goodbye.
    Close,
}

/// Opens the connection and serves it until it ends. Tells `Open`, and at last `Closed`.
pub(crate) async fn run(
    opening: Opening,
    io: Io,
    queue: Queue,
    mut requests: mpsc::UnboundedReceiver<Request>,
    puts: mpsc::UnboundedReceiver<Put>,
) {
    let opened = Connection::builder()
        .container_id(guid())
        .hostname(opening.hub.as_str())
        .scheme("amqp")
        .max_frame_size(MAX_FRAME)
        .channel_max(u16::MAX)
        // Half of it is announced; the whole only backs up the client's own look at its clock.
        .idle_time_out(opening.idle_time_out.saturating_mul(2))
        .open_with_stream(io.clone())
        .await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) => return queue.put(Seen::Closed(Some(reason::of_open(&error, io.end())))),
    };
    let tokens = if opening.by_token {
        match Cbs::open(&mut connection).await {
            Ok(cbs) => Some(cbs),
            Err(reason) => return end(&mut connection, &io, &queue, reason).await,
        }
    } else {
        None
    };
    queue.put(Seen::Open);
    let tokens = async {
        match tokens {
            Some(cbs) => cbs.run(puts, queue.clone()).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(tokens);
    loop {
        tokio::select! {
            closed = connection.on_close() => {
                return queue.put(Seen::Closed(Some(reason::of_close(&closed, io.end()))));
            }
            reason = &mut tokens => return end(&mut connection, &io, &queue, reason).await,
            request = requests.recv() => match request {
                // Its asker is gone.
                Some(Request::Session(answer)) if answer.is_closed() => {}
                // The stream answers for the hub, so this ends at once; what the hub says of it, the links notice.
                Some(Request::Session(answer)) => {
                    let session = Session::builder().incoming_window(WINDOW).begin(&mut connection).await;
                    let _ = answer.send(session.map_err(|error: BeginError| error.into()));
                }
                Some(Request::Close) => {
                    let _ = connection.close().await;
                    return queue.put(Seen::Closed(None));
                }
                None => return,
            },
        }
    }
}

/// The tokens' part has ended, which is fatal. If the connection itself ended first, that says why.
async fn end(connection: &mut ConnectionHandle<()>, io: &Io, queue: &Queue, reason: Reason) {
    let kind = match reason.kind() {
        Some(kind) => kind,
        None => tokio::select! {
            biased;
            closed = connection.on_close() => reason::of_close(&closed, io.end()),
            () = queue.pause() => ConnectionErrorKind::Protocol { detail: "the session of tokens ended".to_owned() },
        },
    };
    queue.put(Seen::Closed(Some(kind)));
}
