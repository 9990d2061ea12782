//! The hub's record of one device or module, and the steps that have to be in it. Those of twin and methods are in `requests`, those
//! of what it receives in `received`.

mod received;
mod requests;

use std::collections::BTreeMap;

use iothub_emulator::{
    Activity, C2dOutcome, ConnectionId, DisconnectReason, Hub, RefusalReason, TelemetryRecord, TwinRecord,
};

pub(crate) use requests::call_results;

use super::sample::Sample;
use super::sdk::Sdk;
use super::subject::Subject;
use crate::report::same;

/// What a device subscribes to for the answers to its twin requests.
pub(crate) const TWIN_RESPONSES: &str = "$iothub/twin/res/#";
/// What a device subscribes to for changes of its desired properties.
pub(crate) const DESIRED_CHANGES: &str = "$iothub/twin/PATCH/properties/desired/#";
/// What a device subscribes to for direct methods.
pub(crate) const METHODS: &str = "$iothub/methods/POST/#";

/// What the hub calls the system properties of a sample.
const SYSTEM_NAMES: [(&str, &str); 5] = [
    ("message_id", "message-id"),
    ("correlation_id", "correlation-id"),
    ("user_id", "user-id"),
    ("content_type", "content-type"),
    ("content_encoding", "content-encoding"),
];

/// A copy of all that the hub knows of a device or module.
#[derive(Debug)]
pub(crate) struct Record {
    subject: Subject,
    activity: Vec<Activity>,
    telemetry: Vec<TelemetryRecord>,
    outcomes: Vec<C2dOutcome>,
    pending: usize,
    twin: Option<TwinRecord>,
}

impl Record {
    pub(crate) fn of(hub: &Hub, subject: &Subject) -> Self {
        let who = subject.who();
        let (outcomes, pending) = match who.module {
            None => (hub.c2d_outcomes(who.device), hub.c2d_queue(who.device)),
            Some(_) => (hub.input_outcomes(who), hub.input_queue(who)),
        };
        Self {
            subject: subject.clone(),
            activity: hub.activity(who),
            telemetry: hub.telemetry(who),
            outcomes,
            pending: pending.len(),
            twin: hub.twin(who).ok(),
        }
    }

