//! A small HTTP CONNECT proxy on loopback, to test clients that go through one.

mod head;
mod serve;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::watch;

use crate::error::{StartError, WaitError};
use crate::handle::Hub;
use crate::server::listen;
use crate::server::thread::ServerThread;

/// How many requests are remembered; the oldest make room.
const MAX_REQUESTS: usize = 10_000;

/// The settings of a [`TestProxy`].
#[derive(Clone, Default)]
pub struct ProxyConfig {
    /// What `Proxy-Authorization` must say behind `Basic`.
    credentials: Option<String>,
    /// By name in lower case.
    hosts: BTreeMap<String, SocketAddr>,
    mode: ProxyMode,
}

/// What a [`TestProxy`] does with a CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyMode {
    /// It checks the credentials, connects, answers 200 and passes bytes on; or it answers 407, or 502.
    #[default]
    Tunnel,
    /// It answers with this HTTP status and closes.
    Refuse {
        /// The status: 100 to 999.
        status: u16,
    },
    /// It answers with these bytes, whatever they are, and says nothing more.
    Answer(Vec<u8>),
    /// It answers 200 and closes.
    AcceptAndHangUp,
    /// It closes without an answer.
    HangUp,
    /// It keeps the connection open and never answers.
    Silent,
}

/// A CONNECT that a [`TestProxy`] has read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyRequest {
    /// Where the client wants to go, as it was sent: `host:port`.
    pub target: String,
    /// The header `Host`.
    pub host: Option<String>,
    /// Whether there was a header `Proxy-Authorization`. Its content is not kept.
    pub offered: bool,
    /// Whether the credentials are right, or none are needed.
    pub authorised: bool,
    /// What came of it.
    pub answer: ProxyAnswer,
}

/// What came of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyAnswer {
    /// A tunnel.
    Tunnel {
        /// The proxy's own address at the far end: the hub's record names it as the peer.
        from: SocketAddr,
        /// Where it leads.
        to: SocketAddr,
    },
    /// A refusal with this HTTP status.
    Status(u16),
    /// What [`ProxyMode`] asks for.
    Mode,
}

/// A small HTTP CONNECT proxy on a free port of 127.0.0.1, **for tests only**: to see what a client asks of a proxy, and what it does
/// when it is refused, gets nonsense or no answer at all. It leads only to where its [`ProxyConfig`] says and to this machine.
/// Dropping it closes all its connections.
///
/// ```
/// use iothub_emulator::{Emulator, ProxyConfig, TestProxy};
///
/// let emulator = Emulator::start()?;
/// let proxy = TestProxy::start(ProxyConfig::new().with_hub(&emulator).with_credentials("user", "password"))?;
/// // Give a client `proxy.address()`, and let it connect to port 443 of `emulator.host_name()`.
/// assert!(proxy.requests().is_empty());
/// # Ok::<(), iothub_emulator::StartError>(())
/// ```
#[derive(Debug)]
pub struct TestProxy {
    address: SocketAddr,
    state: Arc<State>,
    // Held for its Drop.
    _thread: ServerThread,
}

/// What the proxy's thread and its handle share.
#[derive(Debug)]
struct State {
    config: ProxyConfig,
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Counts the calls that end all tunnels.
    cuts: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    mode: ProxyMode,
    requests: VecDeque<ProxyRequest>,
}

impl ProxyConfig {
    /// No credentials, no names, and tunnels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for these credentials (Basic, RFC 7617). A user name with a colon cannot be told from its password.
    #[must_use]
    pub fn with_credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(STANDARD.encode(format!("{user}:{password}")));
        self
    }

    /// Leads to this address whoever asks for this host, whichever the port. Hosts that are not given here lead to the port that is
    /// asked for if they are `localhost` or a loopback address, and else to 502.
    #[must_use]
    pub fn with_host(mut self, name: &str, to: SocketAddr) -> Self {
        self.hosts.insert(name.to_ascii_lowercase(), to);
        self
    }

    /// All names of a hub, with its HTTPS port behind them.
    #[must_use]
    pub fn with_hub(self, hub: &Hub) -> Self {
        hub.host_names().iter().fold(self, |config, name| config.with_host(name, hub.https_address()))
    }

    /// What it does at first; see [`TestProxy::set_mode`]. Default [`ProxyMode::Tunnel`].
    #[must_use]
    pub fn with_mode(mut self, mode: ProxyMode) -> Self {
        self.mode = mode;
        self
    }
}

impl fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyConfig")
            .field("credentials", &self.credentials.as_ref().map(|_| "<redacted>"))
            .field("hosts", &self.hosts)
            .field("mode", &self.mode)
            .finish()
    }
}

impl TestProxy {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// [`StartError::Listen`], [`StartError::Thread`].
    pub fn start(config: ProxyConfig) -> Result<Self, StartError> {
        let (listener, address) = listen((Ipv4Addr::LOCALHOST, 0).into())?;
        let inner = Inner { mode: config.mode.clone(), requests: VecDeque::new() };
        let state =
            Arc::new(State { config, inner: Mutex::new(inner), changed: Condvar::new(), cuts: watch::Sender::new(0) });
        let shared = Arc::clone(&state);
        let thread = ServerThread::start("iothub-test-proxy", |stopped| async move {
            tokio::select! {
                () = serve::accept(listener, shared) => {}
                _ = stopped => {}
            }
        })?;
        Ok(Self { address, state, _thread: thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does with each CONNECT from now on.
    pub fn set_mode(&self, mode: ProxyMode) {
        self.state.lock().mode = mode;
    }

    /// The requests so far, in order; at most the last 10,000.
    #[must_use]
    pub fn requests(&self) -> Vec<ProxyRequest> {
        self.state.lock().requests.iter().cloned().collect()
    }

    /// Waits until there are at least so many requests, and gives all of them.
    ///
    /// # Errors
    /// [`WaitError`] says how many there were after `limit` of real time.
    pub fn wait_for_requests(&self, count: usize, limit: Duration) -> Result<Vec<ProxyRequest>, WaitError> {
        let end = Instant::now().checked_add(limit);
        let mut inner = self.state.lock();
        while inner.requests.len() < count {
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                let found = format!("{} came", inner.requests.len());
                return Err(WaitError { what: format!("{count} requests to the proxy"), limit, found });
            }
            inner = self.state.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(inner.requests.iter().cloned().collect())
    }

    /// Ends all tunnels, as a proxy does that is restarted.
    pub fn cut_tunnels(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl State {
    fn record(&self, request: ProxyRequest) {
        let mut inner = self.lock();
        if inner.requests.len() >= MAX_REQUESTS {
            inner.requests.pop_front();
        }
        inner.requests.push_back(request);
        drop(inner);
        self.changed.notify_all();
    }

    // A panic while the lock was held is the test's or a defect; what there is remains readable.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
