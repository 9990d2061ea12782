//! The server thread: listeners, timers, and one task a connection that moves bytes between the network and a head. It decides nothing.

mod connection;
mod stream;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::error::StartError;
use crate::head::NewHead;
use crate::shared::Shared;
use crate::tls::Tls;

/// How long to wait after the system refused to accept, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The running server. Dropping it stops the thread and waits for it.
#[derive(Debug)]
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on each address, and serves what comes there with its head; gives the bound addresses. At most `max_connections` are open on all of
    /// them together.
    pub(crate) fn start<const N: usize>(
        shared: Arc<Shared>,
        tls: &Tls,
        endpoints: [(SocketAddr, NewHead); N],
        max_connections: usize,
    ) -> Result<(Self, [SocketAddr; N]), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        let acceptor = TlsAcceptor::from(tls.server_config());
        let mut listeners = Vec::new();
        let mut addresses = endpoints.map(|(address, _)| address);
        for ((_, new_head), address) in endpoints.into_iter().zip(&mut addresses) {
            let (listener, bound) =
                listen(*address).map_err(|source| StartError::Listen { address: *address, source })?;
            *address = bound;
            let context = connection::Context {
                shared: Arc::clone(&shared),
                acceptor: acceptor.clone(),
                device_authorities: tls.device_authorities(),
                new_head,
            };
            listeners.push((listener, context));
        }
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                let mut accepting = JoinSet::new();
                for (listener, context) in listeners {
                    accepting.spawn(accept(listener, context, Arc::clone(&places)));
                }
                tokio::select! {
                    _ = accepting.join_next() => {}
                    () = keep_time(&shared) => {}
                    _ = stopped => {}
                }
            });
            shared.change(|hub, now| hub.stop(now));
        };
        let thread = std::thread::Builder::new().name("iothub-emulator".to_owned()).spawn(run)?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, addresses))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server thread has printed itself; it must not become a second one here.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Accepts connections for ever. Dropping the future closes all of them.
async fn accept(listener: TcpListener, context: connection::Context, places: Arc<Semaphore>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot serve the listener"),
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match (accepted, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, _)), Ok(place)) => {
                    let serving = connection::serve(stream, context.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                (Ok(_), Err(_)) => tracing::warn!("too many connections: closed the new one"),
                (Err(error), _) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
}

/// Lets happen in time what no connection waits for: ends of locks, times to live, feedback batches, method calls.
async fn keep_time(shared: &Shared) {
    loop {
        let sleep = shared.sleep_time(|hub, now| hub.timeout(now));
        tokio::select! {
            () = connection::sleep_for(sleep) => shared.change(|_, _| {}),
            () = shared.deadline_changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::{Duration, SystemTime};

    use crate::{Activity, C2dMessage, C2dResult, Config, DisconnectReason, Emulator};

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn with_the_machines_clock_what_is_due_happens_by_itself() {
        let emulator = Emulator::start_with(Config::new().with_connect_timeout(Duration::from_millis(20))).unwrap();
        let _silent = TcpStream::connect(emulator.mqtt_address()).unwrap();
        let late = |activity: &Activity| {
            matches!(activity, Activity::Disconnected { why: DisconnectReason::ConnectTimeout, .. })
        };
        emulator.wait_until(LIMIT, "the connection's end", |hub| hub.unattributed_activity().iter().any(late)).unwrap();

        emulator.create_device("d").unwrap();
        emulator.send_c2d("d", C2dMessage::new("x").ttl(Duration::from_millis(20))).unwrap();
        emulator.wait_until(LIMIT, "the message's end", |hub| !hub.c2d_outcomes("d").is_empty()).unwrap();
        assert_eq!(emulator.c2d_outcomes("d")[0].result, C2dResult::Expired);
    }

    #[test]
    fn with_a_manual_clock_it_happens_when_the_clock_is_advanced() {
        let emulator = Emulator::start_with(Config::new().with_manual_clock(SystemTime::UNIX_EPOCH)).unwrap();
        emulator.create_device("d").unwrap();
        emulator.send_c2d("d", C2dMessage::new("x")).unwrap();
        emulator.advance_clock(Duration::from_secs(3599));
        assert!(emulator.c2d_outcomes("d").is_empty());
        emulator.advance_clock(Duration::from_secs(1));
        assert_eq!(emulator.c2d_outcomes("d")[0].result, C2dResult::Expired);
    }

    #[test]
    fn stopping_closes_the_port_and_leaves_the_handle_usable() {
        let emulator = Emulator::start().unwrap();
        let (hub, address) = (emulator.hub(), emulator.mqtt_address());
        emulator.stop();
        assert!(TcpStream::connect(address).is_err());
        hub.create_device("d").unwrap();
    }
}
