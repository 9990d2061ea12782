//! What a back end needs to connect: shared access policies and the event stream.

use std::time::{Duration, SystemTime};

use crate::auth::sas;
use crate::clock::unix_seconds;
use crate::handle::Hub;
use crate::policy;

/// For back ends that connect, as they would to a real hub.
impl Hub {
    /// The connection string of the policy with every right, `iothubowner`.
    #[must_use]
    pub fn service_connection_string(&self) -> String {
        self.policy_connection_string(policy::OWNER).unwrap_or_default()
    }

    /// The connection string of a shared access policy: `iothubowner`, `service`, `device`, `registryRead` or `registryReadWrite`.
    #[must_use]
    pub fn policy_connection_string(&self, policy: &str) -> Option<String> {
        let key = self.policy_key(policy)?;
        Some(format!("HostName={};SharedAccessKeyName={policy};SharedAccessKey={key}", self.host_name()))
    }

    /// A SAS token of a policy for the whole hub that expires `lifetime` from now by the hub's clock.
    #[must_use]
    pub fn policy_token(&self, policy: &str, lifetime: Duration) -> Option<String> {
        let key = self.policy_key(policy)?;
        let expiry = self.now().checked_add(lifetime).unwrap_or(SystemTime::UNIX_EPOCH);
        Some(format!("{}&skn={policy}", sas::sign(&key, &self.host_name(), unix_seconds(expiry))))
    }

    /// The connection string of the event stream, for Event Hubs clients. It names no port: theirs is 5671.
    #[must_use]
    pub fn event_stream_connection_string(&self) -> String {
        let key = self.policy_key(policy::OWNER).unwrap_or_default();
        let name = self.read(|hub, _| hub.config.event_hub_name.clone());
        let (host, policy) = (self.host_name(), policy::OWNER);
        format!("Endpoint=sb://{host}/;SharedAccessKeyName={policy};SharedAccessKey={key};EntityPath={name}")
    }

    fn policy_key(&self, policy: &str) -> Option<String> {
        self.read(|hub, _| hub.config.policy_keys.get(policy).map(|key| key.expose().to_owned()))
    }
}
