//! `docs/options.md` is true: what is taken takes effect at the hub or in the socket, and the rest gives its error.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use iothub_client::{
    C_OPTIONS, ClientOption, ConnectStage, ConnectionErrorKind, ConnectionState, DeviceClient, Event, Mqtt,
    OptionError, OptionVerdict, Readiness, RetryConfig, StatusChange, UndeliveredReason,
};
use iothub_emulator::{Activity, Config, DisconnectReason, Emulator, Fault};
use rustix::net::sockopt;

const LIMIT: Duration = Duration::from_secs(30);
const DEVICE: &str = "device-1";

/// The rows of one section of the page: the cells of each, without the code marks around the first.
fn section(name: &str) -> Vec<Vec<String>> {
    let page = include_str!("../docs/options.md");
    let section = page.split("\n## ").find(|section| section.starts_with(name)).expect("the section is there");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn name(row: &[String]) -> &str {
    row[0].trim_matches('`')
}

/// A hub with one device, and that device's client.
struct Bench {
    hub: Emulator,
    client: DeviceClient,
    statuses: Vec<StatusChange>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::new())
    }

    fn with(config: Config) -> Self {
        let hub = Emulator::start_with(config).unwrap();
        let device = hub.create_device(DEVICE).unwrap();
        let gateway = format!("{}:{}", hub.host_name(), hub.mqtt_address().port());
        let client = DeviceClient::builder(device.connection_string())
            .gateway(gateway)
            .trusted_certs(hub.ca_pem())
            .retry_policy(RetryConfig::default().with_jitter(0.0))
            .build(&Mqtt::new())
            .unwrap();
        Self { hub, client, statuses: Vec::new() }
    }

    fn set(&mut self, name: &str, text: &str) {
        self.client.set_option(ClientOption::from_name(name, text).unwrap()).unwrap();
    }

    /// Drives the client until what it tells is what was waited for.
    fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self, Option<Event>) -> Option<T>) -> T {
        let limit = std::time::Instant::now() + LIMIT;
        loop {
            self.client.do_work();
            loop {
                let event = self.client.next_event();
                if let Some(Event::Status(change)) = &event {
                    self.statuses.push(change.clone());
                }
                let is_last = event.is_none();
                if let Some(found) = found(self, event) {
                    return found;
                }
                if is_last {
                    break;
                }
            }
            assert!(std::time::Instant::now() < limit, "no {what}: {:?}, hub: {:?}", self.statuses, self.activity());
            self.client.wait(Duration::from_millis(20));
        }
    }

    fn connect(&mut self) {
        self.until("connection", |bench, _| (bench.client.connection_state() == ConnectionState::Ready).then_some(()));
    }

    fn failure(&mut self) -> StatusChange {
        self.until("failure", |_, event| match event {
            Some(Event::Status(change)) if change.error.is_some() => Some(change),
            _ => None,
        })
    }

    fn activity(&self) -> Vec<Activity> {
        self.hub.activity(DEVICE)
    }

    /// The client's TCP socket: the descriptor that has the options of one.
    fn socket(&self) -> Readiness {
        let mut all = Vec::new();
        self.client.readiness(&mut all);
        all.into_iter().find(|readiness| sockopt::tcp_nodelay(readiness.source.as_fd()).is_ok()).expect("a TCP socket")
    }
}

fn message_timeout() {
    let mut bench = Bench::new();
    bench.hub.inject(Fault::DropPubacks { count: 1 });
    bench.connect();
    bench.set("messageTimeout", "200");
    bench.client.send_event_tracked("late").unwrap();
    let undelivered = bench.until("outcome", |_, event| match event {
        Some(Event::Confirmation { outcome, .. }) => Some(outcome.unwrap_err()),
        _ => None,
    });
    assert_eq!((undelivered.reason, undelivered.maybe_delivered), (UndeliveredReason::TimedOut, true));
    bench.hub.wait_for_telemetry(DEVICE, 1, LIMIT).unwrap();
}

fn diagnostic_sampling() {
    let mut bench = Bench::new();
    bench.set("diag_sampling_percentage", "50");
    for _ in 0..4 {
        bench.client.send_event("sampled").unwrap();
    }
    bench.until("delivery", |bench, _| (bench.client.stats().delivered == 4).then_some(()));
    let marked: Vec<_> = bench.hub.telemetry(DEVICE).iter().map(|m| m.system.contains_key("Diagnostic-Id")).collect();
    assert_eq!(marked, [true, false, true, false]);
}

/// The hub drops the connection ten minutes after the token has expired by its clock, before the keep-alive is overdue.
fn token_lifetime(option: &str) {
    let mut bench = Bench::with(Config::new().with_manual_clock(SystemTime::now()));
    bench.set(option, "60");
    bench.set("keepalive", "1177");
    bench.connect();
    bench.hub.advance_clock(Duration::from_secs(1000));
    bench.failure();
    let expired =
        |activity: &Activity| matches!(activity, Activity::Disconnected { why: DisconnectReason::TokenExpired, .. });
    assert!(bench.activity().iter().any(expired), "{:?}", bench.activity());
}

/// When the hub saw the attempts that it refused.
fn attempts(bench: &Bench) -> Vec<SystemTime> {
    let at = |activity: &Activity| match activity {
        Activity::ConnectRefused { at, .. } => Some(*at),
        _ => None,
    };
    bench.activity().iter().filter_map(at).collect()
}

fn retry_interval() {
    let mut bench = Bench::new();
    bench.hub.inject(Fault::RefuseConnect { code: 5 });
    bench.hub.inject(Fault::RefuseConnect { code: 5 });
    bench.set("retry_interval_sec", "2");
    assert_eq!(bench.failure().next_attempt_in, Some(Duration::from_secs(2)));
    bench.failure();
    let attempts = attempts(&bench);
    assert!(attempts[1].duration_since(attempts[0]).unwrap() >= Duration::from_secs(1), "{attempts:?}");
}

