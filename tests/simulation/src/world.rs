//! The simulated world: the hub, the network, and the one clock of all. It moves only when a client parks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use iothub_core::{ConnectStage, ConnectionErrorKind, Now};
use iothub_emulator::{OfflineConnection, OfflineHub};
use iothub_net::memory::Script;

use crate::censor::{Answer, Censor};
use crate::front::Front;
use crate::link::{Link, Moved};
use crate::network::{Ends, Path};
use crate::over::Over;
use crate::platform::Flag;

/// How often the world may be asked without that anything moves or time passes, before it says that somebody spins.
const PATIENCE: u32 = 10_000;

pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who connects: one client's way into the network.
pub(crate) struct Dialer {
    script: Script,
    over: Over,
    /// How many of its attempts were seen.
    seen: usize,
    /// When the attempt under way ends, and how.
    attempt: Option<(Duration, Result<(), ConnectionErrorKind>)>,
}

pub(crate) struct World {
    pub(crate) hub: OfflineHub,
    pub(crate) random: fastrand::Rng,
    start: Now,
    elapsed: Duration,
    dialers: Vec<Dialer>,
    /// Whether each client was woken.
    pub(crate) flags: Vec<Arc<Flag>>,
    /// Of these, those of the clients that park next; another one's wake is its own affair.
    pub(crate) parking: Vec<Arc<Flag>>,
    pub(crate) links: Vec<Link>,
    pub(crate) path: Path,
    /// What the hub leaves out.
    pub(crate) withheld: Vec<Answer>,
    /// What the hub's WebSocket front ends draw from.
    fronts: fastrand::Rng,
    /// How the next attempts end; later ones succeed.
    pub(crate) attempts_end: VecDeque<Ends>,
    pub(crate) rivals: Vec<OfflineConnection>,
    /// What happened, with the time since the start.
    pub(crate) log: Vec<(Duration, String)>,
    /// When the hub's date was set, and to how many seconds ahead.
    pub(crate) clock_settings: Vec<(Duration, i64)>,
    idle_calls: u32,
}

