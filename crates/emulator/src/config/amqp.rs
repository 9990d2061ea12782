//! The settings of AMQP, of shared access policies and of the event stream.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::device::SecretKey;
use crate::error::StartError;
use crate::policy;

impl Config {
    /// Where to listen for AMQP 1.0 over TLS. Default `127.0.0.1:0`: loopback only, a port of the system's choice.
    #[must_use]
    pub fn with_amqp_address(mut self, address: SocketAddr) -> Self {
        self.amqp_address = address;
        self
    }

    /// The idle time-out that the hub says in its AMQP Open, and after which it closes a silent connection; at least 1 ms. Default 240 s
    /// (docs/hub-over-amqp.md 1; E5, E6).
    #[must_use]
    pub fn with_amqp_idle_time_out(mut self, limit: Duration) -> Self {
        self.amqp_idle_time_out = limit;
        self
    }

    /// The largest message that a link takes over AMQP, in bytes as it is encoded, at least 1: what an attach is answered with, unless the client names less.
    /// Default 1 MiB (docs/hub-over-amqp.md 3; E19).
    #[must_use]
    pub fn with_amqp_max_message_size(mut self, bytes: u64) -> Self {
        self.amqp_max_message_size = bytes;
        self
    }

    /// The delivery count of a cloud-to-device message on its first delivery over AMQP. Default 1; the real hub's is not certain (docs/hub-over-amqp.md 7; E30).
    #[must_use]
    pub fn with_amqp_first_delivery_count(mut self, count: u8) -> Self {
        self.amqp_first_delivery_count = count;
        self
    }

    /// The status of the answer to an accepted reported patch over AMQP. Default 204, as IoT Edge; the cloud's may be 200 (docs/hub-over-amqp.md 7; E37).
    #[must_use]
    pub fn with_amqp_report_status(mut self, status: u16) -> Self {
        self.amqp_report_status = status;
        self
    }

    /// Whether a device gets desired patches over AMQP as soon as its twin link is there, as from IoT Edge. Default no: after its PUT only
    /// (docs/hub-over-amqp.md 7; E39).
    #[must_use]
    pub fn with_amqp_desired_on_attach(mut self, at_once: bool) -> Self {
        self.amqp_desired_on_attach = at_once;
        self
    }

    /// Whether an unknown twin operation over AMQP is answered with 400. Default no: as IoT Edge, there is no answer (docs/hub-over-amqp.md 7; E38).
    #[must_use]
    pub fn with_amqp_answer_unknown_twin_operation(mut self, answered: bool) -> Self {
        self.amqp_answer_unknown_twin_operation = answered;
        self
    }

    /// Whether a token for an unknown device gets 401 in place of 404. Default no (docs/hub-over-amqp.md 2; E13).
    #[must_use]
    pub fn with_cbs_unknown_device_unauthorized(mut self, unauthorized: bool) -> Self {
        self.cbs_unknown_device_unauthorized = unauthorized;
        self
    }

    /// The key of a shared access policy: `iothubowner`, `service`, `device`, `registryRead` or `registryReadWrite`; 16 to 64 bytes in base64.
    /// Policies without one get a random key.
    #[must_use]
    pub fn with_policy_key(mut self, policy: &str, key: impl Into<SecretKey>) -> Self {
        self.policy_keys.insert(policy.to_owned(), key.into());
        self
    }

    /// The name of the event stream for its own clients. Default `iothub-ehub-` and the first label of the first host name (docs/hub-over-amqp.md 4).
    #[must_use]
    pub fn with_event_hub_name(mut self, name: &str) -> Self {
        self.event_hub_name = name.to_owned();
        self
    }

    /// How many partitions the event stream has, 1 to 128. Default 4, as of a new hub.
    #[must_use]
    pub fn with_event_partitions(mut self, count: usize) -> Self {
        self.event_partitions = count;
        self
    }

    /// Adds a consumer group to the event stream. `$Default` is always there.
    #[must_use]
    pub fn with_consumer_group(mut self, name: &str) -> Self {
        self.consumer_groups.push(name.to_owned());
        self
    }

    /// Readers of `/messages/events` are sent to this host (`host` or `host:port`), as the real hub does. Default: they are served where they ask, so
    /// that one address is enough (docs/hub-over-amqp.md 4; E45).
    #[must_use]
    pub fn with_event_redirect(mut self, host: &str) -> Self {
        self.event_redirect = Some(host.to_owned());
        self
    }

    /// What the service side needs: policies with keys, the event stream.
    pub(super) fn fill_in_services(&mut self) -> Result<(), StartError> {
        let wrong = |field, problem: String| Err(StartError::Config { field, problem });
        if let Some(name) = self.policy_keys.keys().find(|name| policy::rights(name).is_none()) {
            let known: Vec<_> = policy::names().collect();
            return wrong("policy_keys", format!("has '{name}'; there are {}", known.join(", ")));
        }
        if let Some((name, _)) = self.policy_keys.iter().find(|(_, key)| !key.is_usable()) {
            return wrong("policy_keys", format!("has a key of '{name}' that is not 16 to 64 bytes in base64"));
        }
        for name in policy::names().filter(|name| !self.policy_keys.contains_key(*name)).collect::<Vec<_>>() {
            let key = policy::random_key().map_err(StartError::Certificate)?;
            self.policy_keys.insert(name.to_owned(), key);
        }
        if self.event_hub_name.is_empty() {
            let label = self.host_names.first().and_then(|host| host.split('.').next()).unwrap_or_default();
            self.event_hub_name = format!("iothub-ehub-{label}");
        }
        if !(1..=128).contains(&self.event_partitions) {
            return wrong("event_partitions", format!("is {}; 1 to 128 are allowed", self.event_partitions));
        }
        if self.amqp_max_message_size == 0 {
            return wrong("amqp_max_message_size", "is 0, which means no limit to the client".to_owned());
        }
        if self.amqp_idle_time_out < Duration::from_millis(1) {
            return wrong("amqp_idle_time_out", "is below 1 ms".to_owned());
        }
        Ok(())
    }
}
