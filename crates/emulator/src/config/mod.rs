//! The settings of a hub. What the real hub does for certain is not a setting; where it is not certain, the default names its source.

mod amqp;
mod c2d;
mod choice;
mod edge;
mod mqtt;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::device::SecretKey;
use crate::error::StartError;
use crate::routes::Routes;

pub use choice::{
    BadFilter, DeliveryQos, DuplicateSystemProperty, LockExpiry, MethodRid, OutOfOrderPuback, UnknownTopic,
};

/// The settings of a hub, built with `with_*` methods from [`Config::new`]. In a seed file the same names without `with_`, durations in seconds.
///
/// ```
/// use iothub_emulator::Config;
/// use std::time::Duration;
/// let config = Config::new().with_host_name("hub.localtest").with_sas_grace(Duration::ZERO);
/// # let _ = config;
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub(crate) host_names: Vec<String>,
    pub(crate) gateway_host_names: Vec<String>,
    pub(crate) mqtt_address: SocketAddr,
    pub(crate) https_address: SocketAddr,
    pub(crate) amqp_address: SocketAddr,
    #[serde(skip)]
    pub(crate) manual_clock: Option<SystemTime>,
    #[serde(deserialize_with = "seconds")]
    pub(crate) sas_grace: Duration,
    #[serde(deserialize_with = "seconds")]
    pub(crate) clock_skew: Duration,
    pub(crate) refusal_code: u8,
    pub(crate) require_api_version: bool,
    #[serde(deserialize_with = "seconds")]
    pub(crate) connect_timeout: Duration,
    #[serde(deserialize_with = "seconds")]
    pub(crate) max_keep_alive: Duration,
    pub(crate) unknown_topic: UnknownTopic,
    pub(crate) bad_filter: BadFilter,
    pub(crate) subscription_limit: usize,
    pub(crate) duplicate_system_property: DuplicateSystemProperty,
    pub(crate) out_of_order_puback: OutOfOrderPuback,
    #[serde(deserialize_with = "seconds")]
    pub(crate) lock_duration: Duration,
    pub(crate) lock_expiry: LockExpiry,
    pub(crate) release_on_disconnect: bool,
    pub(crate) count_redelivery: bool,
    pub(crate) max_delivery_count: u32,
    pub(crate) drop_unmatched: bool,
    #[serde(deserialize_with = "seconds")]
    pub(crate) c2d_ttl: Duration,
    pub(crate) c2d_queue_limit: usize,
    pub(crate) edge_routes: BTreeMap<String, Vec<String>>,
    /// `edge_routes`, understood.
    #[serde(skip)]
    pub(crate) routes: Routes,
    #[serde(deserialize_with = "seconds")]
    pub(crate) input_ttl: Duration,
    pub(crate) input_queue_limit: usize,
    pub(crate) twin_qos: DeliveryQos,
    pub(crate) twin_arrays: bool,
    pub(crate) method_qos: DeliveryQos,
    pub(crate) method_rid: MethodRid,
    #[serde(deserialize_with = "seconds")]
    pub(crate) amqp_idle_time_out: Duration,
    pub(crate) amqp_max_message_size: u64,
    pub(crate) amqp_first_delivery_count: u8,
    pub(crate) amqp_report_status: u16,
    pub(crate) amqp_desired_on_attach: bool,
    pub(crate) amqp_answer_unknown_twin_operation: bool,
    pub(crate) cbs_unknown_device_unauthorized: bool,
    pub(crate) policy_keys: BTreeMap<String, SecretKey>,
    pub(crate) event_hub_name: String,
    pub(crate) event_partitions: usize,
    pub(crate) consumer_groups: Vec<String>,
    pub(crate) event_redirect: Option<String>,
    pub(crate) message_faults: bool,
    pub(crate) ack_fault_message: bool,
    pub(crate) max_connections: usize,
    pub(crate) log_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host_names: Vec::new(),
            gateway_host_names: Vec::new(),
            mqtt_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            https_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            amqp_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            manual_clock: None,
            sas_grace: Duration::from_secs(600),
            clock_skew: Duration::ZERO,
            refusal_code: 5,
            require_api_version: false,
            connect_timeout: Duration::from_secs(60),
            max_keep_alive: Duration::from_secs(1767),
            unknown_topic: UnknownTopic::Close,
            bad_filter: BadFilter::Close,
            subscription_limit: 5,
            duplicate_system_property: DuplicateSystemProperty::Close,
            out_of_order_puback: OutOfOrderPuback::Ignore,
            lock_duration: Duration::from_secs(60),
            lock_expiry: LockExpiry::Redeliver,
            release_on_disconnect: true,
            count_redelivery: false,
            max_delivery_count: 10,
            drop_unmatched: false,
            c2d_ttl: Duration::from_secs(3600),
            c2d_queue_limit: 50,
            edge_routes: BTreeMap::new(),
            routes: Routes::default(),
            input_ttl: Duration::from_secs(7200),
            input_queue_limit: 10_000,
            twin_qos: DeliveryQos::AtMostOnce,
            twin_arrays: true,
            method_qos: DeliveryQos::AtMostOnce,
            method_rid: MethodRid::Counter,
            amqp_idle_time_out: Duration::from_secs(240),
            amqp_max_message_size: 1_048_576,
            amqp_first_delivery_count: 1,
            amqp_report_status: 204,
            amqp_desired_on_attach: false,
            amqp_answer_unknown_twin_operation: false,
            cbs_unknown_device_unauthorized: false,
            policy_keys: BTreeMap::new(),
            event_hub_name: String::new(),
            event_partitions: 4,
            consumer_groups: vec!["$Default".to_owned()],
            event_redirect: None,
            message_faults: true,
            ack_fault_message: false,
            max_connections: 10_000,
            log_limit: 1_000_000,
        }
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a host name, DNS name or IP address. Each goes into the server certificate and is accepted in tokens; the first is in connection
    /// strings. Without any it is `localhost`. (The C SDK needs a name with a dot: docs/hub-over-mqtt.md 14.)
    #[must_use]
    pub fn with_host_name(mut self, name: &str) -> Self {
        self.host_names.push(name.to_owned());
        self
    }

    /// Replaces all host names; see [`with_host_name`](Self::with_host_name).
    #[must_use]
    pub fn with_host_names(mut self, names: &[String]) -> Self {
        self.host_names = names.to_vec();
        self
    }

    /// Where to listen for MQTT over TLS. Default `127.0.0.1:0`: loopback only, a port of the system's choice.
    #[must_use]
    pub fn with_mqtt_address(mut self, address: SocketAddr) -> Self {
        self.mqtt_address = address;
        self
    }

    /// Where to listen for HTTPS, with MQTT over WebSocket. Default `127.0.0.1:0`, as for MQTT. A WebSocket message to the hub may have
    /// 1 MiB, the emulator's own limit.
    #[must_use]
    pub fn with_https_address(mut self, address: SocketAddr) -> Self {
        self.https_address = address;
        self
    }

    /// The hub's clock starts here and moves only by [`Hub::advance_clock`](crate::Hub::advance_clock) and
    /// [`Hub::set_clock`](crate::Hub::set_clock). Default: it runs with the machine's.
    #[must_use]
    pub fn with_manual_clock(mut self, start: SystemTime) -> Self {
        self.manual_clock = Some(start);
        self
    }

    /// How long after its token's `se` a connection is kept. Default 600 s, inferred from one documentation table (docs/hub-over-mqtt.md 7, 12.5; E11).
    #[must_use]
    pub fn with_sas_grace(mut self, grace: Duration) -> Self {
        self.sas_grace = grace;
        self
    }

    /// How long after its `se` a token still opens a connection. Default 0: a token that has expired is refused (docs/hub-over-mqtt.md 7; the allowance is open: 12.4).
    #[must_use]
    pub fn with_clock_skew(mut self, allowance: Duration) -> Self {
        self.clock_skew = allowance;
        self
    }

    /// Whether twins may hold arrays. Default yes, as the documentation of twins says today; once they were refused with 400 (docs/hub-over-mqtt.md 4.3).
    #[must_use]
    pub fn with_twin_arrays(mut self, allowed: bool) -> Self {
        self.twin_arrays = allowed;
        self
    }

    /// Whether messages with `AzIoTHub_FaultOperationType` cause faults. Default yes; a real hub does so only for its own testers (E42).
    #[must_use]
    pub fn with_message_faults(mut self, honoured: bool) -> Self {
        self.message_faults = honoured;
        self
    }

    /// Whether a message that asks for a fault gets its PUBACK. Default no: it is not acknowledged before the drop, and its resend asks again (E43).
    #[must_use]
    pub fn with_ack_fault_message(mut self, acknowledged: bool) -> Self {
        self.ack_fault_message = acknowledged;
        self
    }

    /// How many connections may be open; further ones are closed when they are accepted. Default 10,000, the emulator's own limit.
    #[must_use]
    pub fn with_max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// How many records the telemetry log holds, and likewise the activity log and the outcomes: the oldest make room. Default 1,000,000, the emulator's own limit.
    #[must_use]
    pub fn with_log_limit(mut self, records: usize) -> Self {
        self.log_limit = records;
        self
    }

    /// Checks the limits and fills in what has to be there.
    pub(crate) fn validated(mut self) -> Result<Self, StartError> {
        if self.host_names.is_empty() {
            self.host_names.push("localhost".to_owned());
        }
        for (field, names) in [("host_names", &self.host_names), ("gateway_host_names", &self.gateway_host_names)] {
            let bad = |name: &&String| name.is_empty() || name.contains(['/', ';', '=', '&', '?', ' ']);
            if let Some(name) = names.iter().find(bad) {
                let problem = format!("'{name}' is neither a DNS name nor an IP address");
                return Err(StartError::Config { field, problem });
            }
        }
        if !(1..=5).contains(&self.refusal_code) {
            return Err(StartError::Config {
                field: "refusal_code",
                problem: format!("is {}; a CONNACK refuses with 1 to 5", self.refusal_code),
            });
        }
        if !(1..=100).contains(&self.max_delivery_count) {
            return Err(StartError::Config {
                field: "max_delivery_count",
                problem: format!("is {}; 1 to 100 are allowed", self.max_delivery_count),
            });
        }
        // Packet ids of queued messages are the low 14 bits of their sequence number.
        for (field, limit) in [("c2d_queue_limit", self.c2d_queue_limit), ("input_queue_limit", self.input_queue_limit)]
        {
            if !(1..=16_000).contains(&limit) {
                return Err(StartError::Config { field, problem: format!("is {limit}; 1 to 16000 are allowed") });
            }
        }
        let routes = Routes::parse(&self.edge_routes);
        self.routes = routes.map_err(|problem| StartError::Config { field: "edge_routes", problem })?;
        self.fill_in_services()?;
        if self.log_limit == 0 {
            return Err(StartError::Config { field: "log_limit", problem: "is 0; allow at least 1 record".to_owned() });
        }
        Ok(self)
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| D::Error::custom(format!("{seconds} is no duration in seconds")))
}
