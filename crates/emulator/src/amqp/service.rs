//! Cloud-to-device messages from a service (docs/hub-over-amqp.md 4; E36).

use std::time::SystemTime;

use fe2o3_amqp_types::definitions::Error;

use crate::amqp::condition::{self, error};
use crate::amqp::message::{self, Incoming};
use crate::amqp::transfer::Received;
use crate::amqp::{Head, address};
use crate::clock::Now;
use crate::error::HubError;
use crate::guid;
use crate::handle::messages::{MAX_C2D_SIZE, check_message};
use crate::hub::HubState;
use crate::message::{C2dMessage, FeedbackMode};

impl Head {
    pub(super) fn service_message(&mut self, hub: &mut HubState, now: Now, received: &Received, request: &Incoming) {
        let rejected = enqueue(hub, now, request).err();
        self.settle(hub, now, received, rejected);
    }
}

fn enqueue(hub: &mut HubState, now: Now, request: &Incoming) -> Result<(), Error> {
    let to = request.properties.to.as_deref().unwrap_or_default();
    let Some(identity) = address::goal(to, &hub.config.host_names) else {
        let text = "its 'to' is not /devices/{id}/messages/devicebound";
        return Err(error(condition::ARGUMENT_ERROR, text));
    };
    let message = c2d_message(request)?;
    let message_id = message.message_id.clone().unwrap_or_else(guid::random);
    // The hub keeps no cloud-to-device messages for modules.
    if identity.module.is_some() {
        return Err(error(condition::NOT_FOUND, "there are no cloud-to-device messages to modules"));
    }
    let sent = check_message(&identity, &message_id, &message, MAX_C2D_SIZE)
        .and_then(|()| hub.send_c2d(&identity.device, message_id, message, now));
    sent.map_err(|problem| {
        let condition = match problem {
            HubError::DeviceNotFound { .. } => condition::NOT_FOUND,
            HubError::QueueFull { .. } => condition::RESOURCE_LIMIT,
            HubError::MessageTooLarge { .. } => condition::MESSAGE_SIZE,
            _ => condition::ARGUMENT_ERROR,
        };
        error(condition, problem.to_string())
    })
}

fn c2d_message(request: &Incoming) -> Result<C2dMessage, Error> {
    let body = request.body().map_err(|why| error(condition::ARGUMENT_ERROR, why))?;
    let properties = &request.properties;
    let mut sent = C2dMessage::new(body);
    sent.message_id = properties.message_id.as_ref().map(message::id_text);
    sent.correlation_id = properties.correlation_id.as_ref().map(message::id_text);
    sent.user_id = properties.user_id.as_ref().map(|id| String::from_utf8_lossy(id).into_owned());
    sent.content_type = properties.content_type.as_ref().map(|text| text.as_str().to_owned());
    sent.content_encoding = properties.content_encoding.as_ref().map(|text| text.as_str().to_owned());
    let expiry: Option<SystemTime> = properties.absolute_expiry_time.as_ref().map(message::time_of);
    // Node sends the zero of its dates for none.
    if let Some(expiry) = expiry.filter(|expiry| *expiry > SystemTime::UNIX_EPOCH) {
        sent = sent.expiry(expiry);
    }
    for (name, value) in &request.application {
        if name == "iothub-ack" {
            sent.ack = message::text(value).as_deref().and_then(feedback_mode);
        } else {
            sent.properties.push((name.clone(), message::text(value)));
        }
    }
    Ok(sent)
}

fn feedback_mode(text: &str) -> Option<FeedbackMode> {
    [FeedbackMode::None, FeedbackMode::Positive, FeedbackMode::Negative, FeedbackMode::Full]
        .into_iter()
        .find(|mode| mode.wire().eq_ignore_ascii_case(text))
}
