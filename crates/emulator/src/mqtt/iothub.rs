//! Publishes below `$iothub/`, until the hub has twins and methods.
//!
//! Twin requests are answered with status 501, so that a client sees an error instead of waiting; a method response has no request and is ignored, as a
//! late one would be (E39). A request without `$rid`, or a topic that is none of these, ends the connection (E36; mqtt.md 2.4).

use crate::activity::DisconnectReason;
use crate::clock::Now;
use crate::hub::HubState;
use crate::hub::session::Feature;
use crate::mqtt::{Head, codec};

const NOT_IMPLEMENTED: &[u8] = br#"{"errorCode":501000,"message":"this version of the emulator has no device twins"}"#;

impl Head {
    /// `rest` is what follows `$iothub/`. True: the publish is to be acknowledged.
    pub(super) fn iothub(&mut self, hub: &mut HubState, now: Now, rest: &str, topic: &str) -> bool {
        let twin_request =
            rest.strip_prefix("twin/GET/").or_else(|| rest.strip_prefix("twin/PATCH/properties/reported/"));
        let Some(request_id) = twin_request.and_then(request_id) else {
            if rest.starts_with("methods/res/") || rest.starts_with("twin/PATCH/properties/reported/") {
                return true;
            }
            self.close(hub, now, DisconnectReason::UnknownTopic(topic.to_owned()));
            return false;
        };
        let wanted = hub.subscription(self.id, Feature::TwinResponses).is_some();
        let answer = format!("$iothub/twin/res/501/?$rid={request_id}");
        match codec::publish(&answer, NOT_IMPLEMENTED, None, false) {
            Some(packet) if wanted => self.send(hub, now, packet),
            _ => true,
        }
    }
}

/// The value of `$rid` in `?$rid=..&..`, as it was sent.
fn request_id(query: &str) -> Option<&str> {
    query.strip_prefix('?')?.split('&').find_map(|pair| pair.strip_prefix("$rid="))
}