fn retry_max_delay() {
    let mut bench = Bench::new();
    bench.hub.inject(Fault::RefuseConnect { code: 5 });
    bench.hub.inject(Fault::RefuseConnect { code: 5 });
    bench.set("retry_max_delay_secs", "1");
    bench.failure();
    assert_eq!(bench.failure().next_attempt_in, Some(Duration::from_secs(1)));
    bench.connect();
    assert_eq!(attempts(&bench).len(), 2);
}

fn keep_alive() {
    let mut bench = Bench::new();
    bench.set("keepalive", "77");
    bench.connect();
    let told = bench.activity().into_iter().find_map(|activity| match activity {
        Activity::Connected { keep_alive, .. } => Some(keep_alive),
        _ => None,
    });
    assert_eq!(told, Some(77));
}

fn connect_timeout() {
    let mut bench = Bench::new();
    bench.hub.inject(Fault::WithholdConnack);
    bench.set("connect_timeout", "1");
    let kind = bench.failure().error.unwrap().kind;
    assert_eq!(kind, ConnectionErrorKind::TimedOut { stage: ConnectStage::Open, after: Duration::from_secs(1) });
}

fn tcp_keep_alive() {
    let mut bench = Bench::new();
    bench.set("tcp_keepalive", "1");
    bench.connect();
    assert!(sockopt::socket_keepalive(bench.socket().source.as_fd()).unwrap());
    let mut plain = Bench::new();
    plain.set("tcp_keepalive", "0");
    plain.connect();
    assert!(!sockopt::socket_keepalive(plain.socket().source.as_fd()).unwrap());
}

fn tcp_keep_alive_time() {
    let mut bench = Bench::new();
    bench.set("tcp_keepalive_time", "123");
    bench.connect();
    assert_eq!(sockopt::tcp_keepidle(bench.socket().source.as_fd()).unwrap(), Duration::from_secs(123));
}

fn tcp_keep_alive_interval() {
    let mut bench = Bench::new();
    bench.set("tcp_keepalive_interval", "45");
    bench.connect();
    assert_eq!(sockopt::tcp_keepintvl(bench.socket().source.as_fd()).unwrap(), Duration::from_secs(45));
}

#[test]
fn the_page_has_every_option_of_the_c_sdk_in_its_section() {
    let names = |rows: Vec<Vec<String>>| rows.iter().map(|row| name(row).to_owned()).collect::<Vec<_>>();
    let with = |is: fn(&OptionVerdict) -> bool| {
        let options = C_OPTIONS.iter().filter(|(_, verdict)| is(verdict));
        options.map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(section("Taken")), with(|verdict| *verdict == OptionVerdict::Taken));
    assert_eq!(names(section("Mapped")), with(|verdict| matches!(verdict, OptionVerdict::Mapped(_))));
    assert_eq!(names(section("Refused")), with(|verdict| matches!(verdict, OptionVerdict::Refused(_))));
}

#[test]
fn what_is_mapped_or_refused_gives_the_error_of_the_page() {
    let error = |name: &str| ClientOption::from_name(name, "1").unwrap_err();
    for row in section("Mapped") {
        let expected = format!("the option {} is not set here; instead: {}", name(&row), row[1]);
        assert_eq!(error(name(&row)).to_string(), expected);
    }
    for row in section("Refused") {
        let expected = format!("the option {} is refused: {}", name(&row), row[1]);
        assert_eq!(error(name(&row)).to_string(), expected);
    }
}

#[test]
fn every_option_that_is_taken_takes_effect() {
    let mut running = Vec::new();
    for row in section("Taken") {
        let check: fn() = match name(&row) {
            "messageTimeout" => message_timeout,
            "diag_sampling_percentage" => diagnostic_sampling,
            "sas_token_lifetime" => || token_lifetime("sas_token_lifetime"),
            "sas_token_refresh_time" => || token_lifetime("sas_token_refresh_time"),
            "retry_interval_sec" => retry_interval,
            "retry_max_delay_secs" => retry_max_delay,
            "keepalive" => keep_alive,
            "connect_timeout" => connect_timeout,
            "tcp_keepalive" => tcp_keep_alive,
            "tcp_keepalive_time" => tcp_keep_alive_time,
            "tcp_keepalive_interval" => tcp_keep_alive_interval,
            other => panic!("{other} is taken, and no test shows its effect"),
        };
        running.push((name(&row).to_owned(), std::thread::spawn(check)));
    }
    for (name, check) in running {
        check.join().unwrap_or_else(|_| panic!("{name} does not take effect; see above"));
    }
}

#[test]
fn a_value_at_the_edge_of_its_range_is_taken_and_one_beyond_is_refused_by_name() {
    let mut client = Bench::new().client;
    let mut set = |name: &str, text: String| client.set_option(ClientOption::from_name(name, &text).unwrap());
    for row in section("Taken") {
        let name = name(&row);
        let mut bounds = row[4].split(" to ").filter_map(|bound| bound.split(' ').next()?.parse::<u64>().ok());
        let (least, most) = (bounds.next(), bounds.next());
        for bound in [least, most].into_iter().flatten() {
            assert!(set(name, bound.to_string()).is_ok(), "{name} = {bound}");
        }
        let beyond = [least.and_then(|least| least.checked_sub(1)), most.map(|most| most + 1)];
        for value in beyond.into_iter().flatten().filter(|_| name != "messageTimeout") {
            let refused = set(name, value.to_string());
            assert!(matches!(refused, Err(OptionError::Range { .. })), "{name} = {value}: {refused:?}");
        }
    }
}