    /// The record in words, to read.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let activity = self.activity.iter().map(|entry| format!("{entry:?}"));
        let telemetry = self.telemetry.iter().map(|record| format!("{record:?}"));
        activity.chain(telemetry).chain(self.twin.iter().map(|twin| format!("{twin:?}")))
    }

    /// The connection, if there was exactly one.
    fn connection(&self) -> Result<ConnectionId, String> {
        let mut all = self.activity.iter().filter(|entry| matches!(entry, Activity::Connected { .. }));
        match (all.next(), all.count()) {
            (Some(first), 0) => Ok(first.connection()),
            (Some(_), more) => Err(format!("it connected {} times", more + 1)),
            (None, _) => Err("the hub accepted no connection".to_owned()),
        }
    }

    /// The first that `f` takes of the entries of that connection; `missing` says what was looked for.
    fn find<T>(&self, missing: &str, f: impl Fn(&Activity) -> Option<T>) -> Result<T, String> {
        let found = self.all(f)?.into_iter().next();
        found.ok_or_else(|| format!("the hub's record has no {missing}"))
    }

    /// What `f` takes of the entries of that connection.
    pub(crate) fn all<T>(&self, f: impl Fn(&Activity) -> Option<T>) -> Result<Vec<T>, String> {
        let connection = self.connection()?;
        Ok(self.activity.iter().filter(|entry| entry.connection() == connection).filter_map(f).collect())
    }

    pub(crate) fn connected(&self, sdk: &Sdk) -> Result<(), String> {
        let entry = self.find("connection", |entry| Some(entry.clone()))?;
        let Activity::Connected {
            clean_session,
            session_present,
            keep_alive,
            api_version,
            client_type,
            tls_version,
            ..
        } = entry
        else {
            return Err(format!("its record starts with {entry:?}"));
        };
        same("api-version", &api_version.as_deref(), &Some(sdk.api_version))?;
        let client_type = client_type.unwrap_or_default();
        if !client_type.starts_with(sdk.client_type) {
            return Err(format!("DeviceClientType is {client_type:?}, expected {:?}..", sdk.client_type));
        }
        same("keep-alive", &keep_alive, &sdk.keep_alive)?;
        same("the TLS version", &tls_version, &Some(sdk.tls))?;
        same("(clean session, session present)", &(clean_session, session_present), &(false, false))
    }

    pub(crate) fn bodies(&self, sent: &[Sample]) -> Result<(), String> {
        let found: Vec<&[u8]> = self.telemetry.iter().map(|record| &record.body[..]).collect();
        let expected: Vec<&[u8]> = sent.iter().map(|sample| &sample.body[..]).collect();
        same("the list of bodies", &found, &expected)
    }

    pub(crate) fn properties(&self, sent: &[Sample]) -> Result<(), String> {
        self.each(sent, |record, sample| {
            let found: BTreeMap<_, _> =
                record.properties.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let expected =
                sample.properties.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect();
            same("the properties", &found, &expected)
        })
    }

    pub(crate) fn system_properties(&self, sent: &[Sample]) -> Result<(), String> {
        self.each(sent, |record, sample| {
            let expected: BTreeMap<_, _> = SYSTEM_NAMES
                .into_iter()
                .filter_map(|(ours, theirs)| Some((theirs.to_owned(), sample.system.get(ours)?.clone())))
                .collect();
            // The output stands beside them.
            let mut found = record.system.clone();
            found.remove("iothub-outputname");
            same("the system properties", &found, &expected)
        })
    }

    /// The output that each message names; a device's messages name none.
    pub(crate) fn outputs(&self, expected: &[&str]) -> Result<(), String> {
        let found: Vec<_> = self.telemetry.iter().map(TelemetryRecord::output).collect();
        same("the list of outputs", &found, &expected.iter().map(|output| Some(*output)).collect())
    }

    pub(crate) fn stamps(&self) -> Result<(), String> {
        let who = self.subject.who();
        let scope = if who.module.is_some() { "module" } else { "device" };
        let method = format!(r#"{{"scope":"{scope}","type":"sas","issuer":"iothub"}}"#);
        let expected = [
            ("iothub-connection-device-id", Some(who.device)),
            ("iothub-connection-module-id", who.module),
            ("iothub-connection-auth-generation-id", Some(&self.subject.generation_id)),
            ("iothub-connection-auth-method", Some(&method)),
            ("iothub-message-source", Some("Telemetry")),
        ];
        if self.telemetry.is_empty() {
            return Err("no telemetry is stored".to_owned());
        }
        for record in &self.telemetry {
            let stamp = |name: &str| record.stamps.get(name).map(String::as_str);
            for (name, value) in expected {
                same(name, &stamp(name), &value)?;
            }
            stamp("iothub-enqueuedtime").filter(|time| !time.is_empty()).ok_or("iothub-enqueuedtime is missing")?;
        }
        Ok(())
    }

    /// Each stored message went over the one connection at QoS 1, and its PUBACK went back.
    pub(crate) fn acknowledged(&self, count: usize) -> Result<(), String> {
        let stored = self.all(|entry| match entry {
            Activity::Telemetry { packet_id, dup: false, .. } => *packet_id,
            _ => None,
        })?;
        same("the number of messages with a packet id", &stored.len(), &count)?;
        for id in stored {
            self.find(&format!("PUBACK for packet {id}"), |entry| {
                matches!(entry, Activity::PubackSent { packet_id, .. } if *packet_id == id).then_some(())
            })?;
        }
        Ok(())
    }

    pub(crate) fn subscribed(&self, wanted: &str, qos: u8) -> Result<(), String> {
        let granted = self.find(&format!("subscription to {wanted}"), |entry| match entry {
            Activity::Subscribed { filter, granted, .. } if *filter == wanted => Some(*granted),
            _ => None,
        })?;
        same("the granted QoS", &granted, &qos)
    }

    pub(crate) fn subscribed_to_messages(&self) -> Result<(), String> {
        self.subscribed(&self.subject.messages(), 1)
    }

    pub(crate) fn disconnected(&self) -> Result<(), String> {
        let why = self.find("end of the connection", |entry| match entry {
            Activity::Disconnected { why, .. } => Some(why.clone()),
            _ => None,
        })?;
        same("the reason of the end", &why, &DisconnectReason::ByDevice)
    }

    /// Every CONNECT was refused, and the hub knows that it was for the signature.
    pub(crate) fn refused_signature(&self) -> Result<(), String> {
        let mut refusals = 0;
        for entry in &self.activity {
            match entry {
                Activity::ConnectRefused { code, why, .. } => {
                    refusals += 1;
                    same("the reason", why, &RefusalReason::TokenSignature)?;
                    same("the return code", code, &5)?;
                }
                Activity::Disconnected { .. } => {}
                other => return Err(format!("it got further: {other:?}")),
            }
        }
        if refusals == 0 { Err("the hub's record has no refused connection".to_owned()) } else { Ok(()) }
    }

    fn each(
        &self,
        sent: &[Sample],
        check: impl Fn(&TelemetryRecord, &Sample) -> Result<(), String>,
    ) -> Result<(), String> {
        same("the number of stored messages", &self.telemetry.len(), &sent.len())?;
        self.telemetry.iter().zip(sent).try_for_each(|(record, sample)| check(record, sample))
    }
}
