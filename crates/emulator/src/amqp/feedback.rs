//! Feedback to a service: a batch of records is one message (docs/hub-over-amqp.md 4; E34, E35).

use fe2o3_amqp_types::messaging::Properties;
use serde::Serialize;

use crate::amqp::link::Place;
use crate::amqp::message::{self, Body, Outgoing};
use crate::amqp::send::Parcel;
use crate::amqp::session::What;
use crate::amqp::{Head, Open};
use crate::clock::{Now, iso8601};
use crate::hub::HubState;
use crate::record::FeedbackRecord;

const CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.feedback.json";
/// The most records of one message: a batch as the real hub makes it (docs/hub-over-mqtt.md 3).
const BATCH: usize = 64;

/// One record of a batch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    original_message_id: &'a str,
    device_id: &'a str,
    device_generation_id: &'a str,
    enqueued_time_utc: String,
    status_code: &'a str,
    description: &'a str,
}

impl Head {
    /// Sends the next batch that is ready. False: there is none.
    pub(super) fn send_feedback(&mut self, hub: &mut HubState, now: Now, place: Place) -> bool {
        let records = hub.take_feedback(BATCH);
        if records.is_empty() {
            return false;
        }
        let shown: Vec<Record<'_>> = records
            .iter()
            .map(|record| Record {
                original_message_id: &record.original_message_id,
                device_id: &record.device_id,
                device_generation_id: &record.device_generation_id,
                enqueued_time_utc: iso8601(record.enqueued_time),
                status_code: &record.status_code,
                description: &record.description,
            })
            .collect();
        let name = hub.config.host_names.first().and_then(|host| host.split('.').next()).unwrap_or_default();
        let message = Outgoing {
            annotations: vec![("iothub-enqueuedtime", message::timestamp(now.wall))],
            properties: Properties {
                user_id: Some(name.as_bytes().to_vec().into()),
                content_type: Some(message::symbol(CONTENT_TYPE)),
                ..Properties::default()
            },
            body: Body::Data(serde_json::to_vec(&shown).unwrap_or_default().into()),
            ..Outgoing::default()
        };
        let parcel = Parcel { what: What::Feedback(records), ..Parcel::new(message.encode()) };
        self.deliver(hub, now, place, parcel);
        true
    }
}

impl Open {
    /// The connection ends: what was given and not settled is for the next reader.
    pub(super) fn give_back_feedback(&self, hub: &mut HubState) {
        let unsettled = self.sessions.values().flat_map(|session| session.unsettled.values());
        let given: Vec<Vec<FeedbackRecord>> = unsettled
            .filter_map(|unsettled| match &unsettled.what {
                What::Feedback(records) => Some(records.clone()),
                What::Nothing | What::C2d(_) => None,
            })
            .collect();
        given.into_iter().rev().for_each(|records| hub.give_back_feedback(records));
    }
}
