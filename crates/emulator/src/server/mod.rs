//! The server thread: listeners, timers, and one task a connection that moves bytes between the network and a head. It decides nothing.

mod connection;
mod https;
mod stream;
pub(crate) mod thread;
mod web_socket;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::error::StartError;
use crate::handle::Addresses;
use crate::shared::Shared;
use crate::tls::Tls;

use connection::Port;
use thread::ServerThread;

/// How long to wait after the system refused to accept, usually for want of descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The running server. Dropping it stops the thread and waits for it.
#[derive(Debug)]
pub(crate) struct Server {
    addresses: Addresses,
    // Held for its Drop.
    _thread: ServerThread,
}

impl Server {
    pub(crate) fn start(
        shared: Arc<Shared>,
        tls: &Tls,
        wanted: Addresses,
        max_connections: usize,
    ) -> Result<Self, StartError> {
        let (mqtt, mqtt_address) = listen(wanted.mqtt)?;
        let (amqp, amqp_address) = listen(wanted.amqp)?;
        let (https, https_address) = listen(wanted.https)?;
        let context = connection::Context {
            shared: Arc::clone(&shared),
            acceptor: TlsAcceptor::from(tls.server_config()),
            device_authorities: tls.device_authorities(),
        };
        let thread = ServerThread::start("iothub-emulator", move |stopped| async move {
            tokio::select! {
                () = accept([(mqtt, Port::Mqtt), (amqp, Port::Amqp), (https, Port::Https)], context, max_connections) => {}
                () = keep_time(&shared) => {}
                _ = stopped => {}
            }
            shared.change(|hub, now| hub.stop(now));
        })?;
        let addresses = Addresses { mqtt: mqtt_address, amqp: amqp_address, https: https_address };
        Ok(Self { addresses, _thread: thread })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }
}

/// Binds a port, and gives the address that it got.
pub(crate) fn listen(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address: wanted, source };
    let listener = TcpListener::bind(wanted).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Accepts connections on every port for ever, at most so many together. Dropping the future closes all of them.
async fn accept<const N: usize>(ports: [(TcpListener, Port); N], context: connection::Context, max_connections: usize) {
    let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let mut listeners = JoinSet::new();
    for (listener, port) in ports {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listeners.spawn(accept_on(listener, port, context.clone(), Arc::clone(&places))),
            Err(error) => return tracing::error!(%error, "cannot serve a listener"),
        };
    }
    listeners.join_next().await;
}

async fn accept_on(
    listener: tokio::net::TcpListener,
    port: Port,
    context: connection::Context,
    places: Arc<Semaphore>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
                continue;
            }
        };
        match (accepted, Arc::clone(&places).try_acquire_owned()) {
            (Ok((tcp, from)), Ok(place)) => {
                let serving = connection::serve(tcp, from, port, context.clone());
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
        let (hub, addresses) = (emulator.hub(), [emulator.mqtt_address(), emulator.https_address()]);
        emulator.stop();
        for address in addresses {
            assert!(TcpStream::connect(address).is_err());
        }
        hub.create_device("d").unwrap();
    }
}