impl World {
    pub(crate) fn new(hub: OfflineHub, seed: u64, wall: SystemTime) -> Self {
        Self {
            hub,
            random: fastrand::Rng::with_seed(seed),
            // Only differences to this instant are ever looked at.
            start: Now { mono: Instant::now(), wall },
            elapsed: Duration::ZERO,
            dialers: Vec::new(),
            flags: Vec::new(),
            parking: Vec::new(),
            links: Vec::new(),
            path: Path::default(),
            withheld: Vec::new(),
            fronts: fastrand::Rng::with_seed(seed),
            attempts_end: VecDeque::new(),
            rivals: Vec::new(),
            log: Vec::new(),
            clock_settings: Vec::new(),
            idle_calls: 0,
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.start + self.elapsed
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.log.push((self.elapsed, text.into()));
    }

    pub(crate) fn add_dialer(&mut self, script: Script, over: Over) {
        self.dialers.push(Dialer { script, over, seen: 0, attempt: None });
    }

    /// Lets the world go on until a client has something to look at, or until then.
    pub(crate) fn park(&mut self, until: Option<Instant>) {
        let was_woken = std::mem::take(&mut self.parking).iter().any(|flag| flag.is_set());
        self.links.iter_mut().for_each(Link::client_looks);
        let before = self.elapsed;
        let mut has_news = self.settle();
        while !was_woken && !has_news && self.pass_time(until) {
            has_news = self.settle();
        }
        if self.elapsed > before {
            self.idle_calls = 0;
        }
        self.idle_calls += 1;
        assert!(self.idle_calls < PATIENCE, "the client spins: {PATIENCE} calls of `park`, and no time has passed");
    }

    /// Moves bytes until nothing moves any more; `true` if a client has something to look at. Wakes that come from the
    /// moving itself are not news.
    fn settle(&mut self) -> bool {
        let woken: Vec<bool> = self.flags.iter().map(|flag| flag.is_set()).collect();
        let mut has_news = false;
        loop {
            let Moved { any, news } = self.step();
            has_news |= news;
            if !any {
                break;
            }
        }
        for (flag, was_woken) in self.flags.iter().zip(woken) {
            flag.set(was_woken || has_news);
        }
        self.links.retain(|link| !link.is_over());
        has_news
    }

    fn step(&mut self) -> Moved {
        let mut moved = Moved::default();
        for index in 0..self.dialers.len() {
            moved.news |= self.step_attempt(index);
        }
        let now = self.elapsed;
        for link in &mut self.links {
            let step = link.step(now, &mut self.random);
            moved.any |= step.any;
            moved.news |= step.news;
        }
        for rival in &mut self.rivals {
            rival.poll();
            // It listens to nothing.
            drop(rival.take_output());
        }
        self.rivals.retain(|rival| !rival.is_closed());
        moved
    }

    /// Ends an attempt that is due; `true` if one ended.
    fn step_attempt(&mut self, index: usize) -> bool {
        let now = self.elapsed;
        let dialer = &mut self.dialers[index];
        let attempts = dialer.script.attempts();
        if attempts > dialer.seen {
            dialer.seen = attempts;
            // An attempt that was given up may have left its end behind, which is then this one's.
            if dialer.script.remaining() == 0 {
                // TCP and TLS 1.3: there and back, twice.
                let opening: Duration = (0..4).map(|_| self.path.delay(&mut self.random)).sum();
                dialer.attempt = Some(match self.attempts_end.pop_front() {
                    None => (now + opening, Ok(())),
                    Some(Ends::Refused) => (now + opening, Err(ConnectionErrorKind::Refused)),
                    Some(Ends::Silent(after)) => {
                        (now + after, Err(ConnectionErrorKind::TimedOut { stage: ConnectStage::Tcp, after }))
                    }
                });
            }
        }
        let Some((_, end)) = dialer.attempt.take_if(|(due, _)| *due <= now) else { return false };
        match end {
            Ok(()) => {
                let over = dialer.over;
                let front = over.subprotocol().map(|subprotocol| Front::new(subprotocol, self.fronts.fork()));
                let censor = over.is_amqp().then(Censor::default);
                let hub = if over.is_amqp() { self.hub.accept_amqp() } else { self.hub.accept() };
                let mut link = Link::new(dialer.script.accept(), hub, front, censor, self.path.clone());
                link.withhold(&self.withheld);
                self.links.push(link);
                self.note("network: a connection is established");
            }
            Err(kind) => {
                dialer.script.fail(kind);
                self.note("network: an attempt to connect fails");
            }
        }
        true
    }

    /// Jumps to the next thing that is due; `false` if the caller's own deadline has come, or there is nothing to wait
    /// for at all.
    fn pass_time(&mut self, until: Option<Instant>) -> bool {
        let limit = until.map(|until| until.saturating_duration_since(self.now().mono));
        if limit == Some(Duration::ZERO) {
            return false;
        }
        let Some(by) = self.next_due().into_iter().chain(limit).min() else { return false };
        if by.is_zero() {
            self.idle_calls += 1;
            assert!(self.idle_calls < PATIENCE, "the hub spins: it is due at once, again and again");
        } else {
            self.elapsed += by;
            self.hub.advance_clock(by);
            self.idle_calls = 0;
        }
        true
    }

    fn next_due(&self) -> Option<Duration> {
        let attempts = self.dialers.iter().filter_map(|dialer| dialer.attempt.as_ref());
        let attempts = attempts.map(|(due, _)| due.saturating_sub(self.elapsed));
        let links = self.links.iter().filter_map(|link| link.timeout(self.elapsed));
        let rivals = self.rivals.iter().filter_map(OfflineConnection::timeout);
        attempts.chain(links).chain(rivals).chain(self.hub.timeout()).min()
    }
}
